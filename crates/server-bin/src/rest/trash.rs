//! `/api/v1/trash`: what was removed, bringing it back, and deleting it for good.

#![expect(unused_qualifications, reason = "the macro that describes the routes writes them")]

use std::sync::Arc;

use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::Response;
use proto::{DrivePath, DriveTrash};
use serde::{Deserialize, Serialize};
use store::{NodeId, Role};
use utoipa::{IntoParams, ToSchema};
use zeroize::Zeroizing;

use crate::access::{Action, allowed};
use crate::audit::Event;
use crate::login::Login;
use crate::options::PermanentDelete;
use crate::rest::account::confirm;
use crate::rest::entries::Page;
use crate::rest::parse::{ChangeKey, Numeral, body, encoded, path, query};
use crate::rest::problem::{Problem, ProblemBody};
use crate::rest::{change_on, json, problem, with_drive};
use crate::service::Service;

const PAGE_LEN: u16 = 1000;

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ListQuery {
    /// Where the page before ended, as it said.
    cursor: Option<Numeral>,
    limit: Option<u16>,
}

/// Something that was removed.
#[derive(Debug, Serialize, ToSchema)]
struct Trashed {
    /// What brings exactly this back; stays the same while it is in the trash.
    id: String,
    /// Where it was; each name percent-encoded.
    path: String,
    /// Bytes in a file; a folder has none.
    size: Option<u64>,
    /// Since when it is there, in milliseconds since 1970.
    trashed_ms: u64,
    /// When it goes for good.
    purge_ms: u64,
}

/// What was removed, what was made last first.
#[utoipa::path(
    get,
    path = "/api/v1/trash",
    params(ListQuery),
    responses((status = 200, description = "A page", body = Page<Trashed>), ProblemBody)
)]
pub(crate) async fn list(
    State(service): State<Arc<Service>>,
    Extension(login): Extension<Arc<Login>>,
    uri: Uri,
) -> Result<Response, Problem> {
    let ListQuery { cursor, limit } = query(&uri)?;
    let limit = u32::from(limit.unwrap_or(PAGE_LEN).clamp(1, PAGE_LEN));
    let asked = DriveTrash { before: cursor.map(Numeral::get), limit };
    let page = with_drive(&service, &login, move |service, drive| {
        let trashed = drive.view(service).trash(&asked, service.home.settings.trash_delay_ms());
        let trashed = trashed.map_err(|error| problem::of_drive("listing the trash", &error))?;
        let items = trashed.items.into_iter().map(|item| Trashed {
            id: item.number.to_string(),
            path: encoded(item.path.as_bytes()),
            size: item.size,
            trashed_ms: item.trashed_ms,
            purge_ms: item.purge_ms,
        });
        Ok(Page { items: items.collect(), next: trashed.next.map(|next| next.to_string()) })
    });
    Ok(json(StatusCode::OK, &page.await?))
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct TrashRestore {
    /// As the list has it.
    id: Option<Numeral>,
    /// In place of the id: what was removed from this path last.
    path: Option<String>,
    /// Where its name is taken by now, bring it back as `name (1).ext`, or the first number that is free. With an id only.
    #[serde(default)]
    keep_both: bool,
}

/// What was brought back.
#[derive(Debug, Serialize, ToSchema)]
struct Restored {
    /// The drive's version after it.
    version: u64,
    /// Whether this had been asked for, and done, before.
    is_repeated: bool,
    /// Where it is now; each name percent-encoded. None when it went elsewhere meanwhile.
    path: Option<String>,
}

/// Brings something back from the trash, by its id or by its path, into the folder it was in. 409 when something else has its
/// name now; 404 when it is not in the trash, or the folder it was in is.
#[utoipa::path(
    post,
    path = "/api/v1/trash/restore",
    params(
        (
            "Idempotency-Key" = Option<String>,
            Header,
            description = "1 to 128 bytes: asked again under the same key, it is not done again",
        ),
    ),
    request_body = TrashRestore,
    responses((status = 200, description = "Done", body = Restored), ProblemBody)
)]
pub(crate) async fn restore(
    State(service): State<Arc<Service>>,
    Extension(login): Extension<Arc<Login>>,
    headers: HeaderMap,
    said: Body,
) -> Result<Response, Problem> {
    let TrashRestore { id, path: said, keep_both } = body(&headers, said).await?;
    let wanted = match (id, said) {
        (Some(id), None) => Wanted::Node(NodeId(i64::try_from(id.get()).unwrap_or(i64::MAX)), keep_both),
        (None, Some(said)) if !keep_both => Wanted::Last(path(&said)?),
        _ => return Err(problem::new(StatusCode::BAD_REQUEST, "say either id, with or without keep_both, or path")),
    };
    let key = ChangeKey::of(&headers)?.key;
    let restored = with_drive(&service, &login, move |service, drive| {
        let committed = change_on(service, drive, |mut editor| match &wanted {
            Wanted::Node(node, beside) => editor.bring_back(key, *node, *beside),
            Wanted::Last(path) => editor.undelete(key, path),
        })?;
        let path = match wanted {
            Wanted::Node(node, _) => {
                let path = drive.view(service).path_of(node);
                path.map_err(|error| problem::of_drive("looking for what was brought back", &error))?
            }
            Wanted::Last(path) => Some(path),
        };
        Ok(Restored {
            version: committed.versions.last().copied().unwrap_or_default(),
            is_repeated: committed.repeated,
            path: path.map(|path| encoded(path.as_bytes())),
        })
    });
    Ok(json(StatusCode::OK, &restored.await?))
}

