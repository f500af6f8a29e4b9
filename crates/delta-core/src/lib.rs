//! Deltas between versions of a chunk, and the cuts that make chunks.
#![doc = ""]

mod apply;
mod block;
mod cut;
mod delta;
mod exact;
mod index;
mod key;
mod limits;
mod matcher;
mod ops;
mod rolling;
mod signature;
mod strong;
pub mod varint;

pub use apply::{ApplyError, apply};
pub use block::BlockLen;
pub use cut::{Chunks, CutParams, CutParamsError, Cutter};
pub use delta::{Delta, DeltaError, EncodeError, Piece, Pieces};
pub use exact::ExactMatcher;
pub use key::HashKey;
pub use limits::{BASIS_COUNT_MAX, BLOCK_COUNT_MAX, LEN_MAX, Limits, copy_count_max};
pub use matcher::{BasisSet, BasisSetError, MatchError, MatchStats, Matcher};
pub use ops::{BasisRange, Gap, GapRules, Op, OpList};
pub use signature::{Signature, SignatureBuilder, SignatureError, SignatureParams};
pub use strong::{Blake3Len, StrongKind, Xxh3Len};
