//! How fast a tree is gone through: listing, looking at every name, describing, reading.
#![allow(clippy::disallowed_methods, reason = "benches make and look at files themselves")]

use std::fs;
use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use host_fs::{Describer, FileKind, HostDir, Listing, OwnerNames, SourceFile};
use testkit::tree::TreeSpec;

const FILE_COUNT: usize = 8000;

/// Goes through everything below `dir` and calls `visit` for each file.
fn walk(dir: &mut HostDir, visit: &mut impl FnMut(&HostDir, host_fs::Name<'_>)) -> usize {
    let mut listing = Listing::new();
    dir.list(&mut listing).expect("it can be listed");
    let mut count = listing.len();
    for listed in listing.iter() {
        if listed.kind == Some(FileKind::Directory) {
            count += walk(&mut dir.open_child(listed.name).expect("it opens"), visit);
        } else {
            visit(dir, listed.name);
        }
    }
    count
}

fn open(path: &Path) -> HostDir {
    HostDir::open_root(path).expect("it opens")
}

fn tree(c: &mut Criterion) {
    let scratch = tempfile::tempdir().expect("a temporary directory");
    let path = scratch.path().join("tree");
    let written = TreeSpec::source_like(1, FILE_COUNT).write(&path).expect("the tree can be written");
    let mut group = c.benchmark_group("walk");
    group.throughput(Throughput::Elements(written.entries as u64));
    group.bench_function("list", |b| b.iter(|| walk(&mut open(&path), &mut |_, _| {})));
    group.bench_function("list+stat", |b| {
        b.iter(|| walk(&mut open(&path), &mut |dir, name| drop(black_box(dir.stat(name)))));
    });
    group.bench_function("list+open+describe", |b| {
        let mut describer = Describer::new(Arc::new(OwnerNames::read()));
        b.iter(|| {
            walk(&mut open(&path), &mut |dir, name| {
                let file = SourceFile::open(dir, name).expect("it opens");
                drop(black_box(describer.file(&file)));
            })
        });
    });
    group.bench_function("list+open+segments+read", |b| {
        let mut buffer = vec![0; 64 * 1024];
        b.iter(|| {
            walk(&mut open(&path), &mut |dir, name| {
                let file = SourceFile::open(dir, name).expect("it opens");
                black_box(file.segments().count());
                black_box(file.read_at(0, &mut buffer).expect("it can be read"));
            })
        });
    });
    group.finish();
}

fn crowd(c: &mut Criterion) {
    let scratch = tempfile::tempdir().expect("a temporary directory");
    let count = 100_000;
    fs::write(scratch.path().join("first"), b"").expect("a file");
    let mut original = scratch.path().join("first");
    for index in 0..count {
        let name = scratch.path().join(format!("picture-{:06}.jpeg", index * 7919 % count));
        if index % 50_000 == 0 {
            original.clone_from(&name);
            fs::write(&name, b"").expect("a file");
        } else {
            fs::hard_link(&original, &name).expect("a name");
        }
    }
    let mut dir = open(scratch.path());
    let mut listing = Listing::new();
    let mut group = c.benchmark_group("crowd");
    group.throughput(Throughput::Elements(count as u64));
    group.bench_function("list", |b| b.iter(|| dir.list(&mut listing).expect("it can be listed")));
    group.finish();
}

criterion_group!(benches, tree, crowd);
criterion_main!(benches);
