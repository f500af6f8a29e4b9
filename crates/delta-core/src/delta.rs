//! [`Delta`]: the encoded form of an [`OpList`] together with the bytes of its literals.
//!
//! One list has one encoding, and [`Delta::decode`] accepts nothing else. Copies are byte-granular. Compression and
//! the ids of the bases are the business of whoever stores or sends it; to compress well, numbers of one meaning
//! stand together, in front of the literals.

use std::fmt;

use crate::limits::copy_count_max;
use crate::{BasisRange, LEN_MAX, Limits, Op, OpList, varint};

const VERSION: u64 = 1;

/// Why an [`OpList`] could not be encoded: it does not belong to this target or these bases.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EncodeError {
    /// The list is for a target of another length.
    #[error("ops for {list_target_len} bytes do not fit a target of {target_len}")]
    OtherTarget {
        /// Bytes the list makes.
        list_target_len: u32,
        /// Length of the target in bytes.
        target_len: usize,
    },
    /// A copy ends past its basis, or its basis is not among those given.
    #[error("op {op_index} copies past the end of basis {slot}")]
    CopyPastBasis {
        /// Which op.
        op_index: usize,
        /// The basis it copies from.
        slot: u8,
    },
    /// More copies than a decoder accepts; send the target whole.
    #[error("{copy_count} copies exceed the limit of {copy_count_max}")]
    TooManyCopies {
        /// Copies in the list.
        copy_count: usize,
        /// The limit for a target of this length.
        copy_count_max: u32,
    },
}

/// Why bytes are not a [`Delta`]. The peer or the store broke them; nothing of them can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DeltaError {
    /// More bases than the limit allows.
    #[error("{basis_count} bases exceed the limit of {basis_count_max}")]
    TooManyBases {
        /// Bases given.
        basis_count: usize,
        /// The limit.
        basis_count_max: u8,
    },
    /// A basis is longer than the limit, or than [`LEN_MAX`].
    #[error("basis {slot} of {basis_len} bytes exceeds the limit of {basis_len_max}")]
    BasisTooLong {
        /// Which basis.
        slot: usize,
        /// Its length in bytes.
        basis_len: u32,
        /// The limit in bytes.
        basis_len_max: u32,
    },
    /// Written by a version this one does not know.
    #[error("delta version {version} is unknown")]
    UnknownVersion {
        /// The version found.
        version: u64,
    },
    /// A number is cut short or not in its shortest form.
    #[error("the number at byte {at} is cut short or not in its shortest form")]
    BadNumber {
        /// Where in the encoded bytes it starts.
        at: usize,
    },
    /// The target is longer than the limit, or than [`LEN_MAX`].
    #[error("a target of {target_len} bytes exceeds the limit of {target_len_max}")]
    TargetTooLong {
        /// Its length in bytes.
        target_len: u64,
        /// The limit in bytes.
        target_len_max: u32,
    },
    /// More copies than a target of this length may have.
    #[error("{copy_count} copies exceed the limit of {copy_count_max}")]
    TooManyCopies {
        /// Copies declared.
        copy_count: u64,
        /// The limit.
        copy_count_max: u32,
    },
    /// A copy is empty, or continues the one before it, which one copy would say.
    #[error("copy {copy_index} is empty or continues the one before it")]
    NotCanonical {
        /// Which copy.
        copy_index: u32,
    },
    /// A copy does not lie within one basis.
    #[error("copy {copy_index} does not lie within one basis")]
    CopyPastBasis {
        /// Which copy.
        copy_index: u32,
    },
    /// The ops make more bytes than the target has.
    #[error("copy {copy_index} ends past the end of a {target_len}-byte target")]
    PastTarget {
        /// Which copy.
        copy_index: u32,
        /// Length of the target in bytes.
        target_len: u32,
    },
    /// The literal bytes are more or fewer than the ops ask for.
    #[error("{found} bytes of literals instead of {expected}")]
    LiteralLen {
        /// Bytes found.
        found: usize,
        /// Bytes the ops ask for.
        expected: u32,
    },
}

