//! `/api/v1/uploads`: tus 1.0, uploads that survive whatever breaks on the way (<https://tus.io/protocols/resumable-upload>).
//!
//! An offset that was told survives a power loss: what is stored of a file is a root of the catalog, and what is behind that
//! stands in the catalog's row (decision 28). It never shrinks. Who asks how far an upload is stops whoever is at work on
//! it, so that the answer stays true until they go on.

mod announced;
mod checksum;
mod concat;
#[cfg(fuzzing)]
pub(crate) mod fuzzing;
mod part;
mod turns;

use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::body::{Body, HttpBody};
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use base64ct::{Base64, Encoding};
use proto::DrivePath;
use serde::Serialize;
use store::{AccountId, NewUpload, StoreError, UnixMs, Upload, UploadId};
use time::OffsetDateTime;
use tokio::sync::mpsc;
use utoipa::ToSchema;

use crate::clock;
use crate::drive::DriveError;
use crate::live::{Incoming, refused};
use crate::login::Login;
use crate::rest::body::{WAITING_MAX, feed};
use crate::rest::content::REPR_DIGEST;
use crate::rest::entries::Page;
use crate::rest::files::href;
use crate::rest::paging::PageQuery;
use crate::rest::parse::{ChangeKey, encoded, etag};
use crate::rest::problem::{Problem, ProblemBody};
use crate::rest::tus::announced::{Announced, Becomes};
use crate::rest::tus::checksum::{ALGORITHMS, Checksum};
use crate::rest::tus::part::{Came, Part, beyond};
use crate::rest::tus::turns::Turn;
pub(crate) use crate::rest::tus::turns::Turns;
use crate::rest::upload::{FileBytes, Taken, check_room, on_thread, present, slot};
use crate::rest::{Drive, json, problem, with_drive};
use crate::service::Service;

const PREFIX: &str = "/api/v1/uploads/";
const VERSION: HeaderValue = HeaderValue::from_static("1.0.0");
const EXTENSIONS: &str = "creation,creation-with-upload,termination,checksum,expiration,concatenation";
const CONTENT: &str = "application/offset+octet-stream";
/// Longest file: what numbers in JSON are exact up to.
pub(super) const LEN_MAX: u64 = (1 << 53) - 1;
/// Most uploads of a drive that are not complete.
const OPEN_MAX: u64 = 256;

const TUS_RESUMABLE: HeaderName = HeaderName::from_static("tus-resumable");
const TUS_VERSION: HeaderName = HeaderName::from_static("tus-version");
const UPLOAD_LENGTH: HeaderName = HeaderName::from_static("upload-length");
const UPLOAD_OFFSET: HeaderName = HeaderName::from_static("upload-offset");
const UPLOAD_EXPIRES: HeaderName = HeaderName::from_static("upload-expires");
const UPLOAD_OUTCOME: HeaderName = HeaderName::from_static("upload-outcome");
const UPLOAD_STORED: HeaderName = HeaderName::from_static("upload-stored");

/// What of tus is spoken here.
#[utoipa::path(
    options,
    path = "/api/v1/uploads",
    security(()),
    responses((status = 204, description = "`Tus-Version`, `Tus-Extension`, `Tus-Max-Size`, `Tus-Checksum-Algorithm`"))
)]
pub(crate) async fn terms(State(service): State<Arc<Service>>) -> Response {
    let len_max = service.home.settings.max_file_size.unwrap_or(LEN_MAX).min(LEN_MAX);
    let headers = [
        (TUS_RESUMABLE, VERSION),
        (TUS_VERSION, VERSION),
        (HeaderName::from_static("tus-extension"), HeaderValue::from_static(EXTENSIONS)),
        (HeaderName::from_static("tus-max-size"), HeaderValue::from(len_max)),
        (HeaderName::from_static("tus-checksum-algorithm"), HeaderValue::from_static(ALGORITHMS)),
    ];
    (StatusCode::NO_CONTENT, headers).into_response()
}

