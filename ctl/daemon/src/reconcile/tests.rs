//! From stored objects to the dataplane's configuration and back to statuses.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use edgestack_dataplane::address::MacAddress;
use edgestack_dataplane::config::{Attach, Config, PortKind, Remote};
use edgestack_dataplane::inspect::{PortCountersView, PortView};
use edgestack_dataplane::snapshot::Snapshot;
use edgestack_model::Phase::{self, Active, Down, Error, Pending};
use edgestack_model::{
    AddressGroupSpec, FloatingIpSpec, NetworkSpec, PortSpec, RouterSpec, SecurityGroupRuleSpec,
    SecurityGroupSpec, Status, port,
};
use serde_json::{Value, json};
use tokio::sync::watch;

use super::Progress;
use super::built::Built;
use super::mirror::Mirror;
use super::network::{Reconciler, Uplink, build};
use super::overlay::Overlay;
use super::services::ServiceSettings;
use super::status::{Situation, compute};
use crate::app::record::OBJECTS;
use crate::app::{App, Created, Noun};
use crate::gateway::Gateway;
use crate::health::Board;
use crate::store::{MemoryStore, Store, Transaction, Watch};

#[expect(clippy::needless_pass_by_value, reason = "bodies are written at the call")]
fn create<S: Noun>(app: &App, body: Value) -> String {
    let draft = edgestack_model::read_draft::<S>(&body).unwrap_or_else(|errors| panic!("{body}: {errors:?}"));
    match app.create(&draft) {
        Ok(Created::New(shown) | Created::Existing(shown)) => shown.object.id,
        Err(error) => panic!("{body}: {error}"),
    }
}

fn uplinks() -> Vec<Uplink> {
    vec![Uplink {
        name: "wan0".to_owned(),
        interface: "eth9".to_owned(),
        physical_network: "internet".to_owned(),
        attach: port::Attach::Xdp,
        overlay: None,
    }]
}

/// Two tenants with the same addresses, a router each, a floating IP for one of them.
fn site() -> App {
    let app = App::new(Arc::new(MemoryStore::default()), vec!["eth9".to_owned()]);
    let external = json!({"network": {"name": "wan", "type": "FLAT", "external": true, "physnet_name": "internet",
        "cidr": "203.0.113.0/24", "mtu": 3400}});
    create::<NetworkSpec>(&app, external);
    for tenant in ["a", "b"] {
        create::<NetworkSpec>(&app, json!({"network": {"name": tenant, "cidr": "10.0.0.0/24", "mtu": 576}}));
        let router =
            json!({"router": {"name": format!("r{tenant}"), "internal": [tenant], "external": "wan"}});
        create::<RouterSpec>(&app, router);
        let port = json!({"port": {"name": format!("{tenant}-web"), "network": tenant, "attach": "tc",
            "interface": format!("veth-{tenant}"), "allowed_address_pairs": [{"ip_address": "10.0.0.100"}]}});
        create::<PortSpec>(&app, port);
    }
    create::<FloatingIpSpec>(&app, json!({"floating_ip": {"network": "wan", "instance_name": "a-web"}}));
    create::<FloatingIpSpec>(&app, json!({"floating_ip": {"network": "wan"}}));
    app
}

fn mirror(app: &App) -> Mirror {
    Mirror::new(&app.store().list(OBJECTS).unwrap())
}

/// The dataplane takes the configuration.
fn accepted(config: &Config) {
    let numbers = config.ports.iter().zip(1u16..).map(|(port, number)| (port.id.clone(), number));
    if let Err(error) = Snapshot::compile(config, &numbers.collect()) {
        panic!("{error}");
    }
}

/// The statuses of all objects where the dataplane runs and has said nothing of any port yet.
fn statuses_before_ports(
    mirror: &Mirror,
    uplinks: &[Uplink],
    refused: &[(String, String)],
) -> BTreeMap<String, Status> {
    let situation = Situation {
        uplinks,
        ports: Some(BTreeMap::new()),
        refused,
        unplugged: &BTreeMap::new(),
        blocked: false,
        load_balancers: Vec::new(),
        board: &Board::default(),
    };
    compute(mirror, &situation)
}

