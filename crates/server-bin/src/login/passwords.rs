//! [`Passwords`]: hashes passwords and compares them, a few at a time: each takes 64 MiB and a good part of a second.

use std::sync::Arc;

use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use argon2::{Algorithm, Argon2, Params, Version};
use tokio::sync::Semaphore;
use zeroize::Zeroizing;

use crate::failure::{Failure, FailureKind};
use crate::keys::random;

/// RFC 9106's choice for little memory, with one lane.
const MEMORY_KIB: u32 = 64 << 10;
const PASSES: u32 = 3;
const LANES: u32 = 1;
const SALT_LEN: usize = 16;
/// More would take memory that uploads need.
const AT_ONCE_MAX: usize = 4;
const QUEUE_LEN: usize = 32;

/// Shortest password that is accepted, in bytes.
pub(crate) const PASSWORD_LEN_MIN: usize = 8;
/// Longest password that is accepted, in bytes.
pub(crate) const PASSWORD_LEN_MAX: usize = 1024;

/// So many passwords are being compared that one more is not looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too many are logging in; try again in a moment")]
pub(crate) struct Overrun;

/// Compares passwords.
#[derive(Debug)]
pub(crate) struct Passwords {
    running: Arc<Semaphore>,
    admitted: Semaphore,
    /// Stands for the hash of accounts that do not exist or have no password: what nobody knows takes as long to refuse.
    nobody: String,
}

impl Passwords {
    pub(crate) fn new() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get);
        let at_once = cores.min(AT_ONCE_MAX);
        // Only its parameters matter: no password has this hash.
        let nobody = format!(
            "$argon2id$v=19$m={MEMORY_KIB},t={PASSES},p={LANES}$AAAAAAAAAAAAAAAAAAAAAA$\
             AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
        );
        Self { running: Arc::new(Semaphore::new(at_once)), admitted: Semaphore::new(at_once + QUEUE_LEN), nobody }
    }

    /// Whether `password` has this hash; `None` takes as long, and is never right.
    ///
    /// # Errors
    /// [`Overrun`]: it was not looked at.
    pub(crate) async fn is_right(&self, password: Zeroizing<String>, hash: Option<String>) -> Result<bool, Overrun> {
        let _admitted = self.admitted.try_acquire().map_err(|_| Overrun)?;
        let running = Arc::clone(&self.running).acquire_owned().await.expect("the semaphore is never closed");
        let exists = hash.is_some();
        let hash = hash.unwrap_or_else(|| self.nobody.clone());
        let compared = tokio::task::spawn_blocking(move || {
            let is_right = PasswordHash::new(&hash)
                .is_ok_and(|hash| Argon2::default().verify_password(password.as_bytes(), &hash).is_ok());
            drop(running);
            is_right
        });
        Ok(compared.await.unwrap_or(false) && exists)
    }

    /// The hash of a password that is to be set, as [`hash`] has it.
    ///
    /// # Errors
    /// [`Overrun`]: it was not looked at; within, as [`hash`].
    pub(crate) async fn hash(&self, password: Zeroizing<String>) -> Result<Result<String, Failure>, Overrun> {
        let _admitted = self.admitted.try_acquire().map_err(|_| Overrun)?;
        let running = Arc::clone(&self.running).acquire_owned().await.expect("the semaphore is never closed");
        let hashed = tokio::task::spawn_blocking(move || {
            let hashed = hash(&password);
            drop(running);
            hashed
        });
        let failed = |error| Failure::new(FailureKind::Internal, "the password cannot be hashed").because(&error);
        Ok(hashed.await.unwrap_or_else(|error| Err(failed(error))))
    }
}

/// The hash of a password, as a PHC string.
///
/// # Errors
/// [`Failure`] when the password is too short or too long, or the system has no randomness.
pub(crate) fn hash(password: &str) -> Result<String, Failure> {
    if !(PASSWORD_LEN_MIN..=PASSWORD_LEN_MAX).contains(&password.len()) {
        return Err(Failure::usage(format!("a password has {PASSWORD_LEN_MIN} to {PASSWORD_LEN_MAX} bytes")));
    }
    let cannot = |error: &dyn std::fmt::Display| {
        Failure::new(FailureKind::Internal, format!("the password cannot be hashed: {error}"))
    };
    let params = Params::new(MEMORY_KIB, PASSES, LANES, None).map_err(|error| cannot(&error))?;
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    let salt: [u8; SALT_LEN] = random()?;
    let hash: PasswordHash =
        argon2.hash_password_with_salt(password.as_bytes(), &salt).map_err(|error| cannot(&error))?;
    Ok(hash.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_the_right_password_opens() {
        let passwords = Passwords::new();
        let hash = hash("correct horse").unwrap();
        assert!(hash.starts_with("$argon2id$v=19$m=65536,t=3,p=1$"), "{hash}");
        let is_right = |password: &str, hash: Option<&str>| {
            passwords.is_right(Zeroizing::new(password.to_owned()), hash.map(str::to_owned))
        };
        assert_eq!(is_right("correct horse", Some(&hash)).await, Ok(true));
        assert_eq!(is_right("correct horsf", Some(&hash)).await, Ok(false));
        assert_eq!(is_right("correct horse", None).await, Ok(false));
        assert_eq!(is_right("correct horse", Some("nonsense")).await, Ok(false));
        assert!(PasswordHash::new(&passwords.nobody).is_ok(), "nobody takes as long as somebody");
    }

    #[test]
    fn short_and_endless_passwords_are_refused() {
        assert!(hash("1234567").is_err() && hash(&"x".repeat(1025)).is_err());
    }

    #[tokio::test]
    async fn the_queue_ends() {
        let passwords = Passwords::new();
        let _all = passwords.admitted.try_acquire_many(u32::try_from(passwords.admitted.available_permits()).unwrap());
        assert_eq!(passwords.is_right(Zeroizing::new(String::new()), None).await, Err(Overrun));
    }
}
