//! [`Archive`]: files and folders of a drive or a snapshot as a ZIP archive that is made while it is sent. Nothing in it is compressed:
//! what would become smaller is stored so already, and what is sent travels as it is.

use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use object::ObjectId;
use proto::{DrivePath, Timestamp};
use store::Store;
use time::OffsetDateTime;
use vault::{Entry, EntryKind, Reader, TreeCursor};
use zip::write::{SimpleFileOptions, StreamWriter};
use zip::{CompressionMethod, DateTime, ZipWriter};

use crate::browse::file_of;
use crate::drive::download::{RangeError, RangeReader};
use crate::drive::{DriveError, DriveView, FileVersion, VaultSource};
use crate::vaults::{Managed, OpenVault};

/// So much is made at once, if the files are small.
const BATCH_LEN: usize = 256 << 10;
/// Opened pages of a snapshot's folders that are kept.
const PAGES_BYTES: usize = 4 << 20;

/// Why an archive cannot be made to its end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ArchiveError {
    /// A folder cannot be read.
    #[error(transparent)]
    Drive(#[from] DriveError),
    /// A file cannot be read.
    #[error("the bytes of a file cannot be read")]
    Range(#[from] RangeError),
    /// What is in it does not fit into an archive.
    #[error("an archive cannot hold this")]
    Zip(#[from] zip::result::ZipError),
    /// Its bytes cannot be put down: does not happen in memory.
    #[error("an archive cannot be written")]
    Write(#[from] std::io::Error),
}

/// Makes an archive. Memory: that of one download, the entries of the folders on the way down (of a snapshot, a page of
/// each), and some 200 bytes for each entry that is in the archive, whose list stands at its end.
pub(crate) struct Archive {
    store: Store,
    vault: Arc<OpenVault>,
    pages: Reader<VaultSource>,
    zip: Option<ZipWriter<StreamWriter<Outlet>>>,
    outlet: Outlet,
    /// What comes next last.
    pending: Vec<Item>,
    open: Option<RangeReader>,
}

/// Something that is to be in the archive, under a name there, with `/` between folders.
enum Item {
    /// Whatever is at this path of the drive.
    OnDrive { name: String, path: DrivePath },
    /// An entry of a snapshot.
    InSnapshot { name: String, entry: Box<Entry> },
    /// What is left of a folder of a snapshot; what is in it has names that begin like this.
    RestOf { prefix: String, cursor: TreeCursor },
}

/// What was made and is not sent yet.
#[derive(Clone, Default)]
struct Outlet(Arc<Mutex<Vec<u8>>>);

impl Outlet {
    fn with<T>(&self, act: impl FnOnce(&mut Vec<u8>) -> T) -> T {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Write for Outlet {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.with(|made| made.extend_from_slice(bytes));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Archive {
    /// An archive of what is at these paths, each under its own name; of the root, everything.
    ///
    /// # Errors
    /// [`DriveError::NotFound`] when there is nothing at one of them.
    pub(crate) fn new(store: &Store, vault: &Arc<OpenVault>, paths: &[DrivePath]) -> Result<Self, ArchiveError> {
        let mut archive = Self::empty(store, vault);
        for path in paths.iter().rev() {
            archive.view().look(path)?;
            match path.name() {
                Some(name) => {
                    archive.pending.push(Item::OnDrive { name: shown(name.as_bytes()), path: path.clone() });
                }
                None => archive.descend("", path)?,
            }
        }
        Ok(archive)
    }

    /// An archive of a folder of a snapshot: what is in it, without its own name. Of pipes, sockets and devices there is
    /// nothing to put into one.
    pub(crate) fn of_snapshot(store: &Store, vault: &Arc<OpenVault>, tree: ObjectId) -> Self {
        let mut archive = Self::empty(store, vault);
        archive.pending.push(Item::RestOf { prefix: String::new(), cursor: TreeCursor::new(tree) });
        archive
    }

    /// An archive of these entries of a snapshot, each under its own name, folders with all in them.
    pub(crate) fn of_entries(store: &Store, vault: &Arc<OpenVault>, entries: Vec<Entry>) -> Self {
        let mut archive = Self::empty(store, vault);
        let items = entries.into_iter().rev();
        archive
            .pending
            .extend(items.map(|entry| Item::InSnapshot { name: shown(&entry.name), entry: Box::new(entry) }));
        archive
    }

    fn empty(store: &Store, vault: &Arc<OpenVault>) -> Self {
        let outlet = Outlet::default();
        let keys = &vault.managed().expect("looked at when it was opened").keys;
        let source = VaultSource { store: store.clone(), vault: vault.id };
        Self {
            store: store.clone(),
            vault: Arc::clone(vault),
            pages: Reader::new(source, Arc::clone(keys), PAGES_BYTES),
            zip: Some(ZipWriter::new_stream(outlet.clone())),
            outlet,
            pending: Vec::new(),
            open: None,
        }
    }

    /// The next bytes of the archive; `None` after the last.
    ///
    /// # Errors
    /// [`ArchiveError`]: what was given out before is no whole archive.
    pub(crate) fn next(&mut self) -> Result<Option<Bytes>, ArchiveError> {
        while self.outlet.with(|made| made.len()) < BATCH_LEN {
            let Some(zip) = &mut self.zip else { break };
            if let Some(reader) = &mut self.open {
                match reader.next()? {
                    Some(bytes) => zip.write_all(&bytes)?,
                    None => self.open = None,
                }
            } else if let Some(item) = self.pending.pop() {
                match item {
                    Item::OnDrive { name, path } => self.begin_on_drive(&name, &path)?,
                    Item::InSnapshot { name, entry } => self.begin_in_snapshot(&name, &entry)?,
                    Item::RestOf { prefix, cursor } => self.go_on(prefix, cursor)?,
                }
            } else if let Some(zip) = self.zip.take() {
                zip.finish()?;
            }
        }
        let made = self.outlet.with(std::mem::take);
        Ok((!made.is_empty()).then(|| Bytes::from(made)))
    }

    fn begin_on_drive(&mut self, name: &str, path: &DrivePath) -> Result<(), ArchiveError> {
        let file = match self.view().look(path) {
            Ok(file) => file,
            // It went while the archive was made.
            Err(DriveError::NotFound) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        let Some(file) = file else {
            self.zip().add_directory(name, options())?;
            return self.descend(&format!("{name}/"), path);
        };
        self.begin_file(name, &file)
    }

    fn begin_in_snapshot(&mut self, name: &str, entry: &Entry) -> Result<(), ArchiveError> {
        if let Some(file) = file_of(entry) {
            return self.begin_file(name, &file);
        }
        match &entry.kind {
            EntryKind::Directory { tree } => {
                self.zip().add_directory(name, options().unix_permissions(entry.metadata.mode))?;
                let cursor = TreeCursor::new(*tree);
                self.pending.push(Item::RestOf { prefix: format!("{name}/"), cursor });
            }
            EntryKind::Symlink { target } => {
                self.zip().add_symlink(name, String::from_utf8_lossy(target), options())?;
            }
            _ => {}
        }
        Ok(())
    }

    /// The next entry of a folder of a snapshot. One that cannot be read ends the archive: nobody would miss it in there.
    fn go_on(&mut self, prefix: String, mut cursor: TreeCursor) -> Result<(), ArchiveError> {
        let Some(entry) = cursor.next(&mut self.pages)? else { return Ok(()) };
        let name = format!("{prefix}{}", shown(&entry.name));
        self.pending.push(Item::RestOf { prefix, cursor });
        self.pending.push(Item::InSnapshot { name, entry: Box::new(entry) });
        Ok(())
    }

    fn begin_file(&mut self, name: &str, file: &FileVersion) -> Result<(), ArchiveError> {
        let options = options().last_modified_time(moment(file.mtime)).unix_permissions(file.mode);
        self.zip().start_file(name, options)?;
        let keys = &self.managed().keys;
        self.open = Some(RangeReader::new(&self.store, self.vault.id, keys, (file.content, file.size), 0..file.size));
        Ok(())
    }

    fn zip(&mut self) -> &mut ZipWriter<StreamWriter<Outlet>> {
        self.zip.as_mut().expect("it is finished after the last item")
    }

    fn descend(&mut self, prefix: &str, folder: &DrivePath) -> Result<(), ArchiveError> {
        let entries = self.view().list(folder)?;
        for entry in entries.into_iter().rev() {
            let Some(name) = entry.name else { continue };
            let path = match folder.is_root() {
                true => name.as_bytes().to_vec(),
                false => [&folder.as_bytes()[..], b"/", name.as_bytes()].concat(),
            };
            let path = DrivePath::new(path.into()).ok_or(DriveError::PathTooLong)?;
            self.pending.push(Item::OnDrive { name: format!("{prefix}{}", shown(name.as_bytes())), path });
        }
        Ok(())
    }

    fn managed(&self) -> &Managed {
        self.vault.managed().expect("looked at when it was opened")
    }

    fn view(&self) -> DriveView<'_> {
        DriveView::new(&self.store, self.vault.id, &self.managed().keys)
    }
}

/// Sizes and checksums stand behind the bytes, in 64 bits: nobody can go back to fill them in.
fn options() -> SimpleFileOptions {
    SimpleFileOptions::default().compression_method(CompressionMethod::Stored).large_file(true)
}

/// A name as an archive can have it: what is not text is percent-encoded, and what some programs take for a separator.
fn shown(name: &[u8]) -> String {
    match std::str::from_utf8(name) {
        Ok(name) if !name.contains('\\') => name.to_owned(),
        _ => percent_encoding::percent_encode(name, percent_encoding::NON_ALPHANUMERIC).to_string(),
    }
}

/// A moment as an archive has it: in UTC, between 1980 and 2107.
fn moment(mtime: Timestamp) -> DateTime {
    let converted = OffsetDateTime::from_unix_timestamp(mtime.secs()).ok().and_then(|moment| {
        let (hour, minute, second) = moment.to_hms();
        let year = u16::try_from(moment.year()).ok()?;
        DateTime::from_date_and_time(year, moment.month().into(), moment.day(), hour, minute, second).ok()
    });
    converted.unwrap_or_default()
}