#[test]
fn stored_objects_become_the_dataplanes_configuration() {
    let app = site();
    let config = build(&mirror(&app), &uplinks(), &ServiceSettings::default(), &mut Built::default());
    accepted(&config);
    let name = |id: &str| config.networks.iter().find(|network| network.id == id).unwrap().name.as_str();
    let ports: Vec<(&str, &str, Option<&str>)> = config
        .ports
        .iter()
        .map(|port| (port.name.as_str(), name(&port.network), port.interface.as_deref()))
        .collect();
    assert_eq!(
        ports,
        [("a-web", "a", Some("veth-a")), ("b-web", "b", Some("veth-b")), ("wan0", "wan", Some("eth9"))]
    );
    assert_eq!((config.ports[0].attach, config.ports[2].attach), (Attach::Tc, Attach::Xdp));
    let PortKind::Workload(workload) = &config.ports[0].kind else { panic!("the port of a workload is one") };
    assert_eq!(workload.ip_address.to_string(), "10.0.0.2");
    assert_eq!(workload.security_groups, [config.security_groups[0].id.clone()]);
    assert_eq!(workload.allowed_address_pairs[0].ip_address.to_string(), "10.0.0.100/32");

    let router = &config.routers[0];
    let external = router.external.as_ref().unwrap();
    assert_eq!((name(&router.networks[0]), name(&external.network)), ("a", "wan"));
    assert_eq!((external.ip_address.to_string().as_str(), external.enable_snat), ("203.0.113.2", true));
    let target = config.floating_ips[0].target.as_ref().unwrap();
    assert_eq!((&target.port, &target.router), (&config.ports[0].id, &router.id));
    assert_eq!(config.floating_ips[1].target, None);
}

#[test]
fn legs_of_routers_reach_the_dataplane() {
    let app = site();
    let mpls = json!({"network": {"name": "mpls", "type": "FLAT", "external": true, "physnet_name": "leased",
        "cidr": "192.0.2.0/24"}});
    create::<NetworkSpec>(&app, mpls);
    let lab = json!({"network": {"name": "lab", "type": "FLAT", "external": true, "physnet_name": "lab",
        "cidr": "198.51.100.0/24"}});
    create::<NetworkSpec>(&app, lab);
    create::<NetworkSpec>(&app, json!({"network": {"name": "c", "cidr": "10.0.7.0/24"}}));
    let exemption = json!({"destination": "100.64.0.0/10", "protocol": "udp", "port_range_min": 53,
        "port_range_max": 54});
    let id = create::<RouterSpec>(
        &app,
        json!({"router": {"name": "rc", "internal": ["c"],
            "external": {"network": "wan", "snat_exemptions": [exemption, {"destination": "10.9.0.0/16"}],
                "snat_pool": {"addresses": ["203.0.113.50"]}},
            "further_externals": [{"network": "mpls", "routed": true},
                {"network": "lab", "snat_pool": {"addresses": ["198.51.100.50"]}}],
            "routes": [{"destination": "172.16.0.0/16", "nexthop": "192.0.2.9"},
                {"destination": "10.66.0.0/16", "blackhole": true, "reject": true},
                {"destination": "10.67.0.0/16", "blackhole": true}]}}),
    );
    let config = build(&mirror(&app), &uplinks(), &ServiceSettings::default(), &mut Built::default());
    accepted(&config);
    let router = config.routers.iter().find(|router| router.id == id).unwrap();
    let name = |id: &str| config.networks.iter().find(|network| network.id == id).unwrap().name.as_str();
    let legs: Vec<_> = router
        .legs()
        .map(|leg| (name(&leg.network), leg.enable_snat, leg.routed, leg.snat_pool.is_some()))
        .collect();
    let wanted = [("wan", true, false, true), ("mpls", false, true, false), ("lab", true, false, true)];
    assert_eq!(legs, wanted);
    let exempt = &router.external.as_ref().unwrap().snat_exemptions;
    assert_eq!((exempt[0].protocol, exempt[0].port_min, exempt[0].port_max), (Some(17), Some(53), Some(54)));
    assert_eq!((exempt[1].protocol, exempt[1].port_min), (None, None));
    assert_eq!(router.routes.iter().map(|route| route.reject).collect::<Vec<_>>(), [false, true, false]);
    let pools: Vec<_> = config.nat_pools.iter().map(|pool| pool.id.as_str()).collect();
    let wanted: Vec<_> = router.legs().filter_map(|leg| leg.snat_pool.as_deref()).collect();
    assert_eq!(pools, wanted);
}

