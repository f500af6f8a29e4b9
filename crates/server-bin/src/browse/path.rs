//! [`TreePath`]: names from a snapshot's `/` down, as addresses have them.

use percent_encoding::percent_decode_str;
use vault::Entry;

use crate::rest::parse::encoded;

/// A place in a snapshot. Names are bytes, each one that can stand in a folder.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct TreePath(Vec<Vec<u8>>);

impl TreePath {
    /// Reads names with `/` between them, each percent-encoded; empty for the root.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        if text.is_empty() {
            return Some(Self::default());
        }
        let names: Vec<Vec<u8>> = text.split('/').map(|name| percent_decode_str(name).collect()).collect();
        names.iter().all(|name| Entry::is_name(name)).then_some(Self(names))
    }

    /// The names, from the root down.
    pub(crate) fn names(&self) -> &[Vec<u8>] {
        &self.0
    }

    /// The last name; the root has none.
    pub(crate) fn name(&self) -> Option<&[u8]> {
        self.0.last().map(Vec::as_slice)
    }

    /// As [`parse`](Self::parse) reads it.
    pub(crate) fn encode(&self) -> String {
        encoded(&self.0.join(&b'/'))
    }

    /// The folder that this is in; the root is in itself.
    pub(crate) fn parent(&self) -> Self {
        Self(self.0[..self.0.len().saturating_sub(1)].to_vec())
    }

    /// Something in the folder that is here.
    pub(crate) fn child(&self, name: &[u8]) -> Self {
        let mut names = self.0.clone();
        names.push(name.to_vec());
        Self(names)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_hold_any_name_a_folder_can_have() {
        let path = TreePath::parse("a%20b/%FF%5C/c%25d").unwrap();
        assert_eq!(path.names(), [b"a b".to_vec(), b"\xff\\".to_vec(), b"c%d".to_vec()]);
        assert_eq!(path.encode(), "a%20b/%FF%5C/c%25d");
        assert_eq!(path.name(), Some(&b"c%d"[..]));
        assert_eq!(TreePath::parse(""), Some(TreePath::default()));
        for wrong in ["a%2Fb", "..", "a/../b", ".", "a//b", "/a", "a/", "%00"] {
            assert_eq!(TreePath::parse(wrong), None, "{wrong}");
        }
    }
}
