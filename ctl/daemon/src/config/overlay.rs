//! The table `[overlay]` of the configuration file: what carries tenant networks between hosts.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use edgestack_dataplane::config::{Overlay as Tunnels, Peer as Host};
use edgestack_dataplane::snapshot::id_hash;
use edgestack_dataplane::wire::tunnel::overhead;
use edgestack_model::address::MacAddress;
use ipnet::{Ipv4Net, Ipv6Net};
use serde::Deserialize;
use toml::Spanned;

use super::check::Check;
use super::uplink::Uplink;

/// Other hosts that one host exchanges tenant networks with.
pub(super) const PEERS_MAX: usize = 255;
/// Largest IP packet of an underlay: what the dataplane carries.
const MTU_MAX: u16 = 3400;
/// Smallest: a tenant network with IPv6 fits in, whatever the outer headers (RFC 8200).
const MTU_MIN: u16 = 1350;

/// What carries tenant networks of type VXLAN and GENEVE between hosts.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Overlay {
    /// Name of the uplink that carries it.
    pub uplink: Spanned<String>,
    /// This host's address as the end of tunnels, with the prefix of its subnet.
    pub address: Option<Spanned<Ipv4Net>>,
    /// The next hop towards peers outside of the subnet.
    pub gateway: Option<Spanned<Ipv4Addr>>,
    /// This host's IPv6 address as the end of tunnels, with the prefix of its subnet.
    pub ipv6_address: Option<Spanned<Ipv6Net>>,
    /// The next hop towards peers with an IPv6 address outside of the subnet.
    pub ipv6_gateway: Option<Spanned<Ipv6Addr>>,
    /// MAC address of the end of tunnels; made of the address where left out.
    pub mac_address: Option<Spanned<MacAddress>>,
    /// Largest IP packet that all of the way between hosts takes.
    #[serde(default = "default_mtu")]
    pub mtu: Spanned<u16>,
    /// The other hosts.
    #[serde(default)]
    pub peer: Vec<Peer>,
}

/// Another host.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Peer {
    /// Its name: ports on it have it as `host`.
    pub name: Spanned<String>,
    /// Its address as the end of tunnels.
    pub address: Spanned<IpAddr>,
}

fn default_mtu() -> Spanned<u16> {
    super::spanless(1500)
}

impl Overlay {
    /// The dataplane's part of it, but for the network that carries it.
    pub fn tunnels(&self) -> Tunnels {
        let ip_address = self.address.as_ref().map(|address| address.get_ref().addr());
        let ipv6_address = self.ipv6_address.as_ref().map(|address| address.get_ref().addr());
        let peer = |peer: &Peer| Host {
            id: peer.name.get_ref().clone(),
            name: peer.name.get_ref().clone(),
            address: *peer.address.get_ref(),
        };
        Tunnels {
            network: String::new(),
            mac_address: edgestack_dataplane::address::MacAddress(
                self.mac_address
                    .as_ref()
                    .map_or_else(|| made_mac(ip_address, ipv6_address), |mac| mac.get_ref().0),
            ),
            ip_address,
            ipv6_address,
            peers: self.peer.iter().map(peer).collect(),
        }
    }

    /// Largest IP packet of a tenant network that fits into every tunnel.
    pub fn tenant_mtu(&self) -> u16 {
        let has_ipv6 = self.peer.iter().any(|peer| peer.address.get_ref().is_ipv6());
        self.mtu.get_ref().saturating_sub(overhead(has_ipv6))
    }
}

/// A MAC address of no manufacturer's, the same at every start, and another on every host.
fn made_mac(ip_address: Option<Ipv4Addr>, ipv6_address: Option<Ipv6Addr>) -> [u8; 6] {
    let hash = id_hash(&format!("overlay {ip_address:?} {ipv6_address:?}")).to_be_bytes();
    [0x02, hash[1], hash[2], hash[3], hash[4], hash[5]]
}

