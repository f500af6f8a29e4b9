//! Which backups of the catalog are kept: of each of the last 7 days and 4 weeks that have any, the newest. What is last and
//! newest goes by the order in which they were made, so that no clock that was wrong makes one go.

const DAY_MS: u64 = 86_400_000;
const DAYS: usize = 7;
const WEEKS: usize = 4;
/// 1970-01-01 was a Thursday; weeks begin on Mondays (UTC).
const DAYS_BEFORE_1970: u64 = 3;

/// Says of each backup whether it is kept, by what the clock said when it was made; the newest comes last, and is kept.
pub(super) fn kept(created_ms: &[u64]) -> Vec<bool> {
    let mut kept = vec![false; created_ms.len()];
    let day = |created: u64| created / DAY_MS;
    let week = |created: u64| (created / DAY_MS + DAYS_BEFORE_1970) / 7;
    for (count, period) in [(DAYS, &day as &dyn Fn(u64) -> u64), (WEEKS, &week)] {
        let mut seen = Vec::new();
        for (index, created) in created_ms.iter().enumerate().rev() {
            let period = period(*created);
            if seen.len() < count && !seen.contains(&period) {
                seen.push(period);
                kept[index] = true;
            }
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seven_days_and_four_weeks_are_kept() {
        // Two backups a day for 60 days, pruned after each.
        let mut backups: Vec<u64> = Vec::new();
        for half_day in 0..120 {
            backups.push(1_000 * DAY_MS + half_day * DAY_MS / 2);
            let kept = kept(&backups);
            assert!(kept.last().unwrap(), "the newest always is");
            let mut kept = kept.into_iter();
            backups.retain(|_| kept.next().unwrap());
        }
        let newest = 1_059u64;
        let days: Vec<u64> = backups.iter().map(|created| newest - created / DAY_MS).collect();
        assert_eq!(&days[days.len() - 7..], [6, 5, 4, 3, 2, 1, 0]);
        assert!(backups.len() <= 11, "{days:?}");
        assert!((14..=28).contains(&days[0]), "the oldest is of four weeks ago: {days:?}");
    }
}
