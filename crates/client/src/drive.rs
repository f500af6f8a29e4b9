//! The drive: live files by path. [`put`], [`get`], [`list_drive`], [`remove`].
#![expect(clippy::disallowed_methods, reason = "a file of the drive goes where the caller says, in one step")]

use std::cell::RefCell;
use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use host_fs::{HostDir, Name};
use object::ObjectId;
use proto::{
    DriveCommitted, DriveContent, DriveEntry, DriveList, DriveName, DriveNode, DrivePath, DrivePut, DriveRemove,
    FailCode, IdempotencyKey,
};
use vault::{Content, Mode, Piece, PieceCursor, Reader};

use crate::backup::{FileJob, FileOutcome, problem, send_files};
use crate::config::Folders;
use crate::counted::Traffic;
use crate::error::ClientError;
use crate::line::Line;
use crate::monitor::{FileProblem, Monitor, Progress};
use crate::random::random;
use crate::rounds::{Trust, in_rounds};
use crate::session::Session;
use crate::signature_cache::SignatureCache;

/// Files read and sent before their names are changed on the drive.
const FILES_AT_ONCE: usize = 256;
const LIST_PAGE_LEN: u32 = 5000;
/// Bytes of a file fetched at once.
const WINDOW_BYTES: u64 = 8 << 20;
const RECENT_BYTES: usize = 12 << 20;

/// A file on this machine, and where it goes on the drive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PutFile {
    /// On this machine; absolute.
    pub source: PathBuf,
    /// On the drive.
    pub target: Vec<u8>,
}

/// What became of one file.
#[derive(Clone, Debug)]
pub struct PutOutcome {
    /// On the drive.
    pub target: Vec<u8>,
    /// Bytes in the file.
    pub size: u64,
    /// The version it has now.
    pub version: u64,
    /// Content and description were the same already, and nothing was changed.
    pub is_identical: bool,
}

/// What a put did.
#[derive(Clone, Debug, Default)]
pub struct PutReport {
    /// Files that are on the drive now.
    pub files: Vec<PutOutcome>,
    /// Bytes read from files.
    pub bytes_read: u64,
    /// Bytes of the connection, but for those of TLS and TCP themselves.
    pub traffic: Traffic,
    /// Bytes the server's store grew by.
    pub bytes_stored: u64,
    /// Objects that were stored as a delta.
    pub delta_objects: u64,
    /// When the server made the last change, in milliseconds since 1970; 0 without one.
    pub server_time_ms: u64,
    /// Trouble with single files.
    pub problems: Vec<FileProblem>,
}

/// Something on the drive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DriveItem {
    /// Its name.
    pub name: Vec<u8>,
    /// What a file has; `None` for a folder.
    pub file: Option<DriveFile>,
}

/// A file on the drive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DriveFile {
    /// Bytes in it.
    pub size: u64,
    /// When its content was changed last: seconds since 1970 and nanoseconds.
    pub mtime: (i64, u32),
    /// Unix permission bits.
    pub mode: u32,
    /// Its version.
    pub version: u64,
    /// Where its bytes are.
    content: DriveContent,
}

impl DriveFile {
    fn content(&self) -> Content {
        match self.content {
            DriveContent::Empty => Content::Empty,
            DriveContent::Chunk(id) => Content::Chunk(id),
            DriveContent::List(id) => Content::List(id),
        }
    }
}

/// Every regular file at or below `path`, with its place below `folder` of the drive.
///
/// # Errors
/// [`ClientError::NotFound`]; [`ClientError::Io`] when a directory cannot be read.
pub fn files_below(path: &Path, folder: &[u8]) -> Result<Vec<PutFile>, ClientError> {
    let source = path.canonicalize().map_err(|source| match source.kind() {
        std::io::ErrorKind::NotFound => ClientError::NotFound { what: format!("file or directory {}", path.display()) },
        _ => ClientError::Io { verb: "look at", path: path.to_owned(), source },
    })?;
    let name = path.file_name().or_else(|| source.file_name());
    let name = name.ok_or_else(|| ClientError::Usage(format!("{} has no name of its own", path.display())))?;
    let mut files = Vec::new();
    collect(&source, join(folder, name.as_bytes()), &mut files)?;
    Ok(files)
}

