//! Which file systems can carry the catalog. SQLite needs locks that hold, a sync that syncs, and memory shared between its
//! connections; on network file systems one or the other is often only said to be there, and catalogs get damaged. In memory
//! all of them hold, and nothing outlives the machine: whoever means that says so.

/// File systems of this machine's own disks, by the number that `statfs` gives them: `linux/magic.h`, and the
/// projects' own for those that are no part of it. Whatever is not among them is refused until somebody vouches for it:
/// a list of the bad ones (NFS, SMB, FUSE, 9p, Ceph, AFS, …) would never be complete.
const KNOWN: [u32; 10] = [
    0x0000_ef53, // ext2, ext3, ext4
    0x5846_5342, // xfs
    0x9123_683e, // btrfs
    0x2fc1_2fc1, // zfs
    0xca45_1a4e, // bcachefs
    0xf2f5_2010, // f2fs
    0x794c_7630, // overlayfs
    0x0000_f15f, // ecryptfs
    0x3153_464a, // jfs
    0x0000_3434, // nilfs2
];

/// Those that people try, for messages.
const NAMES: [(u32, &str); 12] = [
    (0x0102_1994, "memory (tmpfs)"),
    (0x8584_58f6, "memory (ramfs)"),
    (0x0000_6969, "NFS"),
    (0xff53_4d42, "SMB"),
    (0xfe53_4d42, "SMB"),
    (0x0000_517b, "SMB"),
    (0x6573_5546, "FUSE"),
    (0x0102_1997, "9p"),
    (0x00c3_6400, "Ceph"),
    (0x5346_414f, "AFS"),
    (0x6a65_6a63, "a share of the virtual machine's host"),
    (0x0000_4d44, "FAT"),
];

/// Why the catalog cannot be on a file system of this number, if so.
pub(crate) fn objection(number: u32) -> Option<String> {
    if KNOWN.contains(&number) {
        return None;
    }
    let name = NAMES.iter().find(|(known, _)| *known == number).map(|(_, name)| *name);
    Some(name.map_or_else(|| format!("a file system of an unknown kind ({number:#x})"), str::to_owned))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_and_strangers_are_objected_to() {
        assert_eq!(objection(0xef53), None);
        assert_eq!(objection(0x6969).unwrap(), "NFS");
        assert_eq!(objection(0x0102_1994).unwrap(), "memory (tmpfs)");
        assert_eq!(objection(0x1234_5678).unwrap(), "a file system of an unknown kind (0x12345678)");
        assert!(NAMES.iter().all(|(number, _)| objection(*number).is_some()));
    }
}
