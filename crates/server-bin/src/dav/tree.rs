//! [`Tree`]: the drive as `dav-server` sees it, for one request. That library speaks the protocol; every change here is one
//! commit of ours, of a folder as a whole.

use std::future::ready;
use std::io::SeekFrom;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::body::{Body, BodyDataStream};
use axum::http::{HeaderMap, Method, StatusCode};
use bytes::{Buf, Bytes};
use dav_server::davpath::DavPath;
use dav_server::fs::{
    DavDirEntry, DavFile, DavMetaData, DavProp, FsError, FsFuture, FsResult, FsStream, GuardedFileSystem, OpenOptions,
    ReadDirMeta,
};
use futures_util::stream;
use proto::{DrivePath, Timestamp};

use crate::access::{Action, allowed};
use crate::audit::Event;
use crate::drive::{DriveEditor, DriveError, FileVersion, Property};
use crate::live::{Activity, ActivityKind, refused};
use crate::login::Login;
use crate::rest::parse::{ChangeKey, Conditions, encoded, path as parsed};
use crate::rest::problem::{self, Problem};
use crate::rest::upload::{OnConflict, Request, check_room, take};
use crate::rest::{Drive, change_on};
use crate::service::Service;

pub(super) const LOCK: &str = "LOCK";
const COPY: &str = "COPY";
/// Longest name and element of one property, and how many an entry has.
const PROPERTY_LEN_MAX: usize = 4 << 10;
const PROPERTIES_MAX: usize = 64;
/// Of all together; sealed and as JSON they are a little longer.
const PROPERTIES_LEN_MAX: usize = 6 << 10;

/// The answer that the library has no words for.
#[derive(Clone, Debug, Default)]
pub(super) struct Refusal(Arc<Mutex<Option<Problem>>>);

impl Refusal {
    /// The first counts.
    pub(super) fn set(&self, problem: Problem) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(problem);
    }

    pub(super) fn take(&self) -> Option<Problem> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// What a request wants, as far as the library does not tell.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) method: Method,
    pub(super) path: DrivePath,
    /// What is in a folder stays out of its copy.
    pub(super) is_shallow: bool,
    pub(super) conditions: Conditions,
    /// Length of the body, if it is said.
    pub(super) len: Option<u64>,
    /// When the file was changed last, in milliseconds since 1970.
    pub(super) mtime_ms: Option<i64>,
}

/// The drive, for one request.
#[derive(Clone, Debug)]
pub(super) struct Tree {
    pub(super) service: Arc<Service>,
    pub(super) login: Arc<Login>,
    pub(super) drive: Arc<Drive>,
    pub(super) asked: Arc<Asked>,
    /// The file that comes, until it is taken in.
    pub(super) body: Arc<Mutex<Option<BodyDataStream>>>,
    /// What is in the way of a copy or move, which goes to the trash with the same commit.
    pub(super) replaced: Arc<Mutex<Option<DrivePath>>>,
    pub(super) refusal: Refusal,
}

fn path_of(path: &DavPath) -> FsResult<DrivePath> {
    let path = path.as_bytes();
    let path = path.strip_prefix(b"/").unwrap_or(path);
    parsed(&encoded(path.strip_suffix(b"/").unwrap_or(path))).map_err(|_| FsError::Forbidden)
}

impl Tree {
    /// Takes a failure down, and tells the library what comes closest.
    fn refuse(&self, problem: Problem) -> FsError {
        let error = match problem.status() {
            StatusCode::NOT_FOUND => FsError::NotFound,
            StatusCode::FORBIDDEN => FsError::Forbidden,
            StatusCode::INSUFFICIENT_STORAGE => FsError::InsufficientStorage,
            StatusCode::PAYLOAD_TOO_LARGE => FsError::TooLarge,
            _ => FsError::GeneralFailure,
        };
        // That nothing is there is no failure yet: the library asks before it makes something.
        if error != FsError::NotFound {
            self.refusal.set(problem);
        }
        error
    }

