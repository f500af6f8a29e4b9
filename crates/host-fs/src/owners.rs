//! [`OwnerNames`]: the names behind owners' numbers.

use std::collections::BTreeMap;
use std::fs;

/// Users' and groups' names by number, as `/etc/passwd` and `/etc/group` had them when they were read.
///
/// Read once and shared: a look-up is a few comparisons. Names that only a directory service knows (LDAP, SSSD) are not
/// found: asking it would mean foreign code and the network in the middle of a walk, and numbers are kept either way.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OwnerNames {
    users: BTreeMap<u32, Box<[u8]>>,
    groups: BTreeMap<u32, Box<[u8]>>,
}

impl OwnerNames {
    /// Reads the machine's databases. One that cannot be read has no names.
    #[must_use]
    pub fn read() -> Self {
        Self::parse(&fs::read("/etc/passwd").unwrap_or_default(), &fs::read("/etc/group").unwrap_or_default())
    }

    /// Takes the names from the text of both databases; lines that make no sense are passed over.
    #[must_use]
    pub fn parse(passwd: &[u8], group: &[u8]) -> Self {
        Self { users: names(passwd), groups: names(group) }
    }

    /// The user's name; empty when unknown.
    #[must_use]
    pub fn user(&self, uid: u32) -> &[u8] {
        self.users.get(&uid).map_or(&[], |name| name)
    }

    /// The group's name; empty when unknown.
    #[must_use]
    pub fn group(&self, gid: u32) -> &[u8] {
        self.groups.get(&gid).map_or(&[], |name| name)
    }
}

/// Both databases begin their lines with `name:password:number:`. The first of several names of one number counts, as
/// in the C library.
fn names(database: &[u8]) -> BTreeMap<u32, Box<[u8]>> {
    let mut names = BTreeMap::new();
    for line in database.split(|byte| *byte == b'\n') {
        let mut fields = line.split(|byte| *byte == b':');
        let (Some(name), Some(_), Some(number)) = (fields.next(), fields.next(), fields.next()) else { continue };
        let number = str::from_utf8(number).ok().and_then(|number| number.parse().ok());
        if let Some(number) = number
            && !name.is_empty()
            && !matches!(name[0], b'#' | b'+' | b'-')
        {
            names.entry(number).or_insert_with(|| Box::from(name));
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::OwnerNames;

    const PASSWD: &[u8] = b"root:x:0:0:root:/root:/bin/bash\ntoor:x:0:0::/root:/bin/sh\n# note:x:7:\n\nbroken\n\
        alice:x:1000:1000:Alice:/home/alice:/bin/bash\n+nis::::::\nodd:x:minus:1::/:/x\n\xff\xfe:x:9:9::/:/x";

    #[test]
    fn the_first_name_of_a_number_counts() {
        let names = OwnerNames::parse(PASSWD, b"wheel:x:0:\n");
        assert_eq!(names.user(0), b"root");
        assert_eq!(names.user(1000), b"alice");
        assert_eq!(names.user(9), b"\xff\xfe");
        assert_eq!(names.group(0), b"wheel");
    }

    #[test]
    fn unknown_numbers_have_no_name() {
        let names = OwnerNames::parse(PASSWD, b"");
        assert_eq!(names.user(7), b"");
        assert_eq!(names.user(1001), b"");
        assert_eq!(names.group(0), b"");
    }
}
