//! [`PackContents`]: what stands in a pack's file, read without a catalog.

use std::path::Path;

use bytes::Bytes;
use object::{ObjectId, SealedRecord, VaultId};

use crate::disk::Disk;
use crate::layout::pack::{PackHeader, SYNC_MARKER};
use crate::pack::scan::{PackFinding, PackScan};
use crate::pack::{PackFault, PackReader, Span};
use crate::{PackClass, PackId, StoreError};

/// An object in a pack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PackedObject {
    /// Which.
    pub id: ObjectId,
    /// What it is for.
    pub kind: object::Kind,
    /// Whether it stands there as a delta, which needs other objects.
    pub is_delta: bool,
    /// Where the record that holds it begins.
    pub offset: u32,
    /// Bytes of that record and the marker before it.
    pub len: u32,
}

/// An open pack of which nobody else tells anything.
///
/// A damaged header costs nothing but the name of the vault, a damaged footer nothing but time.
pub struct PackContents {
    pack: PackReader,
    path: std::path::PathBuf,
}

impl std::fmt::Debug for PackContents {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PackContents({})", self.path.display())
    }
}

impl PackContents {
    /// Opens a pack's file.
    ///
    /// # Errors
    /// [`StoreError::Io`] when the file cannot be opened, [`StoreError::Layout`] when it is too short or too long for a
    /// pack.
    pub fn open(disk: &dyn Disk, path: &Path) -> Result<Self, StoreError> {
        let open = || disk.open(path).map_err(|error| StoreError::io("open", path, error));
        let pack = match PackReader::open(open()?) {
            Ok(pack) => pack,
            // Stands for the header that cannot be read; nobody is told what it says.
            Err(_) => PackReader::open_known(open()?, PackHeader::unknown()).map_err(|fault| fault_in(path, fault))?,
        };
        Ok(Self { pack, path: path.to_owned() })
    }

    /// The vault whose objects it holds; `None` when the header is damaged.
    #[must_use]
    pub fn vault(&self) -> Option<VaultId> {
        self.pack.header_fault().is_none().then(|| self.pack.header().vault)
    }

    /// The catalog's generation when the pack was begun; `None` when the header is damaged.
    #[must_use]
    pub fn generation(&self) -> Option<u64> {
        self.pack.header_fault().is_none().then(|| self.pack.header().created_generation)
    }

    /// Lists the objects: from footer and heads when these are sound, else by reading every byte. What is listed from
    /// heads may still be damaged.
    #[must_use]
    pub fn objects(self) -> Vec<PackedObject> {
        self.listed().unwrap_or_else(|_| self.scanned())
    }

    /// Reads a record and checks all its checksums.
    ///
    /// # Errors
    /// [`StoreError::Layout`] when no sound record is there, [`StoreError::Io`] when the file cannot be read.
    pub fn record(&self, offset: u32, len: u32) -> Result<SealedRecord, StoreError> {
        self.pack.record(Span { offset, len }).map_err(|fault| fault_in(&self.path, fault))
    }

    fn listed(&self) -> Result<Vec<PackedObject>, PackFault> {
        let (_, spans) = self.pack.spans()?;
        let mut objects = Vec::new();
        for span in spans {
            let head: Bytes = self.pack.head(span)?;
            objects.extend(objects_of(object::Record::parse_head(&head)?, span));
        }
        Ok(objects)
    }

    fn scanned(self) -> Vec<PackedObject> {
        let mut objects = Vec::new();
        // Where the disk fails the scan ends; what stands before is taken.
        for finding in PackScan::new(self.pack).map_while(Result::ok) {
            if let PackFinding::Record { offset, record } = finding {
                let len = u32::try_from(SYNC_MARKER.len() + record.bytes().len()).expect("records are limited");
                objects.extend(objects_of(record.view().head(), Span { offset, len }));
            }
        }
        objects
    }
}

fn objects_of<'a>(head: object::RecordHead<'a>, span: Span) -> impl Iterator<Item = PackedObject> + use<'a> {
    let is_delta = head.codec().is_delta();
    let Span { offset, len } = span;
    head.members().map(move |member| PackedObject { id: member.id, kind: member.kind, is_delta, offset, len })
}

fn fault_in(path: &Path, fault: PackFault) -> StoreError {
    match fault {
        PackFault::Io(error) => StoreError::io("read", path, error),
        fault => StoreError::Layout { path: path.to_owned(), what: fault.to_string() },
    }
}

impl PackHeader {
    fn unknown() -> Self {
        let (pack, vault) = (PackId::from_bytes([0; 16]), VaultId::from_bytes([0; 16]));
        Self { class: PackClass::Data, pack, vault, created_generation: 0 }
    }
}
