//! [`apply`]: gives something restored its owner, permissions, attributes and time, by its descriptor.
//!
//! The order matters. Owner first, because a change of owner clears set-id bits and capabilities. Attributes of the user
//! before the permissions, because a file that is read-only takes none. ACLs after the permissions, because they
//! contain them. The time last, because all of these count as changes on some file system.

use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::{
    AtFlags, CWD, Gid, Mode, Timespec, Timestamps, UTIME_OMIT, Uid, chmodat, chownat, fchmod, fchown, futimens,
    utimensat,
};
use rustix::io::Errno;
use vault::{Metadata, Timestamp};

use super::kept_times::KeptTimes;
use super::not_applied::{Aspect, NotApplied, Reason};
use super::options::Rights;
use crate::dir::stat_of;
use crate::stat::FileKind;
use crate::xattr::{ACL_ACCESS, ACL_DEFAULT, XattrReader, XattrTarget, proc_path};

/// What metadata is applied to.
pub(crate) struct Subject<'s> {
    pub(crate) fd: BorrowedFd<'s>,
    pub(crate) kind: FileKind,
    pub(crate) birth: Birth,
    /// Which times the file system is known to keep.
    pub(crate) kept_times: &'s KeptTimes,
}

/// What a subject has before anything is applied.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Birth {
    /// User and group, when known.
    pub(crate) owner: Option<(u32, u32)>,
    /// Permission bits, when known.
    pub(crate) mode: Option<u32>,
    /// Whether it may have an ACL that nobody asked for.
    pub(crate) acl: bool,
    /// Whether it was there before the restore, perhaps with attributes.
    pub(crate) existed: bool,
}

/// Applies `metadata`; what could not be applied comes back.
pub(crate) fn apply(rights: &Rights, subject: &Subject<'_>, metadata: &Metadata) -> Vec<NotApplied> {
    let mut missing = Vec::new();
    subject.apply_owner(rights, metadata, &mut missing);
    let xattrs = subject.xattr_target();
    if subject.birth.existed {
        remove_others(&xattrs, metadata, &mut missing);
    }
    apply_xattrs(rights, &xattrs, metadata, Moment::BeforeMode, &mut missing);
    if subject.birth.acl {
        remove_inherited_acl(subject.kind, &xattrs, metadata, &mut missing);
    }
    subject.apply_mode(rights, metadata, &mut missing);
    apply_xattrs(rights, &xattrs, metadata, Moment::AfterMode, &mut missing);
    subject.apply_mtime(metadata.mtime, &mut missing);
    missing
}

impl<'s> Subject<'s> {
    /// Files and directories are open; everything else is only named by its descriptor.
    fn is_open(&self) -> bool {
        matches!(self.kind, FileKind::File | FileKind::Directory)
    }

