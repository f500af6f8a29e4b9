//! `/api/v1/snapshots`: the account's snapshots. [`browse`] shows what is in one, [`compare`] what became of it, [`find`]
//! looks for names in all of them, [`keep`] moves them into the trash and back.

#![expect(unused_qualifications, reason = "the macro that describes the routes writes them")]

pub(crate) mod browse;
pub(crate) mod compare;
pub(crate) mod find;
pub(crate) mod keep;

use std::sync::Arc;

use axum::Extension;
use axum::extract::{Path, State};
use axum::http::{StatusCode, Uri};
use axum::response::Response;
use object::ObjectId;
use serde::{Deserialize, Serialize};
use store::{ChainId, Snapshot, SnapshotQuery, StoreError, Verification};
use utoipa::{IntoParams, ToSchema};
use vault::ReadError;

use crate::browse::{BrowseError, Browser};
use crate::clock;
use crate::login::Login;
use crate::rest::chains::own_chain;
use crate::rest::entries::Page;
use crate::rest::parse::{Numeral, query};
use crate::rest::problem::{Problem, ProblemBody};
use crate::rest::{json, on_pool, problem};
use crate::service::Service;
use crate::vaults::{OpenVault, OpenVaultError};

const PAGE_LEN: usize = 100;
const PAGE_LEN_MAX: usize = 1000;

/// A backup that is finished.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct SnapshotItem {
    id: String,
    chain: String,
    chain_name: String,
    device: String,
    device_name: String,
    /// When the server received it; milliseconds since 1970, as all times here.
    received_ms: u64,
    /// Bytes that the server's store grew by.
    bytes_stored: u64,
    /// Whether only its clients can read it.
    is_sealed: bool,
    /// Since when, at least, everything it needs is known to be as it was written; none while some of it was never read.
    verified_ms: Option<u64>,
    /// When a device last restored a sample of it, and found it sound.
    drilled_ms: Option<u64>,
    /// Whether some of what it needs cannot be read.
    is_damaged: bool,
    /// Since when nothing takes it away.
    held_ms: Option<u64>,
    /// Since when it is in the trash.
    trashed_ms: Option<u64>,
    /// From when on it may be gone for good.
    purge_ms: Option<u64>,
    /// As its maker has it; none when the server cannot read that.
    made: Option<Made>,
}

/// What the maker of a snapshot wrote into it.
#[derive(Debug, Serialize, ToSchema)]
struct Made {
    /// By the device's clock.
    started_ms: i64,
    finished_ms: i64,
    host: String,
    user: String,
    software: String,
    /// What was backed up.
    roots: Vec<String>,
    /// Patterns that were left out.
    excludes: Vec<String>,
    files: u64,
    folders: u64,
    /// Links, pipes, sockets and devices.
    others: u64,
    /// Bytes in the files.
    bytes: u64,
    /// Files that could not be read, or changed while they were.
    problems: u64,
    /// The snapshot before, if it was used.
    parent: Option<String>,
}

impl From<vault::Snapshot> for Made {
    fn from(made: vault::Snapshot) -> Self {
        Self {
            started_ms: ms(made.started),
            finished_ms: ms(made.finished),
            host: made.host,
            user: made.user,
            software: made.software,
            roots: made.roots.iter().map(|root| String::from_utf8_lossy(root).into_owned()).collect(),
            excludes: made.excludes,
            files: made.files,
            folders: made.directories,
            others: made.others,
            bytes: made.bytes,
            problems: made.problems,
            parent: made.parent.map(|parent| parent.to_string()),
        }
    }
}

