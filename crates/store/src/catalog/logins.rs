//! What people and scripts log in with by HTTP: passwords of accounts and API tokens. Both arrive hashed.

use rusqlite::Row;

use crate::catalog::accounts::{ACCOUNT_COLUMNS, AFTER_ACCOUNT, account_row};
use crate::catalog::{next_generation, row, rows};
use crate::{Account, AccountId, Scope, Store, StoreError, TokenId, UnixMs};

/// An account, and what its password is compared with.
#[derive(Clone, Debug)]
pub struct Password {
    /// Whose.
    pub account: Account,
    /// The hash, as a PHC string; `None`: no password opens it.
    pub hash: Option<String>,
    /// Whether a code is asked for beside it.
    pub has_second_factor: bool,
}

/// A token to be made.
#[derive(Clone, Copy, Debug)]
pub struct NewToken<'a> {
    /// Random, never used before.
    pub id: TokenId,
    /// Whose.
    pub account: AccountId,
    /// Its name for people; not unique.
    pub name: &'a str,
    /// Hash of its secret.
    pub token_hash: [u8; 32],
    /// What it is good for.
    pub scope: Scope,
    /// After this moment it is void.
    pub expires: Option<UnixMs>,
}

/// What a script logs in with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiToken {
    /// Its name on the wire.
    pub id: TokenId,
    /// Whose.
    pub account: Account,
    /// Its name for people.
    pub name: String,
    /// Hash of its secret; compare in constant time.
    pub token_hash: [u8; 32],
    /// What it is good for.
    pub scope: Scope,
    /// When it was made.
    pub created: UnixMs,
    /// After this moment it is void.
    pub expires: Option<UnixMs>,
    /// When it was last used, to the hour or so.
    pub last_used: Option<UnixMs>,
    /// Since when it is void.
    pub revoked: Option<UnixMs>,
    /// Whether an older catalog brought it back: void until somebody confirms it.
    pub is_suspended: bool,
}

impl Store {
    /// Gives an account another password, and ends its sessions in browsers. When this returns, no old catalog can bring the
    /// one before back unnoticed.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] without the account.
    pub fn set_password(&self, account: AccountId, hash: &str) -> Result<(), StoreError> {
        let sql = "UPDATE account SET password = ?2 WHERE account = ?1";
        let generation = self.catalog().write(|tx| {
            if tx.execute(sql, (account.0, hash))? == 0 {
                return Err(StoreError::NotFound { what: "account" });
            }
            tx.execute("DELETE FROM web_session WHERE account = ?1", [account.0])?;
            next_generation(tx)
        })?;
        self.raise_anchor(generation)
    }

    /// The account of this name, and its password.
    ///
    /// # Errors
    /// When the catalog fails.
    pub fn password(&self, account_name: &str) -> Result<Option<Password>, StoreError> {
        let sql = format!(
            "SELECT {ACCOUNT_COLUMNS}, password,
                EXISTS (SELECT 1 FROM second_factor AS f WHERE f.account = account.account AND confirmed_ms IS NOT NULL)
            FROM account WHERE name = ?1"
        );
        self.catalog().read(|catalog| {
            row(catalog, &sql, [account_name], |row| {
                Ok(Password {
                    account: account_row(row)?,
                    hash: row.get(AFTER_ACCOUNT)?,
                    has_second_factor: row.get(AFTER_ACCOUNT + 1)?,
                })
            })
        })
    }

    /// Makes a token.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] without the account, [`StoreError::Conflict`] when the id was used before.
    pub fn create_token(&self, token: &NewToken<'_>, now: UnixMs) -> Result<(), StoreError> {
        let sql = "INSERT INTO api_token (id, account, name, token_hash, scope, created_ms, expires_ms)
                   VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT DO NOTHING";
        self.catalog().write(|tx| {
            let exists = row(tx, "SELECT 1 FROM account WHERE account = ?1", [token.account.0], |_| Ok(()))?;
            exists.ok_or(StoreError::NotFound { what: "account" })?;
            let inserted = tx.prepare_cached(sql)?.execute((
                token.id.as_bytes(),
                token.account.0,
                token.name,
                &token.token_hash[..],
                token.scope as u8,
                now.0,
                token.expires.map(|expires| expires.0),
            ))?;
            if inserted == 1 { Ok(()) } else { Err(StoreError::Conflict { what: "the token exists" }) }
        })
    }