fn collect(source: &Path, target: Vec<u8>, files: &mut Vec<PutFile>) -> Result<(), ClientError> {
    let failed = |verb| move |error| ClientError::Io { verb, path: source.to_owned(), source: error };
    let kind = fs::symlink_metadata(source).map_err(failed("look at"))?.file_type();
    if kind.is_file() {
        files.push(PutFile { source: source.to_owned(), target });
    } else if kind.is_dir() {
        let entries: Result<Vec<_>, _> = fs::read_dir(source).map_err(failed("list"))?.collect();
        let mut entries = entries.map_err(failed("list"))?;
        entries.sort_by_key(fs::DirEntry::file_name);
        for entry in entries {
            collect(&entry.path(), join(&target, entry.file_name().as_bytes()), files)?;
        }
    }
    Ok(())
}

fn join(folder: &[u8], name: &[u8]) -> Vec<u8> {
    if folder.is_empty() { name.to_vec() } else { [folder, b"/", name].concat() }
}

/// Puts files on the drive: of one that is there already, only the change is sent. When a connection is lost, what it
/// brought to the server is not sent again over the next.
///
/// # Errors
/// [`ClientError`] when it cannot go on as a whole; files before that are on the drive.
pub fn put(line: &Line, folders: &Folders, files: &[PutFile], monitor: &dyn Monitor) -> Result<PutReport, ClientError> {
    line.ask(check_has_drive)?;
    let signatures = SignatureCache::new(&folders.cache, line.session().vault(), "the drive");
    let mut report = PutReport::default();
    for group in files.chunks(FILES_AT_ONCE) {
        // Puts that were asked for: where the answer was lost with the connection, the next one finds the file as put.
        let asked = RefCell::new(HashSet::new());
        let group = line.ask(|session| {
            in_rounds(monitor, |trust| put_group(session, &signatures, group, monitor, &asked, trust))
        })?;
        report.files.extend(group.files);
        report.problems.extend(group.problems);
        report.bytes_stored += group.bytes_stored;
        report.delta_objects += group.delta_objects;
        report.server_time_ms = report.server_time_ms.max(group.server_time_ms);
    }
    signatures.evict();
    report.bytes_read = Progress::get(&monitor.progress().bytes_read);
    report.traffic = line.traffic();
    Ok(report)
}

fn put_group(
    session: &Session,
    signatures: &SignatureCache,
    group: &[PutFile],
    monitor: &dyn Monitor,
    asked: &RefCell<HashSet<Vec<u8>>>,
    trust: Trust,
) -> Result<PutReport, ClientError> {
    session.begin_drive()?;
    let mut report = PutReport::default();
    let mut targets = Vec::new();
    for file in group {
        let target = drive_path(&file.target)?;
        let before = match stat(session, target.clone())? {
            Some(DriveItem { file: None, .. }) => {
                let what = format!("{} is a folder on the drive", String::from_utf8_lossy(&file.target));
                return Err(ClientError::Usage(what));
            }
            item => item.and_then(|item| item.file),
        };
        targets.push((target, before));
    }
    let earlier = match trust {
        Trust::Earlier => held_contents(session, targets.iter().filter_map(|(_, before)| *before))?,
        Trust::Nothing => HashSet::new(),
    };
    let mut jobs = Vec::new();
    let mut befores = Vec::new();
    for (file, (target, before)) in group.iter().zip(targets) {
        let trusted = before.filter(|before| before.content().id().is_some_and(|id| earlier.contains(&id)));
        match job(file, trusted) {
            Ok(job) => {
                jobs.push(job);
                befores.push((target, before));
            }
            Err(error) => report.problems.push(problem(&error)),
        }
    }
    let (outcomes, problems) = send_files(session, monitor, signatures, jobs)?;
    report.problems.extend(problems);
    for ((target, before), outcome) in befores.into_iter().zip(outcomes) {
        let (content, size, metadata) = match outcome {
            FileOutcome::Read { content, size, metadata } => (content, size, metadata),
            FileOutcome::Left(problem) => {
                report.problems.push(problem);
                continue;
            }
        };
        let mtime = (metadata.mtime.secs, metadata.mtime.nanos);
        let is_identical = before.is_some_and(|before| {
            before.content() == content && before.size == size && before.mtime == mtime && before.mode == metadata.mode
        });
        let name = target.as_bytes().to_vec();
        if let (true, Some(before)) = (is_identical, before) {
            let is_identical = !asked.borrow().contains(&name);
            report.files.push(PutOutcome { target: name, size, version: before.version, is_identical });
            continue;
        }
        asked.borrow_mut().insert(name.clone());
        let put = DrivePut {
            key: IdempotencyKey::from_bytes(random()),
            path: target,
            mtime: proto::Timestamp::new(mtime.0, mtime.1).expect("nanoseconds of a file's time are below 10^9"),
            mode: metadata.mode,
            size,
            content: match content {
                Content::Empty => DriveContent::Empty,
                Content::Chunk(id) => DriveContent::Chunk(id),
                Content::List(id) => DriveContent::List(id),
            },
            expected_version: Some(before.map_or(0, |before| before.version)),
        };
        let committed: DriveCommitted = session.drive_put(put)?;
        report.bytes_stored += committed.bytes_stored;
        report.delta_objects += committed.delta_objects;
        report.server_time_ms = committed.server_time_ms;
        report.files.push(PutOutcome { target: name, size, version: committed.version, is_identical });
    }
    Ok(report)
}

