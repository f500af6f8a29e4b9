//! [`Store::verify_pack`]: every byte of a pack against its checksums, its hash and the index.
//!
//! A copy that cannot be read is marked in the index: it is not found any more, so the object counts as not held and the
//! next backup sends it again. A copy that can be read again loses its mark. Nothing else is changed, and nothing is ever
//! removed: that, and moving sound records out of a damaged pack, is [`repair`](crate::repair)'s.

use std::collections::{HashMap, HashSet};
use std::io;

use object::{Kind, ObjectId, VaultId};

use crate::catalog::drive;
use crate::catalog::objects::{self, IndexEntry, MarkedRow, Row};
use crate::catalog::packs::{self, PackChoice, PackFacts, PackState};
use crate::closure::{self, Memo};
use crate::ids::{HalfId, PackKey, VaultKey, half};
use crate::layout::pack::{HEADER_LEN, SYNC_MARKER, TRAILER_LEN};
use crate::pack::scan::{PackFinding, PackScan};
use crate::pack::{PackFile, PackReader, Span};
use crate::{NodeId, PackId, Snapshot, SnapshotQuery, Store, StoreError, UnixMs};

/// Snapshots whose closure is looked at together.
const SNAPSHOT_BATCH_LEN: usize = 64;
/// Objects of a snapshot read together.
const OBJECT_BATCH_LEN: usize = 256;
/// Ids remembered while a snapshot is read; beyond it objects may be read twice.
const SEEN_MAX: usize = 1 << 21;

/// How many rows of the index each pack has: see [`Store::index_counts`].
#[derive(Clone, Debug, Default)]
pub struct IndexCounts(HashMap<PackKey, u64>);

/// What verifying one pack found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PackReport {
    /// Which.
    pub pack: PackId,
    /// Whose objects it holds.
    pub vault: VaultId,
    /// Bytes of its file; 0 when there is none.
    pub bytes: u64,
    /// Sound records in it.
    pub records: u64,
    /// Whether its file is gone, or another's.
    pub is_missing: bool,
    /// Where its bytes are not what was written, in order.
    pub flaws: Vec<Flaw>,
    /// Objects whose copy in this pack cannot be read.
    pub damaged: Vec<DamagedObject>,
    /// Objects that stand in the pack and that the index does not know, or knew as damaged.
    pub unindexed: u64,
}

impl PackReport {
    /// Whether every byte is as it was written and the index says so.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        !self.is_flawed() && self.damaged.is_empty() && self.unindexed == 0
    }

    /// Whether the file is missing or is not what was written, whatever that costs.
    #[must_use]
    pub fn is_flawed(&self) -> bool {
        self.is_missing || !self.flaws.is_empty()
    }
}

/// Bytes of a pack that are not what was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flaw {
    /// Where they begin.
    pub offset: u64,
    /// How many bytes cannot be vouched for.
    pub len: u64,
    /// What is wrong.
    pub what: String,
}

/// A copy of an object that cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DamagedObject {
    /// The first half of the object's id; the index has no more of it.
    pub half_id: [u8; 16],
    /// What the object is for.
    pub kind: Kind,
    /// Where the copy's record begins in the pack.
    pub offset: u32,
    /// Whether no other copy is left.
    pub is_lost: bool,
}

/// What reading all of one snapshot found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SnapshotReport {
    /// Objects read.
    pub objects: u64,
    /// Bytes of the records read.
    pub bytes: u64,
    /// Objects that are referred to and cannot be read; those below them were not looked at.
    pub unreadable: Vec<ObjectId>,
}

/// A state of a file of a drive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DriveState {
    /// Names on the way to it, sealed.
    pub sealed_path: Vec<Vec<u8>>,
    /// Which state.
    pub version: u64,
    /// When it was put.
    pub received: UnixMs,
    /// Whether the file has no newer one.
    pub is_newest: bool,
    /// Whether the file is in the trash.
    pub is_trashed: bool,
}

/// A pack compared with the index.
pub(crate) struct Inspected {
    pub(crate) report: PackReport,
    pub(crate) wrong: Vec<WrongRow>,
}

/// A sound copy whose row is not what it should be.
pub(crate) struct WrongRow {
    /// What the row should be.
    pub(crate) row: Row,
    /// All that is wrong is that the copy is marked as damaged.
    pub(crate) was_damaged: bool,
}

