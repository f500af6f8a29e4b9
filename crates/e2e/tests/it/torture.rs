//! A short torture: `cargo xtask torture` is the long one.

use std::path::Path;

use testkit::torture::{Length, Torture, torture};

use crate::support::Home;

#[test]
fn random_histories_of_clients_and_a_server_that_are_killed_lose_nothing() {
    let home = Home::new();
    let plan = Torture {
        server: Path::new(env!("CARGO_BIN_EXE_e2e-server")).to_owned(),
        client: Path::new(env!("CARGO_BIN_EXE_e2e-client")).to_owned(),
        home: home.folder("torture"),
        clients: 3,
        length: Length::Rounds(1),
        seed: 20_261_121,
    };
    let tortured = torture(&plan, &mut |line| eprintln!("{line}")).unwrap_or_else(|error| panic!("{error}"));
    assert!(tortured.backups > 0 && tortured.restored >= tortured.left && tortured.left > 0, "{tortured:?}");
    // So small a store has a pack or two that are not full.
    assert!(tortured.size_factor() < 1.25, "{tortured:?}");
}
