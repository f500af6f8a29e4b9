//! What several fuzz targets share: [`Content`], long inputs described by few bytes, and [`Edit`]s of them.

use std::sync::LazyLock;

use delta_core::{BlockLen, Delta, HashKey, Limits, OpList, SignatureParams, StrongKind, Xxh3Len, apply};
use libfuzzer_sys::arbitrary::{self, Arbitrary};

/// Longest input that is made from a description, in bytes: a target should do thousands of runs a second.
pub const LEN_MAX: usize = 1 << 12;

/// Bytes of a kind that behaves in a way of its own; fuzzers find long repeats only slowly.
#[derive(Arbitrary, Clone, Debug)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Content {
    Plain(Vec<u8>),
    Random {
        seed: u8,
        len: u16,
    },
    Repeated {
        piece: Vec<u8>,
        len: u16,
    },
    /// Pieces of it collide in every polynomial hash modulo a power of two.
    ThueMorse {
        skipped: u16,
        len: u16,
    },
}

impl Content {
    /// The bytes, at most [`LEN_MAX`].
    pub fn bytes(&self) -> Vec<u8> {
        let capped = |len: u16| usize::from(len) % (LEN_MAX + 1);
        match self {
            Self::Plain(bytes) => bytes[..bytes.len().min(LEN_MAX)].to_vec(),
            Self::Random { seed, len } => {
                let mut bytes = vec![0; capped(*len)];
                blake3::Hasher::new().update(&[*seed]).finalize_xof().fill(&mut bytes);
                bytes
            }
            Self::Repeated { piece, len } => piece.iter().copied().cycle().take(capped(*len)).collect(),
            Self::ThueMorse { skipped, len } => {
                let start = usize::from(*skipped);
                (start..start + capped(*len)).map(|i| b'a' + u8::from(i.count_ones() % 2 == 1)).collect()
            }
        }
    }
}

/// One change of a file.
#[derive(Arbitrary, Clone, Debug)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Edit {
    Overwrite { at: u16, new: Vec<u8> },
    Insert { at: u16, new: Vec<u8> },
    Delete { at: u16, len: u16 },
    Move { at: u16, len: u16, to: u16 },
    Repeat { at: u16, len: u16, to: u16 },
}

/// The file that `edits`, at most 16 of them, make of `bytes`.
pub fn edited(mut bytes: Vec<u8>, edits: &[Edit]) -> Vec<u8> {
    for edit in edits.iter().take(16) {
        let place = |at: u16| usize::from(at) % (bytes.len() + 1);
        let range = |at: u16, len: usize| place(at)..place(at).saturating_add(len).min(bytes.len());
        match edit {
            Edit::Overwrite { at, new } => {
                bytes.splice(range(*at, new.len()), new.iter().copied());
            }
            Edit::Insert { at, new } => {
                bytes.splice(range(*at, 0), new.iter().copied());
            }
            Edit::Delete { at, len } => {
                bytes.drain(range(*at, usize::from(*len)));
            }
            Edit::Move { at, len, to } => {
                let moved: Vec<u8> = bytes.drain(range(*at, usize::from(*len))).collect();
                let to = usize::from(*to) % (bytes.len() + 1);
                bytes.splice(to..to, moved);
            }
            Edit::Repeat { at, len, to } => {
                let again = bytes[range(*at, usize::from(*len))].to_vec();
                let to = place(*to);
                bytes.splice(to..to, again);
            }
        }
        bytes.truncate(2 * LEN_MAX);
    }
    bytes
}

/// Parameters of a signature: every block length, strong hash and phase.
#[derive(Arbitrary, Clone, Copy, Debug)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Params {
    pub block_log2: u8,
    pub strong: u8,
    pub file_offset: u32,
}

impl Params {
    /// The parameters.
    pub fn signature_params(&self) -> SignatureParams {
        let block_len = BlockLen::new(64 << (self.block_log2 % 12)).expect("64 B to 128 KiB");
        let strong = match self.strong % 4 {
            0 => StrongKind::COARSE,
            1 => StrongKind::FINE,
            2 => StrongKind::SEALED,
            _ => StrongKind::Xxh3(Xxh3Len::new(8).expect("2 to 8")),
        };
        SignatureParams::on_page_grid(block_len, strong, u64::from(self.file_offset))
    }
}

/// The key of all signatures.
pub fn key() -> HashKey {
    static KEY: LazyLock<HashKey> = LazyLock::new(|| HashKey::from_secret(&[7; 32]));
    KEY.clone()
}

/// The lengths of bases.
pub fn lens(bases: &[&[u8]]) -> Vec<u32> {
    bases.iter().map(|basis| u32::try_from(basis.len()).expect("made from LEN_MAX")).collect()
}

/// Encodes, decodes and applies `ops`; checks on the way that the encoded form is short and gives the same ops again.
pub fn rebuilt(bases: &[&[u8]], target: &[u8], ops: &OpList) -> Vec<u8> {
    let mut encoded = Vec::new();
    ops.encode(&lens(bases), target, &mut encoded).expect("made for these");
    assert!(encoded.len() <= target.len() + 16);
    let lens = lens(bases);
    let delta = Delta::decode(&encoded, &lens, &Limits::default()).expect("just encoded");
    assert_eq!(delta.op_list(), *ops);
    let mut out = Vec::new();
    apply(bases, &delta, target.len(), &mut out).expect("read against these bases");
    assert_eq!(out.len(), target.len());
    out
}
