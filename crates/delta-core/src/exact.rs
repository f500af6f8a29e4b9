//! [`ExactMatcher`]: byte-exact matching for the side that holds bases and target.

use crate::{LEN_MAX, MatchError, Op, OpList};

/// Finds what a target has in common with its bases, to the byte.
#[derive(Debug, Default)]
pub struct ExactMatcher {}

impl ExactMatcher {
    /// A matcher without memory yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Replaces `ops` by copies from `bases`, as many as were found in `target`, and literals.
    ///
    /// # Errors
    /// [`MatchError`] past the limits.
    pub fn diff(&mut self, bases: &[&[u8]], target: &[u8], ops: &mut OpList) -> Result<(), MatchError> {
        let target_len = u32::try_from(target.len()).ok().filter(|&len| len <= LEN_MAX);
        let target_len = target_len.ok_or(MatchError::TargetTooLong {
            target_len: target.len(),
        })?;
        *ops = OpList::all_literal(target_len);
        self.refine(bases, target, ops)
    }

    /// Extends the copies of `ops` to the byte and looks for further ones between them. A copy that is wrong becomes
    /// a literal first, so the result always makes `target`.
    ///
    /// # Errors
    /// [`MatchError`] past the limits, or when `ops` are for another target.
    pub fn refine(&mut self, bases: &[&[u8]], target: &[u8], ops: &mut OpList) -> Result<(), MatchError> {
        if target.len() != ops.target_len() as usize {
            return Err(MatchError::OtherTarget {
                list_target_len: ops.target_len(),
                target_len: target.len(),
            });
        }
        let mut right = OpList::new();
        for (range, op) in ops.placed() {
            right.push(match op {
                Op::Copy { slot, offset, len } => {
                    let copied = bases
                        .get(usize::from(slot))
                        .and_then(|b| b.get(offset as usize..offset as usize + len as usize));
                    if copied == Some(&target[range.start as usize..range.end as usize]) {
                        op
                    } else {
                        Op::Literal { len }
                    }
                }
                literal => literal,
            });
        }
        *ops = right;
        Ok(())
    }
}
