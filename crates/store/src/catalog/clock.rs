//! [`ClockReading`]: whether the clock on the wall can be believed. What is deleted by age waits when it cannot.
//!
//! The wall's clock is held against one that nobody can set: the time since the machine was booted. What both said when
//! they were last believed is kept in the catalog, and with it the doubt, until somebody confirms the clock.

use rusqlite::{Connection, Transaction};

use crate::catalog::{next_generation, row, signed};
use crate::{ErrorKind, Store, StoreError, UnixMs};

/// The wall may be ahead of what was expected by so much: a machine that was off for a night.
const AHEAD_MS_MAX: i64 = 24 * 3_600_000;
/// The wall may be behind by so much: a clock that is corrected.
const BEHIND_MS_MAX: i64 = 5 * 60_000;

/// Times that ages are counted from: what is too old goes.
const AGED: [(&str, &str); 7] = [
    ("idempotency", "created_ms"),
    ("request", "created_ms"),
    ("session", "last_active_ms"),
    ("upload", "last_active_ms"),
    ("pin", "pinned_ms"),
    ("pack", "condemned_ms"),
    ("drive_node", "trashed_ms"),
];
/// What is good for a time from when it was made.
const EXPIRING: [&str; 3] = ["enrolment", "setup_link", "api_token"];

/// What the clocks of a machine say at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClockReading {
    /// The clock on the wall.
    pub wall: UnixMs,
    /// Milliseconds since the machine was booted, those it slept included.
    pub since_boot_ms: i64,
    /// Names the boot.
    pub boot: [u8; 16],
}

impl ClockReading {
    /// Why the wall's clock cannot be believed now, when it could at `last`; `None` when it can.
    ///
    /// Within one boot the time that has passed is known. Across boots only the time since the last of them is: how long
    /// the machine was off, nobody can tell.
    #[must_use]
    pub fn doubt_since(&self, last: &Self) -> Option<String> {
        let passed_ms = match self.boot == last.boot {
            true => self.since_boot_ms.saturating_sub(last.since_boot_ms),
            false => self.since_boot_ms,
        };
        let expected_ms = last.wall.0.saturating_add(passed_ms);
        let ahead_ms = self.wall.0.saturating_sub(expected_ms);
        if ahead_ms > AHEAD_MS_MAX {
            return Some(format!("the clock is {} h ahead of what was last known", ahead_ms / 3_600_000));
        }
        if ahead_ms < -BEHIND_MS_MAX {
            let behind_min = ahead_ms.unsigned_abs() / 60_000;
            return Some(format!("the clock is {behind_min} min behind what was last known"));
        }
        None
    }
}

impl Store {
    /// Looks at the clock, and says why it is not believed, if so. A doubt stays until [`confirm_clock`](Self::confirm_clock).
    ///
    /// # Errors
    /// When the catalog fails.
    pub fn watch_clock(&self, now: &ClockReading) -> Result<Option<String>, StoreError> {
        let doubt = self.catalog().read(|catalog| match doubt(catalog)? {
            Some(doubt) => Ok(Some(doubt)),
            None => Ok(last(catalog)?.and_then(|last| now.doubt_since(&last))),
        })?;
        let noted = self.catalog().write(|tx| match &doubt {
            Some(doubt) => Ok(tx.execute("UPDATE meta SET clock_doubt = ?1", [doubt]).map(drop)?),
            None => believe(tx, now),
        });
        match noted {
            // What makes room must not wait for room: what was last known stays, and is compared with again.
            Err(error) if error.kind() == ErrorKind::Full => Ok(doubt),
            noted => noted.map(|()| doubt),
        }
    }

    /// Why the clock is not believed, if so, as of the last look.
    ///
    /// # Errors
    /// When the catalog fails.
    pub fn clock_doubt(&self) -> Result<Option<String>, StoreError> {
        self.catalog().read(doubt)
    }

