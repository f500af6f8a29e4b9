//! Any text as an enrolment string: refused, or one that is read the same from what it shows.

#![no_main]

use libfuzzer_sys::fuzz_target;
use proto::EnrolmentString;

fuzz_target!(|input: &str| {
    let Ok(string) = input.parse::<EnrolmentString>() else { return };
    assert!(string.port != 0 && !string.host.is_empty());
    assert!(string.to_string().parse::<EnrolmentString>().as_ref() == Ok(&string));
});
