//! [`VaultKey`] is the one secret of a vault; [`Keys`] holds everything derived from it.
//!
//! Nothing here is printed, and everything is wiped when dropped. Derivation is BLAKE3 `derive_key`, one context string
//! per purpose, so that no two purposes ever share a key.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use delta_core::{CutParams, Cutter, HashKey};
use object::{Kind, ObjectId};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

/// The root secret of a vault: 32 random bytes that live as long as the vault.
///
/// Two of them cannot be compared, by accident or otherwise:
/// ```compile_fail,E0369
/// let key = vault::VaultKey::from_bytes([1; 32]);
/// let _ = key == key;
/// ```
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct VaultKey([u8; Self::LEN]);

impl VaultKey {
    /// Bytes in a key.
    pub const LEN: usize = 32;

    /// Takes 32 bytes from the operating system's generator, or an unwrapped key.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; Self::LEN]) -> Self {
        Self(bytes)
    }

    /// The secret itself, to be wrapped or handed to an authenticated device.
    #[must_use]
    pub const fn expose(&self) -> &[u8; Self::LEN] {
        &self.0
    }
}

impl std::fmt::Debug for VaultKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("VaultKey(secret)")
    }
}

/// Stands beside an encoded signature that is kept outside the vault: see [`Keys::signature_tag`].
pub type SignatureTag = [u8; 16];

/// What a vault's key is used for, derived once when the vault is opened.
pub struct Keys {
    id_keys: [Zeroizing<[u8; 32]>; 4],
    page_key: Zeroizing<[u8; 32]>,
    name_key: Zeroizing<[u8; 32]>,
    name_seal_key: Zeroizing<[u8; 32]>,
    data_key: Zeroizing<[u8; 32]>,
    memory_key: Zeroizing<[u8; 32]>,
    cutter: Cutter,
    hash_key: HashKey,
}

impl Keys {
    /// Derives every key of the vault.
    #[must_use]
    pub fn new(root: &VaultKey) -> Self {
        let derive = |context: &str| Zeroizing::new(blake3::derive_key(context, root.expose()));
        let name_key = derive("delta-backup v1 drive name");
        let name_seal_key = Zeroizing::new(blake3::derive_key("delta-backup v1 drive name seal", &name_key[..]));
        Self {
            id_keys: [
                derive("delta-backup v1 object id data"),
                derive("delta-backup v1 object id list"),
                derive("delta-backup v1 object id tree"),
                derive("delta-backup v1 object id snapshot"),
            ],
            page_key: derive("delta-backup v1 tree page boundary"),
            name_key,
            name_seal_key,
            data_key: derive("delta-backup v1 data key"),
            memory_key: derive("delta-backup v1 remembered signature"),
            cutter: Cutter::new(CutParams::default(), &derive("delta-backup v1 chunk boundary")),
            hash_key: HashKey::from_secret(&derive("delta-backup v1 block hash")),
        }
    }

    /// The id of an object: see `docs/formats.md`.
    ///
    /// `edges` are empty for data, however it is stored.
    #[must_use]
    pub fn object_id(&self, kind: Kind, edges: &[ObjectId], body: &[u8]) -> ObjectId {
        let key = &self.id_keys[kind as usize - 1];
        if edges.is_empty() {
            return ObjectId::from_bytes(*blake3::keyed_hash(key, body).as_bytes());
        }
        let mut hasher = blake3::Hasher::new_keyed(key);
        for edge in edges {
            hasher.update(edge.as_bytes());
        }
        hasher.update(body);
        ObjectId::from_bytes(*hasher.finalize().as_bytes())
    }

    /// The id of one chunk.
    #[must_use]
    pub fn chunk_id(&self, chunk: &[u8]) -> ObjectId {
        self.object_id(Kind::Data, &[], chunk)
    }

    /// Where chunks of this vault end.
    #[must_use]
    pub fn cutter(&self) -> &Cutter {
        &self.cutter
    }

    /// Key of the block hashes in this vault's signatures.
    #[must_use]
    pub fn hash_key(&self) -> &HashKey {
        &self.hash_key
    }

    /// Proof that whoever remembered `signature` as that of `chunk` had the vault's key.
    ///
    /// In a sealed vault nobody checks a delta before it is relied on, so a signature that was kept where others can write
    /// must not be believed without its tag.
    #[must_use]
    pub fn signature_tag(&self, chunk: &ObjectId, signature: &[u8]) -> SignatureTag {
        let mut hasher = blake3::Hasher::new_keyed(&self.memory_key);
        hasher.update(chunk.as_bytes());
        hasher.update(signature);
        *hasher.finalize().as_bytes().first_chunk().expect("a hash has 32 bytes")
    }

    /// Whether `tag` is the [`signature_tag`](Self::signature_tag) of this signature; takes the same time wherever it differs.
    #[must_use]
    pub fn is_signature_tag(&self, tag: &SignatureTag, chunk: &ObjectId, signature: &[u8]) -> bool {
        verify_slices_are_equal(tag, &self.signature_tag(chunk, signature)).is_ok()
    }

    /// A number that decides where tree pages end; depends on `name` only.
    pub(crate) fn name_page_hash(&self, name: &[u8]) -> u32 {
        let hash = blake3::keyed_hash(&self.page_key, name);
        u32::from_le_bytes(*hash.as_bytes().first_chunk().expect("a hash has 32 bytes"))
    }

    pub(crate) fn data_key(&self) -> &[u8; 32] {
        &self.data_key
    }

    pub(crate) fn name_key(&self) -> &[u8; 32] {
        &self.name_key
    }

    pub(crate) fn name_seal_key(&self) -> &[u8; 32] {
        &self.name_seal_key
    }
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Keys(secret)")
    }
}
