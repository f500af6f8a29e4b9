//! Tests of `host-fs` on real file systems.
#![allow(clippy::disallowed_methods, reason = "tests make and look at files themselves")]

mod attributes;
mod child;
mod copy;
mod deep;
mod escapes;
mod listing;
mod names;
mod present;
mod replacing;
mod round_trip;
mod source;
