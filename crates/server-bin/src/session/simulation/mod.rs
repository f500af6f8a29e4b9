//! Three clients, their connections, a server, its disk and all clocks in one thread: one seed decides what happens, and
//! the same seed makes it happen again.
//!
//! **Real** are both exchanges and their codecs, the server's [`Driver`](super::Driver) and all it does with requests, its
//! sessions ([`Writing`](super::writer::Writing)), login, ingest, pins, retention, the store, and `vault` at both ends.
//! **Simulated** are sockets ([`testkit::link`]), the disk below packs ([`testkit::disk`]), the clocks, threads and tasks
//! (whatever takes time happens when the seed says), and what drives the client's exchange. The catalog is SQLite's on a
//! real file: it survives, as its settings promise. TLS, HTTP and the scheduling of tokio are not here.
//!
//! Connections delay, cut into pieces, break at any byte, are told of it or not, and are replaced while the server still
//! holds the old one. The disk refuses, tears, fills up, reads less than it is asked for, or nothing at first, loses power;
//! both ends die; clocks jump, machines sleep. Collection of garbage without grace, retention, purge, sweep and verification
//! go on beside it. When all is quiet, some of what is stored rots.
//!
//! **What holds, whatever happens:** what was acknowledged as durable is there and is never sent again; what was
//! acknowledged as committed restores equal, until it is purged, in its time; a restore that has begun ends well; queues
//! are bounded; once trouble is over everybody finishes; what two clients have in common is stored once.

mod device;
mod files;
mod host;
mod oracle;
mod rot;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};

use world::{Tally, World};

/// A rule that is broken on purpose, to see that somebody notices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mutation {
    /// The server acknowledges what it has not sealed.
    AcknowledgesTooEarly,
    /// A client that comes back takes for stored what it has sent, and does not hear that it is missing.
    ForgetsWhatWasNotDurable,
    /// A client that comes back commits under another key.
    DrawsAnotherKey,
    /// What is in the trash goes at once.
    PurgesTooEarly,
}

/// The histories of one run: those of `TEST_SEED` and the ones after it, as many as `TEST_HISTORIES` says.
fn histories() -> (u64, u64) {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse().expect("it is a number"));
    let count = number("TEST_HISTORIES");
    match number("TEST_SEED") {
        Some(seed) => (seed, count.unwrap_or(1)),
        None => (0, count.unwrap_or(500)),
    }
}

/// Says which seed it was when a history fails.
struct TellSeed(u64);

impl Drop for TellSeed {
    #[expect(clippy::print_stderr, reason = "a failing test speaks")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("TEST_SEED={} runs this history again", self.0);
        }
    }
}

#[test]
#[expect(clippy::print_stderr, reason = "what it came to is shown with --no-capture")]
fn random_histories_of_clients_a_network_and_a_server_lose_nothing() {
    let (first, count) = histories();
    if count == 1 {
        // One that is looked at.
        let level = tracing::Level::DEBUG;
        drop(tracing_subscriber::fmt().with_max_level(level).with_test_writer().without_time().try_init());
    }
    let mut all = Tally::default();
    for seed in (0..count).map(|number| first.wrapping_add(number)) {
        let _told = TellSeed(seed);
        all.add(World::new(seed, None).run());
    }
    eprintln!("{count} histories: {all:?}");
    if count >= 500 {
        let counts = all.counts;
        let seldom = [counts.restored, counts.refused, counts.shared, counts.repeated, all.purged];
        assert!(seldom.iter().all(|times| *times >= count / 50), "some things hardly happen: {all:?}");
    }
}

/// Histories whose store rots when all is quiet.
const ROTTEN: u64 = 100;

#[test]
#[expect(clippy::print_stderr, reason = "what it came to is shown with --no-capture")]
fn what_rots_after_a_history_is_named_and_comes_back() {
    let (first, count) = histories();
    let count = count.min(ROTTEN);
    let mut all = rot::Rot::default();
    for seed in (0..count).map(|number| first.wrapping_add(number)) {
        let _told = TellSeed(seed);
        all.add(World::new(seed, None).run_and_rot());
    }
    eprintln!("{count} histories: {all:?}");
    if count == ROTTEN {
        assert!(all.hits >= count && all.healed >= count / 10, "little happens: {all:?}");
    }
}

#[test]
fn the_same_seed_makes_the_same_history() {
    for seed in [1, 2, 3] {
        let traces = [(); 2].map(|()| World::new(seed, None).run().trace);
        assert_eq!(traces[0], traces[1], "seed {seed}");
    }
}

/// A broken rule is noticed within so many histories.
#[track_caller]
fn check_noticed(mutation: Mutation) {
    let is_noticed = |seed| catch_unwind(AssertUnwindSafe(|| World::new(seed, Some(mutation)).run())).is_err();
    assert!((0..60).any(is_noticed), "nobody notices that it {mutation:?}");
}

#[test]
fn an_acknowledgement_before_the_seal_is_noticed() {
    check_noticed(Mutation::AcknowledgesTooEarly);
}

#[test]
fn a_client_that_forgets_what_was_not_durable_is_noticed() {
    check_noticed(Mutation::ForgetsWhatWasNotDurable);
}

#[test]
fn a_commit_under_another_key_is_noticed() {
    check_noticed(Mutation::DrawsAnotherKey);
}

#[test]
fn a_purge_before_its_time_is_noticed() {
    check_noticed(Mutation::PurgesTooEarly);
}