    /// Looks something up.
    async fn look<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Service, &Drive) -> Result<T, Problem> + Send + 'static,
    ) -> FsResult<T> {
        let (service, drive) = (Arc::clone(&self.service), Arc::clone(&self.drive));
        let done = self.service.pool.run(move || work(&service, &drive)).await;
        let done = done.unwrap_or_else(|error| Err(problem::internal("using the drive", &error)));
        done.map_err(|problem| self.refuse(problem))
    }

    /// Changes the drive, and takes what is in the way to the trash.
    async fn change(
        &self,
        edit: impl FnOnce(&mut DriveEditor<'_>, proto::IdempotencyKey) -> Result<store::DriveCommitted, DriveError>
        + Send
        + 'static,
    ) -> FsResult<()> {
        let replaced = self.replaced.lock().unwrap_or_else(PoisonError::into_inner).take();
        let changed = self.look(move |service, drive| {
            let key = ChangeKey::of(&HeaderMap::new())?.key;
            change_on(service, drive, |editor| edit(&mut editor.replacing(replaced.as_ref()), key))
        });
        changed.await.map(drop)
    }

    /// Moves an entry to the trash, at once or with what takes its place.
    async fn remove(&self, path: &DavPath) -> FsResult<()> {
        let path = path_of(path)?;
        if self.asked.method != Method::DELETE {
            if !allowed(self.login.who(), Action::TakeAway) {
                let detail = "something is there, and this token takes nothing away";
                return Err(self.refuse(problem::new(StatusCode::FORBIDDEN, detail)));
            }
            *self.replaced.lock().unwrap_or_else(PoisonError::into_inner) = Some(path);
            return Ok(());
        }
        let expected = self.asked.conditions.expected_version(None).filter(|version| *version > 0);
        let activity = Activity::of_drive(ActivityKind::Delete, &self.login.account, &path, String::new());
        self.change(move |editor, key| editor.remove(key, &path, expected)).await?;
        self.service.feed.push(activity);
        let login = Arc::clone(&self.login);
        self.look(move |service, _| {
            login.actor().note(&service.home.store, Event::DriveRemoved, &login.account.name, "");
            Ok(())
        })
        .await
    }

    /// Whether something is in the place of a file that is to be, and whether that is one.
    async fn look_at_place(&self, path: &DrivePath) -> FsResult<Option<FileVersion>> {
        let (path, len) = (path.clone(), self.asked.len.unwrap_or_default());
        self.look(move |service, drive| {
            let view = drive.view(service);
            let of_drive = |error: &DriveError| problem::of_drive("looking for a file", error);
            let parent = path.parent().ok_or_else(|| problem::new(StatusCode::CONFLICT, "the root is a folder"))?;
            if view.look(&parent).map_err(|error| of_drive(&error))?.is_some() {
                return Err(problem::new(StatusCode::CONFLICT, "a file has the name of a folder on the way"));
            }
            let room = check_room(service, drive, len);
            room.inspect_err(|problem| refused(service, &drive.vault, &path, problem))?;
            match view.look(&path) {
                Ok(None) => Err(problem::new(StatusCode::CONFLICT, "a directory has this name")),
                Ok(found) => Ok(found),
                Err(DriveError::NotFound) => Ok(None),
                Err(error) => Err(of_drive(&error)),
            }
        })
        .await
    }

    /// Takes a file in, whole or not at all.
    async fn take_in(&self, path: DrivePath, body: BodyDataStream) -> FsResult<Meta> {
        let taken = async {
            let request = Request {
                path,
                on_conflict: OnConflict::NewVersion,
                conditions: self.asked.conditions.clone(),
                key: ChangeKey::of(&HeaderMap::new())?.key,
                may_repeat: false,
                mtime_ms: self.asked.mtime_ms,
            };
            take(&self.service, &self.login.account, request, (body, self.asked.len)).await
        };
        let taken = taken.await.map_err(|problem| self.refuse(problem))?;
        Ok(Meta { file: Some((taken.version, taken.size)), mtime: None })
    }

    async fn properties(&self, path: DrivePath) -> FsResult<Vec<Property>> {
        self.look(move |service, drive| {
            let found = drive.view(service).properties(&path);
            found.map(|found| found.0).map_err(|error| problem::of_drive("reading properties", &error))
        })
        .await
    }
}

/// What is known of a file or folder.
#[derive(Clone, Debug)]
pub(super) struct Meta {
    /// Version and size.
    file: Option<(u64, u64)>,
    mtime: Option<SystemTime>,
}

/// `None` for what HTTP has no words for.
pub(super) fn system_time(moment: Timestamp) -> Option<SystemTime> {
    // HTTP writes years of four digits.
    const SECONDS_MAX: u64 = 253_402_300_799;
    let secs = u64::try_from(moment.secs()).ok().filter(|secs| *secs <= SECONDS_MAX)?;
    UNIX_EPOCH.checked_add(Duration::new(secs, moment.nanos()))
}

