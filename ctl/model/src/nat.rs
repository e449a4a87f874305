//! Address translation of a router: the pool that its sources leave with, and ports that are forwarded to workloads.

use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::load_balancer::{Protocol, port};
use crate::meta::Id;
use crate::reader::{Reader, Refusal};
use crate::value;

/// Addresses of one pool.
pub const POOL_ADDRESSES_MAX: usize = 256;
/// Forwarded ports, or ranges of them, of one router.
pub const PORT_FORWARDS_MAX: usize = 256;
/// Destinations of one leg towards which sources keep their addresses.
pub const SNAT_EXEMPTIONS_MAX: usize = 64;
/// Longest time that a released port may rest.
const PORT_HOLD_SECONDS_MAX: u64 = 3600;
/// Smallest and largest block of ports.
const PORT_BLOCK_SIZE: (u64, u64) = (8, 16_384);
const PORTS_PER_WORKLOAD_MAX: u64 = 65_535;

/// The text is no address and no range of addresses.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is neither an IPv4 address nor a range of them")]
pub struct AddressRangeError(String);

/// An IPv4 address, or a range of them, both ends included: `203.0.113.5` or `203.0.113.5-203.0.113.9`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct AddressRange {
    /// First address.
    pub first: Ipv4Addr,
    /// Last address.
    pub last: Ipv4Addr,
}

/// How sources leave: with which external addresses and ports.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnatPool {
    /// External addresses, like `203.0.113.5` or `203.0.113.5-203.0.113.9`; the router's own where left out.
    #[serde(default)]
    pub addresses: Vec<AddressRange>,
    /// What an external port stands for.
    #[serde(default)]
    pub mapping: Mapping,
    /// Who may send to a mapping from outside; other than `endpoint_dependent` with an independent mapping only.
    #[serde(default)]
    pub filtering: Filtering,
    /// A workload keeps to one address; false: it takes the next when the ports of one are exhausted.
    pub paired: bool,
    /// Smallest port that is given out.
    pub port_range_min: u16,
    /// Largest port that is given out.
    pub port_range_max: u16,
    /// Sources below 1024 get ports below 1024, the others never.
    #[serde(default)]
    pub preserve_class: bool,
    /// Even ports stay even and odd ones odd while there are any.
    #[serde(default)]
    pub preserve_parity: bool,
    /// Ports are chosen at random rather than kept.
    #[serde(default)]
    pub randomize: bool,
    /// Most translated ports of one workload; 0 is no limit.
    #[serde(default)]
    pub ports_per_workload: u32,
    /// Ports are given to workloads in blocks of so many; 0: one by one.
    #[serde(default)]
    pub port_block_size: u16,
    /// Most blocks of one workload.
    pub port_blocks_per_workload: u16,
    /// Seconds that a released port is kept from other workloads; 120 where left out and the mapping is independent, else 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port_hold_seconds: Option<u32>,
    /// From this share of used ports on the pool is reported as nearly exhausted.
    pub high_water_percent: u8,
}

/// What an external port stands for (RFC 4787, section 4.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mapping {
    /// One connection: the port serves others towards other destinations.
    #[default]
    EndpointDependent,
    /// One address and port inside, whomever it sends to.
    EndpointIndependent,
}

/// Who may send to a mapping from outside (RFC 4787, section 5).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Filtering {
    /// The addresses and ports that it has sent to: answers only.
    #[default]
    EndpointDependent,
    /// The addresses that it has sent to, from whatever port.
    AddressDependent,
    /// Everybody.
    EndpointIndependent,
}

/// An external port, or a range of them, that stands for a workload's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortForward {
    /// Identifier given by the server.
    #[serde(default)]
    pub id: Id,
    /// The external address: one of the router's pool; the router's own where left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external_ip: Option<Ipv4Addr>,
    /// Protocol: tcp, udp or sctp.
    pub protocol: Protocol,
    /// First external port.
    pub port_range_min: u16,
    /// Last external port.
    pub port_range_max: u16,
    /// The workload's address, in one of the router's internal networks.
    pub target_ip: Ipv4Addr,
    /// The workload's port for the first; those of the others follow. The same where left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_port: Option<u16>,
}

/// A destination towards which sources keep their own addresses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnatExemption {
    /// Addresses outside.
    pub destination: Ipv4Net,
    /// Protocol: tcp, udp, sctp or icmp; all where left out.
    pub protocol: Protocol,
    /// First port there; any where left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port_range_min: Option<u16>,
    /// Last port there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port_range_max: Option<u16>,
}

