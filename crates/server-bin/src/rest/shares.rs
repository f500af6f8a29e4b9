//! `/api/v1/shares`: links that let people without an account get at one file or folder, or put files into one.

use std::sync::Arc;

use axum::Extension;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::Response;
use proto::Secret;
use serde::{Deserialize, Serialize};
use store::{NewShare, ShareId, UnixMs};
use utoipa::ToSchema;
use zeroize::Zeroizing;

use crate::clock;
use crate::keys::random;
use crate::live::{Activity, ActivityKind};
use crate::login::{self, Login};
use crate::porter::{Porter, share_url};
use crate::qr;
use crate::rest::account::confirm;
use crate::rest::entries::Page;
use crate::rest::paging::PageQuery;
use crate::rest::parse::{body, encoded, path};
use crate::rest::problem::{Problem, ProblemBody};
use crate::rest::{Drive, devices, done, json, problem, with_drive};
use crate::service::Service;

/// What a share is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
enum ShareKind {
    /// To read a file, or all that is in a folder.
    Download,
    /// To put files into a folder, without seeing what is there.
    Upload,
}

impl From<store::ShareKind> for ShareKind {
    fn from(kind: store::ShareKind) -> Self {
        match kind {
            store::ShareKind::Download => Self::Download,
            store::ShareKind::Upload => Self::Upload,
        }
    }
}

impl From<ShareKind> for store::ShareKind {
    fn from(kind: ShareKind) -> Self {
        match kind {
            ShareKind::Download => Self::Download,
            ShareKind::Upload => Self::Upload,
        }
    }
}

/// A way to one file or folder.
#[derive(Debug, Serialize, ToSchema)]
struct Share {
    id: String,
    kind: ShareKind,
    /// Where the file or folder is now, as in an entry's `path`; none while it is in the trash, or gone.
    path: Option<String>,
    has_password: bool,
    /// Milliseconds since 1970.
    created_ms: u64,
    /// After this it is void.
    expires_ms: Option<u64>,
    /// When it was used last.
    last_used_ms: Option<u64>,
    /// Since when it is void.
    revoked_ms: Option<u64>,
    /// Downloads, or files that were put, so far.
    uses: u64,
    /// Most of them.
    uses_max: Option<u64>,
    /// Longest file that is put, in bytes.
    file_len_max: Option<u64>,
    /// What opens it, for whoever has it; only in the answer that made it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    link: Option<String>,
    /// The same as a QR code: an SVG document.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    qr_svg: Option<String>,
}

impl Share {
    fn of(service: &Service, drive: &Drive, share: &store::Share) -> Result<Self, Problem> {
        let found = drive.view(service).path_of(share.node);
        let path = found.map_err(|error| problem::of_drive("looking at a share", &error))?;
        Ok(Self {
            id: share.id.to_string(),
            kind: share.kind.into(),
            path: path.map(|path| encoded(path.as_bytes())),
            has_password: share.password_hash.is_some(),
            created_ms: clock::wire_ms(share.created),
            expires_ms: share.expires.map(clock::wire_ms),
            last_used_ms: share.last_used.map(clock::wire_ms),
            revoked_ms: share.revoked.map(clock::wire_ms),
            uses: share.uses,
            uses_max: share.uses_max,
            file_len_max: share.file_len_max,
            link: None,
            qr_svg: None,
        })
    }
}

/// The account's shares, newest first; those that are void stay in the list for some 30 days.
#[utoipa::path(
    get,
    path = "/api/v1/shares",
    params(PageQuery),
    responses((status = 200, description = "A page", body = Page<Share>), ProblemBody)
)]
pub(crate) async fn list(
    State(service): State<Arc<Service>>,
    Extension(login): Extension<Arc<Login>>,
    uri: Uri,
) -> Result<Response, Problem> {
    let asked = PageQuery::of(&uri)?;
    let account = login.account_id();
    let page = with_drive(&service, &login, move |service, drive| {
        let shares = service.home.store.shares(account);
        let shares = shares.map_err(|error| problem::of_store("listing shares", &error))?;
        let (shares, next) = asked.cut(shares, |share| share.id.to_string())?;
        let items = shares.iter().map(|share| Share::of(service, drive, share)).collect::<Result<Vec<_>, _>>()?;
        Ok(Page { items, next })
    });
    Ok(json(StatusCode::OK, &page.await?))
}

