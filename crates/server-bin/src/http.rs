//! What is served over HTTP, and to whom: health, metrics, the binary protocol, REST, the browser application.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, any, delete, get, head, patch, post, put};
use axum::{Extension, body::Body};
use serde_json::json;
use web_ui::Part;

use crate::access::{self, Action, Who};
use crate::catalog_backup;
use crate::connect;
use crate::dav;
use crate::listen::Peer;
use crate::login::{self, Caller, Cookies};
use crate::options::MetricsAccess;
use crate::rest::{
    account, accounts, activity, archive, audit, devices, events, files, folders, form, health, known, links, openapi,
    problem, repeat, search, second_factor, server, session, setup, shares, statistics, thumbnails, tickets, tokens,
    trash, tus, versions,
};
use crate::rest::{chains, digest, jobs, retention, snapshots};
use crate::service::Service;

/// Longest path and query.
const URI_LEN_MAX: usize = 8 << 10;

/// What is the same under every name: devices show who they are and are no browsers, and health is nothing to steal.
const FOR_ANY_HOST: [&str; 3] = ["/api/v1/connect", "/healthz", "/readyz"];
const UNKNOWN_HOST: &str = "this server is not known by the name in the address: ask for it by its IP address, or add the name \
                            to its setting `hosts`";

const CROSS_ORIGIN_RESOURCE_POLICY: HeaderName = HeaderName::from_static("cross-origin-resource-policy");

/// How a request came.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Transport {
    /// Over TLS.
    pub(crate) is_tls: bool,
    /// With a certificate that somebody else issued.
    pub(crate) is_issued: bool,
}

