//! `/api/v1/chains`: what the account's devices back up, and one path through all snapshots of it.

#![expect(unused_qualifications, reason = "the macro that describes the routes writes them")]

use std::collections::HashMap;
use std::sync::Arc;

use axum::Extension;
use axum::extract::{Path, State};
use axum::http::{StatusCode, Uri};
use axum::response::Response;
use serde::{Deserialize, Serialize};
use store::{Alarm, Chain, ChainId, Snapshot, SnapshotQuery, Store, StoreError};
use utoipa::{IntoParams, ToSchema};
use vault::EntryKind;

use crate::browse::{Browser, Span, timeline, version_of};
use crate::clock;
use crate::login::Login;
use crate::rest::entries::Page;
use crate::rest::paging::PageQuery;
use crate::rest::parse::{Numeral, query};
use crate::rest::problem::{Problem, ProblemBody};
use crate::rest::snapshots::browse::{SnapshotEntry, tree_path};
use crate::rest::snapshots::{SnapshotItem, items, refused, vaults};
use crate::rest::{json, on_pool, problem};
use crate::service::Service;
use crate::vaults::OpenVault;

const SNAPSHOTS_LOOKED_AT: usize = 500;

/// The snapshots of one device's job.
#[derive(Debug, Serialize, ToSchema)]
struct ChainItem {
    id: String,
    name: String,
    device: String,
    device_name: String,
    /// Snapshots that can be restored.
    snapshots: u64,
    /// Snapshots in the trash.
    trashed: u64,
    /// Snapshots that nothing takes away.
    held: u64,
    /// Bytes that the server's store grew by with all of these.
    bytes_stored: u64,
    /// Whether only its clients can read it.
    is_sealed: bool,
    /// The newest that can be restored.
    newest: Option<SnapshotItem>,
    alarm: Option<AlarmItem>,
}

/// An unusual change that nobody confirmed: nothing from before it goes.
#[derive(Debug, Serialize, ToSchema)]
struct AlarmItem {
    /// The snapshot that keeps unusually little of the one before.
    snapshot: String,
    /// Milliseconds since 1970.
    raised_ms: u64,
    /// What is unusual, for people.
    what: String,
}

impl From<Alarm> for AlarmItem {
    fn from(alarm: Alarm) -> Self {
        let Alarm { snapshot, raised, what } = alarm;
        Self { snapshot: snapshot.to_string(), raised_ms: clock::wire_ms(raised), what }
    }
}

/// One of the account's own chains.
pub(super) struct OwnChain {
    pub(super) vault: Arc<OpenVault>,
    pub(super) chain: Chain,
}

/// All of the account's chains.
pub(super) fn own_chains(service: &Service, login: &Login) -> Result<Vec<OwnChain>, Problem> {
    let mut own = Vec::new();
    for vault in vaults(service, login)? {
        let chains = service.home.store.chains(vault.id, None);
        let chains = chains.map_err(|error| problem::of_store("listing chains", &error))?;
        own.extend(chains.into_iter().map(|chain| OwnChain { vault: Arc::clone(&vault), chain }));
    }
    Ok(own)
}

/// One of them; another's is as good as none.
pub(super) fn own_chain(service: &Service, login: &Login, id: ChainId) -> Result<OwnChain, Problem> {
    let found = own_chains(service, login)?.into_iter().find(|own| own.chain.id == id);
    found.ok_or_else(|| problem::new(StatusCode::NOT_FOUND, "there is no such chain"))
}

/// The newest snapshot of a chain that can be restored.
fn newest_of(store: &Store, OwnChain { vault, chain }: &OwnChain) -> Result<Option<Snapshot>, StoreError> {
    let query = SnapshotQuery {
        vault: vault.id,
        device: Some(chain.device),
        chain: Some(&chain.name),
        before: None,
        limit: 1,
        in_trash: false,
    };
    Ok(store.snapshots(&query)?.pop())
}

