//! The store from outside: what it promises, on a real disk and on one that fails.
#![allow(clippy::disallowed_methods, reason = "tests look at files themselves")]

mod accounts;
mod basics;
mod commits;
mod crashes;
mod damage;
mod drive;
mod gc;
mod gc_model;
mod heal;
mod hostile;
mod ledger;
mod logins;
mod model;
mod pins;
mod props;
mod rebuild;
mod space;
mod stale;
mod traffic;
mod trash;
mod uploads;