impl Mapping {
    /// The words on the wire.
    pub const WORDS: [(&'static str, Self); 2] = [
        ("endpoint_dependent", Self::EndpointDependent),
        ("endpoint_independent", Self::EndpointIndependent),
    ];
}

impl Filtering {
    /// The words on the wire.
    pub const WORDS: [(&'static str, Self); 3] = [
        ("endpoint_dependent", Self::EndpointDependent),
        ("address_dependent", Self::AddressDependent),
        ("endpoint_independent", Self::EndpointIndependent),
    ];
}

impl SnatPool {
    /// Every address.
    pub fn each_address(&self) -> impl Iterator<Item = Ipv4Addr> + '_ {
        let bits = self.addresses.iter().flat_map(|range| range.first.to_bits()..=range.last.to_bits());
        bits.map(Ipv4Addr::from_bits)
    }

    /// Whether it has an address.
    pub fn has(&self, address: Ipv4Addr) -> bool {
        self.addresses.iter().any(|range| (range.first..=range.last).contains(&address))
    }

    /// Reads the fields of a pool.
    pub(crate) fn read(reader: &mut Reader<'_>) -> Self {
        let addresses = reader.list("addresses", POOL_ADDRESSES_MAX, AddressRange::read).unwrap_or_default();
        let mapping = reader.optional("mapping", |word| value::word(word, &Mapping::WORDS));
        let filtering = reader.optional("filtering", |word| value::word(word, &Filtering::WORDS));
        let mut flag = |key, default| reader.optional(key, value::boolean).unwrap_or(default);
        let paired = flag("paired", true);
        let [preserve_class, preserve_parity, randomize] =
            ["preserve_class", "preserve_parity", "randomize"].map(|key| flag(key, false));
        let port_range_min = reader.optional("port_range_min", port).unwrap_or(1024);
        let port_range_max = reader.optional("port_range_max", port).unwrap_or(u16::MAX);
        let mut count = |key, (least, most), default: u64| {
            reader.optional(key, |number| value::integer(number, least, most)).unwrap_or(default)
        };
        let ports_per_workload = count("ports_per_workload", (0, PORTS_PER_WORKLOAD_MAX), 0);
        let port_block_size = count("port_block_size", (0, PORT_BLOCK_SIZE.1), 0);
        let port_blocks_per_workload = count("port_blocks_per_workload", (1, u16::MAX.into()), 1);
        let high_water_percent = count("high_water_percent", (1, 100), 80);
        let port_hold_seconds =
            reader.optional("port_hold_seconds", |seconds| value::integer(seconds, 0, PORT_HOLD_SECONDS_MAX));
        let pool = Self {
            addresses,
            mapping: mapping.unwrap_or_default(),
            filtering: filtering.unwrap_or_default(),
            paired,
            port_range_min,
            port_range_max,
            preserve_class,
            preserve_parity,
            randomize,
            ports_per_workload: ports_per_workload as u32,
            port_block_size: port_block_size as u16,
            port_blocks_per_workload: port_blocks_per_workload as u16,
            port_hold_seconds: port_hold_seconds.map(|seconds| seconds as u32),
            high_water_percent: high_water_percent as u8,
        };
        pool.check(reader);
        pool
    }