impl OpList {
    /// Appends the encoded delta: these ops, and the bytes of `target` that they leave as literals. `basis_lens` are
    /// the lengths of all bases in bytes, in order of their slots; the decoder needs the same.
    ///
    /// At most 11 bytes more than the target when nothing was found. Cost: one pass over the ops and the literals.
    ///
    /// # Errors
    /// [`EncodeError`] when the list does not fit target and bases, or has too many copies; `out` is unchanged then.
    pub fn encode(&self, basis_lens: &[u32], target: &[u8], out: &mut Vec<u8>) -> Result<(), EncodeError> {
        let target_len = self.target_len();
        if target.len() != target_len as usize {
            return Err(EncodeError::OtherTarget { list_target_len: target_len, target_len: target.len() });
        }
        let numbers = self.copy_numbers(basis_lens)?;
        let copy_count = numbers.len();
        let copy_count_max = copy_count_max(target_len);
        if copy_count > copy_count_max as usize {
            return Err(EncodeError::TooManyCopies { copy_count, copy_count_max });
        }

        varint::put(VERSION, out);
        varint::put(u64::from(target_len), out);
        varint::put(copy_count as u64, out);
        for section in 0..3 {
            for copy in &numbers {
                varint::put(copy[section], out);
            }
        }
        for (range, op) in self.placed() {
            if matches!(op, Op::Literal { .. }) {
                out.extend_from_slice(&target[range.start as usize..range.end as usize]);
            }
        }
        Ok(())
    }

    /// For each copy: length of the literal in front of it, its own length, and its zigzag jump. The jump leads from
    /// where the copy would start, had the literal replaced as many bytes of the basis, to where it does start, in
    /// the space of all bases laid end to end.
    fn copy_numbers(&self, basis_lens: &[u32]) -> Result<Vec<[u64; 3]>, EncodeError> {
        // Bounded: ops of our own.
        let mut numbers = Vec::with_capacity(self.ops().len() / 2 + 1);
        let mut end = 0;
        let mut literal_len = 0;
        for (op_index, &op) in self.ops().iter().enumerate() {
            match op {
                Op::Literal { len } => literal_len = len,
                Op::Copy { slot, offset, len } => {
                    let slot_index = usize::from(slot);
                    if basis_lens.get(slot_index).is_none_or(|&basis_len| offset + len > basis_len) {
                        return Err(EncodeError::CopyPastBasis { op_index, slot });
                    }
                    let basis_start: i64 = basis_lens[..slot_index].iter().map(|&len| i64::from(len)).sum();
                    let start = basis_start + i64::from(offset);
                    let jump = start - (end + i64::from(literal_len));
                    numbers.push([u64::from(literal_len), u64::from(len), varint::zigzag(jump)]);
                    end = start + i64::from(len);
                    literal_len = 0;
                }
            }
        }
        Ok(numbers)
    }
}

/// A delta that was read and found right in every respect that can be judged without the bases' bytes.
///
/// Borrows the encoded bytes and copies none of them. Every copy lies within its basis, and the pieces make exactly
/// [`target_len`](Self::target_len) bytes.
#[derive(Clone)]
pub struct Delta<'d> {
    basis_lens: Vec<u32>,
    target_len: u32,
    copy_count: u32,
    literal_lens: &'d [u8],
    copy_lens: &'d [u8],
    jumps: &'d [u8],
    literals: &'d [u8],
}

impl<'d> Delta<'d> {
    /// Reads a delta against bases of these lengths (bytes, in order of their slots).
    ///
    /// The bytes may come from anyone. Allocates 4 bytes per basis and nothing else; costs one pass over the copies.
    ///
    /// # Errors
    /// [`DeltaError`] for anything that [`OpList::encode`] would not have written for these bases, and for what
    /// exceeds `limits`.
    pub fn decode(bytes: &'d [u8], basis_lens: &[u32], limits: &Limits) -> Result<Self, DeltaError> {
        check_bases(basis_lens, limits)?;
        let mut reader = NumberReader { bytes, at: 0 };
        let version = reader.take()?;
        if version != VERSION {
            return Err(DeltaError::UnknownVersion { version });
        }
        let target_len = reader.take()?;
        let target_len_max = limits.target_len_max.min(LEN_MAX);
        let target_len = match u32::try_from(target_len) {
            Ok(len) if len <= target_len_max => len,
            _ => {
                return Err(DeltaError::TargetTooLong { target_len, target_len_max });
            }
        };
        let copy_count = reader.take()?;
        let copy_count_max = copy_count_max(target_len);
        let copy_count = match u32::try_from(copy_count) {
            Ok(count) if count <= copy_count_max => count,
            _ => {
                return Err(DeltaError::TooManyCopies { copy_count, copy_count_max });
            }
        };
        let delta = Self {
            basis_lens: basis_lens.to_vec(),
            target_len,
            copy_count,
            literal_lens: reader.take_section(copy_count)?,
            copy_lens: reader.take_section(copy_count)?,
            jumps: reader.take_section(copy_count)?,
            literals: &bytes[reader.at..],
        };

        let mut copies = delta.copies();
        let mut copied_len = 0;
        for _ in 0..copy_count {
            copied_len += copies.take()?.len;
        }
        let expected = target_len - copied_len;
        if delta.literals.len() != expected as usize {
            return Err(DeltaError::LiteralLen { found: delta.literals.len(), expected });
        }
        Ok(delta)
    }