/// On every answer that does not say otherwise itself: nothing here is for other sites to embed, frame, guess the type of or
/// be told about, and pages run only what the browser application brings.
const SECURITY_HEADERS: [(HeaderName, HeaderValue); 8] = [
    (
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static(
            "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; media-src 'self'; \
             connect-src 'self'; frame-src 'self'; manifest-src 'self'; form-action 'self'; base-uri 'none'; \
             frame-ancestors 'none'; require-trusted-types-for 'script'",
        ),
    ),
    (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
    (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    (HeaderName::from_static("cross-origin-opener-policy"), HeaderValue::from_static("same-origin")),
    (CROSS_ORIGIN_RESOURCE_POLICY, HeaderValue::from_static("same-origin")),
    (HeaderName::from_static("permissions-policy"), HeaderValue::from_static("interest-cohort=()")),
    (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
];

/// Where the certificate is an authority's, browsers come by TLS alone from then on (RFC 6797). With one of our own this would
/// take the way past their warning away.
const STRICT_TRANSPORT: HeaderValue = HeaderValue::from_static("max-age=31536000");

/// Of the page in which a PDF is drawn, which only the application's pages may frame. Whatever a PDF makes of its script is of
/// no origin, also in a window of its own, and can ask nobody for anything; decoders of pictures are WebAssembly.
const FRAME_POLICY: HeaderValue = HeaderValue::from_static(
    "sandbox allow-scripts; default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; form-action 'none'; base-uri 'none'; \
     frame-ancestors 'self'; require-trusted-types-for 'script'; trusted-types 'none'",
);

/// Everything that is served. There is no other way to serve something: each has its place in the table of who may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Route {
    /// The start page of the browser application.
    Page,
    /// Its files and its other screens.
    Screen,
    /// Whether the server is there.
    Alive,
    /// Whether it takes backups.
    Ready,
    /// What it counts.
    Metrics,
    /// The binary protocol.
    Connect,
    /// The description of what is under `/api/v1`.
    OpenApi,
    /// A browser's session: whether there is one, logging in and out.
    Session,
    /// Setting an account up with the link for it.
    Setup,
    /// Who is logged in.
    Me,
    /// One's own password.
    Password,
    /// A second factor, begun.
    SecondFactor,
    /// The same, asked for from now on.
    SecondFactorConfirm,
    /// The same, not any more.
    SecondFactorRemove,
    /// Browsers that are logged in.
    Sessions,
    /// One of them.
    OneSession,
    /// What scripts log in with.
    Tokens,
    /// One of them.
    Token,
    /// The account's devices.
    Devices,
    /// One of them.
    Device,
    /// Strings that let devices in.
    Enrolments,
    /// All accounts.
    Accounts,
    /// One of them.
    Account,
    /// A link for somebody to set an account up with.
    AccountSetupLink,
    /// The second factor of an account whose owner lost it.
    AccountSecondFactor,
    /// What was done, by whom.
    Audit,
    /// What goes on, as it does.
    Events,
    /// What happened lately.
    Activity,
    /// How many bytes went through, and lie here.
    Statistics,
    /// What is wrong, and how devices are doing.
    Health,
    /// How the server is doing, for those who run it.
    Server,
    /// Its clock, or devices and tokens that wait, confirmed.
    ServerConfirmation,
    /// A file's bytes.
    File,
    /// Files as forms send them.
    Form,
    /// Whether files are here already.
    Known,
    /// A file whose content is here already.
    Place,
    /// Files and folders as one archive.
    Zip,
    /// One entry of the drive.
    Entry,
    /// A folder of the drive.
    Folder,
    /// Another place or name.
    Move,
    /// A second entry with the same content.
    Copy,
    /// All states of a file.
    Versions,
    /// An old state of a file as its newest.
    VersionRestore,
    /// What was removed from the drive.
    Trash,
    /// Something back from there.
    TrashRestore,
    /// Something there for good.
    TrashPurge,
    /// Entries of the drive by their names.
    Search,
    /// Links for people without an account.
    Shares,
    /// One of them.
    Share,
    /// What whoever has such a link sees.
    Link,
    /// A file of it.
    LinkFile,
    /// All of it as one archive.
    LinkZip,
    /// A folder that takes files from whoever has the link.
    LinkUpload,
    /// A small picture of a file.
    Thumbnail,
    /// SHA-256 of a file.
    Digest,
    /// What opens one version of a file for a minute.
    Tickets,
    /// That version.
    Content,
    /// Files on their way in, part by part.
    Uploads,
    /// One of them.
    Upload,
    /// What the account's devices back up.
    Chains,
    /// One path through all snapshots of a chain.
    Timeline,
    /// What stays of a chain.
    ChainRetention,
    /// What would stay by other rules.
    RetentionSimulation,
    /// An unusual change that was meant.
    ChangeConfirmation,
    /// What stays where a chain has no rules of its own.
    Retention,
    /// Snapshots.
    Snapshots,
    /// One of them.
    Snapshot,
    /// One of them back from the trash.
    SnapshotUndelete,
    /// One of them that nothing takes away.
    SnapshotHold,
    /// A folder of a snapshot.
    SnapshotEntries,
    /// A file of a snapshot.
    SnapshotContent,
    /// A small picture of a file of a snapshot.
    SnapshotThumbnail,
    /// SHA-256 of a file of a snapshot.
    SnapshotDigest,
    /// A folder of a snapshot as one archive.
    SnapshotArchive,
    /// Names in a snapshot.
    SnapshotSearch,
    /// Names in all snapshots.
    SnapshotsSearch,
    /// What became of a snapshot's files.
    SnapshotDiff,
    /// Long work on the store.
    Jobs,
    /// One piece of it.
    Job,
    /// The drive, by WebDAV.
    Dav,
}

impl Route {
    /// All routes.
    pub(crate) const ALL: [Self; 80] = [
        Self::Page,
        Self::Screen,
        Self::Alive,
        Self::Ready,
        Self::Metrics,
        Self::Connect,
        Self::OpenApi,
        Self::Session,
        Self::Setup,
        Self::Me,
        Self::Password,
        Self::SecondFactor,
        Self::SecondFactorConfirm,
        Self::SecondFactorRemove,
        Self::Sessions,
        Self::OneSession,
        Self::Tokens,
        Self::Token,
        Self::Devices,
        Self::Device,
        Self::Enrolments,
        Self::Accounts,
        Self::Account,
        Self::AccountSetupLink,
        Self::AccountSecondFactor,
        Self::Audit,
        Self::Events,
        Self::Activity,
        Self::Statistics,
        Self::Health,
        Self::Server,
        Self::ServerConfirmation,
        Self::File,
        Self::Form,
        Self::Known,
        Self::Place,
        Self::Zip,
        Self::Entry,
        Self::Folder,
        Self::Move,
        Self::Copy,
        Self::Versions,
        Self::VersionRestore,
        Self::Trash,
        Self::TrashRestore,
        Self::TrashPurge,
        Self::Search,
        Self::Shares,
        Self::Share,
        Self::Link,
        Self::LinkFile,
        Self::LinkZip,
        Self::LinkUpload,
        Self::Thumbnail,
        Self::Digest,
        Self::Tickets,
        Self::Content,
        Self::Uploads,
        Self::Upload,
        Self::Chains,
        Self::Timeline,
        Self::ChainRetention,
        Self::RetentionSimulation,
        Self::ChangeConfirmation,
        Self::Retention,
        Self::Snapshots,
        Self::Snapshot,
        Self::SnapshotUndelete,
        Self::SnapshotHold,
        Self::SnapshotEntries,
        Self::SnapshotContent,
        Self::SnapshotThumbnail,
        Self::SnapshotDigest,
        Self::SnapshotArchive,
        Self::SnapshotSearch,
        Self::SnapshotsSearch,
        Self::SnapshotDiff,
        Self::Jobs,
        Self::Job,
        Self::Dav,
    ];

    /// Where it is.
    pub(crate) fn path(self) -> &'static str {
        match self {
            Self::Page => "/",
            Self::Screen => "/{*path}",
            Self::Alive => "/healthz",
            Self::Ready => "/readyz",
            Self::Metrics => "/metrics",
            Self::Connect => "/api/v1/connect",
            Self::OpenApi => "/api/v1/openapi.json",
            Self::Session => "/api/v1/session",
            Self::Setup => "/api/v1/setup",
            Self::Me => "/api/v1/me",
            Self::Password => "/api/v1/me/password",
            Self::SecondFactor => "/api/v1/me/second-factor",
            Self::SecondFactorConfirm => "/api/v1/me/second-factor/confirm",
            Self::SecondFactorRemove => "/api/v1/me/second-factor/remove",
            Self::Sessions => "/api/v1/sessions",
            Self::OneSession => "/api/v1/sessions/{id}",
            Self::Tokens => "/api/v1/tokens",
            Self::Token => "/api/v1/tokens/{id}",
            Self::Devices => "/api/v1/devices",
            Self::Device => "/api/v1/devices/{id}",
            Self::Enrolments => "/api/v1/enrolments",
            Self::Accounts => "/api/v1/accounts",
            Self::Account => "/api/v1/accounts/{name}",
            Self::AccountSetupLink => "/api/v1/accounts/{name}/setup-link",
            Self::AccountSecondFactor => "/api/v1/accounts/{name}/second-factor",
            Self::Audit => "/api/v1/audit",
            Self::Events => "/api/v1/events",
            Self::Activity => "/api/v1/activity",
            Self::Statistics => "/api/v1/statistics",
            Self::Health => "/api/v1/health",
            Self::Server => "/api/v1/server",
            Self::ServerConfirmation => "/api/v1/server/confirm",
            Self::File => "/api/v1/files/{*path}",
            Self::Form => "/api/v1/files",
            Self::Known => "/api/v1/known",
            Self::Place => "/api/v1/place",
            Self::Zip => "/api/v1/zip",
            Self::Entry => "/api/v1/entry",
            Self::Folder => "/api/v1/folder",
            Self::Move => "/api/v1/move",
            Self::Copy => "/api/v1/copy",
            Self::Versions => "/api/v1/versions",
            Self::VersionRestore => "/api/v1/versions/restore",
            Self::Trash => "/api/v1/trash",
            Self::TrashRestore => "/api/v1/trash/restore",
            Self::TrashPurge => "/api/v1/trash/purge",
            Self::Search => "/api/v1/search",
            Self::Shares => "/api/v1/shares",
            Self::Share => "/api/v1/shares/{id}",
            Self::Link => "/s/{token}",
            Self::LinkFile => "/s/{token}/file",
            Self::LinkZip => "/s/{token}/zip",
            Self::LinkUpload => "/u/{token}",
            Self::Thumbnail => "/api/v1/thumbnail",
            Self::Digest => "/api/v1/sha256",
            Self::Tickets => "/api/v1/tickets",
            Self::Content => "/content/{ticket}",
            Self::Uploads => "/api/v1/uploads",
            Self::Upload => "/api/v1/uploads/{id}",
            Self::Chains => "/api/v1/chains",
            Self::Timeline => "/api/v1/chains/{id}/timeline",
            Self::ChainRetention => "/api/v1/chains/{id}/retention",
            Self::RetentionSimulation => "/api/v1/chains/{id}/retention/simulate",
            Self::ChangeConfirmation => "/api/v1/chains/{id}/confirm-change",
            Self::Retention => "/api/v1/retention",
            Self::Snapshots => "/api/v1/snapshots",
            Self::Snapshot => "/api/v1/snapshots/{id}",
            Self::SnapshotUndelete => "/api/v1/snapshots/{id}/undelete",
            Self::SnapshotHold => "/api/v1/snapshots/{id}/hold",
            Self::SnapshotEntries => "/api/v1/snapshots/{id}/entries",
            Self::SnapshotContent => "/api/v1/snapshots/{id}/content",
            Self::SnapshotThumbnail => "/api/v1/snapshots/{id}/thumbnail",
            Self::SnapshotDigest => "/api/v1/snapshots/{id}/sha256",
            Self::SnapshotArchive => "/api/v1/snapshots/{id}/archive",
            Self::SnapshotSearch => "/api/v1/snapshots/{id}/search",
            Self::SnapshotsSearch => "/api/v1/search/snapshots",
            Self::SnapshotDiff => "/api/v1/snapshots/{id}/diff",
            Self::Jobs => "/api/v1/jobs",
            Self::Job => "/api/v1/jobs/{number}",
            Self::Dav => "/dav/{*path}",
        }
    }

    /// Where clients that are told an address look for it, too.
    fn other_paths(self) -> &'static [&'static str] {
        match self {
            Self::Uploads => &["/api/v1/uploads/"],
            Self::Dav => &["/dav", "/dav/"],
            _ => &[],
        }
    }

    /// What asking for it by `method` wants, where the metrics are for these; `None` when it is not to be had so.
    pub(crate) fn action(self, method: &Method, metrics: MetricsAccess) -> Option<Action> {
        let is_get = matches!(*method, Method::GET | Method::HEAD);
        let is_post = *method == Method::POST;
        let is_delete = *method == Method::DELETE;
        match self {
            Self::Page | Self::Screen | Self::Alive | Self::Ready | Self::OpenApi => is_get.then_some(Action::See),
            Self::Metrics => is_get.then_some(Action::Measure(metrics)),
            Self::Connect => is_get.then_some(Action::Connect),
            Self::Session if is_delete => Some(Action::SeeSelf),
            Self::Session if is_get => Some(Action::See),
            Self::Session | Self::Setup => is_post.then_some(Action::LogIn),
            Self::Me => is_get.then_some(Action::SeeSelf),
            Self::Sessions | Self::Tokens | Self::Devices if is_get => Some(Action::SeeLogins),
            Self::Password
            | Self::SecondFactor
            | Self::SecondFactorConfirm
            | Self::SecondFactorRemove
            | Self::Tokens => is_post.then_some(Action::KeepLogins),
            Self::Sessions | Self::OneSession | Self::Token => is_delete.then_some(Action::KeepLogins),
            Self::Devices => None,
            Self::Device => is_delete.then_some(Action::Admit),
            Self::Enrolments => is_post.then_some(Action::Admit),
            Self::Accounts if is_get => Some(Action::Oversee),
            Self::Audit | Self::Server => is_get.then_some(Action::Oversee),
            Self::Events | Self::Activity | Self::Statistics | Self::Health => is_get.then_some(Action::Read),
            Self::Accounts | Self::AccountSetupLink | Self::ServerConfirmation => is_post.then_some(Action::Administer),
            Self::Account => (*method == Method::PATCH).then_some(Action::Administer),
            Self::AccountSecondFactor => is_delete.then_some(Action::Administer),
            Self::File => match *method {
                Method::PUT => Some(Action::Change),
                Method::DELETE => Some(Action::TakeAway),
                _ => is_get.then_some(Action::Read),
            },
            Self::Form | Self::Place => is_post.then_some(Action::Change),
            Self::TrashPurge => is_post.then_some(Action::Purge),
            Self::Known | Self::Tickets => is_post.then_some(Action::Read),
            Self::Search | Self::Thumbnail | Self::Digest => is_get.then_some(Action::Read),
            Self::Content | Self::LinkFile | Self::LinkZip => is_get.then_some(Action::See),
            Self::Shares | Self::Share if is_get => Some(Action::SeeLogins),
            Self::Shares => is_post.then_some(Action::Share),
            Self::Share => is_delete.then_some(Action::Share),
            // What a link opens, the link says, and its password.
            Self::Link | Self::LinkUpload => (is_get || is_post).then_some(Action::See),
            Self::Folder if is_post => Some(Action::Change),
            // What a selection names may be more than an address holds; nothing is changed by that.
            Self::Zip | Self::SnapshotArchive => (is_get || is_post).then_some(Action::Read),
            Self::Entry | Self::Folder | Self::Versions | Self::Trash => is_get.then_some(Action::Read),
            Self::Move | Self::Copy | Self::VersionRestore | Self::TrashRestore => is_post.then_some(Action::Change),
            Self::Uploads | Self::Upload if *method == Method::OPTIONS => Some(Action::See),
            Self::Uploads if is_post => Some(Action::Change),
            Self::Uploads => is_get.then_some(Action::Read),
            // Whoever may send a file may ask how far it has come, and give it up: nothing is taken away by that.
            Self::Upload => {
                let is_known = matches!(*method, Method::HEAD | Method::PATCH | Method::DELETE | Method::POST);
                is_known.then_some(Action::Change)
            }
            Self::Snapshot if is_delete => Some(Action::TakeAway),
            Self::Chains
            | Self::Timeline
            | Self::Snapshots
            | Self::Snapshot
            | Self::SnapshotEntries
            | Self::SnapshotContent
            | Self::SnapshotThumbnail
            | Self::SnapshotDigest
            | Self::SnapshotSearch
            | Self::SnapshotsSearch
            | Self::SnapshotDiff => is_get.then_some(Action::Read),
            Self::ChainRetention | Self::Retention if is_get => Some(Action::Read),
            Self::ChainRetention | Self::Retention => (*method == Method::PUT).then_some(Action::Administer),
            Self::RetentionSimulation => is_post.then_some(Action::Read),
            Self::ChangeConfirmation => is_post.then_some(Action::Administer),
            Self::SnapshotUndelete => is_post.then_some(Action::Keep),
            Self::SnapshotHold if is_delete => Some(Action::TakeAway),
            Self::SnapshotHold => (*method == Method::PUT).then_some(Action::Keep),
            Self::Jobs if is_get => Some(Action::Oversee),
            Self::Jobs => is_post.then_some(Action::Administer),
            Self::Job => is_delete.then_some(Action::Administer),
            // What a copy or move takes the place of is looked at where that is known.
            Self::Dav => match method.as_str() {
                "OPTIONS" => Some(Action::See),
                "GET" | "HEAD" | "PROPFIND" => Some(Action::Read),
                "PUT" | "MKCOL" | "COPY" | "MOVE" | "PROPPATCH" | "LOCK" | "UNLOCK" => Some(Action::Change),
                "DELETE" => Some(Action::TakeAway),
                _ => None,
            },
        }
    }

    fn handler(self) -> MethodRouter<Arc<Service>> {
        match self {
            Self::Page | Self::Screen => get(page),
            Self::Alive => get(alive),
            Self::Ready => get(ready),
            Self::Metrics => get(metrics),
            Self::Connect => get(connect::connect),
            Self::OpenApi => get(openapi::document),
            Self::Session => get(session::look).post(session::log_in).delete(session::log_out),
            Self::Setup => post(setup::set_up),
            Self::Me => get(account::me),
            Self::Password => post(account::set_password),
            Self::SecondFactor => post(second_factor::begin),
            Self::SecondFactorConfirm => post(second_factor::confirm),
            Self::SecondFactorRemove => post(second_factor::remove),
            Self::Sessions => get(session::list).delete(session::end_others),
            Self::OneSession => delete(session::end),
            Self::Tokens => get(tokens::list).post(tokens::make),
            Self::Token => delete(tokens::revoke),
            Self::Devices => get(devices::list),
            Self::Device => delete(devices::revoke),
            Self::Enrolments => post(devices::invite),
            Self::Accounts => get(accounts::list).post(accounts::add),
            Self::Account => patch(accounts::change),
            Self::AccountSetupLink => post(accounts::make_setup_link),
            Self::AccountSecondFactor => delete(accounts::remove_second_factor),
            Self::Audit => get(audit::list),
            Self::Events => get(events::listen),
            Self::Activity => get(activity::list),
            Self::Statistics => get(statistics::look),
            Self::Health => get(health::look),
            Self::Server => get(server::look),
            Self::ServerConfirmation => post(server::confirm_waiting),
            Self::File => get(files::get).put(files::put).delete(files::delete),
            Self::Form => post(form::post),
            Self::Known => post(known::ask),
            Self::Place => post(known::place),
            Self::Zip => get(archive::get).post(archive::post),
            Self::Entry => get(folders::stat),
            Self::Folder => get(folders::list).post(folders::make),
            Self::Move => post(folders::move_to),
            Self::Copy => post(folders::copy),
            Self::Versions => get(versions::list),
            Self::VersionRestore => post(versions::restore),
            Self::Trash => get(trash::list),
            Self::TrashRestore => post(trash::restore),
            Self::TrashPurge => post(trash::purge),
            Self::Search => get(search::find),
            Self::Shares => get(shares::list).post(shares::make),
            Self::Share => get(shares::look).delete(shares::revoke),
            Self::Link => get(links::show).post(links::unlock),
            Self::LinkFile => get(links::file),
            Self::LinkZip => get(links::zip),
            Self::LinkUpload => get(links::show_upload).post(links::upload),
            Self::Thumbnail => get(thumbnails::show),
            Self::Digest => get(digest::of_drive),
            Self::Tickets => post(tickets::make),
            Self::Content => get(tickets::content),
            Self::Uploads => get(tus::list).post(tus::create).options(tus::terms),
            Self::Upload => head(tus::head).patch(tus::patch).delete(tus::delete).post(tus::post).options(tus::terms),
            Self::Chains => get(chains::list),
            Self::Timeline => get(chains::follow),
            Self::ChainRetention => get(retention::look).put(retention::set),
            Self::RetentionSimulation => post(retention::simulate),
            Self::ChangeConfirmation => post(retention::confirm_change),
            Self::Retention => get(retention::look_at_default).put(retention::set_default),
            Self::Snapshots => get(snapshots::list),
            Self::Snapshot => get(snapshots::look).delete(snapshots::keep::forget),
            Self::SnapshotUndelete => post(snapshots::keep::undelete),
            Self::SnapshotHold => put(snapshots::keep::hold).delete(snapshots::keep::unhold),
            Self::SnapshotEntries => get(snapshots::browse::entries),
            Self::SnapshotContent => get(snapshots::browse::download),
            Self::SnapshotThumbnail => get(thumbnails::show_of_snapshot),
            Self::SnapshotDigest => get(digest::of_snapshot),
            Self::SnapshotArchive => get(snapshots::browse::pack).post(snapshots::browse::pack_these),
            Self::SnapshotSearch => get(snapshots::browse::search),
            Self::SnapshotsSearch => get(snapshots::find::find),
            Self::SnapshotDiff => get(snapshots::compare::diff),
            Self::Jobs => get(jobs::list).post(jobs::start),
            Self::Job => delete(jobs::cancel),
            Self::Dav => any(dav::serve).options(dav::terms),
        }
    }
}

