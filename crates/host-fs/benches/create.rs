//! How fast files are restored.
#![allow(clippy::disallowed_methods, reason = "benches make and look at files themselves")]

use std::cell::Cell;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use host_fs::{Name, RestoreDir, RestoreOptions, RestoreRoot};
use rustix::process::{getegid, geteuid};
use testkit::tree::Random;
use vault::{Metadata, Timestamp};

/// Files of one round: 16 in each directory, as in a source tree.
const FILE_COUNT: usize = 1600;
const FILES_PER_DIR: usize = 16;

fn metadata() -> Metadata {
    let mtime = Timestamp { secs: 1_600_000_000, nanos: 5 };
    Metadata { mode: 0o644, uid: geteuid().as_raw(), gid: getegid().as_raw(), mtime, ..Metadata::default() }
}

fn small_files(c: &mut Criterion) {
    let scratch = tempfile::tempdir().expect("a temporary directory");
    let mut random = Random::new(1);
    let contents: Vec<Vec<u8>> = (0..64)
        .map(|_| {
            let len = random.index(18_000);
            random.text(len)
        })
        .collect();
    let round = Cell::new(0);
    // Deleting a large tree slows down whatever is created next, so every round has a new directory.
    let new_target = || {
        round.set(round.get() + 1);
        let path = scratch.path().join(format!("round-{}", round.get()));
        RestoreRoot::create(&path, RestoreOptions::for_this_process()).expect("the target opens")
    };
    type CreateFile<'f> = &'f dyn Fn(&RestoreDir, Name<'_>, &[u8], &Metadata);
    let restore = |root: &RestoreRoot, file: CreateFile<'_>| {
        let metadata = metadata();
        for dir_index in 0..FILE_COUNT / FILES_PER_DIR {
            let dir_name = format!("dir-{dir_index}");
            let dir = root.dir().child_dir(Name::new(dir_name.as_bytes()).expect("a name")).expect("a directory");
            for index in 0..FILES_PER_DIR {
                let name = format!("file-{index}.rs");
                let content = &contents[(dir_index + index) % contents.len()];
                file(&dir, Name::new(name.as_bytes()).expect("a name"), content, &metadata);
            }
            assert!(dir.finish(&metadata).is_empty());
        }
    };
    let mut group = c.benchmark_group("create");
    group.sample_size(10).throughput(Throughput::Elements(FILE_COUNT as u64));
    group.bench_function("whole", |b| {
        let file = |dir: &RestoreDir, name: Name<'_>, content: &[u8], metadata: &Metadata| {
            drop(dir.write_file(name, content, metadata).expect("a file"));
        };
        b.iter_batched(new_target, |root| restore(&root, &file), BatchSize::PerIteration);
    });
    group.bench_function("in pieces", |b| {
        let file = |dir: &RestoreDir, name: Name<'_>, content: &[u8], metadata: &Metadata| {
            let file = dir.create_file(name, content.len() as u64).expect("a file");
            file.write_at(0, content).expect("it can be written");
            drop(file.finish(metadata).expect("it takes its name"));
        };
        b.iter_batched(new_target, |root| restore(&root, &file), BatchSize::PerIteration);
    });
    group.finish();
}

criterion_group!(benches, small_files);
criterion_main!(benches);
