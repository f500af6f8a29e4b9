//! Guards that finish what they hold when the last part that needs it is gone: [`DirGuard`] a directory, [`FileGuard`] a
//! file that is written in parts.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use host_fs::{RestoreDir, RestoreFile, Restored};
use vault::Metadata;

use super::links::Links;
use super::sink::Sink;
use crate::monitor::Progress;

/// A directory that gets its metadata when everything in it is there.
pub(crate) struct DirGuard {
    pub(crate) dir: RestoreDir,
    metadata: Option<Metadata>,
    sink: Arc<Sink>,
    /// Is finished after this one: the order of drops sees to it.
    _above: Option<Arc<DirGuard>>,
}

impl DirGuard {
    pub(crate) fn new(
        dir: RestoreDir,
        metadata: Option<Metadata>,
        sink: Arc<Sink>,
        above: Option<Arc<Self>>,
    ) -> Arc<Self> {
        Arc::new(Self { dir, metadata, sink, _above: above })
    }

    pub(crate) fn path_of(&self, name: &[u8]) -> PathBuf {
        self.dir.path().join(OsStr::from_bytes(name))
    }
}

impl Drop for DirGuard {
    fn drop(&mut self) {
        if let Some(metadata) = &self.metadata {
            self.sink.not_applied(&self.dir.finish(metadata));
        }
    }
}

/// A file written in parts. It gets its metadata and its name when all of them are written; one that lacks a part gets
/// neither, and vanishes.
pub(crate) struct FileGuard {
    /// `None` only while it is dropped.
    file: Option<RestoreFile>,
    is_lost: AtomicBool,
    directory: Arc<DirGuard>,
    name: Vec<u8>,
    size: u64,
    metadata: Metadata,
    links: Arc<Links>,
    sink: Arc<Sink>,
}

impl FileGuard {
    pub(crate) fn new(
        file: RestoreFile,
        directory: Arc<DirGuard>,
        name: Vec<u8>,
        size: u64,
        metadata: Metadata,
        links: Arc<Links>,
        sink: Arc<Sink>,
    ) -> Arc<Self> {
        let is_lost = AtomicBool::new(false);
        Arc::new(Self { file: Some(file), is_lost, directory, name, size, metadata, links, sink })
    }

    pub(crate) fn file(&self) -> &RestoreFile {
        self.file.as_ref().expect("taken only when dropped")
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.directory.path_of(&self.name)
    }

    /// A part of it cannot be had or written.
    pub(crate) fn lose(&self) {
        self.is_lost.store(true, Ordering::Relaxed);
    }
}

impl Drop for FileGuard {
    fn drop(&mut self) {
        let file = self.file.take().expect("taken only when dropped");
        let restored = if self.is_lost.load(Ordering::Relaxed) {
            drop(file);
            None
        } else {
            match file.finish(&self.metadata) {
                Ok(restored) => Some(restored),
                Err(error) => {
                    self.sink.host_problem(&error);
                    None
                }
            }
        };
        finish_file(restored, &self.metadata, self.size, &self.links, &self.sink);
    }
}

/// What follows a file that was restored, or was not: numbers, and its other names.
pub(crate) fn finish_file(restored: Option<Restored>, metadata: &Metadata, size: u64, links: &Links, sink: &Sink) {
    let source = restored.and_then(|restored| {
        sink.not_applied(&restored.not_applied);
        let progress = sink.monitor().progress();
        Progress::add(&progress.files, 1);
        Progress::add(&progress.bytes, size);
        restored.link
    });
    if let Some(file) = metadata.hard_link {
        links.settle(file, source.as_ref());
    }
}
