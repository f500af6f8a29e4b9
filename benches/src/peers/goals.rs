//! [`Goal`]: what ours has to reach beside its peers, and whether it does.

use super::cost::Cost;
use super::row::Phase;
use super::table::{EditLine, Summary};
use super::tool::Class;
use crate::report::{mebibytes, megabytes};

/// Of the fastest dedup peer's wall time.
const WALL_MAX: f64 = 0.5;
const WALL_UNCHANGED_MAX: f64 = 0.8;
/// Creating the files is the kernel's work, and the floor.
const WALL_SOURCE_RESTORE_MAX: f64 = 0.7;
const RESIDENT_MAX: f64 = 128.0 * 1048576.0;
/// Of the smallest peer's growth.
const DATABASE_GROWN_MAX: f64 = 0.01;
/// Of the bytes that are new.
const IMAGE_GROWN_MAX: f64 = 1.1;
const IMAGE_WIRE_MAX: f64 = 1.05;
/// Of what `rsync -z` sends and receives.
const DATABASE_WIRE_MAX: f64 = 0.08;
const EDIT_WIRE_MAX: f64 = 0.5;
/// Of the least that anyone sends.
const LOG_WIRE_MAX: f64 = 1.05;

/// A figure of ours beside one that it is compared with.
pub struct Goal {
    pub row: &'static str,
    pub phase: &'static str,
    pub what: &'static str,
    pub ours: f64,
    pub against: f64,
    /// Whose figure that is.
    pub whose: String,
    /// How large a part of it ours may be.
    pub factor_max: f64,
    pub show: fn(f64) -> String,
}

impl Goal {
    pub fn factor(&self) -> f64 {
        if self.against > 0.0 { self.ours / self.against } else { f64::INFINITY }
    }

    pub fn is_met(&self) -> bool {
        self.ours <= self.against * self.factor_max
    }
}

/// The goals of one row's phase; `results` are the medians of all tools in it, and `new_len` the bytes that are new.
pub fn of_phase(row: &'static str, phase: Phase, results: &[Summary], new_len: Option<u64>) -> Vec<Goal> {
    let Some(ours) = results.iter().find(|result| result.class == Class::Ours).map(|result| result.median) else {
        return Vec::new();
    };
    let goal = |what, ours, (whose, against): (&str, f64), factor_max, show| Goal {
        row,
        phase: phase.name(),
        what,
        ours,
        against,
        whose: whose.to_owned(),
        factor_max,
        show,
    };
    let least = |figure: &dyn Fn(&Cost) -> f64| {
        let dedup = results.iter().filter(|result| result.class == Class::Dedup);
        dedup.min_by(|a, b| figure(&a.median).total_cmp(&figure(&b.median)))
    };
    let mut goals = Vec::new();
    if let Some(fastest) = least(&|cost| cost.wall) {
        let wall_max = match (row, phase) {
            (_, Phase::Unchanged) => WALL_UNCHANGED_MAX,
            ("source", Phase::Restore) => WALL_SOURCE_RESTORE_MAX,
            _ => WALL_MAX,
        };
        let cpu = fastest.median.cpu + fastest.median.server_cpu;
        goals.push(goal("wall time", ours.wall, (fastest.name, fastest.median.wall), wall_max, seconds));
        goals.push(goal("CPU time", ours.cpu + ours.server_cpu, (fastest.name, cpu), 1.0, seconds));
    }
    if let (Phase::First, Some(smallest)) = (phase, least(&|cost| cost.stored_len as f64)) {
        let stored_len = smallest.median.stored_len as f64;
        goals.push(goal("repository", ours.stored_len as f64, (smallest.name, stored_len), 1.0, megabytes));
    }
    if phase == Phase::Edited {
        let grown_len = ours.grown_len as f64;
        let wire_len = ours.wire.map_or(0.0, |wire| wire.both() as f64);
        let smallest = least(&|cost| cost.grown_len as f64).map(|peer| (peer.name, peer.median.grown_len as f64));
        let rsync = results.iter().find(|result| result.class == Class::Copy);
        let rsync = rsync.and_then(|rsync| Some((rsync.name, rsync.median.wire?.both() as f64)));
        let new = new_len.map(|len| ("new bytes", len as f64));
        let of_row = match row {
            "database" => vec![
                smallest.map(|it| goal("growth", grown_len, it, DATABASE_GROWN_MAX, megabytes)),
                rsync.map(|it| goal("bytes on the wire", wire_len, it, DATABASE_WIRE_MAX, megabytes)),
            ],
            "image" => vec![
                new.map(|it| goal("growth", grown_len, it, IMAGE_GROWN_MAX, megabytes)),
                new.map(|it| goal("bytes on the wire", wire_len, it, IMAGE_WIRE_MAX, megabytes)),
            ],
            "log" => {
                let best = smallest.into_iter().chain(rsync).min_by(|a, b| a.1.total_cmp(&b.1));
                vec![best.map(|it| goal("bytes on the wire", wire_len, it, LOG_WIRE_MAX, megabytes))]
            }
            _ => Vec::new(),
        };
        goals.extend(of_row.into_iter().flatten());
    }
    let limit = ("limit", RESIDENT_MAX);
    goals.push(goal("client's memory", ours.resident as f64, limit, 1.0, mebibytes));
    goals.push(goal("server's memory", ours.server_resident as f64, limit, 1.0, mebibytes));
    goals
}

/// The goal of a small edit, where `rsync` is there to compare with.
pub fn of_edit(line: &EditLine) -> Option<Goal> {
    Some(Goal {
        row: "edits",
        phase: line.name,
        what: "bytes on the wire",
        ours: line.ours.both() as f64,
        against: line.rsync? as f64,
        whose: "rsync -z".to_owned(),
        factor_max: EDIT_WIRE_MAX,
        show: bytes,
    })
}

pub fn seconds(duration: f64) -> String {
    format!("{duration:.2} s")
}

fn bytes(len: f64) -> String {
    format!("{len:.0} B")
}
