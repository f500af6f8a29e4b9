//! The real programs, run by tests and measurements: a [`Server`] of its own on a free loopback port, a [`Client`] with
//! folders of its own.

mod client;
mod memory;
mod server;

pub use client::{Client, Run, Running};
pub use memory::peak_resident;
pub use server::Server;

/// Why a program could not do what was wanted, for people.
pub type Outcome<T = ()> = Result<T, String>;
