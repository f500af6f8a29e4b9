//! Any bytes as a page of a tree: refused, or entries that make pages which hold these entries.

#![no_main]

use bytes::Bytes;
use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;
use object::{Kind, ObjectId};
use vault::{Entry, Keys, PlainObject, TreeBuilder, TreePage, VaultKey};

#[derive(Arbitrary, Debug)]
struct Job {
    edges: Vec<[u8; 32]>,
    body: Vec<u8>,
}

fuzz_target!(|job: Job| {
    let keys = Keys::new(&VaultKey::from_bytes([1; 32]));
    let edges = job.edges.into_iter().map(ObjectId::from_bytes).collect();
    let object = PlainObject::new(&keys, Kind::Tree, edges, Bytes::from(job.body));
    let entries = match TreePage::decode(&object) {
        Ok(TreePage::Leaf(entries)) => entries,
        Ok(TreePage::Inner { level, children }) => {
            assert!(level > 0 && children.len() == object.edges.len());
            return;
        }
        Err(_) => return,
    };

    let mut pages = Vec::new();
    let mut builder = TreeBuilder::new();
    entries.iter().for_each(|entry| builder.push(&keys, entry.clone(), &mut |page| pages.push(page)));
    builder.finish(&keys, &mut |page| pages.push(page));
    let leaves = pages.iter().filter_map(|page| match TreePage::decode(page).expect("just built") {
        TreePage::Leaf(entries) => Some(entries),
        TreePage::Inner { .. } => None,
    });
    let again: Vec<Entry> = leaves.flatten().collect();
    assert_eq!(again, entries);
});
