//! Which snapshots of a chain stay and which go: a [`Policy`] over times and order of receipt, decided by [`decide()`].
//!
//! Nothing here reads a clock or touches the store, and no date that a client wrote comes in: only when the server received
//! each snapshot, by its own clock of then, and in which order. Where the two contradict each other the order is right.
//!
//! **What holds.** A snapshot that is held, younger than the minimum age, from before an unusual change that nobody confirmed,
//! or the newest stays whatever the policy says. A policy without rules keeps everything. A time in the future, or one that contradicts the order, takes nobody's place.

mod belief;
mod decide;
mod period;
mod policy;
#[cfg(test)]
mod tests;

pub(crate) use decide::{Candidate, Verdict, decide};
pub(crate) use policy::Policy;

/// So few may always go at a time.
const USUAL_COUNT: usize = 10;

/// Whether a run would take away unusually much of a chain: more than ten snapshots, and more than a third of them.
pub(crate) fn is_unusual(all_count: usize, going_count: usize) -> bool {
    going_count > USUAL_COUNT && going_count.saturating_mul(3) > all_count
}
