//! Any bytes as a page of a list: refused, or pieces that make pages which hold these pieces.

#![no_main]

use bytes::Bytes;
use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;
use object::{Kind, ObjectId};
use vault::{CHUNK_LEN_MAX, Content, Keys, ListBuilder, ListPage, Piece, PlainObject, VaultKey};

#[derive(Arbitrary, Debug)]
struct Job {
    edges: Vec<[u8; 32]>,
    body: Vec<u8>,
}

fuzz_target!(|job: Job| {
    let keys = Keys::new(&VaultKey::from_bytes([1; 32]));
    let edges = job.edges.into_iter().map(ObjectId::from_bytes).collect();
    let object = PlainObject::new(&keys, Kind::List, edges, Bytes::from(job.body));
    let Ok(ListPage::Leaf(pieces)) = ListPage::decode(&object) else { return };
    assert!(pieces.iter().all(|piece| piece.span_len() > 0));
    let is_short = |piece: &Piece| matches!(piece, Piece::Hole { .. }) || piece.span_len() <= CHUNK_LEN_MAX as u64;
    assert!(pieces.iter().all(is_short));
    if pieces.iter().try_fold(0u64, |len, piece| len.checked_add(piece.span_len())).is_none() {
        return;
    }

    let mut pages = Vec::new();
    let mut builder = ListBuilder::new();
    pieces.iter().for_each(|piece| builder.push(&keys, *piece, &mut |page| pages.push(page)));
    let content = builder.finish(&keys, &mut |page| pages.push(page));
    let leaves = pages.iter().filter_map(|page| match ListPage::decode(page).expect("just built") {
        ListPage::Leaf(pieces) => Some(pieces),
        ListPage::Inner { .. } => None,
    });
    let again: Vec<Piece> = leaves.flatten().collect();
    match content {
        Content::List(_) => assert_eq!(again, pieces),
        Content::Chunk(id) => assert!(matches!(pieces[..], [Piece::Chunk { id: only, .. }] if only == id)),
        Content::Empty => assert!(pieces.is_empty()),
    }
    if let [page] = &pages[..] {
        assert_eq!(*page, object);
    }
});
