//! Takes the body of a request in as a file: a thread of its own cuts and stores while the connection brings more. Whatever
//! ends the request early leaves no trace but garbage.

use std::sync::Arc;

use axum::http::StatusCode;
use bytes::Bytes;
use futures_util::Stream;
use proto::{DrivePath, IdempotencyKey};
use serde::{Deserialize, Serialize};
use store::{Account, AccountId, ErrorKind, Purpose, StoreError, Stored, WriteSession};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use utoipa::ToSchema;
use vault::ReadError;

use crate::access::{Action, allowed};
use crate::clock;
use crate::drive::{
    DriveEditor, DriveError, FileVersion, Metadata, NewVersion, UploadError, UploadWriter, Uploaded, timestamp,
};
use crate::ingest::Brought;
use crate::live::Incoming;
use crate::login::Login;
use crate::rest::body::{PATIENCE, Slice, WAITING_MAX, cut_off, feed};
use crate::rest::parse::Conditions;
use crate::rest::problem::Problem;
use crate::rest::{Drive, problem};
use crate::service::Service;
use crate::slots::AccountSlot;

const MODE: u32 = 0o644;

/// A file's bytes, as they are.
#[derive(ToSchema)]
#[schema(value_type = String, format = Binary)]
#[expect(dead_code, reason = "describes a body that is read as it comes")]
pub(super) struct FileBytes(Vec<u8>);

/// What becomes of a file that has the name already.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum OnConflict {
    /// It gets a new version.
    #[default]
    NewVersion,
    /// It stays; the new one is called `name (1).ext`.
    KeepBoth,
    /// It goes to the trash with all its versions.
    Replace,
    /// It stays, and the new one is not taken.
    Skip,
}

impl OnConflict {
    /// Whether whoever is logged in may have it so.
    ///
    /// # Errors
    /// The answer when not: what replaces takes away.
    pub(super) fn check(self, login: &Login) -> Result<(), Problem> {
        match self == Self::Replace && !allowed(login.who(), Action::TakeAway) {
            true => Err(problem::new(StatusCode::FORBIDDEN, "this token takes nothing away")),
            false => Ok(()),
        }
    }
}

/// A file that is to be taken in.
pub(crate) struct Request {
    pub(crate) path: DrivePath,
    pub(crate) on_conflict: OnConflict,
    pub(crate) conditions: Conditions,
    pub(crate) key: IdempotencyKey,
    /// Whether the key may have been used for this before.
    pub(crate) may_repeat: bool,
    /// When the file was changed last, in milliseconds since 1970.
    pub(crate) mtime_ms: Option<i64>,
}

/// What became of it.
pub(crate) struct Taken {
    pub(crate) path: DrivePath,
    pub(crate) version: u64,
    pub(crate) size: u64,
    /// None where nobody has seen all of the file that stayed.
    pub(crate) sha256: Option<[u8; 32]>,
    pub(crate) outcome: Outcome,
    pub(crate) stored: Stored,
    /// What the last request brought of it.
    pub(crate) brought: Brought,
}

impl Taken {
    /// How HTTP says it.
    pub(super) fn status(&self) -> StatusCode {
        if self.outcome == Outcome::Created { StatusCode::CREATED } else { StatusCode::OK }
    }
}

/// What an upload came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Outcome {
    /// There is a file that was not there before.
    Created,
    /// The file has a new version.
    NewVersion,
    /// The file held these very bytes; nothing was changed.
    Identical,
    /// There was a file of this name, which stays as it was.
    Skipped,
}

impl Outcome {
    /// As JSON and headers have it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::NewVersion => "new-version",
            Self::Identical => "identical",
            Self::Skipped => "skipped",
        }
    }
}

/// Takes a body in, of so many bytes where that is known, into the drive of an account.
///
/// # Errors
/// The answer, when it does not become a file.
pub(crate) async fn take<E: std::error::Error>(
    service: &Arc<Service>,
    account: &Account,
    request: Request,
    (body, len): (impl Stream<Item = Result<Bytes, E>> + Unpin, Option<u64>),
) -> Result<Taken, Problem> {
    let slot = slot(service, account.id).await?;
    let incoming = Incoming::new(service, account, Some(&request.path), (0, len));
    let (slices, received) = mpsc::channel(WAITING_MAX);
    let answered =
        on_thread(service, account.id, slot, move |service, drive| work(service, drive, &request, received))?;
    let fed = feed(service, body, slices, &CancellationToken::new(), &incoming).await;
    // The thread has an answer of its own when it stopped first, and that is the cause.
    match (fed, answered.await) {
        (_, Ok(Err(problem))) | (Err(problem), _) => {
            incoming.failed(&problem);
            Err(problem)
        }
        (Ok(()), Ok(Ok(taken))) => {
            incoming.taken(&taken);
            Ok(taken)
        }
        (Ok(()), Err(error)) => Err(problem::internal("taking a file in", &error)),
    }
}

