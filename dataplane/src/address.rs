//! Addresses as the configuration writes them: MAC addresses and ranges of IP addresses.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Why an address text was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// Not six two-digit hexadecimal numbers joined by colons.
    #[error("`{0}` is no MAC address; write it like `02:00:00:00:00:01`")]
    Mac(String),
    /// Not `address/length`.
    #[error("`{0}` is no address range; write it like `10.0.0.0/24` or `2001:db8::/64`")]
    Cidr(String),
    /// Bits are set beyond the prefix.
    #[error("`{0}` has bits set beyond its prefix; did you mean `{1}`?")]
    HostBits(String, Cidr),
}

/// A 48-bit MAC address, in the order of the wire.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct MacAddress(pub [u8; 6]);

impl MacAddress {
    /// `ff:ff:ff:ff:ff:ff`.
    pub const BROADCAST: Self = Self([0xff; 6]);

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
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let error = || AddressError::Mac(text.to_owned());
        let mut bytes = [0; 6];
        let mut parts = text.split(':');
        for byte in &mut bytes {
            let part = parts.next().filter(|part| part.len() == 2).ok_or_else(error)?;
            *byte = u8::from_str_radix(part, 16).map_err(|_| error())?;
        }
        if parts.next().is_some() { Err(error()) } else { Ok(Self(bytes)) }
    }
}

impl TryFrom<String> for MacAddress {
    type Error = AddressError;

    fn try_from(text: String) -> Result<Self, AddressError> {
        text.parse()
    }
}

impl From<MacAddress> for String {
    fn from(mac: MacAddress) -> Self {
        mac.to_string()
    }
}

/// A range of IPv4 or IPv6 addresses: a network address and a prefix length, host bits zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Cidr {
    address: IpAddr,
    prefix: u8,
}

impl Cidr {
    /// The range of `prefix` leading bits that holds `address`. A prefix longer than the address counts as its length.
    pub fn containing(address: impl Into<IpAddr>, prefix: u8) -> Self {
        match address.into() {
            IpAddr::V4(address) => {
                let prefix = prefix.min(32);
                Self { address: Ipv4Addr::from_bits(address.to_bits() & mask_ipv4(prefix)).into(), prefix }
            }
            IpAddr::V6(address) => {
                let prefix = prefix.min(128);
                Self { address: Ipv6Addr::from_bits(address.to_bits() & mask_ipv6(prefix)).into(), prefix }
            }
        }
    }

    /// The network address.
    pub const fn address(self) -> IpAddr {
        self.address
    }

    /// Length of the prefix in bits, 0 to 32 or 128.
    pub const fn prefix(self) -> u8 {
        self.prefix
    }

    /// Whether the addresses are IPv6.
    pub const fn is_ipv6(self) -> bool {
        self.address.is_ipv6()
    }

    /// The last address of the range: of IPv4 the broadcast address.
    pub fn last(self) -> IpAddr {
        match self.address {
            IpAddr::V4(address) => Ipv4Addr::from_bits(address.to_bits() | !mask_ipv4(self.prefix)).into(),
            IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() | !mask_ipv6(self.prefix)).into(),
        }
    }

    /// Whether `address` is in the range. An address of the other version never is.
    pub fn contains(self, address: impl Into<IpAddr>) -> bool {
        match (self.address, address.into()) {
            (IpAddr::V4(network), IpAddr::V4(address)) => {
                address.to_bits() & mask_ipv4(self.prefix) == network.to_bits()
            }
            (IpAddr::V6(network), IpAddr::V6(address)) => {
                address.to_bits() & mask_ipv6(self.prefix) == network.to_bits()
            }
            _ => false,
        }
    }

    /// Whether the two ranges share an address.
    pub fn overlaps(self, other: Self) -> bool {
        self.contains(other.address) || other.contains(self.address)
    }
}

const fn mask_ipv4(prefix: u8) -> u32 {
    if prefix == 0 { 0 } else { u32::MAX << (32 - prefix) }
}

const fn mask_ipv6(prefix: u8) -> u128 {
    if prefix == 0 { 0 } else { u128::MAX << (128 - prefix) }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

impl FromStr for Cidr {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let error = || AddressError::Cidr(text.to_owned());
        let (address, prefix) = text.split_once('/').ok_or_else(error)?;
        let address: IpAddr = address.parse().map_err(|_| error())?;
        let longest = if address.is_ipv6() { 128 } else { 32 };
        let prefix: u8 = prefix.parse().ok().filter(|prefix| *prefix <= longest).ok_or_else(error)?;
        let cidr = Self::containing(address, prefix);
        if cidr.address == address { Ok(cidr) } else { Err(AddressError::HostBits(text.to_owned(), cidr)) }
    }
}

impl TryFrom<String> for Cidr {
    type Error = AddressError;

    fn try_from(text: String) -> Result<Self, AddressError> {
        text.parse()
    }
}

impl From<Cidr> for String {
    fn from(cidr: Cidr) -> Self {
        cidr.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::{Cidr, MacAddress};

    #[test]
    fn mac_addresses_print_as_they_are_parsed() {
        let mac: MacAddress = "02:00:5e:10:00:ff".parse().unwrap();
        assert_eq!(mac.to_string(), "02:00:5e:10:00:ff");
        for wrong in [
            "",
            "02:00:5e:10:00",
            "02:00:5e:10:00:ff:01",
            "2:0:5e:10:0:ff",
            "02-00-5e-10-00-ff",
            "0g:00:00:00:00:00",
        ] {
            assert!(wrong.parse::<MacAddress>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn ranges_refuse_host_bits_and_say_what_was_meant() {
        let error = "10.0.0.1/24".parse::<Cidr>().unwrap_err();
        assert!(error.to_string().contains("10.0.0.0/24"), "{error}");
        for wrong in
            ["10.0.0.0", "10.0.0.0/33", "10.0.0/24", "x/8", "::1", "2001:db8::/129", "2001:db8::1/64"]
        {
            assert!(wrong.parse::<Cidr>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn ranges_overlap_when_one_holds_the_other() {
        let range = |text: &str| text.parse::<Cidr>().unwrap();
        assert!(range("10.0.0.0/8").overlaps(range("10.1.0.0/16")));
        assert!(range("10.1.0.0/16").overlaps(range("10.0.0.0/8")));
        assert!(!range("10.0.0.0/16").overlaps(range("10.1.0.0/16")));
        assert!(range("2001:db8::/32").overlaps(range("2001:db8:1::/48")));
        assert!(!range("::/0").overlaps(range("0.0.0.0/0")), "the versions never meet");
        assert!(range("0.0.0.0/0").overlaps(range("192.168.0.0/24")));
        assert_eq!(range("10.0.0.0/24").last().to_string(), "10.0.0.255");
    }
}