    /// Length of the target in bytes.
    pub fn target_len(&self) -> u32 {
        self.target_len
    }

    /// Bytes of target that the delta brings along.
    pub fn literal_len(&self) -> u32 {
        u32::try_from(self.literals.len()).expect("at most target_len")
    }

    /// The lengths of the bases it was read against, in bytes.
    pub fn basis_lens(&self) -> &[u32] {
        &self.basis_lens
    }

    /// The pieces of the target, in order; for callers that do not hold the bases in memory. None is empty.
    pub fn pieces(&self) -> Pieces<'_, 'd> {
        Pieces { copies: self.copies(), copies_left: self.copy_count, literals: self.literals, copy: None }
    }

    /// The ops, without the bytes of the literals.
    pub fn op_list(&self) -> OpList {
        let mut list = OpList::new();
        for piece in self.pieces() {
            list.push(match piece {
                Piece::Copy(BasisRange { slot, range }) => {
                    Op::Copy { slot, offset: range.start, len: range.end - range.start }
                }
                Piece::Literal(bytes) => Op::Literal { len: u32::try_from(bytes.len()).expect("at most target_len") },
            });
        }
        list
    }

    fn copies(&self) -> Copies<'_, 'd> {
        Copies {
            basis_lens: &self.basis_lens,
            target_len: self.target_len,
            literal_lens: self.literal_lens,
            copy_lens: self.copy_lens,
            jumps: self.jumps,
            copy_index: 0,
            made_len: 0,
            end: 0,
            slot: 0,
            basis_start: 0,
        }
    }
}

impl fmt::Debug for Delta<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Delta")
            .field("target_len", &self.target_len)
            .field("copy_count", &self.copy_count)
            .field("literal_len", &self.literals.len())
            .finish_non_exhaustive()
    }
}

/// Bytes of a target: what a [`Delta`] says to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece<'d> {
    /// These bytes of a basis.
    Copy(BasisRange),
    /// These bytes.
    Literal(&'d [u8]),
}

/// The [`Piece`]s of a [`Delta`], in order of the target.
#[derive(Clone)]
pub struct Pieces<'a, 'd> {
    copies: Copies<'a, 'd>,
    copies_left: u32,
    literals: &'d [u8],
    /// The copy whose literal was handed out just now.
    copy: Option<BasisRange>,
}

impl<'d> Iterator for Pieces<'_, 'd> {
    type Item = Piece<'d>;

    #[inline]
    fn next(&mut self) -> Option<Piece<'d>> {
        if let Some(copy) = self.copy.take() {
            return Some(Piece::Copy(copy));
        }
        if self.copies_left == 0 {
            let literal = std::mem::take(&mut self.literals);
            return (!literal.is_empty()).then_some(Piece::Literal(literal));
        }
        self.copies_left -= 1;
        let copy = self.copies.take().expect("decode took the same copies");
        let range = BasisRange { slot: copy.slot, range: copy.offset..copy.offset + copy.len };
        if copy.literal_len == 0 {
            return Some(Piece::Copy(range));
        }
        let (literal, rest) = self.literals.split_at(copy.literal_len as usize);
        self.literals = rest;
        self.copy = Some(range);
        Some(Piece::Literal(literal))
    }
}

/// A copy, and the literal in front of it.
struct PlacedCopy {
    literal_len: u32,
    slot: u8,
    offset: u32,
    len: u32,
}