/// Everything that is served.
pub(crate) fn router(service: Arc<Service>) -> Router {
    let routes = Route::ALL.into_iter().fold(Router::new(), |router, route| {
        let permit = middleware::from_fn_with_state((Arc::clone(&service), route), permit);
        let handler = route.handler().layer(permit);
        let others = route.other_paths().iter();
        others.fold(router, |router, path| router.route(path, handler.clone())).route(route.path(), handler)
    });
    let guard = middleware::from_fn_with_state(Arc::clone(&service), guard);
    routes.fallback(nothing_here).layer(guard).with_state(service)
}

/// Lets through who may. Strangers are asked to log in where that helps; elsewhere there is nothing for them.
async fn permit(
    State((service, route)): State<(Arc<Service>, Route)>,
    Extension(peer): Extension<Arc<Peer>>,
    mut request: Request<Body>,
    next: Next,
) -> Response {
    let Some(action) = route.action(request.method(), service.home.settings.metrics) else {
        // Screens are wherever nothing else is: what is wanted there by another method is not there.
        if route == Route::Screen {
            return nothing_here().await;
        }
        return problem::new(StatusCode::METHOD_NOT_ALLOWED, "this is not to be had by that method").into_response();
    };
    if login::is_foreign(request.method(), request.headers()) {
        return problem::new(StatusCode::FORBIDDEN, "pages of other sites change nothing here").into_response();
    }
    let address = service.proxies.caller(peer.address.ip(), request.headers());
    let caller = Caller { address, is_tls: request.extensions().get::<Transport>().is_some_and(|t| t.is_tls) };
    request.extensions_mut().insert(caller);
    if access::allowed(Who::Stranger { is_local: address.is_loopback() }, action) {
        return next.run(request).await;
    }
    if matches!(action, Action::Measure(_)) {
        return nothing_here().await;
    }
    // WebDAV and whatever else is not REST takes no cookies: what a browser sends by itself opens nothing there.
    let cookies = match route {
        Route::Zip | Route::SnapshotArchive => Cookies::OfOwnForms,
        _ if route.path().starts_with("/api/") => Cookies::WithToken,
        _ => Cookies::Ignored,
    };
    let asked = (request.method(), request.headers());
    let login = match login::log_in(&service, caller, asked, cookies).await {
        Ok(login) => login,
        Err(problem) => return problem.into_response(),
    };
    if !access::allowed(login.who(), action) {
        return problem::new(StatusCode::FORBIDDEN, "this account, or this token, may not do that").into_response();
    }
    if !peer.log_in(login.account_id(), &service) {
        let wait = Duration::from_secs(5);
        return problem::retry(StatusCode::SERVICE_UNAVAILABLE, "the account has too many connections", wait)
            .into_response();
    }
    let login = Arc::new(login);
    request.extensions_mut().insert(Arc::clone(&login));
    match repeat::is_kept(action) {
        true => repeat::once(service, &login, request, next).await,
        false => next.run(request).await,
    }
}

