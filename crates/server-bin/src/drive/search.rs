//! [`NameIndex`]: the names of a drive in memory, found by parts of them. [`Searches`] keeps those that are asked.
//!
//! The catalog holds names sealed, so they are opened once, when somebody looks through folders or searches the drive, and
//! kept in step with the drive's version from then on. Names are compared without case and without marks above and below letters.

use std::collections::{BinaryHeap, HashMap};
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};

use icu_normalizer::DecomposingNormalizerBorrowed;
use memchr::memmem::Finder;
use object::VaultId;
use store::NodeId;

use crate::drive::{DriveError, DriveView};

/// Most names kept, those of all drives together: some 110 bytes each.
const NAMES_MAX: usize = 3_000_000;
/// An index that nobody asks for so long is dropped.
const IDLE_MAX: Duration = Duration::from_secs(15 * 60);

/// What names are compared by.
fn folded(name: &str) -> String {
    if name.is_ascii() {
        return name.to_ascii_lowercase();
    }
    let plain = DecomposingNormalizerBorrowed::new_nfkd().normalize(name);
    let mut folded = String::with_capacity(plain.len());
    for c in plain.chars().filter(|c| !is_mark(*c)).flat_map(char::to_lowercase) {
        match c {
            'ß' => folded.push_str("ss"),
            'æ' => folded.push_str("ae"),
            'œ' => folded.push_str("oe"),
            'ø' => folded.push('o'),
            'ł' => folded.push('l'),
            'đ' | 'ð' => folded.push('d'),
            'ı' => folded.push('i'),
            c if is_mark(c) => {}
            c => folded.push(c),
        }
    }
    folded
}

/// Marks that stand with a letter, once it is taken apart.
fn is_mark(c: char) -> bool {
    matches!(u32::from(c), 0x300..=0x36f | 0x1ab0..=0x1aff | 0x1dc0..=0x1dff | 0x20d0..=0x20ff | 0xfe20..=0xfe2f)
}

/// What is looked for: names that hold each of some words.
#[derive(Debug)]
pub struct NameQuery {
    words: Vec<Finder<'static>>,
    whole: Vec<u8>,
}

/// What else is looked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    /// Only this.
    pub kind: Option<FoundKind>,
    /// Only files of so many bytes.
    pub sizes: Option<RangeInclusive<u64>>,
    /// Only files changed last at such a time, in milliseconds since 1970.
    pub changed_ms: Option<RangeInclusive<i64>>,
}

impl Filter {
    /// Lets everything through.
    pub const NONE: Self = Self { kind: None, sizes: None, changed_ms: None };

    fn holds(&self, name: &[u8], facts: Option<Facts>) -> bool {
        let is_kind = match (self.kind, facts) {
            (None, _) | (Some(FoundKind::Folder), None) | (Some(FoundKind::File), Some(_)) => true,
            (Some(FoundKind::Folder), Some(_)) | (Some(_), None) => false,
            (Some(kind), Some(_)) => FoundKind::of_name(name) == Some(kind),
        };
        let is_size = self.sizes.as_ref().is_none_or(|sizes| facts.is_some_and(|facts| sizes.contains(&facts.size)));
        let is_time = |times: &RangeInclusive<i64>| facts.is_some_and(|facts| times.contains(&facts.changed_ms));
        is_kind && is_size && self.changed_ms.as_ref().is_none_or(is_time)
    }
}

/// What kind of thing something is, as far as its name tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum FoundKind {
    /// A folder.
    Folder,
    /// Any file.
    File,
    /// A picture.
    Image,
    /// Sound.
    Audio,
    /// Moving pictures.
    Video,
    /// Text, tables, slides.
    Document,
    /// Files in a file.
    Archive,
}