impl SnapshotItem {
    fn new(
        snapshot: Snapshot,
        verified: Verification,
        is_sealed: bool,
        made: Option<Made>,
        trash_delay_ms: u64,
    ) -> Self {
        let trashed_ms = snapshot.trashed.map(clock::wire_ms);
        Self {
            id: snapshot.id.to_string(),
            chain: snapshot.chain_id.to_string(),
            chain_name: snapshot.chain,
            device: snapshot.device.to_string(),
            device_name: snapshot.device_name,
            received_ms: clock::wire_ms(snapshot.received),
            bytes_stored: snapshot.stored.bytes,
            is_sealed,
            verified_ms: verified.since().map(clock::wire_ms),
            drilled_ms: snapshot.drilled.map(clock::wire_ms),
            is_damaged: verified == Verification::Damaged,
            held_ms: snapshot.held.map(clock::wire_ms),
            trashed_ms,
            purge_ms: trashed_ms.filter(|_| snapshot.held.is_none()).map(|ms| ms.saturating_add(trash_delay_ms)),
            made,
        }
    }
}

/// Snapshots of one vault, with what their makers wrote.
///
/// # Errors
/// When the catalog fails.
pub(super) fn items(
    service: &Service,
    vault: &OpenVault,
    snapshots: Vec<Snapshot>,
) -> Result<Vec<SnapshotItem>, StoreError> {
    let verified = service.home.store.verifications(vault.id, &snapshots)?;
    let ids: Vec<ObjectId> = snapshots.iter().map(|snapshot| snapshot.id).collect();
    let made: Vec<Option<Made>> = match Browser::new(&service.home.store, vault) {
        Ok(mut browser) => browser.details(&ids).into_iter().map(|made| Some(made.ok()?.into())).collect(),
        Err(_) => ids.iter().map(|_| None).collect(),
    };
    let is_sealed = vault.managed().is_none();
    let delay_ms = service.home.settings.trash_delay_ms();
    let items = snapshots.into_iter().zip(verified).zip(made);
    Ok(items
        .map(|((snapshot, verified), made)| SnapshotItem::new(snapshot, verified, is_sealed, made, delay_ms))
        .collect())
}

/// One of the account's own snapshots.
pub(in crate::rest) struct Own {
    pub(in crate::rest) vault: Arc<OpenVault>,
    pub(super) snapshot: Snapshot,
}

impl Own {
    /// Another's is as good as none.
    pub(super) fn find(service: &Service, login: &Login, id: &str) -> Result<Self, Problem> {
        let missing = || problem::new(StatusCode::NOT_FOUND, "there is no such snapshot");
        let id: ObjectId = id.parse().map_err(|_| missing())?;
        for vault in vaults(service, login)? {
            let found = service.home.store.snapshots_by_prefix(vault.id, None, &id.to_string());
            let found = found.map_err(|error| problem::of_store("looking for a snapshot", &error))?;
            if let Some(snapshot) = found.into_iter().next() {
                return Ok(Self { vault, snapshot });
            }
        }
        Err(missing())
    }

    /// Reads what is in it, and the root of that.
    pub(super) fn browse(&self, service: &Service) -> Result<(Browser, ObjectId), Problem> {
        let browsed = Browser::new(&service.home.store, &self.vault).and_then(|mut browser| {
            let root = browser.root(self.snapshot.id)?;
            Ok((browser, root))
        });
        browsed.map_err(|error| refused("reading a snapshot", &error))
    }

    fn item(self, service: &Service) -> Result<SnapshotItem, Problem> {
        let items = items(service, &self.vault, vec![self.snapshot]);
        let item = items.map_err(|error| problem::of_store("looking for a snapshot", &error))?.pop();
        item.ok_or_else(|| problem::new(StatusCode::NOT_FOUND, "there is no such snapshot"))
    }
}

/// The account's vaults.
pub(super) fn vaults(service: &Service, login: &Login) -> Result<Vec<Arc<OpenVault>>, Problem> {
    let (home, account) = (&service.home, login.account_id());
    let vaults = home.store.vaults(account).map_err(|error| problem::of_store("listing vaults", &error))?;
    let open = |vault: &store::Vault| {
        service.vaults.open(&home.store, &home.keys, account, Some(vault.id)).map_err(|error| match error {
            OpenVaultError::Store(error) => problem::of_store("opening a vault", &error),
            error => problem::internal("opening a vault", &error),
        })
    };
    vaults.iter().map(open).collect()
}

