//! [`Policy`]: what is to stay of a chain, as it is kept in the catalog and told to people.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use store::UnixMs;

use crate::retention::period::Period;
use crate::units::Span;

/// Nothing younger goes, unless an administrator says otherwise: what harms a machine has had time to be noticed.
const MIN_AGE_DEFAULT_MS: u64 = 14 * 86_400_000;

/// What is to stay of a chain. Rules add up: what one of them keeps, stays. Zero means that there is no such rule; without
/// any, everything stays.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Policy {
    /// So many of the newest.
    pub(crate) keep_last: u32,
    /// The newest of each of so many hours that have any.
    pub(crate) keep_hourly: u32,
    /// The same for days.
    pub(crate) keep_daily: u32,
    /// The same for weeks.
    pub(crate) keep_weekly: u32,
    /// The same for months.
    pub(crate) keep_monthly: u32,
    /// The same for years.
    pub(crate) keep_yearly: u32,
    /// All that are no older.
    pub(crate) keep_within_ms: u64,
    /// Nothing younger ever goes, by rules or by a device's wish.
    pub(crate) min_age_ms: u64,
}

/// The catalog holds a policy that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("the policy in the catalog cannot be read; set it anew, or use the version that wrote it")]
pub(crate) struct PolicyError(#[from] serde_json::Error);

impl Default for Policy {
    fn default() -> Self {
        Self {
            keep_last: 0,
            keep_hourly: 0,
            keep_daily: 0,
            keep_weekly: 0,
            keep_monthly: 0,
            keep_yearly: 0,
            keep_within_ms: 0,
            min_age_ms: MIN_AGE_DEFAULT_MS,
        }
    }
}

impl Policy {
    /// What the catalog has; without anything, the default.
    ///
    /// # Errors
    /// [`PolicyError`].
    pub(crate) fn parse(text: Option<&str>) -> Result<Self, PolicyError> {
        Ok(text.map(serde_json::from_str).transpose()?.unwrap_or_default())
    }

    /// What the catalog keeps.
    pub(crate) fn to_text(&self) -> String {
        serde_json::to_string(self).expect("a plain structure")
    }

    /// Whether anything may ever go.
    pub(crate) fn has_rules(&self) -> bool {
        self.keep_last > 0 || self.keep_within_ms > 0 || self.periods().iter().any(|(_, count)| *count > 0)
    }

    /// The rules that keep one snapshot of each stretch of time.
    pub(super) fn periods(&self) -> [(Period, u32); 5] {
        [
            (Period::Hour, self.keep_hourly),
            (Period::Day, self.keep_daily),
            (Period::Week, self.keep_weekly),
            (Period::Month, self.keep_monthly),
            (Period::Year, self.keep_yearly),
        ]
    }

    /// A snapshot must have been received at this moment or before for a device, or its owner, to forget it, by what the
    /// catalog has for its chain. A policy that cannot be read lets nothing go.
    pub(crate) fn forget_rule(text: Option<&str>, now: UnixMs) -> UnixMs {
        let until = |policy: Self| UnixMs(now.0.saturating_sub_unsigned(policy.min_age_ms));
        Self::parse(text).map_or(UnixMs(i64::MIN), until)
    }

    /// Whether something may go by this policy that would have stayed by `before`, as far as their rules tell.
    pub(crate) fn keeps_less_than(&self, before: &Self) -> bool {
        let counts =
            |policy: &Self| [policy.periods().map(|(_, count)| count).as_slice(), &[policy.keep_last]].concat();
        let has_less = || {
            counts(self).iter().zip(counts(before)).any(|(new, old)| *new < old)
                || self.keep_within_ms < before.keep_within_ms
        };
        let has_fewer_rules = self.has_rules() && (!before.has_rules() || has_less());
        has_fewer_rules || self.min_age_ms < before.min_age_ms
    }
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.has_rules() {
            f.write_str("keep")?;
        } else {
            f.write_str("keep everything")?;
        }
        if self.keep_last > 0 {
            write!(f, " last {}", self.keep_last)?;
        }
        for (period, count) in self.periods().into_iter().filter(|(_, count)| *count > 0) {
            write!(f, " {period} {count}")?;
        }
        if self.keep_within_ms > 0 {
            write!(f, " within {}", Span(Duration::from_millis(self.keep_within_ms)))?;
        }
        write!(f, ", nothing younger than {} goes", Span(Duration::from_millis(self.min_age_ms)))
    }
}
