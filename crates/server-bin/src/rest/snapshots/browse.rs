//! What is in a snapshot: folders, files to be saved, archives, names.

#![expect(unused_qualifications, reason = "the macro that describes the routes writes them")]

use std::sync::Arc;

use axum::Extension;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::Response;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use vault::EntryKind;

use crate::browse::{Node, TreePath, Walk, file_of};
use crate::drive::{Archive, FileVersion};
use crate::live::Outgoing;
use crate::login::Login;
use crate::rest::parse::query;
use crate::rest::problem::{Problem, ProblemBody};
use crate::rest::snapshots::{Own, ms, refused};
use crate::rest::{archive, content, json, on_pool, problem};
use crate::service::Service;

const PAGE_LEN: usize = 1000;
const PAGE_LEN_MAX: usize = 10_000;
const FOUND_LEN: usize = 100;
const FOUND_LEN_MAX: usize = 1000;
/// Entries that one request looks at; what is beyond is for the next.
pub(super) const LOOKED_AT_MAX: u64 = 100_000;
const QUERY_LEN_MAX: usize = 255;

/// Something in a snapshot.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::rest) struct SnapshotEntry {
    /// For people: what is not UTF-8 in it is replaced.
    name: String,
    /// For programs: each name percent-encoded, exact whatever bytes it has.
    path: String,
    kind: SnapshotEntryKind,
    /// Bytes in a file.
    size: Option<u64>,
    mtime_ms: i64,
    /// Unix permission bits.
    mode: u32,
    user: String,
    group: String,
    /// Where a link leads.
    target: Option<String>,
    /// The file changed while it was read: it may be of several moments.
    is_torn: bool,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
enum SnapshotEntryKind {
    File,
    Folder,
    Link,
    Pipe,
    Socket,
    Device,
}

impl SnapshotEntry {
    pub(in crate::rest) fn new(path: &TreePath, entry: &vault::Entry) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let (kind, size, target) = match &entry.kind {
            EntryKind::File { size, .. } => (SnapshotEntryKind::File, Some(*size), None),
            EntryKind::Directory { .. } => (SnapshotEntryKind::Folder, None, None),
            EntryKind::Symlink { target } => (SnapshotEntryKind::Link, None, Some(text(target))),
            EntryKind::Fifo => (SnapshotEntryKind::Pipe, None, None),
            EntryKind::Socket => (SnapshotEntryKind::Socket, None, None),
            EntryKind::CharDevice { .. } | EntryKind::BlockDevice { .. } => (SnapshotEntryKind::Device, None, None),
        };
        let metadata = &entry.metadata;
        Self {
            name: text(&entry.name),
            path: path.encode(),
            kind,
            size,
            mtime_ms: ms(metadata.mtime),
            mode: metadata.mode,
            user: text(&metadata.user),
            group: text(&metadata.group),
            target,
            is_torn: metadata.changed_while_read,
        }
    }
}

/// A page of what is in a snapshot.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct SnapshotPage<T> {
    pub(super) items: Vec<T>,
    /// What to say as `cursor` for the next page; none after the last. A page may be empty and not the last.
    pub(super) next: Option<String>,
    /// Pages of folders that were passed over, because they are damaged.
    pub(super) unreadable: u64,
}

/// A path of a snapshot, as addresses have it.
pub(in crate::rest) fn tree_path(said: &str) -> Result<TreePath, Problem> {
    let detail = "a path is names with / between them, each percent-encoded";
    TreePath::parse(said).ok_or_else(|| problem::new(StatusCode::BAD_REQUEST, detail))
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct EntriesQuery {
    /// A folder: names with / between them, each percent-encoded; empty for the root.
    #[serde(default)]
    path: String,
    /// Where the page before ended, as it said.
    cursor: Option<String>,
    limit: Option<usize>,
}

/// What is in a folder of a snapshot, by name.
#[utoipa::path(
    get,
    path = "/api/v1/snapshots/{id}/entries",
    params(("id" = String, Path, description = "All 64 digits"), EntriesQuery),
    responses((status = 200, description = "A page", body = SnapshotPage<SnapshotEntry>), ProblemBody)
)]
pub(crate) async fn entries(
    State(service): State<Arc<Service>>,
    Extension(login): Extension<Arc<Login>>,
    Path(id): Path<String>,
    uri: Uri,
) -> Result<Response, Problem> {
    let EntriesQuery { path, cursor, limit } = query(&uri)?;
    let path = tree_path(&path)?;
    let after = tree_path(cursor.as_deref().unwrap_or_default())?.name().unwrap_or_default().to_vec();
    let limit = limit.unwrap_or(PAGE_LEN).clamp(1, PAGE_LEN_MAX);
    let page = on_pool(&service, "listing a folder", move |service| {
        let (mut browser, root) = Own::find(service, &login, &id)?.browse(service)?;
        let failed = |error| refused("listing a folder", &error);
        let tree = browser.find(root, &path).map_err(failed)?.tree();
        let tree = tree.ok_or_else(|| problem::new(StatusCode::CONFLICT, "this is no folder"))?;
        let listing = browser.list(tree, after, limit).map_err(failed)?;
        let last = listing.entries.last().filter(|_| listing.is_more);
        let next = last.map(|last| TreePath::default().child(&last.name).encode());
        let item = |entry: &vault::Entry| SnapshotEntry::new(&path.child(&entry.name), entry);
        Ok(SnapshotPage { items: listing.entries.iter().map(item).collect(), next, unreadable: listing.unreadable })
    });
    Ok(json(StatusCode::OK, &page.await?))
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in crate::rest) struct PathQuery {
    /// Names with / between them, each percent-encoded.
    #[serde(default)]
    pub(in crate::rest) path: String,
}

