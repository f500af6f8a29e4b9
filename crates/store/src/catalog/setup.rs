//! Links with which somebody sets the name and the password of an account, once. Their secrets arrive hashed.

use crate::catalog::{next_generation, row};
use crate::{AccountId, Store, StoreError, UnixMs};

impl Store {
    /// Makes the link of an account; one that there was before is void.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] without the account.
    pub fn create_setup_link(
        &self,
        account: AccountId,
        secret_hash: &[u8; 32],
        expires: UnixMs,
        now: UnixMs,
    ) -> Result<(), StoreError> {
        let sql = "INSERT OR REPLACE INTO setup_link (account, secret_hash, created_ms, expires_ms)
                   VALUES (?1, ?2, ?3, ?4)";
        self.catalog().write(|tx| {
            let exists = row(tx, "SELECT 1 FROM account WHERE account = ?1", [account.0], |_| Ok(()))?;
            exists.ok_or(StoreError::NotFound { what: "account" })?;
            tx.execute(sql, (account.0, &secret_hash[..], now.0, expires.0))?;
            Ok(())
        })
    }

    /// Sets name and password of the account whose link has this secret, which is used up then, and ends the account's
    /// sessions in browsers. Of several that ask at the same time, one gets it. When this returns, no old catalog can bring
    /// the link back unnoticed.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], the same for a link that is unknown, used or expired; [`StoreError::Conflict`] when the name
    /// is another account's: the link is good for another try.
    pub fn redeem_setup_link(
        &self,
        secret_hash: &[u8; 32],
        name: &str,
        password_hash: &str,
        now: UnixMs,
    ) -> Result<AccountId, StoreError> {
        let (account, generation) = self.catalog().write(|tx| {
            let sql = "DELETE FROM setup_link WHERE secret_hash = ?1 AND expires_ms >= ?2 RETURNING account";
            let account: Option<i64> = row(tx, sql, (&secret_hash[..], now.0), |row| row.get(0))?;
            let account = account.ok_or(StoreError::NotFound { what: "set-up link" })?;
            let sql = "SELECT 1 FROM account WHERE name = ?1 AND account <> ?2";
            if row(tx, sql, (name, account), |_| Ok(()))?.is_some() {
                return Err(StoreError::Conflict { what: "an account of this name exists" });
            }
            let sql = "UPDATE account SET name = ?2, password = ?3 WHERE account = ?1";
            tx.execute(sql, (account, name, password_hash))?;
            tx.execute("DELETE FROM web_session WHERE account = ?1", [account])?;
            Ok((AccountId(account), next_generation(tx)?))
        })?;
        self.raise_anchor(generation)?;
        Ok(account)
    }

    /// Whether the link of this secret is good, and whose it is.
    ///
    /// # Errors
    /// When the catalog fails.
    pub fn setup_link(&self, secret_hash: &[u8; 32], now: UnixMs) -> Result<Option<AccountId>, StoreError> {
        let sql = "SELECT account FROM setup_link WHERE secret_hash = ?1 AND expires_ms >= ?2";
        self.catalog().read(|catalog| row(catalog, sql, (&secret_hash[..], now.0), |row| row.get(0).map(AccountId)))
    }
}