/// A file that is not complete yet.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct UnfinishedUpload {
    /// The upload's address.
    href: String,
    /// Where the file goes, each name percent-encoded; none for a part.
    path: Option<String>,
    size: u64,
    /// Bytes that are here.
    offset: u64,
    /// When the file was changed last, in milliseconds since 1970, where that was said.
    mtime_ms: Option<i64>,
    /// Until when it is kept, if nothing more comes.
    expires_ms: i64,
}

/// Files that are not complete yet, those first that something came of last.
#[utoipa::path(
    get,
    path = "/api/v1/uploads",
    params(PageQuery),
    responses((status = 200, description = "A page", body = Page<UnfinishedUpload>), ProblemBody)
)]
pub(crate) async fn list(
    State(service): State<Arc<Service>>,
    Extension(login): Extension<Arc<Login>>,
    uri: Uri,
) -> Result<Response, Problem> {
    let asked = PageQuery::of(&uri)?;
    let page = with_drive(&service, &login, |service, drive| {
        let uploads = service.home.store.uploads(drive.vault.id);
        let uploads = uploads.map_err(|error| problem::of_store("listing uploads", &error))?;
        let keys = &drive.managed().keys;
        let items =
            uploads.into_iter().filter(|(_, upload)| !is_expired(service, upload)).filter_map(|(id, upload)| {
                let announced = Announced::open(upload.sealed_request.clone(), keys, id)?;
                let place = match &announced.becomes {
                    Becomes::Part => None,
                    Becomes::File { place, .. } => Some(place),
                };
                Some(UnfinishedUpload {
                    href: href_of(service, id),
                    path: place.map(|place| encoded(place.path.as_bytes())),
                    size: upload.len,
                    offset: upload.offset,
                    mtime_ms: place.and_then(|place| place.mtime_ms),
                    expires_ms: expires(service, &upload).0,
                })
            });
        let (items, next) = asked.cut(items.collect(), |upload: &UnfinishedUpload| upload.href.clone())?;
        Ok(Page { items, next })
    });
    Ok(json(StatusCode::OK, &page.await?))
}

/// Announces a file (tus: creation, with upload; concatenation).
///
/// `Upload-Metadata` says `path` (names with / between them, each percent-encoded) or `filename` (one name), and may say
/// `mtime_ms` and `conflict`: `new-version`, `keep-both`, `replace` or `skip`. Announced again under the same key, it is the
/// same upload, as long as that is known.
#[utoipa::path(
    post,
    path = "/api/v1/uploads",
    params(
        ("Tus-Resumable" = String, Header, description = "1.0.0"),
        ("Upload-Length" = Option<u64>, Header, description = "Bytes of the file; of all but `Upload-Concat: final`"),
        ("Upload-Metadata" = Option<String>, Header, description = "Keys, each with a value in base64; at most 4 KiB"),
        ("Upload-Concat" = Option<String>, Header, description = "`partial`, or `final;` and addresses of parts"),
        ("Upload-Checksum" = Option<String>, Header, description = "Of the bytes in this request"),
        (
            "If-Match" = Option<String>,
            Header,
            description = "Entity tags: 412 when the file has none of these versions",
        ),
        (
            "If-None-Match" = Option<String>,
            Header,
            description = "`*`: only when there is no such file; entity tags: not when it has one of these versions",
        ),
        ("Idempotency-Key" = Option<String>, Header, description = "1 to 128 bytes"),
    ),
    request_body(content = Option<FileBytes>, content_type = "application/offset+octet-stream"),
    responses((status = 201, description = "`Location` is its address, `Upload-Offset` how much is here"), ProblemBody)
)]
pub(crate) async fn create(
    State(service): State<Arc<Service>>,
    Extension(login): Extension<Arc<Login>>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    spoken(create_upload(&service, &login, &headers, body).await)
}