/// Most entries that one request deletes for good.
const PURGED_MAX: usize = 1000;

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct TrashPurge {
    /// As the list has them: 1 to 1000.
    ids: Vec<Numeral>,
    /// The account's, again.
    #[schema(value_type = String)]
    password: Zeroizing<String>,
}

/// What was deleted for good.
#[derive(Debug, Serialize, ToSchema)]
struct PurgedCount {
    /// How many of the ids were in the trash.
    purged: u64,
}

/// Deletes for good what is in the trash, before its time. 403 unless the server's setting `permanent-delete` allows it to
/// the account. Space comes back with the next collection of garbage.
#[utoipa::path(
    post,
    path = "/api/v1/trash/purge",
    request_body = TrashPurge,
    responses((status = 200, description = "Done", body = PurgedCount), ProblemBody)
)]
pub(crate) async fn purge(
    State(service): State<Arc<Service>>,
    Extension(login): Extension<Arc<Login>>,
    headers: HeaderMap,
    said: Body,
) -> Result<Response, Problem> {
    let TrashPurge { ids, password } = body(&headers, said).await?;
    if ids.is_empty() || ids.len() > PURGED_MAX {
        let detail = format!("say 1 to {PURGED_MAX} ids");
        return Err(problem::new(StatusCode::BAD_REQUEST, &detail));
    }
    if !may_purge(&service, &login) {
        let detail = "this account may not delete for good (setting permanent-delete); the trash is emptied by age";
        return Err(problem::new(StatusCode::FORBIDDEN, detail));
    }
    confirm(&service, &login, password).await?;
    let nodes: Vec<NodeId> = ids.into_iter().filter_map(|id| i64::try_from(id.get()).ok().map(NodeId)).collect();
    let asking = Arc::clone(&login);
    let purged = with_drive(&service, &login, move |service, drive| {
        let purged = service.home.store.purge_from_drive(drive.vault.id, &nodes);
        let purged = purged.map_err(|error| problem::of_store("deleting for good", &error))?;
        let what = format!("{purged} entries, by hand");
        asking.actor().note(&service.home.store, Event::TrashPurged, &asking.account.name, &what);
        Ok(PurgedCount { purged })
    });
    Ok(json(StatusCode::OK, &purged.await?))
}

/// Whether whoever is logged in may delete for good.
pub(super) fn may_purge(service: &Service, login: &Login) -> bool {
    let is_let = match service.home.settings.permanent_delete {
        PermanentDelete::Off => false,
        PermanentDelete::Admins => login.account.role == Role::Admin,
        PermanentDelete::Everybody => true,
    };
    is_let && allowed(login.who(), Action::Purge)
}

/// What is to come back.
enum Wanted {
    /// Exactly this, and whether it may get another name.
    Node(NodeId, bool),
    /// What was removed from here last.
    Last(DrivePath),
}
