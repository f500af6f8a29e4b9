//! Retention against an oracle that does it the slow way, and against clocks that lie.

use proptest::collection::vec;
use proptest::prelude::*;
use store::UnixMs;

use super::belief::believed_times;
use super::{Candidate, Policy, decide, is_unusual};

const HOUR: i64 = 3_600_000;
const DAY: i64 = 24 * HOUR;
/// 2026-11-21, a Saturday.
const NOW: i64 = 20_778 * DAY + 9 * HOUR;

fn candidates(received_ms: &[i64]) -> Vec<Candidate> {
    let candidate = |ms: &i64| Candidate { received: UnixMs(*ms), is_held: false, is_frozen: false };
    received_ms.iter().map(candidate).collect()
}

fn staying(policy: &Policy, snapshots: &[Candidate]) -> Vec<bool> {
    decide(policy, snapshots, UnixMs(NOW)).iter().map(super::Verdict::stays).collect()
}

fn policies() -> impl Strategy<Value = Policy> {
    let counts = prop::array::uniform6(prop_oneof![3 => Just(0u32), 2 => 1..4u32, 1 => Just(u32::MAX)]);
    let ages = (prop_oneof![2 => Just(0u64), 1 => 0..40 * DAY.unsigned_abs(), 1 => Just(u64::MAX)], any::<bool>());
    (counts, ages, 0..20 * DAY.unsigned_abs()).prop_map(|(counts, (within, is_old), min_age)| {
        let [keep_last, keep_hourly, keep_daily, keep_weekly, keep_monthly, keep_yearly] = counts;
        let min_age_ms = if is_old { 0 } else { min_age };
        Policy {
            keep_last,
            keep_hourly,
            keep_daily,
            keep_weekly,
            keep_monthly,
            keep_yearly,
            keep_within_ms: within,
            min_age_ms,
        }
    })
}

/// Times as a clock that is mostly right gives them: ascending, a few hours to weeks apart.
fn honest(len_max: usize) -> impl Strategy<Value = Vec<i64>> {
    let gap = prop_oneof![0..HOUR, 0..2 * DAY, 0..30 * DAY];
    vec(gap, 1..len_max).prop_map(|gaps| {
        let mut at = NOW;
        let mut times: Vec<i64> = gaps
            .into_iter()
            .map(|gap| {
                at -= gap;
                at
            })
            .collect();
        times.reverse();
        times
    })
}

/// Any times: right, wrong, and impossible.
fn wild(len_max: usize) -> impl Strategy<Value = Vec<i64>> {
    let time = prop_oneof![
        6 => NOW - 60 * DAY..=NOW,
        1 => NOW..NOW + 4000 * DAY,
        1 => -4000 * DAY..0i64,
        1 => prop::sample::select(&[i64::MIN, i64::MAX, 0, NOW, NOW + 1][..]),
    ];
    vec(time, 0..len_max)
}

fn histories() -> impl Strategy<Value = Vec<Candidate>> {
    prop_oneof![honest(40), wild(40)].prop_flat_map(|times| {
        let len = times.len();
        let marks = (prop::bool::weighted(0.1), prop::bool::weighted(0.1));
        (Just(times), vec(marks, len)).prop_map(|(times, marks)| {
            let pairs = times.into_iter().zip(marks);
            let candidate = |(ms, (is_held, is_frozen))| Candidate { received: UnixMs(ms), is_held, is_frozen };
            pairs.map(candidate).collect()
        })
    })
}

/// Number of the calendar month, by counting days from 1970.
fn slow_month(at_ms: i64) -> i64 {
    let mut days = at_ms.div_euclid(DAY);
    let (mut year, mut month) = (1970i64, 0i64);
    let len = |year: i64, month: i64| match month {
        1 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        1 => 28,
        3 | 5 | 8 | 10 => 30,
        _ => 31,
    };
    while days < 0 {
        (year, month) = if month == 0 { (year - 1, 11) } else { (year, month - 1) };
        days += len(year, month);
    }
    while days >= len(year, month) {
        days -= len(year, month);
        (year, month) = if month == 11 { (year + 1, 0) } else { (year, month + 1) };
    }
    year * 12 + month
}

