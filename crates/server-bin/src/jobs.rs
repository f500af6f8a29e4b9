//! [`Jobs`]: long work on the store, by schedule or started by an administrator, who starts one at a time. The last ones are
//! remembered until the server stops.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use store::GcPhase;
use tokio_util::sync::CancellationToken;
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
    /// Somebody ended it before its time.
    Cancelled,
}

/// Long work on the store.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct Job {
    /// Counted since the server was started.
    number: u64,
    kind: JobKind,
    state: JobState,
    /// The account that started it by hand; none: the server did, by its schedule.
    account: Option<String>,
    /// Milliseconds since 1970.
    started_ms: u64,
    ended_ms: Option<u64>,
    /// How far it has come, for people.
    progress: Option<String>,
    /// What it found and did, for people.
    lines: Vec<String>,
}

#[derive(Debug)]
struct Kept {
    job: Job,
    /// Ends it before its time.
    cancel: CancellationToken,
}

/// The last jobs.
#[derive(Debug, Default)]
pub(crate) struct Jobs {
    /// Oldest first; of those that run, one was started by hand.
    kept: Mutex<VecDeque<Kept>>,
}

impl Jobs {
    /// The last jobs, newest first.
    pub(crate) fn list(&self) -> Vec<Job> {
        self.lock().iter().rev().map(|kept| kept.job.clone()).collect()
    }

    /// Has a job end before its time, as soon as it can; `None` when there is none of this number, `false` when it is over.
    pub(crate) fn cancel(&self, number: u64) -> Option<bool> {
        let kept = self.lock();
        let found = kept.iter().find(|kept| kept.job.number == number)?;
        let is_running = found.job.state == JobState::Running;
        if is_running {
            found.cancel.cancel();
        }
        Some(is_running)
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Kept>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins a job; by hand, only while no other that was begun so is running.
    fn begin(&self, kind: JobKind, account: Option<&str>) -> Option<(Job, CancellationToken)> {
        let mut kept = self.lock();
        let is_running = |kept: &Kept| kept.job.state == JobState::Running;
        if account.is_some() && kept.iter().any(|kept| is_running(kept) && kept.job.account.is_some()) {
            return None;
        }
        let job = Job {
            number: kept.back().map_or(1, |last| last.job.number + 1),
            kind,
            state: JobState::Running,
            account: account.map(str::to_owned),
            started_ms: clock::now_ms(),
            ended_ms: None,
            progress: None,
            lines: Vec::new(),
        };
        let cancel = CancellationToken::new();
        kept.push_back(Kept { job: job.clone(), cancel: cancel.clone() });
        while kept.len() > KEPT_JOBS {
            let Some(oldest) = kept.iter().position(|kept| !is_running(kept)) else { break };
            kept.remove(oldest);
        }
        Some((job, cancel))
    }

    /// Changes one.
    fn note(&self, number: u64, change: impl FnOnce(&mut Job)) {
        if let Some(kept) = self.lock().iter_mut().find(|kept| kept.job.number == number) {
            change(&mut kept.job);
        }
    }

    fn tell(&self, number: u64, item: &Item) {
        match item {
            Item::Progress(_) => self.note(number, |job| job.progress = Some(upkeep_text(item))),
            Item::Gc(report) => self.add(number, &gc::text(report)),
            item => self.add(number, &upkeep_text(item)),
        }
    }

    fn add(&self, number: u64, text: &str) {
        self.note(number, |job| {
            let room = LINES_MAX.saturating_sub(job.lines.len());
            job.lines.extend(text.lines().take(room).map(str::to_owned));
        });
    }

    fn end(&self, number: u64, outcome: &Result<(), Failure>, is_cancelled: bool) {
        let state = match outcome {
            Err(failure) if failure.kind() == FailureKind::Integrity => JobState::Damaged,
            _ if is_cancelled => JobState::Cancelled,
            Ok(()) => JobState::Done,
            Err(_) => JobState::Failed,
        };
        if let Err(failure) = outcome.as_ref().map_err(Failure::to_string) {
            self.add(number, &failure);
        }
        self.note(number, |job| {
            (job.state, job.progress, job.ended_ms) = (state, None, Some(clock::now_ms()));
        });
    }
}

/// A job that is at work.
struct Running<'a> {
    service: &'a Service,
    number: u64,
    cancel: CancellationToken,
}

impl Running<'_> {
    /// Whether it is to end before its time.
    fn is_stopped(&self) -> bool {
        self.cancel.is_cancelled() || self.service.stop.is_cancelled()
    }

    fn tell(&self, item: &Item) {
        self.service.jobs.tell(self.number, item);
    }

    /// Works to the end, which is remembered.
    fn run(&self, work: impl FnOnce(&Self) -> Result<(), Failure>) {
        let outcome = attempt(|| work(self));
        if let Err(failure) = &outcome {
            tracing::warn!(job = self.number, report = failure.report(), "a job did not come to a good end");
        }
        self.service.jobs.end(self.number, &outcome, self.cancel.is_cancelled());
    }
}