/// What a failure to look into a snapshot means to who asked.
pub(super) fn refused(doing: &'static str, error: &BrowseError) -> Problem {
    match error {
        BrowseError::Sealed => problem::sealed("only the vault's devices have its key: use backup-client"),
        BrowseError::NotFound => problem::new(StatusCode::NOT_FOUND, &error.to_string()),
        BrowseError::Read(ReadError::Source(error)) => problem::of_store(doing, error),
        BrowseError::Read(_) => {
            tracing::error!(doing, %error, cause = std::error::Error::source(error).map(ToString::to_string));
            problem::new(StatusCode::INTERNAL_SERVER_ERROR, "stored bytes are damaged; the server's log tells which")
        }
    }
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ListQuery {
    /// Only this chain's, by its id.
    chain: Option<Numeral>,
    /// Those in the trash, instead of those that can be restored.
    #[serde(default)]
    trash: bool,
    /// Where the page before ended, as it said.
    cursor: Option<Numeral>,
    limit: Option<usize>,
}

/// Snapshots, newest first.
#[utoipa::path(
    get,
    path = "/api/v1/snapshots",
    params(ListQuery),
    responses((status = 200, description = "A page", body = Page<SnapshotItem>), ProblemBody)
)]
pub(crate) async fn list(
    State(service): State<Arc<Service>>,
    Extension(login): Extension<Arc<Login>>,
    uri: Uri,
) -> Result<Response, Problem> {
    let ListQuery { chain, trash, cursor, limit } = query(&uri)?;
    let limit = limit.unwrap_or(PAGE_LEN).clamp(1, PAGE_LEN_MAX);
    let page = on_pool(&service, "listing snapshots", move |service| {
        let chain = chain.map(|number| own_chain(service, &login, ChainId::from_number(number.get()))).transpose()?;
        let vaults = match &chain {
            Some(chain) => vec![Arc::clone(&chain.vault)],
            None => vaults(service, &login)?,
        };
        let mut found = Vec::new();
        for vault in vaults {
            let query = SnapshotQuery {
                vault: vault.id,
                device: chain.as_ref().map(|own| own.chain.device),
                chain: chain.as_ref().map(|own| own.chain.name.as_str()),
                before: cursor.map(Numeral::get),
                limit: limit + 1,
                in_trash: trash,
            };
            let snapshots = service.home.store.snapshots(&query);
            let snapshots = snapshots.map_err(|error| problem::of_store("listing snapshots", &error))?;
            found.extend(snapshots.into_iter().map(|snapshot| (Arc::clone(&vault), snapshot)));
        }
        // Numbers are of the whole store, so that those of several vaults are in order, too.
        found.sort_unstable_by_key(|(_, snapshot)| std::cmp::Reverse(snapshot.number));
        let is_more = found.len() > limit;
        found.truncate(limit);
        let next = found.last().filter(|_| is_more).map(|(_, last)| last.number.to_string());
        let mut page = Page { items: Vec::with_capacity(found.len()), next };
        for of_vault in found.chunk_by(|(one, _), (other, _)| one.id == other.id) {
            let snapshots = of_vault.iter().map(|(_, snapshot)| snapshot.clone()).collect();
            let items = items(service, &of_vault[0].0, snapshots);
            page.items.extend(items.map_err(|error| problem::of_store("listing snapshots", &error))?);
        }
        Ok(page)
    });
    Ok(json(StatusCode::OK, &page.await?))
}

/// One snapshot, in the trash or not.
#[utoipa::path(
    get,
    path = "/api/v1/snapshots/{id}",
    params(("id" = String, Path, description = "All 64 digits")),
    responses((status = 200, description = "What is known of it", body = SnapshotItem), ProblemBody)
)]
pub(crate) async fn look(
    State(service): State<Arc<Service>>,
    Extension(login): Extension<Arc<Login>>,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let found =
        on_pool(&service, "looking for a snapshot", move |service| Own::find(service, &login, &id)?.item(service));
    Ok(json(StatusCode::OK, &found.await?))
}

pub(super) fn ms(moment: vault::Timestamp) -> i64 {
    moment.secs.saturating_mul(1000).saturating_add(i64::from(moment.nanos / 1_000_000))
}
