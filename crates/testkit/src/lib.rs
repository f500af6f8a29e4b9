//! Dev-only: the props that tests of several crates share. Nothing here is built into a program.

#[cfg(feature = "disk")]
pub mod disk;
pub mod link;
pub mod mount;
#[cfg(feature = "process")]
pub mod process;
pub mod shown;
#[cfg(feature = "process")]
pub mod torture;
pub mod tree;
