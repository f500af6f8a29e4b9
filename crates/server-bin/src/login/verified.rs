//! [`Verified`]: passwords that were found right a moment ago, so that a script does not cost a good part of a second at
//! every request. What is kept is a hash under a key that this process drew, and the hash that the catalog had: with
//! another password, an entry is worth nothing.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use zeroize::Zeroizing;

use crate::failure::Failure;
use crate::keys::random;

/// How long a password that was found right need not be looked at again.
const LIFETIME: Duration = Duration::from_secs(300);
const ENTRIES_MAX: usize = 1024;

/// Passwords that were right.
pub(crate) struct Verified {
    key: Zeroizing<[u8; 32]>,
    until: Mutex<HashMap<[u8; 32], Instant>>,
}

impl std::fmt::Debug for Verified {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Verified(secret)")
    }
}

impl Verified {
    /// Knows none yet.
    ///
    /// # Errors
    /// [`Failure`] when the system has no randomness yet.
    pub(crate) fn new() -> Result<Self, Failure> {
        Ok(Self { key: Zeroizing::new(random()?), until: Mutex::default() })
    }

    /// Whether this password was found to have this hash not long ago.
    pub(crate) fn is_known(&self, password: &str, hash: &str, now: Instant) -> bool {
        let entry = self.entry(password, hash);
        self.lock().get(&entry).is_some_and(|until| now < *until)
    }

    /// This password has this hash.
    pub(crate) fn add(&self, password: &str, hash: &str, now: Instant) {
        let entry = self.entry(password, hash);
        let mut until = self.lock();
        until.retain(|_, until| now < *until);
        if until.len() < ENTRIES_MAX {
            until.insert(entry, now + LIFETIME);
        }
    }

    /// The hash has a salt of its own, so it stands for the account, too.
    fn entry(&self, password: &str, hash: &str) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new_keyed(&self.key);
        hasher.update(&(hash.len() as u64).to_le_bytes());
        hasher.update(hash.as_bytes());
        hasher.update(password.as_bytes());
        *hasher.finalize().as_bytes()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<[u8; 32], Instant>> {
        self.until.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_known_for_a_while_and_under_its_hash_only() {
        let verified = Verified::new().unwrap();
        let now = Instant::now();
        assert!(!verified.is_known("secret", "$one", now));
        verified.add("secret", "$one", now);
        assert!(verified.is_known("secret", "$one", now + LIFETIME - Duration::from_secs(1)));
        assert!(!verified.is_known("secret", "$one", now + LIFETIME));
        assert!(!verified.is_known("secret", "$two", now), "the password was changed");
        assert!(!verified.is_known("secre", "t$one", now) && !verified.is_known("Secret", "$one", now));
    }

    #[test]
    fn the_table_is_bounded() {
        let verified = Verified::new().unwrap();
        let now = Instant::now();
        (0..2000).for_each(|number| verified.add(&number.to_string(), "$", now));
        assert_eq!(verified.lock().len(), ENTRIES_MAX);
        verified.add("late", "$", now + LIFETIME);
        assert_eq!(verified.lock().len(), 1, "what is over makes room");
    }
}
