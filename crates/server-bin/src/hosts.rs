//! [`Hosts`]: under which names browsers may know this server.
//!
//! A page elsewhere can give its own name this server's address, and would then be of the same origin as the answers it
//! gets (DNS rebinding). Addresses cannot be given away like that, names can: those that are not known are refused.

use std::net::IpAddr;

use axum::http::HeaderMap;
use axum::http::header;

use crate::config::Settings;

/// Names of this server.
#[derive(Debug)]
pub(crate) struct Hosts {
    names: Vec<String>,
}

impl Hosts {
    pub(crate) fn new(settings: &Settings) -> Self {
        let address = settings.address.iter().map(|address| &address.host);
        Self::of(&settings.hosts.iter().chain(address).map(String::as_str).collect::<Vec<_>>())
    }

    pub(crate) fn of(names: &[&str]) -> Self {
        Self { names: names.iter().map(|name| plain(name)).collect() }
    }

    /// Whether a request may call the server what it does.
    pub(crate) fn allow(&self, headers: &HeaderMap) -> bool {
        let mut said = headers.get_all(header::HOST).iter();
        let (Some(host), None) = (said.next(), said.next()) else { return false };
        host.to_str().is_ok_and(|host| self.is_known(host))
    }

    fn is_known(&self, host: &str) -> bool {
        let name = match host.strip_prefix('[') {
            Some(rest) => {
                let Some((inside, port)) = rest.split_once(']') else { return false };
                return is_port(port) && inside.parse::<std::net::Ipv6Addr>().is_ok();
            }
            None => host.rsplit_once(':').filter(|(_, port)| is_number(port)).map_or(host, |(name, _)| name),
        };
        let name = plain(name);
        name == "localhost" || name.parse::<IpAddr>().is_ok() || self.names.contains(&name)
    }
}

fn is_port(text: &str) -> bool {
    text.is_empty() || text.strip_prefix(':').is_some_and(is_number)
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// As names are compared.
fn plain(name: &str) -> String {
    name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_to_be_known_and_addresses_do_not() {
        let hosts = Hosts::of(&["backup.example"]);
        for known in [
            "localhost",
            "localhost:8080",
            "127.0.0.1:8080",
            "10.1.2.3",
            "[::1]:8080",
            "[fd00::1]",
            "backup.example",
            "Backup.Example.:443",
        ] {
            assert!(hosts.is_known(known), "{known}");
        }
        for strange in [
            "",
            "evil.example",
            "backup.example.evil",
            "localhost.evil.example:8080",
            "127.0.0.1.evil.example",
            "[evil.example]",
            "[::1]evil",
            "a:b:c",
            "127.0.0.1:8080:evil",
        ] {
            assert!(!hosts.is_known(strange), "{strange}");
        }
    }

    #[test]
    fn one_name_is_said_and_not_two() {
        let hosts = Hosts::of(&[]);
        let mut headers = HeaderMap::new();
        assert!(!hosts.allow(&headers));
        headers.append(header::HOST, "localhost".parse().unwrap());
        assert!(hosts.allow(&headers));
        headers.append(header::HOST, "localhost".parse().unwrap());
        assert!(!hosts.allow(&headers));
    }
}
