//! Taking snapshots away and getting them back: [`forget`], [`undelete`], [`hold`], [`unhold`]; the same for the drive:
//! [`drive_trash`], [`undelete_path`].

use object::ObjectId;
use proto::{ChangeKind, DrivePath, DriveTrash, DriveUndelete, FailCode, IdempotencyKey, Ids, SnapshotChange};

use crate::browse::{self, SnapshotName};
use crate::drive::{check_has_drive, drive_path, shown};
use crate::error::ClientError;
use crate::line::Line;
use crate::random::random;
use crate::session::Session;

/// Snapshots changed at once.
const CHANGES_AT_ONCE: usize = proto::limits::CHANGE_COUNT_MAX;
const TRASH_PAGE_LEN: u32 = 500;

/// What was changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChangeReport {
    /// The snapshots that were named.
    pub snapshots: Vec<ObjectId>,
    /// How many of them were not so before.
    pub changed: u64,
    /// When the server made the change, in milliseconds since 1970 by its clock.
    pub server_time_ms: u64,
}

/// Something that was removed from the drive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrashedFile {
    /// Where it was.
    pub path: Vec<u8>,
    /// Bytes in a file; `None` for a folder.
    pub size: Option<u64>,
    /// When it was removed, in milliseconds since 1970.
    pub trashed_ms: u64,
    /// From when on it may be gone for good.
    pub purge_ms: u64,
}

/// Moves snapshots to the trash, all or none. The server refuses those that are held, and those that are too young.
///
/// # Errors
/// [`ClientError::NotFound`]; [`ClientError::Refused`].
pub fn forget(line: &Line, names: &[SnapshotName], chain: Option<&str>) -> Result<ChangeReport, ClientError> {
    change(line, ChangeKind::Forget, browse::resolve_all(line, names, chain, &[false])?)
}

/// Brings snapshots back from the trash.
///
/// # Errors
/// [`ClientError::NotFound`]; [`ClientError::Refused`].
pub fn undelete(line: &Line, names: &[SnapshotName], chain: Option<&str>) -> Result<ChangeReport, ClientError> {
    change(line, ChangeKind::Undelete, browse::resolve_all(line, names, chain, &[true])?)
}

/// Makes the server keep snapshots, wherever they are, until they are let go.
///
/// # Errors
/// [`ClientError::NotFound`]; [`ClientError::Refused`].
pub fn hold(line: &Line, names: &[SnapshotName], chain: Option<&str>) -> Result<ChangeReport, ClientError> {
    change(line, ChangeKind::Hold, browse::resolve_all(line, names, chain, &[false, true])?)
}

/// Ends a hold.
///
/// # Errors
/// [`ClientError::NotFound`]; [`ClientError::Refused`].
pub fn unhold(line: &Line, names: &[SnapshotName], chain: Option<&str>) -> Result<ChangeReport, ClientError> {
    change(line, ChangeKind::Unhold, browse::resolve_all(line, names, chain, &[false, true])?)
}

fn change(line: &Line, kind: ChangeKind, snapshots: Vec<ObjectId>) -> Result<ChangeReport, ClientError> {
    if snapshots.len() > CHANGES_AT_ONCE {
        return Err(ClientError::Usage(format!("at most {CHANGES_AT_ONCE} snapshots can be changed at once")));
    }
    let key = IdempotencyKey::from_bytes(random());
    let request = SnapshotChange { key, kind, snapshots: Ids::from_iter(&snapshots) };
    let changed = line.ask(|session| session.change_snapshots(request.clone()))?;
    Ok(ChangeReport { snapshots, changed: changed.count, server_time_ms: changed.server_time_ms })
}

/// What was removed from the drive and can be brought back, newest first.
///
/// # Errors
/// [`ClientError`].
pub fn drive_trash(line: &Line) -> Result<Vec<TrashedFile>, ClientError> {
    line.ask(check_has_drive)?;
    let mut files = Vec::new();
    let mut before = None;
    loop {
        let request = DriveTrash { before, limit: TRASH_PAGE_LEN };
        let answer = line.ask(|session| session.drive_trash(request))?;
        files.extend(answer.items.into_iter().map(|item| TrashedFile {
            path: item.path.as_bytes().to_vec(),
            size: item.size,
            trashed_ms: item.trashed_ms,
            purge_ms: item.purge_ms,
        }));
        before = answer.next;
        if before.is_none() {
            return Ok(files);
        }
    }
}

/// Brings files or folders of the drive back to where they were; of several removed there, the one removed last.
///
/// # Errors
/// [`ClientError::NotFound`]; [`ClientError::Refused`] when something else has the name now. Those before are back.
pub fn undelete_path(session: &Session, paths: &[Vec<u8>]) -> Result<(), ClientError> {
    check_has_drive(session)?;
    let paths: Vec<DrivePath> = paths.iter().map(|path| drive_path(path)).collect::<Result<_, _>>()?;
    if paths.iter().any(DrivePath::is_root) {
        return Err(ClientError::Usage("the root of the drive is never in the trash".to_owned()));
    }
    session.begin_drive()?;
    for path in paths {
        let undelete = DriveUndelete { key: IdempotencyKey::from_bytes(random()), path: path.clone() };
        match session.drive_undelete(undelete) {
            Err(ClientError::Refused(failure)) if failure.code() == FailCode::NotFound => {
                return Err(ClientError::NotFound { what: format!("{} in the drive's trash", shown(&path)) });
            }
            result => result?,
        };
    }
    Ok(())
}
