//! The audit log: what was done, by whom, to what. Rows are only added; the schema lets nobody change one, or remove one
//! that is not old.

use rusqlite::Row;

use crate::catalog::{rows, signed, unsigned};
use crate::{Store, StoreError, UnixMs};

/// Something that was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NewAuditEntry<'a> {
    /// Who: an account's name, empty when it is the server or a command.
    pub actor: &'a str,
    /// How they were known.
    pub means: &'a str,
    /// Where they came from; empty when that is here.
    pub address: &'a str,
    /// What they did.
    pub event: &'a str,
    /// To what.
    pub subject: &'a str,
    /// What else is worth knowing.
    pub detail: &'a str,
}

/// A line of the audit log.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is documented at the field of the same name in `NewAuditEntry`")]
pub struct AuditEntry {
    /// Grows from entry to entry.
    pub number: u64,
    /// When.
    pub at: UnixMs,
    pub actor: String,
    pub means: String,
    pub address: String,
    pub event: String,
    pub subject: String,
    pub detail: String,
}

/// Which lines of the audit log.
#[derive(Clone, Copy, Debug, Default)]
pub struct AuditQuery<'a> {
    /// Only those before this number.
    pub before: Option<u64>,
    /// Only this event.
    pub event: Option<&'a str>,
    /// Only what this account did, or what was done to something of this name.
    pub name: Option<&'a str>,
    /// At most so many.
    pub limit: u32,
}

impl Store {
    /// Adds a line. Uses the reserve of a full disk: what makes room is to be told too.
    ///
    /// # Errors
    /// When the catalog fails.
    pub fn add_audit(&self, entry: &NewAuditEntry<'_>, now: UnixMs) -> Result<(), StoreError> {
        let NewAuditEntry { actor, means, address, event, subject, detail } = *entry;
        let sql = "INSERT INTO audit (at_ms, actor, means, address, event, subject, detail)
                   VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
        self.catalog().write_on_reserve(|tx| {
            tx.prepare_cached(sql)?.execute((now.0, actor, means, address, event, subject, detail))?;
            Ok(())
        })
    }

    /// Lines of the audit log, newest first.
    ///
    /// # Errors
    /// When the catalog fails.
    pub fn audit(&self, query: &AuditQuery<'_>) -> Result<Vec<AuditEntry>, StoreError> {
        let sql = "SELECT entry, at_ms, actor, means, address, event, subject, detail FROM audit
                   WHERE (?1 IS NULL OR entry < ?1) AND (?2 IS NULL OR event = ?2)
                   AND (?3 IS NULL OR actor = ?3 OR subject = ?3) ORDER BY entry DESC LIMIT ?4";
        let AuditQuery { before, event, name, limit } = *query;
        self.catalog().read(|catalog| rows(catalog, sql, (before.map(signed), event, name, limit), entry_row))
    }
}

fn entry_row(row: &Row<'_>) -> rusqlite::Result<AuditEntry> {
    Ok(AuditEntry {
        number: unsigned(row, 0)?,
        at: UnixMs(row.get(1)?),
        actor: row.get(2)?,
        means: row.get(3)?,
        address: row.get(4)?,
        event: row.get(5)?,
        subject: row.get(6)?,
        detail: row.get(7)?,
    })
}
