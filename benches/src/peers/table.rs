//! [`Table`]: costs as they are measured; in the end medians, ratios and goals, as Markdown or as lines of JSON.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::cost::{Cost, Wire, load, median};
use super::goals::{self, Goal};
use super::options::Options;
use super::row::Phase;
use super::tool::{Class, Peer};
use crate::report::{mebibytes, megabytes};

/// Bytes on the wire after one small edit.
pub struct EditLine {
    pub name: &'static str,
    pub ours: Wire,
    /// Both directions of `rsync -z`.
    pub rsync: Option<u64>,
    /// Signature and delta of `rdiff`.
    pub rdiff: Option<u64>,
    /// The delta of `xdelta3`, which sees both versions.
    pub xdelta3: Option<u64>,
}

/// What a tool needed in a phase.
pub struct Summary {
    pub name: &'static str,
    pub class: Class,
    pub median: Cost,
    walls: Vec<f64>,
}

/// Costs of one tool, in the order of the passes.
struct Line {
    name: &'static str,
    class: Class,
    costs: Vec<Cost>,
}

/// Everything measured so far.
pub struct Table {
    is_json: bool,
    title: String,
    phases: BTreeMap<(&'static str, Phase), Vec<Line>>,
    new_lens: BTreeMap<&'static str, u64>,
    edits: Vec<EditLine>,
    goals: Vec<Goal>,
}

impl Table {
    pub fn new(options: &Options) -> Self {
        let title = format!("scale {}, {} passes", options.scale.name(), options.runs);
        Self {
            is_json: options.is_json,
            title,
            phases: BTreeMap::new(),
            new_lens: BTreeMap::new(),
            edits: Vec::new(),
            goals: Vec::new(),
        }
    }

    /// Says that a program is not there.
    pub fn missing(&self, program: &str, hint: &str) {
        self.note(&format!("{program} is missing and left out: {hint}"));
    }

    /// Says something about the measuring.
    pub fn note(&self, what: &str) {
        if self.is_json { println!("{}", json!({"event": "note", "what": what})) } else { println!("note: {what}\n") }
    }

    /// How many bytes are new in a row's next version.
    pub fn new_len(&mut self, row: &'static str, len: u64) {
        self.new_lens.insert(row, len);
    }

    pub fn cost(&mut self, row: &'static str, phase: Phase, peer: &Peer, pass: usize, cost: Cost) {
        let lines = self.phases.entry((row, phase)).or_default();
        let index = lines.iter().position(|line| line.name == peer.name).unwrap_or_else(|| {
            lines.push(Line { name: peer.name, class: peer.class, costs: Vec::new() });
            lines.len() - 1
        });
        lines[index].costs.push(cost);
        if self.is_json {
            let mut event = cost_json(&cost);
            event["event"] = "cost".into();
            event["row"] = row.into();
            event["phase"] = phase.name().into();
            event["tool"] = peer.name.into();
            event["pass"] = pass.into();
            println!("{event}");
        } else {
            eprintln!("{row} {} {}: {:.2} s, load {:.1}", phase.name(), peer.name, cost.wall, cost.load);
        }
    }

    pub fn edit(&mut self, line: EditLine) {
        if self.is_json {
            let EditLine { name, ours, rsync, rdiff, xdelta3 } = &line;
            let ours = json!({"sent": ours.sent, "received": ours.received});
            let event = json!({"event": "edit", "edit": name, "ours": ours, "rsync": rsync, "rdiff": rdiff, "xdelta3": xdelta3});
            println!("{event}");
        }
        self.goals.extend(goals::of_edit(&line));
        self.edits.push(line);
    }

    /// Prints a row of which all passes are measured.
    pub fn row_done(&mut self, row: &'static str) {
        let phases: Vec<(Phase, Vec<Summary>)> = self
            .phases
            .iter()
            .filter(|((of, _), _)| *of == row)
            .map(|((_, phase), lines)| (*phase, lines.iter().map(Line::summary).collect()))
            .collect();
        for (phase, results) in &phases {
            self.goals.extend(goals::of_phase(row, *phase, results, self.new_lens.get(row).copied()));
        }
        if self.is_json {
            return;
        }
        println!("### {row}: {}\n", self.title);
        println!(
            "| phase | tool | wall | × fastest peer | range | CPU | of it server | memory | server's | sent | received | \
             repository | growth | load |\n|---|---|---|---|---|---|---|---|---|---|---|---|---|---|"
        );
        for (phase, results) in &phases {
            print_phase(*phase, results);
        }
        if let Some(len) = self.new_lens.get(row) {
            println!("\nNew bytes in the next version: {}.", megabytes(*len as f64));
        }
        println!();
    }

