//! [`Secret`]: bytes that must not end up in a log, nor stay in memory.

use std::fmt;
use std::hint::black_box;

use zeroize::Zeroizing;

/// `N` secret bytes: wiped when dropped, not shown by `Debug`, compared without telling how much was equal.
///
/// Only this value is wiped: the buffers a frame is received in or sent from are not.
#[derive(Clone)]
pub struct Secret<const N: usize>(Zeroizing<[u8; N]>);

impl<const N: usize> Secret<N> {
    /// Takes the bytes; the caller wipes its own copy, if there is one.
    #[must_use]
    pub fn new(bytes: [u8; N]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// The bytes, for the one who needs them.
    #[must_use]
    pub fn expose(&self) -> &[u8; N] {
        &self.0
    }

    pub(crate) fn from_zeroizing(bytes: Zeroizing<[u8; N]>) -> Self {
        Self(bytes)
    }

    pub(crate) fn to_zeroizing(&self) -> Zeroizing<[u8; N]> {
        self.0.clone()
    }
}

impl<const N: usize> PartialEq for Secret<N> {
    fn eq(&self, other: &Self) -> bool {
        let pairs = self.0.iter().zip(other.0.iter());
        black_box(pairs.fold(0, |difference, (a, b)| black_box(difference | (a ^ b)))) == 0
    }
}

impl<const N: usize> Eq for Secret<N> {}

impl<const N: usize> fmt::Debug for Secret<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}