impl FoundKind {
    /// Of a file with this name, in small letters.
    fn of_name(name: &[u8]) -> Option<Self> {
        let dot = name.iter().rposition(|byte| *byte == b'.')?;
        match &name[dot + 1..] {
            b"jpg" | b"jpeg" | b"png" | b"gif" | b"webp" | b"heic" | b"heif" | b"avif" | b"bmp" | b"tif" | b"tiff"
            | b"svg" | b"raw" | b"dng" | b"cr2" | b"nef" | b"arw" => Some(Self::Image),
            b"mp3" | b"flac" | b"ogg" | b"opus" | b"m4a" | b"aac" | b"wav" | b"wma" | b"aiff" => Some(Self::Audio),
            b"mp4" | b"m4v" | b"mov" | b"mkv" | b"webm" | b"avi" | b"mpg" | b"mpeg" | b"wmv" | b"3gp" | b"mts" => {
                Some(Self::Video)
            }
            b"pdf" | b"txt" | b"md" | b"rtf" | b"doc" | b"docx" | b"odt" | b"xls" | b"xlsx" | b"ods" | b"csv"
            | b"ppt" | b"pptx" | b"odp" | b"epub" | b"tex" | b"html" => Some(Self::Document),
            b"zip" | b"tar" | b"gz" | b"tgz" | b"bz2" | b"xz" | b"zst" | b"7z" | b"rar" | b"iso" => Some(Self::Archive),
            _ => None,
        }
    }
}

/// What is known of a file beside its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Bytes.
    pub size: u64,
    /// When they were changed last, in milliseconds since 1970.
    pub changed_ms: i64,
}

/// Where something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Whereabouts {
    /// The folder.
    pub parent: NodeId,
    /// Whether it is in the trash, itself.
    pub is_trashed: bool,
}

impl NameQuery {
    /// Reads what somebody typed; `None` when there is no word in it.
    pub fn new(text: &str) -> Option<Self> {
        let folded = folded(text);
        let words: Vec<&str> = folded.split_whitespace().collect();
        let whole = words.join(" ").into_bytes();
        let words: Vec<_> = words.iter().map(|word| Finder::new(word).into_owned()).collect();
        (!words.is_empty()).then_some(Self { words, whole })
    }

    /// Fits every name.
    pub fn any() -> Self {
        Self { words: Vec::new(), whole: Vec::new() }
    }

    /// Whether a name holds all words.
    pub(crate) fn fits(&self, name: &[u8]) -> bool {
        let name = folded(&String::from_utf8_lossy(name));
        self.words.iter().all(|word| word.find(name.as_bytes()).is_some())
    }

    /// How well a name fits: the lower the better; `None` when it does not.
    fn rank(&self, name: &[u8]) -> Option<u8> {
        let mut starts = 0;
        for word in &self.words {
            let at = word.find(name)?;
            // Behind a space, a dot, a dash begins a word.
            starts += usize::from(at == 0 || !name[at - 1].is_ascii_alphanumeric() && name[at - 1] < 0x80);
        }
        if name == self.whole {
            Some(0)
        } else if name.starts_with(&self.whole) {
            Some(1)
        } else if starts == self.words.len() {
            Some(2)
        } else {
            Some(3)
        }
    }
}

/// The names of a drive. Memory: some 110 bytes for a name of 30.
#[derive(Debug, Default)]
pub struct NameIndex {
    /// Folded names, one behind the other.
    text: Vec<u8>,
    entries: Vec<Entry>,
    by_node: HashMap<i64, u32>,
}

#[derive(Debug)]
struct Entry {
    node: i64,
    parent: i64,
    start: u32,
    len: u16,
    is_trashed: bool,
    /// Of a file.
    facts: Option<Facts>,
}

impl NameIndex {
    /// How many names there are, those in the trash included.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Says where something is, what it is called and, of a file, what else is known, from now on; `false` when there is no
    /// more room.
    pub fn place(&mut self, node: NodeId, place: Whereabouts, name: &str, facts: Option<Facts>) -> bool {
        let Whereabouts { parent, is_trashed } = place;
        let folded = folded(name);
        let known = self.by_node.get(&node.0).map(|index| *index as usize);
        let (Ok(start), Ok(len)) = (u32::try_from(self.text.len()), u16::try_from(folded.len())) else { return false };
        let mut entry = Entry { node: node.0, parent: parent.0, start, len, is_trashed, facts };
        if let Some(old) = known.map(|index| &self.entries[index])
            && self.name(old) == folded.as_bytes()
        {
            entry.start = old.start;
        } else {
            self.text.extend_from_slice(folded.as_bytes());
        }
        match known {
            Some(index) => self.entries[index] = entry,
            None => {
                let Ok(index) = u32::try_from(self.entries.len()) else { return false };
                self.by_node.insert(node.0, index);
                self.entries.push(entry);
            }
        }
        true
    }

