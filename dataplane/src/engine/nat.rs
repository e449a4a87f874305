//! The translated ports of sessions: what a session holds in the allocator, and what becomes of it at its end.
//!
//! A session's keys and kind say it all, so that an engine that adopts sessions finds every port, mapping and filter again.

use edgestack_abi::Session;
use edgestack_abi::session::{SESSION_INBOUND, SESSION_INDEPENDENT, SESSION_SNAT};
use hashbrown::{HashMap, HashSet};

use super::traffic::{self, ExternalAddress, Traffic};
use super::{Engine, SlowPath};
use crate::connection::ConnectionState;
use crate::inspect::NatView;
use crate::snapshot::Snapshot;
use crate::snapshot::nat::Pool;
use crate::tables::flow_table::FlowTable;
use crate::tables::mapping_table::{External, Internal};
use crate::tables::port_allocator::{Allocation, Endpoint, PortAllocator};
use crate::tables::session_table::SessionTable;
use crate::wire::network_address;

/// The translated port of the side that opened a session.
fn source_allocation(session: &Session) -> Option<Allocation> {
    if session.kind & SESSION_SNAT == 0 {
        return None;
    }
    let (original, reply) = (&session.original, &session.reply);
    let is_independent = session.kind & SESSION_INDEPENDENT != 0;
    let endpoint = Endpoint {
        external: reply.destination,
        remote: if is_independent { 0 } else { reply.source },
        remote_port: if is_independent { 0 } else { reply.source_port },
        protocol: reply.protocol,
    };
    let internal = Internal {
        in_port: original.in_port,
        address: original.source,
        port: u16::from_be(original.source_port),
        protocol: original.protocol,
    };
    Some(allocation(endpoint, reply.destination_port, internal, reply.source))
}

/// The mapping that a session came in by.
fn inbound_allocation(session: &Session) -> Option<Allocation> {
    if session.kind & SESSION_INBOUND == 0 {
        return None;
    }
    let (original, reply) = (&session.original, &session.reply);
    let endpoint =
        Endpoint { external: original.destination, remote: 0, remote_port: 0, protocol: original.protocol };
    let internal = Internal {
        in_port: reply.in_port,
        address: reply.source,
        port: u16::from_be(reply.source_port),
        protocol: reply.protocol,
    };
    Some(allocation(endpoint, original.destination_port, internal, reply.destination))
}

fn allocation(endpoint: Endpoint, port: u16, internal: Internal, remote: u32) -> Allocation {
    let port = u16::from_be(port);
    Allocation { endpoint, port, internal, remote, block_size: 0, high_water_ports: 0 }
}

/// The ports in use, found again from the sessions.
pub(super) fn recover(flows: &FlowTable, sessions: &SessionTable) -> PortAllocator {
    let mut allocator = PortAllocator::default();
    for (_, session) in sessions.iter() {
        let heard = |entry| Some(flows.last_seen_ticks(entry));
        if let Some(source) = source_allocation(&session) {
            allocator.take(&source, heard(session.original_entry));
        }
        if let Some(inbound) = inbound_allocation(&session) {
            let has_answered = flows.entry(session.reply_entry).packets() > 0;
            allocator.take(&inbound, heard(session.reply_entry).filter(|_| has_answered));
        }
    }
    allocator
}

/// The pool with this address of the router that a workload is behind.
fn pool_of(snapshot: &Snapshot, in_port: u16, address: u32) -> Option<&Pool> {
    let router = snapshot.networks[snapshot.port(in_port)?.network].router?;
    let mut pools = snapshot.routers[router].legs.iter().map(|external| &external.pool);
    pools.find(|pool| pool.policy.addresses.contains(&address))
}