async fn create_upload(
    service: &Arc<Service>,
    login: &Login,
    headers: &HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    check_version(headers)?;
    if headers.contains_key("upload-defer-length") {
        return Err(bad("the length of a file is to be known when it is announced: say Upload-Length"));
    }
    let announced = Announced::of(headers)?;
    if let Becomes::File { place, .. } = &announced.becomes {
        place.on_conflict.check(login)?;
    }
    if let Becomes::File { parts: Some(parts), .. } = &announced.becomes {
        let parts = parts.clone();
        let (id, came) = concat::put_together(service, login, announced, parts).await?;
        return Ok(created(service, id, &came));
    }
    let len = number(headers, &UPLOAD_LENGTH)?.ok_or_else(|| bad("say Upload-Length: how many bytes the file has"))?;
    if len > LEN_MAX {
        let detail = format!("a file has at most {LEN_MAX} bytes");
        return Err(problem::new(StatusCode::PAYLOAD_TOO_LARGE, &detail));
    }
    let brings = brings(headers, &body)?;
    if brings.is_some_and(|body_len| body_len > len) {
        return Err(beyond(len));
    }
    let checksum = Checksum::of(headers)?;
    let path = announced.path().cloned();
    let id = id_under(login.account_id(), &ChangeKey::of(headers)?);
    let here = with_drive(service, login, move |service, drive| announce(service, drive, id, len, &announced)).await?;
    if here > 0 || brings.is_none() && len > 0 {
        return Ok(with_expiry(service, created(service, id, &Came::Here(here))));
    }
    let turn = service.turns.take_over(id).await.ok_or_else(busy)?;
    match receive(service, login, turn, Part { upload: id, offset: 0, path, checksum }, (body, len)).await {
        Ok(came) => Ok(with_expiry(service, created(service, id, &came))),
        // It is there, and whoever has its address can go on.
        Err(problem) => Err(problem.with(header::LOCATION, location(service, id))),
    }
}

/// How much of a file is here.
#[utoipa::path(
    head,
    path = "/api/v1/uploads/{id}",
    params(
        ("id" = String, Path, description = "As `Location` said it"),
        ("Tus-Resumable" = String, Header, description = "1.0.0"),
    ),
    responses((status = 200, description = "`Upload-Offset`, `Upload-Length`, `Upload-Expires`"), ProblemBody)
)]
pub(crate) async fn head(
    State(service): State<Arc<Service>>,
    Extension(login): Extension<Arc<Login>>,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    spoken(how_far(&service, &login, &uri, &headers).await)
}

async fn how_far(service: &Arc<Service>, login: &Login, uri: &Uri, headers: &HeaderMap) -> Result<Response, Problem> {
    check_version(headers)?;
    let id = id(uri)?;
    let (upload, announced) = with_drive(service, login, move |service, drive| find(service, drive, id)).await?;
    let is_joined = matches!(announced.becomes, Becomes::File { parts: Some(_), .. });
    let upload = match upload.is_done || is_joined {
        true => upload,
        false => {
            let _turn = service.turns.take_over(id).await.ok_or_else(busy)?;
            with_drive(service, login, move |service, drive| find(service, drive, id)).await?.0
        }
    };
    let mut response = StatusCode::OK.into_response();
    let answer = response.headers_mut();
    answer.extend(announced.repeated());
    answer.insert(UPLOAD_LENGTH, HeaderValue::from(upload.len));
    // How far a file is that is being put together, nobody is told.
    if upload.is_done || !is_joined {
        answer.insert(UPLOAD_OFFSET, HeaderValue::from(upload.offset));
    }
    answer.insert(UPLOAD_EXPIRES, http_date(expires(service, &upload)));
    Ok(response)
}

