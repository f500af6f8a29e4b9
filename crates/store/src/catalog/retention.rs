//! What retention looks at and does: chains, their snapshots in the order of receipt, and the policies kept for them.
//! What a policy says, and what goes by it, is decided elsewhere.

use std::fmt;

use object::ObjectId;

use crate::catalog::alarms::IS_FROZEN;
use crate::catalog::snapshots::{LIVE, TRASH};
use crate::catalog::{clock, next_generation, row, rows, signed, unsigned};
use crate::{Alarm, DeviceId, Store, StoreError, UnixMs};

/// The key of the policy for chains that have none of their own.
const DEFAULT: i64 = 0;

/// A chain's number in this store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChainId(pub(crate) i64);

impl ChainId {
    /// The one with this number, if there is one.
    #[must_use]
    pub fn from_number(number: u64) -> Self {
        Self(signed(number))
    }
}

impl fmt::Display for ChainId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A chain, and whose it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetainedChain {
    /// Its number.
    pub id: ChainId,
    /// The account's name.
    pub account: String,
    /// The device.
    pub device: DeviceId,
    /// The device's name.
    pub device_name: String,
    /// Which of the device's jobs.
    pub name: String,
    /// The policy of its own, if it has one, as it was given.
    pub policy: Option<String>,
    /// The unusual change that nobody confirmed, if there is one: nothing from before it goes.
    pub alarm: Option<Alarm>,
}

/// A snapshot that can be restored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetainedSnapshot {
    /// Its number in this store: later commits have higher ones.
    pub number: u64,
    /// Its object.
    pub id: ObjectId,
    /// When it was committed, by the server's clock of then.
    pub received: UnixMs,
    /// Whether nothing may take it away.
    pub is_held: bool,
    /// Whether it is from before an alarm that nobody confirmed: it stays until then.
    pub is_frozen: bool,
}

impl Store {
    /// All chains, by account, device and name.
    ///
    /// # Errors
    /// When the catalog fails.
    pub fn retained_chains(&self) -> Result<Vec<RetainedChain>, StoreError> {
        let sql = "SELECT chain.chain, account.name, device.id, device.name, chain.name, policy,
                       alarm.snapshot, raised_ms, what
                   FROM chain JOIN device USING (device) JOIN account USING (account)
                   LEFT JOIN retention ON retention.chain = chain.chain
                   LEFT JOIN alarm ON alarm.chain = chain.chain
                   ORDER BY account.account, device.device, chain.name";
        self.catalog().read(|catalog| {
            rows(catalog, sql, (), |row| {
                Ok(RetainedChain {
                    id: ChainId(row.get(0)?),
                    account: row.get(1)?,
                    device: DeviceId::from_bytes(row.get(2)?),
                    device_name: row.get(3)?,
                    name: row.get(4)?,
                    policy: row.get(5)?,
                    alarm: match row.get::<_, Option<[u8; 32]>>(6)? {
                        None => None,
                        Some(id) => Some(Alarm {
                            snapshot: ObjectId::from_bytes(id),
                            raised: UnixMs(row.get(7)?),
                            what: row.get(8)?,
                        }),
                    },
                })
            })
        })
    }

    /// A chain's snapshots that can be restored, in the order in which they were received.
    ///
    /// # Errors
    /// When the catalog fails.
    pub fn retained_snapshots(&self, chain: ChainId) -> Result<Vec<RetainedSnapshot>, StoreError> {
        let sql = format!(
            "SELECT snapshot, id, received_ms, held_ms IS NOT NULL, {IS_FROZEN} FROM snapshot
             WHERE chain = ?1 AND state = ?2 ORDER BY seq"
        );
        self.catalog().read(|catalog| {
            rows(catalog, &sql, (chain.0, LIVE), |row| {
                Ok(RetainedSnapshot {
                    number: unsigned(row, 0)?,
                    id: ObjectId::from_bytes(row.get(1)?),
                    received: UnixMs(row.get(2)?),
                    is_held: row.get(3)?,
                    is_frozen: row.get(4)?,
                })
            })
        })
    }

    /// The policy for chains that have none of their own, as it was given.
    ///
    /// # Errors
    /// When the catalog fails.
    pub fn default_policy(&self) -> Result<Option<String>, StoreError> {
        let sql = "SELECT policy FROM retention WHERE chain = ?1";
        self.catalog().read(|catalog| row(catalog, sql, [DEFAULT], |row| row.get(0)))
    }

    /// Keeps a policy for a chain, or for all that have none of their own; `None` takes it away. When this returns, no old
    /// catalog can bring the old policy back unnoticed.
    ///
    /// # Errors
    /// When the catalog fails.
    pub fn set_policy(&self, chain: Option<ChainId>, policy: Option<&str>) -> Result<(), StoreError> {
        let key = chain.map_or(DEFAULT, |chain| chain.0);
        let generation = self.catalog().write_on_reserve(|tx| {
            match policy {
                Some(policy) => tx.execute("INSERT OR REPLACE INTO retention VALUES (?1, ?2)", (key, policy))?,
                None => tx.execute("DELETE FROM retention WHERE chain = ?1", [key])?,
            };
            next_generation(tx)
        })?;
        self.raise_anchor(generation)
    }

    /// Moves snapshots, named by number, to the trash, and says how many went. Those that are held, from before an alarm
    /// that nobody confirmed, or not there any more, are left as they are.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] while nothing may be deleted.
    pub fn trash(&self, numbers: &[u64], now: UnixMs) -> Result<u64, StoreError> {
        self.check_deletion()?;
        let (count, generation) = self.catalog().write_on_reserve(|tx| {
            let generation = next_generation(tx)?;
            let now = clock::counted(tx, now)?;
            let sql = format!(
                "UPDATE snapshot SET state = ?2, trashed_ms = ?3, changed_generation = ?5
                 WHERE snapshot = ?1 AND state = ?4 AND held_ms IS NULL AND NOT {IS_FROZEN}"
            );
            let mut statement = tx.prepare_cached(&sql)?;
            let mut count = 0;
            for number in numbers {
                count += statement.execute((signed(*number), TRASH, now.0, LIVE, signed(generation)))? as u64;
            }
            Ok((count, generation))
        })?;
        self.keep_ledger()?;
        self.raise_anchor(generation)?;
        Ok(count)
    }
}
