//! Any bytes as a picture in each format that is decoded: refused, or a small one of at most 160 pixels a side, in bounded memory.

#![no_main]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use libfuzzer_sys::fuzz_target;

const SIDE_MAX: u32 = 160;
/// What a picture may take while it is made small, besides the file: of 12 million pixels PNGs were measured to take 35 MiB,
/// GIFs 43, WebPs 82, progressive JPEGs 106.
const MEMORY_MAX: usize = 144 << 20;

/// Counts what is taken, and the most of it at a time.
struct Counting;

static TAKEN: AtomicUsize = AtomicUsize::new(0);
static MOST: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call goes on to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        MOST.fetch_max(TAKEN.fetch_add(layout.size(), Relaxed) + layout.size(), Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        TAKEN.fetch_sub(layout.size(), Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(place, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fuzz_target!(|data: &[u8]| {
    let Some((which, file)) = data.split_first() else { return };
    let before = TAKEN.load(Relaxed);
    MOST.store(before, Relaxed);
    if let Some((width, height)) = server_bin::fuzzing::thumbnail(*which, file) {
        assert!((1..=SIDE_MAX).contains(&width) && (1..=SIDE_MAX).contains(&height), "{width} x {height}");
    }
    let taken = MOST.load(Relaxed).saturating_sub(before);
    assert!(taken <= MEMORY_MAX, "{taken} bytes");
});
