//! Address groups: named lists of ranges that rules of security groups name as the other side. A change of the list is
//! a change of every rule that names it, without touching the rules.

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::meta::{Kind, Object, Spec};
use crate::reader::{Reader, Refusal};
use crate::value;

/// Ranges of one address group.
pub const ADDRESSES_MAX: usize = 1024;

/// An address group as the API shows it.
pub type AddressGroup = Object<AddressGroupSpec>;

/// The fields of an address group.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AddressGroupSpec {
    /// Ranges of both versions of IP; a rule sees those of its own. No range is nobody.
    #[serde(default)]
    pub addresses: Vec<IpNet>,
    /// Free text.
    #[serde(default)]
    pub description: String,
}

impl Spec for AddressGroupSpec {
    const KIND: Kind = Kind::AddressGroup;

    fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let addresses = reader.list("addresses", ADDRESSES_MAX, value::cidr_or_address).unwrap_or_default();
        let description = reader.optional("description", value::description).unwrap_or_default();
        let mut seen = std::collections::HashSet::with_capacity(addresses.len());
        for (index, range) in addresses.iter().enumerate() {
            if !seen.insert(*range) {
                let message = format!("{range} stands twice in the list");
                let refusal = Refusal::new("duplicate", message, "leave one out");
                reader.refuse(&format!("addresses/{index}"), refusal);
            }
        }
        let spec = Self { addresses, description };
        reader.is_clean().then_some(spec)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::AddressGroupSpec;
    use crate::meta::tests::{accepted, refusals};

    #[test]
    fn ranges_and_single_addresses_of_both_versions_are_read() {
        let body = json!({"address_group": {"name": "office",
            "addresses": ["192.0.2.0/24", "198.51.100.7", "2001:db8::/32", "fd00::1"]}});
        let spec = accepted::<AddressGroupSpec>(&body).spec;
        let addresses: Vec<String> = spec.addresses.iter().map(ToString::to_string).collect();
        assert_eq!(addresses, ["192.0.2.0/24", "198.51.100.7/32", "2001:db8::/32", "fd00::1/128"]);
        let empty = accepted::<AddressGroupSpec>(&json!({"address_group": {"name": "nobody"}}));
        assert!(empty.spec.addresses.is_empty());
    }

    #[test]
    fn wrong_entries_are_named_by_their_place() {
        let found = refusals::<AddressGroupSpec>(&json!({"address_group": {"name": "office",
            "addresses": ["192.0.2.1/24", "x", 5, "10.0.0.1", "10.0.0.1/32"]}}));
        let wanted = [("0", "invalid_cidr"), ("1", "invalid_cidr"), ("2", "wrong_type")];
        let wanted = wanted.map(|(at, code)| (format!("/address_group/addresses/{at}"), code.to_owned()));
        assert_eq!(found[..3], wanted);
        assert_eq!(found[3].1, "duplicate");
        let many: Vec<String> =
            (0..=1024).map(|host| format!("10.0.{}.{}", host / 256, host % 256)).collect();
        let found = refusals::<AddressGroupSpec>(&json!({"address_group": {"name": "a", "addresses": many}}));
        assert_eq!(found.len(), 1, "{found:?}");
    }
}
