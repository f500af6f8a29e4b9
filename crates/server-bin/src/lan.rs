//! [`places`]: where a server is found that listens on all addresses: on this machine, and in the local network.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use crate::host_port::HostPort;

/// Addresses for documentation (RFC 5737, RFC 3849): nobody has them, so the way to them is the way out of this machine.
const ELSEWHERE: [IpAddr; 2] =
    [IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1))];
/// No packet goes there.
const DISCARD_PORT: u16 = 9;

/// Where whoever listens at `listens` is found: there, unless that stands for all addresses; then `localhost`, and the
/// addresses of this machine in the local network.
pub(crate) fn places(listens: &HostPort) -> Vec<HostPort> {
    places_among(listens, &addresses())
}

/// The place in the local network that is said first, of a server that listens on all addresses and has one.
pub(crate) fn place(listens: &HostPort) -> Option<HostPort> {
    places(listens).into_iter().nth(1)
}

fn places_among(listens: &HostPort, addresses: &[IpAddr]) -> Vec<HostPort> {
    let everywhere = listens.host.parse().ok().filter(|host: &IpAddr| host.is_unspecified());
    let Some(everywhere) = everywhere else { return vec![listens.clone()] };
    let is_heard = |address: &&IpAddr| everywhere.is_ipv6() || address.is_ipv4();
    let hosts = addresses.iter().filter(is_heard).map(ToString::to_string);
    let hosts = std::iter::once("localhost".to_owned()).chain(hosts);
    hosts.map(|host| HostPort { host, port: listens.port }).collect()
}

/// The addresses from which this machine speaks to others, of IPv4 first; none without a network.
///
/// A datagram socket that is connected has chosen its address by the routes, and nothing was sent.
pub(crate) fn addresses() -> Vec<IpAddr> {
    ELSEWHERE.into_iter().filter_map(|elsewhere| way_to(elsewhere).ok()).filter(is_of_lan).collect()
}

fn way_to(elsewhere: IpAddr) -> io::Result<IpAddr> {
    let any: IpAddr = if elsewhere.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind(SocketAddr::from((any, 0)))?;
    socket.connect(SocketAddr::from((elsewhere, DISCARD_PORT)))?;
    Ok(socket.local_addr()?.ip())
}

/// Whether others can use it as it is: an address of one link needs the name of an interface beside it.
fn is_of_lan(address: &IpAddr) -> bool {
    let is_of_link = match address {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    };
    !address.is_unspecified() && !address.is_loopback() && !is_of_link
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(listens: &str, expected: &[&str]) {
        let addresses = ["192.168.1.5", "fd00::5"].map(|address| address.parse().unwrap());
        let listens = HostPort::from(listens.parse::<SocketAddr>().unwrap());
        let found: Vec<String> = places_among(&listens, &addresses).iter().map(ToString::to_string).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn who_listens_everywhere_is_found_here_and_in_the_network() {
        check("0.0.0.0:80", &["localhost:80", "192.168.1.5:80"]);
        check("[::]:80", &["localhost:80", "192.168.1.5:80", "[fd00::5]:80"]);
        check("127.0.0.1:80", &["127.0.0.1:80"]);
        check("192.168.1.7:80", &["192.168.1.7:80"]);
    }

    #[test]
    fn addresses_of_this_machine_or_of_one_link_are_left_out() {
        for (address, expected) in [
            ("10.0.0.1", true),
            ("2001:db8::7", true),
            ("127.0.0.1", false),
            ("169.254.3.4", false),
            ("0.0.0.0", false),
            ("::1", false),
            ("fe80::1", false),
        ] {
            assert_eq!(is_of_lan(&address.parse().unwrap()), expected, "{address}");
        }
        assert!(addresses().iter().all(is_of_lan));
    }
}
