//! Who may do what: [`allowed`] is the one place that decides it, for every message of a client and every HTTP route.
//!
//! A device may do what both its account's role and its token's scope allow. Whatever is not allowed here is refused before
//! anything is looked up; which things somebody may do it *to* (their own vaults, their device's snapshots) is decided
//! where those are looked up, and what is not theirs is as good as not there.

use proto::{ChangeKind, ClientRequest, Purpose};
use store::{Role, Scope};

use crate::options::MetricsAccess;

/// Who wants something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Who {
    /// Anybody who can reach the port.
    Stranger {
        /// From this machine.
        is_local: bool,
    },
    /// Somebody who has logged in by HTTP with a password, in this request or when their browser's session began.
    Person {
        /// What their account may do.
        role: Role,
    },
    /// A program that has logged in by HTTP with a token.
    Script {
        /// What its account may do.
        role: Role,
        /// What its token is good for.
        scope: Scope,
    },
    /// A device that has shown its token.
    Device {
        /// What its account may do.
        role: Role,
        /// What its token is good for.
        scope: Scope,
    },
}

/// What somebody wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// To be greeted, known, or gone.
    Connect,
    /// To log in, or to set an account up with the link for it.
    LogIn,
    /// To be told who one is, or to log out.
    SeeSelf,
    /// To see what opens one's own account: sessions, tokens, devices.
    SeeLogins,
    /// To change that: password, second factor, sessions, tokens.
    KeepLogins,
    /// To let devices in, and to take their access away.
    Admit,
    /// To let people without an account at files, and not any more.
    Share,
    /// To see all accounts, and the audit log.
    Oversee,
    /// To change accounts.
    Administer,
    /// To be told what anybody may know: that the server is there, and whether it is well.
    See,
    /// To read the metrics, which are for these.
    Measure(MetricsAccess),
    /// To open a vault, and be lent its key.
    Open,
    /// To add snapshots, and to ask which objects need not be sent for that.
    Add,
    /// To read snapshots, objects and the drive.
    Read,
    /// To give files of the drive new versions, and bring removed ones back.
    Change,
    /// To keep snapshots, or bring them back.
    Keep,
    /// To take away: into the trash, or out of a hold.
    TakeAway,
    /// To take out of the drive's trash for good.
    Purge,
    /// To report what restoring came to.
    Report,
}

/// Whether `who` may do this.
pub(crate) fn allowed(who: Who, action: Action) -> bool {
    match who {
        Who::Stranger { is_local } => match action {
            Action::Connect | Action::See | Action::LogIn => true,
            Action::Measure(access) => match access {
                MetricsAccess::Off => false,
                MetricsAccess::Loopback => is_local,
                MetricsAccess::Everywhere => true,
            },
            Action::SeeSelf
            | Action::SeeLogins
            | Action::KeepLogins
            | Action::Admit
            | Action::Share
            | Action::Oversee
            | Action::Administer
            | Action::Open
            | Action::Add
            | Action::Read
            | Action::Change
            | Action::Keep
            | Action::TakeAway
            | Action::Purge
            | Action::Report => false,
        },
        Who::Person { role } => role_allows(role, action),
        Who::Script { role, scope } => role_allows(role, action) && scope_allows(scope, action),
        Who::Device { role, scope } => {
            is_for_devices(action) && role_allows(role, action) && scope_allows(scope, action)
        }
    }
}

fn role_allows(role: Role, action: Action) -> bool {
    match action {
        Action::See | Action::LogIn | Action::Measure(_) => false,
        Action::Connect
        | Action::SeeSelf
        | Action::SeeLogins
        | Action::KeepLogins
        | Action::Open
        | Action::Read
        | Action::Report => true,
        Action::Admit
        | Action::Share
        | Action::Add
        | Action::Change
        | Action::Keep
        | Action::TakeAway
        | Action::Purge => role != Role::ReadOnly,
        Action::Oversee | Action::Administer => role == Role::Admin,
    }
}

