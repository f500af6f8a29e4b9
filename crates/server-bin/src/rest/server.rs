//! `/api/v1/server`: how the server is doing, what its data directory takes, and whom an older catalog keeps out; and the
//! confirmations that only an administrator gives.

use std::path::Path;
use std::sync::Arc;

use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use serde::{Deserialize, Serialize};
use store::{AuditQuery, PackClass, PackState, Store, StoreError};
use utoipa::ToSchema;
use zeroize::Zeroizing;

use crate::admin::desk::Desk;
use crate::admin::doctor::{self, CheckItem};
use crate::args::TokenScope;
use crate::audit::Event;
use crate::catalog_backup;
use crate::clock;
use crate::home::Home;
use crate::login::Login;
use crate::rest::account::confirm;
use crate::rest::parse::body;
use crate::rest::problem::{Problem, ProblemBody};
use crate::rest::statistics::{self, VaultSize};
use crate::rest::{done, json, on_pool, problem};
use crate::service::Service;

/// Folders within folders that are added up: nothing of the server's is deeper.
const DEPTH_MAX: u32 = 4;

/// How the server is doing, for administrators.
#[derive(Debug, Serialize, ToSchema)]
struct ServerReport {
    version: String,
    /// Since when it runs; milliseconds since 1970.
    started_ms: u64,
    data_dir: String,
    /// Of the catalog: grows with every change that must not be forgotten.
    generation: u64,
    /// What was looked at, and how it is: as `backup-server doctor` says it.
    checks: Vec<CheckItem>,
    /// Why the clock is not believed, if so.
    clock_doubt: Option<String>,
    last_verification: Option<Deed>,
    last_collection: Option<Deed>,
    last_catalog_backup_ms: Option<u64>,
    storage: Storage,
    /// Devices that an older catalog brought back.
    devices: Vec<Suspended>,
    /// The same of tokens.
    tokens: Vec<Suspended>,
}

/// Work on the store that came to its end.
#[derive(Debug, Serialize, ToSchema)]
struct Deed {
    /// Milliseconds since 1970.
    at_ms: u64,
    /// What it came to, for people.
    detail: String,
}

/// What lies in the data directory, and what still fits.
#[derive(Debug, Serialize, ToSchema)]
struct Storage {
    /// All of it together.
    data_dir_bytes: u64,
    parts: Vec<StoragePart>,
    /// The vaults, by account and age.
    vaults: Vec<VaultSize>,
    /// That the disk has free.
    free_bytes: u64,
    /// Nothing new is taken in when less than this is free.
    kept_free_bytes: u64,
    /// That is held so that a full disk can still be cleared; 0 for none.
    reserve_bytes: u64,
    /// If not, it was used, or could not be taken.
    is_reserve_held: bool,
}

/// One kind of what lies there.
#[derive(Debug, Serialize, ToSchema)]
struct StoragePart {
    part: StoragePartKind,
    bytes: u64,
}

/// What lies in the data directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
enum StoragePartKind {
    /// Packs of what files hold.
    Content,
    /// Packs of names, attributes and lists.
    Metadata,
    /// Packs that nobody needs and that wait for their removal.
    Going,
    /// The catalog.
    Catalog,
    CatalogBackups,
    Reserve,
    /// What is damaged and was set aside.
    Quarantine,
    /// Whatever else: keys, what is on its way in.
    Other,
}

/// A device or token that does not get in before it is confirmed.
#[derive(Debug, Serialize, ToSchema)]
struct Suspended {
    id: String,
    name: String,
    account: String,
    scope: TokenScope,
    /// Milliseconds since 1970.
    created_ms: u64,
    last_used_ms: Option<u64>,
}

/// How the server is doing: what is wrong and what to do, what is stored, whom an older catalog keeps out.
#[utoipa::path(
    get,
    path = "/api/v1/server",
    responses((status = 200, description = "As it is now", body = ServerReport), ProblemBody)
)]
pub(crate) async fn look(State(service): State<Arc<Service>>) -> Result<Response, Problem> {
    let report = on_pool(&service, "looking after the server", ServerReport::look);
    Ok(json(StatusCode::OK, &report.await?))
}