/// The file at a path of a snapshot.
pub(in crate::rest) fn file_in(service: &Service, own: &Own, path: &TreePath) -> Result<FileVersion, Problem> {
    let (mut browser, root) = own.browse(service)?;
    let node = browser.find(root, path).map_err(|error| refused("looking for a file", &error))?;
    let file = match &node {
        Node::Root(_) => None,
        Node::Entry(entry) => file_of(entry),
    };
    file.ok_or_else(|| problem::new(StatusCode::CONFLICT, "this is no file"))
}

/// A file of a snapshot, to be saved. Its `ETag` says which content it has, whatever the snapshot.
#[utoipa::path(
    get,
    path = "/api/v1/snapshots/{id}/content",
    params(
        ("id" = String, Path, description = "All 64 digits"),
        PathQuery,
        ("Range" = Option<String>, Header, description = "One range of bytes"),
        ("If-None-Match" = Option<String>, Header, description = "Entity tags: not when it has one of these contents"),
    ),
    responses(
        (status = 200, description = "The bytes", content_type = "application/octet-stream"),
        (status = 206, description = "The range asked for", content_type = "application/octet-stream"),
        (status = 304, description = "Known already"),
        ProblemBody,
    )
)]
pub(crate) async fn download(
    State(service): State<Arc<Service>>,
    Extension(login): Extension<Arc<Login>>,
    Path(id): Path<String>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let PathQuery { path } = query(&uri)?;
    let path = tree_path(&path)?;
    let answering = Arc::clone(&service);
    on_pool(&service, "reading a file of a snapshot", move |service| {
        let own = Own::find(service, &login, &id)?;
        let file = file_in(service, &own, &path)?;
        content::answer_as(
            &answering,
            &own.vault,
            (path.name().unwrap_or_default(), &file),
            content::Presentation::Saved,
            &headers,
        )
    })
    .await
}

/// A folder of a snapshot as a ZIP archive (ZIP64, not compressed). What cannot be read ends the connection. Links are
/// links in it; owners and extended attributes are not: `backup-client restore` brings those back.
#[utoipa::path(
    get,
    path = "/api/v1/snapshots/{id}/archive",
    params(("id" = String, Path, description = "All 64 digits"), PathQuery),
    responses((status = 200, description = "The archive", content_type = "application/zip"), ProblemBody)
)]
pub(crate) async fn pack(
    State(service): State<Arc<Service>>,
    Extension(login): Extension<Arc<Login>>,
    Path(id): Path<String>,
    uri: Uri,
) -> Result<Response, Problem> {
    let PathQuery { path } = query(&uri)?;
    let path = tree_path(&path)?;
    let name = path.name().unwrap_or(b"snapshot").to_vec();
    let shown = String::from_utf8_lossy(&[&name[..], b".zip"].concat()).into_owned();
    let watched = Arc::clone(&service);
    let made = on_pool(&service, "making an archive", move |service| {
        let own = Own::find(service, &login, &id)?;
        let (mut browser, root) = own.browse(service)?;
        let node = browser.find(root, &path).map_err(|error| refused("looking for a folder", &error))?;
        let tree = node.tree().ok_or_else(|| problem::new(StatusCode::CONFLICT, "this is no folder"))?;
        let outgoing = Outgoing::new(&watched, &own.vault, shown, None);
        Ok((Archive::of_snapshot(&service.home.store, &own.vault, tree), outgoing))
    });
    let made = made.await?;
    Ok(archive::answer(service, made, &name))
}

