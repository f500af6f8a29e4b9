//! [`Sink`]: what all parts of a restore report to: numbers, trouble, what could not be applied.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use host_fs::{Aspect, HostError, HostErrorKind, NotApplied, Reason};

use crate::backup::problem;
use crate::error::{ClientError, explain};
use crate::monitor::{Event, FileProblem, Monitor};

/// Collects what happens to single files; the restore goes on.
pub(crate) struct Sink {
    monitor: Arc<dyn Monitor>,
    problems: Mutex<Vec<FileProblem>>,
    not_applied: Mutex<BTreeMap<String, u64>>,
    is_damaged: AtomicBool,
    failure: Mutex<Option<ClientError>>,
}

impl Sink {
    pub(crate) fn new(monitor: Arc<dyn Monitor>) -> Arc<Self> {
        Arc::new(Self {
            monitor,
            problems: Mutex::default(),
            not_applied: Mutex::default(),
            is_damaged: AtomicBool::new(false),
            failure: Mutex::default(),
        })
    }

    pub(crate) fn monitor(&self) -> &dyn Monitor {
        &*self.monitor
    }

    /// Trouble with a file on this machine.
    ///
    /// A full disk is more than that: whatever comes next would not fit either.
    pub(crate) fn host_problem(&self, error: &HostError) {
        if error.kind() == HostErrorKind::Full {
            let (path, source) = (error.path().to_owned(), io::ErrorKind::StorageFull.into());
            self.fail(ClientError::Io { verb: error.verb(), path, source });
        } else {
            self.problem(problem(error));
        }
    }

    /// A file whose content cannot be had.
    pub(crate) fn damaged(&self, path: &Path, error: &dyn std::error::Error) {
        self.is_damaged.store(true, Ordering::Relaxed);
        let message = explain(error);
        self.problem(FileProblem { path: path.to_owned(), message, is_loss: true });
    }

    pub(crate) fn problem(&self, problem: FileProblem) {
        self.monitor.event(Event::Problem(problem.clone()));
        lock(&self.problems).push(problem);
    }

    /// Counts what a restored entry lacks, by what it is and why.
    pub(crate) fn not_applied(&self, lacking: &[NotApplied]) {
        let mut counts = lock(&self.not_applied);
        for NotApplied { aspect, reason } in lacking {
            let what = match aspect {
                Aspect::Owner => "owner",
                Aspect::Group => "group",
                Aspect::Mode => "mode",
                Aspect::SetId => "set-id bits",
                Aspect::Xattr(_) => "extended attribute",
                Aspect::Mtime => "modification time",
                Aspect::Device => "device node",
                _ => "something",
            };
            let why = match reason {
                Reason::Unprivileged => "needs root".to_owned(),
                Reason::OwnerMissing => "its owner could not be set".to_owned(),
                Reason::Rounded => "the file system rounds it".to_owned(),
                Reason::Refused(kind) => kind.to_string(),
                _ => "not possible here".to_owned(),
            };
            *counts.entry(format!("{what}: {why}")).or_default() += 1;
        }
    }

    /// The restore cannot go on as a whole; the first reason counts.
    pub(crate) fn fail(&self, error: ClientError) {
        lock(&self.failure).get_or_insert(error);
    }

    pub(crate) fn has_failed(&self) -> bool {
        lock(&self.failure).is_some()
    }

    pub(crate) fn take_failure(&self) -> Option<ClientError> {
        lock(&self.failure).take()
    }

    pub(crate) fn take_problems(&self) -> Vec<FileProblem> {
        std::mem::take(&mut lock(&self.problems))
    }

    pub(crate) fn take_not_applied(&self) -> BTreeMap<String, u64> {
        std::mem::take(&mut lock(&self.not_applied))
    }

    /// Whether any file's content could not be had.
    pub(crate) fn is_damaged(&self) -> bool {
        self.is_damaged.load(Ordering::Relaxed)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("nobody panics with it")
}
