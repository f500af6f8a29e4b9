//! Tests of the server through its port, its commands and its files.
#![allow(clippy::disallowed_methods, reason = "tests make and look at files themselves")]

mod access;
mod backup;
mod base_path;
mod browsers;
mod canary;
mod client;
mod command;
mod dav;
mod deltas;
mod drive;
mod flood;
mod garbage;
mod hostile;
mod http;
mod known;
mod live;
mod repeat;
mod report;
mod rest;
mod retention;
mod sealed;
mod server;
mod sessions;
mod shares;
mod snapshots;
mod thumbnails;
mod tickets;
mod transfer;
mod tus;
