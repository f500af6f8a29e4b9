//! A million names of a drive: how fast the best fifty are found among them.
#![allow(missing_docs, clippy::disallowed_methods, reason = "a bench")]

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use server_bin::{Facts, FoundKind, NameFilter, NameIndex, NameQuery, Whereabouts};
use store::NodeId;

const NAMES: i64 = 1_000_000;
const FOLDERS: i64 = 10_000;

/// A name as people give them: three words out of a few hundred, a number, an extension.
fn name(number: i64) -> String {
    let hash = blake3::hash(&number.to_le_bytes());
    let hash = hash.as_bytes();
    let word = |at: usize| {
        let syllables =
            ["ba", "ri", "to", "kün", "mo", "les", "Vé", "gra", "shi", "nor", "pla", "du", "fe", "wi", "zo", "chi"];
        format!("{}{}", syllables[usize::from(hash[at] & 15)], syllables[usize::from(hash[at] >> 4)])
    };
    let extension = ["jpg", "pdf", "docx", "txt"][usize::from(hash[9] & 3)];
    format!("{} {} {}-{number}.{extension}", word(0), word(1), word(2))
}

fn search(criterion: &mut Criterion) {
    let mut index = NameIndex::default();
    for number in 0..NAMES {
        let parent = if number < FOLDERS { 1 } else { 2 + number % FOLDERS };
        let place = Whereabouts { parent: NodeId(parent), is_trashed: false };
        let facts = Facts { size: number.unsigned_abs(), changed_ms: number };
        assert!(index.place(NodeId(number + 2), place, &name(number), Some(facts)));
    }
    let mut group = criterion.benchmark_group("search");
    group.throughput(Throughput::Elements(NAMES.unsigned_abs()));
    group.sample_size(20);
    // Rare, frequent, of two words, of one letter, and not there.
    for text in ["999999", "kunve", "bari jpg", "a", "nothing of that kind"] {
        let query = NameQuery::new(text).expect("there are words in it");
        group.bench_function(text, |bencher| bencher.iter(|| black_box(index.find(&query, &NameFilter::NONE, 51))));
    }
    let pictures = NameFilter { kind: Some(FoundKind::Image), sizes: Some(500_000..=u64::MAX), changed_ms: None };
    group.bench_function("large pictures", |bencher| {
        bencher.iter(|| black_box(index.find(&NameQuery::any(), &pictures, 51)));
    });
    group.finish();
}

criterion_group!(benches, search);
criterion_main!(benches);