    fn check(&self, reader: &mut Reader<'_>) {
        let counted =
            self.addresses.iter().map(|range| u64::from(range.last.to_bits() - range.first.to_bits()) + 1);
        let count: u64 = counted.sum();
        if count > POOL_ADDRESSES_MAX as u64 {
            let message = format!("{count} addresses are more than {POOL_ADDRESSES_MAX}");
            reader.refuse("addresses", Refusal::new("too_many", message, "a smaller range"));
        }
        for (index, range) in self.addresses.iter().enumerate() {
            let overlaps = |other: &&AddressRange| other.first <= range.last && range.first <= other.last;
            if let Some(other) = self.addresses[..index].iter().find(overlaps) {
                let message = format!("{range} overlaps {other}");
                reader
                    .refuse(&format!("addresses/{index}"), Refusal::new("overlap", message, "leave one out"));
            }
        }
        if self.port_range_min > self.port_range_max {
            let message = "the last port is below the first".to_owned();
            reader.refuse("port_range_max", Refusal::new("invalid_range", message, "exchange the two"));
        }
        if self.preserve_class && self.port_range_max < 1024 {
            let message = "with preserve_class, sources from 1024 on get no port".to_owned();
            reader.refuse("port_range_max", Refusal::new("invalid_range", message, "1024 at least"));
        }
        if self.port_block_size != 0 && u64::from(self.port_block_size) < PORT_BLOCK_SIZE.0 {
            let message = format!("a block of {} ports is too small", self.port_block_size);
            let hint = format!("0 for none, or {} at least", PORT_BLOCK_SIZE.0);
            reader.refuse("port_block_size", Refusal::new("out_of_range", message, hint));
        }
        if self.mapping == Mapping::EndpointDependent && self.filtering != Filtering::EndpointDependent {
            let message = "a mapping that depends on the endpoint lets nobody else in".to_owned();
            let hint = "`endpoint_independent` as the mapping, or leave filtering out";
            reader.refuse("filtering", Refusal::new("not_allowed", message, hint));
        }
    }
}

impl SnatExemption {
    /// Reads the fields of an exemption.
    pub(crate) fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let destination = reader.required("destination", "`198.51.100.0/24`", value::cidr);
        let protocol = reader.optional("protocol", |word| value::word(word, &Protocol::WORDS));
        let protocol = protocol.unwrap_or(Protocol::All);
        let first = reader.optional("port_range_min", port);
        let last = reader.optional("port_range_max", port);
        let (first, last) = (first.or(last), last.or(first));
        if first.is_some() && !protocol.has_ports() {
            let message = format!("{} has no ports", protocol.word());
            let hint = "name tcp, udp or sctp as the protocol, or leave ports out";
            reader.refuse("port_range_min", Refusal::new("not_allowed", message, hint));
        } else if first > last {
            let message = "the last port is below the first".to_owned();
            reader.refuse("port_range_max", Refusal::new("invalid_range", message, "exchange the two"));
        }
        Some(Self { destination: destination?, protocol, port_range_min: first, port_range_max: last })
    }
}

impl PortForward {
    /// Whether it says the same as another, whatever their identifiers are.
    pub fn equals(&self, other: &Self) -> bool {
        Self { id: Id::new(), ..self.clone() } == Self { id: Id::new(), ..other.clone() }
    }

    /// Whether a packet could be of both; `own` is the router's address.
    pub fn overlaps(&self, other: &Self, own: Option<Ipv4Addr>) -> bool {
        self.external_ip.or(own) == other.external_ip.or(own)
            && self.protocol == other.protocol
            && self.port_range_min <= other.port_range_max
            && other.port_range_min <= self.port_range_max
    }

    /// Reads the fields of a forwarded port.
    pub fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let id = reader.optional("id", value::text).unwrap_or_default();
        let external_ip = reader.optional("external_ip", value::ipv4);
        let protocol = reader.required("protocol", "`tcp`", |word| {
            value::word(word, &[Protocol::WORDS[0], Protocol::WORDS[1], Protocol::WORDS[2]])
        });
        let first = reader.required("port_range_min", "`8080`", port);
        let last = reader.optional("port_range_max", port).or(first);
        let target_ip = reader.required("target_ip", "`10.0.0.5`", value::ipv4);
        let target_port = reader.optional("target_port", port);
        let forward = Self {
            id,
            external_ip,
            protocol: protocol?,
            port_range_min: first?,
            port_range_max: last?,
            target_ip: target_ip?,
            target_port,
        };
        let (first, last) = (forward.port_range_min, forward.port_range_max);
        if first > last {
            let message = "the last port is below the first".to_owned();
            reader.refuse("port_range_max", Refusal::new("invalid_range", message, "exchange the two"));
        } else if target_port.is_some_and(|target| target.checked_add(last - first).is_none()) {
            let message = format!("there are no {} ports from there", u32::from(last - first) + 1);
            reader.refuse("target_port", Refusal::new("invalid_range", message, "a lower one"));
        }
        Some(forward)
    }
}

impl fmt::Display for PortForward {
    /// As on the command line: `tcp:8080`, `udp:5000-5009`, `203.0.113.5:tcp:8080`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(address) = self.external_ip {
            write!(f, "{address}:")?;
        }
        write!(f, "{}:{}", self.protocol.word(), self.port_range_min)?;
        if self.port_range_max == self.port_range_min {
            Ok(())
        } else {
            write!(f, "-{}", self.port_range_max)
        }
    }
}

impl AddressRange {
    /// Reads an address or a range.
    fn read(value: &Value) -> Result<Self, Refusal> {
        let text = value::text(value)?;
        text.parse().map_err(|error: AddressRangeError| {
            Refusal::new("invalid_address", error.to_string(), "`203.0.113.5` or `203.0.113.5-203.0.113.9`")
        })
    }
}

