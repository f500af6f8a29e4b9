//! Any text as the server's settings, and as a rule of retention in the catalog: refused with a reason, or what can be
//! worked with.

#![no_main]

use libfuzzer_sys::fuzz_target;
use server_bin::fuzzing;

fuzz_target!(|text: &str| {
    if let Err(reason) = fuzzing::settings(text) {
        assert!(!reason.is_empty());
    }
    fuzzing::policy(text);
});
