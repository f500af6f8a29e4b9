//! [`timeline()`]: one path through the snapshots of a chain, newest first: which of them have the same version of it.

use store::Snapshot;
use vault::Entry;

use crate::browse::{BrowseError, Browser, Node, TreePath};

/// Neighbouring snapshots in which the path has the same content.
#[derive(Clone, Debug)]
pub(crate) struct Span {
    /// What is there, as the newest of them has it; `None`: nothing.
    pub(crate) entry: Option<Entry>,
    /// The newest.
    pub(crate) newest: Snapshot,
    /// The oldest.
    pub(crate) oldest: Snapshot,
    /// How many.
    pub(crate) snapshots: u64,
}

/// Follows `path`, which is not the root, through `snapshots`, which come newest first. Those that cannot be read are passed
/// over, and counted.
///
/// # Errors
/// [`BrowseError::Read`] when the store fails.
pub(crate) fn timeline(
    browser: &mut Browser,
    snapshots: Vec<Snapshot>,
    path: &TreePath,
) -> Result<(Vec<Span>, u64), BrowseError> {
    let mut spans: Vec<Span> = Vec::new();
    let mut unreadable = 0;
    for snapshot in snapshots {
        let found = browser.root(snapshot.id).and_then(|root| browser.find(root, path));
        let entry = match found {
            Ok(Node::Entry(entry)) => Some(entry),
            Ok(Node::Root(_)) | Err(BrowseError::NotFound) => None,
            Err(BrowseError::Read(error)) if !matches!(error, vault::ReadError::Source(_)) => {
                unreadable += 1;
                continue;
            }
            Err(error) => return Err(error),
        };
        match spans.last_mut().filter(|span| is_same(span.entry.as_ref(), entry.as_ref())) {
            Some(span) => {
                span.oldest = snapshot;
                span.snapshots += 1;
            }
            None => spans.push(Span { entry, newest: snapshot.clone(), oldest: snapshot, snapshots: 1 }),
        }
    }
    Ok((spans, unreadable))
}

/// A folder is the same as long as nothing in it changes.
fn is_same(before: Option<&Entry>, after: Option<&Entry>) -> bool {
    match (before, after) {
        (Some(before), Some(after)) => before.kind == after.kind,
        (None, None) => true,
        _ => false,
    }
}