/// Starts a job by hand, on a thread of its own; `None` while another is running.
pub(crate) fn start(service: &Arc<Service>, kind: JobKind, account: &str) -> Option<Job> {
    let (job, cancel) = service.jobs.begin(kind, Some(account))?;
    let (working, number) = (Arc::clone(service), job.number);
    service.tasks.spawn_blocking(move || {
        Running { service: &working, number, cancel }.run(match kind {
            JobKind::Gc => collect_garbage,
            JobKind::Verify => verify,
        });
    });
    Some(job)
}

/// Collects garbage as the schedule wants it. Blocks.
pub(crate) fn collect_by_schedule(service: &Service) {
    let Some((job, cancel)) = service.jobs.begin(JobKind::Gc, None) else { unreachable!("it is not by hand") };
    Running { service, number: job.number, cancel }.run(collect_garbage);
}

/// Remembers a round of the scrub that came to its end.
pub(crate) fn note_scrub(service: &Service, text: &str, is_damaged: bool) {
    let Some((job, _)) = service.jobs.begin(JobKind::Verify, None) else { unreachable!("it is not by hand") };
    service.jobs.add(job.number, text);
    let damage = || Err(Failure::new(FailureKind::Integrity, "damage was found: `backup-server verify` tells of what"));
    service.jobs.end(job.number, &if is_damaged { damage() } else { Ok(()) }, false);
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

fn collect_garbage(running: &Running<'_>) -> Result<(), Failure> {
    let service = running.service;
    let request = collect::Request { is_now: false, is_dry_run: false, grace: None };
    let progress = |phase: GcPhase, done: u64, total: u64| {
        let text = format!("{}: {done} of {total}", format!("{phase:?}").to_lowercase());
        service.jobs.note(running.number, |job| job.progress = Some(text));
    };
    let is_stopped = || running.is_stopped();
    let collected = collect::collect(&service.home, request, progress, Some((service, &is_stopped)));
    let reports = collected.map_err(|error| {
        service.note(&error);
        failed("cannot collect garbage", &error)
    })?;
    collect::note(&reports, Some(service));
    for report in reports {
        running.tell(&Item::Gc(Box::new(report.into())));
    }
    Ok(())
}

fn verify(running: &Running<'_>) -> Result<(), Failure> {
    let service = running.service;
    let is_wanted = || !running.is_stopped();
    let upkeep = Upkeep { home: &service.home, is_wanted: &is_wanted };
    upkeep.verify(&VerifyScope::Full, &mut |item| {
        if let Item::Verified(sum) = &item {
            service.feed.push(sum.into());
        }
        running.tell(&item);
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
            let (begun, _) = jobs.begin(JobKind::Verify, Some("ada")).unwrap();
            jobs.end(begun.number, &attempt(panic), false);
            let job = jobs.list().remove(0);
            assert_eq!((job.state, job.ended_ms.is_some()), (JobState::Failed, true));
            assert!(job.lines.last().unwrap().ends_with(said), "{:?}", job.lines);
        }
        assert!(attempt(|| Ok(())).is_ok());
    }

    #[test]
    fn one_job_by_hand_at_a_time_and_the_last_ones_are_remembered() {
        let jobs = Jobs::default();
        for number in 1..=KEPT_JOBS as u64 + 5 {
            assert_eq!(jobs.begin(JobKind::Gc, Some("ada")).unwrap().0.number, number);
            assert!(jobs.begin(JobKind::Verify, Some("bob")).is_none());
            jobs.add(number, &"line\n".repeat(LINES_MAX + 1));
            let outcome = if number % 2 == 0 { Ok(()) } else { Err(Failure::new(FailureKind::Integrity, "bad")) };
            jobs.end(number, &outcome, false);
        }
        let kept = jobs.list();
        assert_eq!((kept.len(), kept[0].number), (KEPT_JOBS, KEPT_JOBS as u64 + 5));
        assert_eq!((kept[0].state, kept[1].state), (JobState::Damaged, JobState::Done));
        assert_eq!(kept[0].lines.len(), LINES_MAX);
    }

    #[test]
    fn what_the_schedule_does_waits_for_nobody_and_pushes_nothing_out_that_runs() {
        let jobs = Jobs::default();
        let (by_hand, cancel) = jobs.begin(JobKind::Verify, Some("ada")).unwrap();
        for _ in 0..KEPT_JOBS + 5 {
            let (job, _) = jobs.begin(JobKind::Gc, None).unwrap();
            jobs.end(job.number, &Ok(()), false);
        }
        let kept = jobs.list();
        assert_eq!((kept.len(), kept.last().unwrap().number), (KEPT_JOBS, by_hand.number));
        assert_eq!((&kept[0].account, &kept.last().unwrap().account), (&None, &Some("ada".to_owned())));
        // It is cancelled while it runs, and only then.
        assert_eq!((jobs.cancel(99), jobs.cancel(kept[0].number)), (None, Some(false)));
        assert_eq!((jobs.cancel(by_hand.number), cancel.is_cancelled()), (Some(true), true));
        jobs.end(by_hand.number, &Err(Failure::usage("it was stopped")), true);
        assert_eq!(jobs.list().last().unwrap().state, JobState::Cancelled);
        assert_eq!(jobs.cancel(by_hand.number), Some(false));
    }
}
