//! Tests of `host-fs` on real file systems.

mod attributes;
mod child;
mod copy;
mod deep;
mod escapes;
mod listing;
mod names;
mod replacing;
mod round_trip;
mod source;
