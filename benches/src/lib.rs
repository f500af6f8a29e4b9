//! The released programs on large data, measured from outside: what `benches` runs, and [`peers::smoke`], which a test runs.

pub mod acceptance;
pub mod growth;
pub mod load;
pub mod peers;
mod report;
mod rig;
pub mod scale;
mod sources;
pub mod torture;
