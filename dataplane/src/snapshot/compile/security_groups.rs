//! From configured security groups and address groups to those that are asked.

use std::sync::Arc;

use hashbrown::HashMap;

use super::Compiler;
use crate::config::{self, Direction, Ethertype};
use crate::snapshot::address_set::{AddressSet, bounds, version};
use crate::snapshot::security_group::{Hits, Remote, Rule, RuleSet, SecurityGroup, icmp_selector};
use crate::snapshot::{ADDRESS_GROUPS_MAX, fingerprint};
use crate::wire::{
    PROTOCOL_ICMP, PROTOCOL_ICMPV6, PROTOCOL_SCTP, PROTOCOL_TCP, PROTOCOL_UDP, PROTOCOL_UDP_LITE,
};

/// Rules of one security group. The worst of them take some 12 MiB when arranged for lookup.
const RULES_MAX: usize = 10_000;
/// Ranges of one address group.
const ADDRESSES_MAX: usize = 100_000;

impl Compiler<'_> {
    pub(super) fn address_groups(&mut self) {
        for (position, group) in self.config.address_groups.iter().enumerate() {
            if self.before.config.address_groups.get(position) == Some(group) {
                self.address_sets.push(Arc::clone(&self.before.address_sets[position]));
                continue;
            }
            if group.addresses.len() > ADDRESSES_MAX {
                let message =
                    format!("{} are more than the {ADDRESSES_MAX} of one group", group.addresses.len());
                self.problem(format!("address group {}", group.name), "addresses", message);
            }
            self.address_sets.push(Arc::new(AddressSet::new(&group.addresses)));
        }
    }

    pub(super) fn security_groups(&mut self) {
        let before = self.before;
        let is_kept = self.keeps_group_ids && self.keeps_address_group_ids;
        let old_by_id: HashMap<&str, &SecurityGroup> = if is_kept {
            HashMap::new()
        } else {
            before.security_groups.iter().map(|group| (group.id.as_str(), &**group)).collect()
        };
        for (position, group) in self.config.security_groups.iter().enumerate() {
            if is_kept && before.config.security_groups[position] == *group {
                self.security_groups.push(Arc::clone(&before.security_groups[position]));
                continue;
            }
            let old = if is_kept {
                Some(&*before.security_groups[position])
            } else {
                old_by_id.get(group.id.as_str()).copied()
            };
            let compiled = self.security_group(group, old);
            self.security_groups.push(Arc::new(compiled));
        }
    }

    /// A group; its rules go on with the counts that they had in `old`.
    fn security_group(
        &mut self,
        group: &config::SecurityGroup,
        old: Option<&SecurityGroup>,
    ) -> SecurityGroup {
        let object = || format!("security group {}", group.name);
        if group.rules.len() > RULES_MAX {
            let message = format!("{} are more than the {RULES_MAX} of one group", group.rules.len());
            self.problem(object(), "rules", message);
        }
        let old_rules = old.iter().flat_map(|old| old.ingress.rules.iter().chain(&old.egress.rules));
        let hits: HashMap<&str, &Hits> = old_rules.map(|rule| (rule.id.as_str(), &rule.hits)).collect();
        let (mut ingress, mut egress) = (Vec::new(), Vec::new());
        let mut address_groups = Vec::new();
        for rule in &group.rules {
            let Some(mut compiled) = self.rule(rule) else { continue };
            if let Some(hits) = hits.get(rule.id.as_str()) {
                compiled.hits = (*hits).clone();
            }
            if let Remote::AddressGroup(index) = compiled.remote {
                address_groups.push(index);
            }
            match rule.direction {
                Direction::Ingress => ingress.push(compiled),
                Direction::Egress => egress.push(compiled),
            }
        }
        address_groups.sort_unstable();
        address_groups.dedup();
        if address_groups.len() > ADDRESS_GROUPS_MAX {
            let message = format!(
                "they name {} address groups; {ADDRESS_GROUPS_MAX} is the most, so join some",
                address_groups.len()
            );
            self.problem(object(), "rules", message);
        }
        SecurityGroup {
            id: group.id.clone(),
            name: group.name.clone(),
            log_denied: group.log_denied,
            ingress: RuleSet::new(ingress),
            egress: RuleSet::new(egress),
            address_groups,
            fingerprint: fingerprint::of_security_group(group),
        }
    }

    fn rule(&mut self, rule: &config::SecurityGroupRule) -> Option<Rule> {
        let object = || format!("security group rule {}", rule.id);
        let is_ipv6 = rule.ethertype.map(|ethertype| ethertype == Ethertype::Ipv6);
        // As OpenStack has it: `icmp` in a rule for IPv6 is ICMPv6.
        let protocol = match (rule.protocol, is_ipv6) {
            (Some(PROTOCOL_ICMP), Some(true)) => Some(PROTOCOL_ICMPV6),
            (protocol, _) => protocol,
        };
        let selectors = match selectors(protocol, rule.port_range_min, rule.port_range_max) {
            Ok(selectors) => selectors,
            Err((field, message)) => {
                self.problem(object(), field, message);
                (0, u16::MAX)
            }
        };
        let mut of_remote = is_ipv6;
        let remote = match &rule.remote {
            config::Remote::Any => Remote::Any,
            config::Remote::Cidr { cidr } => {
                if is_ipv6.is_some_and(|is_ipv6| is_ipv6 != version(*cidr)) {
                    let message = format!("{cidr} is not of the rule's ethertype");
                    self.problem(object(), "remote", message);
                }
                of_remote = Some(version(*cidr));
                let (first, last) = bounds(*cidr);
                Remote::Range { first, last }
            }
            config::Remote::Group { group } => {
                let Some(index) = self.group_index.get(group.as_str()) else {
                    self.problem(object(), "remote", format!("there is no security group `{group}`"));
                    return None;
                };
                Remote::Group(*index)
            }
            config::Remote::AddressGroup { address_group } => {
                let Some(index) = self.address_group_index.get(address_group.as_str()) else {
                    self.problem(object(), "remote", format!("there is no address group `{address_group}`"));
                    return None;
                };
                Remote::AddressGroup(*index)
            }
        };
        let id = rule.id.clone();
        Some(Rule { id, is_ipv6: of_remote, protocol, selectors, remote, hits: Hits::default() })
    }
}

