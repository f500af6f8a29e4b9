//! A name is one component, whatever its bytes.

use host_fs::{HostDir, Listing, Name, RestoreOptions, RestoreRoot};
use proptest::collection::vec;
use proptest::prelude::*;
use vault::{Entry, Metadata};

#[test]
fn ways_out_are_no_names() {
    for bytes in [&b""[..], b".", b"..", b"/", b"a/b", b"../x", b"/etc/passwd", b"a\0b", b"\0"] {
        assert!(Name::new(bytes).is_none(), "{bytes:?}");
    }
    for bytes in [&b"..."[..], b" ", b"-", b"\xff", b"a\nb", b"..a", b"\\"] {
        assert!(Name::new(bytes).is_some(), "{bytes:?}");
    }
}

proptest! {
    /// Whatever a snapshot may hold as a name, is one here.
    #[test]
    fn names_of_snapshots_are_names(bytes in vec(any::<u8>(), 0..300)) {
        prop_assert_eq!(Name::new(&bytes).is_some(), Entry::is_name(&bytes));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    #[test]
    fn any_name_comes_back(names in vec(vec(1_u8..=255, 1..=255), 1..40)) {
        let scratch = tempfile::tempdir().expect("a temporary directory");
        let root = RestoreRoot::open(scratch.path(), RestoreOptions::default()).expect("the target opens");
        let mut expected = Vec::new();
        for bytes in &names {
            if let Some(name) = Name::new(bytes) {
                let restored = root.dir().write_file(name, bytes, &Metadata { mode: 0o644, ..Metadata::default() });
                drop(restored.expect("a file of any name"));
                expected.push(bytes.clone());
            }
        }
        expected.sort();
        expected.dedup();
        let mut listing = Listing::new();
        HostDir::open_root(scratch.path()).expect("it opens").list(&mut listing).expect("it can be listed");
        let found: Vec<Vec<u8>> = listing.iter().map(|listed| listed.name.as_bytes().to_vec()).collect();
        prop_assert_eq!(found, expected);
    }
}
