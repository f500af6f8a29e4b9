//! The store from outside: what it promises, on a real disk and on one that fails.
#![allow(clippy::disallowed_methods, reason = "tests look at files themselves")]

mod accounts;
mod basics;
mod commits;
mod crashes;
mod damage;
mod drive;
mod hostile;
mod model;
mod props;
mod space;
mod stale;