/// Contents that the vault holds with everything below. What is damaged is not among them: it is sent again.
fn held_contents(session: &Session, files: impl Iterator<Item = DriveFile>) -> Result<HashSet<ObjectId>, ClientError> {
    let ids: Vec<ObjectId> = files.filter_map(|file| file.content().id()).collect();
    let held = session.held(&ids)?;
    Ok(ids.into_iter().zip(held).filter_map(|(id, is_held)| is_held.then_some(id)).collect())
}

/// A drive's names and versions are looked after by a server that can read them.
pub(crate) fn check_has_drive(session: &Session) -> Result<(), ClientError> {
    match session.mode() {
        Mode::Managed => Ok(()),
        Mode::Sealed => Err(ClientError::Usage("a sealed vault has no drive: back up into it instead".to_owned())),
    }
}

fn job(file: &PutFile, before: Option<DriveFile>) -> Result<FileJob, host_fs::HostError> {
    let parent = file.source.parent().unwrap_or(Path::new("/"));
    let name = file.source.file_name().unwrap_or_default().as_bytes().to_vec();
    let directory = HostDir::open_root_passage(parent)?;
    let stat = directory.stat(Name::new(&name).expect("a canonical path of a file ends in a name"))?;
    let previous = before.filter(|before| before.size > 0).map(|before| (before.content(), before.size));
    Ok(FileJob { directory: Arc::new(directory), name, path: file.source.clone(), stat, previous })
}

/// Everything directly in a folder of the drive, names ascending; of a file, itself.
///
/// # Errors
/// [`ClientError::NotFound`] and others.
pub fn list_drive(line: &Line, path: &[u8]) -> Result<Vec<DriveItem>, ClientError> {
    let path = drive_path(path)?;
    line.ask(check_has_drive)?;
    if !path.is_root() {
        let item = line.ask(|session| stat(session, path.clone()))?;
        let item = item.ok_or_else(|| not_found(&path))?;
        if item.file.is_some() {
            return Ok(vec![item]);
        }
    }
    let mut items: Vec<DriveItem> = Vec::new();
    loop {
        let after = items.last().and_then(|last| DriveName::new(Bytes::from(last.name.clone())));
        let request = DriveList { path: path.clone(), after, limit: LIST_PAGE_LEN };
        let page = line.ask(|session| session.drive_list(request.clone()))?;
        items.extend(page.entries.into_iter().map(item));
        if !page.more {
            return Ok(items);
        }
    }
}