/// Follows writes as the reconciler does: by events, with what was built before.
struct Follower {
    watch: Watch,
    mirror: Mirror,
    built: Built,
}

impl Follower {
    /// The configuration now, which must be what is made from nothing.
    fn config(&mut self, app: &App) -> Config {
        for event in self.watch.pending().unwrap() {
            self.mirror.update(&event);
        }
        let config = build(&self.mirror, &uplinks(), &ServiceSettings::default(), &mut self.built);
        assert_eq!(
            config,
            build(&mirror(app), &uplinks(), &ServiceSettings::default(), &mut Built::default())
        );
        config
    }
}

#[test]
fn only_what_a_write_concerns_is_made_anew() {
    let app = site();
    let group = create::<SecurityGroupSpec>(&app, json!({"security_group": {"name": "web"}}));
    let listing = app.store().list(OBJECTS).unwrap();
    let watch = app.store().watch(OBJECTS, listing.revision);
    let mut follower = Follower { watch, mirror: Mirror::new(&listing), built: Built::default() };
    let first = follower.config(&app);
    let is_kept = |one: &Config, other: &Config| {
        one.ports.iter().zip(&other.ports).filter(|(one, other)| Arc::ptr_eq(one, other)).count()
    };

    let rule = json!({"security_group_rule": {"security_group_id": "web", "direction": "ingress"}});
    let rule = create::<SecurityGroupRuleSpec>(&app, rule);
    let second = follower.config(&app);
    assert_eq!(is_kept(&first, &second), 2, "the uplink's port is always made anew");
    let changed: Vec<&str> = first
        .security_groups
        .iter()
        .zip(&second.security_groups)
        .filter(|(one, other)| !Arc::ptr_eq(one, other))
        .map(|(one, _)| one.id.as_str())
        .collect();
    assert_eq!(changed, [group.as_str()]);

    // A name that comes may be meant by any object; what comes out equal stays.
    create::<NetworkSpec>(&app, json!({"network": {"name": "c", "cidr": "10.0.7.0/24"}}));
    let third = follower.config(&app);
    assert_eq!(is_kept(&second, &third), 2);
    let port = json!({"port": {"name": "c-web", "network": "c", "security_groups": ["web"]}});
    let port = create::<PortSpec>(&app, port);
    let fourth = follower.config(&app);
    assert_eq!(fourth.ports.len(), third.ports.len() + 1);

    app.delete::<PortSpec>(&port, None).unwrap();
    app.delete::<SecurityGroupRuleSpec>(&rule, None).unwrap();
    app.delete::<SecurityGroupSpec>(&group, None).unwrap();
    let last = follower.config(&app);
    assert_eq!(
        (last.ports.len(), last.security_groups.len()),
        (first.ports.len(), first.security_groups.len() - 1)
    );

    follower.mirror.replace(&app.store().list(OBJECTS).unwrap());
    let again = follower.config(&app);
    assert!(last.routers.iter().zip(&again.routers).all(|(one, other)| Arc::ptr_eq(one, other)));
}

#[test]
fn networks_in_vlans_share_an_uplink() {
    let app = App::new(Arc::new(MemoryStore::default()), vec!["eth9".to_owned()]);
    let create_vlan = |vlan: u16| {
        create::<NetworkSpec>(
            &app,
            json!({"network": {"name": format!("wan-{vlan}"), "type": "VLAN", "segment_id": vlan, "external": true,
                "physnet_name": "internet", "cidr": "203.0.113.0/24"}}),
        )
    };
    let (ten, twenty) = (create_vlan(10), create_vlan(20));
    let tenant = json!({"network": {"name": "in", "type": "VLAN", "segment_id": 30, "physnet_name": "internet",
        "cidr": "10.0.0.0/24"}});
    let tenant = create::<NetworkSpec>(&app, tenant);
    let ports = |config: &Config| {
        let uplinks = config.ports.iter().map(|port| (port.name.clone(), port.network.clone()));
        uplinks.collect::<BTreeMap<_, _>>()
    };
    let named =
        |list: [(&str, &str); 4]| list.map(|(name, network)| (name.to_owned(), network.to_owned())).into();
    let tenant = ("wan0.30", tenant.as_str());
    let config = build(&mirror(&app), &uplinks(), &ServiceSettings::default(), &mut Built::default());
    accepted(&config);
    assert_eq!(
        ports(&config),
        named([("wan0.10", &ten), ("wan0.20", &twenty), tenant, ("wan0", "untagged-wan0")])
    );

    let flat = json!({"network": {"name": "wan", "type": "FLAT", "external": true, "physnet_name": "internet",
        "cidr": "203.0.113.0/24"}});
    let flat = create::<NetworkSpec>(&app, flat);
    let config = build(&mirror(&app), &uplinks(), &ServiceSettings::default(), &mut Built::default());
    accepted(&config);
    assert_eq!(ports(&config), named([("wan0.10", &ten), ("wan0.20", &twenty), tenant, ("wan0", &flat)]));
}

