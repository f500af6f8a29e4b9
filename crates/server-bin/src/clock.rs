//! The clocks: the one on the wall, in the units that store and protocol want, and the one that only goes on.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};
use store::{ClockReading, UnixMs};

/// Where the system names its boot: a UUID.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// A moment of the clock that only goes on.
pub(crate) fn instant() -> Instant {
    #[cfg(test)]
    if let Some(shown) = simulated::shown() {
        return shown.instant;
    }
    Instant::now()
}

/// What the clock on the wall says.
#[expect(clippy::disallowed_methods, reason = "it is the place where the wall is asked")]
pub(crate) fn wall() -> SystemTime {
    SystemTime::now()
}

/// Milliseconds since 1970-01-01 UTC.
pub(crate) fn now_ms() -> u64 {
    #[cfg(test)]
    if let Some(shown) = simulated::shown() {
        return wire_ms(shown.reading.wall);
    }
    let since = wall().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// The same for the store.
pub(crate) fn now() -> UnixMs {
    UnixMs(i64::try_from(now_ms()).unwrap_or(i64::MAX))
}

/// What the clocks of this machine say.
pub(crate) fn reading() -> ClockReading {
    #[cfg(test)]
    if let Some(shown) = simulated::shown() {
        return shown.reading;
    }
    let since_boot = clock_gettime(ClockId::Boottime);
    let since_boot_ms = since_boot.tv_sec.saturating_mul(1000).saturating_add(since_boot.tv_nsec / 1_000_000);
    // A system that does not name its boots has but one.
    let text = std::fs::read_to_string(BOOT_ID).unwrap_or_default();
    let digits: String = text.chars().filter(char::is_ascii_hexdigit).collect();
    let boot = object::hex::decode(&digits).unwrap_or_default();
    ClockReading { wall: now(), since_boot_ms, boot }
}

/// A moment of the store's as the protocol has it.
pub(crate) fn wire_ms(moment: UnixMs) -> u64 {
    u64::try_from(moment.0).unwrap_or_default()
}

/// Clocks that a test moves, for all that its thread does.
#[cfg(test)]
pub(crate) mod simulated {
    use std::cell::Cell;
    use std::time::Instant;

    use store::ClockReading;

    thread_local!(static SHOWN: Cell<Option<Shown>> = const { Cell::new(None) });

    /// What the clocks show.
    #[derive(Clone, Copy, Debug)]
    pub(crate) struct Shown {
        /// The one that only goes on.
        pub(crate) instant: Instant,
        /// The one on the wall, and how it may be held against the boot.
        pub(crate) reading: ClockReading,
    }

    pub(super) fn shown() -> Option<Shown> {
        SHOWN.get()
    }

    /// Sets the clocks of this thread; `None`: they are the system's again.
    pub(crate) fn show(shown: Option<Shown>) {
        SHOWN.set(shown);
    }
}