    /// The token of this id, void or not.
    ///
    /// # Errors
    /// When the catalog fails.
    pub fn token(&self, id: TokenId) -> Result<Option<ApiToken>, StoreError> {
        let sql = format!("{} WHERE id = ?1", select_token());
        self.catalog().read(|catalog| row(catalog, &sql, [id.as_bytes()], token_row))
    }

    /// An account's tokens, oldest first, void ones included.
    ///
    /// # Errors
    /// When the catalog fails.
    pub fn tokens(&self, account: AccountId) -> Result<Vec<ApiToken>, StoreError> {
        let sql = format!("{} WHERE account = ?1 ORDER BY token", select_token());
        self.catalog().read(|catalog| rows(catalog, &sql, [account.0], token_row))
    }

    /// Notes that a token is used. Costs a write, so callers ask about once an hour.
    ///
    /// # Errors
    /// When the catalog fails.
    pub fn touch_token(&self, id: TokenId, now: UnixMs) -> Result<(), StoreError> {
        let sql = "UPDATE api_token SET last_used_ms = ?2 WHERE id = ?1";
        self.catalog().write(|tx| Ok(tx.prepare_cached(sql)?.execute((id.as_bytes(), now.0))?))?;
        Ok(())
    }

    /// Voids a token for ever. When this returns, no old catalog can bring it back unnoticed.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] without such a token; revoking twice is no error.
    pub fn revoke_token(&self, id: TokenId, now: UnixMs) -> Result<(), StoreError> {
        let sql = "UPDATE api_token SET revoked_ms = coalesce(revoked_ms, ?2) WHERE id = ?1";
        let generation = self.catalog().write_on_reserve(|tx| {
            if tx.execute(sql, (id.as_bytes(), now.0))? == 0 {
                return Err(StoreError::NotFound { what: "token" });
            }
            next_generation(tx)
        })?;
        self.raise_anchor(generation)
    }

    /// Takes the suspension from a token, or from all that are suspended, and says from how many. Those that are revoked
    /// stay revoked. When this returns, no catalog that is older passes for one that was confirmed.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] without such a token; confirming one that is not suspended is no error.
    pub fn confirm_tokens(&self, id: Option<TokenId>) -> Result<u64, StoreError> {
        let (confirmed, generation) = self.catalog().write(|tx| {
            if let Some(id) = id {
                let known = row(tx, "SELECT 1 FROM api_token WHERE id = ?1", [id.as_bytes()], |_| Ok(()))?;
                known.ok_or(StoreError::NotFound { what: "token" })?;
            }
            let sql = "UPDATE api_token SET is_suspended = 0
                       WHERE is_suspended = 1 AND revoked_ms IS NULL AND (?1 IS NULL OR id = ?1)";
            let confirmed = tx.execute(sql, [id.as_ref().map(TokenId::as_bytes)])? as u64;
            Ok((confirmed, next_generation(tx)?))
        })?;
        self.raise_anchor(generation)?;
        Ok(confirmed)
    }
}

fn select_token() -> String {
    format!(
        "SELECT {ACCOUNT_COLUMNS}, id, api_token.name, token_hash, scope, api_token.created_ms, expires_ms, last_used_ms,
            revoked_ms, is_suspended
        FROM api_token JOIN account USING (account)"
    )
}

fn token_row(row: &Row<'_>) -> rusqlite::Result<ApiToken> {
    let at = |offset: usize| AFTER_ACCOUNT + offset;
    let moment = |offset| Ok::<_, rusqlite::Error>(row.get::<_, Option<i64>>(at(offset))?.map(UnixMs));
    Ok(ApiToken {
        account: account_row(row)?,
        id: TokenId::from_bytes(row.get(at(0))?),
        name: row.get(at(1))?,
        token_hash: row.get(at(2))?,
        scope: Scope::from_number(at(3), row.get(at(3))?)?,
        created: UnixMs(row.get(at(4))?),
        expires: moment(5)?,
        last_used: moment(6)?,
        revoked: moment(7)?,
        is_suspended: row.get(at(8))?,
    })
}
