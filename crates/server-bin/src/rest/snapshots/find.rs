//! `/api/v1/search/snapshots`: names in all snapshots of the account, each path once for a chain, with the snapshots that
//! have it.

#![expect(unused_qualifications, reason = "the macro that describes the routes writes them")]

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::http::{StatusCode, Uri};
use axum::response::Response;
use object::ObjectId;
use serde::{Deserialize, Serialize};
use store::{ChainId, Snapshot, SnapshotQuery};
use utoipa::{IntoParams, ToSchema};
use vault::ReadError;

use crate::browse::{Across, BrowseError, Browser, Held, TreePath};
use crate::drive::NameQuery;
use crate::login::Login;
use crate::rest::chains::{Moment, OwnChain, own_chains, version};
use crate::rest::parse::query;
use crate::rest::problem::{Problem, ProblemBody};
use crate::rest::search::name_query;
use crate::rest::snapshots::browse::{LOOKED_AT_MAX, SnapshotEntry};
use crate::rest::snapshots::refused;
use crate::rest::{json, on_pool, problem};
use crate::service::Service;

const PAGE_LEN: usize = 50;
const PAGE_LEN_MAX: usize = 1000;
/// Snapshots of a chain that are looked at side by side; what has more is looked at so many by so many.
const SNAPSHOTS_AT_ONCE: usize = 128;

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct FindQuery {
    /// Words that a name has to hold, in any order: 1 to 256 bytes. Case and marks of letters do not matter.
    q: String,
    /// Where the page before ended, as it said.
    cursor: Option<String>,
    /// Paths on a page: 1 to 1000.
    limit: Option<usize>,
}

/// A path in some snapshots of a chain.
#[derive(Debug, Serialize, ToSchema)]
struct FoundPath {
    chain: String,
    chain_name: String,
    device: String,
    device_name: String,
    /// As the newest of them has it.
    entry: SnapshotEntry,
    newest: Moment,
    oldest: Moment,
    /// How many of them have it.
    snapshots: u64,
    /// Contents that it has in them.
    versions: u64,
}

/// A page of what was found.
#[derive(Debug, Serialize, ToSchema)]
struct FoundPage {
    /// By chain and path.
    items: Vec<FoundPath>,
    /// What to say as `cursor` for the next page; none after the last. A page may be empty and not the last.
    next: Option<String>,
    /// Pages of folders, and snapshots, that were passed over, because they are damaged.
    unreadable: u64,
    /// Chains in vaults that only their devices can read, and that are not searched.
    sealed_chains: u64,
}

/// How far a search has come: behind `path`, in those snapshots of `chain` of which the newest has this number.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::rest) struct Place {
    chain: u64,
    /// 0: the newest of all.
    newest: u64,
    path: TreePath,
}

impl Place {
    pub(in crate::rest) fn parse(said: &str) -> Option<Self> {
        let mut parts = said.splitn(3, '.');
        let mut number = || parts.next()?.parse().ok();
        let (chain, newest) = (number()?, number()?);
        Some(Self { chain, newest, path: TreePath::parse(parts.next()?)? })
    }

    pub(in crate::rest) fn encode(&self) -> String {
        format!("{}.{}.{}", self.chain, self.newest, self.path.encode())
    }
}

/// Names in all snapshots that can be restored: by chain, and in the order of their paths. Of a chain 128 snapshots are looked
/// at together, the newest first: what is in a chain of more may be found once for each 128. One request looks at some 100 000
/// entries at most; what several snapshots share counts once. Where `next` is said, there is more to be looked at.
#[utoipa::path(
    get,
    path = "/api/v1/search/snapshots",
    params(FindQuery),
    responses((status = 200, description = "A page", body = FoundPage), ProblemBody)
)]
pub(crate) async fn find(
    State(service): State<Arc<Service>>,
    Extension(login): Extension<Arc<Login>>,
    uri: Uri,
) -> Result<Response, Problem> {
    let FindQuery { q, cursor, limit } = query(&uri)?;
    name_query(&q)?;
    let place = cursor.as_deref().map_or(Some(Place::default()), Place::parse);
    let place = place.ok_or_else(|| problem::new(StatusCode::BAD_REQUEST, "the cursor is none of ours"))?;
    let limit = limit.unwrap_or(PAGE_LEN).clamp(1, PAGE_LEN_MAX);
    let page = on_pool(&service, "searching snapshots", move |service| {
        let page = FoundPage { items: Vec::new(), next: None, unreadable: 0, sealed_chains: 0 };
        let mut finder = Finder { service, q: &q, limit, looked_at: 0, page };
        finder.run(own_chains(service, &login)?, place)?;
        Ok(finder.page)
    });
    Ok(json(StatusCode::OK, &page.await?))
}

/// One request at work.
struct Finder<'s> {
    service: &'s Service,
    q: &'s str,
    limit: usize,
    looked_at: u64,
    page: FoundPage,
}

