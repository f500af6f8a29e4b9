//! [`Expected`]: what a request may be answered with. Both ends check every reply with it: the server before it sends
//! one, the client when it receives one.

use crate::message::{
    ClientRequest, DriveEntries, DriveName, DrivePath, DriveTrashed, Fetch, Objects, Purpose, ServerReply,
    SignatureRequest, SnapshotsAnswer,
};
use crate::{MessageType, ReplyFault};

/// What a request may be answered with, and what has been answered already.
#[derive(Debug)]
pub(crate) enum Expected {
    Authenticated,
    Enrolled,
    VaultOpened { vault: Option<object::VaultId> },
    Begun { is_backup: bool },
    HeldAnswer { id_count: usize },
    SignaturesAnswer { len_maxes: Vec<usize> },
    Flushed { record_count: u64 },
    Committed,
    SnapshotsAnswer { before: Option<u64>, limit: usize },
    Objects { id_count: usize, missing_left: usize, records_left: usize },
    DriveList { after: Option<DriveName>, limit: usize },
    DriveStat { path: DrivePath },
    DriveCommitted { asked: MessageType },
    Changed { asked: MessageType, count_max: u64 },
    DriveTrashed { before: Option<u64>, limit: usize },
}

impl Expected {
    /// What `request` may be answered with, when `record_count` records were put before it.
    pub(crate) fn of(request: &ClientRequest, record_count: u64) -> Self {
        match request {
            ClientRequest::Authenticate(_) => Self::Authenticated,
            ClientRequest::Enroll(_) => Self::Enrolled,
            ClientRequest::OpenVault(vault) => Self::VaultOpened { vault: *vault },
            ClientRequest::Begin(purpose) => Self::Begun { is_backup: matches!(purpose, Purpose::Backup { .. }) },
            ClientRequest::Held(ids) => Self::HeldAnswer { id_count: ids.len() },
            ClientRequest::Signatures(requests) => {
                Self::SignaturesAnswer { len_maxes: requests.iter().map(SignatureRequest::answer_len_max).collect() }
            }
            ClientRequest::Flush => Self::Flushed { record_count },
            ClientRequest::Commit(_) => Self::Committed,
            ClientRequest::Snapshots(snapshots) => {
                Self::SnapshotsAnswer { before: snapshots.before, limit: snapshots.limit as usize }
            }
            ClientRequest::Fetch(Fetch { ids, with_basis }) => {
                let records_per_id = if *with_basis { 1 + object::BASIS_COUNT_MAX } else { 1 };
                Self::Objects { id_count: ids.len(), missing_left: ids.len(), records_left: ids.len() * records_per_id }
            }
            ClientRequest::DriveList(list) => Self::DriveList { after: list.after.clone(), limit: list.limit as usize },
            ClientRequest::DriveStat(path) => Self::DriveStat { path: path.clone() },
            ClientRequest::DrivePut(_) | ClientRequest::DriveRemove(_) | ClientRequest::DriveUndelete(_) => {
                Self::DriveCommitted { asked: request.message_type() }
            }
            ClientRequest::SnapshotChange(change) => {
                Self::Changed { asked: request.message_type(), count_max: change.snapshots.len() as u64 }
            }
            ClientRequest::DrillReport(_) => Self::Changed { asked: request.message_type(), count_max: 1 },
            ClientRequest::DriveTrash(trash) => {
                Self::DriveTrashed { before: trash.before, limit: trash.limit as usize }
            }
        }
    }

    /// The type of the request.
    pub(crate) fn asked(&self) -> MessageType {
        match self {
            Self::Authenticated => MessageType::Authenticate,
            Self::Enrolled => MessageType::Enroll,
            Self::VaultOpened { .. } => MessageType::OpenVault,
            Self::Begun { .. } => MessageType::Begin,
            Self::HeldAnswer { .. } => MessageType::Held,
            Self::SignaturesAnswer { .. } => MessageType::Signatures,
            Self::Flushed { .. } => MessageType::Flush,
            Self::Committed => MessageType::Commit,
            Self::SnapshotsAnswer { .. } => MessageType::Snapshots,
            Self::Objects { .. } => MessageType::Fetch,
            Self::DriveList { .. } => MessageType::DriveList,
            Self::DriveStat { .. } => MessageType::DriveStat,
            Self::DriveTrashed { .. } => MessageType::DriveTrash,
            Self::DriveCommitted { asked } | Self::Changed { asked, .. } => *asked,
        }
    }

    /// Bytes of signatures the answer may have.
    pub(crate) fn signature_len(&self) -> usize {
        match self {
            Self::SignaturesAnswer { len_maxes } => len_maxes.iter().sum(),
            _ => 0,
        }
    }