    fn xattr_target(&self) -> XattrTarget<'s> {
        if self.is_open() { XattrTarget::Open(self.fd) } else { XattrTarget::node(self.fd) }
    }

    fn apply_owner(&self, rights: &Rights, metadata: &Metadata, missing: &mut Vec<NotApplied>) {
        let wanted = (metadata.uid, metadata.gid);
        if self.birth.owner == Some(wanted) {
            return;
        }
        if rights.privileged {
            if let Err(errno) = self.chown(Some(wanted.0), wanted.1) {
                missing.push(NotApplied::refused(Aspect::Owner, errno));
                missing.push(NotApplied::refused(Aspect::Group, errno));
            }
            return;
        }
        if metadata.uid != rights.uid {
            missing.push(NotApplied::new(Aspect::Owner, Reason::Unprivileged));
        }
        let group = self.birth.owner.map(|(_, gid)| gid);
        if group != Some(metadata.gid)
            && let Err(errno) = self.chown(None, metadata.gid)
        {
            missing.push(NotApplied::refused(Aspect::Group, errno));
        }
    }

    fn chown(&self, uid: Option<u32>, gid: u32) -> Result<(), Errno> {
        // All bits set means "leave as it is" to the kernel, and nobody can be it.
        if uid == Some(u32::MAX) || gid == u32::MAX {
            return Err(Errno::INVAL);
        }
        let (uid, gid) = (uid.map(Uid::from_raw), Some(Gid::from_raw(gid)));
        if self.is_open() { fchown(self.fd, uid, gid) } else { chownat(self.fd, "", uid, gid, AtFlags::EMPTY_PATH) }
    }

    fn apply_mode(&self, rights: &Rights, metadata: &Metadata, missing: &mut Vec<NotApplied>) {
        if self.kind == FileKind::Symlink {
            return;
        }
        let mode = metadata.mode & 0o7777;
        let allowed = match self.set_id_refusal(rights, mode, missing) {
            None => mode,
            Some(reason) => {
                missing.push(NotApplied::new(Aspect::SetId, reason));
                mode & !0o6000
            }
        };
        if self.birth.mode != Some(allowed)
            && let Err(errno) = self.chmod(allowed)
        {
            missing.push(NotApplied::refused(Aspect::Mode, errno));
        }
    }

    /// Why set-id bits must not be set, if they must not: a program would run with rights that the snapshot did not
    /// mean. On a directory they only hand its group on.
    fn set_id_refusal(&self, rights: &Rights, mode: u32, missing: &[NotApplied]) -> Option<Reason> {
        if mode & 0o6000 == 0 {
            return None;
        }
        if missing.iter().any(|missing| matches!(missing.aspect, Aspect::Owner | Aspect::Group)) {
            return Some(Reason::OwnerMissing);
        }
        (!rights.privileged && self.kind != FileKind::Directory).then_some(Reason::Unprivileged)
    }

    fn chmod(&self, mode: u32) -> Result<(), Errno> {
        let mode = Mode::from_raw_mode(mode);
        if self.is_open() {
            fchmod(self.fd, mode)
        } else {
            chmodat(CWD, proc_path(self.fd, None), mode, AtFlags::empty())
        }
    }

    fn apply_mtime(&self, mtime: Timestamp, missing: &mut Vec<NotApplied>) {
        let times = Timestamps {
            last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
            last_modification: Timespec { tv_sec: mtime.secs, tv_nsec: i64::from(mtime.nanos) },
        };
        let outcome = if self.is_open() {
            futimens(self.fd, &times)
        } else {
            utimensat(self.fd, "", &times, AtFlags::EMPTY_PATH)
        };
        match outcome {
            Err(errno) => missing.push(NotApplied::refused(Aspect::Mtime, errno)),
            Ok(()) if self.keeps_exactly(mtime) => {}
            Ok(()) => missing.push(NotApplied::new(Aspect::Mtime, Reason::Rounded)),
        }
    }

    /// Whether the time just set is the time that was kept. File systems round and clamp without a word, so below each
    /// directory the first time of each precision is read back, and every one far from today.
    fn keeps_exactly(&self, mtime: Timestamp) -> bool {
        let is_near = (0..=i64::from(i32::MAX)).contains(&mtime.secs);
        if is_near && self.kept_times.hold(mtime) {
            return true;
        }
        let kept = stat_of(self.fd.as_fd()).is_ok_and(|stat| stat.mtime == mtime);
        if kept && is_near {
            self.kept_times.learn(mtime);
        }
        kept
    }
}

/// When an attribute can be set.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Moment {
    BeforeMode,
    AfterMode,
}

fn moment_of(name: &[u8]) -> Moment {
    if name.starts_with(b"user.") || name.starts_with(b"trusted.") { Moment::BeforeMode } else { Moment::AfterMode }
}

fn apply_xattrs(
    rights: &Rights,
    target: &XattrTarget<'_>,
    metadata: &Metadata,
    moment: Moment,
    missing: &mut Vec<NotApplied>,
) {
    for (name, value) in metadata.xattrs.iter().filter(|(name, _)| moment_of(name) == moment) {
        let is_of_system = name.starts_with(b"trusted.") || name.starts_with(b"security.");
        if is_of_system && !rights.privileged {
            missing.push(NotApplied::new(Aspect::Xattr(name.clone()), Reason::Unprivileged));
        } else if let Err(errno) = target.set(name, value) {
            missing.push(NotApplied::refused(Aspect::Xattr(name.clone()), errno));
        }
    }
}

fn has_xattr(metadata: &Metadata, name: &[u8]) -> bool {
    metadata.xattrs.iter().any(|(other, _)| other == name)
}

/// A directory hands its default ACL on to what is made in it; the snapshot knows nothing of that one.
fn remove_inherited_acl(kind: FileKind, target: &XattrTarget<'_>, metadata: &Metadata, missing: &mut Vec<NotApplied>) {
    let inherited: &[&[u8]] = match kind {
        FileKind::Symlink => &[],
        FileKind::Directory => &[ACL_ACCESS, ACL_DEFAULT],
        _ => &[ACL_ACCESS],
    };
    for name in inherited.iter().filter(|name| !has_xattr(metadata, name)) {
        if let Err(errno) = target.remove(name) {
            missing.push(NotApplied::refused(Aspect::Xattr(name.to_vec()), errno));
        }
    }
}

/// Removes the user's attributes and the ACLs that a directory had before the restore and the snapshot does not know.
fn remove_others(target: &XattrTarget<'_>, metadata: &Metadata, missing: &mut Vec<NotApplied>) {
    let mut reader = XattrReader::default();
    let Ok(names) = reader.list(target) else { return };
    for name in names.split(|byte| *byte == 0) {
        let is_users = name.starts_with(b"user.") || name == ACL_ACCESS || name == ACL_DEFAULT;
        if is_users
            && !has_xattr(metadata, name)
            && let Err(errno) = target.remove(name)
        {
            missing.push(NotApplied::refused(Aspect::Xattr(name.to_vec()), errno));
        }
    }
}
