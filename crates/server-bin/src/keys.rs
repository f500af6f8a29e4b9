//! [`ServerKeys`]: everything derived from the one secret of the server, the master key.
//!
//! The master key wraps the keys of managed vaults and peppers the hashes of tokens: without it the data directory tells
//! neither contents nor tokens.

use std::path::Path;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use proto::Secret;
use store::{AccountId, OsRandom, Random};
use vault::{KeySlot, SlotError, Unlock, VaultKey};
use zeroize::Zeroizing;

use crate::failure::{Failure, FailureKind};
use crate::private_files;

const MASTER_KEY_LEN: usize = 32;

/// What the master key is used for, derived once.
pub(crate) struct ServerKeys {
    wrapping_key: Zeroizing<[u8; 32]>,
    token_pepper: Zeroizing<[u8; 32]>,
    enrolment_pepper: Zeroizing<[u8; 32]>,
    api_token_pepper: Zeroizing<[u8; 32]>,
    web_session_pepper: Zeroizing<[u8; 32]>,
    setup_pepper: Zeroizing<[u8; 32]>,
    share_pepper: Zeroizing<[u8; 32]>,
    share_pass_key: Zeroizing<[u8; 32]>,
    second_factor_key: Zeroizing<[u8; 32]>,
    recovery_code_pepper: Zeroizing<[u8; 32]>,
    catalog_key: Zeroizing<[u8; 32]>,
    answer_key: Zeroizing<[u8; 32]>,
}

impl std::fmt::Debug for ServerKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ServerKeys(secret)")
    }
}

impl ServerKeys {
    fn derive(master_key: &[u8; MASTER_KEY_LEN]) -> Self {
        let derive = |context: &str| Zeroizing::new(blake3::derive_key(context, master_key));
        Self {
            wrapping_key: derive("delta-backup v1 server wrapping key"),
            token_pepper: derive("delta-backup v1 server device token pepper"),
            enrolment_pepper: derive("delta-backup v1 server enrolment pepper"),
            api_token_pepper: derive("delta-backup v1 server api token pepper"),
            web_session_pepper: derive("delta-backup v1 server web session pepper"),
            setup_pepper: derive("delta-backup v1 server set-up link pepper"),
            share_pepper: derive("delta-backup v1 server share pepper"),
            share_pass_key: derive("delta-backup v1 server share pass"),
            second_factor_key: derive("delta-backup v1 server second factor"),
            recovery_code_pepper: derive("delta-backup v1 server recovery code pepper"),
            catalog_key: derive("delta-backup v1 server catalog backup"),
            answer_key: derive("delta-backup v1 server answers under keys"),
        }
    }

    /// Reads the master key; `None` when there is none.
    ///
    /// # Errors
    /// [`Failure`] when it cannot be read, others can read it, or it is not one.
    pub(crate) fn load(path: &Path) -> Result<Option<Self>, Failure> {
        let Some(bytes) = private_files::read(path)? else {
            return Ok(None);
        };
        let master_key: Zeroizing<[u8; MASTER_KEY_LEN]> =
            Zeroizing::new(bytes.as_slice().try_into().map_err(|_| {
                let message =
                    format!("{} has {} bytes, a master key has {MASTER_KEY_LEN}", path.display(), bytes.len());
                Failure::new(FailureKind::Integrity, message).hint("put the file back from your copy of it")
            })?);
        Ok(Some(Self::derive(&master_key)))
    }

    /// Draws a master key and keeps it.
    ///
    /// # Errors
    /// [`Failure`] when the system has no randomness yet, or the disk refuses.
    pub(crate) fn create(path: &Path) -> Result<Self, Failure> {
        let master_key: Zeroizing<[u8; MASTER_KEY_LEN]> = Zeroizing::new(random()?);
        private_files::write(path, &master_key[..])?;
        Ok(Self::derive(&master_key))
    }

    /// Wraps the key of a managed vault.
    ///
    /// # Errors
    /// [`Failure`] when the system has no randomness yet.
    pub(crate) fn wrap(&self, vault: object::VaultId, key: &VaultKey) -> Result<KeySlot, Failure> {
        Ok(KeySlot::wrap(key, vault, &self.wrapping_key, random()?))
    }

    /// Unwraps the key of a managed vault.
    ///
    /// # Errors
    /// [`SlotError::WrongKey`] when the vault was made under another master key.
    pub(crate) fn unwrap(&self, vault: object::VaultId, slot: &KeySlot) -> Result<VaultKey, SlotError> {
        slot.open(vault, self.unlock())
    }

