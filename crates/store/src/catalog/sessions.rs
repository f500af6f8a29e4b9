//! Rows of writing sessions, and the sweep of rows that nobody needs any more.

use object::VaultId;
use rusqlite::Transaction;

use crate::catalog::{clock, row, rows, signed, vaults};
use crate::ids::VaultKey;
use crate::{SessionId, Store, StoreError, UnixMs};

/// Who writes what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SessionOwner {
    pub(crate) vault: VaultKey,
    pub(crate) device: Option<i64>,
    /// `None`: the drive.
    pub(crate) chain: Option<i64>,
}

/// Notes that a session begins. Its parent is a root of garbage collection from now on.
pub(crate) fn insert(
    tx: &Transaction<'_>,
    id: SessionId,
    owner: SessionOwner,
    parent: Option<u64>,
    now: UnixMs,
) -> Result<(), StoreError> {
    let now = clock::counted(tx, now)?;
    let sql = "INSERT INTO session (id, vault, device, chain, parent, started_epoch, started_ms, last_active_ms)
               SELECT ?1, ?2, ?3, ?4, ?5, epoch, ?6, ?6 FROM meta";
    tx.prepare_cached(sql)?.execute((
        id.as_bytes(),
        owner.vault.0,
        owner.device,
        owner.chain,
        parent.map(signed),
        now.0,
    ))?;
    Ok(())
}

/// Notes that a session is alive.
pub(crate) fn touch(tx: &Transaction<'_>, id: SessionId, now: UnixMs) -> Result<(), StoreError> {
    let now = clock::counted(tx, now)?;
    tx.prepare_cached("UPDATE session SET last_active_ms = ?2 WHERE id = ?1")?.execute((id.as_bytes(), now.0))?;
    Ok(())
}

/// Forgets a session.
pub(crate) fn remove(tx: &Transaction<'_>, id: SessionId) -> Result<(), StoreError> {
    tx.prepare_cached("DELETE FROM session WHERE id = ?1")?.execute([id.as_bytes()])?;
    Ok(())
}

/// Forgets the sessions of the same writer that were cut off: what they stored is referred to now, or will not be.
pub(crate) fn remove_superseded(
    tx: &Transaction<'_>,
    owner: SessionOwner,
    is_open: impl Fn(SessionId) -> bool,
) -> Result<(), StoreError> {
    let sql = "SELECT id FROM session WHERE vault = ?1 AND device IS ?2 AND chain IS ?3";
    let ids = rows(tx, sql, (owner.vault.0, owner.device, owner.chain), |row| row.get(0).map(SessionId::from_bytes))?;
    ids.into_iter().filter(|id| !is_open(*id)).try_for_each(|id| remove(tx, id))
}

/// The chain of this name, made when it is missing.
pub(crate) fn ensure_chain(tx: &Transaction<'_>, vault: VaultKey, device: i64, name: &str) -> Result<i64, StoreError> {
    let sql = "SELECT chain FROM chain WHERE vault = ?1 AND device = ?2 AND name = ?3";
    if let Some(chain) = row(tx, sql, (vault.0, device, name), |row| row.get(0))? {
        return Ok(chain);
    }
    let sql = "INSERT INTO chain (vault, device, name) VALUES (?1, ?2, ?3) RETURNING chain";
    Ok(tx.query_row(sql, (vault.0, device, name), |row| row.get(0))?)
}

/// Ages past which rows of the past are dropped by [`Store::sweep`].
#[derive(Clone, Copy, Debug)]
pub struct Sweep {
    /// Sessions not active since then stop pinning what they stored, and uploads are given up.
    pub sessions_idle_since: UnixMs,
    /// Pins older than this no longer keep what their snapshots refer to.
    pub pins_before: UnixMs,
    /// Answers older than this are no longer repeated.
    pub answers_before: UnixMs,
    /// Enrolments, and links to set accounts up, that expired before this are forgotten.
    pub enrolments_before: UnixMs,
    /// Sessions of browsers that began before this, or were not used since the other, are forgotten.
    pub web_sessions_before: (UnixMs, UnixMs),
}

impl Store {
    /// Drops rows that have served their time and returns how many. Open sessions are never dropped.
    ///
    /// # Errors
    /// When the catalog fails.
    pub fn sweep(&self, sweep: &Sweep) -> Result<u64, StoreError> {
        self.catalog().write(|tx| {
            let sql = "SELECT id FROM session WHERE last_active_ms < ?1";
            let idle = rows(tx, sql, [sweep.sessions_idle_since.0], |row| row.get(0).map(SessionId::from_bytes))?;
            let mut dropped = 0;
            for id in idle.into_iter().filter(|id| !self.is_session_open(*id)) {
                remove(tx, id)?;
                dropped += 1;
            }
            dropped += tx.execute("DELETE FROM upload WHERE last_active_ms < ?1", [sweep.sessions_idle_since.0])?;
            dropped += tx.execute("DELETE FROM pin WHERE pinned_ms < ?1", [sweep.pins_before.0])?;
            for table in ["idempotency", "request"] {
                let sql = format!("DELETE FROM {table} WHERE created_ms < ?1");
                dropped += tx.execute(&sql, [sweep.answers_before.0])?;
            }
            dropped += tx.execute("DELETE FROM enrolment WHERE expires_ms < ?1", [sweep.enrolments_before.0])?;
            dropped += tx.execute("DELETE FROM setup_link WHERE expires_ms < ?1", [sweep.enrolments_before.0])?;
            let (began, seen) = sweep.web_sessions_before;
            let sql = "DELETE FROM web_session WHERE created_ms < ?1 OR last_seen_ms < ?2";
            dropped += tx.execute(sql, (began.0, seen.0))?;
            // As old as the schema lets it go.
            let sql = "DELETE FROM audit WHERE at_ms <= (SELECT max(at_ms) FROM audit) - 34560000000";
            dropped += tx.execute(sql, ())?;
            Ok(dropped as u64)
        })
    }

    pub(crate) fn vault_key(&self, vault: VaultId) -> Result<VaultKey, StoreError> {
        let found = self.catalog().read(|catalog| vaults::find(catalog, vault))?;
        found.map(|(key, _)| key).ok_or(StoreError::NotFound { what: "vault" })
    }
}