/// Files and folders of a snapshot as a ZIP archive, each under its own name. Made by a form of a page, it comes as a
/// download.
#[utoipa::path(
    post,
    path = "/api/v1/snapshots/{id}/archive",
    params(("id" = String, Path, description = "All 64 digits")),
    request_body(content = archive::Paths, content_type = "application/x-www-form-urlencoded"),
    responses((status = 200, description = "The archive", content_type = "application/zip"), ProblemBody)
)]
pub(crate) async fn pack_these(
    State(service): State<Arc<Service>>,
    Extension(login): Extension<Arc<Login>>,
    Path(id): Path<String>,
    headers: HeaderMap,
    said: Body,
) -> Result<Response, Problem> {
    let said = archive::paths_in(&archive::form(&headers, said).await?)?;
    let paths = said.iter().map(|said| tree_path(said)).collect::<Result<Vec<_>, _>>()?;
    let mut names: Vec<_> = paths.iter().map(TreePath::name).collect();
    names.sort_unstable();
    if names.windows(2).any(|pair| pair[0] == pair[1]) || names[0].is_none() {
        let detail = "each has a name, and no two the same: that would be one file in the archive";
        return Err(problem::new(StatusCode::BAD_REQUEST, detail));
    }
    let watched = Arc::clone(&service);
    let made = on_pool(&service, "making an archive", move |service| {
        let own = Own::find(service, &login, &id)?;
        let (mut browser, root) = own.browse(service)?;
        let mut entries = Vec::with_capacity(paths.len());
        for path in &paths {
            match browser.find(root, path).map_err(|error| refused("looking for a file", &error))? {
                Node::Entry(entry) => entries.push(entry),
                Node::Root(_) => {}
            }
        }
        let outgoing = Outgoing::new(&watched, &own.vault, "snapshot.zip".to_owned(), None);
        Ok((Archive::of_entries(&service.home.store, &own.vault, entries), outgoing))
    });
    let made = made.await?;
    Ok(archive::answer(service, made, b"snapshot"))
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct SearchQuery {
    /// What a name has to contain, in capitals or not: 1 to 255 bytes.
    q: String,
    /// Where the page before ended, as it said.
    cursor: Option<String>,
    limit: Option<usize>,
}

/// Names in a snapshot, in the order of their paths. One request looks at 100 000 entries at most: where `next` is said,
/// there is more to be looked at.
#[utoipa::path(
    get,
    path = "/api/v1/snapshots/{id}/search",
    params(("id" = String, Path, description = "All 64 digits"), SearchQuery),
    responses((status = 200, description = "A page", body = SnapshotPage<SnapshotEntry>), ProblemBody)
)]
pub(crate) async fn search(
    State(service): State<Arc<Service>>,
    Extension(login): Extension<Arc<Login>>,
    Path(id): Path<String>,
    uri: Uri,
) -> Result<Response, Problem> {
    let SearchQuery { q, cursor, limit } = query(&uri)?;
    if q.is_empty() || q.len() > QUERY_LEN_MAX {
        let detail = format!("a search is for 1 to {QUERY_LEN_MAX} bytes");
        return Err(problem::new(StatusCode::BAD_REQUEST, &detail));
    }
    let (wanted, cursor) = (q.to_lowercase(), tree_path(cursor.as_deref().unwrap_or_default())?);
    let limit = limit.unwrap_or(FOUND_LEN).clamp(1, FOUND_LEN_MAX);
    let page = on_pool(&service, "searching a snapshot", move |service| {
        let (mut browser, root) = Own::find(service, &login, &id)?.browse(service)?;
        let failed = |error| refused("searching a snapshot", &error);
        let mut walk = Walk::new(None, Some(root));
        walk.skip_to(&mut browser, &cursor).map_err(failed)?;
        let mut page = SnapshotPage { items: Vec::new(), next: None, unreadable: 0 };
        let mut looked_at = 0;
        while let Some((path, pair)) = walk.next(&mut browser).map_err(failed)? {
            let entry = pair.after.expect("there is one tree");
            if String::from_utf8_lossy(&entry.name).to_lowercase().contains(&wanted) {
                page.items.push(SnapshotEntry::new(&path, &entry));
            }
            looked_at += 1;
            if page.items.len() == limit || looked_at == LOOKED_AT_MAX || service.stop.is_cancelled() {
                page.next = Some(path.encode());
                break;
            }
        }
        page.unreadable = walk.unreadable;
        Ok(page)
    });
    Ok(json(StatusCode::OK, &page.await?))
}