/// Reads the copies of a delta one by one, and holds each against bases, target and canonical form.
#[derive(Clone)]
struct Copies<'a, 'd> {
    basis_lens: &'a [u32],
    target_len: u32,
    literal_lens: &'d [u8],
    copy_lens: &'d [u8],
    jumps: &'d [u8],
    copy_index: u32,
    /// Bytes of target up to the end of the last copy.
    made_len: u32,
    /// End of the last copy, in the space of all bases laid end to end.
    end: i64,
    /// Basis of the last copy.
    slot: usize,
    /// Where that basis starts in that space.
    basis_start: i64,
}

impl Copies<'_, '_> {
    /// The next copy; there must be one.
    #[inline]
    fn take(&mut self) -> Result<PlacedCopy, DeltaError> {
        let copy_index = self.copy_index;
        let [literal_len, len, jump] = [&mut self.literal_lens, &mut self.copy_lens, &mut self.jumps]
            .map(|section| varint::take(section).expect("each section was read before as so many numbers"));
        let Some((literal_len, len)) = self.fit_target(literal_len, len) else {
            return Err(DeltaError::PastTarget { copy_index, target_len: self.target_len });
        };
        let Some(start) = (self.end + i64::from(literal_len)).checked_add(varint::unzigzag(jump)) else {
            return Err(DeltaError::CopyPastBasis { copy_index });
        };
        let last_slot = self.slot;
        let Some(offset) = self.find_slot(start, len) else {
            return Err(DeltaError::CopyPastBasis { copy_index });
        };
        let continues = copy_index > 0 && literal_len == 0 && start == self.end && self.slot == last_slot;
        if len == 0 || continues {
            return Err(DeltaError::NotCanonical { copy_index });
        }
        self.copy_index += 1;
        self.made_len += literal_len + len;
        self.end = start + i64::from(len);
        let slot = u8::try_from(self.slot).expect("at most basis_count_max");
        Ok(PlacedCopy { literal_len, slot, offset, len })
    }

    /// Both lengths, when the target has room for them.
    #[inline]
    fn fit_target(&self, literal_len: u64, len: u64) -> Option<(u32, u32)> {
        let room = self.target_len - self.made_len;
        let literal_len = u32::try_from(literal_len).ok().filter(|&literal_len| literal_len <= room)?;
        let len = u32::try_from(len).ok().filter(|&len| len <= room - literal_len)?;
        Some((literal_len, len))
    }

    /// Moves to the basis that holds byte `start` of all bases laid end to end; the offset in it when `len` bytes
    /// from there are still in it.
    #[inline]
    fn find_slot(&mut self, start: i64, len: u32) -> Option<u32> {
        while start < self.basis_start {
            self.slot = self.slot.checked_sub(1)?;
            self.basis_start -= i64::from(self.basis_lens[self.slot]);
        }
        loop {
            let &basis_len = self.basis_lens.get(self.slot)?;
            let offset = start - self.basis_start;
            if offset < i64::from(basis_len) {
                let fits = offset + i64::from(len) <= i64::from(basis_len);
                return u32::try_from(offset).ok().filter(|_| fits);
            }
            self.slot += 1;
            self.basis_start += i64::from(basis_len);
        }
    }
}

/// Numbers from the front of encoded bytes.
struct NumberReader<'d> {
    bytes: &'d [u8],
    at: usize,
}

impl<'d> NumberReader<'d> {
    fn take(&mut self) -> Result<u64, DeltaError> {
        let mut rest = &self.bytes[self.at..];
        let number = varint::take(&mut rest).ok_or(DeltaError::BadNumber { at: self.at })?;
        self.at = self.bytes.len() - rest.len();
        Ok(number)
    }

    /// The bytes of the next `count` numbers.
    fn take_section(&mut self, count: u32) -> Result<&'d [u8], DeltaError> {
        let start = self.at;
        for _ in 0..count {
            self.take()?;
        }
        Ok(&self.bytes[start..self.at])
    }
}

fn check_bases(basis_lens: &[u32], limits: &Limits) -> Result<(), DeltaError> {
    if basis_lens.len() > usize::from(limits.basis_count_max) {
        let basis_count_max = limits.basis_count_max;
        return Err(DeltaError::TooManyBases { basis_count: basis_lens.len(), basis_count_max });
    }
    let basis_len_max = limits.basis_len_max.min(LEN_MAX);
    match basis_lens.iter().position(|&len| len > basis_len_max) {
        Some(slot) => Err(DeltaError::BasisTooLong { slot, basis_len: basis_lens[slot], basis_len_max }),
        None => Ok(()),
    }
}