#[test]
fn a_tenant_network_has_all_of_a_physical_one_that_no_tunnel_needs() {
    let app = App::new(Arc::new(MemoryStore::default()), vec!["eth9".to_owned()]);
    let flat =
        json!({"network": {"name": "in", "type": "FLAT", "physnet_name": "internet", "cidr": "10.0.0.0/24"}});
    let flat = create::<NetworkSpec>(&app, flat);
    let elsewhere = json!({"network": {"name": "far", "type": "VLAN", "segment_id": 7, "physnet_name": "lab",
        "cidr": "10.0.0.0/24"}});
    let elsewhere = create::<NetworkSpec>(&app, elsewhere);
    let remote = json!({"port": {"name": "there", "network": "in", "host": "whoever"}});
    let remote = create::<PortSpec>(&app, remote);
    let seen = |uplinks: &[Uplink]| {
        let config = build(&mirror(&app), uplinks, &ServiceSettings::default(), &mut Built::default());
        let statuses = statuses_before_ports(&mirror(&app), uplinks, &[]);
        let reason_of = |kind: &str, id: &str| reason(&statuses[&format!("status/{kind}/{id}")]).1.to_owned();
        assert_eq!(reason_of("networks", &elsewhere), "NoUplink");
        assert_eq!(reason_of("ports", &remote), "Realized", "no peer has to be that host");
        let uplink = config.ports.iter().find(|port| port.kind == PortKind::Uplink);
        (uplink.map(|port| port.network.clone()), reason_of("networks", &flat), config)
    };
    let (network, reason, config) = seen(&uplinks());
    assert_eq!((network.as_deref(), reason.as_str()), (Some(flat.as_str()), "Realized"));
    accepted(&config);

    let mut carrying = uplinks();
    carrying[0].overlay = Some(Overlay {
        tunnels: edgestack_dataplane::config::Overlay {
            network: String::new(),
            mac_address: MacAddress([2, 0, 0, 0, 0, 9]),
            ip_address: "192.0.2.1".parse().ok(),
            ipv6_address: None,
            peers: Vec::new(),
        },
        cidr: "192.0.2.0/24".parse().unwrap(),
        gateway: None,
        ipv6_cidr: None,
        ipv6_gateway: None,
        mtu: 1500,
        tenant_mtu: 1450,
    });
    let (network, reason, _) = seen(&carrying);
    assert_eq!((network.as_deref(), reason.as_str()), (Some("underlay"), "UplinkInUse"));
}

