//! [`EnrolmentString`]: what an administrator hands to a new device.
//!
//! `bk1:HOST:PORT:IDENTITY:SECRET` — where the server is, how it proves that it is the one, and a one-time secret. An IPv6
//! address stands in brackets. `IDENTITY` is the SHA-256 of the server's SubjectPublicKeyInfo in hex, or `plain` for a
//! server on the same machine that speaks plain HTTP.

use std::fmt;
use std::str::FromStr;

use object::hex;

use crate::Secret;

const SCHEME: &str = "bk1";
const PLAIN: &str = "plain";

/// Everything a device needs to become known to a server, once. `Display` writes the secret: it is meant to be handed on.
#[derive(Clone, PartialEq, Eq)]
pub struct EnrolmentString {
    /// Host name, IPv4 address, or IPv6 address without brackets.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// How the server proves that it is the one.
    pub identity: ServerIdentity,
    /// Good for one device, for a short time.
    pub secret: Secret<16>,
}

/// How a server proves that it is the one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServerIdentity {
    /// By TLS with this key: SHA-256 of its SubjectPublicKeyInfo.
    Pinned([u8; 32]),
    /// Not at all: plain HTTP on the same machine.
    Plain,
}

/// The text is no enrolment string.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EnrolmentError {
    /// It does not begin like one.
    #[error("an enrolment string begins with bk1:")]
    Scheme,
    /// A part is missing, or there is one too many.
    #[error("an enrolment string has a host, a port, an identity and a secret")]
    Parts,
    /// A part is not what stands in its place.
    #[error("the {part} of the enrolment string is malformed")]
    Part {
        /// Which.
        part: &'static str,
    },
}

impl FromStr for EnrolmentString {
    type Err = EnrolmentError;

    fn from_str(text: &str) -> Result<Self, EnrolmentError> {
        let malformed = |part| EnrolmentError::Part { part };
        let rest = text.trim().strip_prefix(SCHEME).and_then(|rest| rest.strip_prefix(':'));
        let mut parts = rest.ok_or(EnrolmentError::Scheme)?.rsplitn(4, ':');
        let (Some(secret), Some(identity), Some(port), Some(host)) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(EnrolmentError::Parts);
        };
        let host = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
            Some(address) if address.contains(':') => address,
            None if !host.is_empty() && !host.contains([':', '[', ']', '/', ' ']) => host,
            _ => return Err(malformed("host")),
        };
        Ok(Self {
            host: host.to_owned(),
            port: port.parse().ok().filter(|port| *port != 0).ok_or(malformed("port"))?,
            identity: match identity {
                PLAIN => ServerIdentity::Plain,
                pin => ServerIdentity::Pinned(hex::decode(pin).ok_or(malformed("identity"))?),
            },
            secret: Secret::new(hex::decode(secret).ok_or(malformed("secret"))?),
        })
    }
}

impl fmt::Display for EnrolmentString {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port, .. } = self;
        match host.contains(':') {
            true => write!(f, "{SCHEME}:[{host}]:{port}:")?,
            false => write!(f, "{SCHEME}:{host}:{port}:")?,
        }
        match &self.identity {
            ServerIdentity::Pinned(pin) => f.write_str(&hex::encode(pin))?,
            ServerIdentity::Plain => f.write_str(PLAIN)?,
        }
        f.write_str(":")?;
        f.write_str(&hex::encode(self.secret.expose()))
    }
}

impl fmt::Debug for EnrolmentString {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port, identity, secret } = self;
        f.debug_struct("EnrolmentString")
            .field("host", host)
            .field("port", port)
            .field("identity", identity)
            .field("secret", secret)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn enrolment(host: &str, identity: ServerIdentity) -> EnrolmentString {
        EnrolmentString { host: host.to_owned(), port: 8080, identity, secret: Secret::new([0x5a; 16]) }
    }

    #[test]
    fn what_is_written_is_read() {
        for host in ["localhost", "192.0.2.1", "2001:db8::1", "nas.example.org"] {
            for identity in [ServerIdentity::Plain, ServerIdentity::Pinned([0xc3; 32])] {
                let string = enrolment(host, identity);
                assert_eq!(string.to_string().parse(), Ok(string));
            }
        }
        let text = enrolment("::1", ServerIdentity::Plain).to_string();
        assert_eq!(text, format!("bk1:[::1]:8080:plain:{}", "5a".repeat(16)));
        assert_eq!(format!("  {text}\n").parse(), Ok(enrolment("::1", ServerIdentity::Plain)));
    }

    #[test]
    fn the_secret_does_not_show_in_debug_output() {
        assert!(!format!("{:?}", enrolment("host", ServerIdentity::Plain)).contains("5a5a"));
    }

    #[test]
    fn malformed_strings_say_what_is_wrong() {
        let secret = "5a".repeat(16);
        let check = |text: &str, expected: EnrolmentError| {
            assert_eq!(text.parse::<EnrolmentString>(), Err(expected), "{text}");
        };
        check("", EnrolmentError::Scheme);
        check("bk2:host:1:plain:x", EnrolmentError::Scheme);
        check("bk1:host:1:plain", EnrolmentError::Parts);
        check(&format!("bk1::1:plain:{secret}"), EnrolmentError::Part { part: "host" });
        check(&format!("bk1:2001:db8::1:1:plain:{secret}"), EnrolmentError::Part { part: "host" });
        check(&format!("bk1:host:0:plain:{secret}"), EnrolmentError::Part { part: "port" });
        check(&format!("bk1:host:65536:plain:{secret}"), EnrolmentError::Part { part: "port" });
        check(&format!("bk1:host:1:plane:{secret}"), EnrolmentError::Part { part: "identity" });
        check("bk1:host:1:plain:5a5a", EnrolmentError::Part { part: "secret" });
        check(&format!("bk1:host:1:plain:+{}", &secret[1..]), EnrolmentError::Part { part: "secret" });
    }
}