impl ServerReport {
    fn look(service: &Service) -> Result<Self, Problem> {
        let failed = |error: StoreError| problem::of_store("looking after the server", &error);
        let broken = |failure| problem::of_failure("looking after the server", &failure);
        let home = &service.home;
        let status = Desk { home, live: None }.status().map_err(broken)?;
        let totals = home.store.status().map_err(failed)?;
        let started = service.metrics.started().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        Ok(Self {
            checks: doctor::of_running(&status, home),
            version: status.version,
            started_ms: u64::try_from(started.as_millis()).unwrap_or(u64::MAX),
            data_dir: status.data_dir,
            generation: totals.generation,
            clock_doubt: status.clock_doubt,
            last_verification: last(&home.store, Event::Verified).map_err(failed)?,
            last_collection: last(&home.store, Event::GarbageCollected).map_err(failed)?,
            last_catalog_backup_ms: newest_backup_ms(home),
            storage: Storage::look(home, &totals).map_err(failed)?,
            devices: suspended_devices(&home.store).map_err(failed)?,
            tokens: suspended_tokens(&home.store).map_err(failed)?,
        })
    }
}

/// The last thing of its kind, as the audit log has it: that is there when the server was started again.
fn last(store: &Store, event: Event) -> Result<Option<Deed>, StoreError> {
    let event = event.name();
    let found = store.audit(&AuditQuery { before: None, event: Some(&event), name: None, limit: 1 })?;
    let deed = |entry: store::AuditEntry| Deed { at_ms: clock::wire_ms(entry.at), detail: entry.detail };
    Ok(found.into_iter().next().map(deed))
}

fn newest_backup_ms(home: &Home) -> Option<u64> {
    catalog_backup::list(&home.settings.data_dir).ok()?.last().map(|backup| backup.created_ms)
}

impl Storage {
    fn look(home: &Home, totals: &store::Status) -> Result<Self, StoreError> {
        let store = &home.store;
        let reserve = store.reserve();
        let packs = |kind| {
            let of_kind = totals.packs.iter().filter(|totals| kind == kind_of(totals.class, totals.state));
            of_kind.map(|totals| totals.bytes).sum()
        };
        let kinds = [StoragePartKind::Content, StoragePartKind::Metadata, StoragePartKind::Going];
        let mut parts: Vec<_> = kinds.map(|part| StoragePart { part, bytes: packs(part) }).into();
        beside_packs(&home.settings.data_dir, &mut parts);
        parts.retain(|part| part.bytes > 0);
        Ok(Self {
            data_dir_bytes: parts.iter().map(|part| part.bytes).sum(),
            parts,
            vaults: statistics::vaults(store, None)?,
            free_bytes: totals.free_bytes,
            kept_free_bytes: store.kept_free_bytes(),
            reserve_bytes: reserve.bytes,
            is_reserve_held: reserve.is_held,
        })
    }
}

fn kind_of(class: PackClass, state: PackState) -> StoragePartKind {
    match (state, class) {
        (PackState::Condemned | PackState::Deleting, _) => StoragePartKind::Going,
        (_, PackClass::Data) => StoragePartKind::Content,
        (_, PackClass::Metadata) => StoragePartKind::Metadata,
    }
}

/// Adds up what lies beside the packs, of which the catalog knows how long they are.
fn beside_packs(data_dir: &Path, parts: &mut Vec<StoragePart>) {
    for entry in std::fs::read_dir(data_dir).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let part = match name.to_string_lossy().as_ref() {
            "packs" => continue,
            "catalog-backups" => StoragePartKind::CatalogBackups,
            "quarantine" => StoragePartKind::Quarantine,
            "reserve" => StoragePartKind::Reserve,
            name if name.starts_with("catalog.sqlite3") => StoragePartKind::Catalog,
            _ => StoragePartKind::Other,
        };
        let bytes = bytes_below(&entry.path(), DEPTH_MAX);
        match parts.iter_mut().find(|other| other.part == part) {
            Some(present) => present.bytes += bytes,
            None => parts.push(StoragePart { part, bytes }),
        }
    }
}

