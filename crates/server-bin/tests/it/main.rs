//! Tests of the server through its port, its commands and its files.

mod access;
mod backup;
mod canary;
mod client;
mod command;
mod deltas;
mod drive;
mod hostile;
mod http;
mod sealed;
mod server;
mod sessions;
