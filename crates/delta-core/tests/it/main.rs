//! What delta-core promises, checked from outside.
//!
//! Random tests are proptest's: a failure prints the input and a seed that is kept in a file beside the test;
//! `PROPTEST_RNG_SEED` and `PROPTEST_CASES` choose others.

#![expect(clippy::single_range_in_vec_init, reason = "one range of bytes is what is meant")]

mod collisions;
mod cut;
mod exact;
mod golden;
mod hostile;
mod identities;
mod op_list;
mod oracle;
mod support;
mod wire_bytes;
