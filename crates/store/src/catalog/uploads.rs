//! Files on their way in, part by part: how much of each is here and survives whatever happens.
//!
//! What is stored of a file is a root, so a row gets its content from a commit only. What is behind that, less than a
//! chunk, is in the row itself: nothing is left in the packs that only an interruption needed.

use object::VaultId;
use rusqlite::{Connection, Row, Transaction};

use crate::catalog::drive::content_column;
use crate::catalog::{clock, row, rows, signed, unsigned, vaults};
use crate::commit::{Checked, Stored};
use crate::ids::VaultKey;
use crate::{DriveContent, Store, StoreError, UnixMs, UploadId};

/// A file on its way in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upload {
    /// Bytes of the whole file.
    pub len: u64,
    /// Bytes that are here.
    pub offset: u64,
    /// Whether it has become what it was to become.
    pub is_done: bool,
    /// What that is, as the caller sealed it.
    pub sealed_request: Vec<u8>,
    /// The part that is stored.
    pub content: DriveContent,
    /// Bytes in it.
    pub content_len: u64,
    /// What was added to the store for it so far.
    pub bytes_stored: u64,
    /// When something came last.
    pub last_active: UnixMs,
}

/// A file that is announced.
#[derive(Clone, Copy, Debug)]
pub struct NewUpload<'a> {
    /// Its name until it has one on the drive.
    pub id: UploadId,
    /// Bytes of the whole file.
    pub len: u64,
    /// What is to become of it, sealed.
    pub sealed_request: &'a [u8],
}

/// How much of a file is here.
#[derive(Clone, Copy, Debug)]
pub struct UploadProgress<'a> {
    /// Bytes that are here.
    pub offset: u64,
    /// The part that is stored.
    pub content: DriveContent,
    /// Bytes in it.
    pub content_len: u64,
    /// What is behind that, less than a chunk, sealed.
    pub sealed_rest: &'a [u8],
}

impl Store {
    /// Takes note of a file that is to come. `false` when `open_max` of this vault are on their way already. One that was
    /// announced before stays as it is.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] without the vault; [`StoreError::Full`].
    pub fn create_upload(
        &self,
        vault: VaultId,
        new: &NewUpload<'_>,
        open_max: u64,
        now: UnixMs,
    ) -> Result<bool, StoreError> {
        self.check_space()?;
        self.catalog().write(|tx| {
            let (key, _) = vaults::find(tx, vault)?.ok_or(StoreError::NotFound { what: "vault" })?;
            if find(tx, key, new.id)?.is_some() {
                return Ok(true);
            }
            let sql = "SELECT count(*) FROM upload WHERE vault = ?1 AND is_done = 0";
            let open_count: u64 = tx.query_row(sql, [key.0], |row| unsigned(row, 0))?;
            if open_count >= open_max {
                return Ok(false);
            }
            let sql = "INSERT INTO upload (id, vault, len, offset, sealed_request, sealed_rest, last_active_ms)
                       VALUES (?1, ?2, ?3, 0, ?4, zeroblob(0), ?5)";
            tx.execute(
                sql,
                (new.id.as_bytes(), key.0, signed(new.len), new.sealed_request, clock::counted(tx, now)?.0),
            )?;
            Ok(true)
        })
    }

    /// A file on its way into this vault.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] without the vault.
    pub fn upload(&self, vault: VaultId, id: UploadId) -> Result<Option<Upload>, StoreError> {
        let vault = self.vault_key(vault)?;
        self.catalog().read(|catalog| find(catalog, vault, id))
    }

    /// The files on their way into this vault that are not done, those first that something came of last.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] without the vault.
    pub fn uploads(&self, vault: VaultId) -> Result<Vec<(UploadId, Upload)>, StoreError> {
        let vault = self.vault_key(vault)?;
        let sql = format!("{SELECT_UPLOAD} WHERE vault = ?1 AND is_done = 0 ORDER BY last_active_ms DESC, upload DESC");
        self.catalog().read(|catalog| {
            rows(catalog, &sql, [vault.0], |row| Ok((UploadId::from_bytes(row.get(9)?), upload_row(row)?)))
        })
    }

