//! Speed of every stage on data of every kind, beside `fast_rsync` and the ceilings that are `memcpy` and BLAKE3.
//!
//! Seeds are fixed. On a machine that does other things at the same time, compare numbers of one run only.

use std::hint::black_box;
use std::time::Duration;

use criterion::{BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main, measurement::WallTime};
use delta_core::{
    BasisSet, BlockLen, CutParams, Cutter, Delta, ExactMatcher, GapRules, HashKey, Limits, Matcher, OpList, Signature,
    SignatureParams, StrongKind, apply,
};

const LEN: usize = 4 << 20;

fn random_bytes(seed: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

fn text(seed: u64) -> Vec<u8> {
    let words = random_bytes(seed, LEN).into_iter().flat_map(|choice| {
        let word = u32::from(choice) * 2_654_435 + 17;
        format!("{word:x} ").into_bytes()
    });
    words.take(LEN).collect()
}

fn thue_morse(skipped: usize) -> Vec<u8> {
    (skipped..skipped + LEN).map(|i| if i.count_ones() % 2 == 0 { b'a' } else { b'b' }).collect()
}

struct Case {
    name: &'static str,
    basis: Vec<u8>,
    target: Vec<u8>,
}

/// What happens, then what must not be slow: all zeros, windows that nearly match, and words that collide in every
/// polynomial hash.
fn cases() -> Vec<Case> {
    let basis = random_bytes(1, LEN);
    let mut edited = basis.clone();
    edited[LEN / 2..LEN / 2 + (64 << 10)].copy_from_slice(&random_bytes(2, 64 << 10));
    let mut scattered = basis.clone();
    for at in (10_000..LEN).step_by(100_000) {
        scattered[at..at + 20].fill(7);
    }
    let shifted = [&b"x"[..], &basis[..LEN - 1]].concat();
    let ones_every = |step: usize| (0..LEN).map(|i| u8::from(i % step == 0)).collect();
    let case = |name, basis: &[u8], target| Case { name, basis: basis.to_vec(), target };
    vec![
        case("identical", &basis, basis.clone()),
        case("edited", &basis, edited),
        case("scattered", &basis, scattered),
        case("shifted", &basis, shifted),
        case("unrelated", &basis, random_bytes(3, LEN)),
        case("unrelated_text", &text(4), text(5)),
        case("zeros", &vec![0; LEN], vec![0; LEN]),
        case("nearly_zeros", &vec![0; LEN], ones_every(511)),
        case("thue_morse", &thue_morse(0), thue_morse(12_345)),
    ]
}

fn key() -> HashKey {
    HashKey::from_secret(&[7; 32])
}

fn levels() -> [(&'static str, SignatureParams); 4] {
    let params = |block_len, strong| SignatureParams::new(block_len, strong, 0).expect("phase 0");
    [
        ("8K", params(BlockLen::COARSE, StrongKind::COARSE)),
        ("4K", params(BlockLen::CACHED, StrongKind::COARSE)),
        ("512", params(BlockLen::FINE, StrongKind::FINE)),
        ("sealed_2K", params(BlockLen::SEALED, StrongKind::SEALED)),
    ]
}

fn fast_rsync_signature(basis: &[u8], params: SignatureParams) -> fast_rsync::Signature {
    let options = fast_rsync::SignatureOptions { block_size: params.block_len().bytes(), crypto_hash_size: 8 };
    fast_rsync::Signature::calculate(basis, options)
}

fn group<'c>(criterion: &'c mut Criterion, name: &str) -> BenchmarkGroup<'c, WallTime> {
    let mut group = criterion.benchmark_group(name);
    group.throughput(Throughput::Bytes(LEN as u64));
    group.sample_size(20).warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(1));
    group
}

fn ceilings(criterion: &mut Criterion) {
    let mut group = group(criterion, "ceiling");
    let bytes = random_bytes(1, LEN);
    let mut copy = vec![0; LEN];
    group.bench_function("memcpy", |bencher| bencher.iter(|| black_box(&mut copy).copy_from_slice(black_box(&bytes))));
    group.bench_function("blake3", |bencher| bencher.iter(|| blake3::hash(black_box(&bytes))));
}

fn signature(criterion: &mut Criterion) {
    let mut group = group(criterion, "signature");
    let (basis, key) = (random_bytes(1, LEN), key());
    for (level, params) in levels() {
        group.bench_function(level, |bencher| bencher.iter(|| Signature::compute(black_box(&basis), params, &key)));
        group.bench_function(format!("{level}/fast_rsync"), |bencher| {
            bencher.iter(|| fast_rsync_signature(black_box(&basis), params));
        });
    }
}

