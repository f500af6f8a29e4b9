//! [`Listing`]: the names in one directory, sorted, in one piece of memory.

use rustix::fs::RawDir;
use rustix::io::Errno;
use std::os::fd::BorrowedFd;

use crate::name::Name;
use crate::stat::FileKind;

/// What the kernel is asked for at once; it fills at most this much per call.
const READ_LEN: usize = 64 * 1024;

/// The names in a directory, ascending by bytes, each once; `.` and `..` are left out.
///
/// Costs the names' bytes and 8 bytes each: 26 MiB for a million names of 20 bytes. Meant to be used again for the next
/// directory, so that a walk allocates as often as its tree is deep.
#[derive(Debug, Default)]
pub struct Listing {
    arena: Vec<u8>,
    slots: Vec<Slot>,
    buffer: Vec<u8>,
}

/// One name of a [`Listing`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listed<'l> {
    /// The name.
    pub name: Name<'l>,
    /// What the directory says it is; `None` when it does not say. [`HostDir::stat`](crate::HostDir::stat) decides.
    pub kind: Option<FileKind>,
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    start: u32,
    len: u16,
    kind: Option<FileKind>,
}

impl Listing {
    /// An empty listing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// How many names there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether the directory was empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// The `index`-th name in order.
    #[must_use]
    pub fn get(&self, index: usize) -> Option<Listed<'_>> {
        self.slots.get(index).and_then(|slot| listed(&self.arena, *slot))
    }

    /// The names in order.
    pub fn iter(&self) -> impl Iterator<Item = Listed<'_>> {
        self.slots.iter().filter_map(|slot| listed(&self.arena, *slot))
    }

    /// Bytes of memory held, used or not.
    #[must_use]
    pub fn memory_len(&self) -> usize {
        self.arena.capacity() + self.slots.capacity() * size_of::<Slot>() + self.buffer.capacity()
    }

    /// Replaces what is here by the names `dir` still has to tell. On an error the names so far stay.
    pub(crate) fn fill(&mut self, dir: BorrowedFd<'_>) -> Result<(), Errno> {
        self.arena.clear();
        self.slots.clear();
        self.buffer.clear();
        self.buffer.reserve(READ_LEN);
        let mut entries = RawDir::new(dir, self.buffer.spare_capacity_mut());
        while let Some(entry) = entries.next() {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if Name::new(name).is_none() {
                continue;
            }
            // Four gigabytes of names, or a name longer than a path: no file system has either.
            let start = u32::try_from(self.arena.len()).map_err(|_| Errno::OVERFLOW)?;
            let len = u16::try_from(name.len()).map_err(|_| Errno::NAMETOOLONG)?;
            self.arena.extend_from_slice(name);
            self.slots.push(Slot { start, len, kind: FileKind::from_file_type(entry.file_type()) });
        }
        let arena = &self.arena;
        self.slots.sort_unstable_by(|a, b| bytes(arena, *a).cmp(bytes(arena, *b)));
        // A name renamed back and forth while the kernel was telling may have been told twice.
        self.slots.dedup_by(|a, b| bytes(arena, *a) == bytes(arena, *b));
        Ok(())
    }
}

fn bytes(arena: &[u8], slot: Slot) -> &[u8] {
    let start = slot.start as usize;
    &arena[start..start + usize::from(slot.len)]
}

fn listed(arena: &[u8], slot: Slot) -> Option<Listed<'_>> {
    Some(Listed { name: Name::new(bytes(arena, slot))?, kind: slot.kind })
}