fn json_body(status: StatusCode, body: &serde_json::Value) -> Response {
    (status, [(header::CONTENT_TYPE, "application/json")], body.to_string()).into_response()
}

async fn guard(State(service): State<Arc<Service>>, mut request: Request<Body>, next: Next) -> Response {
    let is_issued = request.extensions().get::<Transport>().is_some_and(|transport| transport.is_issued);
    let uri_len = request.uri().path_and_query().map_or(0, |uri| uri.as_str().len());
    // HTTP/2 says the host elsewhere.
    if !request.headers().contains_key(header::HOST)
        && let Some(authority) = request.uri().authority()
        && let Ok(host) = HeaderValue::from_str(authority.as_str())
    {
        request.headers_mut().insert(header::HOST, host);
    }
    let mut response = if uri_len > URI_LEN_MAX {
        problem::new(StatusCode::URI_TOO_LONG, "the address is too long").into_response()
    } else if !FOR_ANY_HOST.contains(&request.uri().path()) && !service.hosts.allow(request.headers()) {
        problem::new(StatusCode::MISDIRECTED_REQUEST, UNKNOWN_HOST).into_response()
    } else {
        next.run(request).await
    };
    for (name, value) in SECURITY_HEADERS {
        // Where an answer has a stricter one of its own, that counts.
        response.headers_mut().entry(name).or_insert(value);
    }
    if is_issued {
        response.headers_mut().insert(header::STRICT_TRANSPORT_SECURITY, STRICT_TRANSPORT);
    }
    response
}