/// Brings the next bytes of a file. The answer to the last says `Upload-Outcome` (`created`, `new-version`,
/// `identical`, `skipped`), `Content-Location`, `ETag`, `Repr-Digest` and `Upload-Stored`, the bytes that the store grew by.
#[utoipa::path(
    patch,
    path = "/api/v1/uploads/{id}",
    params(
        ("id" = String, Path, description = "As `Location` said it"),
        ("Tus-Resumable" = String, Header, description = "1.0.0"),
        ("Upload-Offset" = u64, Header, description = "How much is here; 409 when it is not so much"),
        ("Upload-Checksum" = Option<String>, Header, description = "Of the bytes in this request; 460 when it is not that"),
    ),
    request_body(content = FileBytes, content_type = "application/offset+octet-stream"),
    responses((status = 204, description = "`Upload-Offset`: so much is here, and stays"), ProblemBody)
)]
pub(crate) async fn patch(
    State(service): State<Arc<Service>>,
    Extension(login): Extension<Arc<Login>>,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Response {
    spoken(bring(&service, &login, &uri, &headers, body).await)
}

async fn bring(
    service: &Arc<Service>,
    login: &Login,
    uri: &Uri,
    headers: &HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    check_version(headers)?;
    let id = id(uri)?;
    let body_len = brings(headers, &body)?;
    let offset = number(headers, &UPLOAD_OFFSET)?.ok_or_else(|| bad("say Upload-Offset: where the bytes belong"))?;
    let checksum = Checksum::of(headers)?;
    // Before anybody is stopped, and before bytes are read.
    let (upload, path) = with_drive(service, login, move |service, drive| {
        let (upload, announced) = find(service, drive, id)?;
        if matches!(announced.becomes, Becomes::File { parts: Some(_), .. }) {
            return Err(problem::new(StatusCode::FORBIDDEN, "a file that is put together from parts takes no bytes"));
        }
        if body_len.unwrap_or_default() > upload.len.saturating_sub(offset) {
            return Err(beyond(upload.len));
        }
        check_room(service, drive, upload.len.saturating_sub(upload.offset))?;
        Ok((upload, announced.path().cloned()))
    })
    .await?;
    if upload.is_done || upload.offset == upload.len {
        return match offset == upload.len {
            true => Ok(moved(service, &Came::Here(upload.len))),
            false => Err(wrong_offset(upload.offset)),
        };
    }
    let turn = service.turns.take_over(id).await.ok_or_else(busy)?;
    let came = receive(service, login, turn, Part { upload: id, offset, path, checksum }, (body, upload.len)).await?;
    Ok(with_expiry(service, moved(service, &came)))
}

/// Gives a file that is not complete up. One that is complete stays where it is.
#[utoipa::path(
    delete,
    path = "/api/v1/uploads/{id}",
    params(
        ("id" = String, Path, description = "As `Location` said it"),
        ("Tus-Resumable" = String, Header, description = "1.0.0"),
    ),
    responses((status = 204, description = "Done"), ProblemBody)
)]
pub(crate) async fn delete(
    State(service): State<Arc<Service>>,
    Extension(login): Extension<Arc<Login>>,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    spoken(give_up(&service, &login, &uri, &headers).await)
}

async fn give_up(service: &Arc<Service>, login: &Login, uri: &Uri, headers: &HeaderMap) -> Result<Response, Problem> {
    check_version(headers)?;
    let id = id(uri)?;
    with_drive(service, login, move |service, drive| find(service, drive, id)).await?;
    let _turn = service.turns.take_over(id).await.ok_or_else(busy)?;
    with_drive(service, login, move |service, drive| {
        let removed = service.home.store.remove_upload(drive.vault.id, id);
        removed.map_err(|error| problem::of_store("giving an upload up", &error))
    })
    .await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// What `X-HTTP-Method-Override` says: for clients that can do nothing but POST.
#[utoipa::path(
    post,
    path = "/api/v1/uploads/{id}",
    params(
        ("id" = String, Path, description = "As `Location` said it"),
        ("X-HTTP-Method-Override" = String, Header, description = "PATCH, DELETE or HEAD"),
    ),
    request_body(content = Option<FileBytes>, content_type = "application/offset+octet-stream"),
    responses((status = 204, description = "As that method"), ProblemBody)
)]
pub(crate) async fn post(
    State(service): State<Arc<Service>>,
    Extension(login): Extension<Arc<Login>>,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let said = headers.get("x-http-method-override").map(HeaderValue::as_bytes);
    match said.and_then(|said| Method::from_bytes(said).ok()) {
        Some(Method::PATCH) => spoken(bring(&service, &login, &uri, &headers, body).await),
        Some(Method::DELETE) => spoken(give_up(&service, &login, &uri, &headers).await),
        Some(Method::HEAD) => spoken(how_far(&service, &login, &uri, &headers).await),
        _ => spoken(Err(problem::new(StatusCode::METHOD_NOT_ALLOWED, "this is not to be had by that method"))),
    }
}