/// The destination ports that a rule is for, or of ICMP type and code; or the field that is wrong and why.
fn selectors(
    protocol: Option<u8>,
    min: Option<u16>,
    max: Option<u16>,
) -> Result<(u16, u16), (&'static str, String)> {
    match protocol {
        Some(PROTOCOL_ICMP | PROTOCOL_ICMPV6) => {
            let byte = |field, number: Option<u16>| {
                let number = number.map(u8::try_from).transpose();
                number.map_err(|_| (field, "an ICMP type and code are at most 255".to_owned()))
            };
            match (byte("port_range_min", min)?, byte("port_range_max", max)?) {
                (Some(kind), Some(code)) => Ok((icmp_selector(kind, code), icmp_selector(kind, code))),
                (Some(kind), None) => Ok((icmp_selector(kind, 0), icmp_selector(kind, u8::MAX))),
                (None, None) => Ok((0, u16::MAX)),
                (None, Some(_)) => Err(("port_range_min", "an ICMP code needs its type".to_owned())),
            }
        }
        Some(PROTOCOL_TCP | PROTOCOL_UDP | PROTOCOL_SCTP | PROTOCOL_UDP_LITE) => match (min, max) {
            (None, None) => Ok((0, u16::MAX)),
            (Some(port), None) | (None, Some(port)) => Ok((port, port)),
            (Some(min), Some(max)) if min <= max => Ok((min, max)),
            (Some(min), Some(max)) => Err(("port_range_max", format!("{max} is below port_range_min {min}"))),
        },
        _ if min.is_some() || max.is_some() => {
            Err(("port_range_min", "needs `protocol` tcp, udp, sctp, udplite or icmp".to_owned()))
        }
        _ => Ok((0, u16::MAX)),
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::sync::Arc;

    use hashbrown::HashMap;

    use crate::address::{Cidr, MacAddress};
    use crate::config::{
        AddressGroup, Attach, Config, Direction, Network, Port, PortKind, Remote, SecurityGroup,
        SecurityGroupRule, Workload,
    };
    use crate::snapshot::Snapshot;

    /// A large group and a small one, a security group for each, and a port in each of these.
    fn config(members: u32) -> Config {
        let range = |number: u32| Cidr::containing(Ipv4Addr::from_bits(2 * number), 32);
        let group = |id: &str, members: u32| AddressGroup {
            id: id.to_owned(),
            name: id.to_owned(),
            addresses: (0..members).map(range).collect(),
        };
        let rule = |id: &str, protocol: u8| SecurityGroupRule {
            id: format!("{id}-{protocol}"),
            direction: Direction::Ingress,
            ethertype: None,
            protocol: Some(protocol),
            port_range_min: None,
            port_range_max: None,
            remote: Remote::AddressGroup { address_group: id.to_owned() },
        };
        let security_group = |id: &str| SecurityGroup {
            id: format!("of-{id}"),
            name: format!("of-{id}"),
            log_denied: false,
            rules: vec![rule(id, 6), rule(id, 17)],
        };
        let port = |id: &str, last: u8| Port {
            id: id.to_owned(),
            name: id.to_owned(),
            network: "n".to_owned(),
            interface: None,
            kind: PortKind::Workload(Workload {
                security_groups: vec![format!("of-{id}")],
                ..Workload::new(MacAddress([2, 0, 0, 0, 0, last]), Ipv4Addr::new(192, 0, 2, last))
            }),
            attach: Attach::Auto,
            admin_state_up: true,
        };
        Config {
            networks: vec![Arc::new(Network::new("n", Cidr::containing(Ipv4Addr::new(192, 0, 2, 0), 24)))],
            ports: vec![Arc::new(port("large", 2)), Arc::new(port("small", 3))],
            address_groups: vec![Arc::new(group("large", members)), Arc::new(group("small", 3))],
            security_groups: vec![Arc::new(security_group("large")), Arc::new(security_group("small"))],
            ..Config::default()
        }
    }

    #[test]
    fn members_of_address_groups_are_in_no_rule_and_a_change_of_them_makes_none_anew() {
        let (one, many) = (config(1), config(10_000));
        let numbers = HashMap::from([("large".to_owned(), 1), ("small".to_owned(), 2)]);
        let compiled = |config: &Config| Snapshot::compile(config, &numbers).unwrap();
        let before = compiled(&many);
        assert_eq!(
            compiled(&one).security_groups,
            before.security_groups,
            "what a lookup goes through is the same"
        );

        let mut changed = many.clone();
        Arc::make_mut(&mut changed.address_groups[0]).addresses.pop();
        let after = Snapshot::recompile(&before, &changed, || panic!("no port is looked at")).unwrap();
        for (before, after) in before.security_groups.iter().zip(&after.security_groups) {
            assert!(Arc::ptr_eq(before, after), "the rules of {} were made again", before.name);
        }
        assert!(Arc::ptr_eq(&before.topology, &after.topology));
        assert!(
            Arc::ptr_eq(&before.address_sets[1], &after.address_sets[1]),
            "the other group was made again"
        );
        let changed = |port: usize| before.fingerprints[port] != after.fingerprints[port];
        assert!(
            changed(1) && !changed(2),
            "only flows of the port whose rules name the group are decided again"
        );
    }
}
