//! Links with which people without an account get at one file or folder of a drive, or put files into one. Their secrets
//! arrive hashed.

use object::VaultId;
use rusqlite::Row;

use crate::catalog::accounts::{ACCOUNT_COLUMNS, AFTER_ACCOUNT, account_row};
use crate::catalog::{next_generation, row, rows, signed, unsigned};
use crate::{Account, AccountId, NodeId, ShareId, Store, StoreError, UnixMs};

/// Shares of one account that are good at the same time.
const OWN_MAX: u64 = 1000;
/// What is over is listed for so long.
const AFTERLIFE_MS: i64 = 30 * 24 * 3_600_000;

/// What a share is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum ShareKind {
    /// To read a file, or all that is in a folder.
    Download = 1,
    /// To put files into a folder, without seeing what is there.
    Upload = 2,
}

impl ShareKind {
    fn from_number(column: usize, number: i64) -> rusqlite::Result<Self> {
        match number {
            1 => Ok(Self::Download),
            2 => Ok(Self::Upload),
            _ => Err(crate::catalog::unknown_number(column, number)),
        }
    }
}

/// A share to be made.
#[derive(Clone, Copy, Debug)]
pub struct NewShare<'a> {
    /// Random, never used before.
    pub id: ShareId,
    /// Whose.
    pub account: AccountId,
    /// Whose drive it opens: a vault of the account.
    pub vault: VaultId,
    /// What of it.
    pub node: NodeId,
    /// What for.
    pub kind: ShareKind,
    /// Hash of its secret.
    pub token_hash: [u8; 32],
    /// Hash of the password that is asked for, as a PHC string.
    pub password: Option<&'a str>,
    /// After this moment it is void.
    pub expires: Option<UnixMs>,
    /// Most downloads, or files that are put.
    pub uses_max: Option<u64>,
    /// Longest file that is put.
    pub file_len_max: Option<u64>,
}

/// A way to one file or folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Share {
    /// Its name in lists; nobody gets in by it.
    pub id: ShareId,
    /// Whose.
    pub account: Account,
    /// Whose drive it opens.
    pub vault: VaultId,
    /// What of it; it follows the file or folder wherever it is moved.
    pub node: NodeId,
    /// What for.
    pub kind: ShareKind,
    /// Hash of the password that is asked for, as a PHC string.
    pub password_hash: Option<String>,
    /// When it was made.
    pub created: UnixMs,
    /// After this moment it is void.
    pub expires: Option<UnixMs>,
    /// When it was used last.
    pub last_used: Option<UnixMs>,
    /// Since when it is void.
    pub revoked: Option<UnixMs>,
    /// Downloads, or files that were put, so far.
    pub uses: u64,
    /// Most of them.
    pub uses_max: Option<u64>,
    /// Longest file that is put.
    pub file_len_max: Option<u64>,
}

