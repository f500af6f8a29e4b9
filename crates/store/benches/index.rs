//! The object index at a million rows: how fast objects become visible, and how fast they are found.
//!
//! Both go through the public API, so packs are written and records are parsed along the way. The floor is measured
//! beside them: a `HashMap` of the same ids.
#![allow(missing_docs, clippy::disallowed_methods, reason = "a bench")]

use std::collections::HashMap;
use std::hint::black_box;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use object::{Codec, Kind, ObjectId, RecordHeadWriter, SealedRecord, VaultId};
use store::{NewVault, Purpose, Role, Store, StoreOptions, UnixMs, VaultMode, WriteSession};

const VAULT: VaultId = VaultId::from_bytes([7; 16]);
const NOW: UnixMs = UnixMs(0);
const ROWS: u64 = 1_000_000;
/// Objects of one pack and one catalog transaction.
const PACK_OBJECTS: u64 = 65_536;
/// Ids of one question.
const ASKED: usize = 10_000;

fn id(number: u64) -> ObjectId {
    ObjectId::from_bytes(*blake3::hash(&number.to_le_bytes()).as_bytes())
}

/// Records of 4096 small objects each.
fn records(first: u64, count: u64) -> Vec<SealedRecord> {
    (first..first + count)
        .step_by(4096)
        .map(|first_of_record| {
            let mut writer = RecordHeadWriter::new(Codec::Raw, 0, &[0; 24]);
            for number in first_of_record..(first_of_record + 4096).min(first + count) {
                writer.member(Kind::Data, &id(number), 100, &[]).unwrap();
            }
            let mut bytes = writer.finish(16).unwrap();
            RecordHeadWriter::append_body(&mut bytes, |_head, _body| ());
            SealedRecord::new(bytes.into()).unwrap()
        })
        .collect()
}

fn begin(store: &Store) -> WriteSession {
    store.begin(VAULT, &Purpose::Drive { device: None }, NOW).unwrap().0
}

fn index(criterion: &mut Criterion) {
    let scratch = tempfile::tempdir().unwrap();
    let store = Store::create(scratch.path(), &StoreOptions::default(), NOW).unwrap();
    let account = store.create_account("bench", Role::Admin, NOW).unwrap();
    let vault = NewVault { id: VAULT, account, name: "main", mode: VaultMode::Managed, slots: &[] };
    store.create_vault(&vault, NOW).unwrap();
    let mut stored = 0;
    while stored < ROWS {
        let mut session = begin(&store);
        for record in records(stored, PACK_OBJECTS) {
            session.put(&record, NOW).unwrap();
        }
        session.close(NOW).unwrap();
        stored += PACK_OBJECTS;
    }

    let mut group = criterion.benchmark_group("index");
    group.sample_size(10);
    for objects in [PACK_OBJECTS, 10_000] {
        group.throughput(Throughput::Elements(objects));
        group.bench_function(format!("seal a pack of {objects} objects beside 1 M rows"), |bencher| {
            bencher.iter_batched(
                || {
                    let mut session = begin(&store);
                    for record in records(stored, objects - 1) {
                        session.put(&record, NOW).unwrap();
                    }
                    stored += objects;
                    session
                },
                |mut session| session.flush(NOW).unwrap(),
                BatchSize::PerIteration,
            );
        });
    }

    // Scattered over all rows; every fourth id is unknown.
    let scattered = |step: u64| -> Vec<ObjectId> {
        (0..ASKED as u64).map(|index| id((index * 7919 + step * 104_729) % (ROWS * 4 / 3))).collect()
    };
    group.throughput(Throughput::Elements(ASKED as u64));
    let mut step = 0;
    group.bench_function("ask for 10 000 ids in 1 M rows", |bencher| {
        bencher.iter_batched(
            || {
                step += 1;
                scattered(step)
            },
            |ids| store.held(VAULT, &ids).unwrap(),
            BatchSize::LargeInput,
        );
    });
    let map: HashMap<ObjectId, u64> = (0..ROWS).map(|number| (id(number), number)).collect();
    group.bench_function("floor: the same in a HashMap", |bencher| {
        bencher.iter_batched(
            || {
                step += 1;
                scattered(step)
            },
            |ids| ids.iter().filter(|id| black_box(&map).contains_key(id)).count(),
            BatchSize::LargeInput,
        );
    });
    group.finish();
}

criterion_group!(benches, index);
criterion_main!(benches);
