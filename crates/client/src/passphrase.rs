//! [`Passphrase`]: what a person remembers of a sealed vault's key.

use std::fmt;

use zeroize::Zeroizing;

/// Opens a sealed vault's key; never sent anywhere, wiped when dropped.
#[derive(Clone)]
pub struct Passphrase(Zeroizing<Vec<u8>>);

impl Passphrase {
    /// Takes the bytes as they are: who asks a person for them settles spelling and normal form.
    #[must_use]
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(Zeroizing::new(bytes))
    }

    pub(crate) fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Passphrase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Passphrase(secret)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_not_shown() {
        assert!(!format!("{:?}", Passphrase::new(b"open sesame".to_vec())).contains("sesame"));
    }
}