impl FromStr for AddressRange {
    type Err = AddressRangeError;

    fn from_str(text: &str) -> Result<Self, AddressRangeError> {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let parse = |part: &str| part.trim().parse().map_err(|_| AddressRangeError(text.to_owned()));
        let (first, last) = (parse(first)?, parse(last)?);
        if first <= last { Ok(Self { first, last }) } else { Err(AddressRangeError(text.to_owned())) }
    }
}

impl fmt::Display for AddressRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last { self.first.fmt(f) } else { write!(f, "{}-{}", self.first, self.last) }
    }
}

impl TryFrom<String> for AddressRange {
    type Error = AddressRangeError;

    fn try_from(text: String) -> Result<Self, AddressRangeError> {
        text.parse()
    }
}

impl From<AddressRange> for String {
    fn from(range: AddressRange) -> Self {
        range.to_string()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::RouterSpec;
    use crate::meta::tests::{accepted, refusals};

    fn with_pool(pool: &Value) -> Value {
        json!({"router": {"name": "r", "external": {"network": "wan", "snat_pool": pool}}})
    }

    fn with_forward(forward: &Value) -> Value {
        json!({"router": {"name": "r", "external": "wan", "port_forwards": [forward]}})
    }

    #[test]
    fn a_pool_is_read_with_its_defaults_and_shown_as_it_was_written() {
        let body = with_pool(&json!({"addresses": ["203.0.113.5", "203.0.113.8-203.0.113.9"]}));
        let pool = accepted::<RouterSpec>(&body).spec.external.unwrap().snat_pool.unwrap();
        assert_eq!((pool.port_range_min, pool.paired, pool.high_water_percent), (1024, true, 80));
        let last: Vec<u8> = pool.each_address().map(|address| address.octets()[3]).collect();
        assert_eq!(last, [5, 8, 9]);
        assert_eq!(json!(pool)["addresses"], json!(["203.0.113.5", "203.0.113.8-203.0.113.9"]));
    }

    #[test]
    fn pools_that_make_no_sense_are_refused() {
        for (pool, field, code) in [
            (json!({"addresses": ["203.0.113.9-203.0.113.5"]}), "addresses/0", "invalid_address"),
            (json!({"addresses": ["203.0.113.5", "203.0.113.1-203.0.113.9"]}), "addresses/1", "overlap"),
            (json!({"addresses": ["203.0.0.0-203.0.255.255"]}), "addresses", "too_many"),
            (json!({"filtering": "endpoint_independent"}), "filtering", "not_allowed"),
            (json!({"port_range_min": 2000, "port_range_max": 1999}), "port_range_max", "invalid_range"),
            (
                json!({"preserve_class": true, "port_range_min": 1, "port_range_max": 1000}),
                "port_range_max",
                "invalid_range",
            ),
            (json!({"port_block_size": 4}), "port_block_size", "out_of_range"),
            (json!({"high_water_percent": 0}), "high_water_percent", "out_of_range"),
            (json!({"mapping": "full_cone"}), "mapping", "invalid_value"),
        ] {
            let found = refusals::<RouterSpec>(&with_pool(&pool));
            assert_eq!(found, [(format!("/router/external/snat_pool/{field}"), code.to_owned())], "{pool}");
        }
    }

    #[test]
    fn forwarded_ports_are_ranges() {
        let forward = json!({"protocol": "udp", "port_range_min": 5000, "port_range_max": 5009, "target_ip": "10.0.0.5"});
        let spec = accepted::<RouterSpec>(&with_forward(&forward)).spec;
        assert_eq!(spec.port_forwards[0].to_string(), "udp:5000-5009");
        for (more, field, code) in [
            (json!({"port_range_max": 4000}), "port_range_max", "invalid_range"),
            (json!({"target_port": 65_530}), "target_port", "invalid_range"),
            (json!({"protocol": "icmp"}), "protocol", "invalid_value"),
            (json!({"target_ip": null}), "target_ip", "missing"),
        ] {
            let mut forward = forward.clone();
            for (key, value) in more.as_object().unwrap() {
                forward[key] = value.clone();
            }
            let found = refusals::<RouterSpec>(&with_forward(&forward));
            assert_eq!(found, [(format!("/router/port_forwards/0/{field}"), code.to_owned())], "{more}");
        }
    }
}
