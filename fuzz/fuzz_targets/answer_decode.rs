//! Any bytes as an answer that the catalog keeps: refused, or the same after it is written again.

#![no_main]

use libfuzzer_sys::fuzz_target;
use store::fuzzing;

fuzz_target!(|bytes: &[u8]| {
    fuzzing::answer(bytes);
});
