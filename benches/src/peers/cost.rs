//! [`Cost`]: what one run of a tool took, seen from outside; [`measure`] runs a command.
//!
//! CPU time is what the kernel accounts to the command and everything it waited for; memory is the sum of what the command
//! and its descendants have had resident at most, looked at every 10 ms.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{Read, Seek};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use testkit::process::{Outcome, peak_resident};

const LOOK_INTERVAL: Duration = Duration::from_millis(10);
/// Position in `/proc/PID/stat`, counted from the state, of the times in user mode and in the kernel.
const OWN_TIMES: usize = 11;
/// The same for the children that were waited for.
const CHILD_TIMES: usize = 13;

/// What one run of a tool took.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cost {
    /// Seconds until it ended.
    pub wall: f64,
    /// CPU seconds of everything but a server.
    pub cpu: f64,
    /// CPU seconds of its server; 0 where there is none.
    pub server_cpu: f64,
    /// Bytes that the tool had resident at most.
    pub resident: u64,
    /// Bytes that its server had resident at most; 0 where there is none.
    pub server_resident: u64,
    /// Bytes from the machine to the repository and back; `None` where nothing counts them.
    pub wire: Option<Wire>,
    /// Bytes in the repository afterwards.
    pub stored_len: u64,
    /// Bytes by which the repository grew.
    pub grown_len: u64,
    /// The machine's load average of the last minute, when it began.
    pub load: f64,
}

/// Bytes of a conversation, without those of TLS and TCP.
#[derive(Clone, Copy, Debug)]
pub struct Wire {
    pub sent: u64,
    pub received: u64,
}

impl Wire {
    pub fn both(self) -> u64 {
        self.sent + self.received
    }
}

/// What a measured command printed, and what it took.
pub struct Measured {
    pub output: String,
    pub cost: Cost,
}

/// Runs a command to its end; `server` is the process of its server, if it has one.
///
/// # Errors
/// When it cannot be run or fails: with what it said.
pub fn measure(mut command: Command, server: Option<u32>) -> Outcome<Measured> {
    let fail = |error: std::io::Error| error.to_string();
    let [mut output, mut errors] = [tempfile::tempfile().map_err(fail)?, tempfile::tempfile().map_err(fail)?];
    command.stdin(Stdio::null()).stdout(output.try_clone().map_err(fail)?).stderr(errors.try_clone().map_err(fail)?);
    let shown = command.get_program().to_string_lossy().into_owned();
    // What was written before is not to be written during this run.
    rustix::fs::sync();
    if let Some(server) = server {
        // Begins the count of resident memory anew; without the right to, it is that since the server's start.
        let _ = fs::write(format!("/proc/{server}/clear_refs"), "5");
    }
    let load = load();
    let server_before = server.map_or(Ok(0.0), |server| cpu_seconds(&server.to_string(), OWN_TIMES))?;
    let before = cpu_seconds("self", CHILD_TIMES)?;
    let begun = Instant::now();
    let mut child = command.spawn().map_err(|error| format!("cannot run {shown}: {error}"))?;
    let process = child.id();
    let has_ended = AtomicBool::new(false);
    let (status, wall, resident) = std::thread::scope(|scope| {
        let watch = scope.spawn(|| watch(process, &has_ended));
        let status = child.wait();
        let wall = begun.elapsed().as_secs_f64();
        has_ended.store(true, Ordering::Relaxed);
        (status, wall, watch.join().unwrap_or(0))
    });
    let cpu = cpu_seconds("self", CHILD_TIMES)? - before;
    let server_cpu = server.map_or(Ok(0.0), |server| cpu_seconds(&server.to_string(), OWN_TIMES))? - server_before;
    let server_resident = server.and_then(peak_resident).unwrap_or(0);
    let status = status.map_err(fail)?;
    if !status.success() {
        return Err(format!("{shown} failed: {status}\n{}{}", text(&mut output)?, text(&mut errors)?));
    }
    let cost = Cost { wall, cpu, server_cpu, resident, server_resident, load, ..Cost::default() };
    Ok(Measured { output: text(&mut output)?, cost })
}

