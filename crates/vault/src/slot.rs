//! [`KeySlot`]: a vault's key, wrapped so that one holder can unwrap it.
//!
//! A managed vault has a slot for the server's master key; a sealed vault has slots for passphrases (and later for
//! recovery and device keys). A slot is opened before it is trusted, and it commits to its key: without the commitment
//! one AES-GCM ciphertext can be made to open under many keys (Len, Grubbs, Ristenpart, "Partitioning Oracle Attacks",
//! 2021).

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::constant_time::verify_slices_are_equal;
use object::VaultId;
use zeroize::Zeroizing;

use crate::VaultKey;

const FORMAT: u8 = 1;
const HOLDER_WRAPPING_KEY: u8 = 1;
const HOLDER_PASSPHRASE: u8 = 2;
const SALT_LEN: usize = 32;
const COMMITMENT_LEN: usize = 32;
const SEALED_LEN: usize = VaultKey::LEN + 16;
/// format, holder, three Argon2 numbers, salt, commitment.
const PLAIN_LEN: usize = 2 + 12 + SALT_LEN + COMMITMENT_LEN;

/// Cost of turning a passphrase into a key: Argon2id (RFC 9106).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PassphraseCost {
    memory_kib: u32,
    passes: u32,
    lanes: u32,
}

impl PassphraseCost {
    /// 256 MiB, 3 passes, 4 lanes: about a second on a small machine.
    pub const DEFAULT: Self = Self { memory_kib: 256 * 1024, passes: 3, lanes: 4 };

    /// `memory_kib` in 64 MiB..=2 GiB, `passes` in 3..=16, `lanes` in 1..=16: a slot may come from anyone, and a parser
    /// that obeyed it would hand out the machine's memory.
    #[must_use]
    pub fn new(memory_kib: u32, passes: u32, lanes: u32) -> Option<Self> {
        let sound = (64 * 1024..=2 * 1024 * 1024).contains(&memory_kib)
            && (3..=16).contains(&passes)
            && (1..=16).contains(&lanes);
        sound.then_some(Self { memory_kib, passes, lanes })
    }
}

/// Who can unwrap a slot.
#[derive(Clone, Copy)]
pub enum Unlock<'a> {
    /// 32 random bytes: the server's master key, a recovery key.
    WrappingKey(&'a [u8; 32]),
    /// Something a person remembers.
    Passphrase(&'a [u8]),
}

/// A wrapped vault key, as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeySlot(Vec<u8>);

/// Why a slot does not open.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SlotError {
    /// Not a slot, or written by a newer version.
    #[error("key slot is malformed or of an unknown format")]
    Malformed,
    /// The slot belongs to another kind of holder.
    #[error("key slot is not for this kind of key")]
    OtherHolder,
    /// The slot asks for more work or memory than any real one.
    #[error("key slot asks for unreasonable work")]
    Cost,
    /// The passphrase or key is wrong, or the slot was altered in a way that cannot be told from that.
    #[error("wrong passphrase or key")]
    WrongKey,
    /// The passphrase or key is right, but the slot was altered, or is another vault's.
    #[error("key slot was altered or belongs to another vault")]
    Altered,
    /// There is nothing to open.
    #[error("vault has no key slot")]
    NoSlot,
}

impl SlotError {
    /// Which of several slots' errors tells most about why none of them opened.
    fn weight(&self) -> u8 {
        match self {
            Self::Altered => 4,
            Self::WrongKey => 3,
            Self::Cost => 2,
            Self::Malformed => 1,
            Self::OtherHolder | Self::NoSlot => 0,
        }
    }
}

impl KeySlot {
    /// Wraps `key` for a holder of 32 random bytes. `salt` must be fresh from the operating system.
    #[must_use]
    pub fn wrap(key: &VaultKey, vault: VaultId, wrapping_key: &[u8; 32], salt: [u8; SALT_LEN]) -> Self {
        let kek = kek_of_wrapping_key(wrapping_key, &salt);
        Self::build(key, vault, HOLDER_WRAPPING_KEY, [0; 3], salt, &kek)
    }

    /// Wraps `key` for a passphrase; takes as long as `cost` says. `salt` must be fresh from the operating system.
    ///
    /// # Errors
    /// [`SlotError::Cost`] when the memory is not to be had.
    pub fn wrap_passphrase(
        key: &VaultKey,
        vault: VaultId,
        passphrase: &[u8],
        cost: PassphraseCost,
        salt: [u8; SALT_LEN],
    ) -> Result<Self, SlotError> {
        let kek = kek_of_passphrase(passphrase, cost, &salt)?;
        let numbers = [cost.memory_kib, cost.passes, cost.lanes];
        Ok(Self::build(key, vault, HOLDER_PASSPHRASE, numbers, salt, &kek))
    }

