//! The packet of a trace as people write it: `tcp 10.0.0.5:4000>10.0.0.9:80`, `udp >8.8.8.8:53`, `icmp 10.0.0.9`,
//! `sctp >10.0.0.9:38412`, `gre 10.0.0.9`, `89 10.0.0.9`, `tcp [2001:db8::5]:4000>[2001:db8::9]:80`.

use std::net::IpAddr;

use edgestack_dataplane::inspect::LiveTraceRequest;
use edgestack_dataplane::wire::{PROTOCOL_ICMP, PROTOCOL_ICMPV6, has_ports, has_selectors, protocol_number};

/// How a packet is written, for messages.
pub(crate) const FORM: &str =
    "PROTOCOL [SOURCE[:PORT]>]DESTINATION[:PORT], like 'tcp 10.0.0.5:4000>10.0.0.9:80'";

/// Source port of a packet that names none: an ephemeral one, as a client would use.
const SOURCE_PORT_DEFAULT: u16 = 40_000;
/// ICMP identifier of a packet that names none.
const ICMP_IDENTIFIER_DEFAULT: u16 = 1;

/// A described packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PacketText {
    /// Name or number of the protocol.
    pub protocol: String,
    /// Source address.
    pub source: Option<IpAddr>,
    /// Source port or ICMP identifier; 0 where there is none.
    pub source_port: u16,
    /// Destination address.
    pub destination: IpAddr,
    /// Destination port; 0 where there is none.
    pub destination_port: u16,
}

/// Reads a packet.
pub(crate) fn parse(text: &str) -> Result<PacketText, String> {
    let text = text.trim();
    let (protocol, route) =
        text.split_once(char::is_whitespace).ok_or_else(|| format!("`{text}` is no packet; write {FORM}"))?;
    let (protocol, number) = parse_protocol(protocol)?;
    let (source, destination) = match route.split_once('>') {
        Some((source, destination)) => (source.trim(), destination.trim()),
        None => ("", route.trim()),
    };
    let (source, source_port) = parse_source(source)?;
    let (destination, destination_port) = parse_end(destination)?;
    let is_icmp = is_icmp(number);
    let destination_port = match destination_port {
        Some(port) if is_icmp => {
            return Err(format!(
                "`:{port}`: ICMP has no ports; a number behind the source is the identifier"
            ));
        }
        None if has_ports(number) => {
            return Err(format!("the destination port is missing: {destination}:PORT"));
        }
        port => port,
    };
    if !has_selectors(number) && (source_port.is_some() || destination_port.is_some()) {
        return Err(format!("the protocol {protocol} has no ports; write the addresses alone"));
    }
    let source_port = source_port.unwrap_or(match number {
        _ if is_icmp => ICMP_IDENTIFIER_DEFAULT,
        _ if has_ports(number) => SOURCE_PORT_DEFAULT,
        _ => 0,
    });
    let destination_port = destination_port.unwrap_or(0);
    Ok(PacketText { protocol, source, source_port, destination, destination_port })
}

/// A protocol by its name, in any case, or its number; both.
fn parse_protocol(text: &str) -> Result<(String, u8), String> {
    let protocol = text.to_ascii_lowercase();
    let number = protocol_number(&protocol).ok_or_else(|| {
        format!(
            "`{protocol}` is not tcp, udp, icmp, sctp or another protocol's number, 0 to 255; write {FORM}"
        )
    })?;
    Ok((protocol, number))
}

const fn is_icmp(protocol: u8) -> bool {
    matches!(protocol, PROTOCOL_ICMP | PROTOCOL_ICMPV6)
}

/// Reads which packets are wanted: nothing, a protocol, or a protocol and what is to hold of addresses and ports, written as
/// a packet is.
pub(crate) fn parse_filter(text: &str) -> Result<LiveTraceRequest, String> {
    let text = text.trim();
    let (protocol, route) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
    if protocol.is_empty() {
        return Ok(LiveTraceRequest::default());
    }
    let (protocol, number) = parse_protocol(protocol)?;
    let (source, destination) = match route.split_once('>') {
        Some((source, destination)) => (source.trim(), destination.trim()),
        None => ("", route.trim()),
    };
    let (source, source_port) = parse_source(source)?;
    let (destination, destination_port) = parse_source(destination)?;
    if !has_ports(number) && (source_port.is_some() || destination_port.is_some()) {
        return Err(format!("the protocol {protocol} has no ports; write the addresses alone"));
    }
    let protocol = Some(protocol);
    let request = LiveTraceRequest { protocol, source, destination, ..LiveTraceRequest::default() };
    Ok(LiveTraceRequest { source_port, destination_port, ..request })
}

/// The source may be left out, or be a port alone (`:4000`).
fn parse_source(text: &str) -> Result<(Option<IpAddr>, Option<u16>), String> {
    if text.is_empty() {
        return Ok((None, None));
    }
    if let Some(port) = text.strip_prefix(':').filter(|port| !port.contains(':')) {
        return Ok((None, Some(parse_port(port)?)));
    }
    let (address, port) = parse_end(text)?;
    Ok((Some(address), port))
}

