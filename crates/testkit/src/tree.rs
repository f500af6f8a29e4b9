//! Trees of every kind of file: made from a seed, changed as people change them, and compared to the last bit.
//!
//! [`TreeSpec`] writes a tree, [`mutate()`] changes one in place, [`compare`] tells how two differ. The oracle shares no
//! code with the crates it judges.

mod generate;
mod image;
mod mutate;
mod random;

pub use generate::{TreeSpec, Written};
pub use image::{CompareOptions, Difference, TreeImage, compare};
pub use mutate::{Mutation, mutate};
pub use random::{Random, seed};