#[test]
fn hosts_are_told_of_ipv6_as_their_network_says() {
    let app = App::new(Arc::new(MemoryStore::default()), Vec::new());
    for (name, mode) in [
        ("default", json!(null)),
        ("stateless", json!("stateless")),
        ("slaac", json!("SLAAC")),
        ("none", json!("none")),
    ] {
        let body = json!({"network": {"name": name, "cidr": "10.0.0.0/24", "ipv6_cidr": "fd00::/64", "ipv6_ra_mode": mode,
            "dns": ["9.9.9.9", "2620:fe::fe"], "host_routes": [{"destination": "fd01::/64", "nexthop": "fd00::1"},
            {"destination": "fd02::/64", "nexthop": "fd00::9"}]}});
        create::<NetworkSpec>(&app, body);
    }
    create::<NetworkSpec>(&app, json!({"network": {"name": "plain", "cidr": "10.0.0.0/24"}}));
    let mirror = mirror(&app);
    let config = build(&mirror, &[], &ServiceSettings::default(), &mut Built::default());
    accepted(&config);
    let services =
        |name: &str| &config.networks.iter().find(|network| network.name == name).unwrap().services;
    let flags = |name: &str| {
        let told = services(name).advertisements.as_ref()?;
        Some((told.autonomous, told.managed, told.other))
    };
    assert_eq!(flags("default"), Some((false, true, true)));
    assert_eq!(flags("stateless"), Some((true, false, true)));
    assert_eq!(flags("slaac"), Some((true, false, false)));
    assert_eq!((flags("none"), flags("plain")), (None, None));
    let gives = |name: &str| services(name).dhcp6.as_ref().map(|dhcp| dhcp.addresses);
    assert_eq!((gives("default"), gives("stateless"), gives("slaac")), (Some(true), Some(false), None));
    let told = services("slaac").advertisements.as_ref().unwrap();
    let routes: Vec<String> = told.routes.iter().map(ToString::to_string).collect();
    assert_eq!(routes, ["fd01::/64", "fd00:ec2::254/128"], "only those by the gateway");
    assert_eq!((told.dns_servers.len(), told.dns_servers[0].to_string()), (1, "2620:fe::fe".to_owned()));
    let addresses: Vec<String> =
        services("none").endpoints.iter().map(|endpoint| endpoint.address.to_string()).collect();
    assert_eq!(addresses, ["10.0.0.1", "10.0.0.1", "fd00::1", "fd00::1", "169.254.169.254", "fd00:ec2::254"]);
    assert_eq!(services("plain").endpoints.len(), 3);
    let statuses = statuses_before_ports(&mirror, &[], &[]);
    let untold = statuses
        .values()
        .filter(|status| status.conditions.iter().any(|condition| condition.kind == "HostSettings"));
    assert_eq!(untold.count(), 4, "nobody is told of a route by another host");
}

#[test]
fn rules_are_carried_over_and_those_that_cannot_be_are_left_out() {
    let app = App::new(Arc::new(MemoryStore::default()), Vec::new());
    let group = create::<SecurityGroupSpec>(&app, json!({"security_group": {"name": "web"}}));
    let rule = |fields: Value| {
        let mut body = json!({"security_group_rule": {"security_group_id": "web", "direction": "ingress"}});
        body["security_group_rule"].as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        create::<SecurityGroupRuleSpec>(&app, body)
    };
    rule(
        json!({"protocol": "tcp", "port_range_min": 80, "port_range_max": 90, "remote_ip_prefix": "10.0.0.0/8"}),
    );
    rule(json!({"protocol": "icmp", "port_range_min": 8, "port_range_max": 0, "remote_group_id": "web"}));
    rule(json!({"remote_ip_prefix": "0.0.0.0/0"}));
    rule(json!({"protocol": "sctp", "port_range_min": 1, "port_range_max": 2}));
    rule(json!({"protocol": "47"}));
    let dccp = rule(json!({"protocol": "33", "port_range_min": 1, "port_range_max": 2}));
    let mirror = mirror(&app);
    let config = build(&mirror, &[], &ServiceSettings::default(), &mut Built::default());
    accepted(&config);
    let rules = config.security_groups[0].rules.iter();
    let rules = rules.map(|rule| (rule.protocol, rule.port_range_min, rule.port_range_max, &rule.remote));
    let tens = Remote::Cidr { cidr: "10.0.0.0/8".parse().unwrap() };
    let own = Remote::Group { group };
    assert_eq!(
        rules.collect::<Vec<_>>(),
        [
            (Some(6), Some(80), Some(90), &tens),
            (Some(1), Some(8), Some(0), &own),
            (None, None, None, &Remote::Any),
            (Some(132), Some(1), Some(2), &Remote::Any),
            (Some(47), None, None, &Remote::Any)
        ]
    );
    let status = &statuses_before_ports(&mirror, &[], &[])[&format!("status/security_group_rules/{dccp}")];
    assert_eq!(reason(status), (Phase::Pending, "UnsupportedPorts"));
}

fn reason(status: &Status) -> (Phase, &str) {
    (status.phase, status.conditions[0].reason.as_str())
}

