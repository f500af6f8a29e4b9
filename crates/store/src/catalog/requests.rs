//! Requests of accounts that named themselves with a key: each is answered once, and the same answer is given again. The
//! caller seals the answers: some tell a secret that is told nowhere else.

use crate::catalog::{clock, row, signed};
use crate::{AccountId, IdempotencyKey, Store, StoreError, UnixMs};

/// Most requests of one account that are remembered; the oldest go first.
const REMEMBERED_MAX: u64 = 10_000;

/// What is known of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked {
    /// It is new, and remembered from now on as begun.
    First,
    /// It was answered so, as the caller sealed it.
    Answered(Vec<u8>),
    /// It was begun before, and nobody knows what became of it.
    Begun,
}

impl Store {
    /// Begins a request of an account, unless it was begun before under this key.
    ///
    /// # Errors
    /// [`StoreError::OtherRequest`] when the key is that of another request.
    pub fn begin_request(
        &self,
        account: AccountId,
        key: IdempotencyKey,
        request_hash: &[u8; 32],
        now: UnixMs,
    ) -> Result<Asked, StoreError> {
        self.catalog().write_on_reserve(|tx| {
            let sql = "SELECT request_hash, sealed_answer FROM request WHERE account = ?1 AND key = ?2";
            let found = row(tx, sql, (account.0, key.as_bytes()), |row| {
                Ok((row.get::<_, [u8; 32]>(0)?, row.get::<_, Option<Vec<u8>>>(1)?))
            })?;
            match found {
                Some((hash, _)) if hash != *request_hash => Err(StoreError::OtherRequest),
                Some((_, Some(answer))) => Ok(Asked::Answered(answer)),
                Some((_, None)) => Ok(Asked::Begun),
                None => {
                    let sql = "INSERT INTO request VALUES (?1, ?2, ?3, NULL, ?4)";
                    let created = clock::counted(tx, now)?;
                    tx.execute(sql, (account.0, key.as_bytes(), &request_hash[..], created.0))?;
                    let sql = "DELETE FROM request WHERE account = ?1 AND created_ms < (SELECT created_ms FROM request
                                   WHERE account = ?1 ORDER BY created_ms DESC LIMIT 1 OFFSET ?2)";
                    tx.execute(sql, (account.0, signed(REMEMBERED_MAX - 1)))?;
                    Ok(Asked::First)
                }
            }
        })
    }

    /// Remembers the answer of a request that was begun.
    ///
    /// # Errors
    /// When the catalog fails.
    pub fn answer_request(&self, account: AccountId, key: IdempotencyKey, sealed: &[u8]) -> Result<(), StoreError> {
        let sql = "UPDATE request SET sealed_answer = ?3 WHERE account = ?1 AND key = ?2";
        self.catalog().write_on_reserve(|tx| Ok(tx.execute(sql, (account.0, key.as_bytes(), sealed)).map(drop)?))
    }

    /// Forgets a request that changed nothing: the key is good for another try.
    ///
    /// # Errors
    /// When the catalog fails.
    pub fn forget_request(&self, account: AccountId, key: IdempotencyKey) -> Result<(), StoreError> {
        let sql = "DELETE FROM request WHERE account = ?1 AND key = ?2";
        self.catalog().write_on_reserve(|tx| Ok(tx.execute(sql, (account.0, key.as_bytes())).map(drop)?))
    }
}
