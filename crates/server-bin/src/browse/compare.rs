//! [`change()`]: what became of a path between two snapshots.

use serde::Serialize;
use utoipa::ToSchema;
use vault::{Entry, EntryKind, Metadata};

use crate::browse::Pair;

/// What became of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Change {
    /// It was not there before.
    Added,
    /// It is not there any more.
    Removed,
    /// Its content, kind or target is another.
    Changed,
    /// Only its time, owner or permissions are others.
    Metadata,
}

/// What became of what is at a path; `None` when nothing did.
pub(crate) fn change(pair: &Pair) -> Option<Change> {
    match (&pair.before, &pair.after) {
        (None, _) => Some(Change::Added),
        (_, None) => Some(Change::Removed),
        (Some(before), Some(after)) if !is_same_content(&before.kind, &after.kind) => Some(Change::Changed),
        (Some(before), Some(after)) => (told(before) != told(after)).then_some(Change::Metadata),
    }
}

/// A folder is the same whatever is in it: that has paths of its own.
fn is_same_content(before: &EntryKind, after: &EntryKind) -> bool {
    match (before, after) {
        (EntryKind::Directory { .. }, EntryKind::Directory { .. }) => true,
        _ => before == after,
    }
}

/// What is told of an entry's metadata: a folder's time changes with what is in it, and numbers of files mean nothing to
/// people.
fn told(entry: &Entry) -> Metadata {
    let mut told = Metadata { hard_link: None, changed_while_read: false, ..entry.metadata.clone() };
    if matches!(entry.kind, EntryKind::Directory { .. }) {
        told.mtime = vault::Timestamp::default();
    }
    told
}
