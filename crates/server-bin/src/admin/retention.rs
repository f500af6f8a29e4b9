//! What an administrator does about retention: policies, simulation, runs.

use store::RetainedChain;

use crate::admin::desk::Desk;
use crate::admin::{AlarmItem, Item, PolicyItem, RetentionRunItem, VerdictItem};
use crate::audit::{Actor, Event};
use crate::clock;
use crate::failure::Failure;
use crate::home::failed;
use crate::keeper::Keeper;
use crate::retention::Policy;

impl Desk<'_> {
    /// Sets the policy of a chain, or the default without one; `None` takes a chain's own policy away.
    pub(super) fn set_retention(
        &self,
        chain: Option<&str>,
        policy: Option<&Policy>,
        emit: &mut dyn FnMut(Item),
    ) -> Result<(), Failure> {
        let keeper = Keeper::new(&self.home.store);
        let target = match chain {
            Some(name) => keeper.chains(Some(name))?.into_iter().next(),
            None => None,
        };
        let text = policy.map(Policy::to_text);
        self.home
            .store
            .set_policy(target.as_ref().map(|chain| chain.id), text.as_deref())
            .map_err(|error| failed("cannot keep the policy", &error))?;
        let detail = policy.map_or_else(|| "as all others".to_owned(), ToString::to_string);
        Actor::command().note(&self.home.store, Event::PolicySet, chain.unwrap_or("default"), &detail);
        self.show_retention(chain, emit)
    }

    /// Tells the default policy, and that of each chain.
    pub(super) fn show_retention(&self, chain: Option<&str>, emit: &mut dyn FnMut(Item)) -> Result<(), Failure> {
        let keeper = Keeper::new(&self.home.store);
        if chain.is_none() {
            let policy = keeper.default_policy()?;
            let text = policy.to_string();
            emit(Item::RetentionPolicy(PolicyItem { chain: None, is_own: true, policy, text }));
        }
        for chain in keeper.chains(chain)? {
            let policy = keeper.policy(&chain)?;
            let text = policy.to_string();
            let is_own = chain.policy.is_some();
            emit(Item::RetentionPolicy(PolicyItem { chain: Some(name(&chain)), is_own, policy, text }));
        }
        Ok(())
    }

    /// Says of each snapshot whether it would stay, and why.
    pub(super) fn simulate_retention(
        &self,
        chain: Option<&str>,
        policy: Option<&Policy>,
        emit: &mut dyn FnMut(Item),
    ) -> Result<(), Failure> {
        let keeper = Keeper::new(&self.home.store);
        let now = clock::now();
        for chain in keeper.chains(chain)? {
            let judged = keeper.judge(&chain, policy, now)?;
            for (snapshot, verdict) in judged.snapshots.iter().rev() {
                emit(Item::RetentionVerdict(VerdictItem {
                    chain: name(&chain),
                    snapshot: snapshot.id.to_string(),
                    received_ms: clock::wire_ms(snapshot.received),
                    stays: verdict.stays(),
                    reasons: match verdict.stays() {
                        true => verdict.reasons.iter().map(ToString::to_string).collect(),
                        false => vec!["no rule keeps it".to_owned()],
                    },
                }));
            }
            let going = judged.going().len() as u64;
            emit(Item::RetentionRun(RetentionRunItem {
                chain: name(&chain),
                is_simulated: true,
                stays: judged.snapshots.len() as u64 - going,
                goes: going,
                is_unusual: judged.is_unusual(),
            }));
        }
        Ok(())
    }

    /// Moves to the trash what goes.
    pub(super) fn run_retention(
        &self,
        chain: Option<&str>,
        policy: Option<&Policy>,
        is_large_confirmed: bool,
        emit: &mut dyn FnMut(Item),
    ) -> Result<(), Failure> {
        let keeper = Keeper::new(&self.home.store);
        keeper.check_clock()?;
        let now = clock::now();
        // All are looked at before the first is touched: what is refused is refused as a whole.
        let mut judged = Vec::new();
        for chain in keeper.chains(chain)? {
            let verdicts = keeper.judge(&chain, policy, now)?;
            if verdicts.is_unusual() && !is_large_confirmed {
                keeper.trash(&verdicts, false, now).map_err(|failure| failure.of(&name(&chain)))?;
            }
            judged.push((chain, verdicts));
        }
        for (chain, verdicts) in judged {
            let gone = keeper.trash(&verdicts, is_large_confirmed, now)?;
            if gone > 0 {
                let detail = format!("{gone} by retention");
                Actor::command().note(&self.home.store, Event::SnapshotsTrashed, &name(&chain), &detail);
            }
            emit(Item::RetentionRun(RetentionRunItem {
                chain: name(&chain),
                is_simulated: false,
                stays: verdicts.snapshots.len() as u64 - gone,
                goes: gone,
                is_unusual: verdicts.is_unusual(),
            }));
        }
        Ok(())
    }

    /// Lets retention go on where it waits for somebody to confirm an unusual change: in one chain, or in all.
    pub(super) fn confirm_change(&self, chain: Option<&str>, emit: &mut dyn FnMut(Item)) -> Result<(), Failure> {
        let mut is_any = false;
        for found in Keeper::new(&self.home.store).chains(chain)? {
            let (Some(alarm), Some(item)) = (&found.alarm, AlarmItem::of(&found)) else { continue };
            self.home
                .store
                .confirm_change(found.id, &alarm.snapshot)
                .map_err(|error| failed("cannot confirm the change", &error))?;
            let detail = format!("snapshot {}", alarm.snapshot.short());
            Actor::command().note(&self.home.store, Event::ChangeConfirmed, &item.chain, &detail);
            emit(Item::ChangeConfirmed(item));
            is_any = true;
        }
        match chain {
            Some(named) if !is_any => Err(Failure::usage(format!("no unusual change of `{named}` is to be confirmed"))
                .hint("`backup-server status` tells which are")),
            _ => Ok(()),
        }
    }

    /// Believes the clock from now on.
    pub(super) fn confirm_clock(&self, emit: &mut dyn FnMut(Item)) -> Result<(), Failure> {
        let store = &self.home.store;
        store.confirm_clock(&clock::reading()).map_err(|error| failed("cannot look after the clock", &error))?;
        tracing::warn!("the clock was confirmed");
        Actor::command().note(store, Event::ClockConfirmed, "", "");
        emit(Item::Status(Box::new(self.status()?)));
        Ok(())
    }
}

impl AlarmItem {
    /// The chain's alarm, if there is one.
    pub(super) fn of(chain: &RetainedChain) -> Option<Self> {
        let alarm = chain.alarm.as_ref()?;
        Some(Self {
            chain: name(chain),
            snapshot: alarm.snapshot.to_string(),
            raised_ms: clock::wire_ms(alarm.raised),
            what: alarm.what.clone(),
        })
    }
}

/// How a chain is shown, and may be named where no other device of that name has one.
fn name(chain: &RetainedChain) -> String {
    format!("{}/{}", chain.device_name, chain.name)
}
