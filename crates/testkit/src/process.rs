//! The real programs, run by tests and measurements: a [`Server`] of its own on a free loopback port, a [`Client`] with
//! folders of its own, a [`Script`] that asks by HTTP.

mod client;
mod memory;
mod script;
mod server;

pub use client::{Client, Run, Running};
pub use memory::{forget_peak, peak_resident, resident};
pub use script::{Answer, Script};
pub use server::Server;

/// Why a program could not do what was wanted, for people.
pub type Outcome<T = ()> = Result<T, String>;