struct Compared {
    wrong: Vec<WrongRow>,
    without_record: Vec<MarkedRow>,
}

/// A pack that was read to its end.
pub(crate) struct Survey {
    pub(crate) file: PackFile,
    pub(crate) flaws: Vec<Flaw>,
    /// Members of sound records, in the order of the file.
    pub(crate) entries: Vec<IndexEntry>,
}

impl Store {
    /// The packs chosen, those verified longest ago first, with their lengths in bytes; at most `limit`.
    ///
    /// # Errors
    /// When the catalog fails.
    pub fn packs_to_verify(&self, choice: PackChoice, limit: u64) -> Result<Vec<(PackId, u64)>, StoreError> {
        self.catalog().settle()?;
        self.catalog().read(|catalog| packs::choose(catalog, choice, limit))
    }

    /// Counts the index rows of every pack, so that [`verify_pack`](Self::verify_pack) notices rows that lead nowhere.
    /// Reads the whole index.
    ///
    /// # Errors
    /// When the catalog fails.
    pub fn index_counts(&self) -> Result<IndexCounts, StoreError> {
        self.catalog().settle()?;
        self.catalog().read(objects::count_by_pack).map(IndexCounts)
    }

    /// Reads every byte of a pack, compares it with all checksums, the pack's hash and the index, and marks what cannot be
    /// read. `None` when there is no such pack to be verified: it is being written, deleted, or set aside.
    ///
    /// `on_bytes` hears how many bytes were read since the last call, at most a few MiB, and may take its time.
    ///
    /// # Errors
    /// When the catalog fails. Damage is no error but a finding, and so is a disk that cannot read.
    pub fn verify_pack(
        &self,
        pack: PackId,
        counts: Option<&IndexCounts>,
        now: UnixMs,
        on_bytes: &mut dyn FnMut(u64),
    ) -> Result<Option<PackReport>, StoreError> {
        let Some((inspected, facts)) = self.inspect(pack, counts, on_bytes)? else { return Ok(None) };
        let Inspected { mut report, wrong, .. } = inspected;
        let (key, vault) = (facts.row.key, facts.row.vault);
        if !report.is_sound() {
            // Who has it open may see the file that stood there before, or as long as it was before.
            self.packs().forget(key);
        }
        self.catalog().write(|tx| {
            if !matches!(packs::state(tx, key)?, Some(PackState::Sealed | PackState::Condemned)) {
                return Ok(());
            }
            let damaged = report.damaged.iter().map(|object| (object.half_id, object.offset));
            if objects::mark_damaged(tx, vault, key, damaged)? > 0 {
                packs::unsettle(tx, key)?;
            }
            objects::put(tx, wrong.iter().filter(|wrong| wrong.was_damaged).map(|wrong| wrong.row))?;
            packs::set_verified(tx, key, now)
        })?;
        self.find_lost(key, vault, &mut report)?;
        Ok(Some(report))
    }

    /// Finds out what [`verify_pack`](Self::verify_pack) would, and changes nothing.
    ///
    /// # Errors
    /// As there.
    pub fn inspect_pack(
        &self,
        pack: PackId,
        counts: Option<&IndexCounts>,
        on_bytes: &mut dyn FnMut(u64),
    ) -> Result<Option<PackReport>, StoreError> {
        let Some((inspected, facts)) = self.inspect(pack, counts, on_bytes)? else { return Ok(None) };
        let mut report = inspected.report;
        self.find_lost(facts.row.key, facts.row.vault, &mut report)?;
        Ok(Some(report))
    }

    /// Snapshots of a vault, and then those in its trash, that refer to something which cannot be read any more. Costs a walk
    /// over all trees of the vault when anything in it is lost, and next to nothing otherwise.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] without the vault.
    pub fn incomplete_snapshots(&self, vault: VaultId) -> Result<Vec<Snapshot>, StoreError> {
        let key = self.vault_key(vault)?;
        if !self.has_lost(key)? {
            return Ok(Vec::new());
        }
        let mut memo = Memo::new(self.catalog().read(packs::condemn_seq)?);
        let mut incomplete = Vec::new();
        for in_trash in [false, true] {
            let mut before = None;
            loop {
                let query =
                    SnapshotQuery { vault, device: None, chain: None, before, limit: SNAPSHOT_BATCH_LEN, in_trash };
                let batch = self.snapshots(&query)?;
                let Some(last) = batch.last() else { break };
                before = Some(last.number);
                let roots: Vec<ObjectId> = batch.iter().map(|snapshot| snapshot.id).collect();
                let complete = closure::check(self, key, &mut memo, &roots)?.complete;
                incomplete
                    .extend(batch.into_iter().zip(complete).filter(|(_, complete)| !complete).map(|(found, _)| found));
            }
        }
        Ok(incomplete)
    }

