//! [`Budget`]: a bound on bytes under way, for threads that wait.

use std::sync::{Arc, Condvar, Mutex};

/// A number of bytes that many threads share.
#[derive(Debug)]
pub(crate) struct Budget {
    state: Mutex<State>,
    changed: Condvar,
    total: usize,
}

#[derive(Debug)]
struct State {
    available: usize,
    is_closed: bool,
}

/// Bytes taken from a budget, given back when dropped.
#[derive(Debug)]
pub(crate) struct Share {
    budget: Arc<Budget>,
    bytes: usize,
}

/// The budget was closed: nobody will need its bytes any more.
#[derive(Debug)]
pub(crate) struct BudgetClosed;

impl Budget {
    pub(crate) fn new(total: usize) -> Arc<Self> {
        let state = State { available: total, is_closed: false };
        Arc::new(Self { state: Mutex::new(state), changed: Condvar::new(), total })
    }

    /// Waits until `bytes` are to be had; more than the whole budget counts as the whole.
    pub(crate) fn take(self: &Arc<Self>, bytes: usize) -> Result<Share, BudgetClosed> {
        let bytes = bytes.min(self.total);
        let state = self.state.lock().expect("nobody panics with it");
        let waiting = |state: &mut State| state.available < bytes && !state.is_closed;
        let mut state = self.changed.wait_while(state, waiting).expect("nobody panics with it");
        if state.is_closed {
            return Err(BudgetClosed);
        }
        state.available -= bytes;
        Ok(Share { budget: Arc::clone(self), bytes })
    }

    /// What is under way now.
    pub(crate) fn taken(&self) -> usize {
        self.total.saturating_sub(self.state.lock().expect("nobody panics with it").available)
    }

    /// Ends all waiting, now and later.
    pub(crate) fn close(&self) {
        self.state.lock().expect("nobody panics with it").is_closed = true;
        self.changed.notify_all();
    }
}

impl Budget {
    fn give_back(&self, bytes: usize) {
        self.state.lock().expect("nobody panics with it").available += bytes;
        self.changed.notify_all();
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.budget.give_back(self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_waiter_goes_on_when_bytes_come_back_or_the_budget_closes() {
        let budget = Budget::new(10);
        let share = budget.take(7).unwrap();
        std::thread::scope(|scope| {
            let waiter = scope.spawn(|| budget.take(100).map(drop).is_ok());
            drop(share);
            assert!(waiter.join().unwrap());
            let _all = budget.take(10).unwrap();
            let waiter = scope.spawn(|| budget.take(1).is_err());
            budget.close();
            assert!(waiter.join().unwrap());
        });
    }
}
