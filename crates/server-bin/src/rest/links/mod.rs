//! `/s/TOKEN` and `/u/TOKEN`: what whoever has a link gets at, without an account.
//!
//! A link opens one file or folder, or takes files into one; paths are read below it and cannot leave it. Wrong, expired,
//! revoked and used-up links are answered in the same way. No cookie is looked at or set: after a password, the addresses
//! on the page carry a pass that is good for an hour.

mod page;

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::Extension;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use object::hex;
use percent_encoding::{NON_ALPHANUMERIC, percent_encode};
use proto::{DriveNode, DrivePath, Secret};
use serde::Deserialize;
use store::{Share, ShareId, ShareKind};
use zeroize::Zeroizing;

use crate::access::{Action, Who, allowed};
use crate::audit::{Actor, Event};
use crate::clock;
use crate::drive::{FileVersion, Listing};
use crate::keys::is_same_hash;
use crate::live::{Activity, ActivityKind};
use crate::login::Caller;
use crate::rest::content::{self, Presentation};
use crate::rest::folders::Cursor;
use crate::rest::multipart::{Multipart, PartHead};
use crate::rest::parse::{ChangeKey, encoded, path as path_of, query};
use crate::rest::problem::Problem;
use crate::rest::upload::{OnConflict, take};
use crate::rest::{Drive, archive, form, on_pool, problem, with_drive_of};
use crate::service::Service;

use self::page::{Html, gone, page, size};

/// Entries of a folder on one page.
const PAGE_LEN: usize = 1000;
/// Longest body of a form with a password.
const PASSWORD_FORM_LEN_MAX: usize = 8 << 10;
/// How long the addresses of a page are good after a password.
const PASS_LIFETIME_MS: u64 = 3_600_000;
/// How long a download that was counted may be gone on with from the same address.
const DOWNLOAD_LIFETIME: Duration = Duration::from_secs(6 * 3600);
const DOWNLOADS_MAX: usize = 8192;

/// Downloads that were counted, by share, file and address: their further parts are not counted again.
#[derive(Debug, Default)]
pub(crate) struct Downloads {
    begun: Mutex<HashMap<[u8; 32], Instant>>,
}

impl Downloads {
    fn key(share: ShareId, path: &DrivePath, version: u64, address: IpAddr) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new();
        hasher.update(share.as_bytes()).update(&version.to_le_bytes());
        hasher.update(address.to_string().as_bytes()).update(b"/").update(path.as_bytes());
        *hasher.finalize().as_bytes()
    }

    fn begin(&self, key: [u8; 32], now: Instant) {
        let mut begun = self.begun.lock().unwrap_or_else(PoisonError::into_inner);
        if begun.len() >= DOWNLOADS_MAX {
            begun.retain(|_, since| now.saturating_duration_since(*since) < DOWNLOAD_LIFETIME);
        }
        if begun.len() >= DOWNLOADS_MAX
            && let Some(oldest) = begun.iter().min_by_key(|(_, since)| **since).map(|(key, _)| *key)
        {
            begun.remove(&oldest);
        }
        begun.insert(key, now);
    }

    fn is_begun(&self, key: &[u8; 32], now: Instant) -> bool {
        let begun = self.begun.lock().unwrap_or_else(PoisonError::into_inner);
        begun.get(key).is_some_and(|since| now.saturating_duration_since(*since) < DOWNLOAD_LIFETIME)
    }
}

/// What an address says behind its question mark.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct LinkQuery {
    /// Below what is shared, as in an entry's `path`.
    #[serde(default)]
    path: String,
    /// Where the page before ended.
    cursor: Option<String>,
    /// What is shown after the password.
    pass: Option<String>,
}

/// Why a request gets nothing.
pub(crate) enum Refusal {
    /// There is nothing for whoever has this link.
    Gone,
    /// Somebody has to say the password first.
    Locked,
    /// Something else.
    Problem(Problem),
}

