//! Deltas between versions of a chunk, and the cuts that make chunks: pure functions of bytes.
//!
//! No I/O, no clock, no randomness, no threads; the same input gives the same output on every CPU. What may come
//! from a peer is checked against [`Limits`] before anything is allocated. The words:
//!
//! - a **basis** is old bytes, the **target** is new bytes; both are chunks of a file, cut by a [`Cutter`];
//! - a [`Signature`] stands for a basis: a weak and a strong hash for each of its **blocks**, or for those
//!   **cells** of a finer level that somebody asked for;
//! - a [`Matcher`] finds blocks of several bases in a target and makes an [`OpList`]: copies and literals;
//! - an [`ExactMatcher`] does the same to the byte, for the side that has bases and target;
//! - a [`Delta`] is an encoded op list with the bytes of its literals; [`apply()`] turns it into the target again.
//!
//! What always holds:
//!
//! - an [`OpList`] covers its target once and in order; what a matcher finds encodes to at most 16 bytes more than the
//!   target;
//! - [`apply()`] makes exactly as many bytes as the target has, or none. They are the target's after an
//!   [`ExactMatcher`], and after a [`Matcher`] unless a hash matched falsely, which a content id shows;
//! - [`Matcher::refine`] leaves every copy as it is, so literals only shrink;
//! - results depend on arguments alone: not on how bytes arrived, on earlier calls, or on the CPU;
//! - decoders accept what the encoders write, byte for byte, and nothing else.
//!
//! Work is linear in the target whatever the data is. Data that makes a plain matcher slow costs bytes instead:
//!
//! | data | what bounds the work of a [`Matcher`] |
//! |---|---|
//! | one byte, or one page, repeated | equal blocks are kept once, and after a match the next block is tried first: one copy |
//! | windows that nearly equal a block, such as zeros with a one here and there | the window rolls at its usual speed: all literal |
//! | words whose windows collide in every polynomial hash (Thue-Morse) | 16 different blocks are kept per weak hash; after 32 windows in vain it is not looked up again |
//! | signatures made to crowd the index | 32 slots are looked at per weak hash |
//! | ever new windows that match in vain | a budget for strong hashes of 4 times the target and 256 KiB; then only blocks that continue a copy are tried, and [`MatchStats::gave_up`] says so |
//! | deltas of very many copies | [`copy_count_max`] |
//!
//! The whole path of a changed chunk, with two levels of signature:
//!
//! ```
//! use delta_core::*;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let key = HashKey::from_secret(&[7; 32]);
//! let basis: Vec<u8> = (0..200_000u32).flat_map(|i| i.wrapping_mul(0x9e37_79b1).to_le_bytes()).collect();
//! let mut target = basis.clone();
//! target.splice(300_000..300_100, *b"a new row");
//!
//! // The server holds the basis and sends a coarse signature of it.
//! let coarse = SignatureParams::on_page_grid(BlockLen::COARSE, StrongKind::COARSE, 0);
//! let mut message = Vec::new();
//! Signature::compute(&basis, coarse, &key)?.encode(&mut message);
//!
//! // The client holds the target, and finds all but the literal around the change.
//! let limits = Limits::default();
//! let basis_lens = [u32::try_from(basis.len())?];
//! let signature = Signature::decode(&message, coarse, basis_lens[0], &limits)?;
//! let mut bases = BasisSet::new();
//! bases.push(0, &signature)?;
//! let mut matcher = Matcher::new(&key);
//! let mut ops = OpList::new();
//! matcher.diff(&bases, &target, &mut ops)?;
//! assert!(ops.literal_len() < 2 * 8192);
//!
//! // It asks for fine cells where that literal may come from; the server answers for just these ranges.
//! let fine = coarse.level(BlockLen::FINE, StrongKind::FINE);
//! let wanted = ops.wanted_cells(&basis_lens, GapRules { literal_len_min: 512, reach: 512 });
//! let [(0, ranges)] = &wanted[..] else { unreachable!("one basis, one change") };
//! message.clear();
//! Signature::compute_cells(&basis, ranges, fine, &key)?.encode(&mut message);
//!
//! let cells = Signature::decode_cells(&message, ranges, fine, basis_lens[0], &limits)?;
//! let mut bases = BasisSet::new();
//! bases.push(0, &cells)?;
//! matcher.refine(&bases, &target, &mut ops)?;
//! assert!(ops.literal_len() < 2 * 512);
//!
//! // The server rebuilds the target and compares its content id; then it encodes it more tightly for storage.
//! let mut delta = Vec::new();
//! ops.encode(&basis_lens, &target, &mut delta)?;
//! let mut rebuilt = Vec::new();
//! apply(&[&basis], &Delta::decode(&delta, &basis_lens, &limits)?, 4 << 20, &mut rebuilt)?;
//! assert_eq!(blake3::hash(&rebuilt), blake3::hash(&target));
//!
//! ExactMatcher::new().refine(&[&basis], &rebuilt, &mut ops)?;
//! assert_eq!(ops.literal_len(), 9);
//! # Ok(())
//! # }
//! ```

mod apply;
mod block;
mod cut;
mod delta;
mod exact;
mod filter;
mod index;
mod key;
mod limits;
mod matcher;
mod ops;
mod rolling;
mod seeds;
mod signature;
mod strong;
pub mod varint; // vault and client write their numbers in the same form

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