    /// What is behind the stored part of a file on its way in, as the caller sealed it; empty at the beginning.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] without the vault or the upload.
    pub fn upload_rest(&self, vault: VaultId, id: UploadId) -> Result<Vec<u8>, StoreError> {
        let vault = self.vault_key(vault)?;
        let sql = "SELECT sealed_rest FROM upload WHERE id = ?1 AND vault = ?2";
        let rest = self.catalog().read(|catalog| row(catalog, sql, (id.as_bytes(), vault.0), |row| row.get(0)))?;
        rest.ok_or(StoreError::NotFound { what: "upload" })
    }

    /// Gives a file on its way in up; whether there was one.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] without the vault.
    pub fn remove_upload(&self, vault: VaultId, id: UploadId) -> Result<bool, StoreError> {
        let vault = self.vault_key(vault)?;
        self.catalog().write_on_reserve(|tx| remove(tx, vault, id))
    }
}

fn find(connection: &Connection, vault: VaultKey, id: UploadId) -> Result<Option<Upload>, StoreError> {
    row(connection, &format!("{SELECT_UPLOAD} WHERE id = ?1 AND vault = ?2"), (id.as_bytes(), vault.0), upload_row)
}

const SELECT_UPLOAD: &str = "SELECT len, offset, is_done, sealed_request, content_kind, content, content_len,
        bytes_stored, last_active_ms, id FROM upload";

fn upload_row(row: &Row<'_>) -> rusqlite::Result<Upload> {
    Ok(Upload {
        len: unsigned(row, 0)?,
        offset: unsigned(row, 1)?,
        is_done: row.get(2)?,
        sealed_request: row.get(3)?,
        content: content_column(row, 4)?,
        content_len: unsigned(row, 6)?,
        bytes_stored: unsigned(row, 7)?,
        last_active: UnixMs(row.get(8)?),
    })
}

/// Notes how far a file has come. An offset never shrinks.
pub(crate) fn save(
    checked: &Checked<'_>,
    vault: VaultKey,
    id: UploadId,
    progress: &UploadProgress<'_>,
    stored: Stored,
    now: UnixMs,
) -> Result<(), StoreError> {
    let content = progress.content.id();
    let now = clock::counted(checked.transaction(), now)?;
    let sql = "UPDATE upload SET offset = ?3, content_kind = ?4, content = ?5, content_len = ?6, sealed_rest = ?7,
                   bytes_stored = bytes_stored + ?8, last_active_ms = ?9
               WHERE id = ?1 AND vault = ?2 AND is_done = 0 AND offset <= ?3 AND len >= ?3";
    let changed = checked.transaction().execute(
        sql,
        (
            id.as_bytes(),
            vault.0,
            signed(progress.offset),
            progress.content.number(),
            content.as_ref().map(|id| &id.as_bytes()[..]),
            signed(progress.content_len),
            progress.sealed_rest,
            signed(stored.bytes),
            now.0,
        ),
    )?;
    if changed == 1 { Ok(()) } else { Err(StoreError::NotFound { what: "upload" }) }
}

/// Notes that a file has its name now, whose version is the root of its content.
pub(crate) fn end(tx: &Transaction<'_>, vault: VaultKey, id: UploadId, now: UnixMs) -> Result<(), StoreError> {
    let sql = "UPDATE upload SET is_done = 1, offset = len, content_kind = 0, content = NULL, content_len = 0,
                   sealed_rest = zeroblob(0), last_active_ms = ?3
               WHERE id = ?1 AND vault = ?2 AND is_done = 0";
    let changed = tx.execute(sql, (id.as_bytes(), vault.0, clock::counted(tx, now)?.0))?;
    if changed == 1 { Ok(()) } else { Err(StoreError::NotFound { what: "upload" }) }
}

/// Forgets a file on its way in; whether there was one.
pub(crate) fn remove(tx: &Transaction<'_>, vault: VaultKey, id: UploadId) -> Result<bool, StoreError> {
    Ok(tx.execute("DELETE FROM upload WHERE id = ?1 AND vault = ?2", (id.as_bytes(), vault.0))? == 1)
}
