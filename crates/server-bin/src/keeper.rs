//! [`Keeper`]: retention as the server does it: it looks at chains, judges their snapshots by policy, and moves to the
//! trash what goes. What is decided, and why, is the business of [`retention`](crate::retention).

use std::time::Duration;

use store::{Purged, RetainedChain, RetainedSnapshot, Store, StoreError, UnixMs};

use crate::clock;
use crate::failure::{Failure, FailureKind};
use crate::home::failed;
use crate::retention::{Candidate, Policy, Verdict, decide, is_unusual};

/// Looks after the chains of a store.
#[derive(Clone, Copy)]
pub(crate) struct Keeper<'a> {
    store: &'a Store,
}

/// What becomes of a chain's snapshots.
#[derive(Clone, Debug)]
pub(crate) struct Judged {
    /// In the order of receipt.
    pub(crate) snapshots: Vec<(RetainedSnapshot, Verdict)>,
}

impl Judged {
    /// Numbers of the snapshots that go.
    pub(crate) fn going(&self) -> Vec<u64> {
        let going = self.snapshots.iter().filter(|(_, verdict)| !verdict.stays());
        going.map(|(snapshot, _)| snapshot.number).collect()
    }

    /// Whether so many go that somebody should look first.
    pub(crate) fn is_unusual(&self) -> bool {
        is_unusual(self.snapshots.len(), self.going().len())
    }
}

impl<'a> Keeper<'a> {
    pub(crate) fn new(store: &'a Store) -> Self {
        Self { store }
    }

    /// The chains that `name` may mean, which is a chain's, or with its device's name or id before it and a slash between;
    /// all of them without a name.
    ///
    /// # Errors
    /// [`Failure`] when a name means none, or several.
    pub(crate) fn chains(&self, name: Option<&str>) -> Result<Vec<RetainedChain>, Failure> {
        let all = self.store.retained_chains().map_err(|error| unreadable(&error))?;
        let Some(name) = name else { return Ok(all) };
        let means = |chain: &RetainedChain| {
            let RetainedChain { device, device_name, name: own, .. } = chain;
            [own.clone(), format!("{device_name}/{own}"), format!("{device}/{own}")].iter().any(|word| word == name)
        };
        let meant: Vec<RetainedChain> = all.into_iter().filter(means).collect();
        match meant.len() {
            1 => Ok(meant),
            0 => {
                Err(Failure::usage(format!("there is no chain `{name}`"))
                    .hint("`backup-server retention show` lists all"))
            }
            _ => Err(Failure::usage(format!("several chains are called `{name}`")).hint(
                "say DEVICE/CHAIN, with the device's id where its name is not enough: `backup-server device list` shows it",
            )),
        }
    }

    /// The policy that holds for a chain: its own, else the default.
    ///
    /// # Errors
    /// [`Failure`] when it cannot be read.
    pub(crate) fn policy(&self, chain: &RetainedChain) -> Result<Policy, Failure> {
        match &chain.policy {
            Some(own) => Policy::parse(Some(own)).map_err(|error| unreadable(&error)),
            None => self.default_policy(),
        }
    }

    /// The policy of chains that have none of their own.
    ///
    /// # Errors
    /// [`Failure`] when it cannot be read.
    pub(crate) fn default_policy(&self) -> Result<Policy, Failure> {
        let text = self.store.default_policy().map_err(|error| unreadable(&error))?;
        Policy::parse(text.as_deref()).map_err(|error| unreadable(&error))
    }

    /// Says what would become of a chain's snapshots by `policy`, or by the one that holds for it.
    ///
    /// # Errors
    /// [`Failure`] when policy or catalog cannot be read.
    pub(crate) fn judge(&self, chain: &RetainedChain, policy: Option<&Policy>, now: UnixMs) -> Result<Judged, Failure> {
        let policy = policy.cloned().map_or_else(|| self.policy(chain), Ok)?;
        let snapshots = self.store.retained_snapshots(chain.id).map_err(|error| unreadable(&error))?;
        let candidates: Vec<Candidate> = snapshots
            .iter()
            .map(|snapshot| Candidate {
                received: snapshot.received,
                is_held: snapshot.is_held,
                is_frozen: snapshot.is_frozen,
            })
            .collect();
        let verdicts = decide(&policy, &candidates, now);
        Ok(Judged { snapshots: snapshots.into_iter().zip(verdicts).collect() })
    }

    /// Moves to the trash what goes; how many snapshots that were.
    ///
    /// # Errors
    /// [`Failure`] when it is unusually much and that was not confirmed, or nothing may be deleted.
    pub(crate) fn trash(&self, judged: &Judged, is_large_confirmed: bool, now: UnixMs) -> Result<u64, Failure> {
        let going = judged.going();
        if going.is_empty() {
            return Ok(0);
        }
        if judged.is_unusual() && !is_large_confirmed {
            let (count, all) = (going.len(), judged.snapshots.len());
            let message = format!(
                "{count} of {all} snapshots would go, which is unusually much: more than ten, and more than a third"
            );
            return Err(Failure::new(FailureKind::NotAllowed, message)
                .hint("look at `backup-server retention simulate`, then say `retention run --confirm-large`"));
        }
        self.store.trash(&going, now).map_err(|error| failed("cannot move snapshots to the trash", &error))
    }

    /// Takes out of the trash what has been there for `delay`.
    ///
    /// # Errors
    /// [`StoreError`].
    pub(crate) fn purge(&self, delay: Duration, now: UnixMs) -> Result<Purged, StoreError> {
        let delay_ms = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
        self.store.purge(UnixMs(now.0.saturating_sub_unsigned(delay_ms)))
    }

    /// Holds the clock against what was last known of it.
    ///
    /// # Errors
    /// [`Failure`] when it is not believed: nothing may be taken away by age then.
    pub(crate) fn check_clock(&self) -> Result<(), Failure> {
        let doubt = self.store.watch_clock(&clock::reading());
        match doubt.map_err(|error| failed("cannot look after the clock", &error))? {
            None => Ok(()),
            Some(doubt) => Err(Failure::new(FailureKind::NotAllowed, format!("nothing goes: {doubt}"))
                .hint("if the clock is right now, say `backup-server retention confirm-clock`")),
        }
    }
}

fn unreadable(error: &(dyn std::error::Error + 'static)) -> Failure {
    failed("cannot read the catalog", error)
}
