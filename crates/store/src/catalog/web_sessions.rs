//! [`WebSession`]: a browser that is logged in. Its secret arrives hashed, and is what it is found by.

use rusqlite::Row;

use crate::catalog::accounts::{ACCOUNT_COLUMNS, AFTER_ACCOUNT, account_row};
use crate::catalog::{row, rows};
use crate::{Account, AccountId, Store, StoreError, UnixMs, WebSessionId};

/// A browser that logs in.
#[derive(Clone, Copy, Debug)]
pub struct NewWebSession<'a> {
    /// Random, never used before: what it is called in lists.
    pub id: WebSessionId,
    /// Hash of what the browser keeps.
    pub secret_hash: [u8; 32],
    /// Whose.
    pub account: AccountId,
    /// Where it is.
    pub address: &'a str,
    /// What it calls itself.
    pub agent: &'a str,
}

/// A browser that is logged in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebSession {
    /// Its name in lists; nobody gets in by it.
    pub id: WebSessionId,
    /// Whose.
    pub account: Account,
    /// When it logged in.
    pub created: UnixMs,
    /// When it was last here, to the minute or so.
    pub last_seen: UnixMs,
    /// Where it was when it logged in.
    pub address: String,
    /// What it calls itself.
    pub agent: String,
}

impl Store {
    /// Lets a browser in; `replaces` is the session that it had before, which ends.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] without the account, [`StoreError::Conflict`] when id or secret were used before.
    pub fn create_web_session(
        &self,
        session: &NewWebSession<'_>,
        replaces: Option<&[u8; 32]>,
        now: UnixMs,
    ) -> Result<(), StoreError> {
        let sql = "INSERT INTO web_session (secret_hash, id, account, created_ms, last_seen_ms, address, agent)
                   VALUES (?1, ?2, ?3, ?4, ?4, ?5, ?6) ON CONFLICT DO NOTHING";
        self.catalog().write(|tx| {
            let account = session.account.0;
            let exists = row(tx, "SELECT 1 FROM account WHERE account = ?1", [account], |_| Ok(()))?;
            exists.ok_or(StoreError::NotFound { what: "account" })?;
            if let Some(before) = replaces {
                tx.execute("DELETE FROM web_session WHERE secret_hash = ?1", [&before[..]])?;
            }
            let inserted = tx.prepare_cached(sql)?.execute((
                &session.secret_hash[..],
                session.id.as_bytes(),
                account,
                now.0,
                session.address,
                session.agent,
            ))?;
            if inserted == 1 { Ok(()) } else { Err(StoreError::Conflict { what: "the session exists" }) }
        })
    }

    /// The session of this secret, expired or not: how long one lasts is the caller's to say.
    ///
    /// # Errors
    /// When the catalog fails.
    pub fn web_session(&self, secret_hash: &[u8; 32]) -> Result<Option<WebSession>, StoreError> {
        let sql = format!("{} WHERE secret_hash = ?1", select());
        self.catalog().read(|catalog| row(catalog, &sql, [&secret_hash[..]], session_row))
    }

    /// An account's sessions, newest first, expired ones included.
    ///
    /// # Errors
    /// When the catalog fails.
    pub fn web_sessions(&self, account: AccountId) -> Result<Vec<WebSession>, StoreError> {
        let sql = format!("{} WHERE account.account = ?1 ORDER BY web_session.created_ms DESC, id", select());
        self.catalog().read(|catalog| rows(catalog, &sql, [account.0], session_row))
    }

    /// Notes that a session is used. Costs a write, so callers ask about once a minute.
    ///
    /// # Errors
    /// When the catalog fails.
    pub fn touch_web_session(&self, id: WebSessionId, now: UnixMs) -> Result<(), StoreError> {
        let sql = "UPDATE web_session SET last_seen_ms = ?2 WHERE id = ?1";
        self.catalog().write(|tx| Ok(tx.prepare_cached(sql)?.execute((id.as_bytes(), now.0))?))?;
        Ok(())
    }

    /// Ends one of an account's sessions, or all of them; how many there were.
    ///
    /// # Errors
    /// When the catalog fails.
    pub fn end_web_sessions(&self, account: AccountId, only: Option<WebSessionId>) -> Result<u64, StoreError> {
        let sql = "DELETE FROM web_session WHERE account = ?1 AND (?2 IS NULL OR id = ?2)";
        self.catalog()
            .write_on_reserve(|tx| Ok(tx.execute(sql, (account.0, only.as_ref().map(WebSessionId::as_bytes)))? as u64))
    }
}

fn select() -> String {
    format!(
        "SELECT {ACCOUNT_COLUMNS}, id, web_session.created_ms, last_seen_ms, address, agent
        FROM web_session JOIN account USING (account)"
    )
}

fn session_row(row: &Row<'_>) -> rusqlite::Result<WebSession> {
    let at = |offset: usize| AFTER_ACCOUNT + offset;
    Ok(WebSession {
        account: account_row(row)?,
        id: WebSessionId::from_bytes(row.get(at(0))?),
        created: UnixMs(row.get(at(1))?),
        last_seen: UnixMs(row.get(at(2))?),
        address: row.get(at(3))?,
        agent: row.get(at(4))?,
    })
}