    /// States of the files of a vault's drive, older ones and those in the trash too, of which something cannot be read any
    /// more. Costs a look at all of them when anything in the vault is lost, and next to nothing otherwise.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] without the vault.
    pub fn incomplete_drive_states(&self, vault: VaultId) -> Result<Vec<DriveState>, StoreError> {
        let key = self.vault_key(vault)?;
        if !self.has_lost(key)? {
            return Ok(Vec::new());
        }
        let mut memo = Memo::new(self.catalog().read(packs::condemn_seq)?);
        let mut incomplete = Vec::new();
        let mut after = (NodeId(0), 0);
        loop {
            let batch = self.catalog().read(|catalog| drive::states(catalog, key, after, OBJECT_BATCH_LEN))?;
            let Some(last) = batch.last() else { return Ok(incomplete) };
            after = (last.node, last.version);
            let contents: Vec<ObjectId> = batch.iter().map(|state| state.content).collect();
            let complete = closure::check(self, key, &mut memo, &contents)?.complete;
            for (state, _) in batch.into_iter().zip(complete).filter(|(_, complete)| !complete) {
                incomplete.push(self.catalog().read(|catalog| {
                    Ok(DriveState {
                        sealed_path: drive::sealed_path(catalog, state.node)?,
                        version: state.version,
                        received: state.received,
                        is_newest: state.is_newest,
                        is_trashed: drive::is_trashed(catalog, state.node)?,
                    })
                })?);
            }
        }
    }

    /// Reads everything a snapshot refers to, from the copies a restore would read, and compares all checksums.
    ///
    /// `on_bytes` hears how many bytes were read since the last call.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] without the vault. What cannot be read is in the report.
    pub fn verify_snapshot(
        &self,
        vault: VaultId,
        snapshot: ObjectId,
        on_bytes: &mut dyn FnMut(u64),
    ) -> Result<SnapshotReport, StoreError> {
        let mut report = SnapshotReport::default();
        let mut seen: HashSet<HalfId> = HashSet::from([half(&snapshot)]);
        let mut open = vec![snapshot];
        while !open.is_empty() {
            let batch = open.split_off(open.len().saturating_sub(OBJECT_BATCH_LEN));
            let mut is_read = vec![false; batch.len()];
            for record in self.read_records(vault, &batch)? {
                let record = match record {
                    Ok(record) => record,
                    Err(StoreError::Damaged { .. } | StoreError::Io { .. }) => continue,
                    Err(error) => return Err(error),
                };
                let len = record.record.bytes().len() as u64;
                report.bytes += len;
                on_bytes(len);
                let view = record.record.view();
                for (index, member) in view.head().members().enumerate() {
                    let mut requests = record.wanted.iter().filter(|wanted| wanted.member_index == index).peekable();
                    if requests.peek().is_none() {
                        continue;
                    }
                    requests.for_each(|wanted| is_read[wanted.request_index] = true);
                    report.objects += 1;
                    for edge in member.edges.iter() {
                        let is_new =
                            if seen.len() < SEEN_MAX { seen.insert(half(&edge)) } else { !seen.contains(&half(&edge)) };
                        if is_new {
                            open.push(edge);
                        }
                    }
                }
            }
            report.unreadable.extend(batch.iter().zip(is_read).filter(|(_, is_read)| !is_read).map(|(id, _)| *id));
        }
        Ok(report)
    }

    /// Whether a vault has an object of which only damaged copies are left.
    pub(crate) fn has_lost(&self, vault: VaultKey) -> Result<bool, StoreError> {
        Ok(!self.catalog().read(|catalog| objects::lost(catalog, vault, 1))?.is_empty())
    }