/// Whether a snapshot stays, by looking at all others for each rule.
fn oracle(policy: &Policy, snapshots: &[Candidate], index: usize) -> bool {
    let received: Vec<i64> = snapshots.iter().map(|snapshot| snapshot.received.0).collect();
    let times = believed_times(&received, NOW);
    let Some(time) = times[index] else { return true };
    let is_newest = times[index + 1..].iter().all(Option::is_none);
    let age = i128::from(NOW) - i128::from(time);
    let Candidate { is_held, is_frozen, .. } = snapshots[index];
    if !policy.has_rules() || is_held || is_frozen || is_newest || age < i128::from(policy.min_age_ms) {
        return true;
    }
    if policy.keep_within_ms > 0 && age <= i128::from(policy.keep_within_ms) {
        return true;
    }
    if snapshots.len() - index <= policy.keep_last as usize {
        return true;
    }
    let hour: fn(i64) -> i64 = |at| at.div_euclid(HOUR);
    let day: fn(i64) -> i64 = |at| at.div_euclid(DAY);
    // 1969-12-29 was a Monday.
    let week: fn(i64) -> i64 = |at| (at + 3 * DAY).div_euclid(7 * DAY);
    let year: fn(i64) -> i64 = |at| slow_month(at).div_euclid(12);
    let rules = [
        (hour, policy.keep_hourly),
        (day, policy.keep_daily),
        (week, policy.keep_weekly),
        (slow_month, policy.keep_monthly),
        (year, policy.keep_yearly),
    ];
    rules.iter().any(|(number, count)| {
        let own = number(time);
        let is_last_of_its = times[index + 1..].iter().flatten().all(|other| number(*other) != own);
        let mut later: Vec<i64> = times.iter().flatten().map(|at| number(*at)).filter(|at| *at > own).collect();
        later.sort_unstable();
        later.dedup();
        is_last_of_its && later.len() < *count as usize
    })
}

/// Calendars end; the oracle counts day by day, so it stays near them.
fn is_countable(snapshots: &[Candidate]) -> bool {
    snapshots.iter().all(|snapshot| snapshot.received.0.unsigned_abs() < 100_000 * DAY.unsigned_abs())
}

proptest! {
    #[test]
    fn every_rule_keeps_what_the_oracle_says(policy in policies(), snapshots in histories()) {
        prop_assume!(is_countable(&snapshots));
        let expected: Vec<bool> = (0..snapshots.len()).map(|index| oracle(&policy, &snapshots, index)).collect();
        prop_assert_eq!(staying(&policy, &snapshots), expected);
    }

    #[test]
    fn no_time_is_too_wild(policy in policies(), snapshots in histories(), now in any::<i64>()) {
        for verdict in decide(&policy, &snapshots, UnixMs(now)) {
            verdict.reasons.iter().for_each(|reason| assert!(!reason.to_string().is_empty()));
        }
    }

    /// All subsets are tried: none that agrees with the order is larger than what is believed.
    #[test]
    fn as_many_times_are_believed_as_can_be(times in wild(11)) {
        let believed = believed_times(&times, NOW);
        prop_assert!(believed.iter().flatten().is_sorted());
        prop_assert!(believed.iter().rev().skip_while(|time| time.is_none()).all(Option::is_some));
        let own = |index: usize| believed[index] == Some(times[index]);
        let agrees = |chosen: &[usize]| {
            chosen.iter().all(|index| times[*index] <= NOW) && chosen.is_sorted_by(|a, b| times[*a] <= times[*b])
        };
        let largest = (0u32..1 << times.len())
            .map(|set| (0..times.len()).filter(|index| set & 1 << index != 0).collect::<Vec<_>>())
            .filter(|chosen| agrees(chosen))
            .map(|chosen| chosen.len())
            .max()
            .unwrap_or(0);
        let distinct = (0..times.len()).filter(|index| own(*index)).count();
        prop_assert_eq!(distinct, largest, "{:?} of {:?}", believed, times);
    }

    /// However many snapshots come with a time in the future, wherever in the order: none of the others goes for it.
    #[test]
    fn times_in_the_future_push_nobody_out(
        policy in policies(),
        times in honest(30),
        lies in vec((any::<prop::sample::Index>(), 1..4000 * DAY), 1..10),
    ) {
        let policy = Policy { keep_last: 0, ..policy };
        let before = staying(&policy, &candidates(&times));
        let mut with_lies: Vec<(i64, Option<usize>)> = times.iter().copied().zip((0..).map(Some)).collect();
        for (at, ahead) in lies {
            with_lies.insert(at.index(with_lies.len() + 1), (NOW + ahead, None));
        }
        let lied: Vec<i64> = with_lies.iter().map(|(time, _)| *time).collect();
        let after = staying(&policy, &candidates(&lied));
        for ((_, origin), stays) in with_lies.iter().zip(after) {
            if let Some(origin) = origin {
                prop_assert_eq!(stays, before[*origin]);
            }
        }
    }

    /// A clock that was wrong for one snapshot, and how wrong does not matter: of the others, none goes for it.
    #[test]
    fn a_wrong_time_takes_nobody_with_it(
        policy in policies(),
        times in honest(30),
        at in any::<prop::sample::Index>(),
        years in 5..50i64,
    ) {
        prop_assume!(times.len() >= 4 && times.iter().all(|time| *time > NOW - 4 * 365 * DAY));
        // In the middle, so that it contradicts neighbours on both sides.
        let at = 1 + at.index(times.len() - 2);
        let policy = Policy { keep_last: 0, ..policy };
        let honest = candidates(&times);
        let mut past = times.clone();
        past[at] -= years * 365 * DAY;
        let mut future = times.clone();
        future[at] += years * 365 * DAY;
        let before = staying(&policy, &honest);
        for lied in [past, future] {
            let after = staying(&policy, &candidates(&lied));
            for index in (0..times.len()).filter(|index| *index != at) {
                prop_assert!(after[index] || !before[index], "{} of {:?}", index, lied);
            }
        }
    }

    #[test]
    fn more_of_any_rule_never_keeps_less(policy in policies(), snapshots in histories(), rule in 0..8usize) {
        let mut more = policy.clone();
        match rule {
            0 => more.keep_last = more.keep_last.saturating_add(2),
            1 => more.keep_hourly = more.keep_hourly.saturating_add(2),
            2 => more.keep_daily = more.keep_daily.saturating_add(2),
            3 => more.keep_weekly = more.keep_weekly.saturating_add(2),
            4 => more.keep_monthly = more.keep_monthly.saturating_add(2),
            5 => more.keep_yearly = more.keep_yearly.saturating_add(2),
            6 => more.keep_within_ms = more.keep_within_ms.saturating_add(HOUR.unsigned_abs()),
            _ => more.min_age_ms = more.min_age_ms.saturating_add(HOUR.unsigned_abs()),
        }
        // The first rule of all is what lets anything go.
        prop_assume!(policy.has_rules());
        let pairs = staying(&policy, &snapshots).into_iter().zip(staying(&more, &snapshots));
        prop_assert!(pairs.into_iter().all(|(before, after)| after || !before));
    }

    #[test]
    fn policies_are_read_as_they_are_written(policy in policies()) {
        prop_assert_eq!(Policy::parse(Some(&policy.to_text())).unwrap(), policy);
    }
}

