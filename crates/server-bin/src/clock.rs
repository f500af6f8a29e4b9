//! The clock on the wall, in the units that store and protocol want.

use std::time::{SystemTime, UNIX_EPOCH};

use store::UnixMs;

/// Milliseconds since 1970-01-01 UTC.
pub(crate) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// The same for the store.
pub(crate) fn now() -> UnixMs {
    UnixMs(i64::try_from(now_ms()).unwrap_or(i64::MAX))
}

/// A moment of the store's as the protocol has it.
pub(crate) fn wire_ms(moment: UnixMs) -> u64 {
    u64::try_from(moment.0).unwrap_or_default()
}
