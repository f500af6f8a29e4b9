//! [`ApiSecret`]: what a script logs in with: `bkt_`, the token's id, `_` and its secret, in hexadecimal.

use object::hex;
use proto::Secret;
use store::TokenId;

const PREFIX: &str = "bkt_";

/// A token's id and secret.
#[derive(Debug)]
pub(crate) struct ApiSecret {
    /// What it is found by.
    pub(crate) id: TokenId,
    /// What nobody else knows.
    pub(crate) secret: Secret<32>,
}

impl ApiSecret {
    /// Reads a token; `None` when it is none.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (id, secret) = text.strip_prefix(PREFIX)?.split_once('_')?;
        Some(Self { id: id.parse().ok()?, secret: Secret::new(hex::decode(secret)?) })
    }

    /// The token as it is shown, once.
    pub(crate) fn text(&self) -> String {
        format!("{PREFIX}{}_{}", self.id, hex::encode(self.secret.expose()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_round_trip_and_nothing_else_is_one() {
        let token = ApiSecret { id: TokenId::from_bytes([1; 8]), secret: Secret::new([0xab; 32]) };
        let text = token.text();
        assert_eq!(text.len(), 4 + 16 + 1 + 64);
        let read = ApiSecret::parse(&text).unwrap();
        assert_eq!((read.id, read.secret.expose()), (token.id, token.secret.expose()));
        for wrong in ["", "bkt_", &text[1..], &text[..text.len() - 1], &format!("{text}0"), &text.replace('_', "")] {
            assert!(ApiSecret::parse(wrong).is_none(), "{wrong}");
        }
    }
}