fn view(id: &str, state: &str, reason: &str) -> (String, PortView) {
    let view = PortView {
        number: 1,
        id: id.to_owned(),
        name: String::new(),
        kind: String::new(),
        network: String::new(),
        interface: None,
        state: state.to_owned(),
        reason: reason.to_owned(),
        attached: String::new(),
        mtu: 1500,
        mac_address: None,
        ip_address: None,
        epoch: 0,
        counters: PortCountersView::default(),
    };
    (id.to_owned(), view)
}

#[test]
fn every_object_says_what_it_waits_for() {
    let app = site();
    let mirror = mirror(&app);
    let uplinks = uplinks();
    let config = build(&mirror, &uplinks, &ServiceSettings::default(), &mut Built::default());
    let all_up: BTreeMap<String, PortView> =
        config.ports.iter().map(|port| view(&port.id, "up", "")).collect();
    let statuses =
        |uplinks: &[Uplink], ports: Option<BTreeMap<String, PortView>>, refused: &[(String, String)]| {
            let blocked = !refused.is_empty();
            let statuses = compute(
                &mirror,
                &Situation {
                    uplinks,
                    ports,
                    refused,
                    blocked,
                    unplugged: &BTreeMap::new(),
                    load_balancers: Vec::new(),
                    board: &Board::default(),
                },
            );
            let pick = |plural: &str, id: &str| statuses[&format!("status/{plural}/{id}")].clone();
            [
                pick("networks", &config.networks[0].id),
                pick("ports", &config.ports[0].id),
                pick("routers", &config.routers[0].id),
                pick("floating_ips", &config.floating_ips[0].id),
                pick("floating_ips", &config.floating_ips[1].id),
            ]
        };
    let reasons = |statuses: &[Status; 5]| {
        statuses.each_ref().map(|status| (status.phase, status.conditions[0].reason.clone()))
    };
    let expect = |found: &[Status; 5], wanted: [(Phase, &str); 5]| {
        assert_eq!(reasons(found), wanted.map(|(phase, reason)| (phase, reason.to_owned())));
    };
    let up = statuses(&uplinks, Some(all_up.clone()), &[]);
    let realized = (Active, "Realized");
    expect(&up, [realized, realized, realized, realized, (Down, "NotAssociated")]);

    let no_uplink = statuses(&[], Some(all_up.clone()), &[]);
    expect(
        &no_uplink,
        [(Pending, "NoUplink"), realized, (Pending, "NoUplink"), realized, (Down, "NotAssociated")],
    );

    let mut waiting = all_up.clone();
    waiting.extend([view(&config.ports[0].id, "waiting", "interface veth-a does not exist")]);
    let waits = statuses(&uplinks, Some(waiting), &[]);
    let waiting = (Pending, "WaitingForInterface");
    expect(&waits, [realized, waiting, realized, waiting, (Down, "NotAssociated")]);
    assert!(waits[3].conditions[0].message.contains("veth-a does not exist"));

    let refused = [("router ra".to_owned(), "mac_address: is wrong".to_owned())];
    let refused = statuses(&uplinks, Some(all_up), &refused);
    assert_eq!(
        (refused[2].phase, refused[2].conditions[0].message.as_str()),
        (Error, "mac_address: is wrong")
    );
    assert_eq!(reason(&refused[0]), (Pending, "ApplyRefused"));
    assert_eq!(reason(&refused[1]), (Pending, "ApplyRefused"), "also where the port as it was is up");

    let off = statuses(&uplinks, None, &[]);
    assert_eq!(reason(&off[0]), (Pending, "DataplaneOff"));
}