    /// What opens every slot of a managed vault.
    pub(crate) fn unlock(&self) -> Unlock<'_> {
        Unlock::WrappingKey(&self.wrapping_key)
    }

    /// Key of the one catalog backup that has this salt.
    pub(crate) fn catalog_backup_key(&self, salt: &[u8; 32]) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(*blake3::keyed_hash(&self.catalog_key, salt).as_bytes())
    }

    /// Key of the answer to a request of an account under what it said as its idempotency key.
    pub(crate) fn answer_key(&self, account: AccountId, said: &[u8]) -> Zeroizing<[u8; 32]> {
        let mut hasher = blake3::Hasher::new_keyed(&self.answer_key);
        hasher.update(&account.0.to_le_bytes()).update(said);
        Zeroizing::new(*hasher.finalize().as_bytes())
    }

    /// What the catalog holds of a device's secret.
    pub(crate) fn token_hash(&self, secret: &Secret<32>) -> [u8; 32] {
        *blake3::keyed_hash(&self.token_pepper, secret.expose()).as_bytes()
    }

    /// What the catalog holds of an API token's secret.
    pub(crate) fn api_token_hash(&self, secret: &Secret<32>) -> [u8; 32] {
        *blake3::keyed_hash(&self.api_token_pepper, secret.expose()).as_bytes()
    }

    /// What the catalog holds of the secret in a browser's cookie, and finds it by.
    pub(crate) fn web_session_hash(&self, secret: &Secret<32>) -> [u8; 32] {
        *blake3::keyed_hash(&self.web_session_pepper, secret.expose()).as_bytes()
    }

    /// What the catalog holds of the secret in a set-up link, and finds it by.
    pub(crate) fn setup_hash(&self, secret: &Secret<16>) -> [u8; 32] {
        *blake3::keyed_hash(&self.setup_pepper, secret.expose()).as_bytes()
    }

    /// What the catalog holds of the secret in the link of a share, and finds it by.
    pub(crate) fn share_hash(&self, secret: &Secret<16>) -> [u8; 32] {
        *blake3::keyed_hash(&self.share_pepper, secret.expose()).as_bytes()
    }

    /// What is shown in place of the password of a share, until a moment.
    pub(crate) fn share_pass(&self, share: &[u8; 8], password_hash: &str, until_ms: u64) -> [u8; 16] {
        let mut hasher = blake3::Hasher::new_keyed(&self.share_pass_key);
        hasher.update(share).update(&until_ms.to_le_bytes()).update(password_hash.as_bytes());
        *hasher.finalize().as_bytes().first_chunk().expect("the hash is longer")
    }

    /// What the codes of the second factor that has this salt are made of.
    pub(crate) fn second_factor_secret(&self, salt: &[u8; 16]) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(*blake3::keyed_hash(&self.second_factor_key, salt).as_bytes())
    }

    /// What the catalog holds of a recovery code, and finds it by.
    pub(crate) fn recovery_code_hash(&self, code: &[u8]) -> [u8; 32] {
        *blake3::keyed_hash(&self.recovery_code_pepper, code).as_bytes()
    }

    /// What the catalog holds of the secret in an enrolment string, and finds it by.
    pub(crate) fn enrolment_hash(&self, secret: &Secret<16>) -> [u8; 32] {
        *blake3::keyed_hash(&self.enrolment_pepper, secret.expose()).as_bytes()
    }
}

/// Whether two hashes are equal; takes the same time wherever they differ.
pub(crate) fn is_same_hash(a: &[u8], b: &[u8]) -> bool {
    verify_slices_are_equal(a, b).is_ok()
}

/// Bytes nobody can guess, from the operating system.
///
/// # Errors
/// [`Failure`] when the system has none yet: nothing may be made then.
pub(crate) fn random<const N: usize>() -> Result<[u8; N], Failure> {
    let mut bytes = [0; N];
    OsRandom
        .fill(&mut bytes)
        .map_err(|error| Failure::new(FailureKind::Internal, "the system has no random bytes").because(&error))?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_master_key_gives_the_same_keys_and_another_does_not() {
        let dir = tempfile::tempdir().unwrap();
        let (a, b) = (dir.path().join("a"), dir.path().join("b"));
        let made = ServerKeys::create(&a).unwrap();
        let read = ServerKeys::load(&a).unwrap().unwrap();
        let other = ServerKeys::create(&b).unwrap();
        let secret = Secret::new([2; 32]);
        assert!(is_same_hash(&made.token_hash(&secret), &read.token_hash(&secret)));
        assert!(!is_same_hash(&made.token_hash(&secret), &other.token_hash(&secret)));
        let vault = object::VaultId::from_bytes([3; 16]);
        let slot = made.wrap(vault, &VaultKey::from_bytes([4; 32])).unwrap();
        assert_eq!(read.unwrap(vault, &slot).unwrap().expose(), &[4; 32]);
        assert_eq!(other.unwrap(vault, &slot).unwrap_err(), SlotError::WrongKey);
    }

    #[test]
    fn a_cut_master_key_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("master.key");
        assert!(ServerKeys::load(&path).unwrap().is_none());
        private_files::write(&path, &[1; 31]).unwrap();
        assert_eq!(ServerKeys::load(&path).unwrap_err().kind(), FailureKind::Integrity);
    }
}
