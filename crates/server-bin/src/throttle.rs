//! [`Throttle`]: whoever fails to authenticate again and again is answered more and more slowly. Nobody is locked out:
//! a right token works from any address, after the wait.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::address_key::AddressKey;

/// Failures that cost nothing: a typing error, an old token.
const FREE_FAILURES: u32 = 5;
const FIRST_DELAY: Duration = Duration::from_millis(250);
/// Well below the time a client has to authenticate.
const LONGEST_DELAY: Duration = Duration::from_secs(4);
/// Time without failures after which an address starts anew.
const MEMORY: Duration = Duration::from_secs(600);
const ADDRESSES_MAX: usize = 4096;

/// Failures by address.
#[derive(Debug, Default)]
pub(crate) struct Throttle {
    failures: Mutex<HashMap<AddressKey, Failures>>,
}

#[derive(Clone, Copy, Debug)]
struct Failures {
    count: u32,
    last: Instant,
}

impl Throttle {
    /// How long an attempt from `address` has to wait before it is looked at.
    pub(crate) fn delay(&self, address: IpAddr, now: Instant) -> Duration {
        let failures = self.failures.lock().expect("nobody panics with it");
        match failures.get(&address.into()) {
            Some(failures) if now.saturating_duration_since(failures.last) < MEMORY => delay_after(failures.count),
            _ => Duration::ZERO,
        }
    }

    /// An attempt from `address` has failed.
    pub(crate) fn failed(&self, address: IpAddr, now: Instant) {
        let mut failures = self.failures.lock().expect("nobody panics with it");
        if failures.len() >= ADDRESSES_MAX {
            failures.retain(|_, failures| now.saturating_duration_since(failures.last) < MEMORY);
            if let Some(oldest) = failures.iter().min_by_key(|(_, failures)| failures.last).map(|(key, _)| *key)
                && failures.len() >= ADDRESSES_MAX
            {
                failures.remove(&oldest);
            }
        }
        let entry = failures.entry(address.into()).or_insert(Failures { count: 0, last: now });
        if now.saturating_duration_since(entry.last) >= MEMORY {
            entry.count = 0;
        }
        *entry = Failures { count: entry.count.saturating_add(1), last: now };
    }
}

fn delay_after(failure_count: u32) -> Duration {
    match failure_count.checked_sub(FREE_FAILURES) {
        None => Duration::ZERO,
        Some(doublings) => FIRST_DELAY.saturating_mul(1 << doublings.min(16)).min(LONGEST_DELAY),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_slow_an_address_down_and_are_forgotten() {
        let throttle = Throttle::default();
        let (start, here, there) = (Instant::now(), IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2]));
        let mut delays = Vec::new();
        for _ in 0..12 {
            delays.push(throttle.delay(here, start).as_millis());
            throttle.failed(here, start);
        }
        assert_eq!(delays, [0, 0, 0, 0, 0, 250, 500, 1000, 2000, 4000, 4000, 4000]);
        assert_eq!(throttle.delay(there, start), Duration::ZERO);
        assert_eq!(throttle.delay(here, start + MEMORY), Duration::ZERO);
    }

    #[test]
    fn the_table_is_bounded() {
        let throttle = Throttle::default();
        let start = Instant::now();
        for number in 0..2 * ADDRESSES_MAX {
            let address = IpAddr::from(u32::try_from(number).unwrap().to_be_bytes());
            throttle.failed(address, start + Duration::from_millis(number as u64));
        }
        assert_eq!(throttle.failures.lock().unwrap().len(), ADDRESSES_MAX);
    }
}