impl Finder<'_> {
    /// Goes on at `from`, until the page is full, enough was looked at, or there is no more.
    fn run(&mut self, mut chains: Vec<OwnChain>, from: Place) -> Result<(), Problem> {
        chains.sort_unstable_by_key(|own| own.chain.id);
        self.page.sealed_chains = chains.iter().filter(|own| own.vault.managed().is_none()).count() as u64;
        let first = ChainId::from_number(from.chain);
        let mut from = Some(from);
        for own in chains.iter().filter(|own| own.vault.managed().is_some() && own.chain.id >= first) {
            let from = from.take_if(|_| own.chain.id == first).unwrap_or_default();
            let paused = self.look_through(own, from.newest, from.path)?;
            if let Some((newest, path)) = paused {
                let chain = own.chain.id.to_string().parse().expect("a chain's number is one");
                self.page.next = Some(Place { chain, newest, path }.encode());
                break;
            }
        }
        Ok(())
    }

    fn is_enough(&self) -> bool {
        self.page.items.len() >= self.limit || self.looked_at >= LOOKED_AT_MAX || self.service.stop.is_cancelled()
    }

    /// Looks at the snapshots of a chain from the one with number `newest` on; where to go on, if there is more.
    fn look_through(
        &mut self,
        own: &OwnChain,
        mut newest: u64,
        mut path: TreePath,
    ) -> Result<Option<(u64, TreePath)>, Problem> {
        let failed = |error| refused("searching snapshots", &error);
        let store = &self.service.home.store;
        let mut browser = Browser::new(store, &own.vault).map_err(failed)?;
        loop {
            if self.is_enough() {
                return Ok(Some((newest, path)));
            }
            let query = SnapshotQuery {
                vault: own.vault.id,
                device: Some(own.chain.device),
                chain: Some(&own.chain.name),
                before: (newest > 0).then(|| newest.saturating_add(1)),
                limit: SNAPSHOTS_AT_ONCE + 1,
                in_trash: false,
            };
            let mut snapshots =
                store.snapshots(&query).map_err(|error| problem::of_store("listing snapshots", &error))?;
            let older = snapshots.get(SNAPSHOTS_AT_ONCE).map(|snapshot| snapshot.number);
            snapshots.truncate(SNAPSHOTS_AT_ONCE);
            if let Some(path) = self.look_at(&mut browser, own, &snapshots, &path).map_err(failed)? {
                return Ok(Some((snapshots.first().map_or(newest, |newest| newest.number), path)));
            }
            let Some(older) = older else { return Ok(None) };
            (newest, path) = (older, TreePath::default());
        }
    }

    /// Looks at these, behind `after`; where to go on, unless they are through.
    fn look_at(
        &mut self,
        browser: &mut Browser,
        own: &OwnChain,
        snapshots: &[Snapshot],
        after: &TreePath,
    ) -> Result<Option<TreePath>, BrowseError> {
        let ids: Vec<ObjectId> = snapshots.iter().map(|snapshot| snapshot.id).collect();
        let mut roots = Vec::with_capacity(ids.len());
        for (index, made) in browser.details(&ids).into_iter().enumerate() {
            match made {
                Ok(made) => roots.push((index, made.tree)),
                Err(BrowseError::Read(ReadError::Source(error))) => return Err(ReadError::Source(error).into()),
                Err(_) => self.page.unreadable += 1,
            }
        }
        self.looked_at += ids.len() as u64;
        let wanted = NameQuery::new(self.q).expect("looked at when it was said");
        let mut across = Across::new(wanted, roots);
        across.skip_to(browser, after)?;
        let looked_at_before = self.looked_at;
        let mut paused = None;
        while let Some((path, held)) = across.next(browser)? {
            if held.first().is_some_and(|newest| across.is_wanted(&newest.entry)) {
                self.page.items.push(found(own, snapshots, &path, &held));
            }
            self.looked_at = looked_at_before + across.looked_at();
            if self.is_enough() {
                paused = Some(path);
                break;
            }
        }
        self.page.unreadable += across.unreadable();
        Ok(paused)
    }
}

fn found(own: &OwnChain, snapshots: &[Snapshot], path: &TreePath, held: &[Held]) -> FoundPath {
    let having = || held.iter().flat_map(|held| held.snapshots.iter().copied());
    let newest = having().min().expect("some snapshot has it");
    let oldest = having().max().expect("some snapshot has it");
    let versions: BTreeSet<String> = held.iter().map(|held| version(&held.entry)).collect();
    FoundPath {
        chain: own.chain.id.to_string(),
        chain_name: own.chain.name.clone(),
        device: own.chain.device.to_string(),
        device_name: own.chain.device_name.clone(),
        entry: SnapshotEntry::new(path, &held[0].entry),
        newest: (&snapshots[newest]).into(),
        oldest: (&snapshots[oldest]).into(),
        snapshots: having().count() as u64,
        versions: versions.len() as u64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_what_it_says() {
        let place = Place { chain: 3, newest: 17, path: TreePath::parse("a.b/%FF%2E").unwrap() };
        assert_eq!(Place::parse(&place.encode()), Some(place));
        assert_eq!(Place::parse("0.0."), Some(Place::default()));
        for wrong in ["", "1", "1.2", "1.x.a", "-1.2.a", "1.2.a//b", "1.2.../x"] {
            assert_eq!(Place::parse(wrong), None, "{wrong}");
        }
    }
}