#[test]
fn a_usual_policy_over_a_year_of_days() {
    let policy = Policy { keep_last: 3, keep_daily: 7, keep_weekly: 4, keep_monthly: 12, ..Policy::default() };
    let policy = Policy { min_age_ms: 0, ..policy };
    let times: Vec<i64> = (0..365).rev().map(|days| NOW - days * DAY).collect();
    let verdicts = decide(&policy, &candidates(&times), UnixMs(NOW));
    let staying: Vec<i64> = (0..365).rev().zip(&verdicts).filter(|(_, v)| v.stays()).map(|(days, _)| days).collect();
    // Seven days; Sundays of the weeks before; last days of the months before.
    assert_eq!(staying, [325, 294, 266, 235, 205, 174, 144, 113, 82, 52, 21, 20, 13, 6, 5, 4, 3, 2, 1, 0]);
    let newest: Vec<String> = verdicts[364].reasons.iter().map(ToString::to_string).collect();
    let expected = [
        "the newest",
        "one of the last 3",
        "daily 7: the newest of 2026-11-21",
        "weekly 4: the newest of 2026-W47",
        "monthly 12: the newest of 2026-11",
    ];
    assert_eq!(newest, expected);
}

#[test]
fn without_rules_nothing_goes() {
    let snapshots = candidates(&[0, 1, 2]);
    assert_eq!(staying(&Policy { min_age_ms: 0, ..Policy::default() }, &snapshots), [true; 3]);
    assert!(!Policy::default().has_rules());
    assert_eq!(Policy::parse(None).unwrap(), Policy::default());
    assert!(Policy::parse(Some("{\"keep-secret\":1}")).is_err());
}

#[test]
fn what_is_unusual() {
    for (all, going, unusual) in [(10, 10, false), (11, 11, true), (33, 11, false), (32, 11, true), (0, 0, false)] {
        assert_eq!(is_unusual(all, going), unusual, "{going} of {all}");
    }
}
