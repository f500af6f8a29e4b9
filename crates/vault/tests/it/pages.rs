//! Trees, lists and snapshots: functions of their content, cheap to change, refused when malformed.

use std::collections::{BTreeMap, HashSet};

use bytes::Bytes;
use object::{Kind, ObjectId};
use proptest::prelude::*;
use vault::{
    Content, Entry, EntryKind, HardLink, Keys, ListBuilder, ListPage, Metadata, PageError, Piece, PieceCursor,
    PlainObject, ReadError, Snapshot, Timestamp, TreeBuilder, TreeCursor, TreePage, UnknownField,
};

use crate::store::{MemoryStore, keys, sealer};

fn any_id() -> impl Strategy<Value = ObjectId> {
    any::<[u8; 32]>().prop_map(ObjectId::from_bytes)
}

fn any_name() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>(), 1..20).prop_filter("a name", |name| Entry::is_name(name))
}

fn any_kind() -> impl Strategy<Value = EntryKind> {
    let content = prop_oneof![any_id().prop_map(Content::Chunk), any_id().prop_map(Content::List)];
    prop_oneof![
        Just(EntryKind::File { size: 0, content: Content::Empty }),
        (any::<u64>(), content).prop_map(|(size, content)| EntryKind::File { size, content }),
        any_id().prop_map(|tree| EntryKind::Directory { tree }),
        prop::collection::vec(any::<u8>(), 0..50).prop_map(|target| EntryKind::Symlink { target }),
        Just(EntryKind::Fifo),
        Just(EntryKind::Socket),
        (any::<u32>(), any::<u32>()).prop_map(|(major, minor)| EntryKind::CharDevice { major, minor }),
        (any::<u32>(), any::<u32>()).prop_map(|(major, minor)| EntryKind::BlockDevice { major, minor }),
    ]
}

prop_compose! {
    fn any_metadata()(
        mode in 0..=0o7777u32,
        (uid, gid) in any::<(u32, u32)>(),
        (user, group) in any::<(Vec<u8>, Vec<u8>)>(),
        secs in any::<i64>(),
        nanos in 0..1_000_000_000u32,
        xattrs in prop::collection::btree_map("[a-z.]{1,9}", any::<Vec<u8>>(), 0..4),
        hard_link in prop::option::of(any::<(u64, u64)>().prop_map(|(device, inode)| HardLink { device, inode })),
        changed_while_read in any::<bool>(),
        unknown in prop::collection::btree_map(100..200u64, any::<Vec<u8>>(), 0..3),
    ) -> Metadata {
        Metadata {
            mode, uid, gid, user, group, hard_link, changed_while_read,
            mtime: Timestamp { secs, nanos },
            xattrs: xattrs.into_iter().map(|(name, value)| (name.into_bytes(), value)).collect(),
            unknown: unknown.into_iter().map(|(tag, value)| UnknownField { tag, value }).collect(),
        }
    }
}

fn any_entries(count: impl Into<prop::collection::SizeRange>) -> impl Strategy<Value = Vec<Entry>> {
    prop::collection::btree_map(any_name(), (any_kind(), any_metadata()), count).prop_map(|entries| {
        entries.into_iter().map(|(name, (kind, metadata))| Entry { name, kind, metadata }).collect()
    })
}

fn build_tree(keys: &Keys, entries: &[Entry]) -> (ObjectId, Vec<PlainObject>) {
    let mut pages = Vec::new();
    let mut builder = TreeBuilder::new();
    for entry in entries {
        builder.push(keys, entry.clone(), &mut |page| pages.push(page));
    }
    let root = builder.finish(keys, &mut |page| pages.push(page));
    (root, pages)
}

fn build_list(keys: &Keys, pieces: &[Piece]) -> (Content, Vec<PlainObject>) {
    let mut pages = Vec::new();
    let mut builder = ListBuilder::new();
    for piece in pieces {
        builder.push(keys, *piece, &mut |page| pages.push(page));
    }
    let content = builder.finish(keys, &mut |page| pages.push(page));
    (content, pages)
}

fn plain_file(number: u32) -> Entry {
    let mut id = [0; 32];
    id[..4].copy_from_slice(&number.to_le_bytes());
    let kind = EntryKind::File { size: 1, content: Content::Chunk(ObjectId::from_bytes(id)) };
    Entry { name: format!("{number:08}").into_bytes(), kind, metadata: Metadata { mode: 0o644, ..Metadata::default() } }
}