#[test]
fn address_groups_reach_the_dataplane_and_what_waits_is_said() {
    let app = App::new(Arc::new(MemoryStore::default()), Vec::new());
    let network = json!({"network": {"name": "a", "cidr": "10.0.0.0/24", "ipv6_cidr": "fd00::/64",
        "host_routes": [{"destination": "fd09::/64", "nexthop": "fd00::9"}]}});
    let network = create::<NetworkSpec>(&app, network);
    let plain = create::<NetworkSpec>(&app, json!({"network": {"name": "b", "cidr": "10.0.1.0/24"}}));
    let router = json!({"router": {"name": "r", "internal": ["a", "b"],
        "routes": [{"destination": "10.9.0.0/16", "nexthop": "10.0.1.9"},
            {"destination": "10.8.0.0/16", "blackhole": true}]}});
    let router = create::<RouterSpec>(&app, router);
    let port = create::<PortSpec>(
        &app,
        json!({"port": {"name": "p", "network": "a",
        "allowed_address_pairs": [{"ip_address": "fd00::/96"}, {"ip_address": "10.0.0.9"}]}}),
    );
    let office =
        json!({"address_group": {"name": "office", "addresses": ["192.0.2.0/24", "2001:db8:1::/48"]}});
    let office = create::<AddressGroupSpec>(&app, office);
    let rule = json!({"security_group_rule": {"security_group_id": "default", "direction": "ingress",
        "ethernet_type": "IPv6", "remote_address_group_id": "office"}});
    let rule = create::<SecurityGroupRuleSpec>(&app, rule);
    let mirror = mirror(&app);
    let config = build(&mirror, &[], &ServiceSettings::default(), &mut Built::default());
    accepted(&config);
    assert_eq!(config.address_groups[0].addresses.len(), 2);
    let remotes: Vec<&Remote> = config.security_groups[0].rules.iter().map(|rule| &rule.remote).collect();
    assert!(remotes.contains(&&Remote::AddressGroup { address_group: office.clone() }));
    let statuses = statuses_before_ports(&mirror, &[], &[]);
    let reasons = |plural: &str, id: &str| -> Vec<String> {
        let conditions = &statuses[&format!("status/{plural}/{id}")].conditions;
        conditions.iter().map(|condition| condition.reason.clone()).collect()
    };
    assert_eq!(reasons("networks", &network), ["Realized", "NotAnnounced"]);
    assert_eq!(reasons("networks", &plain), ["Realized"]);
    assert_eq!(reasons("ports", &port), ["NotPlugged"]);
    assert_eq!(reasons("security_group_rules", &rule), ["Realized"]);
    assert_eq!(reasons("address_groups", &office), ["Realized"]);
    assert_eq!(reasons("routers", &router), ["Realized"]);
    let [over, nowhere] = &config.routers[0].routes[..] else { panic!("both routes") };
    assert_eq!(
        (over.destination.to_string(), over.next_hop),
        ("10.9.0.0/16".to_owned(), "10.0.1.9".parse().ok())
    );
    assert_eq!((nowhere.destination.to_string(), nowhere.next_hop), ("10.8.0.0/16".to_owned(), None));
}

#[test]
fn what_is_refused_is_found_by_what_the_dataplane_calls_it() {
    let app = App::new(Arc::new(MemoryStore::default()), Vec::new());
    let external = json!({"network": {"name": "wan", "type": "FLAT", "external": true, "physnet_name": "internet",
        "cidr": "203.0.113.0/24"}});
    create::<NetworkSpec>(&app, external);
    let vlan = json!({"network": {"name": "v", "type": "VLAN", "segment_id": 5, "cidr": "10.0.0.0/24",
        "physnet_name": "internet"}});
    let vlan = create::<NetworkSpec>(&app, vlan);
    let local = json!({"network": {"name": "w", "type": "VLAN", "segment_id": 5, "cidr": "10.0.0.0/24"}});
    let local = create::<NetworkSpec>(&app, local);
    let floating = json!({"floating_ip": {"name": "mine", "network": "wan", "floating_ip": "203.0.113.9"}});
    let floating = create::<FloatingIpSpec>(&app, floating);
    create::<SecurityGroupSpec>(&app, json!({"security_group": {"name": "web"}}));
    let rule =
        json!({"security_group_rule": {"name": "all", "security_group_id": "web", "direction": "egress"}});
    let rule = create::<SecurityGroupRuleSpec>(&app, rule);
    let refused = ["floating IP 203.0.113.9".to_owned(), format!("security group rule {rule}")]
        .map(|object| (object, "no".to_owned()));
    let statuses = statuses_before_ports(&mirror(&app), &uplinks(), &refused);
    assert_eq!(reason(&statuses[&format!("status/floating_ips/{floating}")]), (Error, "Refused"));
    assert_eq!(reason(&statuses[&format!("status/security_group_rules/{rule}")]), (Error, "Refused"));
    assert_eq!(reason(&statuses[&format!("status/networks/{vlan}")]), (Active, "Realized"));
    let unsupported = (Pending, "NotCarriedBetweenHosts");
    assert_eq!(reason(&statuses[&format!("status/networks/{local}")]), unsupported);
}