/// Bytes of a file, or of the files in a folder. What goes away meanwhile counts nothing.
fn bytes_below(path: &Path, depth: u32) -> u64 {
    match std::fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_dir() && depth > 0 => {
            let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
            entries.map(|entry| bytes_below(&entry.path(), depth - 1)).sum()
        }
        Ok(metadata) if metadata.is_file() => metadata.len(),
        _ => 0,
    }
}

fn suspended_devices(store: &Store) -> Result<Vec<Suspended>, StoreError> {
    let mut found = Vec::new();
    for account in store.accounts()? {
        let waiting = store.devices(account.id)?.into_iter().filter(|device| device.is_suspended);
        found.extend(waiting.filter(|device| device.revoked.is_none()).map(|device| Suspended {
            id: device.id.to_string(),
            name: device.name,
            account: account.name.clone(),
            scope: device.scope.into(),
            created_ms: clock::wire_ms(device.created),
            last_used_ms: device.last_seen.map(clock::wire_ms),
        }));
    }
    Ok(found)
}

fn suspended_tokens(store: &Store) -> Result<Vec<Suspended>, StoreError> {
    let mut found = Vec::new();
    for account in store.accounts()? {
        let waiting = store.tokens(account.id)?.into_iter().filter(|token| token.is_suspended);
        found.extend(waiting.filter(|token| token.revoked.is_none()).map(|token| Suspended {
            id: token.id.to_string(),
            name: token.name,
            account: account.name.clone(),
            scope: token.scope.into(),
            created_ms: clock::wire_ms(token.created),
            last_used_ms: token.last_used.map(clock::wire_ms),
        }));
    }
    Ok(found)
}

/// What waits for an administrator's word.
#[derive(Clone, Copy, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
enum Confirmable {
    /// The clock, after it jumped.
    Clock,
    /// Devices that an older catalog brought back.
    Devices,
    /// Tokens that it brought back.
    Tokens,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ServerConfirmBody {
    what: Confirmable,
    /// One device or token; none: all that wait.
    id: Option<String>,
    /// The account's, again.
    #[schema(value_type = String)]
    password: Zeroizing<String>,
}

/// Believes the clock again, or lets in again whom an older catalog keeps out.
#[utoipa::path(
    post,
    path = "/api/v1/server/confirm",
    request_body = ServerConfirmBody,
    responses((status = 204, description = "Done"), ProblemBody)
)]
pub(crate) async fn confirm_waiting(
    State(service): State<Arc<Service>>,
    Extension(login): Extension<Arc<Login>>,
    headers: HeaderMap,
    said: Body,
) -> Result<Response, Problem> {
    let ServerConfirmBody { what, id, password } = body(&headers, said).await?;
    confirm(&service, &login, password).await?;
    on_pool(&service, "confirming", move |service| {
        let store = &service.home.store;
        let (event, subject, confirmed) = match what {
            Confirmable::Clock => {
                (Event::ClockConfirmed, String::new(), store.confirm_clock(&clock::reading()).map(|()| None))
            }
            Confirmable::Devices => {
                let id = id.map(|id| id.parse()).transpose().map_err(|_| missing())?;
                let subject = id.map(|id: store::DeviceId| id.to_string()).unwrap_or_default();
                (Event::DevicesConfirmed, subject, store.confirm_devices(id).map(Some))
            }
            Confirmable::Tokens => {
                let id = id.map(|id| id.parse()).transpose().map_err(|_| missing())?;
                let subject = id.map(|id: store::TokenId| id.to_string()).unwrap_or_default();
                (Event::TokensConfirmed, subject, store.confirm_tokens(id).map(Some))
            }
        };
        let count = confirmed.map_err(|error| match error {
            StoreError::NotFound { .. } => missing(),
            error => problem::of_store("confirming", &error),
        })?;
        let detail = count.map(|count| count.to_string()).unwrap_or_default();
        login.actor().note(store, event, &subject, &detail);
        Ok(())
    })
    .await?;
    Ok(done())
}

fn missing() -> Problem {
    problem::new(StatusCode::NOT_FOUND, "there is no such device or token")
}