/// The end of a folder of any length is one page per level away.
#[test]
fn a_cursor_begins_where_it_is_told_to() {
    let keys = keys();
    let entries: Vec<Entry> = (0..30_000).map(plain_file).collect();
    let (root, pages) = build_tree(&keys, &entries);
    assert!(pages.len() > 200, "{} pages", pages.len());
    let mut store = MemoryStore::default();
    store.put_all(&mut sealer(&keys), &pages);
    let mut reader = store.reader(&keys);
    let mut cursor = TreeCursor::after(root, b"00029998".to_vec());
    assert_eq!(cursor.next(&mut reader).unwrap(), Some(plain_file(29_999)));
    assert_eq!(cursor.next(&mut reader).unwrap(), None);
    assert!(reader.source().fetches <= 3, "{} fetches", reader.source().fetches);
}

/// A page above pages that are in order each, and not one after the other: of two entries of one name the first is given out.
#[test]
fn a_name_in_two_pages_is_refused() {
    let keys = keys();
    let leaf = |number| build_tree(&keys, &[plain_file(number)]);
    for (numbers, given) in [([1, 1], 1), ([2, 1], 1), ([1, 2], 2)] {
        let [(first, mut pages), (second, more)] = numbers.map(leaf);
        pages.extend(more);
        pages.dedup_by_key(|page| page.id);
        let body = [&[1, 1, 2][..], b"\x01a", b"\x01b"].concat();
        let above = PlainObject::new(&keys, Kind::Tree, vec![first, second], body.into());
        let root = above.id;
        pages.push(above);
        let mut store = MemoryStore::default();
        store.put_all(&mut sealer(&keys), &pages);
        let (mut reader, mut cursor) = (store.reader(&keys), TreeCursor::new(root));
        assert_eq!(cursor.next(&mut reader).unwrap(), Some(plain_file(numbers[0])));
        match cursor.next(&mut reader) {
            Ok(next) => assert_eq!((next, given), (Some(plain_file(numbers[1])), 2)),
            Err(error) => {
                assert!(matches!(error, ReadError::Page { id, .. } if id == second) && given == 1, "{error}");
            }
        }
        assert_eq!(cursor.next(&mut reader).unwrap(), None);
    }
}

