//! [`Faults`]: failed writes of packs, counted. A disk that fails again and again is not to be trusted with anything new.
//!
//! One failed write costs the pack it was of, and its client sends those records again: a cable that was moved, a disk that
//! mends a sector. [`FAULTS_MAX`] of them within an hour are a disk that is going: from then on nothing is taken in and
//! nothing moved or collected until the store is opened again. What is stored can be read all the time, and what is in the
//! catalog can be changed: that has faults of its own, which stop everything at once.

use std::sync::{Mutex, OnceLock, PoisonError};

use crate::{ErrorKind, StoreError, UnixMs};

/// So many failed writes within [`WINDOW_MS`] make the store read-only.
pub(crate) const FAULTS_MAX: usize = 3;
/// The time in which they count together.
pub(crate) const WINDOW_MS: i64 = 3_600_000;

/// Failed writes of packs.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    /// When the last ones were, by the caller's clock.
    lately: Mutex<Vec<UnixMs>>,
    read_only: OnceLock<String>,
}

impl Faults {
    /// Counts `error` when it is one of the disk; a full disk is none.
    pub(crate) fn note(&self, error: &StoreError, now: UnixMs) {
        if error.kind() != ErrorKind::Io || matches!(error, StoreError::ReadOnly { .. }) {
            return;
        }
        let mut lately = self.lately.lock().unwrap_or_else(PoisonError::into_inner);
        // Whichever way the clock jumps, an old fault is not taken for a new one for longer than it would have counted.
        lately.retain(|at| (now.0.saturating_sub(WINDOW_MS)..=now.0).contains(&at.0));
        lately.push(now);
        if lately.len() >= FAULTS_MAX {
            let reason = format!("the disk failed {FAULTS_MAX} times within an hour, the last time: {error}");
            self.read_only.get_or_init(|| reason);
        }
    }

    /// Why nothing new is taken in, if so.
    pub(crate) fn read_only(&self) -> Option<&str> {
        self.read_only.get().map(String::as_str)
    }

    /// Fails when nothing new is taken in.
    pub(crate) fn check(&self) -> Result<(), StoreError> {
        self.read_only().map_or(Ok(()), |reason| Err(StoreError::ReadOnly { reason: reason.to_owned() }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_within_an_hour_are_too_many() {
        let fault = StoreError::io("write", "pack".as_ref(), std::io::Error::other("failed"));
        let full = StoreError::Full { verb: "write", path: "pack".into() };
        let is_read_only = |at_ms: &[i64]| {
            let faults = Faults::default();
            at_ms.iter().for_each(|at| faults.note(&fault, UnixMs(*at)));
            at_ms.iter().for_each(|at| faults.note(&full, UnixMs(*at)));
            assert_eq!(faults.check().is_err(), faults.read_only().is_some());
            faults.read_only().is_some()
        };
        assert!(!is_read_only(&[]));
        assert!(!is_read_only(&[0, WINDOW_MS]));
        assert!(is_read_only(&[0, 1, WINDOW_MS]));
        assert!(!is_read_only(&[0, 1, WINDOW_MS + 2]));
        assert!(is_read_only(&[0, 1, WINDOW_MS + 1, WINDOW_MS + 1]));
        // A clock that was wrong, and was put right.
        assert!(!is_read_only(&[i64::MAX, i64::MAX, 0, 1]));
        assert!(is_read_only(&[i64::MAX, 0, 1, 2]));
    }
}
