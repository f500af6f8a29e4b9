//! [`Gate`]: how many connections there may be. Strangers give way: when there are too many, those that have waited
//! longest without authenticating are closed first, and whoever is authenticated never is.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio_util::sync::CancellationToken;

use crate::address_key::AddressKey;
use crate::proxies::Proxies;

/// Most connections.
#[derive(Clone, Debug)]
pub(crate) struct GateLimits {
    /// All together.
    pub(crate) sockets: usize,
    /// Of one address, not authenticated.
    pub(crate) strangers_per_address: usize,
    /// Addresses of many, to which that does not apply.
    pub(crate) proxies: Proxies,
}

/// Counts connections and lets new ones in.
#[derive(Debug)]
pub(crate) struct Gate {
    limits: GateLimits,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    next_number: u64,
    socket_count: usize,
    /// Oldest first.
    strangers: BTreeMap<u64, Stranger>,
    strangers_by_address: HashMap<AddressKey, usize>,
}

#[derive(Debug)]
struct Stranger {
    address: AddressKey,
    shed: CancellationToken,
}

/// One connection that was let in; dropped when it is closed.
#[derive(Debug)]
pub(crate) struct Pass {
    gate: Arc<Gate>,
    number: u64,
    shed: CancellationToken,
}

/// What letting somebody in took.
#[derive(Debug)]
pub(crate) struct Admission {
    /// The newcomer's.
    pub(crate) pass: Pass,
    /// Whether another connection has to close for it.
    pub(crate) has_shed: bool,
}

impl Gate {
    pub(crate) fn new(limits: GateLimits) -> Arc<Self> {
        Arc::new(Self { limits, state: Mutex::default() })
    }

    /// Lets a connection in; `None` when there are too many and all are authenticated.
    pub(crate) fn admit(self: &Arc<Self>, address: IpAddr) -> Option<Admission> {
        let is_single = !self.limits.proxies.is_one(address);
        let address = AddressKey::from(address);
        let mut state = self.lock();
        let mut has_shed = false;
        if is_single
            && state.strangers_by_address.get(&address).is_some_and(|count| *count >= self.limits.strangers_per_address)
        {
            has_shed = state.shed_oldest(Some(address));
        }
        if state.socket_count >= self.limits.sockets {
            // The one that is shed closes a moment later; until then there is one socket too many.
            has_shed = state.shed_oldest(None);
            if !has_shed {
                return None;
            }
        }
        state.socket_count += 1;
        state.next_number += 1;
        let number = state.next_number;
        let shed = CancellationToken::new();
        state.strangers.insert(number, Stranger { address, shed: shed.clone() });
        *state.strangers_by_address.entry(address).or_default() += 1;
        Some(Admission { pass: Pass { gate: Arc::clone(self), number, shed }, has_shed })
    }

    /// Closes the stranger who has waited longest; false when there is none.
    pub(crate) fn shed_one(&self) -> bool {
        self.lock().shed_oldest(None)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn shed_oldest(&mut self, address: Option<AddressKey>) -> bool {
        let fits = |stranger: &Stranger| address.is_none_or(|address| stranger.address == address);
        let Some(number) = self.strangers.iter().find(|(_, stranger)| fits(stranger)).map(|(number, _)| *number) else {
            return false;
        };
        if let Some(stranger) = self.forget_stranger(number) {
            stranger.shed.cancel();
        }
        true
    }

    fn forget_stranger(&mut self, number: u64) -> Option<Stranger> {
        let stranger = self.strangers.remove(&number)?;
        if let Some(count) = self.strangers_by_address.get_mut(&stranger.address) {
            *count -= 1;
            if *count == 0 {
                self.strangers_by_address.remove(&stranger.address);
            }
        }
        Some(stranger)
    }
}

impl Pass {
    /// Cancelled when this connection has to make room.
    pub(crate) fn shed(&self) -> &CancellationToken {
        &self.shed
    }

    /// The other end is known now, and is not shed any more; false when it already was.
    pub(crate) fn authenticated(&self) -> bool {
        self.gate.lock().forget_stranger(self.number).is_some()
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        let mut state = self.gate.lock();
        state.forget_stranger(self.number);
        state.socket_count -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gate(sockets: usize, strangers_per_address: usize) -> Arc<Gate> {
        Gate::new(GateLimits { sockets, strangers_per_address, proxies: Proxies::default() })
    }

    fn address(last: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, last])
    }

    #[test]
    fn the_oldest_stranger_of_an_address_gives_way() {
        let gate = gate(100, 2);
        let [first, second, other] = [1, 1, 2].map(|last| gate.admit(address(last)).unwrap().pass);
        let third = gate.admit(address(1)).unwrap();
        assert!(third.has_shed);
        assert!(first.shed().is_cancelled());
        assert!(!first.authenticated(), "it was too late");
        assert!(!second.shed().is_cancelled() && !other.shed().is_cancelled());
    }

    #[test]
    fn whoever_is_authenticated_stays_and_does_not_count() {
        let gate = gate(3, 1);
        let known: Vec<Pass> = (0..2)
            .map(|_| gate.admit(address(1)).unwrap().pass)
            .inspect(|pass| assert!(pass.authenticated()))
            .collect();
        let stranger = gate.admit(address(2)).unwrap().pass;
        let newcomer = gate.admit(address(3)).unwrap();
        assert!(newcomer.has_shed && stranger.shed().is_cancelled());
        assert!(newcomer.pass.authenticated());
        drop(stranger);
        assert!(gate.admit(address(4)).is_none(), "all are authenticated");
        drop(known);
        assert!(!gate.admit(address(4)).unwrap().has_shed);
        assert!(gate.lock().strangers_by_address.is_empty());
        assert_eq!(gate.lock().socket_count, 1);
    }
}