impl From<Problem> for Refusal {
    fn from(problem: Problem) -> Self {
        match problem.status() {
            StatusCode::NOT_FOUND => Self::Gone,
            _ => Self::Problem(problem),
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        match self {
            Self::Gone | Self::Locked => gone(),
            Self::Problem(problem) => {
                let text = Html::default().raw("<p class=\"bad\">").text(problem.detail()).raw("</p>");
                let mut response = page(problem.status(), "This does not work", &text);
                if let Some(wait) = problem.into_response().headers_mut().remove(header::RETRY_AFTER) {
                    response.headers_mut().insert(header::RETRY_AFTER, wait);
                }
                response
            }
        }
    }
}

/// The share that a link opens, as long as it does. Says nothing about its password.
async fn find(service: &Arc<Service>, token: &str, kind: ShareKind) -> Result<Share, Refusal> {
    let secret: [u8; 16] = hex::decode(token).ok_or(Refusal::Gone)?;
    let hash = service.home.keys.share_hash(&Secret::new(secret));
    let share = on_pool(service, "looking for a share", move |service| {
        let share = service.home.store.share_by_token(&hash);
        share.map_err(|error| problem::of_store("looking for a share", &error))
    });
    let share = share.await?.ok_or(Refusal::Gone)?;
    // Whoever has the link may do at most what its owner may.
    let action = match kind {
        ShareKind::Download => Action::Read,
        ShareKind::Upload => Action::Change,
    };
    let may = share.account.disabled.is_none() && allowed(Who::Person { role: share.account.role }, action);
    let is_over = share.revoked.is_some() || share.expires.is_some_and(|expires| expires < clock::now());
    match share.kind == kind && may && !is_over {
        true => Ok(share),
        false => Err(Refusal::Gone),
    }
}

fn is_used_up(share: &Share) -> bool {
    share.uses_max.is_some_and(|max| share.uses >= max)
}

/// What is shown in place of the password, until then.
fn pass(service: &Service, share: &Share, until_ms: u64) -> String {
    let mac =
        service.home.keys.share_pass(share.id.as_bytes(), share.password_hash.as_deref().unwrap_or_default(), until_ms);
    format!("{until_ms:x}-{}", hex::encode(&mac))
}

fn check_pass(service: &Service, share: &Share, said: Option<&str>) -> Result<(), Refusal> {
    if share.password_hash.is_none() {
        return Ok(());
    }
    let until_ms = said.and_then(|said| u64::from_str_radix(said.split_once('-')?.0, 16).ok());
    let (Some(said), Some(until_ms)) = (said, until_ms) else { return Err(Refusal::Locked) };
    let now = clock::now_ms();
    let is_in_time = (now..=now.saturating_add(PASS_LIFETIME_MS)).contains(&until_ms);
    let expected = pass(service, share, until_ms);
    match is_in_time && is_same_hash(said.as_bytes(), expected.as_bytes()) {
        true => Ok(()),
        false => Err(Refusal::Locked),
    }
}

/// What is shared, and the place below it that is asked for.
struct Place {
    /// Where the share begins.
    base: DrivePath,
    path: DrivePath,
    file: Option<FileVersion>,
}

/// Finds a place of a share. Blocks.
fn place(service: &Service, drive: &Drive, share: &Share, below: &DrivePath) -> Result<Place, Problem> {
    let of_drive = |error| problem::of_drive("looking for what is shared", &error);
    let nothing = || problem::new(StatusCode::NOT_FOUND, "there is nothing there");
    // The account's drive is that of its first vault, which the share knows.
    let is_same = drive.vault.id == share.vault;
    let view = drive.view(service);
    let base = view.path_of(share.node).map_err(of_drive)?.filter(|_| is_same).ok_or_else(nothing)?;
    let path = match (base.is_root(), below.is_root()) {
        (_, true) => base.clone(),
        (true, false) => below.clone(),
        (false, false) => {
            let path = [&base.as_bytes()[..], b"/", &below.as_bytes()[..]].concat();
            DrivePath::new(Bytes::from(path)).ok_or_else(nothing)?
        }
    };
    let file = view.look(&path).map_err(of_drive)?;
    Ok(Place { base, path, file })
}

/// What a link's page, or part of it, asks for.
struct Asked {
    share: Share,
    below: DrivePath,
    query: LinkQuery,
}

async fn asked(service: &Arc<Service>, token: &str, uri: &Uri, kind: ShareKind) -> Result<Asked, Refusal> {
    let share = find(service, token, kind).await?;
    let query: LinkQuery = query(uri).map_err(|_| Refusal::Gone)?;
    let below = path_of(&query.path).map_err(|_| Refusal::Gone)?;
    Ok(Asked { share, below, query })
}

/// An address of a link, as its page says it: the page, or a part of it. Relative, so that it is right below any path.
fn href(token: &str, part: &str, path: &str, pass: Option<&str>) -> String {
    let mut href = format!("{token}{part}?path={}", percent_encode(path.as_bytes(), NON_ALPHANUMERIC));
    if let Some(pass) = pass {
        href.push_str("&pass=");
        href.push_str(pass);
    }
    href
}

/// What is shared, for whoever has the link.
pub(crate) async fn show(
    State(service): State<Arc<Service>>,
    Path(token): Path<String>,
    uri: Uri,
) -> Result<Response, Refusal> {
    let Asked { share, below, query } = asked(&service, &token, &uri, ShareKind::Download).await?;
    if is_used_up(&share) {
        return Err(Refusal::Gone);
    }
    if check_pass(&service, &share, query.pass.as_deref()).is_err() {
        return Ok(password_page(StatusCode::OK, &token, None));
    }
    let cursor = query.cursor.as_deref().map(Cursor::read).transpose().map_err(|_| Refusal::Gone)?;
    let (account, shown) = (share.account.id, below.clone());
    let found = with_drive_of(&service, account, move |service, drive| {
        let place = place(service, drive, &share, &shown)?;
        let listing = match place.file {
            Some(_) => None,
            None => {
                let version = cursor.as_ref().map(|cursor| cursor.version);
                let listing = service.folders.listing(&drive.view(service), &place.path, version);
                Some(listing.map_err(|error| problem::of_drive("listing a folder", &error))?)
            }
        };
        Ok((place, listing, cursor))
    });
    let (place, listing, cursor) = found.await?;
    let name =
        place.path.name().map_or("Files".to_owned(), |name| String::from_utf8_lossy(name.as_bytes()).into_owned());
    let content = match (&place.file, listing) {
        (Some(file), _) => file_part(&token, &below, file, query.pass.as_deref()),
        (None, Some(listing)) => folder_part(&token, &below, &listing, cursor.as_ref(), query.pass.as_deref()),
        (None, None) => Html::default(),
    };
    Ok(page(StatusCode::OK, &name, &content))
}

fn file_part(token: &str, below: &DrivePath, file: &FileVersion, pass: Option<&str>) -> Html {
    let mut html = Html::default().raw("<p class=\"muted\">").text(&size(file.size)).raw("</p>");
    if let Some(sha256) = &file.sha256 {
        html = html.raw("<p class=\"muted\">SHA-256 ").text(&hex::encode(sha256)).raw("</p>");
    }
    let href = href(token, "/file", &encoded(below.as_bytes()), pass);
    html.raw("<p><a class=\"act\" href=\"").text(&href).raw("\">Download</a></p>")
}

fn folder_part(token: &str, below: &DrivePath, listing: &Listing, cursor: Option<&Cursor>, pass: Option<&str>) -> Html {
    let (entries, has_more) = listing.page(cursor.map(|cursor| &cursor.name), PAGE_LEN);
    let within = |name: &[u8]| match below.is_root() {
        true => encoded(name),
        false => format!("{}/{}", encoded(below.as_bytes()), encoded(name)),
    };
    let mut html = Html::default();
    if let Some(above) = below.parent() {
        let up = href(token, "", &encoded(above.as_bytes()), pass);
        html = html.raw("<p><a href=\"").text(&up).raw("\">Folder above</a></p>");
    }
    if entries.is_empty() {
        html = html.raw("<p class=\"muted\">Nothing in here.</p>");
    }
    html = html.raw("<ul>");
    for entry in entries {
        let Some(name) = &entry.name else { continue };
        let shown = String::from_utf8_lossy(name.as_bytes());
        let (part, facts) = match entry.node {
            DriveNode::Directory => ("", "Folder".to_owned()),
            DriveNode::File { size: len, .. } => ("/file", size(len)),
        };
        let href = href(token, part, &within(name.as_bytes()), pass);
        html = html.raw("<li><a href=\"").text(&href).raw("\">").text(&shown).raw("</a><span>").text(&facts);
        html = html.raw("</span></li>");
    }
    html = html.raw("</ul>");
    if let Some(name) = entries.last().filter(|_| has_more).and_then(|last| last.name.clone()) {
        let cursor = Cursor { version: listing.version, name }.text();
        let more = href(token, "", &encoded(below.as_bytes()), pass);
        let more = format!("{more}&cursor={}", percent_encode(cursor.as_bytes(), NON_ALPHANUMERIC));
        html = html.raw("<p><a href=\"").text(&more).raw("\">More</a></p>");
    }
    let zip = href(token, "/zip", &encoded(below.as_bytes()), pass);
    html.raw("<p><a class=\"act\" href=\"").text(&zip).raw("\">Download all as ZIP</a></p>")
}

/// A file of a share, to be saved. Counted once for whoever goes on with it part by part.
pub(crate) async fn file(
    State(service): State<Arc<Service>>,
    Extension(caller): Extension<Caller>,
    Path(token): Path<String>,
    (method, uri, headers): (Method, Uri, HeaderMap),
) -> Result<Response, Refusal> {
    let Asked { share, below, query } = asked(&service, &token, &uri, ShareKind::Download).await?;
    check_pass(&service, &share, query.pass.as_deref())?;
    let answering = Arc::clone(&service);
    let answered = with_drive_of(&service, share.account.id, move |service, drive| {
        let Place { path, file, .. } = place(service, drive, &share, &below)?;
        let file = file.ok_or_else(|| problem::new(StatusCode::NOT_FOUND, "this is a folder"))?;
        let response = content::answer(&answering, drive, (&path, &file), Presentation::Saved, &headers)?;
        let key = Downloads::key(share.id, &path, file.version, caller.address);
        let goes_on = headers.contains_key(header::RANGE) && service.downloads.is_begun(&key, Instant::now());
        if method != Method::HEAD && !goes_on {
            count(service, &share)?;
            service.downloads.begin(key, Instant::now());
            tell_download(service, &share, &path, caller);
        } else if !goes_on && is_used_up(&share) {
            return Err(problem::new(StatusCode::NOT_FOUND, "the share is used up"));
        }
        Ok(response)
    });
    Ok(answered.await?)
}

/// Counts a use. Blocks.
fn count(service: &Service, share: &Share) -> Result<(), Problem> {
    let counted = service.home.store.use_share(share.id, clock::now());
    match counted.map_err(|error| problem::of_store("counting the use of a share", &error))? {
        true => Ok(()),
        false => Err(problem::new(StatusCode::NOT_FOUND, "the share is used up")),
    }
}

/// Tells the share's owner and the audit log of a use. Blocks.
fn tell_download(service: &Service, share: &Share, path: &DrivePath, caller: Caller) {
    let detail = format!("download from {}", caller.address);
    service.feed.push(Activity::of_drive(ActivityKind::Link, &share.account, path, detail));
    if service.link_uses.admits(Instant::now()) {
        let actor = Actor::known("", "link", caller.address);
        actor.note(&service.home.store, Event::ShareDownload, &share.account.name, &share.id.to_string());
    }
}

/// A folder of a share as one archive.
pub(crate) async fn zip(
    State(service): State<Arc<Service>>,
    Extension(caller): Extension<Caller>,
    Path(token): Path<String>,
    (method, uri): (Method, Uri),
) -> Result<Response, Refusal> {
    let Asked { share, below, query } = asked(&service, &token, &uri, ShareKind::Download).await?;
    check_pass(&service, &share, query.pass.as_deref())?;
    let answering = Arc::clone(&service);
    let answered = with_drive_of(&service, share.account.id, move |service, drive| {
        let Place { path, .. } = place(service, drive, &share, &below)?;
        let response = archive::of_drive(&answering, drive, std::slice::from_ref(&path))?;
        match method == Method::HEAD {
            false => {
                count(service, &share)?;
                tell_download(service, &share, &path, caller);
            }
            true if is_used_up(&share) => return Err(problem::new(StatusCode::NOT_FOUND, "the share is used up")),
            true => {}
        }
        Ok(response)
    });
    Ok(answered.await?)
}

fn password_page(status: StatusCode, action: &str, complaint: Option<&str>) -> Response {
    let mut html = Html::default();
    if let Some(complaint) = complaint {
        html = html.raw("<p class=\"bad\" role=\"alert\">").text(complaint).raw("</p>");
    }
    let html = html
        .raw("<form method=\"post\" action=\"")
        .text(action)
        .raw("\"><label for=\"password\">Password</label><input id=\"password\" name=\"password\" type=\"password\" ")
        .raw("autocomplete=\"off\" required autofocus><button>Open</button></form>");
    page(status, "A password is needed", &html)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PasswordForm {
    password: Zeroizing<String>,
}

/// Takes the password of a share, and goes on to its page.
pub(crate) async fn unlock(
    State(service): State<Arc<Service>>,
    Extension(caller): Extension<Caller>,
    Path(token): Path<String>,
    body: Body,
) -> Result<Response, Refusal> {
    let share = find(&service, &token, ShareKind::Download).await?;
    if is_used_up(&share) {
        return Err(Refusal::Gone);
    }
    try_password(&service, caller, &share, &token, body).await
}

async fn try_password(
    service: &Arc<Service>,
    caller: Caller,
    share: &Share,
    token: &str,
    body: Body,
) -> Result<Response, Refusal> {
    let unreadable = || Refusal::Problem(problem::new(StatusCode::BAD_REQUEST, "this is not the form of the page"));
    let form = axum::body::to_bytes(body, PASSWORD_FORM_LEN_MAX).await.map_err(|_| unreadable())?;
    let form = String::from_utf8(form.to_vec()).map_err(|_| unreadable())?;
    let form = format!("/?{form}").parse::<Uri>().map_err(|_| unreadable())?;
    let PasswordForm { password } = query(&form).map_err(|_| unreadable())?;
    let counted_as = format!("share {}", share.id);
    if let Some(wait) = service.back_off.wait(&counted_as, caller.address, Instant::now()) {
        let detail = "There were too many wrong passwords. Wait a little, then try again.";
        return Err(Refusal::Problem(problem::retry(StatusCode::TOO_MANY_REQUESTS, detail, wait)));
    }
    let is_right = service.passwords.is_right(password, share.password_hash.clone()).await;
    let is_right = is_right
        .map_err(|error| problem::retry(StatusCode::SERVICE_UNAVAILABLE, &error.to_string(), Duration::from_secs(1)))?;
    if !is_right {
        service.back_off.failed(&counted_as, caller.address, Instant::now());
        return Ok(password_page(StatusCode::FORBIDDEN, token, Some("This is not the password.")));
    }
    service.back_off.succeeded(&counted_as, caller.address);
    let pass = pass(service, share, clock::now_ms().saturating_add(PASS_LIFETIME_MS));
    let location = HeaderValue::from_str(&format!("{token}?pass={pass}")).expect("made of visible ASCII");
    Ok((StatusCode::SEE_OTHER, [(header::LOCATION, location)]).into_response())
}

/// The page by which files are put into a folder, without seeing it.
pub(crate) async fn show_upload(
    State(service): State<Arc<Service>>,
    Path(token): Path<String>,
    uri: Uri,
) -> Result<Response, Refusal> {
    let Asked { share, query, .. } = asked(&service, &token, &uri, ShareKind::Upload).await?;
    if is_used_up(&share) {
        return Err(Refusal::Gone);
    }
    if check_pass(&service, &share, query.pass.as_deref()).is_err() {
        return Ok(password_page(StatusCode::OK, &token, None));
    }
    let looked = share.clone();
    with_drive_of(&service, share.account.id, move |service, drive| {
        place(service, drive, &looked, &DrivePath::ROOT).map(|_| ())
    })
    .await?;
    Ok(upload_page(StatusCode::OK, &token, &share, query.pass.as_deref(), Html::default()))
}

fn upload_page(status: StatusCode, token: &str, share: &Share, pass: Option<&str>, before: Html) -> Response {
    let mut action = token.to_owned();
    if let Some(pass) = pass {
        action.push_str("?pass=");
        action.push_str(pass);
    }
    let mut html = before.raw("<p>").text(&format!("What you send goes to {}.", share.account.name)).raw("</p>");
    if let Some(len) = share.file_len_max {
        html = html.raw("<p class=\"muted\">").text(&format!("Each file: at most {}", size(len))).raw("</p>");
    }
    if let Some(left) = share.uses_max.map(|max| max.saturating_sub(share.uses)) {
        html = html.raw("<p class=\"muted\">").text(&format!("Files that may still be sent: {left}")).raw("</p>");
    }
    let html = html
        .raw("<form method=\"post\" enctype=\"multipart/form-data\" action=\"")
        .text(&action)
        .raw("\"><label for=\"file\">Files</label><input id=\"file\" name=\"file\" type=\"file\" multiple required>")
        .raw("<button>Send</button></form>");
    page(status, "Send files", &html)
}

/// Takes the files of a form into the folder of a share, each beside what has its name; or the share's password.
pub(crate) async fn upload(
    State(service): State<Arc<Service>>,
    Extension(caller): Extension<Caller>,
    Path(token): Path<String>,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    let Asked { share, query, .. } = asked(&service, &token, &uri, ShareKind::Upload).await?;
    if is_used_up(&share) {
        return Err(Refusal::Gone);
    }
    let media_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if media_type.starts_with("application/x-www-form-urlencoded") {
        return try_password(&service, caller, &share, &token, body).await;
    }
    check_pass(&service, &share, query.pass.as_deref())?;
    let looked = share.clone();
    let place = with_drive_of(&service, share.account.id, move |service, drive| {
        place(service, drive, &looked, &DrivePath::ROOT)
    })
    .await?;
    let mut parts = Multipart::new(&headers, body.into_data_stream()).map_err(form::unreadable)?;
    let (mut told, mut stored, mut status, mut tried) = (Html::default().raw("<ul>"), 0u32, StatusCode::OK, 0);
    while let Some(head) = parts.next().await.map_err(form::unreadable)? {
        // A form without a chosen file brings one without name and bytes.
        if head.filename.as_ref().is_none_or(Vec::is_empty) {
            continue;
        }
        tried += 1;
        let name = String::from_utf8_lossy(head.filename.as_deref().unwrap_or_default()).into_owned();
        let taken = match tried > form::FILE_COUNT_MAX {
            true => Err(problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too many files at once")),
            false => take_one(&service, (&share, caller), &place.base, &head, parts.bytes()).await,
        };
        let (class, outcome) = match &taken {
            Ok(()) => ("", "stored"),
            Err(problem) => (" class=\"bad\"", problem.detail()),
        };
        told = told.raw("<li").raw(class).raw(">").text(&name).raw("<span>").text(outcome).raw("</span></li>");
        match taken {
            Ok(()) => stored += 1,
            Err(problem) => {
                status = problem.status();
                // What cannot be done for one cannot be done for the next either.
                if status.is_server_error() || status == StatusCode::NOT_FOUND || tried > form::FILE_COUNT_MAX {
                    break;
                }
            }
        }
    }
    if stored > 0 {
        let (owner, id) = (share.account.name.clone(), share.id);
        on_pool(&service, "noting what a share was used for", move |service| {
            let actor = Actor::known("", "link", caller.address);
            actor.note(&service.home.store, Event::ShareUpload, &owner, &format!("{id}: {stored} files"));
            Ok(())
        })
        .await?;
    }
    // What is left is what the catalog says now.
    let left = on_pool(&service, "looking for a share", move |service| {
        let share = service.home.store.share(share.id);
        share.map_err(|error| problem::of_store("looking for a share", &error))
    });
    let Some(share) = left.await? else { return Err(Refusal::Gone) };
    // A share that is used up is a 404 for who comes now; who used it is told what became of it.
    let status = if status == StatusCode::NOT_FOUND { StatusCode::CONFLICT } else { status };
    let told = told.raw("</ul>");
    if is_used_up(&share) {
        return Ok(page(status, "Sent", &told.raw("<p class=\"muted\">No more files may be sent with this link.</p>")));
    }
    Ok(upload_page(status, &token, &share, query.pass.as_deref(), told))
}

async fn take_one<E: std::error::Error>(
    service: &Arc<Service>,
    (share, caller): (&Share, Caller),
    folder: &DrivePath,
    head: &PartHead,
    bytes: impl Stream<Item = Result<Bytes, E>> + Unpin,
) -> Result<(), Problem> {
    // A browser's form says no key.
    let key = ChangeKey::of(&HeaderMap::new())?;
    let request = form::request(folder, head.filename.as_deref(), OnConflict::KeepBoth, key)?;
    let (id, path) = (share.id, request.path.clone());
    let counted = share.clone();
    on_pool(service, "counting the use of a share", move |service| count(service, &counted)).await.map_err(
        |problem| match problem.status() {
            StatusCode::NOT_FOUND => problem::new(StatusCode::NOT_FOUND, "no more files may be sent with this link"),
            _ => problem,
        },
    )?;
    let is_too_long = AtomicBool::new(false);
    let len_max = share.file_len_max.unwrap_or(u64::MAX);
    let mut len = 0u64;
    let limited = bytes.map(|slice| {
        let slice = slice.map_err(|error| std::io::Error::other(error.to_string()))?;
        len = len.saturating_add(slice.len() as u64);
        if len > len_max {
            is_too_long.store(true, Ordering::Relaxed);
            return Err(std::io::Error::other("the file is longer than may be"));
        }
        Ok(slice)
    });
    match take(service, &share.account, request, (limited, None)).await {
        Ok(taken) => {
            let detail = format!("upload from {}", caller.address);
            service.feed.push(Activity::of_drive(ActivityKind::Link, &share.account, &taken.path, detail));
            Ok(())
        }
        Err(problem) => {
            let back = on_pool(service, "taking back the use of a share", move |service| {
                let back = service.home.store.unuse_share(id);
                back.map_err(|error| problem::of_store("taking back the use of a share", &error))
            });
            if let Err(problem) = back.await {
                tracing::warn!(detail = problem.detail(), "an upload that failed counts as a use of its share");
            }
            match is_too_long.load(Ordering::Relaxed) {
                true => {
                    let detail = format!("longer than {}", size(len_max));
                    service.feed.push(Activity::of_drive(ActivityKind::Error, &share.account, &path, detail.clone()));
                    Err(problem::new(StatusCode::PAYLOAD_TOO_LARGE, &detail))
                }
                false => Err(problem),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_download_is_gone_on_with_by_the_same_address_for_some_hours() {
        let downloads = Downloads::default();
        let now = Instant::now();
        let path = DrivePath::new(Bytes::from_static(b"a/b")).unwrap();
        let key = |share: u8, version, address: [u8; 4]| {
            Downloads::key(ShareId::from_bytes([share; 8]), &path, version, IpAddr::from(address))
        };
        downloads.begin(key(1, 1, [10, 0, 0, 1]), now);
        assert!(downloads.is_begun(&key(1, 1, [10, 0, 0, 1]), now));
        assert!(!downloads.is_begun(&key(2, 1, [10, 0, 0, 1]), now));
        assert!(!downloads.is_begun(&key(1, 2, [10, 0, 0, 1]), now), "another version is another download");
        assert!(!downloads.is_begun(&key(1, 1, [10, 0, 0, 2]), now));
        assert!(!downloads.is_begun(&key(1, 1, [10, 0, 0, 1]), now + DOWNLOAD_LIFETIME));
        for number in 0..u64::try_from(DOWNLOADS_MAX).unwrap() {
            downloads.begin(key(3, number, [10, 0, 0, 1]), now + Duration::from_secs(1));
        }
        assert_eq!(downloads.begun.lock().unwrap().len(), DOWNLOADS_MAX);
        assert!(!downloads.is_begun(&key(1, 1, [10, 0, 0, 1]), now), "the oldest made room");
    }
}