/// Takes the bytes of one request on a thread of their own, which has its turn until they are durable.
async fn receive(
    service: &Arc<Service>,
    login: &Login,
    turn: Turn,
    part: Part,
    (body, len): (Body, u64),
) -> Result<Came, Problem> {
    let slot = slot(service, login.account_id()).await?;
    let incoming = Incoming::new(service, &login.account, part.path.as_ref(), (part.offset, Some(len)));
    let stop = turn.stop();
    let (slices, received) = mpsc::channel(WAITING_MAX);
    let answered = on_thread(service, login.account_id(), slot, move |service, drive| {
        let came = part::take(service, drive, part, received);
        drop(turn);
        came
    })?;
    let fed = feed(service, body.into_data_stream(), slices, &stop, &incoming).await;
    match (fed, answered.await) {
        (_, Ok(Err(problem))) | (Err(problem), _) => {
            incoming.failed(&problem);
            Err(problem)
        }
        (Ok(()), Ok(Ok(came))) => {
            match &came {
                Came::File(taken) => incoming.taken(taken),
                Came::Here(_) | Came::CutOff => {}
            }
            Ok(came)
        }
        (Ok(()), Err(error)) => Err(problem::internal("taking a file in", &error)),
    }
}

/// The upload that an account announces under a key.
fn id_under(account: AccountId, key: &ChangeKey) -> UploadId {
    let mut hasher = blake3::Hasher::new_derive_key("delta-backup v1 upload announced under a key");
    hasher.update(&account.0.to_le_bytes()).update(key.key.as_bytes());
    UploadId::from_bytes(*hasher.finalize().as_bytes().first_chunk().expect("the hash is longer"))
}

/// Takes note of a file that is to come, and tells how much of it is here: nothing, unless it was announced before. What
/// would be refused at its end is refused now.
fn announce(service: &Service, drive: &Drive, id: UploadId, len: u64, announced: &Announced) -> Result<u64, Problem> {
    let store = &service.home.store;
    let known = store.upload(drive.vault.id, id).map_err(|error| problem::of_store("looking for an upload", &error))?;
    if known.is_some() {
        let (upload, before) = find(service, drive, id)?;
        return match upload.len == len && before.is_same(announced) {
            true => Ok(upload.offset),
            false => Err(problem::of_store("announcing a file", &StoreError::OtherRequest)),
        };
    }
    check_room(service, drive, len).inspect_err(|problem| {
        if let Some(path) = announced.path() {
            refused(service, &drive.vault, path, problem);
        }
    })?;
    if let Becomes::File { place, .. } = &announced.becomes {
        let version = present(service, drive, &place.path)?.map(|file| file.version);
        check_folders(service, drive, &place.path)?;
        if !place.conditions.hold(version) {
            let detail = "the file is not what the request expects";
            return Err(problem::new(StatusCode::PRECONDITION_FAILED, detail));
        }
    }
    let sealed = announced.seal(&drive.managed().keys, id);
    let sealed_request = sealed.map_err(|error| problem::internal("sealing a request", &error))?;
    let new = NewUpload { id, len, sealed_request: &sealed_request };
    let created = store.create_upload(drive.vault.id, &new, OPEN_MAX, clock::now());
    match created.map_err(|error| problem::of_store("announcing a file", &error))? {
        true => Ok(0),
        false => {
            let detail = format!("{OPEN_MAX} uploads are not complete: complete some, or give them up by DELETE");
            Err(problem::new(StatusCode::TOO_MANY_REQUESTS, &detail))
        }
    }
}