    /// Takes a slot as it was stored; nothing is checked before it is opened.
    #[must_use]
    pub fn from_bytes(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// The bytes to store.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Unwraps the key of `vault`.
    ///
    /// # Errors
    /// [`SlotError::WrongKey`] when the holder is not the one the slot was made for; [`SlotError::Altered`] when it is,
    /// and the slot is not what it was, or of another vault; the others when the slot itself is unusable.
    pub fn open(&self, vault: VaultId, unlock: Unlock<'_>) -> Result<VaultKey, SlotError> {
        let (plain, sealed) = self.0.split_at_checked(PLAIN_LEN).ok_or(SlotError::Malformed)?;
        if plain[0] != FORMAT || sealed.len() != SEALED_LEN {
            return Err(SlotError::Malformed);
        }
        let number = |i: usize| {
            u32::from_le_bytes(*plain[2 + 4 * i..].first_chunk().expect("the plain part has a fixed length"))
        };
        let salt: &[u8; SALT_LEN] = plain[14..].first_chunk().expect("the plain part has a fixed length");
        let commitment = &plain[14 + SALT_LEN..];
        let kek = match (plain[1], unlock) {
            (HOLDER_WRAPPING_KEY, Unlock::WrappingKey(key)) => kek_of_wrapping_key(key, salt),
            (HOLDER_PASSPHRASE, Unlock::Passphrase(passphrase)) => {
                let cost = PassphraseCost::new(number(0), number(1), number(2)).ok_or(SlotError::Cost)?;
                kek_of_passphrase(passphrase, cost, salt)?
            }
            (HOLDER_WRAPPING_KEY | HOLDER_PASSPHRASE, _) => return Err(SlotError::OtherHolder),
            _ => return Err(SlotError::Malformed),
        };
        verify_slices_are_equal(&commit(&kek), commitment).map_err(|_| SlotError::WrongKey)?;
        let mut key = Zeroizing::new([0; VaultKey::LEN]);
        let (ciphertext, tag) = sealed.split_at(VaultKey::LEN);
        cipher(&kek)
            .open_separate_gather(zero_nonce(), Aad::from(aad(vault, plain)), ciphertext, tag, &mut key[..])
            .map_err(|_| SlotError::Altered)?;
        Ok(VaultKey::from_bytes(*key))
    }

    /// Unwraps the key of `vault` from the first of its `slots` that opens; every passphrase slot that is tried costs the
    /// work it asks for.
    ///
    /// # Errors
    /// As [`open`](Self::open), of the slot whose failure tells most; [`SlotError::NoSlot`] without any.
    pub fn open_any(slots: &[Self], vault: VaultId, unlock: Unlock<'_>) -> Result<VaultKey, SlotError> {
        let mut failure = SlotError::NoSlot;
        for slot in slots {
            match slot.open(vault, unlock) {
                Ok(key) => return Ok(key),
                Err(error) if error.weight() >= failure.weight() => failure = error,
                Err(_) => {}
            }
        }
        Err(failure)
    }

    fn build(
        key: &VaultKey,
        vault: VaultId,
        holder: u8,
        numbers: [u32; 3],
        salt: [u8; SALT_LEN],
        kek: &[u8; 32],
    ) -> Self {
        let mut bytes = Vec::with_capacity(PLAIN_LEN + SEALED_LEN);
        bytes.extend_from_slice(&[FORMAT, holder]);
        for number in numbers {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        bytes.extend_from_slice(&salt);
        bytes.extend_from_slice(&commit(kek));
        let mut sealed = Zeroizing::new(key.expose().to_vec());
        cipher(kek)
            .seal_in_place_append_tag(zero_nonce(), Aad::from(aad(vault, &bytes)), &mut *sealed)
            .expect("32 bytes are within AES-GCM's limit");
        bytes.extend_from_slice(&sealed);
        Self(bytes)
    }
}

/// Every slot has a fresh salt, hence a key of its own, hence one nonce is enough.
fn zero_nonce() -> Nonce {
    Nonce::assume_unique_for_key([0; 12])
}

fn cipher(kek: &[u8; 32]) -> LessSafeKey {
    LessSafeKey::new(UnboundKey::new(&AES_256_GCM, kek).expect("the key has 32 bytes"))
}

fn aad(vault: VaultId, plain: &[u8]) -> Vec<u8> {
    [vault.as_bytes(), plain].concat()
}

fn commit(kek: &[u8; 32]) -> [u8; COMMITMENT_LEN] {
    *blake3::keyed_hash(kek, b"delta-backup v1 key slot commitment").as_bytes()
}

fn kek_of_wrapping_key(wrapping_key: &[u8; 32], salt: &[u8; SALT_LEN]) -> Zeroizing<[u8; 32]> {
    let mut material = Zeroizing::new([0; 64]);
    material[..32].copy_from_slice(wrapping_key);
    material[32..].copy_from_slice(salt);
    Zeroizing::new(blake3::derive_key("delta-backup v1 key slot wrapping key", &material[..]))
}

fn kek_of_passphrase(
    passphrase: &[u8],
    cost: PassphraseCost,
    salt: &[u8; SALT_LEN],
) -> Result<Zeroizing<[u8; 32]>, SlotError> {
    let params =
        argon2::Params::new(cost.memory_kib, cost.passes, cost.lanes, Some(32)).map_err(|_| SlotError::Cost)?;
    let argon2 = argon2::Argon2::new(argon2::Algorithm::Argon2id, argon2::Version::V0x13, params);
    let mut kek = Zeroizing::new([0; 32]);
    argon2.hash_password_into(passphrase, salt, &mut kek[..]).map_err(|_| SlotError::Cost)?;
    Ok(kek)
}
