//! Cuts: they divide and restore, keep to their lengths, and stay where they are when bytes elsewhere change.

use delta_core::{CutParams, CutParamsError, Cutter};
use proptest::prelude::*;

use crate::support::{bytes, random_bytes};

fn cutter(min_len: u32, avg_len: u32, max_len: u32) -> Cutter {
    Cutter::new(CutParams::new(min_len, avg_len, max_len).unwrap(), &[3; 32])
}

proptest! {
    #[test]
    fn chunks_are_the_file(file in bytes(60_000), avg_log2 in 8..13u32) {
        let cutter = cutter(1 << (avg_log2 - 2), 1 << avg_log2, 4 << avg_log2);
        let chunks: Vec<&[u8]> = cutter.chunks(&file).collect();
        prop_assert_eq!(&chunks.concat(), &file);
        for (index, chunk) in chunks.iter().enumerate() {
            prop_assert!(chunk.len() <= 4 << avg_log2);
            prop_assert!(chunk.len() >= 1 << (avg_log2 - 2) || index + 1 == chunks.len());
        }
    }

    #[test]
    fn cut_depends_on_no_byte_past_the_longest_chunk(seed in any::<u64>()) {
        let cutter = cutter(256, 1024, 4096);
        let file = random_bytes(seed, 10_000);
        prop_assert_eq!(cutter.cut(&file), cutter.cut(&file[..4096]));
    }

    /// A scan starts afresh at every cut, so equal bytes after a cut have equal cuts.
    #[test]
    fn insertion_moves_few_cuts(seed in any::<u64>(), at in 0..100_000usize) {
        let cutter = cutter(256, 1024, 4096);
        let file = random_bytes(seed, 100_000);
        let mut changed = file.clone();
        changed.insert(at, 1);
        let chunks: Vec<&[u8]> = cutter.chunks(&file).collect();
        let new = cutter.chunks(&changed).filter(|chunk| !chunks.contains(chunk)).count();
        // Each cut falls back into step with a fixed chance, so no bound is sure; one new chunk is usual.
        prop_assert!(new <= 30, "{new} of {} chunks are new", chunks.len());
    }
}

#[test]
fn other_secret_other_cuts() {
    let file = random_bytes(1, 100_000);
    let params = CutParams::new(256, 1024, 4096).unwrap();
    let lens = |secret| Cutter::new(params, &secret).chunks(&file).map(<[u8]>::len).collect::<Vec<_>>();
    assert_eq!(lens([1; 32]), lens([1; 32]));
    assert_ne!(lens([1; 32]), lens([2; 32]));
}

#[test]
fn run_of_one_byte_is_cut_at_the_longest() {
    let cutter = cutter(256, 1024, 4096);
    for byte in [0, 1, b' ', 0xff] {
        assert_eq!(cutter.chunks(&[byte; 10_000]).map(<[u8]>::len).collect::<Vec<_>>(), [4096, 4096, 1808]);
    }
}

#[test]
fn mean_length_is_near_the_average() {
    let cutter = cutter(2048, 8192, 32_768);
    let count = cutter.chunks(&random_bytes(1, 8 << 20)).count();
    let mean = (8 << 20) / count;
    assert!((9_000..12_000).contains(&mean), "mean chunk of {mean} bytes");
}

#[test]
fn nothing_is_no_chunk() {
    assert_eq!(Cutter::new(CutParams::default(), &[0; 32]).chunks(&[]).count(), 0);
}

#[test]
fn lengths_that_are_no_params() {
    let refused = |min_len, avg_len, max_len| CutParams::new(min_len, avg_len, max_len).unwrap_err();
    assert_eq!(refused(63, 256, 1024), CutParamsError::Odd { min_len: 63, avg_len: 256, max_len: 1024 });
    assert_eq!(refused(512, 256, 1024), CutParamsError::NotRising { min_len: 512, avg_len: 256, max_len: 1024 });
    assert_eq!(refused(62, 256, 1024), CutParamsError::OutOfRange { len: 62, len_min: 64, len_max: 1 << 20 });
    assert_eq!(refused(64, 254, 1024), CutParamsError::OutOfRange { len: 254, len_min: 256, len_max: 4 << 20 });
    let too_long = (16 << 20) + 2;
    assert_eq!(
        refused(64, 256, too_long),
        CutParamsError::OutOfRange { len: too_long, len_min: 1024, len_max: 16 << 20 }
    );
    assert_eq!(CutParams::new(256 << 10, 1 << 20, 4 << 20).unwrap(), CutParams::default());
}