/// Whether a file of so many bytes would be taken in, as far as settings, disk and quota go.
pub(crate) fn check_room(service: &Service, drive: &Drive, len: u64) -> Result<(), Problem> {
    check_len(service, len)?;
    let room = service.home.store.check_room(len);
    let room = room.and_then(|()| service.home.store.check_quota(drive.vault.id, len));
    room.map_err(|error| problem::of_store("taking a file in", &error))
}

/// Whether a file may be so long.
pub(super) fn check_len(service: &Service, len: u64) -> Result<(), Problem> {
    match service.home.settings.max_file_size {
        Some(max) if len > max => Err(too_long(max)),
        _ => Ok(()),
    }
}

fn too_long(max: u64) -> Problem {
    let detail = format!("this server takes files of at most {max} bytes (its setting max-file-size)");
    problem::new(StatusCode::PAYLOAD_TOO_LARGE, &detail)
}

/// What becomes of a file whose name is taken, where that is to be left alone.
pub(super) fn left_alone(present: &FileVersion, path: &DrivePath) -> Taken {
    Taken {
        path: path.clone(),
        version: present.version,
        size: present.size,
        sha256: present.sha256,
        outcome: Outcome::Skipped,
        stored: Stored::default(),
        brought: Brought::default(),
    }
}

/// The right to one of the threads that write. Many uploads at once wait for each other, with their bodies unread.
pub(super) async fn slot(service: &Service, account: AccountId) -> Result<AccountSlot, Problem> {
    let busy = |detail| problem::retry(StatusCode::SERVICE_UNAVAILABLE, detail, PATIENCE);
    let waited = tokio::time::timeout(PATIENCE, service.sessions.wait(account, &service.metrics.sessions));
    tokio::select! {
        slot = waited => slot.map_err(|_| busy("too many uploads and backups are running")),
        () = service.stop.cancelled() => Err(busy("the server is stopping")),
    }
}

/// Starts a thread that works on the drive of an account, and tells what came of it.
pub(super) fn on_thread<T: Send + 'static>(
    service: &Arc<Service>,
    account: AccountId,
    slot: AccountSlot,
    work: impl FnOnce(&Service, &Drive) -> Result<T, Problem> + Send + 'static,
) -> Result<oneshot::Receiver<Result<T, Problem>>, Problem> {
    let (answer, answered) = oneshot::channel();
    let working = Arc::clone(service);
    let counted = service.tasks.token();
    let spawned = std::thread::Builder::new().name("upload".to_owned()).spawn(move || {
        let done = Drive::open(&working, account).and_then(|drive| work(&working, &drive));
        // Whoever asked may be gone.
        let _ = answer.send(done);
        drop((slot, counted));
    });
    spawned.map_err(|error| problem::internal("starting an upload", &error))?;
    Ok(answered)
}

/// A writer for the file that is to be at `path`, compared with what is there now.
pub(super) fn writer(service: &Service, drive: &Drive, path: Option<&DrivePath>) -> Result<UploadWriter, Problem> {
    let store = &service.home.store;
    let before = path.map(|path| present(service, drive, path)).transpose()?.flatten();
    let session = store.begin(drive.vault.id, &Purpose::Drive { device: None }, clock::now());
    let (session, _) = session.map_err(|error| of_store(service, &error))?;
    let previous = before.as_ref().map(|file| (file.content, file.size));
    let keys = &drive.managed().keys;
    let upload = UploadWriter::new((store, drive.vault.id), session, keys, Arc::clone(&service.bases), previous);
    upload.map_err(|error| of_upload(service, &error))
}