#[test]
fn an_uplink_goes_before_a_workload_with_its_interface() {
    let app = App::new(Arc::new(MemoryStore::default()), Vec::new());
    create::<NetworkSpec>(&app, json!({"network": {"name": "a", "cidr": "10.0.0.0/24"}}));
    let port = create::<PortSpec>(&app, json!({"port": {"name": "p", "network": "a", "interface": "eth9"}}));
    let (mirror, uplinks) = (mirror(&app), uplinks());
    assert_eq!(
        build(&mirror, &[], &ServiceSettings::default(), &mut Built::default()).ports[0].interface.as_deref(),
        Some("eth9")
    );
    assert_eq!(
        build(&mirror, &uplinks, &ServiceSettings::default(), &mut Built::default()).ports[0].interface,
        None
    );
    let status = &statuses_before_ports(&mirror, &uplinks, &[])[&format!("status/ports/{port}")];
    assert_eq!(reason(status), (Pending, "InterfaceInUse"));
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_are_followed_and_statuses_written_once() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::default());
    let app = App::new(Arc::clone(&store), Vec::new());
    let progress = Arc::new(Progress::default());
    let gateway = Arc::new(Gateway::Off { reason: "of the test" });
    let orphan = "status/networks/of-one-that-was-removed";
    store.commit(Transaction::default().put(orphan, "{}")).unwrap();
    let (stop, stopped) = watch::channel(false);
    let reconciler =
        Reconciler::new(Arc::clone(&store), gateway, Arc::clone(&progress), Vec::new(), Arc::default());
    let running = tokio::spawn(reconciler.run(stopped));
    let seen = |id: String, generation: u64| {
        let app = app.clone();
        async move {
            for _ in 0..500 {
                let status = app.get::<NetworkSpec>(&id).unwrap().object.status;
                if status.observed_generation == generation {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            panic!("generation {generation} of {id} was never seen");
        }
    };
    let id = create::<NetworkSpec>(&app, json!({"network": {"name": "a", "cidr": "10.0.0.0/24"}}));
    seen(id.clone(), 1).await;
    assert_eq!(progress.not_ready(), None);
    // Statuses are written first, what is left over goes after them.
    for _ in 0..500 {
        if store.get(orphan).unwrap().is_none() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(store.get(orphan).unwrap(), None, "what is of no object is removed");
    let draft =
        edgestack_model::read_draft(&json!({"network": {"name": "a", "cidr": "10.0.0.0/24", "mtu": 1400}}));
    app.replace::<NetworkSpec>(&id, &draft.unwrap(), None).unwrap();
    seen(id.clone(), 2).await;
    let revision = store.revision();
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert_eq!(store.revision(), revision, "what does not change is not written again");
    app.delete::<NetworkSpec>(&id, None).unwrap();
    stop.send(true).unwrap();
    running.await.unwrap();
}

/// On one thread the reconciler does not run while the changes are written: all of them wait for it when it does.
#[tokio::test]
async fn changes_that_come_together_are_applied_together() {
    const CHANGES: usize = 100;
    let store: Arc<dyn Store> = Arc::new(MemoryStore::default());
    let app = App::new(Arc::clone(&store), Vec::new());
    let progress = Arc::new(Progress::default());
    let gateway = Arc::new(Gateway::Off { reason: "of the test" });
    let (stop, stopped) = watch::channel(false);
    let reconciler =
        Reconciler::new(Arc::clone(&store), gateway, Arc::clone(&progress), Vec::new(), Arc::default());
    let running = tokio::spawn(reconciler.run(stopped));
    while progress.not_ready().is_some() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let (before, _) = progress.counts();
    let mut last = String::new();
    for number in 0..CHANGES {
        let name = format!("n{number}");
        last = create::<NetworkSpec>(&app, json!({"network": {"name": name, "cidr": "10.0.0.0/24"}}));
    }
    while app.get::<NetworkSpec>(&last).unwrap().object.status.observed_generation == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(progress.counts(), (before + 1, 0), "one application for {CHANGES} changes");
    stop.send(true).unwrap();
    running.await.unwrap();
}
