//! Administrative commands: they ask the server that runs on the data directory, or do it themselves when none does.

use std::time::{Duration, Instant};

use crate::admin::desk::Desk;
use crate::admin::{AccountItem, DeviceItem, EnrolmentItem, Item, Order, StatusItem, socket};
use crate::args::Place;
use crate::config::Settings;
use crate::failure::{Failure, FailureKind};
use crate::home::Home;
use crate::options::Options;
use crate::units::ByteCount;

/// Time that a server gets which has taken the data directory, and does not answer yet because it is starting.
const STARTING: Duration = Duration::from_secs(10);
const RETRY: Duration = Duration::from_millis(100);

/// Carries out an order; each line for standard output goes to `print`.
///
/// # Errors
/// [`Failure`].
pub(crate) fn run(place: Place, order: &Order, print: &mut dyn FnMut(&str)) -> Result<(), Failure> {
    let is_json = place.json;
    let settings = settings(place)?;
    let mut emit = |item: Item| {
        let text = if is_json { json(&item) } else { for_people(&item) };
        print(&text);
    };
    let started = Instant::now();
    loop {
        if socket::order(&settings.data_dir, order, &mut emit)?.is_some() {
            return Ok(());
        }
        match Home::open(settings.clone(), false) {
            Ok(home) => return Desk { home: &home, live: None }.perform(order.clone(), &mut emit),
            // The lock is held and nobody answers: a server that is starting or stopping, or a command like this one.
            Err(failure) if failure.kind() == FailureKind::InUse && started.elapsed() < STARTING => {
                std::thread::sleep(RETRY);
            }
            Err(failure) => return Err(failure),
        }
    }
}

/// The settings of the server: its flags are not known here, its environment and file may be.
fn settings(place: Place) -> Result<Settings, Failure> {
    let environment = Options::from_environment()
        .map_err(|error| Failure::usage("an environment variable is not what it should be").because(&error))?;
    let said = Options { data_dir: place.data_dir, ..Options::default() };
    Settings::resolve(said.or(environment), place.config.as_deref())
}

fn json(item: &Item) -> String {
    serde_json::to_string(item).expect("items are plain structures")
}

fn for_people(item: &Item) -> String {
    match item {
        Item::Status(status) => status_text(status),
        Item::Enrolment(enrolment) => enrolment_text(enrolment),
        Item::Account(account) => account_text(account),
        Item::Device(device) => device_text(device),
    }
}

/// Standard output holds the string alone, so that a script can pass it on.
fn enrolment_text(item: &EnrolmentItem) -> String {
    item.enrolment.clone()
}

fn status_text(item: &StatusItem) -> String {
    let mut lines = vec![match &item.running {
        Some(running) => format!("running at {} (pid {}, version {})", running.url, running.pid, item.version),
        None => "not running".to_owned(),
    }];
    lines.push(format!("data directory  {}", item.data_dir));
    if let Some(running) = &item.running {
        lines.push(format!("connected       {}, of these writing {}", running.clients, running.sessions));
    }
    lines.push(format!("accounts        {}", item.accounts));
    lines.push(format!("devices         {}", item.devices));
    lines.push(format!("vaults          {}", item.vaults));
    lines.push(format!("snapshots       {}", item.snapshots));
    lines.push(format!("stored          {} in {} packs", about(item.bytes_stored), item.packs));
    let full = if item.is_full { " - too little: nothing new is accepted" } else { "" };
    lines.push(format!("free            {}{full}", about(item.free_bytes)));
    lines.extend(item.halted.as_ref().map(|reason| format!("HALTED          {reason}; restart the server")));
    lines.extend(item.deletion_latch.as_ref().map(|reason| format!("no deletion     {reason}")));
    lines.join("\n")
}

fn account_text(item: &AccountItem) -> String {
    let AccountItem { account, role, devices, snapshots, bytes_stored, .. } = item;
    format!("{account}  {role}, devices: {devices}, snapshots: {snapshots}, {}", about(*bytes_stored))
}

fn device_text(item: &DeviceItem) -> String {
    let DeviceItem { device, name, account, .. } = item;
    let revoked = if item.revoked_ms.is_some() { ", revoked" } else { "" };
    format!("{device}  {} of {account}{revoked}", name.escape_debug())
}

/// A size with one digit after the point; exact when it is small.
fn about(bytes: u64) -> String {
    let units = [("TiB", 1u64 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
    match units.iter().find(|(_, unit)| bytes >= *unit) {
        Some((name, unit)) => format!("{}.{} {name}", bytes / unit, bytes % unit * 10 / unit),
        None => ByteCount(bytes).to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_short() {
        assert_eq!(about(0), "0B");
        assert_eq!(about(1023), "1023B");
        assert_eq!(about(1536), "1.5 KiB");
        assert_eq!(about(u64::MAX), "16777215.9 TiB");
    }
}