impl Check<'_> {
    /// Everything about `[overlay]`, with the uplinks that it may name.
    pub(super) fn overlay(&mut self, overlay: Option<&Overlay>, uplinks: &[Uplink]) {
        let Some(overlay) = overlay else { return };
        if !uplinks.iter().any(|uplink| uplink.name.get_ref() == overlay.uplink.get_ref()) {
            self.refuse("overlay.uplink", &overlay.uplink, "the `name` of an [[uplink]]");
        }
        if overlay.address.is_none() && overlay.ipv6_address.is_none() {
            let fix = "set `address`, `ipv6_address` or both beside it: it is this host's end of tunnels";
            self.refuse("overlay.uplink", &overlay.uplink, fix);
        }
        let wrong_ipv4 = |own: &Ipv4Net| {
            let address = own.addr();
            let is_host = own.prefix_len() >= 31 || (address != own.network() && address != own.broadcast());
            !is_host || address.is_multicast() || address.is_loopback() || address.is_unspecified()
        };
        if let Some(own) = overlay.address.as_ref().filter(|own| wrong_ipv4(own.get_ref())) {
            self.refuse("overlay.address", own, "this host's address in a subnet, like 192.0.2.1/24");
        }
        let wrong_ipv6 = |own: &Ipv6Net| {
            let address = own.addr();
            address.is_multicast() || address.is_loopback() || address.is_unspecified()
        };
        if let Some(own) = overlay.ipv6_address.as_ref().filter(|own| wrong_ipv6(own.get_ref())) {
            self.refuse("overlay.ipv6_address", own, "this host's address in a subnet, like 2001:db8::1/64");
        }
        if let Some(mac) = overlay.mac_address.as_ref().filter(|mac| mac.get_ref().is_multicast()) {
            self.refuse("overlay.mac_address", mac, "one host's address: the first byte is even");
        }
        if !(MTU_MIN..=MTU_MAX).contains(overlay.mtu.get_ref()) {
            self.refuse("overlay.mtu", &overlay.mtu, &format!("from {MTU_MIN} to {MTU_MAX}"));
        }
        if let Some(gateway) = &overlay.gateway
            && !overlay.address.as_ref().is_some_and(|own| own.get_ref().contains(gateway.get_ref()))
        {
            self.refuse("overlay.gateway", gateway, "an address of the subnet of `address`");
        }
        if let Some(gateway) = &overlay.ipv6_gateway
            && !gateway.get_ref().is_unicast_link_local()
            && !overlay.ipv6_address.as_ref().is_some_and(|own| own.get_ref().contains(gateway.get_ref()))
        {
            self.refuse("overlay.ipv6_gateway", gateway, "an address of the subnet of `ipv6_address`");
        }
        self.peers(overlay);
    }

    fn peers(&mut self, overlay: &Overlay) {
        if let Some(last) = overlay.peer.get(PEERS_MAX) {
            self.refuse("overlay.peer.name", &last.name, &format!("at most {PEERS_MAX} peers"));
        }
        for (index, peer) in overlay.peer.iter().enumerate() {
            let earlier = &overlay.peer[..index];
            let name = serde_json::Value::from(peer.name.get_ref().as_str());
            if edgestack_model::value::name(&name).is_err() {
                self.refuse("overlay.peer.name", &peer.name, "1 to 63 of a-z, 0-9 and `-`");
            }
            if earlier.iter().any(|other| other.name.get_ref() == peer.name.get_ref()) {
                self.refuse("overlay.peer.name", &peer.name, "another peer has this name");
            }
            if earlier.iter().any(|other| other.address.get_ref() == peer.address.get_ref()) {
                self.refuse("overlay.peer.address", &peer.address, "another peer has this address");
            }
            if let Some(fix) = wrong_address(overlay, *peer.address.get_ref()) {
                self.refuse("overlay.peer.address", &peer.address, fix);
            }
        }
    }
}