impl Engine {
    /// Notes for a session's mappings when something was heard from inside; false where it has none to be heard.
    pub(super) fn hear_mappings(&self, slow: &mut SlowPath, session: &Session) -> bool {
        let is_closed = ConnectionState::from_number(session.state) == ConnectionState::Closed;
        if session.kind & (SESSION_INDEPENDENT | SESSION_INBOUND) == 0 || is_closed {
            return false;
        }
        let external = |allocation: &Allocation| External {
            address: allocation.endpoint.external,
            protocol: allocation.endpoint.protocol,
            port: allocation.port,
        };
        if let Some(source) = source_allocation(session).filter(|source| source.endpoint.is_independent()) {
            let heard_ticks = self.flows.last_seen_ticks(session.original_entry);
            slow.allocator.mappings_mut().hear(external(&source), heard_ticks);
        }
        let answers = self.flows.entry(session.reply_entry);
        if let Some(inbound) = inbound_allocation(session).filter(|_| answers.packets() > 0) {
            slow.allocator.mappings_mut().hear(external(&inbound), answers.last_seen_ticks);
        }
        true
    }

    /// The translations: every address that sources leave with, every floating IP that stands for somebody.
    pub fn nat_view(&self) -> Vec<NatView> {
        let mut views = configured(&self.snapshot.load());
        let addresses: Vec<ExternalAddress> = views.iter().map(address_of).collect();
        let positions: HashMap<ExternalAddress, usize> =
            addresses.iter().enumerate().map(|(position, address)| (*address, position)).collect();
        let look = |found: &mut Vec<(u64, Traffic)>, index: u32, session: &Session| {
            for (address, traffic) in traffic::of_session(&self.flows, index, session) {
                if let Some((sessions, carried)) = positions.get(&address).map(|place| &mut found[*place]) {
                    *sessions += 1;
                    carried.add(traffic);
                }
            }
        };
        let none = vec![(0, Traffic::default()); views.len()];
        self.count_sessions(none, look, |found, slow, count| {
            let most = slow.allocator.most_used();
            for ((view, address), (sessions, carried)) in views.iter_mut().zip(addresses).zip(found) {
                let mut total = slow.ended_traffic.get(address).without(count.ended.get(address));
                total.add(carried);
                let Traffic { packets_out, packets_in, bytes_out, bytes_in } = total;
                *view = NatView { sessions, packets_out, packets_in, bytes_out, bytes_in, ..view.clone() };
                if address.is_snat {
                    view.ports_used = most.get(&address.address).map_or(0, |ports| *ports as u64);
                    view.nearly_exhausted = view.ports_used >= view.ports_high_water;
                }
            }
        });
        views
    }
}

impl SlowPath {
    /// Takes the ports of a session that ends out of use.
    pub(super) fn release_ports(&mut self, snapshot: &Snapshot, session: &Session, now_ticks: u32) {
        for allocation in [source_allocation(session), inbound_allocation(session)].into_iter().flatten() {
            let pool = pool_of(snapshot, allocation.internal.in_port, allocation.endpoint.external);
            let hold_ticks = pool.map_or(0, |pool| pool.policy.hold_ticks);
            self.allocator.release(&allocation, hold_ticks, now_ticks);
        }
    }

    /// Gives used ports to their blocks, where pools have come to have others than before.
    pub(super) fn recover_blocks(&mut self, old: &Snapshot, new: &Snapshot) {
        let sizes = |snapshot: &Snapshot| -> HashMap<u32, u16> {
            let externals = snapshot.routers.iter().flat_map(|router| &router.legs);
            externals
                .map(|external| &external.pool.policy)
                .filter(|policy| policy.block_size != 0)
                .flat_map(|policy| policy.addresses.iter().map(|address| (*address, policy.block_size)))
                .collect()
        };
        let sizes_new = sizes(new);
        if sizes_new == sizes(old) {
            return;
        }
        let allocations = self.sessions.iter().flat_map(|(_, session)| {
            let both = [source_allocation(&session), inbound_allocation(&session)];
            both.into_iter().flatten()
        });
        let size_of = |address: u32| sizes_new.get(&address).copied().unwrap_or_default();
        self.allocator.recover_blocks(allocations, size_of);
    }
}