/// What the account's devices back up, by device and name.
#[utoipa::path(
    get,
    path = "/api/v1/chains",
    params(PageQuery),
    responses((status = 200, description = "A page", body = Page<ChainItem>), ProblemBody)
)]
pub(crate) async fn list(
    State(service): State<Arc<Service>>,
    Extension(login): Extension<Arc<Login>>,
    uri: Uri,
) -> Result<Response, Problem> {
    let asked = PageQuery::of(&uri)?;
    let page = on_pool(&service, "listing chains", move |service| {
        let store = &service.home.store;
        let failed = |error| problem::of_store("listing chains", &error);
        let retained = store.retained_chains().map_err(failed)?;
        let mut newest = HashMap::new();
        let (own, next) = asked.cut(own_chains(service, &login)?, |own| own.chain.id.to_string())?;
        for of_vault in own.chunk_by(|one, other| one.vault.id == other.vault.id) {
            let snapshots = of_vault.iter().map(|own| newest_of(store, own)).collect::<Result<Vec<_>, _>>();
            let snapshots: Vec<Snapshot> = snapshots.map_err(failed)?.into_iter().flatten().collect();
            let chains: Vec<ChainId> = snapshots.iter().map(|snapshot| snapshot.chain_id).collect();
            newest.extend(chains.into_iter().zip(items(service, &of_vault[0].vault, snapshots).map_err(failed)?));
        }
        let mut page = Page { items: Vec::with_capacity(own.len()), next };
        for OwnChain { vault, chain } in own {
            let alarm = retained.iter().find(|retained| retained.id == chain.id);
            page.items.push(ChainItem {
                id: chain.id.to_string(),
                name: chain.name,
                device: chain.device.to_string(),
                device_name: chain.device_name,
                snapshots: chain.snapshots,
                trashed: chain.trashed,
                held: chain.held,
                bytes_stored: chain.bytes_stored,
                is_sealed: vault.managed().is_none(),
                newest: newest.remove(&chain.id),
                alarm: alarm.and_then(|retained| Some(retained.alarm.clone()?.into())),
            });
        }
        Ok(page)
    });
    Ok(json(StatusCode::OK, &page.await?))
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct TimelineQuery {
    /// Names with / between them, each percent-encoded.
    path: String,
    /// Where the page before ended, as it said.
    cursor: Option<Numeral>,
}

/// A path through the snapshots of a chain.
#[derive(Debug, Serialize, ToSchema)]
struct Timeline {
    items: Vec<TimelineItem>,
    /// What to say as `cursor` for older ones; none after the last.
    next: Option<String>,
    /// Snapshots that were passed over, because something in them is damaged.
    unreadable: u64,
}

/// Neighbouring snapshots in which a path has the same content.
#[derive(Debug, Serialize, ToSchema)]
struct TimelineItem {
    /// The same for the same content, so that what pages cut apart can be put together again.
    version: String,
    /// What is there, as the newest of them has it; none: nothing.
    entry: Option<SnapshotEntry>,
    newest: Moment,
    oldest: Moment,
    /// How many.
    snapshots: u64,
}

/// A snapshot, and when it was received.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Moment {
    snapshot: String,
    /// Milliseconds since 1970.
    received_ms: u64,
}

impl From<&store::Snapshot> for Moment {
    fn from(snapshot: &store::Snapshot) -> Self {
        Self { snapshot: snapshot.id.to_string(), received_ms: clock::wire_ms(snapshot.received) }
    }
}

/// One path through all snapshots of a chain, newest first: its versions, and which snapshots have each. One request looks
/// at 500 snapshots at most.
#[utoipa::path(
    get,
    path = "/api/v1/chains/{id}/timeline",
    params(("id" = Numeral, Path, description = "As the list has it"), TimelineQuery),
    responses((status = 200, description = "A page", body = Timeline), ProblemBody)
)]
pub(crate) async fn follow(
    State(service): State<Arc<Service>>,
    Extension(login): Extension<Arc<Login>>,
    Path(id): Path<String>,
    uri: Uri,
) -> Result<Response, Problem> {
    let TimelineQuery { path, cursor } = query(&uri)?;
    let path = tree_path(&path)?;
    if path.name().is_none() {
        return Err(problem::new(StatusCode::BAD_REQUEST, "say which path"));
    }
    let page = on_pool(&service, "following a path", move |service| {
        let OwnChain { vault, chain } = own_chain(service, &login, chain_id(&id)?)?;
        let query = SnapshotQuery {
            vault: vault.id,
            device: Some(chain.device),
            chain: Some(&chain.name),
            before: cursor.map(Numeral::get),
            limit: SNAPSHOTS_LOOKED_AT + 1,
            in_trash: false,
        };
        let mut snapshots =
            service.home.store.snapshots(&query).map_err(|error| problem::of_store("listing snapshots", &error))?;
        let is_more = snapshots.len() > SNAPSHOTS_LOOKED_AT;
        snapshots.truncate(SNAPSHOTS_LOOKED_AT);
        let next = snapshots.last().filter(|_| is_more).map(|last| last.number.to_string());
        let followed = Browser::new(&service.home.store, &vault)
            .and_then(|mut browser| timeline(&mut browser, snapshots, &path))
            .map_err(|error| refused("following a path", &error));
        let (spans, unreadable) = followed?;
        let item = |Span { entry, newest, oldest, snapshots }: &Span| TimelineItem {
            version: entry.as_ref().map_or_else(String::new, version),
            entry: entry.as_ref().map(|entry| SnapshotEntry::new(&path, entry)),
            newest: newest.into(),
            oldest: oldest.into(),
            snapshots: *snapshots,
        };
        Ok(Timeline { items: spans.iter().map(item).collect(), next, unreadable })
    });
    Ok(json(StatusCode::OK, &page.await?))
}

/// A chain's number in an address.
pub(super) fn chain_id(said: &str) -> Result<ChainId, Problem> {
    let number = Numeral::parse(said);
    let number = number.ok_or_else(|| problem::new(StatusCode::NOT_FOUND, "there is no such chain"))?;
    Ok(ChainId::from_number(number.get()))
}

pub(super) fn version(entry: &vault::Entry) -> String {
    match &entry.kind {
        EntryKind::File { content, .. } => format!("{:016x}", version_of(content.id())),
        EntryKind::Directory { tree } => format!("{:016x}", version_of(Some(*tree))),
        EntryKind::Symlink { target } => format!("to {}", String::from_utf8_lossy(target)),
        _ => "other".to_owned(),
    }
}