async fn alive() -> Response {
    json_body(StatusCode::OK, &json!({ "status": "alive" }))
}

/// Whether new backups would be taken. Asks the disk, so it is done on the pool.
async fn ready(State(service): State<Arc<Service>>) -> Response {
    let reason = if service.stop.is_cancelled() {
        Some("stopping")
    } else {
        let asking = Arc::clone(&service);
        let asked = service.pool.run(move || {
            if asking.home.store.halted().is_some() {
                return Some("halted");
            }
            if asking.home.store.read_only().is_some() {
                return Some("read-only");
            }
            match asking.home.store.status() {
                Ok(status) if status.free_bytes < asking.home.store.kept_free_bytes() => Some("disk full"),
                Ok(_) => None,
                Err(_) => Some("store failing"),
            }
        });
        asked.await.unwrap_or(Some("store failing"))
    };
    match reason {
        None => json_body(StatusCode::OK, &json!({ "status": "ready" })),
        Some(reason) => {
            let body = json!({ "status": "not ready", "reason": reason });
            json_body(StatusCode::SERVICE_UNAVAILABLE, &body)
        }
    }
}

async fn metrics(State(service): State<Arc<Service>>) -> Response {
    let asking = Arc::clone(&service);
    let looked = service.pool.run(move || {
        let home = &asking.home;
        (home.store.status().ok(), catalog_backup::newest_copy_ms(&home.settings))
    });
    let (status, newest_copy_ms) = looked.await.unwrap_or_default();
    let text = service.metrics.render(status.as_ref(), newest_copy_ms, service.searches.name_count());
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response()
}