    /// Prints the small edits and the goals.
    pub fn finish(self) {
        if self.is_json {
            for goal in &self.goals {
                println!("{}", goal_json(goal));
            }
            return;
        }
        if !self.edits.is_empty() {
            println!("### edits: bytes on the wire, 10 MiB file\n");
            println!("| edit | sent | received | both | rsync -z | rdiff | xdelta3 |\n|---|---|---|---|---|---|---|");
            for EditLine { name, ours, rsync, rdiff, xdelta3 } in &self.edits {
                let [rsync, rdiff, xdelta3] =
                    [rsync, rdiff, xdelta3].map(|len| len.map_or("–".into(), |len| len.to_string()));
                let Wire { sent, received } = ours;
                println!("| {name} | {sent} | {received} | {} | {rsync} | {rdiff} | {xdelta3} |", ours.both());
            }
            println!();
        }
        println!("### Goals\n");
        println!("| row | phase | what | ours | beside | ratio | limit | |\n|---|---|---|---|---|---|---|---|");
        for goal in &self.goals {
            let Goal { row, phase, what, ours, against, whose, factor_max, show } = goal;
            let verdict = if goal.is_met() { "met" } else { "**not met**" };
            println!(
                "| {row} | {phase} | {what} | {} | {whose} {} | {:.3} | {factor_max} | {verdict} |",
                show(*ours),
                show(*against),
                goal.factor(),
            );
        }
        let met = self.goals.iter().filter(|goal| goal.is_met()).count();
        println!("\n{met} of {} goals met; load average now {:.1}.", self.goals.len(), load());
    }
}

impl Line {
    fn summary(&self) -> Summary {
        let walls = self.costs.iter().map(|cost| cost.wall).collect();
        Summary { name: self.name, class: self.class, median: median(&self.costs), walls }
    }
}

fn print_phase(phase: Phase, results: &[Summary]) {
    let dedup = results.iter().filter(|result| result.class == Class::Dedup);
    let fastest = dedup.map(|result| result.median.wall).min_by(f64::total_cmp);
    for Summary { name, median, walls, .. } in results {
        let least = walls.iter().copied().fold(f64::INFINITY, f64::min);
        let most = walls.iter().copied().fold(0.0, f64::max);
        let has_server = median.server_resident > 0;
        let optional = |is_there: bool, text: String| if is_there { text } else { "–".to_owned() };
        let [sent, received] = [|wire: Wire| wire.sent, |wire: Wire| wire.received]
            .map(|figure| median.wire.map_or("–".to_owned(), |wire| megabytes(figure(wire) as f64)));
        println!(
            "| {} | {name} | {:.2} s | {} | {least:.2}–{most:.2} | {:.2} s | {} | {} | {} | {sent} | {received} | {} | {} | {:.1} |",
            phase.name(),
            median.wall,
            fastest.map_or("–".to_owned(), |fastest| format!("{:.2}", median.wall / fastest)),
            median.cpu + median.server_cpu,
            optional(has_server, goals::seconds(median.server_cpu)),
            mebibytes(median.resident as f64),
            optional(has_server, mebibytes(median.server_resident as f64)),
            megabytes(median.stored_len as f64),
            optional(phase != Phase::Restore, megabytes(median.grown_len as f64)),
            median.load,
        );
    }
}

fn cost_json(cost: &Cost) -> Value {
    json!({
        "seconds": cost.wall,
        "cpu_seconds": cost.cpu,
        "server_cpu_seconds": cost.server_cpu,
        "resident": cost.resident,
        "server_resident": cost.server_resident,
        "bytes_sent": cost.wire.map(|wire| wire.sent),
        "bytes_received": cost.wire.map(|wire| wire.received),
        "repository": cost.stored_len,
        "growth": cost.grown_len,
        "load": cost.load,
    })
}

fn goal_json(goal: &Goal) -> Value {
    json!({
        "event": "goal",
        "row": goal.row,
        "phase": goal.phase,
        "what": goal.what,
        "ours": goal.ours,
        "beside": goal.whose,
        "theirs": goal.against,
        "ratio": goal.factor(),
        "limit": goal.factor_max,
        "is_met": goal.is_met(),
    })
}