/// Whether a file can be made here: what is on the way to it are folders, or nothing.
fn check_folders(service: &Service, drive: &Drive, path: &DrivePath) -> Result<(), Problem> {
    let mut above = path.parent();
    while let Some(folder) = above {
        match drive.view(service).look(&folder) {
            Ok(None) => return Ok(()),
            Ok(Some(_)) => return Err(problem::new(StatusCode::CONFLICT, "a file has the name of a folder")),
            Err(DriveError::NotFound) => above = folder.parent(),
            Err(error) => return Err(problem::of_drive("looking for a folder", &error)),
        }
    }
    Ok(())
}

/// An upload of this drive, and what was said about it.
fn find(service: &Service, drive: &Drive, id: UploadId) -> Result<(Upload, Announced), Problem> {
    let found = service.home.store.upload(drive.vault.id, id);
    let found = found.map_err(|error| problem::of_store("looking for an upload", &error))?;
    let upload = found.ok_or_else(|| problem::new(StatusCode::NOT_FOUND, "there is no such upload"))?;
    if is_expired(service, &upload) {
        return Err(problem::new(StatusCode::GONE, "nothing came for too long, so the upload was given up"));
    }
    match Announced::open(upload.sealed_request.clone(), &drive.managed().keys, id) {
        Some(announced) => Ok((upload, announced)),
        None => Err(problem::internal("opening an upload", &crate::drive::UploadError::Unreadable)),
    }
}

fn expires(service: &Service, upload: &Upload) -> UnixMs {
    expires_after(service, upload.last_active)
}

fn expires_after(service: &Service, active: UnixMs) -> UnixMs {
    let lifetime_ms = i64::try_from(service.home.settings.session_lifetime.as_millis()).unwrap_or(i64::MAX);
    UnixMs(active.0.saturating_add(lifetime_ms))
}

fn is_expired(service: &Service, upload: &Upload) -> bool {
    expires(service, upload) < clock::now()
}

fn with_expiry(service: &Service, mut response: Response) -> Response {
    response.headers_mut().insert(UPLOAD_EXPIRES, http_date(expires_after(service, clock::now())));
    response
}

/// As HTTP has dates: RFC 9110, 5.6.7.
fn http_date(moment: UnixMs) -> HeaderValue {
    let moment = OffsetDateTime::from_unix_timestamp(moment.0.div_euclid(1000)).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    let (weekday, month) = (moment.weekday().to_string(), moment.month().to_string());
    let (hour, minute, second) = moment.to_hms();
    let text = format!(
        "{}, {:02} {} {:04} {hour:02}:{minute:02}:{second:02} GMT",
        &weekday[..3],
        moment.day(),
        &month[..3],
        moment.year()
    );
    HeaderValue::from_str(&text).expect("made of visible ASCII")
}

/// The upload's address.
fn href_of(service: &Service, id: UploadId) -> String {
    service.home.settings.base_path.of(&format!("{PREFIX}{id}"))
}

fn location(service: &Service, id: UploadId) -> HeaderValue {
    HeaderValue::from_str(&href_of(service, id)).expect("made of visible ASCII")
}

/// The answer to an announcement.
fn created(service: &Service, id: UploadId, came: &Came) -> Response {
    let mut response = moved(service, came);
    *response.status_mut() = StatusCode::CREATED;
    response.headers_mut().insert(header::LOCATION, location(service, id));
    response
}

