//! [`Properties`]: what clients want to be remembered of an entry, for nobody but themselves. Sealed as one, for the entry's
//! salt, so they move along with it.

use proto::IdempotencyKey;
use serde::{Deserialize, Serialize};
use vault::{Keys, SealedName};

use crate::drive::names::nonce;

const PROPERTIES_NONCE: &[u8] = b"/properties nonce";
/// What sealed properties begin with: neither a name nor metadata does.
const MARK: [u8; 2] = [b'/', 2];

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Property {
    /// Of the name; empty for none.
    pub(crate) namespace: String,
    /// Its name.
    pub(crate) name: String,
    /// What stood for the namespace.
    pub(crate) prefix: Option<String>,
    /// The whole element.
    pub(crate) xml: String,
}

/// All of an entry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Properties(pub(crate) Vec<Property>);

impl Properties {
    /// Nothing becomes nothing.
    pub(super) fn seal(&self, keys: &Keys, salt: i64, key: IdempotencyKey) -> Vec<u8> {
        if self.0.is_empty() {
            return Vec::new();
        }
        let mut plain = MARK.to_vec();
        serde_json::to_writer(&mut plain, &self.0).expect("plain structures, into memory");
        let nonce = nonce(keys, salt, PROPERTIES_NONCE, key, &plain);
        SealedName::seal(keys, salt, &plain, nonce).as_bytes().to_vec()
    }

    pub(super) fn open(sealed: Vec<u8>, keys: &Keys, salt: i64) -> Option<Self> {
        if sealed.is_empty() {
            return Some(Self::default());
        }
        let plain = SealedName::from_bytes(sealed).open(keys, salt).ok()?;
        serde_json::from_slice(plain.strip_prefix(&MARK)?).ok().map(Self)
    }

    /// Sets one, in place of what had its name.
    pub(crate) fn set(&mut self, property: Property) {
        self.remove(&property.namespace, &property.name);
        self.0.push(property);
    }

    /// Forgets one; it need not be there.
    pub(crate) fn remove(&mut self, namespace: &str, name: &str) {
        self.0.retain(|known| known.namespace != namespace || known.name != name);
    }

    /// The element with this name.
    pub(crate) fn find(&self, namespace: &str, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|known| known.namespace == namespace && known.name == name);
        found.map(|known| known.xml.as_str())
    }
}

#[cfg(test)]
mod tests {
    use vault::VaultKey;

    use super::*;

    #[test]
    fn properties_open_only_where_they_were_sealed() {
        let keys = Keys::new(&VaultKey::from_bytes([1; 32]));
        let property = |name: &str, xml: &str| Property {
            namespace: "urn:a".to_owned(),
            name: name.to_owned(),
            prefix: None,
            xml: xml.to_owned(),
        };
        let mut properties = Properties::default();
        let key = IdempotencyKey::from_bytes([3; 16]);
        assert!(properties.seal(&keys, 5, key).is_empty());
        properties.set(property("colour", "<colour>red</colour>"));
        properties.set(property("size", "<size/>"));
        properties.set(property("colour", "<colour>blue</colour>"));
        assert_eq!(properties.find("urn:a", "colour"), Some("<colour>blue</colour>"));
        let sealed = properties.seal(&keys, 5, key);
        assert_eq!(Properties::open(sealed.clone(), &keys, 5), Some(properties.clone()));
        assert_eq!(Properties::open(sealed, &keys, 6), None);
        properties.remove("urn:b", "colour");
        properties.remove("urn:a", "colour");
        assert_eq!((properties.find("urn:a", "colour"), properties.0.len()), (None, 1));
    }
}
