//! MAC addresses as the API writes them. IP addresses and ranges are those of the standard library and `ipnet`.

use std::fmt;
use std::net::Ipv6Addr;
use std::str::FromStr;

use ipnet::Ipv6Net;
use serde::{Deserialize, Serialize};

/// The text is not six two-digit hexadecimal numbers joined by colons.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no MAC address")]
pub struct MacAddressError(String);

/// A 48-bit MAC address, in the order of the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct MacAddress(pub [u8; 6]);

impl MacAddress {
    /// The address that a host with this MAC address makes in an IPv6 subnet of 64 bits (RFC 4291, appendix A).
    pub fn ipv6_address(self, subnet: Ipv6Net) -> Ipv6Addr {
        let Self([first, second, third, fourth, fifth, sixth]) = self;
        let interface = u64::from_be_bytes([first ^ 2, second, third, 0xff, 0xfe, fourth, fifth, sixth]);
        Ipv6Addr::from_bits(subnet.network().to_bits() | u128::from(interface))
    }

    /// A locally administered address that follows from `seed` alone, so that the same object always has the same one.
    pub fn generated(seed: &str, attempt: u32) -> Self {
        // FNV-1a: spreads well enough here, and is the same in every version of the program.
        let mut hash = 0xcbf2_9ce4_8422_2325_u64;
        for byte in seed.bytes().chain(attempt.to_be_bytes()) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        let [_, _, _, second, third, fourth, fifth, sixth] = (hash ^ (hash >> 40)).to_be_bytes();
        Self([0x02, second, third, fourth, fifth, sixth])
    }

    /// The group bit is set: multicast or broadcast.
    pub const fn is_multicast(self) -> bool {
        self.0[0] & 1 != 0
    }

    /// All bits are zero.
    pub fn is_zero(self) -> bool {
        self.0 == [0; 6]
    }
}

impl fmt::Display for MacAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, byte) in self.0.iter().enumerate() {
            write!(f, "{}{byte:02x}", if index == 0 { "" } else { ":" })?;
        }
        Ok(())
    }
}

impl FromStr for MacAddress {
    type Err = MacAddressError;

    fn from_str(text: &str) -> Result<Self, MacAddressError> {
        let error = || MacAddressError(text.to_owned());
        let mut bytes = [0; 6];
        let mut parts = text.split([':', '-']);
        for byte in &mut bytes {
            let part =
                parts.next().filter(|part| part.len() == 2 && !part.starts_with('+')).ok_or_else(error)?;
            *byte = u8::from_str_radix(part, 16).map_err(|_| error())?;
        }
        if parts.next().is_some() { Err(error()) } else { Ok(Self(bytes)) }
    }
}

impl TryFrom<String> for MacAddress {
    type Error = MacAddressError;

    fn try_from(text: String) -> Result<Self, MacAddressError> {
        text.parse()
    }
}

impl From<MacAddress> for String {
    fn from(mac: MacAddress) -> Self {
        mac.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::MacAddress;

    #[test]
    fn generated_addresses_are_stable_local_unicast_and_differ() {
        let first = MacAddress::generated("0199aaaa", 0);
        assert_eq!(first, MacAddress::generated("0199aaaa", 0));
        assert_ne!(first, MacAddress::generated("0199aaab", 0));
        assert_ne!(first, MacAddress::generated("0199aaaa", 1));
        assert!(!first.is_multicast());
        assert_eq!(first.0[0] & 2, 2, "{first}");
    }

    #[test]
    fn a_host_makes_its_address_of_its_mac_address() {
        // RFC 4291, appendix A.
        let mac: MacAddress = "34:56:78:9a:bc:de".parse().unwrap();
        let address = mac.ipv6_address("2001:db8:a::/64".parse().unwrap());
        assert_eq!(address.to_string(), "2001:db8:a:0:3656:78ff:fe9a:bcde");
    }

    #[test]
    fn both_separators_are_read_and_colons_written() {
        let mac: MacAddress = "02-00-5E-10-00-FF".parse().unwrap();
        assert_eq!(mac.to_string(), "02:00:5e:10:00:ff");
        for wrong in ["", "02:00:5e:10:00", "02:00:5e:10:00:ff:01", "2:0:5e:10:0:ff", "+2:00:5e:10:00:ff"] {
            assert!(wrong.parse::<MacAddress>().is_err(), "{wrong}");
        }
    }
}
