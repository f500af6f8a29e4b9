//! [`BackOff`]: whoever gives wrong passwords again and again waits longer and longer, by account and by address. Nobody is
//! locked out for good, and tokens do not wait.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::address_key::AddressKey;

/// Failures that cost nothing.
const FREE_FAILURES: u32 = 5;
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(15 * 60);
/// Time without failures after which one starts anew.
const MEMORY: Duration = Duration::from_secs(24 * 3600);
const ENTRIES_MAX: usize = 8192;
/// Wrong passwords in one second, all together.
const FAILURES_PER_SECOND: u32 = 20;

/// Wrong passwords, by whom they are counted for.
#[derive(Debug, Default)]
pub(crate) struct BackOff {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    failures: HashMap<Key, Failures>,
    /// The second that is being counted, and how many failed in it.
    second: Option<(Instant, u32)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Key {
    /// Part of a hash of the name that was said.
    Account([u8; 16]),
    Address(AddressKey),
}

#[derive(Clone, Copy, Debug)]
struct Failures {
    count: u32,
    last: Instant,
}

fn keys(account: &str, address: IpAddr) -> [Key; 2] {
    let hash = blake3::hash(account.as_bytes());
    [Key::Account(*hash.as_bytes().first_chunk().expect("the hash is longer")), Key::Address(address.into())]
}

impl BackOff {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How long an attempt has to wait before it is looked at; `None`: not at all.
    pub(crate) fn wait(&self, account: &str, address: IpAddr, now: Instant) -> Option<Duration> {
        let state = self.lock();
        let own = keys(account, address).into_iter().filter_map(|key| {
            let failures = state.failures.get(&key)?;
            let wait = wait_after(failures.count)?;
            wait.checked_sub(now.saturating_duration_since(failures.last)).filter(|left| !left.is_zero())
        });
        let all = state.second.filter(|(start, count)| {
            *count >= FAILURES_PER_SECOND && now.saturating_duration_since(*start) < Duration::from_secs(1)
        });
        own.chain(all.map(|_| FIRST_WAIT)).max()
    }

    /// A password was wrong.
    pub(crate) fn failed(&self, account: &str, address: IpAddr, now: Instant) {
        let mut state = self.lock();
        state.second = match state.second {
            Some((start, count)) if now.saturating_duration_since(start) < Duration::from_secs(1) => {
                Some((start, count + 1))
            }
            _ => Some((now, 1)),
        };
        for key in keys(account, address) {
            if state.failures.len() >= ENTRIES_MAX && !state.failures.contains_key(&key) {
                state.make_room(now);
            }
            let entry = state.failures.entry(key).or_insert(Failures { count: 0, last: now });
            if now.saturating_duration_since(entry.last) >= MEMORY {
                entry.count = 0;
            }
            *entry = Failures { count: entry.count.saturating_add(1), last: now };
        }
    }

    /// A password was right: the account starts anew. The address does not, or one's own account would buy guesses at
    /// another's.
    pub(crate) fn succeeded(&self, account: &str, address: IpAddr) {
        let [account, _] = keys(account, address);
        self.lock().failures.remove(&account);
    }
}

impl State {
    fn make_room(&mut self, now: Instant) {
        self.failures.retain(|_, failures| now.saturating_duration_since(failures.last) < MEMORY);
        if self.failures.len() >= ENTRIES_MAX
            && let Some(oldest) = self.failures.iter().min_by_key(|(_, failures)| failures.last).map(|(key, _)| *key)
        {
            self.failures.remove(&oldest);
        }
    }
}

fn wait_after(failure_count: u32) -> Option<Duration> {
    let doublings = failure_count.checked_sub(FREE_FAILURES)?;
    Some(FIRST_WAIT.saturating_mul(1 << doublings.min(16)).min(LONGEST_WAIT))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1));
    const THERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 2));

    #[test]
    fn waits_double_and_are_forgotten() {
        let back_off = BackOff::default();
        let mut now = Instant::now();
        let mut waits = Vec::new();
        for _ in 0..18 {
            let wait = back_off.wait("ada", HERE, now).unwrap_or_default();
            waits.push(wait.as_secs());
            now += wait;
            assert_eq!(back_off.wait("ada", HERE, now), None, "the wait is over");
            back_off.failed("ada", HERE, now);
        }
        assert_eq!(waits, [0, 0, 0, 0, 0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900, 900]);
        assert!(back_off.wait("ada", THERE, now).is_some(), "the account waits wherever it is tried from");
        assert!(back_off.wait("bob", HERE, now).is_some(), "the address waits whatever it tries");
        assert_eq!(back_off.wait("bob", THERE, now), None);
        back_off.succeeded("ada", HERE);
        assert_eq!(back_off.wait("ada", THERE, now), None);
        assert!(back_off.wait("ada", HERE, now).is_some(), "a right password does not wash the address clean");
        let later = now + MEMORY;
        back_off.failed("bob", HERE, later);
        assert_eq!(back_off.wait("bob", HERE, later), None);
    }

    #[test]
    fn all_together_are_slowed_down_too() {
        let back_off = BackOff::default();
        let now = Instant::now();
        for number in 0..FAILURES_PER_SECOND {
            back_off.failed(&format!("account {number}"), IpAddr::from(number.to_be_bytes()), now);
        }
        assert_eq!(back_off.wait("another", HERE, now), Some(FIRST_WAIT));
        assert_eq!(back_off.wait("another", HERE, now + FIRST_WAIT), None);
    }

    #[test]
    fn the_table_is_bounded() {
        let back_off = BackOff::default();
        let start = Instant::now();
        for number in 0..u32::try_from(ENTRIES_MAX).unwrap() {
            let now = start + Duration::from_millis(number.into());
            back_off.failed(&number.to_string(), IpAddr::from(number.to_be_bytes()), now);
        }
        assert_eq!(back_off.lock().failures.len(), ENTRIES_MAX);
    }
}
