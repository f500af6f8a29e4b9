//! [`Traffic`]: how many bytes went through, by account, hour, day and in all. For charts: nothing is decided by it.
//!
//! Rows are bounded by their number and not by their age: a clock that jumps takes no history away.

use rusqlite::{Row, Transaction};

use crate::catalog::packs::PackState;
use crate::catalog::{rows, signed, unsigned};
use crate::{AccountId, Store, StoreError, UnixMs};

/// Bytes that went through.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Of files as they are, that were backed up or taken into a drive.
    pub source_bytes: u64,
    /// Of these, what the vault held before.
    pub deduplicated_bytes: u64,
    /// Of these, what was stored as deltas.
    pub delta_bytes: u64,
    /// That came over the network.
    pub sent_bytes: u64,
    /// That packs grew by.
    pub stored_bytes: u64,
    /// That went out again.
    pub restored_bytes: u64,
}

impl Traffic {
    /// Both together.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            source_bytes: self.source_bytes.saturating_add(other.source_bytes),
            deduplicated_bytes: self.deduplicated_bytes.saturating_add(other.deduplicated_bytes),
            delta_bytes: self.delta_bytes.saturating_add(other.delta_bytes),
            sent_bytes: self.sent_bytes.saturating_add(other.sent_bytes),
            stored_bytes: self.stored_bytes.saturating_add(other.stored_bytes),
            restored_bytes: self.restored_bytes.saturating_add(other.restored_bytes),
        }
    }

    /// What there is beyond the other; nothing where there is less.
    #[must_use]
    pub fn beyond(self, other: Self) -> Self {
        Self {
            source_bytes: self.source_bytes.saturating_sub(other.source_bytes),
            deduplicated_bytes: self.deduplicated_bytes.saturating_sub(other.deduplicated_bytes),
            delta_bytes: self.delta_bytes.saturating_sub(other.delta_bytes),
            sent_bytes: self.sent_bytes.saturating_sub(other.sent_bytes),
            stored_bytes: self.stored_bytes.saturating_sub(other.stored_bytes),
            restored_bytes: self.restored_bytes.saturating_sub(other.restored_bytes),
        }
    }
}

/// What a row of traffic is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrafficSpan {
    /// One hour; the last 31 days that have any are kept.
    Hour = 1,
    /// One day, from midnight UTC; 5 years of them are kept.
    Day = 2,
    /// All the time there was.
    Ever = 3,
}

impl TrafficSpan {
    const ALL: [Self; 3] = [Self::Hour, Self::Day, Self::Ever];

    /// When the span that holds `moment` began.
    #[must_use]
    pub fn start(self, moment: UnixMs) -> UnixMs {
        let len_ms = match self {
            Self::Hour => 3_600_000,
            Self::Day => 86_400_000,
            Self::Ever => return UnixMs(0),
        };
        UnixMs(moment.0 - moment.0.rem_euclid(len_ms))
    }

    /// Most rows of an account.
    fn rows_max(self) -> u64 {
        match self {
            Self::Hour => 31 * 24,
            Self::Day => 5 * 366,
            Self::Ever => 1,
        }
    }
}

/// What went through in one span.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TrafficRow {
    /// When it began.
    pub start: UnixMs,
    /// Bytes that went through.
    pub traffic: Traffic,
    /// Bytes of packs, at the last look.
    pub packed_bytes: u64,
}

impl Store {
    /// Adds what went through since the last time, and how large the packs of these accounts are now. Cost grows with the
    /// number of packs.
    ///
    /// # Errors
    /// When the catalog fails: nothing was added.
    pub fn add_traffic(&self, added: &[(AccountId, Traffic)], now: UnixMs) -> Result<(), StoreError> {
        self.catalog().write(|tx| {
            for (account, traffic) in added {
                for span in TrafficSpan::ALL {
                    add(tx, *account, span, *traffic, now)?;
                }
            }
            Ok(())
        })
    }

    /// What went through, the oldest first: of one account, or of all together; the last `limit` spans that have any.
    ///
    /// # Errors
    /// When the catalog fails.
    pub fn traffic(
        &self,
        account: Option<AccountId>,
        span: TrafficSpan,
        limit: u64,
    ) -> Result<Vec<TrafficRow>, StoreError> {
        let sql = "SELECT start_ms, sum(source_bytes), sum(deduplicated_bytes), sum(delta_bytes), sum(sent_bytes),
                       sum(stored_bytes), sum(restored_bytes), sum(packed_bytes) FROM traffic
                   WHERE span = ?1 AND (?2 IS NULL OR account = ?2) GROUP BY start_ms ORDER BY start_ms DESC LIMIT ?3";
        let parameters = (span as i64, account.map(|account| account.0), signed(limit));
        let mut found = self.catalog().read(|catalog| rows(catalog, sql, parameters, traffic_row))?;
        found.reverse();
        Ok(found)
    }
}

fn add(
    tx: &Transaction<'_>,
    account: AccountId,
    span: TrafficSpan,
    traffic: Traffic,
    now: UnixMs,
) -> Result<(), StoreError> {
    let sql = "INSERT INTO traffic VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9,
                   (SELECT coalesce(sum(bytes), 0) FROM pack
                    WHERE vault IN (SELECT vault FROM vault WHERE account = ?1) AND state NOT IN (?10, ?11)))
               ON CONFLICT DO UPDATE SET source_bytes = source_bytes + excluded.source_bytes,
                   deduplicated_bytes = deduplicated_bytes + excluded.deduplicated_bytes,
                   delta_bytes = delta_bytes + excluded.delta_bytes, sent_bytes = sent_bytes + excluded.sent_bytes,
                   stored_bytes = stored_bytes + excluded.stored_bytes,
                   restored_bytes = restored_bytes + excluded.restored_bytes, packed_bytes = excluded.packed_bytes";
    let gone = [PackState::Condemned, PackState::Deleting].map(|state| state as i64);
    tx.prepare_cached(sql)?.execute((
        account.0,
        span as i64,
        span.start(now).0,
        signed(traffic.source_bytes),
        signed(traffic.deduplicated_bytes),
        signed(traffic.delta_bytes),
        signed(traffic.sent_bytes),
        signed(traffic.stored_bytes),
        signed(traffic.restored_bytes),
        gone[0],
        gone[1],
    ))?;
    let sql = "DELETE FROM traffic WHERE account = ?1 AND span = ?2 AND start_ms <
                   (SELECT start_ms FROM traffic WHERE account = ?1 AND span = ?2
                    ORDER BY start_ms DESC LIMIT 1 OFFSET ?3)";
    tx.prepare_cached(sql)?.execute((account.0, span as i64, signed(span.rows_max() - 1)))?;
    Ok(())
}

fn traffic_row(row: &Row<'_>) -> rusqlite::Result<TrafficRow> {
    Ok(TrafficRow {
        start: UnixMs(row.get(0)?),
        traffic: Traffic {
            source_bytes: unsigned(row, 1)?,
            deduplicated_bytes: unsigned(row, 2)?,
            delta_bytes: unsigned(row, 3)?,
            sent_bytes: unsigned(row, 4)?,
            stored_bytes: unsigned(row, 5)?,
            restored_bytes: unsigned(row, 6)?,
        },
        packed_bytes: unsigned(row, 7)?,
    })
}