    /// Reads a pack and compares it with the index.
    pub(crate) fn inspect(
        &self,
        pack: PackId,
        counts: Option<&IndexCounts>,
        on_bytes: &mut dyn FnMut(u64),
    ) -> Result<Option<(Inspected, PackFacts)>, StoreError> {
        self.catalog().settle()?;
        let Some(facts) = self.catalog().read(|catalog| packs::facts(catalog, pack))? else { return Ok(None) };
        if !facts.is_readable() {
            return Ok(None);
        }
        let mut report = PackReport {
            pack,
            vault: facts.header.vault,
            bytes: 0,
            records: 0,
            is_missing: false,
            flaws: Vec::new(),
            damaged: Vec::new(),
            unindexed: 0,
        };
        let mut entries = Vec::new();
        match self.open_to_verify(&facts)? {
            Ok(reader) => {
                report.bytes = reader.len();
                let survey = survey(reader, facts.hash, on_bytes);
                report.records = u64::from(survey.file.record_count);
                report.flaws = survey.flaws;
                entries = survey.entries;
            }
            Err(what) => {
                report.is_missing = true;
                report.flaws.push(Flaw { offset: 0, len: 0, what });
            }
        }
        let Compared { mut wrong, without_record } = self.compare(&facts, &entries, report.is_flawed(), counts)?;
        report.damaged = self.unreadable(&facts, without_record)?;
        // Garbage collection may have come in between: it says in the catalog what it is about to do before it does it.
        let now = self.catalog().read(|catalog| packs::facts(catalog, pack))?;
        let Some(facts) = now.filter(PackFacts::is_readable) else { return Ok(None) };
        if facts.has_let_go {
            wrong.retain(|wrong| wrong.was_damaged);
        }
        report.unindexed = wrong.len() as u64;
        Ok(Some((Inspected { report, wrong }, facts)))
    }

    /// Opens a pack's file whatever its header looks like; says in words when it is gone or another's.
    pub(crate) fn open_to_verify(&self, facts: &PackFacts) -> Result<Result<PackReader, String>, StoreError> {
        let file = match self.dir().open(&self.dir().pack_path(facts.row.id)) {
            Ok(file) => file,
            Err(StoreError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                return Ok(Err("its file is gone".to_owned()));
            }
            Err(error) => return Err(error),
        };
        Ok(PackReader::open_known(file, facts.header).map_err(|fault| fault.to_string()))
    }

    /// Compares what stands in a pack with the rows of the index.
    fn compare(
        &self,
        facts: &PackFacts,
        entries: &[IndexEntry],
        is_flawed: bool,
        counts: Option<&IndexCounts>,
    ) -> Result<Compared, StoreError> {
        let (key, vault) = (facts.row.key, facts.row.vault);
        let mut compared = Compared { wrong: Vec::new(), without_record: Vec::new() };
        let mut places = HashSet::with_capacity(entries.len());
        self.catalog().read(|catalog| {
            for entry in entries {
                let id = half(&entry.id);
                if !places.insert((id, entry.span.offset)) {
                    continue;
                }
                let found = objects::marked_row(catalog, vault, id, key, entry.span.offset)?;
                let expected = MarkedRow { id, span: entry.span, form: entry.form, is_damaged: false };
                if found != Some(expected) {
                    let row = Row { vault, id, pack: key, span: entry.span, form: entry.form };
                    let was_damaged = found == Some(MarkedRow { is_damaged: true, ..expected });
                    compared.wrong.push(WrongRow { row, was_damaged });
                }
            }
            let count = counts.map(|counts| counts.0.get(&key).copied().unwrap_or_default());
            let is_exact = count.is_none_or(|count| count == places.len() as u64);
            if is_flawed || !compared.wrong.is_empty() || !is_exact {
                let rows = objects::rows_of_pack(catalog, key)?;
                compared.without_record = rows;
                compared.without_record.retain(|row| !places.contains(&(row.id, row.span.offset)));
            }
            Ok(())
        })?;
        Ok(compared)
    }

    /// Tries each row that the scan found no record for once more, on its own: a disk that cannot read one place ends a scan.
    fn unreadable(&self, facts: &PackFacts, rows: Vec<MarkedRow>) -> Result<Vec<DamagedObject>, StoreError> {
        if rows.is_empty() {
            return Ok(Vec::new());
        }
        let pack = self.open_to_verify(facts)?.ok();
        let mut damaged = Vec::new();
        for row in rows {
            let is_there = pack.as_ref().is_some_and(|pack| {
                pack.record(row.span).is_ok_and(|record| {
                    let view = record.view();
                    view.head().members().any(|member| half(&member.id) == row.id)
                })
            });
            if !is_there {
                let (half_id, kind, offset) = (row.id, row.form.kind, row.span.offset);
                damaged.push(DamagedObject { half_id, kind, offset, is_lost: false });
            }
        }
        Ok(damaged)
    }