impl DavMetaData for Meta {
    fn len(&self) -> u64 {
        self.file.map_or(0, |(_, size)| size)
    }

    fn modified(&self) -> FsResult<SystemTime> {
        self.mtime.ok_or(FsError::NotImplemented)
    }

    fn is_dir(&self) -> bool {
        self.file.is_none()
    }

    fn etag(&self) -> Option<String> {
        self.file.map(|(version, _)| version.to_string())
    }
}

/// A file that is to be taken in. The library is given an empty body: the true one goes straight to the thread that
/// stores it.
#[derive(Debug)]
struct Incoming {
    tree: Tree,
    path: DrivePath,
    taken: Option<Meta>,
}

impl DavFile for Incoming {
    fn metadata(&'_ mut self) -> FsFuture<'_, Box<dyn DavMetaData>> {
        let taken = self.taken.clone().map(|meta| Box::new(meta) as Box<dyn DavMetaData>);
        Box::pin(ready(taken.ok_or(FsError::NotFound)))
    }

    fn write_buf(&'_ mut self, _buf: Box<dyn Buf + Send>) -> FsFuture<'_, ()> {
        Box::pin(ready(Err(FsError::NotImplemented)))
    }

    fn write_bytes(&'_ mut self, _buf: Bytes) -> FsFuture<'_, ()> {
        Box::pin(ready(Err(FsError::NotImplemented)))
    }

    fn read_bytes(&'_ mut self, _count: usize) -> FsFuture<'_, Bytes> {
        Box::pin(ready(Err(FsError::NotImplemented)))
    }

    fn seek(&'_ mut self, _pos: SeekFrom) -> FsFuture<'_, u64> {
        Box::pin(ready(Err(FsError::NotImplemented)))
    }

    fn flush(&'_ mut self) -> FsFuture<'_, ()> {
        Box::pin(async move {
            let body = self.tree.body.lock().unwrap_or_else(PoisonError::into_inner).take();
            let body = body.ok_or(FsError::GeneralFailure)?;
            self.taken = Some(self.tree.take_in(self.path.clone(), body).await?);
            Ok(())
        })
    }
}

impl GuardedFileSystem<()> for Tree {
    fn open<'a>(&'a self, path: &'a DavPath, options: OpenOptions, (): &'a ()) -> FsFuture<'a, Box<dyn DavFile>> {
        Box::pin(async move {
            let path = path_of(path)?;
            if !options.write {
                return Err(FsError::NotImplemented);
            }
            let found = self.look_at_place(&path).await?;
            if options.create_new && found.is_some() {
                return Err(FsError::Exists);
            }
            if !options.create && found.is_none() {
                return Err(FsError::NotFound);
            }
            let mut file = Incoming { tree: self.clone(), path: path.clone(), taken: None };
            // A lock on nothing makes an empty file.
            if self.asked.method == LOCK {
                file.taken = Some(self.take_in(path, Body::empty().into_data_stream()).await?);
            }
            Ok(Box::new(file) as Box<dyn DavFile>)
        })
    }

    fn read_dir<'a>(
        &'a self,
        _path: &'a DavPath,
        _meta: ReadDirMeta,
        (): &'a (),
    ) -> FsFuture<'a, FsStream<Box<dyn DavDirEntry>>> {
        // What changes a folder changes it as a whole: the library does not go through it.
        Box::pin(ready(Ok(Box::pin(stream::empty()) as FsStream<Box<dyn DavDirEntry>>)))
    }

    fn metadata<'a>(&'a self, path: &'a DavPath, (): &'a ()) -> FsFuture<'a, Box<dyn DavMetaData>> {
        Box::pin(async move {
            let path = path_of(path)?;
            let found = self.look(move |service, drive| {
                let found = drive.view(service).look(&path);
                found.map_err(|error| problem::of_drive("looking for an entry", &error))
            });
            let found = found.await?;
            let meta = Meta {
                file: found.as_ref().map(|file| (file.version, file.size)),
                mtime: found.as_ref().and_then(|file| system_time(file.mtime)),
            };
            Ok(Box::new(meta) as Box<dyn DavMetaData>)
        })
    }

