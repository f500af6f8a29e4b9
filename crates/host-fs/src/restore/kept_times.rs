//! [`KeptTimes`]: how exactly a file system is known to keep times, so that not every one has to be read back.

use std::sync::atomic::{AtomicU8, Ordering};

use vault::Timestamp;

const UNKNOWN: u8 = 0;
/// Whole seconds are kept, odd ones too: there are file systems with steps of two.
const SECONDS: u8 = 1;
const NANOSECONDS: u8 = 2;

/// What times set near today have shown so far.
#[derive(Debug, Default)]
pub(crate) struct KeptTimes(AtomicU8);

impl KeptTimes {
    /// The same, for a directory of the same file system.
    pub(crate) fn inherited(&self) -> Self {
        Self(AtomicU8::new(self.0.load(Ordering::Relaxed)))
    }

    /// Whether a time is certain to be kept.
    pub(crate) fn hold(&self, time: Timestamp) -> bool {
        self.0.load(Ordering::Relaxed) >= if time.nanos == 0 { SECONDS } else { NANOSECONDS }
    }

    /// Notes that a time was read back as it was set.
    pub(crate) fn learn(&self, time: Timestamp) {
        let known = match time.nanos {
            0 if time.secs % 2 != 0 => SECONDS,
            nanos if !nanos.is_multiple_of(1000) => NANOSECONDS,
            _ => UNKNOWN,
        };
        self.0.fetch_max(known, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_tells_of_no_finer_ones() {
        let [even, odd, micros, nanos] =
            [(2, 0), (3, 0), (2, 5000), (2, 5001)].map(|(secs, nanos)| Timestamp { secs, nanos });
        let held = |learned: &[Timestamp]| {
            let kept = KeptTimes::default();
            learned.iter().for_each(|time| kept.learn(*time));
            [even, odd, micros, nanos].map(|time| kept.inherited().hold(time))
        };
        assert_eq!(held(&[]), [false; 4]);
        assert_eq!(held(&[even]), [false; 4]);
        assert_eq!(held(&[micros]), [false; 4]);
        assert_eq!(held(&[odd]), [true, true, false, false]);
        assert_eq!(held(&[nanos]), [true; 4]);
        assert_eq!(held(&[nanos, odd]), [true; 4]);
    }
}
