//! [`Period`]: hours, days, weeks, months and years, in UTC, so that no change of local time makes one longer or vanish.

use std::fmt;

use time::{Date, OffsetDateTime};

const HOUR_MS: i64 = 3_600_000;
const DAY_MS: i64 = 24 * HOUR_MS;
/// 1970-01-01 was a Thursday; weeks begin on Mondays.
const DAYS_INTO_FIRST_WEEK: i64 = 3;

/// A kind of stretch of time, of which a policy keeps one snapshot each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Period {
    /// From full hour to full hour.
    Hour,
    /// From midnight to midnight.
    Day,
    /// From Monday to Sunday.
    Week,
    /// Of the calendar.
    Month,
    /// Of the calendar.
    Year,
}

impl Period {
    /// The number of the stretch this moment is in: equal within one, ascending with time.
    pub(super) fn number(self, at_ms: i64) -> i64 {
        match self {
            Self::Hour => at_ms.div_euclid(HOUR_MS),
            Self::Day => at_ms.div_euclid(DAY_MS),
            Self::Week => (at_ms.div_euclid(DAY_MS) + DAYS_INTO_FIRST_WEEK).div_euclid(7),
            Self::Month => {
                let date = date(at_ms);
                i64::from(date.year()) * 12 + i64::from(u8::from(date.month()))
            }
            Self::Year => i64::from(date(at_ms).year()),
        }
    }

    /// The stretch this moment is in, for people.
    pub(super) fn name(self, at_ms: i64) -> String {
        let date = date(at_ms);
        let (year, month, day) = (date.year(), u8::from(date.month()), date.day());
        match self {
            Self::Hour => {
                let hour = at_ms.div_euclid(HOUR_MS).rem_euclid(24);
                format!("{year:04}-{month:02}-{day:02} {hour:02}h")
            }
            Self::Day => format!("{year:04}-{month:02}-{day:02}"),
            Self::Week => {
                let (year, week, _) = date.to_iso_week_date();
                format!("{year:04}-W{week:02}")
            }
            Self::Month => format!("{year:04}-{month:02}"),
            Self::Year => format!("{year:04}"),
        }
    }
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Hour => "hourly",
            Self::Day => "daily",
            Self::Week => "weekly",
            Self::Month => "monthly",
            Self::Year => "yearly",
        })
    }
}

/// The day of a moment; the first or last the calendar has, for one beyond it.
fn date(at_ms: i64) -> Date {
    match OffsetDateTime::from_unix_timestamp(at_ms.div_euclid(1000)) {
        Ok(moment) => moment.date(),
        Err(_) if at_ms < 0 => Date::MIN,
        Err(_) => Date::MAX,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stretches_begin_where_calendars_say() {
        // 2024-12-30 was the Monday of 2025's first week.
        let monday = 1_735_516_800_000;
        let names =
            |at_ms| [Period::Hour, Period::Day, Period::Week, Period::Month, Period::Year].map(|p| p.name(at_ms));
        assert_eq!(names(monday), ["2024-12-30 00h", "2024-12-30", "2025-W01", "2024-12", "2024"]);
        assert_eq!(names(monday - 1), ["2024-12-29 23h", "2024-12-29", "2024-W52", "2024-12", "2024"]);
        for (period, same_until) in [(Period::Hour, HOUR_MS), (Period::Day, DAY_MS), (Period::Week, 7 * DAY_MS)] {
            assert_eq!(period.number(monday), period.number(monday + same_until - 1), "{period}");
            assert_eq!(period.number(monday) + 1, period.number(monday + same_until), "{period}");
            assert_eq!(period.number(monday) - 1, period.number(monday - 1), "{period}");
        }
        let new_year = monday + 2 * DAY_MS;
        for period in [Period::Month, Period::Year] {
            assert!(period.number(new_year - 1) < period.number(new_year), "{period}");
        }
        assert_eq!(names(-1)[1], "1969-12-31");
    }
}