fn work(
    service: &Service,
    drive: &Drive,
    request: &Request,
    mut received: mpsc::Receiver<Slice>,
) -> Result<Taken, Problem> {
    let mut upload = writer(service, drive, Some(&request.path))?;
    loop {
        match received.blocking_recv() {
            Some(Slice::Bytes(bytes)) => {
                if let Err(problem) = check_len(service, upload.len() + bytes.len() as u64) {
                    upload.abandon();
                    return Err(problem);
                }
                if let Err(error) = upload.push(&bytes) {
                    upload.abandon();
                    return Err(of_upload(service, &error));
                }
            }
            Some(Slice::End) => break,
            None => {
                upload.abandon();
                return Err(cut_off());
            }
        }
    }
    let (uploaded, mut session) = upload.finish().map_err(|error| of_upload(service, &error))?;
    let mut editor = DriveEditor::new(&service.home.store, &mut session, drive.vault.id, drive.managed());
    let taken = name(service, drive, &mut editor, request, &uploaded);
    end(session);
    taken
}

/// Ends a session whose work is done.
pub(super) fn end(session: WriteSession) {
    if let Err(error) = session.finish(clock::now()) {
        tracing::debug!(%error, "a session could not be ended");
    }
}

/// Gives the file its name, unless what has the name is the same.
pub(super) fn name(
    service: &Service,
    drive: &Drive,
    editor: &mut DriveEditor<'_>,
    request: &Request,
    uploaded: &Uploaded,
) -> Result<Taken, Problem> {
    let Uploaded { content, size, sha256, brought } = *uploaded;
    let present = present(service, drive, &request.path)?;
    let version = present.as_ref().map(|file| file.version);
    if !request.may_repeat && !request.conditions.hold(version) {
        return Err(changed());
    }
    let taken = |path: &DrivePath, version, outcome, stored| {
        let path = path.clone();
        Taken { path, version, size, sha256: Some(sha256), outcome, stored, brought }
    };
    if let Some(present) = present.as_ref().filter(|file| file.content == content && request.conditions.hold(version)) {
        editor.leave(request.key).map_err(|error| problem::of_drive("naming a file", &error))?;
        return Ok(taken(&request.path, present.version, Outcome::Identical, Stored::default()));
    }
    if let Some(present) = present.as_ref().filter(|_| request.on_conflict == OnConflict::Skip) {
        editor.leave(request.key).map_err(|error| problem::of_drive("naming a file", &error))?;
        return Ok(Taken { brought, ..left_alone(present, &request.path) });
    }
    let new = NewVersion {
        path: request.path.clone(),
        content,
        size,
        metadata: Metadata { mtime: request.mtime_ms.map(timestamp), mode: MODE, sha256: Some(sha256) },
        expected_version: request.conditions.expected_version(version),
    };
    let done = match request.on_conflict {
        OnConflict::NewVersion => editor.put(request.key, &new).map(|done| (request.path.clone(), done)),
        // Whatever got the name meanwhile stays, too.
        OnConflict::Skip => {
            let new = NewVersion { expected_version: Some(0), ..new.clone() };
            editor.put(request.key, &new).map(|done| (request.path.clone(), done))
        }
        OnConflict::KeepBoth => editor.put_beside(request.key, &new),
        OnConflict::Replace => editor.replace(request.key, &new).map(|done| (request.path.clone(), done)),
    };
    let (path, done) = done.map_err(|error| match &error {
        DriveError::Store(cause) if cause.kind() == ErrorKind::Conflict && new.expected_version.is_some() => changed(),
        DriveError::Store(cause) => of_store(service, cause),
        error => problem::of_drive("naming a file", error),
    })?;
    service.metrics.commits.add(1);
    let is_new = present.is_none() || request.on_conflict != OnConflict::NewVersion;
    let outcome = if is_new { Outcome::Created } else { Outcome::NewVersion };
    Ok(taken(&path, done.versions.last().copied().unwrap_or_default(), outcome, done.stored))
}

/// The file that has this name now.
pub(super) fn present(service: &Service, drive: &Drive, path: &DrivePath) -> Result<Option<FileVersion>, Problem> {
    match drive.view(service).look(path) {
        Ok(None) => Err(problem::new(StatusCode::CONFLICT, "a directory has this name")),
        Ok(file) => Ok(file),
        Err(DriveError::NotFound) => Ok(None),
        Err(error) => Err(problem::of_drive("looking for a file", &error)),
    }
}

fn changed() -> Problem {
    problem::new(StatusCode::PRECONDITION_FAILED, "the file is not, or not any more, what the request expects")
}

pub(super) fn of_upload(service: &Service, error: &UploadError) -> Problem {
    match error {
        UploadError::Store(error) | UploadError::Read(ReadError::Source(error)) => of_store(service, error),
        error => problem::internal("taking a file in", error),
    }
}

pub(super) fn of_store(service: &Service, error: &StoreError) -> Problem {
    service.note(error);
    problem::of_store("taking a file in", error)
}
