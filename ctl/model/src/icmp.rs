//! Names of the types and codes of ICMP and ICMPv6, for rules that people write. The numbers are IANA's.

/// Types of ICMP.
const TYPES: [(&str, u8); 12] = [
    ("echo-reply", 0),
    ("destination-unreachable", 3),
    ("source-quench", 4),
    ("redirect", 5),
    ("echo-request", 8),
    ("router-advertisement", 9),
    ("router-solicitation", 10),
    ("time-exceeded", 11),
    ("parameter-problem", 12),
    ("timestamp-request", 13),
    ("timestamp-reply", 14),
    ("extended-echo-request", 42),
];
/// Types of ICMPv6.
const IPV6_TYPES: [(&str, u8); 14] = [
    ("destination-unreachable", 1),
    ("packet-too-big", 2),
    ("time-exceeded", 3),
    ("parameter-problem", 4),
    ("echo-request", 128),
    ("echo-reply", 129),
    ("multicast-listener-query", 130),
    ("multicast-listener-report", 131),
    ("multicast-listener-done", 132),
    ("router-solicitation", 133),
    ("router-advertisement", 134),
    ("neighbour-solicitation", 135),
    ("neighbour-advertisement", 136),
    ("redirect", 137),
];
/// Codes of ICMP: type, name, code.
const CODES: [(u8, &str, u8); 12] = [
    (3, "network-unreachable", 0),
    (3, "host-unreachable", 1),
    (3, "protocol-unreachable", 2),
    (3, "port-unreachable", 3),
    (3, "fragmentation-needed", 4),
    (3, "source-route-failed", 5),
    (3, "network-prohibited", 9),
    (3, "host-prohibited", 10),
    (3, "communication-prohibited", 13),
    (11, "ttl-exceeded", 0),
    (11, "reassembly-timeout", 1),
    (5, "host-redirect", 1),
];
/// Codes of ICMPv6: type, name, code.
const IPV6_CODES: [(u8, &str, u8); 6] = [
    (1, "no-route", 0),
    (1, "communication-prohibited", 1),
    (1, "address-unreachable", 3),
    (1, "port-unreachable", 4),
    (3, "hop-limit-exceeded", 0),
    (3, "reassembly-timeout", 1),
];

/// The number of a type, in any case.
pub fn type_number(name: &str, ipv6: bool) -> Option<u8> {
    let name = spelled(name);
    let types: &[(&str, u8)] = if ipv6 { &IPV6_TYPES } else { &TYPES };
    types.iter().find(|(known, _)| *known == name).map(|(_, number)| *number)
}

/// The number of a code of a type, in any case.
pub fn code_number(name: &str, kind: u8, ipv6: bool) -> Option<u8> {
    let name = spelled(name);
    let codes: &[(u8, &str, u8)] = if ipv6 { &IPV6_CODES } else { &CODES };
    codes.iter().find(|(of, known, _)| *of == kind && *known == name).map(|(_, _, number)| *number)
}

/// Lower case, and the spelling of the table: `neighbor-solicitation`, `echo_request` and `ping` are found too.
fn spelled(name: &str) -> String {
    let name = name.trim().to_ascii_lowercase().replace(['_', ' '], "-").replace("neighbor", "neighbour");
    match name.as_str() {
        "ping" => "echo-request".to_owned(),
        "pong" => "echo-reply".to_owned(),
        _ => name,
    }
}

#[cfg(test)]
mod tests {
    use super::{code_number, type_number};

    #[test]
    fn names_are_found_in_any_spelling() {
        assert_eq!(type_number("Echo-Request", false), Some(8));
        assert_eq!(type_number("ping", true), Some(128));
        assert_eq!(type_number("neighbor_solicitation", true), Some(135));
        assert_eq!(type_number("neighbour-solicitation", false), None, "it is of IPv6");
        assert_eq!(code_number("fragmentation-needed", 3, false), Some(4));
        assert_eq!(code_number("fragmentation-needed", 11, false), None, "it is of another type");
        assert_eq!(code_number("port-unreachable", 1, true), Some(4));
    }
}
