//! [`Jobs`]: long work on the store that an administrator starts by hand: one at a time, and the last ones remembered until
//! the server stops.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use store::GcPhase;
use utoipa::ToSchema;

use crate::admin::command::upkeep_text;
use crate::admin::upkeep::Upkeep;
use crate::admin::{Item, VerifyScope, gc};
use crate::clock;
use crate::collect;
use crate::failure::{Failure, FailureKind};
use crate::home::failed;
use crate::service::Service;

/// Jobs that are remembered.
const KEPT_JOBS: usize = 20;
/// Lines that are remembered of each.
const LINES_MAX: usize = 200;

/// Kinds of jobs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum JobKind {
    /// What nobody needs is found, and goes when its time of grace is over.
    Gc,
    /// All that is stored is read and compared.
    Verify,
}

/// How a job is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum JobState {
    /// It is at work.
    Running,
    /// It came to its end.
    Done,
    /// It found damage.
    Damaged,
    /// It could not come to its end.
    Failed,
}

/// Something that was started by hand.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct Job {
    /// Counted since the server was started.
    number: u64,
    kind: JobKind,
    state: JobState,
    /// The account that started it.
    account: String,
    /// Milliseconds since 1970.
    started_ms: u64,
    ended_ms: Option<u64>,
    /// How far it has come, for people.
    progress: Option<String>,
    /// What it found and did, for people.
    lines: Vec<String>,
}

/// The last jobs.
#[derive(Debug, Default)]
pub(crate) struct Jobs {
    /// Oldest first; only the last may be running.
    kept: Mutex<VecDeque<Job>>,
}

impl Jobs {
    /// The last jobs, newest first.
    pub(crate) fn list(&self) -> Vec<Job> {
        self.lock().iter().rev().cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Job>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins a job, unless one is running.
    fn begin(&self, kind: JobKind, account: &str) -> Option<Job> {
        let mut kept = self.lock();
        if kept.back().is_some_and(|last| last.state == JobState::Running) {
            return None;
        }
        let job = Job {
            number: kept.back().map_or(1, |last| last.number + 1),
            kind,
            state: JobState::Running,
            account: account.to_owned(),
            started_ms: clock::now_ms(),
            ended_ms: None,
            progress: None,
            lines: Vec::new(),
        };
        kept.push_back(job.clone());
        while kept.len() > KEPT_JOBS {
            kept.pop_front();
        }
        Some(job)
    }

    /// Changes the one that is running.
    fn note(&self, change: impl FnOnce(&mut Job)) {
        if let Some(last) = self.lock().back_mut() {
            change(last);
        }
    }

    fn tell(&self, item: &Item) {
        match item {
            Item::Progress(_) => self.note(|job| job.progress = Some(upkeep_text(item))),
            Item::Gc(report) => self.add(&gc::text(report)),
            item => self.add(&upkeep_text(item)),
        }
    }

    fn add(&self, text: &str) {
        self.note(|job| {
            let room = LINES_MAX.saturating_sub(job.lines.len());
            job.lines.extend(text.lines().take(room).map(str::to_owned));
        });
    }

    fn end(&self, outcome: &Result<(), Failure>) {
        let state = match outcome {
            Ok(()) => JobState::Done,
            Err(failure) if failure.kind() == FailureKind::Integrity => JobState::Damaged,
            Err(_) => JobState::Failed,
        };
        if let Err(failure) = outcome {
            self.add(&failure.to_string());
        }
        self.note(|job| {
            (job.state, job.progress, job.ended_ms) = (state, None, Some(clock::now_ms()));
        });
    }
}

/// Starts a job on a thread of its own; `None` while another is running.
pub(crate) fn start(service: &Arc<Service>, kind: JobKind, account: &str) -> Option<Job> {
    let job = service.jobs.begin(kind, account)?;
    let working = Arc::clone(service);
    service.tasks.spawn_blocking(move || {
        let outcome = attempt(|| match kind {
            JobKind::Gc => collect_garbage(&working),
            JobKind::Verify => verify(&working),
        });
        if let Err(failure) = &outcome {
            tracing::warn!(?kind, report = failure.report(), "a job did not come to a good end");
        }
        working.jobs.end(&outcome);
    });
    Some(job)
}

/// Does something, a defect of which ends this job and nothing else.
fn attempt(work: impl FnOnce() -> Result<(), Failure>) -> Result<(), Failure> {
    // What it shares with others is behind locks that a panic leaves as good as before.
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let said = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
        let message =
            format!("the job failed by a defect of this program: {}", said.unwrap_or("it does not say which"));
        Err(Failure::new(FailureKind::Internal, message).hint("the log of the server tells where; please report it"))
    })
}

fn collect_garbage(service: &Service) -> Result<(), Failure> {
    let request = collect::Request { is_now: false, is_dry_run: false, grace: None };
    let progress = |phase: GcPhase, done: u64, total: u64| {
        let text = format!("{}: {done} of {total}", format!("{phase:?}").to_lowercase());
        service.jobs.note(|job| job.progress = Some(text));
    };
    let collected = collect::collect(&service.home, request, progress, Some(service));
    let reports = collected.map_err(|error| {
        service.note(&error);
        failed("cannot collect garbage", &error)
    })?;
    collect::note(&reports, Some(service));
    for report in reports {
        service.jobs.tell(&Item::Gc(Box::new(report.into())));
    }
    Ok(())
}

fn verify(service: &Service) -> Result<(), Failure> {
    let is_wanted = || !service.stop.is_cancelled();
    let upkeep = Upkeep { home: &service.home, is_wanted: &is_wanted };
    upkeep.verify(&VerifyScope::Full, &mut |item| {
        if let Item::Verified(sum) = &item {
            service.feed.push(sum.into());
        }
        service.jobs.tell(&item);
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_that_panics_has_failed() {
        let jobs = Jobs::default();
        for (panic, said) in [
            ((|| panic!("a defect")) as fn() -> Result<(), Failure>, "a defect"),
            (|| panic!("defect {}", 7), "defect 7"),
            (|| std::panic::panic_any(7), "it does not say which"),
        ] {
            jobs.begin(JobKind::Verify, "ada").unwrap();
            jobs.end(&attempt(panic));
            let job = jobs.list().remove(0);
            assert_eq!((job.state, job.ended_ms.is_some()), (JobState::Failed, true));
            assert!(job.lines.last().unwrap().ends_with(said), "{:?}", job.lines);
        }
        assert!(attempt(|| Ok(())).is_ok());
    }

    #[test]
    fn one_job_at_a_time_and_the_last_ones_are_remembered() {
        let jobs = Jobs::default();
        for number in 1..=KEPT_JOBS as u64 + 5 {
            assert_eq!(jobs.begin(JobKind::Gc, "ada").unwrap().number, number);
            assert!(jobs.begin(JobKind::Verify, "ada").is_none());
            jobs.add(&"line\n".repeat(LINES_MAX + 1));
            jobs.end(&if number % 2 == 0 { Ok(()) } else { Err(Failure::new(FailureKind::Integrity, "bad")) });
        }
        let kept = jobs.list();
        assert_eq!((kept.len(), kept[0].number), (KEPT_JOBS, KEPT_JOBS as u64 + 5));
        assert_eq!((kept[0].state, kept[1].state), (JobState::Damaged, JobState::Done));
        assert_eq!(kept[0].lines.len(), LINES_MAX);
    }
}
