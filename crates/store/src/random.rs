//! [`Random`]: where fresh ids come from.

use std::fmt;
use std::io;

/// A source of bytes nobody can guess and nobody gets twice.
pub trait Random: Send + Sync + fmt::Debug {
    /// Fills `bytes`.
    ///
    /// # Errors
    /// When the source cannot deliver; nothing may be named then.
    fn fill(&self, bytes: &mut [u8]) -> io::Result<()>;
}

/// The operating system's generator. Refuses instead of waiting when it is not seeded yet.
#[derive(Debug, Clone, Copy, Default)]
pub struct OsRandom;

impl Random for OsRandom {
    fn fill(&self, bytes: &mut [u8]) -> io::Result<()> {
        let mut filled = 0;
        while filled < bytes.len() {
            match rustix::rand::getrandom(&mut bytes[filled..], rustix::rand::GetRandomFlags::NONBLOCK) {
                Ok(count) => filled += count,
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

/// Draws an id.
pub(crate) fn fresh<const N: usize>(random: &dyn Random) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    random.fill(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_draw_differs() {
        assert_ne!(fresh::<16>(&OsRandom).unwrap(), fresh::<16>(&OsRandom).unwrap());
    }
}