    /// The best `limit` of what is not in the trash, best first: names that are what was looked for, begin with it, hold its
    /// words from their beginning, hold them anywhere; the shorter before the longer.
    pub fn find(&self, query: &NameQuery, filter: &Filter, limit: usize) -> Vec<NodeId> {
        // The worst of the best stands on top.
        let mut best = BinaryHeap::with_capacity(limit + 1);
        for entry in self.entries.iter().filter(|entry| !entry.is_trashed) {
            let name = self.name(entry);
            if !filter.holds(name, entry.facts) {
                continue;
            }
            let Some(rank) = query.rank(name) else { continue };
            let found = (rank, entry.len, name, entry.node);
            let is_better = best.len() < limit || best.peek().is_some_and(|worst| found < *worst);
            if is_better && !self.is_below_trash(entry) {
                best.push(found);
                if best.len() > limit {
                    best.pop();
                }
            }
        }
        best.into_sorted_vec().into_iter().map(|(_, _, _, node)| NodeId(node)).collect()
    }

    fn name(&self, entry: &Entry) -> &[u8] {
        &self.text[entry.start as usize..][..usize::from(entry.len)]
    }

    fn is_below_trash(&self, entry: &Entry) -> bool {
        let mut parent = entry.parent;
        // The root is in no folder, and not here.
        while let Some(index) = self.by_node.get(&parent) {
            let folder = &self.entries[*index as usize];
            if folder.is_trashed {
                return true;
            }
            parent = folder.parent;
        }
        false
    }
}

/// Indexes of drives that are searched.
#[derive(Debug, Default)]
pub(crate) struct Searches {
    kept: Mutex<HashMap<VaultId, Kept>>,
}

#[derive(Debug)]
struct Kept {
    used: Instant,
    /// Whether the names were read ahead, or are just now.
    is_prepared: bool,
    /// Names in it, when it was used last.
    count: usize,
    index: Arc<RwLock<Indexed>>,
}

/// An index, and the drive's version that it is of.
#[derive(Debug, Default)]
struct Indexed {
    version: u64,
    names: NameIndex,
}

impl Searches {
    /// Whether the names of a drive should be [prepared](Self::prepare): once, and again when they were dropped.
    pub(crate) fn should_prepare(&self, vault: VaultId, now: Instant) -> bool {
        self.sweep(now);
        let mut kept = self.lock();
        let kept = kept.entry(vault).or_insert_with(|| Kept::new(now));
        !std::mem::replace(&mut kept.is_prepared, true)
    }

    /// Reads the names of a drive ahead: who looks through folders may search next.
    ///
    /// # Errors
    /// As [`find`](Self::find).
    pub(crate) fn prepare(&self, drive: &DriveView<'_>, now: Instant) -> Result<(), DriveError> {
        let index = self.open(drive.vault(), now);
        keep_up(&index, drive)?;
        self.note(drive.vault(), read(&index).names.len());
        Ok(())
    }

    /// How many names are kept, those of all drives together.
    pub(crate) fn name_count(&self) -> usize {
        self.lock().values().map(|kept| kept.count).sum()
    }

    /// The best `limit` entries of a drive. All names are read before, some seconds for a million, unless they were
    /// [prepared](Self::prepare).
    ///
    /// # Errors
    /// [`DriveError::TooMany`] when the drive has too many names; [`DriveError`].
    pub(crate) fn find(
        &self,
        drive: &DriveView<'_>,
        (query, filter): (&NameQuery, &Filter),
        limit: usize,
        now: Instant,
    ) -> Result<Vec<NodeId>, DriveError> {
        let index = self.open(drive.vault(), now);
        keep_up(&index, drive)?;
        let indexed = read(&index);
        self.note(drive.vault(), indexed.names.len());
        Ok(indexed.names.find(query, filter, limit))
    }

    /// Drops what nobody has asked for some time.
    pub(crate) fn sweep(&self, now: Instant) {
        self.lock().retain(|_, kept| now.saturating_duration_since(kept.used) < IDLE_MAX);
    }