/// An address, and a port behind a colon; an IPv6 address that has one is written in brackets.
fn parse_end(text: &str) -> Result<(IpAddr, Option<u16>), String> {
    if let Ok(address) = text.parse() {
        return Ok((address, None));
    }
    let bracketed = text.strip_prefix('[').and_then(|rest| rest.split_once(']'));
    let (address, port) = match (bracketed, text.split_once(':')) {
        (Some((address, "")), _) => (address, None),
        (Some((address, port)), _) => (address, Some(parse_port(port.trim_start_matches(':'))?)),
        (None, Some((address, port))) => (address, Some(parse_port(port)?)),
        (None, None) => (text, None),
    };
    let address =
        address.trim().parse().map_err(|_| format!("`{address}` is no IP address; write {FORM}"))?;
    Ok((address, port))
}

fn parse_port(text: &str) -> Result<u16, String> {
    text.trim().parse().map_err(|_| format!("`{text}` is no port (0 to 65535)"))
}

#[cfg(test)]
mod tests {
    use edgestack_dataplane::inspect::LiveTraceRequest;

    use super::{PacketText, parse, parse_filter};

    fn packet(protocol: &str, source: &str, source_port: u16, destination: &str, port: u16) -> PacketText {
        PacketText {
            protocol: protocol.to_owned(),
            source: source.parse().ok(),
            source_port,
            destination: destination.parse().unwrap(),
            destination_port: port,
        }
    }

    #[test]
    fn packets_are_read() {
        for (text, expected) in [
            ("tcp 10.0.0.5:4000>10.0.0.9:80", packet("tcp", "10.0.0.5", 4000, "10.0.0.9", 80)),
            ("TCP  10.0.0.5:4000 > 10.0.0.9:80 ", packet("tcp", "10.0.0.5", 4000, "10.0.0.9", 80)),
            ("udp 10.0.0.5>8.8.8.8:53", packet("udp", "10.0.0.5", 40_000, "8.8.8.8", 53)),
            ("udp >8.8.8.8:53", packet("udp", "", 40_000, "8.8.8.8", 53)),
            ("udp :5>8.8.8.8:53", packet("udp", "", 5, "8.8.8.8", 53)),
            ("tcp 8.8.8.8:443", packet("tcp", "", 40_000, "8.8.8.8", 443)),
            ("icmp 10.0.0.9", packet("icmp", "", 1, "10.0.0.9", 0)),
            ("icmp ::1", packet("icmp", "", 1, "::1", 0)),
            ("tcp ::1>[2001:db8::9]:80", packet("tcp", "::1", 40_000, "2001:db8::9", 80)),
            ("udp [::1]:7>[2001:db8::9]:53", packet("udp", "::1", 7, "2001:db8::9", 53)),
            ("icmp 10.0.0.5:77>10.0.0.9", packet("icmp", "10.0.0.5", 77, "10.0.0.9", 0)),
            ("sctp > 10.0.0.9:443", packet("sctp", "", 40_000, "10.0.0.9", 443)),
            ("gre 10.0.0.9", packet("gre", "", 0, "10.0.0.9", 0)),
            ("89 10.0.0.5>10.0.0.9", packet("89", "10.0.0.5", 0, "10.0.0.9", 0)),
            ("132 10.0.0.9:443", packet("132", "", 40_000, "10.0.0.9", 443)),
        ] {
            assert_eq!(parse(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn filters_are_read() {
        let any = LiveTraceRequest::default();
        let of = |protocol: &str| LiveTraceRequest { protocol: Some(protocol.into()), ..any.clone() };
        let to = |request, address: &str| LiveTraceRequest { destination: address.parse().ok(), ..request };
        let http = LiveTraceRequest { destination_port: Some(80), ..of("tcp") };
        for (text, expected) in [
            ("", any.clone()),
            (" TCP ", of("tcp")),
            ("icmp 10.0.0.9", to(of("icmp"), "10.0.0.9")),
            ("tcp :80", http.clone()),
            ("esp", of("esp")),
            ("tcp 10.0.0.9:80", to(http.clone(), "10.0.0.9")),
            ("tcp >[2001:db8::9]:80", to(http.clone(), "2001:db8::9")),
            (
                "tcp 10.0.0.5:4000>:80",
                LiveTraceRequest { source: "10.0.0.5".parse().ok(), source_port: Some(4000), ..http },
            ),
        ] {
            assert_eq!(parse_filter(text), Ok(expected), "{text}");
        }
        for (text, part) in [
            ("web-1", "`web-1`"),
            ("icmp 10.0.0.9:80", "no ports"),
            ("tcp 10.0.0:1", "`10.0.0`"),
            ("47 :1", "no ports"),
        ] {
            let error = parse_filter(text).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    #[test]
    fn what_is_wrong_with_a_packet_is_named() {
        for (text, part) in [
            ("", "is no packet"),
            ("tcp", "is no packet"),
            ("stcp 10.0.0.1:1", "`stcp`"),
            ("256 10.0.0.1", "`256`"),
            ("sctp 10.0.0.1", "destination port is missing"),
            ("gre 10.0.0.1:1", "gre has no ports"),
            ("tcp 10.0.0.9", "destination port is missing"),
            ("tcp 10.0.0.5:4000>10.0.0:80", "`10.0.0`"),
            ("tcp 10.0.0.5:x>10.0.0.9:80", "`x`"),
            ("tcp 10.0.0.5>10.0.0.9:80000", "`80000`"),
            ("icmp 10.0.0.9:80", "ICMP has no ports"),
            ("udp 10.0.0.5>", "is no IP address"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
