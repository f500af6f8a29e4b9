//! [`AccountSlots`]: how many of something there may be at a time. One account leaves some to others; whoever can wait gets
//! his turn in the order in which he came.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use store::AccountId;
use tokio::sync::oneshot;

use crate::metrics::{Counted, Gauge};

/// How many of something there may be at a time, and how many of them one account may have.
#[derive(Debug)]
pub(crate) struct AccountSlots {
    state: Arc<Mutex<State>>,
}

/// The right to one of them; given back when dropped.
#[derive(Debug)]
pub(crate) struct AccountSlot {
    _right: Right,
    _counted: Counted,
}

/// As [`AccountSlot`], not counted yet.
#[derive(Debug)]
struct Right {
    state: Arc<Mutex<State>>,
    account: AccountId,
}

#[derive(Debug)]
struct State {
    max: usize,
    own_max: usize,
    taken: HashMap<AccountId, usize>,
    waiting: VecDeque<(AccountId, oneshot::Sender<Right>)>,
}

impl AccountSlots {
    pub(crate) fn new(max: usize, own_max: usize) -> Self {
        let state = State { max, own_max, taken: HashMap::new(), waiting: VecDeque::new() };
        Self { state: Arc::new(Mutex::new(state)) }
    }

    /// A slot, counted by `gauge`; `None` when there are too many, or too many of this account.
    pub(crate) fn take(&self, account: AccountId, gauge: &Gauge) -> Option<AccountSlot> {
        let has_room = lock(&self.state).enter(account);
        has_room.then(|| self.slot(account, gauge))
    }

    /// A slot, counted by `gauge`, as soon as those who asked before and may have one have theirs. Whoever drops this
    /// waits no more.
    pub(crate) async fn wait(&self, account: AccountId, gauge: &Gauge) -> AccountSlot {
        let (sender, receiver) = oneshot::channel();
        {
            let mut state = lock(&self.state);
            if !state.is_waiting(account) && state.enter(account) {
                drop(state);
                return self.slot(account, gauge);
            }
            state.waiting.push_back((account, sender));
        }
        let right = receiver.await.expect("whoever waits is forgotten by nobody else");
        AccountSlot { _right: right, _counted: gauge.enter() }
    }

    fn slot(&self, account: AccountId, gauge: &Gauge) -> AccountSlot {
        AccountSlot { _right: Right { state: Arc::clone(&self.state), account }, _counted: gauge.enter() }
    }
}

impl State {
    fn enter(&mut self, account: AccountId) -> bool {
        let all: usize = self.taken.values().sum();
        let own = self.taken.get(&account).copied().unwrap_or_default();
        let has_room = all < self.max && own < self.own_max;
        if has_room {
            self.taken.insert(account, own + 1);
        }
        has_room
    }

    fn leave(&mut self, account: AccountId) {
        if let Some(count) = self.taken.get_mut(&account) {
            *count -= 1;
            if *count == 0 {
                self.taken.remove(&account);
            }
        }
    }

    /// Whether somebody of this account waits, who then is first.
    fn is_waiting(&self, account: AccountId) -> bool {
        self.waiting.iter().any(|(waiting, sender)| *waiting == account && !sender.is_closed())
    }

    /// Takes out who waits longest of those that may have a slot, which is his then.
    fn next(&mut self) -> Option<(AccountId, oneshot::Sender<Right>)> {
        self.waiting.retain(|(_, sender)| !sender.is_closed());
        let accounts: Vec<AccountId> = self.waiting.iter().map(|(account, _)| *account).collect();
        let index = accounts.into_iter().position(|account| self.enter(account))?;
        self.waiting.remove(index)
    }
}

impl Drop for Right {
    fn drop(&mut self) {
        let next = {
            let mut state = lock(&self.state);
            state.leave(self.account);
            state.next()
        };
        if let Some((account, sender)) = next {
            // Whoever went away in this moment gives it back at once.
            drop(sender.send(Self { state: Arc::clone(&self.state), account }));
        }
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::*;

    fn poll<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
        pin!(future).poll(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn one_account_leaves_some_to_others() {
        let gauge = Gauge::default();
        let slots = AccountSlots::new(4, 2);
        let take = |account| slots.take(AccountId(account), &gauge);
        let held: Vec<_> = (0..2).map(|_| take(1).unwrap()).collect();
        assert!(take(1).is_none());
        let others = [take(2).unwrap(), take(3).unwrap()];
        assert!(take(4).is_none());
        drop((held, others));
        assert_eq!(gauge.get(), 0);
        assert!(take(4).is_some());
    }

    #[test]
    fn whoever_waits_gets_the_next_slot_he_may_have() {
        let gauge = Gauge::default();
        let slots = AccountSlots::new(3, 2);
        let wait = |account| Box::pin(slots.wait(AccountId(account), &gauge));
        let take = |account| slots.take(AccountId(account), &gauge).unwrap();
        let (own, other_own, other) = (take(1), take(1), take(2));
        let (mut first, mut gone, mut second) = (wait(1), wait(1), wait(2));
        assert!(poll(&mut first).is_pending() && poll(&mut gone).is_pending() && poll(&mut second).is_pending());
        drop(gone);
        drop(other);
        assert!(poll(&mut first).is_pending(), "its account has all it may have");
        let Poll::Ready(second) = poll(&mut second) else { panic!("there is a free one") };
        drop(own);
        let Poll::Ready(first) = poll(&mut first) else { panic!("there is a free one") };
        assert_eq!(gauge.get(), 3);
        drop((first, second, other_own));
        assert_eq!(gauge.get(), 0);
        assert!(poll(&mut wait(1)).is_ready(), "whoever went away holds nothing");
    }
}