    /// Holds a reply against what was asked, and remembers it when it is only a part; whether it is the last.
    ///
    /// Nothing is remembered of a reply that does not fit.
    pub(crate) fn accept(&mut self, reply: &ServerReply) -> Result<bool, ReplyFault> {
        let asked = self.asked();
        let require = |holds: bool, rule: &'static str| {
            if holds { Ok(true) } else { Err(ReplyFault::Rule { asked, rule }) }
        };
        match (self, reply) {
            (Self::Authenticated, ServerReply::Authenticated(_))
            | (Self::Enrolled, ServerReply::Enrolled(_))
            | (Self::Committed, ServerReply::Committed(_))
            | (Self::DriveCommitted { .. }, ServerReply::DriveCommitted(_)) => Ok(true),
            (Self::VaultOpened { vault }, ServerReply::VaultOpened(opened)) => {
                require(vault.is_none_or(|vault| vault == opened.vault), "the vault asked for is opened")
            }
            (Self::Begun { is_backup }, ServerReply::Begun(begun)) => {
                require(*is_backup || begun.parent.is_none(), "only a backup has a parent")
            }
            (Self::HeldAnswer { id_count }, ServerReply::HeldAnswer(answer)) => {
                require(answer.len() == *id_count, "each id is answered for")
            }
            (Self::SignaturesAnswer { len_maxes }, ServerReply::SignaturesAnswer(signatures)) => {
                require(signatures.len() == len_maxes.len(), "each request has one signature")?;
                let mut pairs = signatures.iter().zip(len_maxes);
                require(
                    pairs.all(|(signature, max)| signature.len() <= *max),
                    "a signature has only the blocks asked for",
                )
            }
            (Self::Flushed { record_count }, ServerReply::Flushed(flushed)) => {
                require(flushed == record_count, "all records put before are flushed, and no others")
            }
            (Self::SnapshotsAnswer { before, limit }, ServerReply::SnapshotsAnswer(answer)) => {
                require(snapshots_fit(answer, *before, *limit), "snapshots go down, below what was asked")
            }
            (Self::Objects { id_count, missing_left, records_left }, ServerReply::Objects(objects)) => {
                require(objects_fit(objects, *id_count, *missing_left, *records_left), "each object comes once")?;
                *missing_left -= objects.missing.len();
                *records_left -= objects.records.len();
                Ok(objects.last)
            }
            (Self::DriveList { after, limit }, ServerReply::DriveEntries(answer)) => {
                require(entries_fit(answer, after.as_ref(), *limit), "names go up, above what was asked")
            }
            (Self::DriveStat { path }, ServerReply::DriveEntries(DriveEntries { entries, more: false })) => {
                let named_so = matches!(&entries[..], [entry] if entry.name == path.name());
                require(named_so, "one entry of the name asked for")
            }
            (Self::Changed { count_max, .. }, ServerReply::Changed(changed)) => {
                require(changed.count <= *count_max, "no more is changed than was asked for")
            }
            (Self::DriveTrashed { before, limit }, ServerReply::DriveTrashed(answer)) => {
                require(trash_fits(answer, *before, *limit), "numbers go down, below what was asked")
            }
            (_, reply) => Err(ReplyFault::WrongType { asked, got: reply.message_type() }),
        }
    }
}

/// Descending, below `before`, no more than asked for, and the next page starts no later than this one ended. So a
/// client that follows the pages comes to an end.
fn snapshots_fit(answer: &SnapshotsAnswer, before: Option<u64>, limit: usize) -> bool {
    page_fits(answer.items.iter().map(|item| item.seq), answer.next, before, limit)
}

/// As [`snapshots_fit`].
fn trash_fits(answer: &DriveTrashed, before: Option<u64>, limit: usize) -> bool {
    page_fits(answer.items.iter().map(|item| item.number), answer.next, before, limit)
}

fn page_fits(
    numbers: impl ExactSizeIterator<Item = u64> + Clone,
    next: Option<u64>,
    before: Option<u64>,
    limit: usize,
) -> bool {
    let count = numbers.len();
    let bounds = before.into_iter().chain(numbers);
    let last = bounds.clone().last();
    count <= limit
        && bounds.is_sorted_by(|a, b| a > b)
        && match (next, last) {
            (Some(next), Some(last)) => next < last || next == last && count > 0,
            (Some(_), None) => false,
            (None, _) => true,
        }
}

/// Every part but the last brings something, and all parts together no more than was asked for.
fn objects_fit(objects: &Objects, id_count: usize, missing_left: usize, records_left: usize) -> bool {
    let brings = !objects.records.is_empty() || !objects.missing.is_empty();
    (brings || objects.last)
        && objects.records.len() <= records_left
        && objects.missing.len() <= missing_left
        && objects.missing.iter().all(|index| (*index as usize) < id_count)
}

/// Ascending, above `after`, no more than asked for, and there cannot be more after nothing.
fn entries_fit(answer: &DriveEntries, after: Option<&DriveName>, limit: usize) -> bool {
    let names = answer.entries.iter().map(|entry| entry.name.as_ref());
    answer.entries.len() <= limit
        && names.clone().all(|name| name.is_some())
        && after.map(Some).into_iter().chain(names).is_sorted_by(|a, b| a < b)
        && !(answer.more && answer.entries.is_empty())
}