/// The external addresses of a configuration.
pub(super) fn external_addresses(snapshot: &Snapshot) -> HashSet<ExternalAddress> {
    configured(snapshot).iter().map(address_of).collect()
}

fn address_of(view: &NatView) -> ExternalAddress {
    ExternalAddress { is_snat: view.kind == "snat", address: network_address(view.external_ip) }
}

fn configured(snapshot: &Snapshot) -> Vec<NatView> {
    let config = &snapshot.config;
    let view = |kind: &str, id: &str, router: usize, external_ip, internal_ip| NatView {
        kind: kind.to_owned(),
        id: id.to_owned(),
        router_id: config.routers[router].id.clone(),
        router: snapshot.routers[router].name.clone(),
        external_ip,
        internal_ip,
        sessions: 0,
        packets_out: 0,
        packets_in: 0,
        bytes_out: 0,
        bytes_in: 0,
        ports_used: 0,
        ports_max: 0,
        ports_high_water: 0,
        nearly_exhausted: false,
    };
    let routers = snapshot.routers.iter().enumerate().flat_map(|(index, router)| {
        let configured = &config.routers[index];
        let legs = router.legs.iter().zip(configured.legs());
        legs.filter(|(external, _)| external.enable_snat).flat_map(move |(external, of)| {
            let pool = &external.pool;
            let id = of.snat_pool.as_deref().unwrap_or(&configured.id);
            pool.addresses.iter().map(move |address| NatView {
                ports_max: u64::from(pool.policy.max - pool.policy.min) + 1,
                ports_high_water: u64::from(pool.policy.high_water_ports),
                ..view("snat", id, index, *address, None)
            })
        })
    });
    let floating_ips = snapshot.floating_ips.iter().zip(&config.floating_ips);
    let floating_ips = floating_ips.filter_map(|(floating_ip, configured)| {
        let (port, router) = floating_ip.target?;
        let workload = snapshot.port(port)?.workload.as_ref()?;
        Some(view("floating_ip", &configured.id, router, floating_ip.address, Some(workload.ip_address)))
    });
    routers.chain(floating_ips).collect()
}

#[cfg(test)]
mod tests {
    use edgestack_abi::session::{SESSION_INBOUND, SESSION_INDEPENDENT, SESSION_SNAT};
    use edgestack_abi::{FlowKey, Session};

    use super::{inbound_allocation, source_allocation};

    #[test]
    fn what_a_session_holds_is_read_from_its_keys() {
        let original = FlowKey {
            source: 1,
            destination: 2,
            source_port: 5000_u16.to_be(),
            destination_port: 53_u16.to_be(),
            in_port: 7,
            protocol: 17,
            family: 0,
        };
        let reply = FlowKey {
            source: 2,
            destination: 3,
            source_port: 53_u16.to_be(),
            destination_port: 6000_u16.to_be(),
            in_port: 9,
            ..original
        };
        let session = |kind| Session { original, reply, kind, ..Session::default() };
        assert_eq!(source_allocation(&session(0)), None);
        let dependent = source_allocation(&session(SESSION_SNAT)).unwrap();
        assert_eq!((dependent.endpoint.external, dependent.endpoint.remote, dependent.port), (3, 2, 6000));
        let independent = source_allocation(&session(SESSION_SNAT | SESSION_INDEPENDENT)).unwrap();
        assert!(independent.endpoint.is_independent());
        assert_eq!((independent.internal.in_port, independent.internal.port), (7, 5000));
        let inbound = inbound_allocation(&session(SESSION_INBOUND)).unwrap();
        assert_eq!((inbound.endpoint.external, inbound.port), (2, 53));
        assert_eq!((inbound.internal.in_port, inbound.internal.port, inbound.remote), (9, 53, 3));
    }
}
