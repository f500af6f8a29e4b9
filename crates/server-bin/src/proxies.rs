//! [`Proxies`]: who asks, when a proxy asks for them.

use std::net::{IpAddr, SocketAddr};

use axum::http::{HeaderMap, HeaderName};

/// In which proxies say for whom they ask; each adds whom it saw at the end.
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// Proxies that are believed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Proxies(Vec<IpAddr>);

impl Proxies {
    pub(crate) fn new(trusted: &[IpAddr]) -> Self {
        Self(trusted.iter().map(IpAddr::to_canonical).collect())
    }

    /// Whether a connection from there is a proxy's.
    pub(crate) fn is_one(&self, address: IpAddr) -> bool {
        self.0.contains(&address.to_canonical())
    }

    /// Who asks: the last one on the way here that is no proxy. What anybody else says of themselves is not believed; where a
    /// proxy does not say for whom it asks, it asks for itself.
    pub(crate) fn caller(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let mut caller = peer.to_canonical();
        let said = headers.get_all(FORWARDED_FOR).into_iter().filter_map(|value| value.to_str().ok());
        let hops: Vec<&str> = said.flat_map(|value| value.split(',')).collect();
        for hop in hops.into_iter().rev() {
            if !self.is_one(caller) {
                break;
            }
            let Some(address) = read(hop.trim()) else { break };
            caller = address;
        }
        caller
    }
}

/// An address as proxies write it: with or without a port.
fn read(text: &str) -> Option<IpAddr> {
    let with_port = || text.parse::<SocketAddr>().ok().map(|address| address.ip());
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    bare.parse().ok().or_else(with_port).map(|address: IpAddr| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caller(trusted: &[&str], peer: &str, said: &[&str]) -> String {
        let trusted: Vec<IpAddr> = trusted.iter().map(|address| address.parse().unwrap()).collect();
        let headers = said.iter().map(|value| (FORWARDED_FOR, value.parse().unwrap())).collect();
        Proxies::new(&trusted).caller(peer.parse().unwrap(), &headers).to_string()
    }

    #[test]
    fn only_proxies_are_believed_and_only_the_last_that_is_none() {
        assert_eq!(caller(&[], "127.0.0.1", &["10.0.0.1"]), "127.0.0.1");
        assert_eq!(caller(&["10.0.0.9"], "127.0.0.1", &["10.0.0.1"]), "127.0.0.1");
        assert_eq!(caller(&["127.0.0.1"], "127.0.0.1", &["10.0.0.1"]), "10.0.0.1");
        // What a client says of itself stands before what the proxy saw.
        assert_eq!(caller(&["127.0.0.1"], "127.0.0.1", &["1.1.1.1, 10.0.0.1"]), "10.0.0.1");
        assert_eq!(caller(&["127.0.0.1"], "127.0.0.1", &["1.1.1.1", "10.0.0.1"]), "10.0.0.1");
        // A proxy before a proxy.
        let both = ["127.0.0.1", "fd00::9"];
        assert_eq!(caller(&both, "::ffff:127.0.0.1", &["1.1.1.1, 10.0.0.1,fd00::9"]), "10.0.0.1");
        assert_eq!(caller(&both, "127.0.0.1", &["fd00::9"]), "fd00::9");
    }

    #[test]
    fn addresses_come_with_ports_and_without() {
        for said in ["10.0.0.1", " 10.0.0.1 ", "10.0.0.1:80", "::ffff:10.0.0.1"] {
            assert_eq!(caller(&["127.0.0.1"], "127.0.0.1", &[said]), "10.0.0.1", "{said}");
        }
        for said in ["fd00::1", "[fd00::1]", "[fd00::1]:80"] {
            assert_eq!(caller(&["127.0.0.1"], "127.0.0.1", &[said]), "fd00::1", "{said}");
        }
        for said in ["", "unknown", "10.0.0", "10.0.0.1, unknown", "_hidden", "\u{e4}"] {
            assert_eq!(caller(&["127.0.0.1"], "127.0.0.1", &[said]), "127.0.0.1", "{said}");
        }
    }
}