    /// Believes the clock from now on, because somebody has looked at it.
    ///
    /// What happened since it was last believed counts as happening now: under a clock that was ahead it would else stay
    /// until that time, under one that was behind go at once. What lets somebody in expires as if it were made now, when it
    /// was made at a time to come.
    ///
    /// # Errors
    /// When the catalog fails.
    pub fn confirm_clock(&self, now: &ClockReading) -> Result<(), StoreError> {
        let now_ms = now.wall.0;
        let generation = self.catalog().write(|tx| {
            let since = last(tx)?.map_or(now_ms, |last| last.wall.0.min(now_ms));
            for (table, column) in AGED {
                tx.execute(&format!("UPDATE {table} SET {column} = ?2 WHERE {column} >= ?1"), (since, now_ms))?;
            }
            for table in EXPIRING {
                let sql = format!(
                    "UPDATE {table} SET expires_ms = expires_ms - created_ms + ?1, created_ms = ?1 WHERE created_ms > ?1"
                );
                tx.execute(&sql, [now_ms])?;
            }
            let sql = "UPDATE web_session SET created_ms = min(created_ms, ?1), last_seen_ms = min(last_seen_ms, ?1)";
            tx.execute(sql, [now_ms])?;
            believe(tx, now)?;
            tx.execute("UPDATE meta SET clock_doubt = NULL", ())?;
            // The ledger says it, too.
            let generation = next_generation(tx)?;
            let sql = "UPDATE snapshot SET trashed_ms = ?2, changed_generation = ?3 WHERE state = 2 AND trashed_ms >= ?1";
            tx.execute(sql, (since, now_ms, signed(generation)))?;
            Ok(generation)
        })?;
        self.keep_ledger()?;
        self.raise_anchor(generation)
    }
}

/// When something happened, as its age is counted: whatever the clock shows, not before it was last believed. Under a clock
/// that is behind, it would be old as soon as the clock is right.
pub(crate) fn counted(tx: &Transaction<'_>, now: UnixMs) -> Result<UnixMs, StoreError> {
    let mut statement = tx.prepare_cached("SELECT max(?1, ifnull(clock_ms, ?1)) FROM meta")?;
    Ok(UnixMs(statement.query_row([now.0], |row| row.get(0))?))
}

fn doubt(connection: &Connection) -> Result<Option<String>, StoreError> {
    Ok(row(connection, "SELECT clock_doubt FROM meta", (), |row| row.get(0))?.flatten())
}

fn last(connection: &Connection) -> Result<Option<ClockReading>, StoreError> {
    let sql = "SELECT clock_ms, clock_boot_ms, clock_boot_id FROM meta WHERE clock_ms IS NOT NULL";
    row(connection, sql, (), |row| {
        Ok(ClockReading { wall: UnixMs(row.get(0)?), since_boot_ms: row.get(1)?, boot: row.get(2)? })
    })
}

fn believe(tx: &Transaction<'_>, now: &ClockReading) -> Result<(), StoreError> {
    let sql = "UPDATE meta SET clock_ms = ?1, clock_boot_ms = ?2, clock_boot_id = ?3";
    tx.execute(sql, (now.wall.0, now.since_boot_ms, now.boot))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3_600_000;

    fn reading(wall: i64, since_boot_ms: i64, boot: u8) -> ClockReading {
        ClockReading { wall: UnixMs(wall), since_boot_ms, boot: [boot; 16] }
    }

    #[test]
    fn a_clock_that_jumps_is_doubted_and_one_that_goes_is_not() {
        let last = reading(1000 * HOUR, 10 * HOUR, 1);
        let is_doubted = |now: ClockReading| now.doubt_since(&last).is_some();
        // A year passes within one boot, asleep or not; a night, and the machine was off.
        assert!(!is_doubted(reading(9760 * HOUR, 8770 * HOUR, 1)));
        assert!(!is_doubted(reading(1012 * HOUR, HOUR / 60, 2)));
        // Corrections.
        assert!(!is_doubted(reading(1000 * HOUR - 4 * 60_000, 10 * HOUR, 1)));
        assert!(!is_doubted(reading(1024 * HOUR, 10 * HOUR, 1)));
        // Ten years forward and back, within a boot and across.
        for boot in [1, 2] {
            assert!(is_doubted(reading(88_600 * HOUR, 11 * HOUR, boot)));
            assert!(is_doubted(reading(-86_600 * HOUR, 11 * HOUR, boot)));
        }
        // A clock that stands still.
        assert!(is_doubted(reading(1000 * HOUR, 11 * HOUR, 1)));
        for wild in [i64::MIN, i64::MAX] {
            assert!(is_doubted(reading(wild, 10 * HOUR, 1)));
        }
    }
}
