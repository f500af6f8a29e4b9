//! The real binaries against each other, over TLS on loopback: what a user does, and what must hold when he does it.
#![expect(clippy::print_stderr, reason = "the runner shows what a test did when it fails or leaves something out")]

mod bounds;
mod bytes;
mod cuts;
mod decisions;
mod exhausted;
mod failures;
mod forged;
mod frozen;
mod full_disk;
mod golden;
mod healing;
mod interrupted;
mod isolation;
mod mirror;
mod nonces;
mod proxies;
mod restoring;
mod retention;
mod secrecy;
mod smoke;
mod space;
mod streams;
mod support;
mod syscalls;
mod torture;
mod trees;