/// Removes a file or a folder with everything in it. Its versions can be brought back for a while.
///
/// # Errors
/// [`ClientError::NotFound`] and others.
pub fn remove(line: &Line, path: &[u8]) -> Result<(), ClientError> {
    let path = drive_path(path)?;
    if path.is_root() {
        return Err(ClientError::Usage("the root of the drive cannot be removed".to_owned()));
    }
    line.ask(check_has_drive)?;
    // The same key over each connection: what was removed before the answer was lost is answered again.
    let remove = DriveRemove { key: IdempotencyKey::from_bytes(random()), path: path.clone(), expected_version: None };
    let removed = line.ask(|session| {
        session.begin_drive()?;
        session.drive_remove(remove.clone())
    });
    match removed {
        Err(ClientError::Refused(failure)) if failure.code() == FailCode::NotFound => Err(not_found(&path)),
        result => result.map(drop),
    }
}

/// Where a file of the drive goes.
pub enum GetTarget<'t> {
    /// A file on this machine: replaced when everything is there.
    File(&'t Path),
    /// Anything that takes bytes in order.
    Stream(&'t mut dyn Write),
}

/// Fetches a file from the drive; the bytes in it.
///
/// # Errors
/// [`ClientError::NotFound`]; [`ClientError::Damaged`]; [`ClientError::Io`] of the target. A file target then is what it
/// was before.
pub fn get(line: &Line, path: &[u8], target: GetTarget<'_>, monitor: &dyn Monitor) -> Result<u64, ClientError> {
    let path = drive_path(path)?;
    line.ask(check_has_drive)?;
    let item = if path.is_root() { None } else { line.ask(|session| stat(session, path.clone()))? };
    let Some(DriveItem { file: Some(file), .. }) = item else {
        return Err(match item {
            Some(_) => ClientError::Usage(format!("{} is a folder: name a file", shown(&path))),
            None => not_found(&path),
        });
    };
    match target {
        GetTarget::Stream(out) => {
            let failed = |source| ClientError::Io { verb: "write to", path: "standard output".into(), source };
            read_file(line, &file, monitor, &mut |_, bytes| out.write_all(bytes).map_err(failed))?;
            out.flush().map_err(failed)?;
        }
        GetTarget::File(target) => get_file(line, &file, target, monitor)?,
    }
    Ok(file.size)
}

fn get_file(line: &Line, file: &DriveFile, target: &Path, monitor: &dyn Monitor) -> Result<(), ClientError> {
    let suffix = u64::from_le_bytes(random());
    let mut temporary = target.as_os_str().to_owned();
    temporary.push(OsStr::new(&format!(".bk-tmp-{suffix:016x}")));
    let temporary = PathBuf::from(temporary);
    let result = write_whole(line, file, &temporary, monitor)
        .and_then(|()| fs::rename(&temporary, target).map_err(failed("replace", target)));
    if result.is_err() {
        // What failed is told; that a temporary file may be left is not worth hiding it.
        let _ = fs::remove_file(&temporary);
    }
    result
}

fn write_whole(line: &Line, file: &DriveFile, temporary: &Path, monitor: &dyn Monitor) -> Result<(), ClientError> {
    let out = File::create_new(temporary).map_err(failed("create", temporary))?;
    out.set_len(file.size).map_err(failed("write", temporary))?;
    read_file(line, file, monitor, &mut |offset, bytes| {
        // Zeros are holes: the file has its length already.
        if bytes.iter().all(|byte| *byte == 0) {
            return Ok(());
        }
        out.write_all_at(bytes, offset).map_err(failed("write", temporary))
    })?;
    out.set_permissions(fs::Permissions::from_mode(file.mode & 0o777)).map_err(failed("write", temporary))?;
    if let Some(mtime) = system_time(file.mtime) {
        out.set_modified(mtime).map_err(failed("write", temporary))?;
    }
    out.sync_all().map_err(failed("write", temporary))
}

fn failed(verb: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> ClientError {
    let path = path.to_owned();
    move |source| ClientError::Io { verb, path, source }
}

fn system_time((secs, nanos): (i64, u32)) -> Option<SystemTime> {
    let whole = Duration::from_secs(secs.unsigned_abs());
    let base =
        if secs >= 0 { SystemTime::UNIX_EPOCH.checked_add(whole) } else { SystemTime::UNIX_EPOCH.checked_sub(whole) };
    base?.checked_add(Duration::from_nanos(u64::from(nanos)))
}

/// Takes bytes and where in the file they stand.
type WriteAt<'w> = dyn FnMut(u64, &[u8]) -> Result<(), ClientError> + 'w;

/// Calls `write` with the file's bytes in order, each time with their offset.
fn read_file(line: &Line, file: &DriveFile, monitor: &dyn Monitor, write: &mut WriteAt<'_>) -> Result<(), ClientError> {
    const ZEROS: &[u8] = &[0; 64 * 1024];
    let mut lists = Reader::new(line.clone(), Arc::clone(line.keys()), RECENT_BYTES);
    let mut chunks = Reader::new(line.clone(), Arc::clone(line.keys()), RECENT_BYTES);
    let mut pieces = PieceCursor::new(file.content(), file.size);
    let mut offset = 0;
    let mut window: Vec<Piece> = Vec::new();
    let mut window_bytes = 0;
    loop {
        let piece = pieces.next(&mut lists)?;
        if piece.is_none() || window_bytes >= WINDOW_BYTES {
            let ids: Vec<ObjectId> = window.iter().filter_map(chunk_id).collect();
            let mut objects = chunks.objects(&ids)?.into_iter();
            for piece in window.drain(..) {
                match piece {
                    Piece::Chunk { .. } => {
                        let bytes = objects.next().expect("an object per chunk").body;
                        write(offset, &bytes)?;
                        offset += bytes.len() as u64;
                    }
                    Piece::Hole { len } => {
                        let end = offset + len.min(file.size);
                        while offset < end {
                            let len = usize::try_from(end - offset).unwrap_or(ZEROS.len()).min(ZEROS.len());
                            write(offset, &ZEROS[..len])?;
                            offset += len as u64;
                        }
                    }
                }
            }
            Progress::add(&monitor.progress().bytes, window_bytes);
            window_bytes = 0;
        }
        match piece {
            None => break,
            Some(piece) => {
                window_bytes += if matches!(piece, Piece::Chunk { .. }) { piece.span_len() } else { 0 };
                window.push(piece);
            }
        }
    }
    if offset == file.size {
        return Ok(());
    }
    let source = format!("its content has {offset} bytes, its entry says {}", file.size);
    Err(ClientError::Damaged { what: "the file".to_owned(), source: source.into() })
}

fn chunk_id(piece: &Piece) -> Option<ObjectId> {
    match piece {
        Piece::Chunk { id, .. } => Some(*id),
        Piece::Hole { .. } => None,
    }
}

fn stat(session: &Session, path: DrivePath) -> Result<Option<DriveItem>, ClientError> {
    match session.drive_stat(path) {
        Ok(entries) => Ok(entries.entries.into_iter().next().map(item)),
        Err(ClientError::Refused(failure)) if failure.code() == FailCode::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn item(entry: DriveEntry) -> DriveItem {
    let DriveEntry { name, node, mtime, mode, version } = entry;
    let file = match node {
        DriveNode::Directory => None,
        DriveNode::File { size, content } => {
            Some(DriveFile { size, mtime: (mtime.secs(), mtime.nanos()), mode, version, content })
        }
    };
    DriveItem { name: name.map_or_else(Vec::new, |name| name.as_bytes().to_vec()), file }
}

pub(crate) fn drive_path(path: &[u8]) -> Result<DrivePath, ClientError> {
    let names: Vec<&[u8]> = path.split(|byte| *byte == b'/').filter(|name| !name.is_empty()).collect();
    let path = names.join(&b'/');
    let refused = || ClientError::Usage(format!("{} cannot be a path on the drive", String::from_utf8_lossy(&path)));
    DrivePath::new(Bytes::from(path.clone())).ok_or_else(refused)
}

pub(crate) fn shown(path: &DrivePath) -> String {
    String::from_utf8_lossy(path.as_bytes()).into_owned()
}

fn not_found(path: &DrivePath) -> ClientError {
    ClientError::NotFound { what: format!("{} on the drive", shown(path)) }
}
