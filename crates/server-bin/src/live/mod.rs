//! What goes on in the server, for people who look at it: [`Board`] has the transfers and devices of this moment, [`Feed`] what
//! happened lately, [`Tally`] the bytes of it, for charts. All of it is bounded, and none of it is on a path that stores or
//! reads bytes, but for counters.

mod alert;
mod board;
mod feed;
mod incoming;
mod outgoing;
mod tally;

pub(crate) use alert::{Health, watch};
pub(crate) use board::{About, Board, ConnectedDevice, Moving, Outlook, Shown, TransferKind};
pub(crate) use feed::{Activity, ActivityKind, Feed, Figures, Filter, News};
pub(crate) use incoming::{Incoming, refused};
pub(crate) use outgoing::Outgoing;
use proto::DrivePath;
use store::{AccountId, DeviceId};
pub(crate) use tally::{Tally, keep_tally};

use crate::access::{Action, allowed};
use crate::login::Login;

/// A device, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DeviceName {
    pub(crate) id: DeviceId,
    pub(crate) name: String,
}

/// Who looks, and so how much there is to see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Viewer {
    account: AccountId,
    sees_all: bool,
}

impl Viewer {
    /// Whoever has logged in: an administrator sees what all accounts do, everybody else only what their own does.
    pub(crate) fn new(login: &Login) -> Self {
        Self { account: login.account_id(), sees_all: allowed(login.who(), Action::Oversee) }
    }

    /// The account that looks.
    pub(crate) fn account(self) -> AccountId {
        self.account
    }

    /// Whether it is told of all accounts, and of the server.
    pub(crate) fn sees_all(self) -> bool {
        self.sees_all
    }

    /// Whether it is told of what an account does; `None` is the server itself.
    pub(crate) fn sees(self, account: Option<AccountId>) -> bool {
        self.sees_all || account == Some(self.account)
    }

    /// The only account it is told of, if it is not told of all.
    pub(crate) fn only(self) -> Option<AccountId> {
        (!self.sees_all).then_some(self.account)
    }

    /// Whether it may read names of the account's files: those are for nobody else, whoever that is.
    fn reads_names_of(self, account: AccountId) -> bool {
        self.account == account
    }
}

/// So much of a name is kept, in bytes.
const NAME_LEN_MAX: usize = 255;

/// The last name of a path, for people.
pub(crate) fn name_of(path: &DrivePath) -> String {
    path.name().map(|name| String::from_utf8_lossy(name.as_bytes()).into_owned()).unwrap_or_default()
}

/// The beginning of a name that is too long.
fn shortened(mut name: String) -> String {
    if name.len() > NAME_LEN_MAX {
        let end = (0..=NAME_LEN_MAX).rev().find(|end| name.is_char_boundary(*end)).unwrap_or_default();
        name.truncate(end);
    }
    name
}