/// What the browser application has at this address.
async fn page(State(service): State<Arc<Service>>, uri: Uri, asked: HeaderMap) -> Response {
    let asked = |name| asked.get(name).and_then(|value: &HeaderValue| value.to_str().ok()).unwrap_or_default();
    let answer = web_ui::answer(web_ui::Request {
        path: uri.path(),
        base: service.home.settings.base_path.as_str(),
        accept: asked(header::ACCEPT),
        accept_encoding: asked(header::ACCEPT_ENCODING),
        if_none_match: asked(header::IF_NONE_MATCH),
    });
    let Some(answer) = answer else {
        return nothing_here().await;
    };
    let status = if answer.body.is_some() { StatusCode::OK } else { StatusCode::NOT_MODIFIED };
    let headers = [
        (header::CONTENT_TYPE, answer.content_type),
        (header::CACHE_CONTROL, answer.cache_control),
        (header::ETAG, &answer.etag),
        (header::VARY, "accept, accept-encoding"),
    ];
    let mut response = (status, headers, answer.body.unwrap_or_default()).into_response();
    let headers = response.headers_mut();
    if let Some(encoding) = answer.encoding {
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static(encoding.name()));
    }
    match answer.part {
        Part::Own => {}
        Part::Frame => {
            headers.insert(header::CONTENT_SECURITY_POLICY, FRAME_POLICY);
            headers.insert(header::X_FRAME_OPTIONS, HeaderValue::from_static("SAMEORIGIN"));
        }
        Part::FrameScript => {
            headers.insert(CROSS_ORIGIN_RESOURCE_POLICY, HeaderValue::from_static("cross-origin"));
        }
    }
    response
}

async fn nothing_here() -> Response {
    problem::new(StatusCode::NOT_FOUND, "there is nothing at this address").into_response()
}