/// A tree or a list is no part of a file, whoever says so.
#[test]
fn only_data_is_a_chunk() {
    let keys = keys();
    let object = |kind| PlainObject::new(&keys, kind, Vec::new(), Bytes::from_static(b"bytes"));
    assert_eq!(object(Kind::Data).into_chunk::<()>().unwrap(), b"bytes"[..]);
    for kind in [Kind::List, Kind::Tree, Kind::Snapshot] {
        let error = object(kind).into_chunk::<()>().unwrap_err();
        assert!(matches!(error, ReadError::Page { source: PageError::Kind { found, .. }, .. } if found == kind));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn trees_read_back(entries in any_entries(0..300)) {
        let keys = keys();
        let (root, pages) = build_tree(&keys, &entries);
        let mut store = MemoryStore::default();
        store.put_all(&mut sealer(&keys), &pages);
        let mut reader = store.reader(&keys);
        let mut cursor = TreeCursor::new(root);
        let mut read = Vec::new();
        while let Some(entry) = cursor.next(&mut reader).unwrap() {
            read.push(entry);
        }
        for entry in entries.iter().step_by(17) {
            prop_assert_eq!(reader.lookup(root, &entry.name).unwrap(), Some(entry.clone()));
        }
        prop_assert_eq!(reader.lookup(root, b"no such name at all").unwrap(), None);
        let names = entries.iter().step_by(13).map(|entry| entry.name.clone());
        for after in names.chain([b"a name".to_vec(), vec![0xff; 30], Vec::new()]) {
            let mut cursor = TreeCursor::after(root, after.clone());
            let mut rest = Vec::new();
            while let Some(entry) = cursor.next(&mut reader).unwrap() {
                rest.push(entry);
            }
            let start = entries.partition_point(|entry| entry.name <= after);
            prop_assert_eq!(&rest, &entries[start..]);
        }
        prop_assert_eq!(read, entries);
    }

    #[test]
    fn entries_stand_alone_too(entries in any_entries(1..5)) {
        for entry in entries {
            let mut bytes = Vec::new();
            entry.to_bytes(&mut bytes);
            prop_assert_eq!(Entry::from_bytes(&bytes).unwrap(), entry);
            bytes.push(0);
            prop_assert!(Entry::from_bytes(&bytes).is_err());
        }
    }

    #[test]
    fn lists_read_back(pieces in prop::collection::vec((1..=4u64 << 20, prop::option::of(any_id())), 0..700)) {
        let keys = keys();
        let pieces: Vec<Piece> = pieces
            .into_iter()
            .map(|(len, id)| id.map_or(Piece::Hole { len }, |id| Piece::Chunk { len, id }))
            .collect();
        let (content, pages) = build_list(&keys, &pieces);
        let size = pieces.iter().map(Piece::span_len).sum();
        let mut store = MemoryStore::default();
        store.put_all(&mut sealer(&keys), &pages);
        let mut reader = store.reader(&keys);
        let mut cursor = PieceCursor::new(content, size);
        let mut read = Vec::new();
        while let Some(piece) = cursor.next(&mut reader).unwrap() {
            read.push(piece);
        }
        prop_assert_eq!(read, pieces);
    }

    #[test]
    fn hostile_pages_are_refused_or_sound(body in prop::collection::vec(any::<u8>(), 0..200), edges in 0..4usize) {
        let keys = keys();
        for kind in [Kind::List, Kind::Tree, Kind::Snapshot] {
            let edges = vec![ObjectId::from_bytes([1; 32]); edges];
            let object = PlainObject::new(&keys, kind, edges, Bytes::from([&[1, 0][..], &body].concat()));
            if let Ok(TreePage::Leaf(entries)) = TreePage::decode(&object) {
                prop_assert!(entries.iter().all(|entry| Entry::is_name(&entry.name)));
            }
            let _ = ListPage::decode(&object);
            let _ = Snapshot::decode(&object);
        }
    }

    /// One reading only: a page that decodes is the page that its entries encode to.
    #[test]
    fn damaged_pages_are_refused_or_mean_something_else(
        entries in any_entries(1..5), at in any::<prop::sample::Index>(), flip in 1..=255u8,
    ) {
        let keys = keys();
        let (_, pages) = build_tree(&keys, &entries);
        let mut body = pages[0].body.to_vec();
        let at = at.index(body.len());
        body[at] ^= flip;
        let damaged = PlainObject::new(&keys, Kind::Tree, pages[0].edges.clone(), Bytes::from(body));
        if let (1, Ok(TreePage::Leaf(read))) = (pages.len(), TreePage::decode(&damaged)) {
            prop_assert_ne!(read, entries);
        }
    }
}

#[test]
fn one_changed_entry_costs_one_page_per_level() {
    let keys = keys();
    let mut entries: Vec<Entry> = (0..100_000).map(plain_file).collect();
    let (_, before) = build_tree(&keys, &entries);
    entries[50_000].metadata.mode = 0o600;
    let (_, after) = build_tree(&keys, &entries);
    let old: HashSet<ObjectId> = before.iter().map(|page| page.id).collect();
    let new = after.iter().filter(|page| !old.contains(&page.id)).count();
    assert!((2..=4).contains(&new), "{new} new pages of {}", after.len());
    entries.remove(50_000);
    let (_, after) = build_tree(&keys, &entries);
    let new = after.iter().filter(|page| !old.contains(&page.id)).count();
    assert!((2..=5).contains(&new), "{new} new pages of {}", after.len());
}

#[test]
fn a_large_directory_is_looked_up_in_few_fetches() {
    let keys = keys();
    let entries: Vec<Entry> = (0..100_000).map(plain_file).collect();
    let (root, pages) = build_tree(&keys, &entries);
    let mut store = MemoryStore::default();
    store.put_all(&mut sealer(&keys), &pages);
    let mut reader = store.reader(&keys);
    assert_eq!(reader.lookup(root, b"00077777").unwrap(), Some(plain_file(77_777)));
    assert!(reader.source().fetches <= 4, "{} fetches", reader.source().fetches);
    assert_eq!(reader.lookup(root, b"00077777x").unwrap(), None);
}

#[test]
fn appending_to_a_list_keeps_its_pages() {
    let keys = keys();
    let piece = |i: u32| Piece::Chunk { len: 1 << 20, id: keys.chunk_id(&i.to_le_bytes()) };
    let mut pieces: Vec<Piece> = (0..20_000).map(piece).collect();
    let (_, before) = build_list(&keys, &pieces);
    pieces.push(piece(20_000));
    let (_, after) = build_list(&keys, &pieces);
    let old: HashSet<ObjectId> = before.iter().map(|page| page.id).collect();
    let new = after.iter().filter(|page| !old.contains(&page.id)).count();
    assert!(new <= 4, "{new} new pages of {}", after.len());
}

#[test]
fn small_files_need_no_list() {
    let keys = keys();
    assert_eq!(build_list(&keys, &[]), (Content::Empty, vec![]));
    let id = keys.chunk_id(b"x");
    assert_eq!(build_list(&keys, &[Piece::Chunk { len: 1, id }]), (Content::Chunk(id), vec![]));
    let (content, pages) = build_list(&keys, &[Piece::Hole { len: 10 << 30 }]);
    assert_eq!(content, Content::List(pages[0].id));
    assert_eq!(pages.len(), 1);
}

#[test]
fn forged_trees_are_refused() {
    let keys = keys();
    let (_, pages) = build_tree(&keys, &[plain_file(1), plain_file(2)]);
    let forge = |from: &[u8], to: &[u8]| {
        let body = pages[0].body.to_vec();
        let at = body.windows(from.len()).position(|window| window == from).unwrap();
        let body = [&body[..at], to, &body[at + from.len()..]].concat();
        TreePage::decode(&PlainObject::new(&keys, Kind::Tree, pages[0].edges.clone(), body.into()))
    };
    assert!(forge(b"00000001", b"../../../").is_err());
    assert!(forge(b"\x0800000001", b"\x02..").is_err());
    assert!(forge(b"00000001", b"000/0001").is_err());
    assert!(forge(b"00000001", b"000\x000001").is_err());
    assert!(forge(b"00000001", b"00000002").is_err(), "a name twice");
    assert!(forge(b"00000001", b"00000003").is_err(), "out of order");
    assert!(forge(b"00000001", b"00000000").is_ok());
}

fn snapshot() -> Snapshot {
    Snapshot {
        tree: ObjectId::from_bytes([1; 32]),
        started: Timestamp { secs: 1_700_000_000, nanos: 5 },
        finished: Timestamp { secs: -1, nanos: 999_999_999 },
        host: "laptop".into(),
        user: "ann".into(),
        software: "backup-client 0.1.0".into(),
        roots: vec![b"/home/ann".to_vec(), b"/odd\xff".to_vec()],
        excludes: vec!["*.tmp".into()],
        files: 3,
        directories: 2,
        others: 1,
        bytes: 1 << 40,
        problems: 0,
        parent: Some(ObjectId::from_bytes([2; 32])),
        device: vec![7; 8],
        chain: "default".into(),
        unknown: vec![UnknownField { tag: 99, value: b"later".to_vec() }],
    }
}

#[test]
fn snapshots_read_back() {
    let object = snapshot().encode(&keys());
    assert_eq!(object.edges, [snapshot().tree]);
    assert_eq!(Snapshot::decode(&object).unwrap(), snapshot());
    let (device, chain) = (vec![], String::new());
    let bare = Snapshot { parent: None, device, chain, unknown: vec![], roots: vec![], excludes: vec![], ..snapshot() };
    assert_eq!(Snapshot::decode(&bare.encode(&keys())).unwrap(), bare);
}

/// Changing these is a new page format.
#[test]
fn golden_pages() {
    let keys = keys();
    let entries: BTreeMap<Vec<u8>, EntryKind> = [
        (b"dir".to_vec(), EntryKind::Directory { tree: ObjectId::from_bytes([4; 32]) }),
        (b"file".to_vec(), EntryKind::File { size: 300, content: Content::Chunk(ObjectId::from_bytes([5; 32])) }),
        (b"link".to_vec(), EntryKind::Symlink { target: b"file".to_vec() }),
    ]
    .into();
    let metadata = Metadata {
        mode: 0o644,
        uid: 1000,
        user: b"ann".to_vec(),
        mtime: Timestamp { secs: 1_700_000_000, nanos: 1 },
        ..Metadata::default()
    };
    let entries: Vec<Entry> =
        entries.into_iter().map(|(name, kind)| Entry { name, kind, metadata: metadata.clone() }).collect();
    let (_, pages) = build_tree(&keys, &entries);
    assert_eq!(
        hex(&pages[0].body),
        concat!(
            "0100030364697216020102a4030202e807040680c49fd50c010c03616e6e0466696c651d010102a4030202e807040680",
            "c49fd50c010502ac020601010c03616e6e046c696e6b1c030102a4030202e807040680c49fd50c01080466696c650c03",
            "616e6e",
        )
    );
    let chunk = |byte| Piece::Chunk { len: 1 << 20, id: ObjectId::from_bytes([byte; 32]) };
    let (_, pages) = build_list(&keys, &[chunk(1), Piece::Hole { len: 4096 }, chunk(2)]);
    assert_eq!(hex(&pages[0].body), "01000380808001814080808001");
    assert_eq!(
        hex(&snapshot().encode(&keys).body),
        concat!(
            "01010680c49fd50c05020601ff93ebdc0303066c6170746f700403616e6e05136261636b75702d636c69656e7420302e",
            "312e300610092f686f6d652f616e6e052f6f6464ff0706052a2e746d700801030901020a01010b068080808080200c01",
            "000d2002020202020202020202020202020202020202020202020202020202020202020e0807070707070707070f0764",
            "656661756c7463056c61746572",
        )
    );
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