/// A token opens nothing that outlives it: who has one cannot make another, nor a device, nor an account.
fn scope_allows(scope: Scope, action: Action) -> bool {
    match action {
        Action::Connect | Action::SeeSelf | Action::Open => true,
        Action::Add => matches!(scope, Scope::PutOnly | Scope::Restore | Scope::Admin),
        Action::Read | Action::Report => matches!(scope, Scope::Read | Scope::Restore | Scope::Admin),
        Action::Change | Action::Keep => matches!(scope, Scope::Restore | Scope::Admin),
        Action::TakeAway | Action::SeeLogins | Action::Oversee => scope == Scope::Admin,
        Action::KeepLogins | Action::Admit | Action::Share | Action::Administer | Action::Purge => false,
        Action::See | Action::LogIn | Action::Measure(_) => false,
    }
}

/// What devices ask for is messages; the rest is by HTTP, where no device's token opens anything.
fn is_for_devices(action: Action) -> bool {
    matches!(
        action,
        Action::Connect
            | Action::Open
            | Action::Add
            | Action::Read
            | Action::Change
            | Action::Keep
            | Action::TakeAway
            | Action::Report
    )
}

/// What a request wants. What a client says beside its requests is part of them: records are put into a session that one
/// of them began.
pub(crate) fn action_of(request: &ClientRequest) -> Action {
    match request {
        ClientRequest::Authenticate(_) | ClientRequest::Enroll(_) => Action::Connect,
        ClientRequest::OpenVault(_) => Action::Open,
        ClientRequest::Begin(Purpose::Backup { .. })
        | ClientRequest::Held(_)
        | ClientRequest::Flush
        | ClientRequest::Commit(_) => Action::Add,
        ClientRequest::Signatures(_)
        | ClientRequest::Snapshots(_)
        | ClientRequest::Fetch(_)
        | ClientRequest::DriveList(_)
        | ClientRequest::DriveStat(_)
        | ClientRequest::DriveTrash(_) => Action::Read,
        ClientRequest::Begin(Purpose::Drive) | ClientRequest::DrivePut(_) | ClientRequest::DriveUndelete(_) => {
            Action::Change
        }
        ClientRequest::DriveRemove(_) => Action::TakeAway,
        ClientRequest::SnapshotChange(change) => match change.kind {
            ChangeKind::Undelete | ChangeKind::Hold => Action::Keep,
            ChangeKind::Forget | ChangeKind::Unhold => Action::TakeAway,
        },
        ClientRequest::DrillReport(_) => Action::Report,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use axum::http::Method;
    use bytes::Bytes;
    use object::ObjectId;
    use proto::{
        Authenticate, ChainName, Commit, DeviceId, DrillReport, DriveContent, DriveList, DrivePath, DrivePut,
        DriveRemove, DriveTrash, DriveUndelete, Enroll, Fetch, HostName, IdempotencyKey, Ids, MessageType, Secret,
        Side, SnapshotChange, Snapshots, Timestamp,
    };

    use super::*;
    use crate::http::Route;

    /// A row for each request, and a column for each scope: first of accounts that are admin or member, then of those that
    /// are read-only.
    const TABLE: &str = "\
        Authenticate      x x x x   x x x x
        Enroll            x x x x   x x x x
        OpenVault         x x x x   x x x x
        Begin-backup      x . x x   . . . .
        Begin-drive       . . x x   . . . .
        Held              x . x x   . . . .
        Signatures        . x x x   . x x x
        Flush             x . x x   . . . .
        Commit            x . x x   . . . .
        Snapshots         . x x x   . x x x
        Fetch             . x x x   . x x x
        DriveList         . x x x   . x x x
        DriveStat         . x x x   . x x x
        DrivePut          . . x x   . . . .
        DriveRemove       . . . x   . . . .
        Forget            . . . x   . . . .
        Undelete          . . x x   . . . .
        Hold              . . x x   . . . .
        Unhold            . . . x   . . . .
        DriveTrash        . x x x   . x x x
        DriveUndelete     . . x x   . . . .
        DrillReport       . x x x   . x x x";

    /// Messages that are no requests: greeting and farewell, and records for a session that a request began.
    const NO_REQUESTS: [MessageType; 5] =
        [MessageType::Hello, MessageType::Put, MessageType::Progress, MessageType::Ping, MessageType::Bye];

    /// One request of every type, and of every kind that is treated differently.
    fn requests() -> Vec<(&'static str, ClientRequest)> {
        let key = IdempotencyKey::from_bytes([1; 16]);
        let id = ObjectId::from_bytes([2; 32]);
        let path = DrivePath::new(Bytes::from_static(b"a")).unwrap();
        let ids: Ids = [id].iter().collect();
        let chain = ChainName::new("home").unwrap();
        let change =
            |kind| ClientRequest::SnapshotChange(SnapshotChange { key, kind, snapshots: [id].iter().collect() });
        let put = DrivePut {
            key,
            path: path.clone(),
            mtime: Timestamp::new(0, 0).unwrap(),
            mode: 0,
            size: 0,
            content: DriveContent::Empty,
            expected_version: None,
        };
        let drill = DrillReport { key, snapshot: id, files: 1, bytes: 1, problems: 0, duration_ms: 1 };
        let token = Authenticate { device: DeviceId::from_bytes([3; 8]), secret: Secret::new([4; 32]) };
        let enroll = Enroll { secret: Secret::new([4; 16]), host: HostName::lossy("") };
        vec![
            ("Authenticate", ClientRequest::Authenticate(token)),
            ("Enroll", ClientRequest::Enroll(enroll)),
            ("OpenVault", ClientRequest::OpenVault(None)),
            ("Begin-backup", ClientRequest::Begin(Purpose::Backup { chain, parent_hint: None })),
            ("Begin-drive", ClientRequest::Begin(Purpose::Drive)),
            ("Held", ClientRequest::Held(ids.clone())),
            ("Signatures", ClientRequest::Signatures(Vec::new())),
            ("Flush", ClientRequest::Flush),
            ("Commit", ClientRequest::Commit(Commit { key, snapshot: id })),
            ("Snapshots", ClientRequest::Snapshots(Snapshots { chain: None, before: None, limit: 1, in_trash: false })),
            ("Fetch", ClientRequest::Fetch(Fetch { ids, with_basis: true })),
            ("DriveList", ClientRequest::DriveList(DriveList { path: DrivePath::ROOT, after: None, limit: 1 })),
            ("DriveStat", ClientRequest::DriveStat(path.clone())),
            ("DrivePut", ClientRequest::DrivePut(put)),
            (
                "DriveRemove",
                ClientRequest::DriveRemove(DriveRemove { key, path: path.clone(), expected_version: None }),
            ),
            ("Forget", change(ChangeKind::Forget)),
            ("Undelete", change(ChangeKind::Undelete)),
            ("Hold", change(ChangeKind::Hold)),
            ("Unhold", change(ChangeKind::Unhold)),
            ("DriveTrash", ClientRequest::DriveTrash(DriveTrash { before: None, limit: 1 })),
            ("DriveUndelete", ClientRequest::DriveUndelete(DriveUndelete { key, path })),
            ("DrillReport", ClientRequest::DrillReport(drill)),
        ]
    }

    #[test]
    fn every_message_has_its_row() {
        let is_request =
            |message_type: &MessageType| message_type.sender() == Side::Client && !NO_REQUESTS.contains(message_type);
        let all: BTreeSet<MessageType> = MessageType::ALL.into_iter().filter(is_request).collect();
        let requests = requests();
        assert_eq!(requests.iter().map(|(_, request)| request.message_type()).collect::<BTreeSet<_>>(), all);
        assert_eq!(TABLE.lines().count(), requests.len());
        for ((name, request), row) in requests.iter().zip(TABLE.lines()) {
            let mut words = row.split_whitespace();
            assert_eq!(words.next(), Some(*name));
            let marks: Vec<bool> = words.map(|mark| mark == "x").collect();
            let action = action_of(request);
            for (roles, marks) in [(&[Role::Admin, Role::Member][..], &marks[..4]), (&[Role::ReadOnly], &marks[4..])] {
                for role in roles {
                    let found = Scope::ALL.map(|scope| allowed(Who::Device { role: *role, scope }, action));
                    assert_eq!(found, marks, "{name} for {role:?}");
                }
            }
            let is_first = matches!(*name, "Authenticate" | "Enroll");
            for is_local in [false, true] {
                assert_eq!(allowed(Who::Stranger { is_local }, action), is_first, "{name} for a stranger");
            }
        }
    }

    /// Records are taken exactly where a session can be begun for them.
    #[test]
    fn whoever_may_put_may_begin() {
        for role in [Role::Admin, Role::Member, Role::ReadOnly] {
            for scope in Scope::ALL {
                let may = |action| allowed(Who::Device { role, scope }, action);
                assert!(may(Action::Add) || !may(Action::Change), "{role:?} {scope:?}");
            }
        }
    }

    /// A row for each route and method: strangers from elsewhere and of this machine; people who are admin, member and
    /// read-only; then, by scope, scripts of such an admin, member, and read-only account.
    const ROUTES: &str = "\
        Page GET                       x x   . . .   . . . .   . . . .   . . . .
        Screen GET                     x x   . . .   . . . .   . . . .   . . . .
        Alive GET                      x x   . . .   . . . .   . . . .   . . . .
        Ready GET                      x x   . . .   . . . .   . . . .   . . . .
        Metrics GET                    . x   . . .   . . . .   . . . .   . . . .
        Connect GET                    x x   x x x   x x x x   x x x x   x x x x
        OpenApi GET                    x x   . . .   . . . .   . . . .   . . . .
        Session GET                    x x   . . .   . . . .   . . . .   . . . .
        Session POST                   x x   . . .   . . . .   . . . .   . . . .
        Session DELETE                 . .   x x x   x x x x   x x x x   x x x x
        Setup POST                     x x   . . .   . . . .   . . . .   . . . .
        Me GET                         . .   x x x   x x x x   x x x x   x x x x
        Password POST                  . .   x x x   . . . .   . . . .   . . . .
        SecondFactor POST              . .   x x x   . . . .   . . . .   . . . .
        SecondFactorConfirm POST       . .   x x x   . . . .   . . . .   . . . .
        SecondFactorRemove POST        . .   x x x   . . . .   . . . .   . . . .
        Sessions GET                   . .   x x x   . . . x   . . . x   . . . x
        Sessions DELETE                . .   x x x   . . . .   . . . .   . . . .
        OneSession DELETE              . .   x x x   . . . .   . . . .   . . . .
        Tokens GET                     . .   x x x   . . . x   . . . x   . . . x
        Tokens POST                    . .   x x x   . . . .   . . . .   . . . .
        Token DELETE                   . .   x x x   . . . .   . . . .   . . . .
        Devices GET                    . .   x x x   . . . x   . . . x   . . . x
        Device DELETE                  . .   x x .   . . . .   . . . .   . . . .
        Enrolments POST                . .   x x .   . . . .   . . . .   . . . .
        Accounts GET                   . .   x . .   . . . x   . . . .   . . . .
        Accounts POST                  . .   x . .   . . . .   . . . .   . . . .
        Account PATCH                  . .   x . .   . . . .   . . . .   . . . .
        AccountSetupLink POST          . .   x . .   . . . .   . . . .   . . . .
        AccountSecondFactor DELETE     . .   x . .   . . . .   . . . .   . . . .
        Audit GET                      . .   x . .   . . . x   . . . .   . . . .
        Events GET                     . .   x x x   . x x x   . x x x   . x x x
        Activity GET                   . .   x x x   . x x x   . x x x   . x x x
        Statistics GET                 . .   x x x   . x x x   . x x x   . x x x
        Health GET                     . .   x x x   . x x x   . x x x   . x x x
        Server GET                     . .   x . .   . . . x   . . . .   . . . .
        ServerConfirmation POST        . .   x . .   . . . .   . . . .   . . . .
        File GET                       . .   x x x   . x x x   . x x x   . x x x
        File HEAD                      . .   x x x   . x x x   . x x x   . x x x
        File PUT                       . .   x x .   . . x x   . . x x   . . . .
        File DELETE                    . .   x x .   . . . x   . . . x   . . . .
        Form POST                      . .   x x .   . . x x   . . x x   . . . .
        Known POST                     . .   x x x   . x x x   . x x x   . x x x
        Place POST                     . .   x x .   . . x x   . . x x   . . . .
        Zip GET                        . .   x x x   . x x x   . x x x   . x x x
        Zip POST                       . .   x x x   . x x x   . x x x   . x x x
        Entry GET                      . .   x x x   . x x x   . x x x   . x x x
        Folder GET                     . .   x x x   . x x x   . x x x   . x x x
        Folder POST                    . .   x x .   . . x x   . . x x   . . . .
        Move POST                      . .   x x .   . . x x   . . x x   . . . .
        Copy POST                      . .   x x .   . . x x   . . x x   . . . .
        Versions GET                   . .   x x x   . x x x   . x x x   . x x x
        VersionRestore POST            . .   x x .   . . x x   . . x x   . . . .
        Trash GET                      . .   x x x   . x x x   . x x x   . x x x
        TrashRestore POST              . .   x x .   . . x x   . . x x   . . . .
        TrashPurge POST                . .   x x .   . . . .   . . . .   . . . .
        Search GET                     . .   x x x   . x x x   . x x x   . x x x
        Shares GET                     . .   x x x   . . . x   . . . x   . . . x
        Shares POST                    . .   x x .   . . . .   . . . .   . . . .
        Share GET                      . .   x x x   . . . x   . . . x   . . . x
        Share DELETE                   . .   x x .   . . . .   . . . .   . . . .
        Link GET                       x x   . . .   . . . .   . . . .   . . . .
        Link POST                      x x   . . .   . . . .   . . . .   . . . .
        LinkFile GET                   x x   . . .   . . . .   . . . .   . . . .
        LinkZip GET                    x x   . . .   . . . .   . . . .   . . . .
        LinkUpload GET                 x x   . . .   . . . .   . . . .   . . . .
        LinkUpload POST                x x   . . .   . . . .   . . . .   . . . .
        Digest GET                     . .   x x x   . x x x   . x x x   . x x x
        Thumbnail GET                  . .   x x x   . x x x   . x x x   . x x x
        Tickets POST                   . .   x x x   . x x x   . x x x   . x x x
        Content GET                    x x   . . .   . . . .   . . . .   . . . .
        Uploads OPTIONS                x x   . . .   . . . .   . . . .   . . . .
        Uploads GET                    . .   x x x   . x x x   . x x x   . x x x
        Uploads POST                   . .   x x .   . . x x   . . x x   . . . .
        Upload OPTIONS                 x x   . . .   . . . .   . . . .   . . . .
        Upload HEAD                    . .   x x .   . . x x   . . x x   . . . .
        Upload PATCH                   . .   x x .   . . x x   . . x x   . . . .
        Upload DELETE                  . .   x x .   . . x x   . . x x   . . . .
        Upload POST                    . .   x x .   . . x x   . . x x   . . . .
        Chains GET                     . .   x x x   . x x x   . x x x   . x x x
        Timeline GET                   . .   x x x   . x x x   . x x x   . x x x
        ChainRetention GET             . .   x x x   . x x x   . x x x   . x x x
        ChainRetention PUT             . .   x . .   . . . .   . . . .   . . . .
        RetentionSimulation POST       . .   x x x   . x x x   . x x x   . x x x
        ChangeConfirmation POST        . .   x . .   . . . .   . . . .   . . . .
        Retention GET                  . .   x x x   . x x x   . x x x   . x x x
        Retention PUT                  . .   x . .   . . . .   . . . .   . . . .
        Snapshots GET                  . .   x x x   . x x x   . x x x   . x x x
        Snapshot GET                   . .   x x x   . x x x   . x x x   . x x x
        Snapshot DELETE                . .   x x .   . . . x   . . . x   . . . .
        SnapshotUndelete POST          . .   x x .   . . x x   . . x x   . . . .
        SnapshotHold PUT               . .   x x .   . . x x   . . x x   . . . .
        SnapshotHold DELETE            . .   x x .   . . . x   . . . x   . . . .
        SnapshotEntries GET            . .   x x x   . x x x   . x x x   . x x x
        SnapshotContent GET            . .   x x x   . x x x   . x x x   . x x x
        SnapshotThumbnail GET          . .   x x x   . x x x   . x x x   . x x x
        SnapshotDigest GET             . .   x x x   . x x x   . x x x   . x x x
        SnapshotArchive GET            . .   x x x   . x x x   . x x x   . x x x
        SnapshotArchive POST           . .   x x x   . x x x   . x x x   . x x x
        SnapshotSearch GET             . .   x x x   . x x x   . x x x   . x x x
        SnapshotsSearch GET            . .   x x x   . x x x   . x x x   . x x x
        SnapshotDiff GET               . .   x x x   . x x x   . x x x   . x x x
        Jobs GET                       . .   x . .   . . . x   . . . .   . . . .
        Jobs POST                      . .   x . .   . . . .   . . . .   . . . .
        Job DELETE                     . .   x . .   . . . .   . . . .   . . . .
        Dav OPTIONS                    x x   . . .   . . . .   . . . .   . . . .
        Dav GET                        . .   x x x   . x x x   . x x x   . x x x
        Dav HEAD                       . .   x x x   . x x x   . x x x   . x x x
        Dav PROPFIND                   . .   x x x   . x x x   . x x x   . x x x
        Dav PUT                        . .   x x .   . . x x   . . x x   . . . .
        Dav MKCOL                      . .   x x .   . . x x   . . x x   . . . .
        Dav COPY                       . .   x x .   . . x x   . . x x   . . . .
        Dav MOVE                       . .   x x .   . . x x   . . x x   . . . .
        Dav PROPPATCH                  . .   x x .   . . x x   . . x x   . . . .
        Dav LOCK                       . .   x x .   . . x x   . . x x   . . . .
        Dav UNLOCK                     . .   x x .   . . x x   . . x x   . . . .
        Dav DELETE                     . .   x x .   . . . x   . . . x   . . . .";

    #[test]
    fn every_route_has_its_row() {
        let of_dav = ["PROPFIND", "PROPPATCH", "MKCOL", "COPY", "MOVE", "LOCK", "UNLOCK", "REPORT", "SEARCH"];
        let methods = [Method::GET, Method::POST, Method::PUT, Method::DELETE, Method::PATCH, Method::OPTIONS];
        let methods: Vec<Method> = methods.into_iter().chain(of_dav.map(|name| name.parse().expect(name))).collect();
        let mut listed = BTreeSet::new();
        for row in ROUTES.lines() {
            let words: Vec<&str> = row.split_whitespace().collect();
            let route = Route::ALL.into_iter().find(|route| format!("{route:?}") == words[0]).expect(row);
            let method: Method = words[1].parse().unwrap();
            listed.insert((words[0], words[1]));
            let marks: Vec<bool> = words[2..].iter().map(|mark| *mark == "x").collect();
            let action = route.action(&method, MetricsAccess::Loopback).expect(row);
            let strangers = [false, true].map(|is_local| allowed(Who::Stranger { is_local }, action));
            assert_eq!(strangers, marks[..2], "{row}");
            let roles = [Role::Admin, Role::Member, Role::ReadOnly];
            assert_eq!(roles.map(|role| allowed(Who::Person { role }, action)), marks[2..5], "{row}");
            assert_eq!(marks.len(), 17, "{row}");
            for (role, marks) in roles.into_iter().zip(marks[5..].chunks(4)) {
                let found = Scope::ALL.map(|scope| allowed(Who::Script { role, scope }, action));
                assert_eq!(found, marks, "{row} for {role:?}");
            }
        }
        for route in Route::ALL {
            for method in &methods {
                let name = format!("{route:?}");
                let is_served = route.action(method, MetricsAccess::Loopback).is_some();
                assert_eq!(is_served, listed.contains(&(name.as_str(), method.as_str())), "{name} {method}");
            }
        }
        for (access, expected) in [(MetricsAccess::Off, [false, false]), (MetricsAccess::Everywhere, [true, true])] {
            let action = Route::Metrics.action(&Method::GET, access).unwrap();
            assert_eq!([false, true].map(|is_local| allowed(Who::Stranger { is_local }, action)), expected);
        }
    }
}
