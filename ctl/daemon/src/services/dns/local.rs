//! What the gateway knows itself: the names of the asking tenant's ports, forwards and backwards.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use edgestack_dataplane::wire::dns::{
    Name, Query, Record, ResponseCode, TYPE_A, TYPE_AAAA, TYPE_ANY, TYPE_HINFO, TYPE_PTR, TYPE_SOA,
};

use crate::services::directory::{Directory, Network, Space};

/// How long what is told may be kept, in seconds: ports come and go.
const TTL_SECONDS: u32 = 30;
/// How long it may be kept that there is nothing.
const NEGATIVE_TTL_SECONDS: u32 = 5;

/// The answer, where it is the gateway's to give.
pub(super) fn answer(
    directory: &Directory,
    network: &Network,
    query: &Query,
    length_max: usize,
) -> Option<Vec<u8>> {
    let space = directory.space(network)?;
    let domain = directory.domain.as_ref().filter(|domain| domain.labels().next().is_some());
    if let Some(domain) = domain.filter(|domain| query.name.is_within(domain)) {
        let addresses = space.addresses(&query.name);
        let exists = addresses.is_some() || space.is_domain(&query.name);
        return Some(tell(query, domain, addresses.unwrap_or_default(), exists, length_max));
    }
    if let Some(address) = reversed(&query.name) {
        return space.contains(address).then(|| backwards(space, query, address, length_max));
    }
    // A name without a domain is one of the caller's own network; it means nothing to others.
    let mut labels = query.name.labels();
    let (Some(label), None) = (labels.next(), labels.next()) else { return None };
    let own_domain = network.domain.as_ref()?;
    let text = format!("{}.{own_domain}", String::from_utf8_lossy(label));
    let whole = Name::from_text(text.trim_end_matches('.'));
    let addresses = whole.and_then(|name| space.addresses(&name));
    let exists = addresses.is_some();
    Some(tell(query, own_domain, addresses.unwrap_or_default(), exists, length_max))
}

/// Tells the addresses of a name, or that there are none of the kind, or that there is no such name.
fn tell(query: &Query, zone: &Name, addresses: &[IpAddr], exists: bool, length_max: usize) -> Vec<u8> {
    let record = |kind, data| Record { name: query.name.clone(), kind, ttl: TTL_SECONDS, data };
    let answers: Vec<Record> = addresses
        .iter()
        .filter_map(|address| match (query.kind, address) {
            (TYPE_A, IpAddr::V4(address)) => Some(record(TYPE_A, address.octets().to_vec())),
            (TYPE_AAAA, IpAddr::V6(address)) => Some(record(TYPE_AAAA, address.octets().to_vec())),
            _ => None,
        })
        .chain((query.kind == TYPE_ANY && exists).then(|| record(TYPE_HINFO, b"\x07RFC8482\0".to_vec())))
        .collect();
    finish(query, zone, &answers, exists, length_max)
}

/// Tells whose an address is.
fn backwards(space: &Space, query: &Query, address: IpAddr, length_max: usize) -> Vec<u8> {
    let name = space.name(address);
    let answers: Vec<Record> = name
        .filter(|_| query.kind == TYPE_PTR)
        .map(|name| Record {
            name: query.name.clone(),
            kind: TYPE_PTR,
            ttl: TTL_SECONDS,
            data: name.as_bytes().to_vec(),
        })
        .into_iter()
        .collect();
    finish(query, &query.name, &answers, name.is_some(), length_max)
}

fn finish(query: &Query, zone: &Name, answers: &[Record], exists: bool, length_max: usize) -> Vec<u8> {
    let code = if exists { ResponseCode::NoError } else { ResponseCode::NameError };
    let authority = answers.is_empty().then(|| start_of_authority(zone));
    query.answer(code, true, answers, authority.as_ref(), length_max)
}

/// What says how long it may be kept that there is nothing (RFC 2308).
fn start_of_authority(zone: &Name) -> Record {
    let mut data = zone.as_bytes().to_vec();
    data.extend(zone.as_bytes());
    for number in [1, 3600, 600, 86_400, NEGATIVE_TTL_SECONDS] {
        data.extend(number.to_be_bytes());
    }
    Record { name: zone.clone(), kind: TYPE_SOA, ttl: NEGATIVE_TTL_SECONDS, data }
}

/// The address that a name of `in-addr.arpa` or `ip6.arpa` stands for.
fn reversed(name: &Name) -> Option<IpAddr> {
    let labels: Vec<&str> = name.labels().map(std::str::from_utf8).collect::<Result<_, _>>().ok()?;
    match labels[..] {
        [d, c, b, a, "in-addr", "arpa"] => {
            format!("{a}.{b}.{c}.{d}").parse::<Ipv4Addr>().ok().map(IpAddr::V4)
        }
        [ref digits @ .., "ip6", "arpa"] if digits.len() == 32 => {
            let bits = digits.iter().rev().try_fold(0_u128, |bits, digit| {
                let digit = Some(*digit).filter(|digit| digit.len() == 1)?;
                Some(bits << 4 | u128::from_str_radix(digit, 16).ok()?)
            })?;
            Some(IpAddr::V6(Ipv6Addr::from_bits(bits)))
        }
        _ => None,
    }
}
