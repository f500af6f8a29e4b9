//! [`Metrics`]: what the server counts about itself, and how Prometheus reads it (text format 0.0.4).

use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use store::{PackClass, PackState};

/// With more records whose content is not what their ids promise, somebody's memory is in doubt.
const HASH_MISMATCHES_MAX: u64 = 3;

/// Says in plain words that a memory is in doubt, when so many records were not what their ids promise.
pub(crate) fn memory_doubt(hash_mismatches: u64) -> Option<String> {
    (hash_mismatches > HASH_MISMATCHES_MAX).then(|| {
        format!(
            "{hash_mismatches} records came that are not what their ids promise, and were refused: memory may be bad"
        )
    })
}

/// What to do about it.
pub(crate) const MEMORY_ADVICE: &str =
    "look in the log whether they came from one machine: test its memory, or this server's when they came from several";

/// Only ever grows.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// How many of something there are now.
#[derive(Clone, Debug, Default)]
pub(crate) struct Gauge(Arc<AtomicU64>);

/// One of what a [`Gauge`] counts; gone when dropped.
#[derive(Debug)]
pub(crate) struct Counted(Gauge);

impl Gauge {
    /// One more, until the result is dropped.
    #[must_use]
    pub(crate) fn enter(&self) -> Counted {
        self.0.fetch_add(1, Ordering::Relaxed);
        Counted(self.clone())
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What the server counts about itself since it was started; each is described where it is rendered.
#[derive(Debug)]
pub(crate) struct Metrics {
    started: SystemTime,
    pub(crate) sockets: Gauge,
    pub(crate) clients: Gauge,
    pub(crate) sessions: Gauge,
    pub(crate) listeners: Gauge,
    pub(crate) connections: Counter,
    pub(crate) connections_shed: Counter,
    pub(crate) received_bytes: Counter,
    pub(crate) sent_bytes: Counter,
    pub(crate) authentications_ok: Counter,
    pub(crate) authentications_refused: Counter,
    pub(crate) protocol_violations: Counter,
    pub(crate) records_received: Counter,
    pub(crate) record_bytes_received: Counter,
    pub(crate) records_sent: Counter,
    pub(crate) deltas_received: Counter,
    pub(crate) deltas_refused: Counter,
    pub(crate) deltas_stored: Counter,
    pub(crate) hash_mismatches: Counter,
    pub(crate) damaged_reads: Counter,
    pub(crate) poisoned_sessions: Counter,
    pub(crate) commits: Counter,
    pub(crate) unusual_snapshots: Counter,
    pub(crate) signature_basis_bytes: Counter,
    pub(crate) basis_cache_hits: Counter,
    pub(crate) basis_cache_misses: Counter,
    pub(crate) gc_runs: Counter,
    pub(crate) gc_refusals: Counter,
    pub(crate) gc_packs_deleted: Counter,
    pub(crate) gc_bytes_freed: Counter,
    pub(crate) gc_bytes_moved: Counter,
}

impl Metrics {
    /// All zero.
    pub(crate) fn new(started: SystemTime) -> Self {
        Self {
            started,
            sockets: Gauge::default(),
            clients: Gauge::default(),
            sessions: Gauge::default(),
            listeners: Gauge::default(),
            connections: Counter::default(),
            connections_shed: Counter::default(),
            received_bytes: Counter::default(),
            sent_bytes: Counter::default(),
            authentications_ok: Counter::default(),
            authentications_refused: Counter::default(),
            protocol_violations: Counter::default(),
            records_received: Counter::default(),
            record_bytes_received: Counter::default(),
            records_sent: Counter::default(),
            deltas_received: Counter::default(),
            deltas_refused: Counter::default(),
            deltas_stored: Counter::default(),
            hash_mismatches: Counter::default(),
            damaged_reads: Counter::default(),
            poisoned_sessions: Counter::default(),
            commits: Counter::default(),
            unusual_snapshots: Counter::default(),
            signature_basis_bytes: Counter::default(),
            basis_cache_hits: Counter::default(),
            basis_cache_misses: Counter::default(),
            gc_runs: Counter::default(),
            gc_refusals: Counter::default(),
            gc_packs_deleted: Counter::default(),
            gc_bytes_freed: Counter::default(),
            gc_bytes_moved: Counter::default(),
        }
    }

    /// When the server was started.
    pub(crate) fn started(&self) -> SystemTime {
        self.started
    }

    /// Everything as text; `store` is what the store says of itself, unless it cannot, `newest_copy_ms` when the newest
    /// backup of the catalog in the second place was made, if there is such a place, `names` how many are kept for searches.
    pub(crate) fn render(&self, store: Option<&store::Status>, newest_copy_ms: Option<u64>, names: usize) -> String {
        let mut page = Page::default();
        page.describe("backup_server_build_info", "gauge", "Always 1; the labels tell the version.");
        page.sample("backup_server_build_info", &[("version", env!("CARGO_PKG_VERSION"))], 1);
        let started = self.started.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        page.gauge("backup_server_start_time_seconds", "When the server was started, Unix time.", started);
        page.gauge("backup_server_sockets", "Open connections.", self.sockets.get());
        page.gauge("backup_server_clients", "Connections of authenticated devices.", self.clients.get());
        page.gauge("backup_server_sessions", "Sessions that write.", self.sessions.get());
        page.gauge("backup_server_listeners", "Requests that are told what goes on.", self.listeners.get());
        page.gauge("backup_server_search_names", "Names of drives kept in memory for searches.", names as u64);
        self.render_counters(&mut page);
        if let Some(store) = store {
            render_store(&mut page, store);
        }
        if let Some(newest_ms) = newest_copy_ms {
            let help = "When the newest backup of the catalog in the second place was made, Unix time; 0 without any.";
            page.gauge("backup_server_catalog_copy_time_seconds", help, newest_ms / 1000);
        }
        page.text
    }

    fn render_counters(&self, page: &mut Page) {
        let name = "backup_server_authentications_total";
        page.describe(name, "counter", "Attempts of devices to authenticate or enroll.");
        page.sample(name, &[("outcome", "ok")], self.authentications_ok.get());
        page.sample(name, &[("outcome", "refused")], self.authentications_refused.get());
        let counters = [
            ("connections", "Connections accepted.", &self.connections),
            ("connections_shed", "Connections closed to make room for others.", &self.connections_shed),
            ("received_bytes", "Bytes received on TCP connections.", &self.received_bytes),
            ("sent_bytes", "Bytes sent on TCP connections.", &self.sent_bytes),
            (
                "protocol_violations",
                "Connections ended because the client broke the protocol.",
                &self.protocol_violations,
            ),
            ("records_received", "Records put by clients.", &self.records_received),
            ("record_bytes_received", "Bytes of records put by clients.", &self.record_bytes_received),
            ("records_sent", "Records sent to clients.", &self.records_sent),
            ("deltas_received", "Deltas put by clients.", &self.deltas_received),
            ("deltas_refused", "Deltas that did not rebuild their chunk.", &self.deltas_refused),
            ("deltas_stored", "Chunks stored as a delta.", &self.deltas_stored),
            ("hash_mismatches", "Records whose content was not what their ids promise.", &self.hash_mismatches),
            ("damaged_reads", "Stored objects that could not be read in any copy.", &self.damaged_reads),
            (
                "poisoned_sessions",
                "Sessions that lost records because a pack could not be written.",
                &self.poisoned_sessions,
            ),
            ("commits", "Snapshots and drive changes committed.", &self.commits),
            ("unusual_snapshots", "Snapshots that keep unusually little of the one before.", &self.unusual_snapshots),
            (
                "signature_basis_bytes",
                "Bytes of basis chunks that signatures were made of.",
                &self.signature_basis_bytes,
            ),
            ("basis_cache_hits", "Basis chunks found in memory.", &self.basis_cache_hits),
            ("basis_cache_misses", "Basis chunks read from packs.", &self.basis_cache_misses),
            ("gc_runs", "Collections of garbage that came to their end.", &self.gc_runs),
            ("gc_refusals", "Reasons for which collections did less than they could.", &self.gc_refusals),
            ("gc_packs_deleted", "Packs deleted by collections.", &self.gc_packs_deleted),
            ("gc_bytes_freed", "Bytes of packs deleted by collections.", &self.gc_bytes_freed),
            ("gc_bytes_moved", "Bytes that collections moved to other packs.", &self.gc_bytes_moved),
        ];
        for (name, help, counter) in counters {
            let name = format!("backup_server_{name}_total");
            page.describe(&name, "counter", help);
            page.sample(&name, &[], counter.get());
        }
    }
}

fn render_store(page: &mut Page, store: &store::Status) {
    page.describe("backup_server_packs", "gauge", "Packs by class and state.");
    for totals in &store.packs {
        page.sample("backup_server_packs", &pack_labels(totals), totals.packs);
    }
    page.describe("backup_server_store_bytes", "gauge", "Bytes in packs by class and state.");
    for totals in &store.packs {
        page.sample("backup_server_store_bytes", &pack_labels(totals), totals.bytes);
    }
    page.describe("backup_server_store_records", "gauge", "Records in packs by class and state.");
    for totals in &store.packs {
        page.sample("backup_server_store_records", &pack_labels(totals), totals.records);
    }
    page.gauge("backup_server_snapshots", "Snapshots that can be restored.", store.snapshots);
    let help = "Chains of which nothing older than an unusual change goes until somebody confirms it.";
    page.gauge("backup_server_frozen_chains", help, store.frozen_chains);
    page.gauge("backup_server_accounts", "Accounts.", store.accounts);
    page.gauge("backup_server_devices", "Devices that are not revoked.", store.devices);
    page.gauge("backup_server_vaults", "Vaults.", store.vaults);
    page.gauge("backup_server_free_bytes", "Bytes that can still be stored.", store.free_bytes);
}

fn pack_labels(totals: &store::PackTotals) -> [(&'static str, &'static str); 2] {
    let class = match totals.class {
        PackClass::Data => "data",
        PackClass::Metadata => "metadata",
    };
    let state = match totals.state {
        PackState::Writing => "writing",
        PackState::Sealed => "sealed",
        PackState::Condemned => "condemned",
        PackState::Deleting => "deleting",
        PackState::Bad => "bad",
    };
    [("class", class), ("state", state)]
}

#[derive(Default)]
struct Page {
    text: String,
}

impl Page {
    fn describe(&mut self, name: &str, kind: &str, help: &str) {
        // Writing to a string does not fail.
        let _ = writeln!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: u64) {
        let labels: Vec<String> = labels.iter().map(|(label, value)| format!("{label}=\"{value}\"")).collect();
        let _ = match labels[..] {
            [] => writeln!(self.text, "{name} {value}"),
            _ => writeln!(self.text, "{name}{{{}}} {value}", labels.join(",")),
        };
    }

    fn gauge(&mut self, name: &str, help: &str, value: u64) {
        self.describe(name, "gauge", help);
        self.sample(name, &[], value);
    }
}
