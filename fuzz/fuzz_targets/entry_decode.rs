//! Any bytes as a directory entry: refused, or an entry whose name can stand in a directory and which is read as written.

#![no_main]

use libfuzzer_sys::fuzz_target;
use vault::Entry;

fuzz_target!(|input: &[u8]| {
    let Ok(entry) = Entry::from_bytes(input) else { return };
    assert!(Entry::is_name(&entry.name));
    let mut again = Vec::new();
    entry.to_bytes(&mut again);
    assert_eq!(Entry::from_bytes(&again), Ok(entry));
});
