//! `benches torture`: many real clients beside a real server, both killed again and again; see [`testkit::torture`].

use std::time::Duration;

use testkit::process::Outcome;
use testkit::torture::{Length, Torture, torture};

use crate::report::{Report, megabytes, times};
use crate::rig::program;

const USAGE: &str = "torture takes --minutes N, --clients N, --seed N";
/// What is stored at the end, beside what a fresh store needs.
const SIZE_FACTOR_MAX: f64 = 1.1;

/// Runs it as the arguments say.
pub fn run(arguments: &[&str]) -> Outcome {
    let (mut minutes, mut clients, mut seed) = (10, 20, None);
    let mut arguments = arguments.iter();
    while let Some(flag) = arguments.next() {
        let value = arguments.next().and_then(|value| value.parse::<u64>().ok()).ok_or(USAGE)?;
        match *flag {
            "--minutes" => minutes = value,
            "--clients" => clients = usize::try_from(value).map_err(|_| USAGE)?,
            "--seed" => seed = Some(value),
            _ => return Err(USAGE.to_owned()),
        }
    }
    let home = tempfile::Builder::new().prefix("delta-backup-torture.").tempdir().map_err(|e| e.to_string())?;
    let plan = Torture {
        server: program("backup-server")?,
        client: program("backup-client")?,
        home: home.path().to_owned(),
        clients,
        length: Length::Time(Duration::from_secs(minutes * 60)),
        seed: seed.unwrap_or_else(testkit::tree::seed),
    };
    println!("seed {}", plan.seed);
    let tortured = match torture(&plan, &mut |line| println!("{line}")) {
        Ok(tortured) => tortured,
        Err(error) => {
            let kept = home.keep();
            return Err(format!("{error}\neverything is left in {}", kept.display()));
        }
    };
    let mut report = Report::default();
    let figures = [
        ("checkpoints", tortured.rounds),
        ("backups committed", tortured.backups),
        ("clients killed", tortured.clients_killed),
        ("server killed", tortured.servers_killed),
        ("collections", tortured.collections),
        ("snapshots forgotten", tortured.forgotten),
        ("snapshots brought back", tortured.undeleted),
        ("snapshots restored identically", tortured.restored),
        ("snapshots left", tortured.left),
    ];
    for (what, count) in figures {
        report.note(&format!("torture: {what}"), &count.to_string());
    }
    report.note("torture: stored at the end", &megabytes(tortured.stored_bytes as f64));
    report.note("torture: a fresh store of the same", &megabytes(tortured.fresh_bytes as f64));
    report.at_most("torture: stored, of a fresh store", tortured.size_factor(), SIZE_FACTOR_MAX, times);
    report.finish()
}