impl Store {
    /// Makes a share.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when the account has no such vault, or its drive no such entry; [`StoreError::Conflict`] when
    /// id or secret were used before, or the account has too many shares.
    pub fn create_share(&self, share: &NewShare<'_>, now: UnixMs) -> Result<(), StoreError> {
        let vault = self.vault_key(share.vault)?;
        let sql =
            "INSERT INTO share (id, account, vault, node, kind, token_hash, password, created_ms, expires_ms, uses_max,
                       file_len_max)
                   VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11) ON CONFLICT DO NOTHING";
        self.catalog().write(|tx| {
            let own = "SELECT 1 FROM drive_node JOIN vault USING (vault)
                       WHERE node = ?1 AND drive_node.vault = ?2 AND account = ?3";
            let exists = row(tx, own, (share.node.0, vault.0, share.account.0), |_| Ok(()))?;
            exists.ok_or(StoreError::NotFound { what: "file or folder" })?;
            let over =
                "DELETE FROM share WHERE account = ?1 AND min(ifnull(revoked_ms, ?2), ifnull(expires_ms, ?2)) < ?2";
            tx.execute(over, (share.account.0, now.0 - AFTERLIFE_MS))?;
            let good = "SELECT count(*) FROM share
                        WHERE account = ?1 AND revoked_ms IS NULL AND (expires_ms IS NULL OR expires_ms >= ?2)";
            let count: u64 = row(tx, good, (share.account.0, now.0), |row| unsigned(row, 0))?.unwrap_or_default();
            if count >= OWN_MAX {
                return Err(StoreError::Conflict { what: "the account has too many shares" });
            }
            let inserted = tx.prepare_cached(sql)?.execute((
                share.id.as_bytes(),
                share.account.0,
                vault.0,
                share.node.0,
                share.kind as u8,
                &share.token_hash[..],
                share.password,
                now.0,
                share.expires.map(|expires| expires.0),
                share.uses_max.map(signed),
                share.file_len_max.map(signed),
            ))?;
            if inserted == 1 { Ok(()) } else { Err(StoreError::Conflict { what: "the share exists" }) }
        })
    }

    /// The share whose secret has this hash, void or not.
    ///
    /// # Errors
    /// When the catalog fails.
    pub fn share_by_token(&self, token_hash: &[u8; 32]) -> Result<Option<Share>, StoreError> {
        let sql = format!("{} WHERE token_hash = ?1", select());
        self.catalog().read(|catalog| row(catalog, &sql, [&token_hash[..]], share_row))
    }

    /// The share of this id, void or not.
    ///
    /// # Errors
    /// When the catalog fails.
    pub fn share(&self, id: ShareId) -> Result<Option<Share>, StoreError> {
        let sql = format!("{} WHERE share.id = ?1", select());
        self.catalog().read(|catalog| row(catalog, &sql, [id.as_bytes()], share_row))
    }

    /// An account's shares, newest first, those included that were void for less than 30 days when one was made last.
    ///
    /// # Errors
    /// When the catalog fails.
    pub fn shares(&self, account: AccountId) -> Result<Vec<Share>, StoreError> {
        let sql = format!("{} WHERE account.account = ?1 ORDER BY share DESC", select());
        self.catalog().read(|catalog| rows(catalog, &sql, [account.0], share_row))
    }

    /// Counts one use of a share; `false` when it is void or used up. Of several that use the last one at the same time, one
    /// gets it.
    ///
    /// # Errors
    /// When the catalog fails.
    pub fn use_share(&self, id: ShareId, now: UnixMs) -> Result<bool, StoreError> {
        let sql = "UPDATE share SET uses = uses + 1, last_used_ms = ?2
                   WHERE id = ?1 AND revoked_ms IS NULL AND (expires_ms IS NULL OR expires_ms >= ?2)
                   AND (uses_max IS NULL OR uses < uses_max)";
        self.catalog().write(|tx| Ok(tx.prepare_cached(sql)?.execute((id.as_bytes(), now.0))? == 1))
    }

    /// Takes a use back that came to nothing.
    ///
    /// # Errors
    /// When the catalog fails.
    pub fn unuse_share(&self, id: ShareId) -> Result<(), StoreError> {
        let sql = "UPDATE share SET uses = uses - 1 WHERE id = ?1 AND uses > 0";
        self.catalog().write(|tx| Ok(tx.prepare_cached(sql)?.execute([id.as_bytes()])?))?;
        Ok(())
    }

    /// Voids a share for ever. When this returns, no old catalog can bring it back unnoticed.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] without such a share; revoking twice is no error.
    pub fn revoke_share(&self, id: ShareId, now: UnixMs) -> Result<(), StoreError> {
        let sql = "UPDATE share SET revoked_ms = coalesce(revoked_ms, ?2) WHERE id = ?1";
        let generation = self.catalog().write_on_reserve(|tx| {
            if tx.execute(sql, (id.as_bytes(), now.0))? == 0 {
                return Err(StoreError::NotFound { what: "share" });
            }
            next_generation(tx)
        })?;
        self.raise_anchor(generation)
    }
}

fn select() -> String {
    format!(
        "SELECT {ACCOUNT_COLUMNS}, share.id, vault.id, node, kind, share.password, share.created_ms, expires_ms,
            last_used_ms, revoked_ms, uses, uses_max, file_len_max
        FROM share JOIN account ON account.account = share.account JOIN vault ON vault.vault = share.vault"
    )
}

fn share_row(row: &Row<'_>) -> rusqlite::Result<Share> {
    let at = |offset: usize| AFTER_ACCOUNT + offset;
    let moment = |column| Ok::<_, rusqlite::Error>(row.get::<_, Option<i64>>(at(column))?.map(UnixMs));
    let count = |column| Ok::<_, rusqlite::Error>(row.get::<_, Option<i64>>(at(column))?.map(i64::unsigned_abs));
    Ok(Share {
        account: account_row(row)?,
        id: ShareId::from_bytes(row.get(at(0))?),
        vault: VaultId::from_bytes(row.get(at(1))?),
        node: NodeId(row.get(at(2))?),
        kind: ShareKind::from_number(at(3), row.get(at(3))?)?,
        password_hash: row.get(at(4))?,
        created: UnixMs(row.get(at(5))?),
        expires: moment(6)?,
        last_used: moment(7)?,
        revoked: moment(8)?,
        uses: unsigned(row, at(9))?,
        uses_max: count(10)?,
        file_len_max: count(11)?,
    })
}