fn diff(criterion: &mut Criterion) {
    let mut group = group(criterion, "diff");
    let mut matcher = Matcher::new(&key());
    let mut ops = OpList::new();
    for Case { name, basis, target } in cases() {
        for (level, params) in levels() {
            let signature = Signature::compute(&basis, params, &key()).expect("short enough");
            let mut set = BasisSet::new();
            set.push(0, &signature).expect("the first one");
            group.bench_function(format!("{name}/{level}"), |bencher| {
                bencher.iter(|| matcher.diff(&set, black_box(&target), &mut ops));
            });
            let signature = fast_rsync_signature(&basis, params);
            let mut delta = Vec::new();
            group.bench_function(format!("{name}/{level}/fast_rsync"), |bencher| {
                bencher.iter(|| {
                    delta.clear();
                    fast_rsync::diff(&signature.index(), black_box(&target), &mut delta)
                });
            });
        }
    }
}

/// The second look: cells of 512 bytes around what blocks of 8 KiB left over. Bytes per second of the whole target.
fn refine(criterion: &mut Criterion) {
    let mut group = group(criterion, "refine");
    let mut matcher = Matcher::new(&key());
    let [(_, coarse), ..] = levels();
    let fine = coarse.level(BlockLen::FINE, StrongKind::FINE);
    for Case { name, basis, target } in cases().into_iter().filter(|case| ["edited", "scattered"].contains(&case.name))
    {
        let signature = Signature::compute(&basis, coarse, &key()).expect("short enough");
        let mut set = BasisSet::new();
        set.push(0, &signature).expect("the first one");
        let mut ops = OpList::new();
        matcher.diff(&set, &target, &mut ops).expect("short enough");
        let basis_len = signature.basis_len();
        let wanted = ops.wanted_cells(&[basis_len], GapRules { literal_len_min: 512, reach: 512 });
        let cells = Signature::compute_cells(&basis, &wanted[0].1, fine, &key()).expect("ranges in order");
        let mut set = BasisSet::new();
        set.push(0, &cells).expect("the first one");
        group.bench_function(name, |bencher| {
            bencher.iter(|| matcher.refine(&set, black_box(&target), &mut ops.clone()));
        });
    }
}

fn exact(criterion: &mut Criterion) {
    let mut group = group(criterion, "exact");
    let mut matcher = ExactMatcher::new();
    for Case { name, basis, target } in cases() {
        let mut ops = OpList::new();
        group.bench_function(name, |bencher| {
            bencher.iter(|| matcher.diff(&[black_box(&basis)], black_box(&target), &mut ops));
        });
        let [(_, coarse), ..] = levels();
        let signature = Signature::compute(&basis, coarse, &key()).expect("short enough");
        let mut set = BasisSet::new();
        set.push(0, &signature).expect("the first one");
        Matcher::new(&key()).diff(&set, &target, &mut ops).expect("short enough");
        group.bench_function(format!("{name}/after_8K"), |bencher| {
            bencher.iter(|| matcher.refine(&[black_box(&basis)], black_box(&target), &mut ops.clone()));
        });
    }
}

fn rebuild(criterion: &mut Criterion) {
    let mut group = group(criterion, "apply");
    for Case { name, basis, target } in cases() {
        let mut ops = OpList::new();
        ExactMatcher::new().diff(&[&basis], &target, &mut ops).expect("short enough");
        let basis_lens = [u32::try_from(basis.len()).expect("4 MiB")];
        let mut encoded = Vec::new();
        ops.encode(&basis_lens, &target, &mut encoded).expect("made for these");
        let mut out = Vec::with_capacity(LEN);
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                out.clear();
                let delta = Delta::decode(black_box(&encoded), &basis_lens, &Limits::default()).expect("just encoded");
                apply(&[&basis], &delta, LEN, &mut out)
            });
        });
        // Beside each, since both move with what else the memory is doing.
        group.bench_function(format!("{name}/memcpy"), |bencher| {
            bencher.iter(|| {
                out.clear();
                out.extend_from_slice(black_box(&target));
            });
        });
    }
}

fn cut(criterion: &mut Criterion) {
    let mut group = group(criterion, "cut");
    let cutter = Cutter::new(CutParams::default(), &[1; 32]);
    for (name, file) in [("random", random_bytes(1, LEN)), ("zeros", vec![0; LEN])] {
        group.bench_function(name, |bencher| bencher.iter(|| cutter.chunks(black_box(&file)).count()));
    }
}

criterion_group!(benches, ceilings, signature, diff, refine, exact, rebuild, cut);
criterion_main!(benches);
