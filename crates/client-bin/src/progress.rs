//! [`Watch`]: shows a running operation as a progress line on a terminal, or as JSON events.

use std::io::{IsTerminal, Write};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use client::{Event, FileProblem, Monitor, Progress};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::json;

use crate::words;

const DRAW_INTERVAL: Duration = Duration::from_millis(200);
const EVENT_INTERVAL: Duration = Duration::from_secs(1);

/// Hears an operation and shows it.
pub(crate) struct Watch {
    progress: Progress,
    style: Style,
    bar: ProgressBar,
    started: Instant,
    stage: Mutex<&'static str>,
    /// Set when the ticker is to end; guarded for the condition variable only.
    stop: Mutex<bool>,
    stopped: Condvar,
    problem_count: AtomicU64,
    ticker: Mutex<Option<JoinHandle<()>>>,
    is_finished: AtomicBool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Style {
    Bar,
    Json,
    Silent,
}

impl Watch {
    pub(crate) fn start(is_json: bool, is_quiet: bool) -> Arc<Self> {
        let style = match (is_json, is_quiet) {
            (true, _) => Style::Json,
            (false, false) if std::io::stderr().is_terminal() => Style::Bar,
            _ => Style::Silent,
        };
        let bar = ProgressBar::no_length();
        bar.set_draw_target(if style == Style::Bar {
            ProgressDrawTarget::stderr()
        } else {
            ProgressDrawTarget::hidden()
        });
        bar.set_style(ProgressStyle::with_template("{spinner} {msg}").expect("a fixed template"));
        let watch = Arc::new(Self {
            progress: Progress::default(),
            style,
            bar,
            started: Instant::now(),
            stage: Mutex::new(""),
            stop: Mutex::new(false),
            stopped: Condvar::new(),
            problem_count: AtomicU64::new(0),
            ticker: Mutex::new(None),
            is_finished: AtomicBool::new(false),
        });
        if style != Style::Silent {
            let ticking = Arc::clone(&watch);
            let ticker = std::thread::spawn(move || ticking.tick());
            *watch.ticker.lock().expect("nobody panics with it") = Some(ticker);
        }
        watch
    }

    /// Ends the display; how long it took.
    pub(crate) fn finish(&self) -> Duration {
        if !self.is_finished.swap(true, Ordering::Relaxed) {
            *self.stop.lock().expect("nobody panics with it") = true;
            self.stopped.notify_all();
            let ticker = self.ticker.lock().expect("nobody panics with it").take();
            // A display that panicked has nothing more to show.
            let _ = ticker.map(JoinHandle::join);
            self.bar.finish_and_clear();
        }
        self.started.elapsed()
    }

    fn tick(&self) {
        let interval = if self.style == Style::Json { EVENT_INTERVAL } else { DRAW_INTERVAL };
        let mut stop = self.stop.lock().expect("nobody panics with it");
        loop {
            let (guard, timeout) = self.stopped.wait_timeout(stop, interval).expect("nobody panics with it");
            stop = guard;
            if *stop {
                return;
            }
            if timeout.timed_out() {
                self.show();
            }
        }
    }

    fn show(&self) {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let Progress { entries, files, bytes, bytes_unchanged: _, bytes_read, bytes_new } = &self.progress;
        if self.style == Style::Json {
            let event = json!({
                "event": "progress",
                "stage": *self.stage.lock().expect("nobody panics with it"),
                "seconds": self.started.elapsed().as_secs(),
                "entries": get(entries),
                "files": get(files),
                "bytes": get(bytes),
                "bytes_read": get(bytes_read),
                "bytes_new": get(bytes_new),
                "problems": get(&self.problem_count),
            });
            // A reader that has gone away is noticed when the result is written.
            let _ = writeln!(std::io::stdout(), "{event}");
            return;
        }
        let stage = *self.stage.lock().expect("nobody panics with it");
        let mut message =
            format!("{stage}  {}, {}", words::counted(get(files), "file", "files"), words::bytes(get(bytes)));
        for (label, counter) in [("read", bytes_read), ("new", bytes_new)] {
            if get(counter) > 0 {
                message.push_str(&format!(", {} {label}", words::bytes(get(counter))));
            }
        }
        if get(&self.problem_count) > 0 {
            message.push_str(&format!(", {}", words::counted(get(&self.problem_count), "problem", "problems")));
        }
        message.push_str(&format!("  [{}]", words::duration(self.started.elapsed())));
        self.bar.set_message(message);
        self.bar.tick();
    }

    fn tell(&self, text: &str) {
        self.bar.suspend(|| {
            // Nobody can be told that standard error is closed.
            let _ = writeln!(std::io::stderr(), "{text}");
        });
    }

    fn problem(&self, problem: &FileProblem) {
        self.problem_count.fetch_add(1, Ordering::Relaxed);
        self.tell(&format!("warning: {}: {}", words::path(&problem.path), words::escape(&problem.message)));
        if self.style == Style::Json {
            use std::os::unix::ffi::OsStrExt;
            let path = words::json_name(problem.path.as_os_str().as_bytes());
            let event = json!({
                "event": "problem", "path": path, "message": problem.message, "is_loss": problem.is_loss,
            });
            let _ = writeln!(std::io::stdout(), "{event}");
        }
    }
}

impl Monitor for Watch {
    fn event(&self, event: Event) {
        match event {
            Event::Stage(stage) => *self.stage.lock().expect("nobody panics with it") = stage,
            Event::Problem(problem) => self.problem(&problem),
            Event::Reconnecting { reason, wait_ms } => {
                let wait = words::duration(Duration::from_millis(wait_ms));
                self.tell(&format!("warning: {}; trying again in {wait}", words::escape(&reason)));
            }
            Event::ReadingAgain { reason } => {
                let reason = words::escape(&reason);
                self.tell(&format!("warning: {reason}; reading the files again to send what is missing"));
            }
        }
    }

    fn progress(&self) -> &Progress {
        &self.progress
    }
}
