//! [`SecondFactor`]: codes that change with the time, asked for beside the password, and the codes that stand in for them.
//! The store knows which step of time was used last; what a code is, it does not.

use crate::catalog::{next_generation, row, signed, unsigned};
use crate::{AccountId, Store, StoreError, UnixMs};

/// The second factor of an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SecondFactor {
    /// What its secret is made of, with the master key.
    pub salt: [u8; 16],
    /// Since when it is asked for; `None`: nobody has shown a code of it yet.
    pub confirmed: Option<UnixMs>,
    /// Recovery codes that are left.
    pub recovery_codes: u64,
}

impl Store {
    /// The second factor of an account, if it has one.
    ///
    /// # Errors
    /// When the catalog fails.
    pub fn second_factor(&self, account: AccountId) -> Result<Option<SecondFactor>, StoreError> {
        let sql = "SELECT salt, confirmed_ms, (SELECT count(*) FROM recovery_code AS c WHERE c.account = ?1)
                   FROM second_factor WHERE account = ?1";
        self.catalog().read(|catalog| {
            row(catalog, sql, [account.0], |row| {
                Ok(SecondFactor {
                    salt: row.get(0)?,
                    confirmed: row.get::<_, Option<i64>>(1)?.map(UnixMs),
                    recovery_codes: unsigned(row, 2)?,
                })
            })
        })
    }

    /// Begins a second factor, in place of one that was begun and never confirmed.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when the account has one that is asked for, [`StoreError::NotFound`] without the account.
    pub fn begin_second_factor(&self, account: AccountId, salt: &[u8; 16]) -> Result<(), StoreError> {
        let sql = "INSERT INTO second_factor (account, salt) VALUES (?1, ?2)
                   ON CONFLICT (account) DO UPDATE SET salt = ?2, last_step = 0 WHERE confirmed_ms IS NULL";
        self.catalog().write(|tx| {
            let exists = row(tx, "SELECT 1 FROM account WHERE account = ?1", [account.0], |_| Ok(()))?;
            exists.ok_or(StoreError::NotFound { what: "account" })?;
            match tx.execute(sql, (account.0, salt))? {
                0 => Err(StoreError::Conflict { what: "the account has a second factor" }),
                _ => Ok(()),
            }
        })
    }

    /// Asks for the second factor from now on; a code of `step` was shown. These recovery codes stand in for its codes.
    /// When this returns, no old catalog can take it away unnoticed.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when none was begun, or it was confirmed before.
    pub fn confirm_second_factor(
        &self,
        account: AccountId,
        step: u64,
        recovery_codes: &[[u8; 32]],
        now: UnixMs,
    ) -> Result<(), StoreError> {
        let sql =
            "UPDATE second_factor SET confirmed_ms = ?2, last_step = ?3 WHERE account = ?1 AND confirmed_ms IS NULL";
        let generation = self.catalog().write(|tx| {
            if tx.execute(sql, (account.0, now.0, signed(step)))? == 0 {
                return Err(StoreError::Conflict { what: "no second factor waits to be confirmed" });
            }
            tx.execute("DELETE FROM recovery_code WHERE account = ?1", [account.0])?;
            for code in recovery_codes {
                tx.execute("INSERT INTO recovery_code VALUES (?1, ?2)", (account.0, &code[..]))?;
            }
            next_generation(tx)
        })?;
        self.raise_anchor(generation)
    }

    /// Takes a code of this step of time, and voids it and all older ones; `false` when it was void. Of two that show the
    /// same code at the same time, one gets in.
    ///
    /// # Errors
    /// When the catalog fails.
    pub fn take_step(&self, account: AccountId, step: u64) -> Result<bool, StoreError> {
        let sql = "UPDATE second_factor SET last_step = ?2
                   WHERE account = ?1 AND confirmed_ms IS NOT NULL AND last_step < ?2";
        self.catalog().write(|tx| Ok(tx.execute(sql, (account.0, signed(step)))? == 1))
    }

    /// Takes a recovery code, which is void then; `false` when it was, or is none. When this returns, no old catalog can
    /// bring it back unnoticed.
    ///
    /// # Errors
    /// When the catalog fails.
    pub fn take_recovery_code(&self, account: AccountId, code_hash: &[u8; 32]) -> Result<bool, StoreError> {
        let sql = "DELETE FROM recovery_code WHERE account = ?1 AND code_hash = ?2
                   AND EXISTS (SELECT 1 FROM second_factor AS f WHERE f.account = ?1 AND confirmed_ms IS NOT NULL)";
        let generation = self.catalog().write(|tx| {
            let is_taken = tx.execute(sql, (account.0, &code_hash[..]))? == 1;
            is_taken.then(|| next_generation(tx)).transpose()
        })?;
        match generation {
            Some(generation) => self.raise_anchor(generation).map(|()| true),
            None => Ok(false),
        }
    }

    /// Takes the second factor away; `false` when there was none.
    ///
    /// # Errors
    /// When the catalog fails.
    pub fn remove_second_factor(&self, account: AccountId) -> Result<bool, StoreError> {
        self.catalog().write(|tx| {
            tx.execute("DELETE FROM recovery_code WHERE account = ?1", [account.0])?;
            Ok(tx.execute("DELETE FROM second_factor WHERE account = ?1", [account.0])? == 1)
        })
    }
}