/// Runs a command that is not measured.
///
/// # Errors
/// As for [`measure`].
pub fn prepare(mut command: Command) -> Outcome<String> {
    let shown = command.get_program().to_string_lossy().into_owned();
    let output = command.stdin(Stdio::null()).output().map_err(|error| format!("cannot run {shown}: {error}"))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        Ok(text)
    } else {
        Err(format!("{shown} failed: {}\n{text}{}", output.status, String::from_utf8_lossy(&output.stderr)))
    }
}

/// The load average of the last minute.
pub fn load() -> f64 {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().and_then(|load| load.parse().ok()).unwrap_or(0.0)
}

/// Reads everything below a folder, so that it is in the page cache where that has room.
///
/// # Errors
/// When something cannot be read.
pub fn warm(path: &Path) -> std::io::Result<()> {
    let metadata = path.symlink_metadata()?;
    if metadata.is_dir() {
        for entry in fs::read_dir(path)? {
            warm(&entry?.path())?;
        }
    } else if metadata.is_file() {
        std::io::copy(&mut File::open(path)?, &mut std::io::sink())?;
    }
    Ok(())
}

fn text(file: &mut File) -> Outcome<String> {
    let mut bytes = Vec::new();
    file.rewind().and_then(|()| file.read_to_end(&mut bytes)).map_err(|error| error.to_string())?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Two neighbouring times in a process's `stat`, added up.
fn cpu_seconds(process: &str, position: usize) -> Outcome<f64> {
    let path = format!("/proc/{process}/stat");
    let stat = fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))?;
    // The name before the last bracket may hold anything.
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap_or_default().split(' ').collect();
    let ticks = |at: usize| fields.get(at).and_then(|field| field.parse::<u64>().ok());
    let ticks = ticks(position).zip(ticks(position + 1)).ok_or_else(|| format!("{path} is not as expected"))?;
    Ok((ticks.0 + ticks.1) as f64 / rustix::param::clock_ticks_per_second() as f64)
}

/// The most bytes a process and its descendants have resident together until `has_ended`.
fn watch(process: u32, has_ended: &AtomicBool) -> u64 {
    let mut peak = 0;
    while !has_ended.load(Ordering::Relaxed) {
        let mut resident = HashMap::new();
        collect(process, &mut resident);
        peak = peak.max(resident.values().sum());
        std::thread::sleep(LOOK_INTERVAL);
    }
    peak
}

fn collect(process: u32, resident: &mut HashMap<u32, u64>) {
    let Some(own) = peak_resident(process) else {
        return;
    };
    resident.insert(process, own);
    for task in fs::read_dir(format!("/proc/{process}/task")).into_iter().flatten().flatten() {
        let children = fs::read_to_string(task.path().join("children")).unwrap_or_default();
        for child in children.split_whitespace().filter_map(|child| child.parse().ok()) {
            collect(child, resident);
        }
    }
}

/// The median of each figure on its own.
pub fn median(costs: &[Cost]) -> Cost {
    let number = |figure: &dyn Fn(&Cost) -> f64| {
        let mut numbers: Vec<f64> = costs.iter().map(figure).collect();
        numbers.sort_by(f64::total_cmp);
        numbers.get(numbers.len() / 2).copied().unwrap_or(0.0)
    };
    let count = |figure: &dyn Fn(&Cost) -> u64| {
        let mut counts: Vec<u64> = costs.iter().map(figure).collect();
        counts.sort_unstable();
        counts.get(counts.len() / 2).copied().unwrap_or(0)
    };
    let has_wire = !costs.is_empty() && costs.iter().all(|cost| cost.wire.is_some());
    let wire = |figure: fn(Wire) -> u64| count(&|cost| cost.wire.map_or(0, figure));
    Cost {
        wall: number(&|cost| cost.wall),
        cpu: number(&|cost| cost.cpu),
        server_cpu: number(&|cost| cost.server_cpu),
        resident: count(&|cost| cost.resident),
        server_resident: count(&|cost| cost.server_resident),
        wire: has_wire.then(|| Wire { sent: wire(|wire| wire.sent), received: wire(|wire| wire.received) }),
        stored_len: count(&|cost| cost.stored_len),
        grown_len: count(&|cost| cost.grown_len),
        load: number(&|cost| cost.load),
    }
}
