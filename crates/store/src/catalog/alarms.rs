//! [`Alarm`]: a snapshot that keeps unusually little of the one before. It is raised by the commit of that snapshot, in the
//! same transaction, and from then on nothing older in the chain goes to the trash until somebody confirms the change.
//! What is unusual is decided elsewhere.

use object::ObjectId;
use rusqlite::Transaction;

use crate::catalog::{next_generation, signed};
use crate::{ChainId, Store, StoreError, UnixMs};

/// Whether a row of `snapshot` is from before an alarm that nobody confirmed.
pub(crate) const IS_FROZEN: &str =
    "EXISTS (SELECT 1 FROM alarm WHERE alarm.chain = snapshot.chain AND snapshot.seq < alarm.seq)";

/// A change that nobody confirmed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alarm {
    /// The snapshot that keeps so little; the last one, where there are several.
    pub snapshot: ObjectId,
    /// When it was committed.
    pub raised: UnixMs,
    /// What is unusual about it, as it was said.
    pub what: String,
}

impl Store {
    /// Ends a chain's alarm, because somebody looked at the snapshot it was raised for: retention goes on there. Says
    /// whether this was the alarm; one that was raised since stays. When this returns, no old catalog can bring it back
    /// unnoticed.
    ///
    /// # Errors
    /// When the catalog fails.
    pub fn confirm_change(&self, chain: ChainId, snapshot: &ObjectId) -> Result<bool, StoreError> {
        let (is_confirmed, generation) = self.catalog().write_on_reserve(|tx| {
            let sql = "DELETE FROM alarm WHERE chain = ?1 AND snapshot = ?2";
            let is_confirmed = tx.execute(sql, (chain.0, &snapshot.as_bytes()[..]))? > 0;
            Ok((is_confirmed, next_generation(tx)?))
        })?;
        self.raise_anchor(generation)?;
        Ok(is_confirmed)
    }
}

/// Raises the alarm for a snapshot that is being committed. An earlier one of the chain is part of it.
pub(crate) fn raise(
    tx: &Transaction<'_>,
    (chain, seq): (i64, u64),
    snapshot: ObjectId,
    what: &str,
    now: UnixMs,
) -> Result<(), StoreError> {
    let sql = "INSERT OR REPLACE INTO alarm VALUES (?1, ?2, ?3, ?4, ?5)";
    tx.execute(sql, (chain, signed(seq), &snapshot.as_bytes()[..], now.0, what))?;
    Ok(())
}
