//! [`decide()`]: what becomes of each snapshot of a chain, and why.

use std::fmt;
use std::time::Duration;

use store::UnixMs;

use crate::retention::Policy;
use crate::retention::belief::believed_times;
use crate::retention::period::Period;
use crate::units::Span;

/// A snapshot, as far as retention looks at it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Candidate {
    /// When it was received, by the server's clock of then.
    pub(crate) received: UnixMs,
    /// Whether somebody holds it.
    pub(crate) is_held: bool,
    /// Whether it is from before an unusual change that nobody confirmed.
    pub(crate) is_frozen: bool,
}

/// What becomes of a snapshot: it stays for these reasons, and goes when there is none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Verdict {
    /// Why it stays.
    pub(crate) reasons: Vec<Reason>,
}

/// Why a snapshot stays.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    /// The policy has no rules.
    NoRules,
    /// Somebody holds it.
    Held,
    /// It is from before an unusual change that nobody confirmed.
    Frozen,
    /// None is newer.
    Newest,
    /// It is younger than anything may be that goes.
    Young {
        /// The least age at which anything goes.
        min_age_ms: u64,
    },
    /// Its time lies in the future or contradicts the order, and none after it has a better one.
    TimeUnknown,
    /// It is one of the newest.
    Last {
        /// How many stay.
        count: u32,
    },
    /// It is not older than the policy says.
    Within {
        /// How old the oldest may be.
        age_ms: u64,
    },
    /// It is the newest of a stretch of time.
    Period {
        /// Of which kind.
        period: Period,
        /// How many stay.
        count: u32,
        /// Which, for people.
        name: String,
    },
}

impl Verdict {
    /// Whether the snapshot stays.
    pub(crate) fn stays(&self) -> bool {
        !self.reasons.is_empty()
    }
}

/// Says what becomes of each of a chain's snapshots, which come in the order of their receipt.
pub(crate) fn decide(policy: &Policy, snapshots: &[Candidate], now: UnixMs) -> Vec<Verdict> {
    let received_ms: Vec<i64> = snapshots.iter().map(|snapshot| snapshot.received.0).collect();
    let times = believed_times(&received_ms, now.0);
    let mut verdicts = vec![Verdict::default(); snapshots.len()];
    // Of those whose time is known: one whose time is not must not take its place.
    let newest = times.iter().rposition(Option::is_some);
    for (index, (snapshot, time)) in snapshots.iter().zip(&times).enumerate() {
        let reasons = &mut verdicts[index].reasons;
        if !policy.has_rules() {
            reasons.push(Reason::NoRules);
        }
        if snapshot.is_held {
            reasons.push(Reason::Held);
        }
        if snapshot.is_frozen {
            reasons.push(Reason::Frozen);
        }
        if Some(index) == newest {
            reasons.push(Reason::Newest);
        }
        let Some(time) = time else {
            reasons.push(Reason::TimeUnknown);
            continue;
        };
        let age_ms = now.0.saturating_sub(*time).unsigned_abs();
        if age_ms < policy.min_age_ms {
            reasons.push(Reason::Young { min_age_ms: policy.min_age_ms });
        }
        if policy.keep_within_ms > 0 && age_ms <= policy.keep_within_ms {
            reasons.push(Reason::Within { age_ms: policy.keep_within_ms });
        }
    }
    for verdict in verdicts.iter_mut().rev().take(policy.keep_last as usize) {
        verdict.reasons.push(Reason::Last { count: policy.keep_last });
    }
    for (period, count) in policy.periods() {
        keep_by_period(period, count, &times, &mut verdicts);
    }
    verdicts
}

/// Keeps the newest snapshot of each of the `count` latest stretches of time that have any.
fn keep_by_period(period: Period, count: u32, times: &[Option<i64>], verdicts: &mut [Verdict]) {
    let mut kept = 0;
    let mut last_number = None;
    for (time, verdict) in times.iter().zip(verdicts).rev() {
        let Some(time) = *time else { continue };
        if kept == count {
            return;
        }
        let number = period.number(time);
        if last_number != Some(number) {
            last_number = Some(number);
            kept += 1;
            verdict.reasons.push(Reason::Period { period, count, name: period.name(time) });
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let span = |ms: &u64| Span(Duration::from_millis(*ms));
        match self {
            Self::NoRules => f.write_str("the policy keeps everything"),
            Self::Held => f.write_str("held"),
            Self::Frozen => f.write_str("from before an unusual change that nobody has confirmed"),
            Self::Newest => f.write_str("the newest"),
            Self::Young { min_age_ms } => write!(f, "younger than {}", span(min_age_ms)),
            Self::TimeUnknown => f.write_str("nobody can tell its age: the clock was wrong when it was received"),
            Self::Last { count } => write!(f, "one of the last {count}"),
            Self::Within { age_ms } => write!(f, "within {}", span(age_ms)),
            Self::Period { period, count, name } => write!(f, "{period} {count}: the newest of {name}"),
        }
    }
}