/// How far it is now, and what became of it.
fn moved(service: &Service, came: &Came) -> Response {
    let mut response = StatusCode::NO_CONTENT.into_response();
    let headers = response.headers_mut();
    match came {
        Came::Here(offset) => {
            headers.insert(UPLOAD_OFFSET, HeaderValue::from(*offset));
        }
        Came::File(taken) => {
            let Taken { path, version, size, sha256, outcome, stored, .. } = &**taken;
            let mut say = |name: HeaderName, value: &str| {
                headers.insert(name, HeaderValue::from_str(value).expect("made of visible ASCII"));
            };
            say(UPLOAD_OFFSET, &size.to_string());
            say(UPLOAD_OUTCOME, outcome.name());
            say(UPLOAD_STORED, &stored.bytes.to_string());
            say(header::CONTENT_LOCATION, &href(service, path));
            say(header::ETAG, &etag(*version));
            if let Some(sha256) = sha256 {
                say(REPR_DIGEST, &format!("sha-256=:{}:", Base64::encode_string(sha256)));
            }
        }
        // Nobody hears it: the connection broke.
        Came::CutOff => *response.status_mut() = StatusCode::BAD_REQUEST,
    }
    response
}

/// Every answer says which version it speaks.
fn spoken(answer: Result<Response, Problem>) -> Response {
    let mut response = answer.unwrap_or_else(Problem::into_response);
    response.headers_mut().insert(TUS_RESUMABLE, VERSION);
    response
}

fn check_version(headers: &HeaderMap) -> Result<(), Problem> {
    match headers.get(TUS_RESUMABLE) {
        Some(version) if version == VERSION => Ok(()),
        _ => Err(problem::new(StatusCode::PRECONDITION_FAILED, "say Tus-Resumable: 1.0.0").with(TUS_VERSION, VERSION)),
    }
}

/// The upload that an address is of. What is none of ours is as good as not there.
fn id(uri: &Uri) -> Result<UploadId, Problem> {
    let id = uri.path().strip_prefix(PREFIX).unwrap_or_default().trim_end_matches('/');
    id.parse().map_err(|_| problem::new(StatusCode::NOT_FOUND, "there is no such upload"))
}

fn number(headers: &HeaderMap, name: &HeaderName) -> Result<Option<u64>, Problem> {
    let Some(said) = headers.get(name) else { return Ok(None) };
    let digits = said.to_str().ok().filter(|said| said.bytes().all(|byte| byte.is_ascii_digit()));
    let number = digits.and_then(|digits| digits.parse().ok());
    number.map(Some).ok_or_else(|| bad(&format!("{name} is not a whole number")))
}

/// Bytes that a request brings; `None` for nothing, 0 when it does not say how many.
fn brings(headers: &HeaderMap, body: &Body) -> Result<Option<u64>, Problem> {
    if headers.contains_key(header::CONTENT_ENCODING) {
        return Err(problem::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "send the bytes as they are: no Content-Encoding",
        ));
    }
    if body.is_end_stream() {
        return Ok(None);
    }
    let is_content = headers.get(header::CONTENT_TYPE).is_some_and(|value| value == CONTENT);
    if !is_content {
        return Err(problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, &format!("the body is to be {CONTENT}")));
    }
    Ok(Some(number(headers, &header::CONTENT_LENGTH)?.unwrap_or_default()))
}

fn wrong_offset(offset: u64) -> Problem {
    let problem = problem::new(StatusCode::CONFLICT, &format!("{offset} bytes are here"));
    problem.with(UPLOAD_OFFSET, HeaderValue::from(offset)).passing()
}

fn busy() -> Problem {
    problem::retry(StatusCode::LOCKED, "another request is completing this upload", Duration::from_secs(5))
}

fn bad(detail: &str) -> Problem {
    problem::new(StatusCode::BAD_REQUEST, detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_http() {
        let date = |ms| http_date(UnixMs(ms)).to_str().unwrap().to_owned();
        assert_eq!(date(784_111_777_999), "Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(date(0), "Thu, 01 Jan 1970 00:00:00 GMT");
    }
}
