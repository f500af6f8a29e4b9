//! [`Outlook`]: how far a backup has come, told to the server once a second for people who look on.
//!
//! A first backup has nothing to go by, so its files are counted beside it ([`survey`]); for all others the server knows how
//! much the last snapshot was of.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError};
use proto::{BackupProgress, Extent};

use super::excludes::Excludes;
use super::shared::Shared;
use crate::monitor::Progress;

const TELL_INTERVAL: Duration = Duration::from_secs(1);
/// Directories that wait to be counted; with more, nobody is told how much there is.
const WAITING_MAX: usize = 1 << 16;

/// Tells how far one run of a backup has come.
pub(crate) struct Outlook<'s> {
    shared: &'s Shared<'s>,
    /// What earlier runs had done.
    before: Extent,
}

impl<'s> Outlook<'s> {
    /// Of the run that begins now.
    pub(crate) fn new(shared: &'s Shared<'s>) -> Self {
        Self { shared, before: done(shared.progress()) }
    }

    /// Tells until `end` is closed. `counted` brings how much there is, once it is known.
    pub(crate) fn run(&self, end: &Receiver<()>, counted: &Receiver<Extent>) {
        let mut expected = None;
        while end.recv_timeout(TELL_INTERVAL) == Err(RecvTimeoutError::Timeout) {
            expected = counted.try_recv().ok().or(expected);
            let now = done(self.shared.progress());
            // What is read and not sent yet is not through.
            let waiting = self.shared.read_ahead.taken() as u64;
            let files = now.files.saturating_sub(self.before.files);
            let bytes = now.bytes.saturating_sub(self.before.bytes).saturating_sub(waiting);
            self.shared.session.tell(BackupProgress { done: Extent { files, bytes }, expected });
        }
    }
}

/// A large file counts as it is read, not only when all of it is.
fn done(progress: &Progress) -> Extent {
    let read = Progress::get(&progress.bytes_unchanged) + Progress::get(&progress.bytes_read);
    Extent { files: Progress::get(&progress.files), bytes: Progress::get(&progress.bytes).max(read) }
}

/// Counts the files at and below `roots`, as long as somebody wants to know. An estimate: what cannot be read does not count,
/// and what changes meanwhile counts as it was. Only directories are opened.
pub(crate) fn survey(roots: &[Vec<u8>], excludes: &Excludes, is_wanted: &dyn Fn() -> bool) -> Option<Extent> {
    let mut found = Extent::default();
    let mut waiting: Vec<PathBuf> = Vec::new();
    for root in roots {
        let path = Path::new(OsStr::from_bytes(root));
        match fs::symlink_metadata(path) {
            Ok(metadata) if metadata.is_dir() => waiting.push(path.to_owned()),
            Ok(metadata) if metadata.is_file() => count(&mut found, metadata.len()),
            _ => {}
        }
    }
    while let Some(directory) = waiting.pop() {
        if !is_wanted() || waiting.len() > WAITING_MAX {
            return None;
        }
        for entry in fs::read_dir(&directory).into_iter().flatten().flatten() {
            let Ok(metadata) = entry.metadata() else { continue };
            let path = entry.path();
            if excludes.leaves_out(&path, metadata.is_dir()) {
                continue;
            }
            if metadata.is_dir() {
                waiting.push(path);
            } else if metadata.is_file() {
                count(&mut found, metadata.len());
            }
        }
    }
    Some(found)
}

fn count(found: &mut Extent, len: u64) {
    found.files += 1;
    found.bytes = found.bytes.saturating_add(len);
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "tests write what they count")]
mod tests {
    use std::os::unix::ffi::OsStringExt;

    use super::*;

    #[test]
    fn a_survey_counts_what_a_backup_would_go_through() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::create_dir_all(at("docs/deep")).unwrap();
        fs::create_dir_all(at("cache")).unwrap();
        for (name, len) in [("docs/a", 10), ("docs/deep/b", 20), ("docs/c.tmp", 40), ("cache/d", 80), ("alone", 160)] {
            let bytes = vec![0; len];
            fs::write(at(name), bytes).unwrap();
        }
        std::os::unix::fs::symlink(at("cache"), at("docs/link")).unwrap();
        let roots = [at("docs"), at("alone"), at("nothing")].map(|path| path.into_os_string().into_vec());
        let excludes = Excludes::new(&["*.tmp".to_owned()]).unwrap();
        assert_eq!(survey(&roots, &excludes, &|| true), Some(Extent { files: 3, bytes: 190 }));
        assert_eq!(survey(&roots, &excludes, &|| false), None);
    }
}