    fn create_dir<'a>(&'a self, path: &'a DavPath, (): &'a ()) -> FsFuture<'a, ()> {
        Box::pin(async move {
            let path = path_of(path)?;
            if self.asked.method == COPY && !self.asked.is_shallow {
                let from = self.asked.path.clone();
                return self.change(move |editor, key| editor.copy(key, &from, &path)).await;
            }
            let looked = path.clone();
            let is_free = self.look(move |service, drive| {
                let look = |path: &DrivePath| match drive.view(service).look(path) {
                    Ok(found) => Ok(Some(found.is_some())),
                    Err(DriveError::NotFound) => Ok(None),
                    Err(error) => Err(problem::of_drive("looking for a folder", &error)),
                };
                let parent = looked.parent().map(|parent| look(&parent)).transpose()?.flatten();
                match (look(&looked)?, parent) {
                    (Some(_), _) => Ok(Err(FsError::Exists)),
                    // Under a file, or under nothing.
                    (None, Some(true) | None) => Ok(Err(FsError::NotFound)),
                    (None, Some(false)) => Ok(Ok(())),
                }
            });
            let is_replaced = self.replaced.lock().unwrap_or_else(PoisonError::into_inner).is_some();
            match is_free.await? {
                Err(FsError::Exists) if is_replaced => {}
                is_free => is_free?,
            }
            self.change(move |editor, key| editor.make_directory(key, &path)).await
        })
    }

    fn remove_dir<'a>(&'a self, path: &'a DavPath, (): &'a ()) -> FsFuture<'a, ()> {
        Box::pin(self.remove(path))
    }

    fn remove_file<'a>(&'a self, path: &'a DavPath, (): &'a ()) -> FsFuture<'a, ()> {
        Box::pin(self.remove(path))
    }

    fn rename<'a>(&'a self, from: &'a DavPath, to: &'a DavPath, (): &'a ()) -> FsFuture<'a, ()> {
        Box::pin(async move {
            let (from, to) = (path_of(from)?, path_of(to)?);
            let expected = self.asked.conditions.expected_version(None).filter(|version| *version > 0);
            let activity = Activity::of_moving(&self.login.account, &from, &to);
            self.change(move |editor, key| editor.move_to(key, &from, &to, expected)).await?;
            self.service.feed.push(activity);
            Ok(())
        })
    }

    fn copy<'a>(&'a self, from: &'a DavPath, to: &'a DavPath, (): &'a ()) -> FsFuture<'a, ()> {
        Box::pin(async move {
            let (from, to) = (path_of(from)?, path_of(to)?);
            self.change(move |editor, key| editor.copy(key, &from, &to)).await
        })
    }

    fn have_props<'a>(&'a self, _path: &'a DavPath, (): &'a ()) -> Pin<Box<dyn Future<Output = bool> + Send + 'a>> {
        Box::pin(ready(true))
    }

    fn patch_props<'a>(
        &'a self,
        path: &'a DavPath,
        patch: Vec<(bool, DavProp)>,
        (): &'a (),
    ) -> FsFuture<'a, Vec<(StatusCode, DavProp)>> {
        Box::pin(async move {
            let path = path_of(path)?;
            let known = self.properties(path.clone()).await?;
            let answers: Vec<DavProp> =
                patch.iter().map(|(_, property)| DavProp { xml: None, ..property.clone() }).collect();
            let say = |status: StatusCode| answers.into_iter().map(|property| (status, property)).collect();
            let patch: Vec<(bool, Property)> = patch
                .into_iter()
                .map(|(is_set, property)| {
                    let xml = String::from_utf8(property.xml.unwrap_or_default()).unwrap_or_default();
                    let namespace = property.namespace.unwrap_or_default();
                    (is_set, Property { namespace, name: property.name, prefix: property.prefix, xml })
                })
                .collect();
            let len = |property: &Property| property.xml.len() + property.name.len() + property.namespace.len();
            let set = || patch.iter().filter(|(is_set, _)| *is_set).map(|(_, property)| property);
            let len_sum: usize = set().chain(&known).map(len).sum();
            if set().any(|property| len(property) > PROPERTY_LEN_MAX)
                || set().count() + known.len() > PROPERTIES_MAX
                || len_sum > PROPERTIES_LEN_MAX
            {
                return Ok(say(StatusCode::INSUFFICIENT_STORAGE));
            }
            self.change(move |editor, key| {
                editor.set_properties(key, &path, |properties| {
                    for (is_set, property) in patch {
                        match is_set {
                            true => properties.set(property),
                            false => properties.remove(&property.namespace, &property.name),
                        }
                    }
                })
            })
            .await?;
            Ok(say(StatusCode::OK))
        })
    }
}