/// What would be right in place of a peer's address that cannot be.
fn wrong_address(overlay: &Overlay, address: IpAddr) -> Option<&'static str> {
    let (has_own, is_own, is_reached) = match address {
        IpAddr::V4(address) => {
            let own = overlay.address.as_ref().map(Spanned::get_ref);
            let is_near = own.is_some_and(|own| own.contains(&address)) || overlay.gateway.is_some();
            (own.is_some(), own.is_some_and(|own| own.addr() == address), is_near)
        }
        IpAddr::V6(address) => {
            let own = overlay.ipv6_address.as_ref().map(Spanned::get_ref);
            let is_near = own.is_some_and(|own| own.contains(&address)) || overlay.ipv6_gateway.is_some();
            (own.is_some(), own.is_some_and(|own| own.addr() == address), is_near)
        }
    };
    if address.is_unspecified() || address.is_multicast() || address.is_loopback() {
        return Some("an address of another host");
    }
    match (has_own, is_own, is_reached) {
        (false, ..) => Some("one of the version of `address` or `ipv6_address`, which this host has too"),
        (_, true, _) => Some("another host's: this one is this host's own"),
        (.., false) => Some("one of this host's subnet, or set `gateway` or `ipv6_gateway`"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Config, ConfigError};

    const RIGHT: &str = r#"[[uplink]]
name = "lan"
interface = "eth1"
physical_network = "lan"
[overlay]
uplink = "lan"
address = "192.0.2.1/24"
gateway = "192.0.2.254"
ipv6_address = "2001:db8::1/64"
ipv6_gateway = "fe80::1"
mac_address = "02:00:00:00:00:01"
mtu = 1600
[[overlay.peer]]
name = "b"
address = "192.0.2.2"
[[overlay.peer]]
name = "c"
address = "198.51.100.3"
"#;

    /// What is said of the configuration with one line changed.
    fn mistakes(line: &str, by: &str) -> Vec<String> {
        assert_eq!(RIGHT.matches(line).count(), 1, "{line}");
        let text = RIGHT.replace(line, by);
        let Err(mistakes) = Config::parse(&text) else { panic!("`{by}` should be refused") };
        let error = ConfigError::Wrong { path: "c.toml".into(), mistakes };
        error.to_string().lines().map(str::to_owned).collect()
    }

    #[test]
    fn every_wrong_value_of_this_host_is_named_with_a_way_out() {
        Config::parse(RIGHT).unwrap();
        let uplink = "uplink = \"lan\"\naddress";
        let own = "address = \"192.0.2.1/24\"\ngateway";
        for (line, by, wanted) in [
            (
                uplink,
                "uplink = \"wan\"\naddress",
                "6:10: `overlay.uplink = wan` cannot be: the `name` of an [[uplink]]",
            ),
            (
                own,
                "address = \"192.0.2.0/24\"\ngateway",
                "7:11: `overlay.address = 192.0.2.0/24` cannot be: this host's address in a subnet, like 192.0.2.1/24",
            ),
            (
                own,
                "address = \"192.0.2.300/24\"\ngateway",
                "7:11: `overlay.address`: invalid IP address syntax, write it like 192.0.2.1, or with the subnet's prefix \
                 192.0.2.1/24",
            ),
            (
                "\"192.0.2.254\"",
                "\"203.0.113.1\"",
                "8:11: `overlay.gateway = 203.0.113.1` cannot be: an address of the subnet of `address`",
            ),
            (
                "\"192.0.2.254\"",
                "\"router\"",
                "8:11: `overlay.gateway`: invalid IPv4 address syntax, write it like 192.0.2.1",
            ),
            (
                "2001:db8::1/64",
                "ff02::1/64",
                "9:16: `overlay.ipv6_address = ff02::1/64` cannot be: this host's address in a subnet, like 2001:db8::1/64",
            ),
            (
                "fe80::1",
                "2001:db9::1",
                "10:16: `overlay.ipv6_gateway = 2001:db9::1` cannot be: an address of the subnet of `ipv6_address`",
            ),
            (
                "fe80::1",
                "192.0.2.9",
                "10:16: `overlay.ipv6_gateway`: invalid IPv6 address syntax, write it like 2001:db8::1",
            ),
            (
                "02:00:00:00:00:01",
                "03:00:00:00:00:01",
                "11:15: `overlay.mac_address = 03:00:00:00:00:01` cannot be: one host's address: the first byte is even",
            ),
            ("1600", "1349", "12:7: `overlay.mtu = 1349` cannot be: from 1350 to 3400"),
            ("1600", "3401", "12:7: `overlay.mtu = 3401` cannot be: from 1350 to 3400"),
            ("mtu", "mtus", "12:1: unknown field `mtus`, did you mean `mtu`?"),
        ] {
            assert_eq!(mistakes(line, by), [format!("c.toml:{wanted}")], "{by}");
        }
    }

    #[test]
    fn every_wrong_value_of_a_peer_is_named_with_a_way_out() {
        let name = "name = \"b\"";
        let address = "address = \"192.0.2.2\"";
        for (line, by, wanted) in [
            (
                name,
                "name = \"B b\"",
                "14:8: `overlay.peer.name = B b` cannot be: 1 to 63 of a-z, 0-9 and `-`",
            ),
            (name, "name = \"c\"", "17:8: `overlay.peer.name = c` cannot be: another peer has this name"),
            (
                address,
                "address = \"198.51.100.3\"",
                "18:11: `overlay.peer.address = 198.51.100.3` cannot be: another peer has this address",
            ),
            (
                address,
                "address = \"192.0.2.1\"",
                "15:11: `overlay.peer.address = 192.0.2.1` cannot be: another host's: this one is this host's own",
            ),
            (
                address,
                "address = \"224.0.0.1\"",
                "15:11: `overlay.peer.address = 224.0.0.1` cannot be: an address of another host",
            ),
            (
                "gateway = \"192.0.2.254\"\n",
                "",
                "17:11: `overlay.peer.address = 198.51.100.3` cannot be: one of this host's subnet, or set `gateway` or \
                 `ipv6_gateway`",
            ),
        ] {
            assert_eq!(mistakes(line, by), [format!("c.toml:{wanted}")], "{by}");
        }
    }

    #[test]
    fn what_is_missing_or_too_much_is_named() {
        let without_uplink = mistakes("uplink = \"lan\"\naddress", "address");
        assert!(without_uplink[0].contains("missing field `uplink`"), "{without_uplink:?}");
        let without_name = mistakes("name = \"b\"\n", "");
        assert!(without_name[0].contains("missing field `name`"), "{without_name:?}");
        let lines = "address = \"192.0.2.1/24\"\ngateway = \"192.0.2.254\"\nipv6_address = \"2001:db8::1/64\"\n\
                     ipv6_gateway = \"fe80::1\"\n";
        let without_address = mistakes(lines, "");
        let wanted = [
            "c.toml:6:10: `overlay.uplink = lan` cannot be: set `address`, `ipv6_address` or both beside it: it is this \
             host's end of tunnels",
            "c.toml:11:11: `overlay.peer.address = 192.0.2.2` cannot be: one of the version of `address` or \
             `ipv6_address`, which this host has too",
            "c.toml:14:11: `overlay.peer.address = 198.51.100.3` cannot be: one of the version of `address` or \
             `ipv6_address`, which this host has too",
        ];
        assert_eq!(without_address, wanted);
        let too_large = mistakes("1600", "70000");
        assert!(too_large[0].starts_with("c.toml:12:7: `overlay.mtu`: invalid value"), "{too_large:?}");
        let peers: Vec<String> = (0..254)
            .map(|number| format!("[[overlay.peer]]\nname = \"p{number}\"\naddress = \"10.9.0.{number}\"\n"))
            .collect();
        let last = "[[overlay.peer]]\nname = \"c\"";
        let too_many = mistakes(last, &format!("{}{last}", peers.concat()));
        assert!(
            too_many[0].ends_with("`overlay.peer.name = c` cannot be: at most 255 peers"),
            "{too_many:?}"
        );
    }
}
