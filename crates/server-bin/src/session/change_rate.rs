//! [`unusual_change`]: whether a snapshot keeps so little of the one before that somebody should look at the machine it is
//! of. Ransomware encrypts or removes nearly everything; what it makes has to be stored anew, whatever it is called.
//!
//! The snapshot is stored all the same, and raises an alarm: nothing older in its chain goes until somebody confirms the
//! change. What a file held is not looked at, so a sealed vault, whose snapshots the server cannot read, has no alarm.

use std::fmt;

use proto::Extent;

/// A snapshot with fewer files, or fewer bytes, may change as it likes.
const FILES_MIN: u64 = 100;
const BYTES_MIN: u64 = 16 << 20;
/// Of ten files or bytes so many must be there still.
const KEPT_MIN: u64 = 4;

/// What is unusual about a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unusual {
    /// More than 60 % of the files are gone.
    FilesGone,
    /// More than 60 % of the bytes are gone, or others.
    BytesChanged,
}

impl fmt::Display for Unusual {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::FilesGone => "more than 60 % of its files are gone",
            Self::BytesChanged => "more than 60 % of its bytes are gone or others",
        })
    }
}

/// Compares a snapshot with its parent; `stored_bytes` is what the store grew by.
///
/// What was stored is new, compressed or not, so at most the rest of the snapshot can be what the parent had. Compression,
/// and what an interrupted session had stored before, can hide a change; neither makes one.
pub(super) fn unusual_change(parent: Extent, now: Extent, stored_bytes: u64) -> Option<Unusual> {
    let is_little = |kept: u64, of: u64| u128::from(kept) * 10 < u128::from(of) * u128::from(KEPT_MIN);
    let kept_bytes = now.bytes.saturating_sub(stored_bytes);
    if parent.files >= FILES_MIN && is_little(now.files, parent.files) {
        Some(Unusual::FilesGone)
    } else if parent.bytes >= BYTES_MIN && is_little(kept_bytes, parent.bytes) {
        Some(Unusual::BytesChanged)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    #[track_caller]
    fn check(parent: (u64, u64), now: (u64, u64), stored_mib: u64, expected: Option<Unusual>) {
        let extent = |(files, mib)| Extent { files, bytes: mib * MIB };
        assert_eq!(unusual_change(extent(parent), extent(now), stored_mib * MIB), expected);
    }

    #[test]
    fn what_changes_or_vanishes_nearly_all_is_unusual() {
        use Unusual::{BytesChanged, FilesGone};
        // Encrypted, renamed or not: as many files, and everything is new.
        check((1000, 500), (1000, 500), 500, Some(BytesChanged));
        check((1000, 500), (1000, 500), 301, Some(BytesChanged));
        check((1000, 500), (1000, 500), 300, None);
        // Removed.
        check((1000, 500), (399, 500), 0, Some(FilesGone));
        check((1000, 500), (400, 500), 0, None);
        check((1000, 500), (1000, 150), 0, Some(BytesChanged));
        check((1000, 500), (0, 0), 0, Some(FilesGone));
        // Much that is new beside what was there.
        check((1000, 500), (9000, 5000), 4500, None);
        check((1000, 500), (9000, 5000), 4801, Some(BytesChanged));
        // Stored sizes may exceed what was read.
        check((1000, 500), (1000, 500), 510, Some(BytesChanged));
        // Too little to tell.
        check((99, 15), (1, 15), 15, None);
        check((0, 0), (1000, 500), 500, None);
        let all = Extent { files: u64::MAX, bytes: u64::MAX };
        assert_eq!(unusual_change(all, all, u64::MAX), Some(BytesChanged), "what a client says overflows nothing");
        assert_eq!(unusual_change(all, all, 0), None);
    }
}
