//! `cargo xtask simulate`: random histories with ever new seeds: of the store on the simulated disk, beside its model, and of
//! clients, network, server and disk together.

use std::hash::{BuildHasher, RandomState};

use crate::run::{Outcome, cargo, run as run_command};

const USAGE: &str = "simulate takes --seeds N, or --seed S to repeat one";
/// Histories of one seed, of each kind.
const HISTORIES: &str = "1000";

/// One kind of histories: a test, and the variables by which it takes seed and count.
struct Simulation {
    package: &'static str,
    target: &'static [&'static str],
    test: &'static str,
    seed: &'static str,
    count: &'static str,
}

const SIMULATIONS: [Simulation; 2] = [
    Simulation {
        package: "store",
        target: &["--test", "it"],
        test: "model::random_histories",
        seed: "PROPTEST_RNG_SEED",
        count: "PROPTEST_CASES",
    },
    Simulation {
        package: "server-bin",
        target: &["--lib"],
        test: "session::simulation::random_histories_of_clients_a_network_and_a_server_lose_nothing",
        seed: "TEST_SEED",
        count: "TEST_HISTORIES",
    },
];

/// Goes on until a history fails, or as many seeds as were asked for have held.
pub fn run(arguments: &[&str]) -> Outcome {
    let number = |text: &str| text.parse::<u64>().map_err(|_| USAGE.to_owned());
    let (count, mut seed) = match arguments {
        [] => (u64::MAX, fresh()),
        ["--seeds", count] => (number(count)?, fresh()),
        ["--seed", seed] => (1, number(seed)?),
        _ => return Err(USAGE.to_owned()),
    };
    for done in 0..count {
        println!("== seed {seed}, {HISTORIES} histories of each kind; {done} seeds before held");
        for simulation in &SIMULATIONS {
            let mut command = cargo(&["test", "--quiet", "--package", simulation.package]);
            command.args(simulation.target).args(["--", "--exact", simulation.test]);
            command.env(simulation.seed, seed.to_string()).env(simulation.count, HISTORIES);
            let again = format!("repeat with `cargo xtask simulate --seed {seed}`");
            run_command(command).map_err(|error| format!("seed {seed}, {}: {error}; {again}", simulation.test))?;
        }
        seed = fresh();
    }
    Ok(())
}

fn fresh() -> u64 {
    RandomState::new().hash_one(0)
}