    /// Says of each damaged copy whether it was the last one.
    fn find_lost(&self, key: PackKey, vault: VaultKey, report: &mut PackReport) -> Result<(), StoreError> {
        let mut ids: Vec<ObjectId> = report.damaged.iter().map(|object| any_id_of(object.half_id)).collect();
        ids.sort_unstable();
        ids.dedup();
        let copies = self.locate(vault, &ids)?;
        for object in &mut report.damaged {
            let index = ids.binary_search(&any_id_of(object.half_id)).expect("made of the same objects");
            object.is_lost = copies[index].iter().all(|copy| copy.pack == key && copy.span.offset == object.offset);
        }
        Ok(())
    }
}

/// Reads a pack to its end; `known_hash` is what the catalog remembers of it.
pub(crate) fn survey(pack: PackReader, known_hash: Option<[u8; 32]>, on_bytes: &mut dyn FnMut(u64)) -> Survey {
    let len = pack.len();
    let mut flaws = Vec::new();
    if let Some(fault) = pack.header_fault() {
        flaws.push(Flaw { offset: 0, len: HEADER_LEN as u64, what: format!("the header is damaged: {fault}") });
    }
    let footer = pack.spans();
    let mut scan = PackScan::new(pack);
    let (mut spans, mut entries, mut others) = (Vec::new(), Vec::new(), Vec::new());
    let mut read_to = HEADER_LEN as u64;
    let mut failure = None;
    for finding in scan.by_ref() {
        let end = match finding {
            Ok(PackFinding::Record { offset, record }) => {
                let len = u32::try_from(SYNC_MARKER.len() + record.bytes().len()).expect("records are limited");
                let span = Span { offset, len };
                entries.extend(objects::entries_of(record.view().head(), span));
                spans.push(span);
                span.end()
            }
            Ok(PackFinding::Other { offset, len }) => {
                others.push((offset, offset + len));
                offset + len
            }
            Err(error) => {
                failure = Some(error);
                break;
            }
        };
        on_bytes(end - read_to);
        read_to = end;
    }
    // Where sound records may stand; behind it are footer and trailer.
    let records_end = match &footer {
        Ok((trailer, _)) => len - TRAILER_LEN as u64 - u64::from(trailer.footer_len),
        Err(_) => others.last().filter(|(_, end)| *end == len).map_or(len, |(offset, _)| *offset),
    };
    for (offset, end) in others {
        let end = end.min(records_end);
        if offset < end {
            flaws.push(Flaw { offset, len: end - offset, what: "no sound record is here".to_owned() });
        }
    }
    let hash = scan.hash();
    let mut is_whole = false;
    match (failure, footer) {
        (Some(error), _) => flaws.push(Flaw { offset: read_to, len: len - read_to, what: error.to_string() }),
        (None, Err(fault)) => {
            let what = format!("footer or trailer are damaged: {fault}");
            flaws.push(Flaw { offset: records_end, len: len - records_end, what });
        }
        (None, Ok((trailer, listed))) => {
            is_whole = trailer.hash == hash;
            let what = if !is_whole && flaws.is_empty() {
                Some("the bytes are not those the trailer was made for")
            } else if listed != spans && flaws.is_empty() {
                Some("the footer lists other records than there are")
            } else if known_hash.is_some_and(|known| known != trailer.hash) {
                Some("the pack is not the one that was sealed")
            } else {
                None
            };
            flaws.extend(what.map(|what| Flaw { offset: records_end, len: len - records_end, what: what.to_owned() }));
        }
    }
    let record_count = u32::try_from(spans.len()).expect("packs are limited");
    let file = PackFile { len, record_count, hash: is_whole.then_some(hash) };
    Survey { file, flaws, entries }
}

/// An id with this first half: the index has no more of an id, and asks for no more.
fn any_id_of(half_id: HalfId) -> ObjectId {
    let mut bytes = [0; ObjectId::LEN];
    bytes[..half_id.len()].copy_from_slice(&half_id);
    ObjectId::from_bytes(bytes)
}