    fn open(&self, vault: VaultId, now: Instant) -> Arc<RwLock<Indexed>> {
        self.sweep(now);
        let mut kept = self.lock();
        let kept = kept.entry(vault).or_insert_with(|| Kept::new(now));
        kept.used = now;
        Arc::clone(&kept.index)
    }

    /// Drops those used longest ago when there are too many names with this one.
    fn note(&self, vault: VaultId, count: usize) {
        let mut kept = self.lock();
        if let Some(own) = kept.get_mut(&vault) {
            own.count = count;
        }
        while kept.values().map(|kept| kept.count).sum::<usize>() > NAMES_MAX {
            let others = kept.iter().filter(|(id, _)| **id != vault);
            let Some(oldest) = others.min_by_key(|(_, kept)| kept.used).map(|(id, _)| *id) else { break };
            kept.remove(&oldest);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<VaultId, Kept>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn new(now: Instant) -> Self {
        Self { used: now, is_prepared: false, count: 0, index: Arc::default() }
    }
}

fn read(index: &RwLock<Indexed>) -> std::sync::RwLockReadGuard<'_, Indexed> {
    index.read().unwrap_or_else(PoisonError::into_inner)
}

/// Reads what an index does not know yet.
fn keep_up(index: &RwLock<Indexed>, drive: &DriveView<'_>) -> Result<(), DriveError> {
    let version = drive.version()?;
    if read(index).version < version {
        let mut indexed = index.write().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = catch_up(&mut indexed, drive) {
            // What was read in part is read anew, and does not take memory until then.
            *indexed = Indexed::default();
            return Err(error);
        }
    }
    Ok(())
}

fn catch_up(indexed: &mut Indexed, drive: &DriveView<'_>) -> Result<(), DriveError> {
    // Asked before the names are read: what changes meanwhile is read again.
    let version = drive.version()?;
    let Indexed { version: known, names } = indexed;
    drive.places(*known, |place| {
        let facts = place.file.as_ref().map(|file| Facts {
            size: file.size,
            changed_ms: file.mtime.secs().saturating_mul(1000) + i64::from(file.mtime.nanos() / 1_000_000),
        });
        let at = Whereabouts { parent: place.parent, is_trashed: place.is_trashed };
        if names.len() >= NAMES_MAX || !names.place(place.node, at, &place.name, facts) {
            return Err(DriveError::TooMany { count_max: NAMES_MAX });
        }
        Ok(())
    })?;
    indexed.version = version;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOT: NodeId = NodeId(1);

    fn within(parent: NodeId) -> Whereabouts {
        Whereabouts { parent, is_trashed: false }
    }

    /// Nodes from 2 on, in the root.
    fn index(names: &[&str]) -> NameIndex {
        let mut index = NameIndex::default();
        for (number, name) in names.iter().enumerate() {
            assert!(index.place(NodeId(i64::try_from(number).unwrap() + 2), within(ROOT), name, None));
        }
        index
    }

    #[track_caller]
    fn check(names: &[&str], query: &str, expected: &[&str]) {
        let found = index(names).find(&NameQuery::new(query).unwrap(), &Filter::NONE, 100);
        let found: Vec<&str> = found.iter().map(|node| names[usize::try_from(node.0 - 2).unwrap()]).collect();
        assert_eq!(found, expected, "{query}");
    }

    #[test]
    fn neither_case_nor_marks_matter() {
        let names = ["Übersicht.PDF", "Cafe\u{301}", "naïve plan", "STRASSE", "Łódź", "ﬁle", "Ωmega", "日本語.txt"];
        for (query, expected) in [
            ("ubersicht", "Übersicht.PDF"),
            ("ÜBER", "Übersicht.PDF"),
            ("café", "Cafe\u{301}"),
            ("naive", "naïve plan"),
            ("straße", "STRASSE"),
            ("lodz", "Łódź"),
            ("file", "ﬁle"),
            ("ω", "Ωmega"),
            ("本語", "日本語.txt"),
        ] {
            check(&names, query, &[expected]);
        }
    }

    #[test]
    fn better_names_come_first() {
        let names = ["my report", "reporting", "report", "unreported", "xreport", "Report 2"];
        check(&names, "report", &["report", "Report 2", "reporting", "my report", "xreport", "unreported"]);
        check(&names, "2 report", &["Report 2"]);
        check(&names, "nothing", &[]);
        assert!(NameQuery::new(" \t").is_none() && NameQuery::new("").is_none());
    }

    #[test]
    fn only_so_many_are_found_and_they_are_the_best() {
        let names: Vec<String> = (0..500).map(|number| format!("{}a", "x".repeat(number % 50))).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let index = index(&names);
        let query = NameQuery::new("a").unwrap();
        let all = index.find(&query, &Filter::NONE, 500);
        assert_eq!(all.len(), 500);
        assert_eq!(index.find(&query, &Filter::NONE, 7), all[..7]);
        assert_eq!(index.find(&query, &Filter::NONE, 0), []);
    }

    #[test]
    fn kind_size_and_time_narrow_what_is_found() {
        let mut index = NameIndex::default();
        let names = ["Trip.JPG", "trip.mp4", "trip.pdf", "trip", "trip.jpg"];
        for (number, name) in (2i64..).zip(names) {
            let facts = Facts { size: 10 * number.unsigned_abs(), changed_ms: 100 * number };
            // The last is a folder that is called like a picture.
            let facts = (number < 6).then_some(facts);
            assert!(index.place(NodeId(number), within(ROOT), name, facts));
        }
        let find = |query: &NameQuery, filter: Filter| -> Vec<i64> {
            let mut found: Vec<i64> = index.find(query, &filter, 10).iter().map(|node| node.0).collect();
            found.sort_unstable();
            found
        };
        let kind = |kind| find(&NameQuery::any(), Filter { kind: Some(kind), ..Filter::NONE });
        assert_eq!(kind(FoundKind::Image), [2]);
        assert_eq!(kind(FoundKind::Video), [3]);
        assert_eq!(kind(FoundKind::Document), [4]);
        assert_eq!(kind(FoundKind::File), [2, 3, 4, 5]);
        assert_eq!(kind(FoundKind::Folder), [6]);
        assert_eq!(kind(FoundKind::Archive), [0; 0]);
        let trip = NameQuery::new("trip").unwrap();
        assert_eq!(find(&trip, Filter { sizes: Some(30..=40), ..Filter::NONE }), [3, 4]);
        assert_eq!(find(&trip, Filter { changed_ms: Some(400..=i64::MAX), ..Filter::NONE }), [4, 5]);
        let both = Filter { kind: Some(FoundKind::File), sizes: Some(0..=30), changed_ms: Some(0..=250) };
        assert_eq!(find(&trip, both), [2]);
        // What is known of a file is what was said last.
        index.place(NodeId(2), within(ROOT), "Trip.JPG", Some(Facts { size: 1000, changed_ms: 0 }));
        let large = index.find(&trip, &Filter { sizes: Some(100..=u64::MAX), ..Filter::NONE }, 10);
        assert_eq!(large, [NodeId(2)]);
    }

    #[test]
    fn what_is_in_the_trash_is_not_found_nor_what_is_below_it() {
        let mut index = index(&["folder", "other"]);
        let (folder, other, file) = (NodeId(2), NodeId(3), NodeId(9));
        let trashed = |parent| Whereabouts { parent, is_trashed: true };
        assert!(index.place(file, within(folder), "file", None));
        let find = |index: &NameIndex, text| index.find(&NameQuery::new(text).unwrap(), &Filter::NONE, 10);
        assert_eq!(find(&index, "file"), [file]);
        index.place(folder, trashed(ROOT), "folder", None);
        assert_eq!((find(&index, "file"), find(&index, "folder")), (vec![], vec![]));
        index.place(folder, within(ROOT), "folder", None);
        assert_eq!(find(&index, "file"), [file]);
        index.place(other, trashed(ROOT), "other", None);
        index.place(file, within(other), "file", None);
        assert_eq!(find(&index, "file"), [], "moved into what is in the trash");
        index.place(file, within(folder), "renamed", None);
        assert_eq!((find(&index, "file"), find(&index, "named")), (vec![], vec![file]));
        assert_eq!(index.len(), 3);
    }
}