/// One of them.
#[utoipa::path(
    get,
    path = "/api/v1/shares/{id}",
    params(("id" = String, Path, description = "As the list has it")),
    responses((status = 200, description = "The share", body = Share), ProblemBody)
)]
pub(crate) async fn look(
    State(service): State<Arc<Service>>,
    Extension(login): Extension<Arc<Login>>,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let asking = Arc::clone(&login);
    let share = with_drive(&service, &login, move |service, drive| {
        let share = own(service, &asking, &id)?;
        Share::of(service, drive, &share)
    });
    Ok(json(StatusCode::OK, &share.await?))
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ShareBody {
    kind: ShareKind,
    /// A file or folder, as in an entry's `path`; to upload into, a folder.
    path: String,
    /// After so many milliseconds it is void; none: never, which wants `account_password`.
    expires_in_ms: Option<u64>,
    /// What is asked for beside the link: 8 to 1024 bytes.
    #[schema(value_type = Option<String>)]
    password: Option<Zeroizing<String>>,
    /// Most downloads, or files that are put.
    uses_max: Option<u64>,
    /// Longest file that is put, in bytes.
    file_len_max: Option<u64>,
    /// The account's, again.
    #[schema(value_type = Option<String>)]
    account_password: Option<Zeroizing<String>>,
}

/// Makes a share. The link is in the answer, and nowhere else.
#[utoipa::path(
    post,
    path = "/api/v1/shares",
    request_body = ShareBody,
    responses((status = 201, description = "The share", body = Share), ProblemBody)
)]
pub(crate) async fn make(
    State(service): State<Arc<Service>>,
    Extension(login): Extension<Arc<Login>>,
    headers: HeaderMap,
    said: Body,
) -> Result<Response, Problem> {
    let said: ShareBody = body(&headers, said).await?;
    let path = path(&said.path)?;
    if said.uses_max == Some(0) || said.file_len_max == Some(0) {
        return Err(problem::new(StatusCode::BAD_REQUEST, "a limit of nothing: leave it away, or make no share"));
    }
    match (said.expires_in_ms, said.account_password) {
        (Some(_), _) => {}
        (None, Some(password)) => confirm(&service, &login, password).await?,
        (None, None) => {
            let detail = "a share that never ends wants the account's password: say account_password, or expires_in_ms";
            return Err(problem::new(StatusCode::FORBIDDEN, detail));
        }
    }
    let password = match said.password {
        Some(password) => Some(login::hash_password(&service, password).await?),
        None => None,
    };
    let origin = origin(&service, &headers);
    let shared = path.clone();
    let (account, actor) = (login.account.clone(), login.actor());
    let (kind, expires_in_ms, uses_max, file_len_max) =
        (said.kind, said.expires_in_ms, said.uses_max, said.file_len_max);
    let share = with_drive(&service, &login, move |service, drive| {
        let failed = |error| problem::of_store("making a share", &error);
        let (node, is_folder) =
            drive.view(service).node_at(&path).map_err(|error| problem::of_drive("making a share", &error))?;
        if kind == ShareKind::Upload && !is_folder {
            return Err(problem::new(StatusCode::CONFLICT, "files are put into a folder, and this is a file"));
        }
        let draw = |failure| problem::internal("making a share", &failure);
        let id = ShareId::from_bytes(random().map_err(draw)?);
        let secret = Secret::new(random::<16>().map_err(draw)?);
        let now = clock::now();
        let new = NewShare {
            id,
            account: account.id,
            vault: drive.vault.id,
            node,
            kind: kind.into(),
            token_hash: service.home.keys.share_hash(&secret),
            password: password.as_deref(),
            expires: expires_in_ms.map(|ms| UnixMs(now.0.saturating_add(i64::try_from(ms).unwrap_or(i64::MAX)))),
            uses_max,
            file_len_max,
        };
        let porter = Porter { home: &service.home, revoked: None, actor };
        porter.share(&account, &new, now).map_err(failed)?;
        let share = service.home.store.share(id).map_err(failed)?.ok_or_else(missing)?;
        let link = share_url(&origin, kind.into(), &secret);
        let qr_svg = qr::svg(&link);
        Ok(Share { link: Some(link), qr_svg, ..Share::of(service, drive, &share)? })
    });
    let share = share.await?;
    service.feed.push(Activity::of_drive(ActivityKind::Share, &login.account, &shared, String::new()));
    Ok(json(StatusCode::CREATED, &share))
}

/// Where browsers find the server, with the last slash: as the settings say, else as this one did.
fn origin(service: &Service, headers: &HeaderMap) -> String {
    let address = devices::address(service, headers);
    let said = headers.get(header::ORIGIN).and_then(|origin| origin.to_str().ok()).unwrap_or_default();
    // A proxy that ends TLS is in front.
    let is_plain = service.home.settings.plain_http && !said.starts_with("https://");
    let scheme = if is_plain { "http" } else { "https" };
    format!("{scheme}://{address}{}/", service.home.settings.base_path)
}

/// Voids a share for ever.
#[utoipa::path(
    delete,
    path = "/api/v1/shares/{id}",
    params(("id" = String, Path, description = "As the list has it")),
    responses((status = 204, description = "Void"), ProblemBody)
)]
pub(crate) async fn revoke(
    State(service): State<Arc<Service>>,
    Extension(login): Extension<Arc<Login>>,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let asking = Arc::clone(&login);
    with_drive(&service, &login, move |service, _| {
        let share = own(service, &asking, &id)?;
        let porter = Porter { home: &service.home, revoked: None, actor: asking.actor() };
        let revoked = porter.revoke_share(&asking.account.name, share.id);
        revoked.map_err(|error| problem::of_store("revoking a share", &error))
    })
    .await?;
    Ok(done())
}

/// Another's is as good as none.
fn own(service: &Service, login: &Login, id: &str) -> Result<store::Share, Problem> {
    let id: ShareId = id.parse().map_err(|_| missing())?;
    let share = service.home.store.share(id).map_err(|error| problem::of_store("looking for a share", &error))?;
    share.filter(|share| share.account.id == login.account_id()).ok_or_else(missing)
}

fn missing() -> Problem {
    problem::new(StatusCode::NOT_FOUND, "there is no such share")
}
