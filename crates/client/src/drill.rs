//! [`drill`]: restores a sample of a snapshot to scratch, compares every byte with what the snapshot says, and reports it
//! to the server. A backup that nobody ever restored is a hope.
#![expect(clippy::disallowed_methods, reason = "it removes its own scratch")]

use std::fs::{self, File, Permissions};
use std::io::{BufReader, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use host_fs::RestoreOptions;
use object::ObjectId;
use proto::{DrillReport, IdempotencyKey};
use vault::{Content, Entry, EntryKind, Piece, PieceCursor, Reader};

use crate::browse::{self, Found, Node};
use crate::config::Folders;
use crate::error::{ClientError, explain};
use crate::line::Line;
use crate::monitor::{Event, FileProblem, Monitor};
use crate::random::random;
use crate::restore::{RestoreJob, restore};

const RECENT_BYTES: usize = 12 << 20;

/// What a drill came to.
#[derive(Clone, Debug)]
pub struct DrillOutcome {
    /// The snapshot.
    pub snapshot: ObjectId,
    /// Files restored and compared.
    pub files: u64,
    /// Bytes in them.
    pub bytes: u64,
    /// How long restoring and comparing took.
    pub duration: Duration,
    /// When the server took the report, in milliseconds since 1970 by its clock.
    pub server_time_ms: u64,
    /// Files that could not be restored as they are in the snapshot.
    pub problems: Vec<FileProblem>,
}

/// A file of the sample.
struct Sampled {
    path: PathBuf,
    entry: Entry,
    size: u64,
    content: Content,
}

/// Restores up to `sample` files, chosen at random among all that are below `found`, into a folder of its own that is
/// removed afterwards. Memory: the sample's entries, not the snapshot's.
///
/// # Errors
/// [`ClientError`] when it cannot go on as a whole. What is damaged is in the outcome, which the server has then.
pub fn drill(
    line: &Line,
    found: &Found,
    sample: usize,
    folders: &Folders,
    monitor: &Arc<dyn Monitor>,
) -> Result<DrillOutcome, ClientError> {
    monitor.event(Event::Stage("choosing a sample"));
    let sampled = choose(line, found, sample)?;
    let scratch = Scratch::new(&folders.cache)?;
    let begun = Instant::now();
    let mut problems = Vec::new();
    let (mut files, mut bytes) = (0, 0);
    for (number, file) in sampled.into_iter().enumerate() {
        let target = scratch.0.join(number.to_string());
        let node = Node::Entry(file.entry.clone());
        let job = RestoreJob { target: target.clone(), options: RestoreOptions::default() };
        let report = restore(line, Found { snapshot: found.snapshot, node }, &job, monitor)?;
        let restored = target.join(std::ffi::OsStr::from_bytes(&file.entry.name));
        let trouble = match report.problems.first() {
            Some(problem) => Some(problem.message.clone()),
            None => compare(line, &file, &restored)?,
        };
        match trouble {
            None => (files, bytes) = (files + 1, bytes + file.size),
            Some(message) => {
                let problem = FileProblem { path: file.path, message, is_loss: true };
                monitor.event(Event::Problem(problem.clone()));
                problems.push(problem);
            }
        }
        // What was compared need not wait for the end.
        let _ = fs::remove_dir_all(&target);
    }
    let duration = begun.elapsed();
    let report = DrillReport {
        key: IdempotencyKey::from_bytes(random()),
        snapshot: found.snapshot,
        files,
        bytes,
        problems: problems.len() as u64,
        duration_ms: u64::try_from(duration.as_millis()).unwrap_or(u64::MAX),
    };
    let taken = line.ask(|session| session.report_drill(report))?;
    let server_time_ms = taken.server_time_ms;
    Ok(DrillOutcome { snapshot: found.snapshot, files, bytes, duration, server_time_ms, problems })
}

/// Up to `count` files, each as likely as any other.
fn choose(line: &Line, found: &Found, count: usize) -> Result<Vec<Sampled>, ClientError> {
    let mut sampled: Vec<Sampled> = Vec::new();
    let mut seen = 0;
    browse::list(line, found, true, &mut |path, entry| {
        let EntryKind::File { size, content } = entry.kind else { return Ok(()) };
        seen += 1;
        let place = match sampled.len() < count {
            true => sampled.len(),
            false => usize::try_from(u64::from_le_bytes(random()) % seen).unwrap_or(usize::MAX),
        };
        let file = Sampled { path: path.to_owned(), entry: entry.clone(), size, content };
        match sampled.get_mut(place) {
            Some(replaced) => *replaced = file,
            None if place < count => sampled.push(file),
            None => {}
        }
        Ok(())
    })?;
    Ok(sampled)
}

/// Reads a restored file back from the disk; in words, how it differs from the snapshot.
fn compare(line: &Line, file: &Sampled, restored: &Path) -> Result<Option<String>, ClientError> {
    let failed = |source| ClientError::Io { verb: "read back", path: restored.to_owned(), source };
    // It may have been restored unreadable.
    fs::set_permissions(restored, Permissions::from_mode(0o600)).map_err(failed)?;
    let mut bytes = BufReader::new(File::open(restored).map_err(failed)?);
    let mut reader = Reader::new(line.clone(), Arc::clone(line.keys()), RECENT_BYTES);
    let mut pieces = PieceCursor::new(file.content, file.size);
    let mut offset = 0u64;
    let mut buffer = Vec::new();
    loop {
        let piece = match pieces.next(&mut reader) {
            Ok(Some(piece)) => piece,
            Ok(None) => break,
            Err(vault::ReadError::Source(error)) => return Err(error),
            Err(error) => return Ok(Some(explain(&error))),
        };
        let mut left = piece.span_len().min(file.size.saturating_sub(offset));
        let is_same = match piece {
            Piece::Chunk { id, .. } => {
                buffer.clear();
                Read::take(&mut bytes, left).read_to_end(&mut buffer).map_err(failed)?;
                line.keys().chunk_id(&buffer) == id
            }
            Piece::Hole { .. } => {
                let mut is_zero = true;
                while left > 0 {
                    buffer.clear();
                    let count = Read::take(&mut bytes, left.min(1 << 20)).read_to_end(&mut buffer).map_err(failed)?;
                    is_zero &= count > 0 && buffer.iter().all(|byte| *byte == 0);
                    left = if count == 0 { 0 } else { left - count as u64 };
                }
                is_zero
            }
        };
        if !is_same {
            return Ok(Some(format!("restored, it differs from the snapshot behind byte {offset}")));
        }
        offset += piece.span_len();
    }
    let rest = bytes.read(&mut [0]).map_err(failed)?;
    Ok((offset != file.size || rest > 0).then(|| "restored, its length differs from the snapshot's".to_owned()))
}

/// A folder that only this user can enter, removed when dropped.
struct Scratch(PathBuf);

impl Scratch {
    fn new(parent: &Path) -> Result<Self, ClientError> {
        let path = parent.join(format!("drill-{:016x}", u64::from_le_bytes(random())));
        let made = fs::create_dir_all(parent).and_then(|()| fs::DirBuilder::new().mode(0o700).create(&path));
        made.map_err(|source| ClientError::Io { verb: "make", path: path.clone(), source })?;
        Ok(Self(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What cannot be removed stays in the cache's folder, which may be deleted at any time.
        let _ = fs::remove_dir_all(&self.0);
    }
}
