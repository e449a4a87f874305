//! The routes that are not those of every kind: what they do, with an example of what they take and answer.

use serde_json::Value;

use crate::http::PREFIX;
use crate::http::routes::Route;

const JSON: &str = "application/json";

/// A route of its own.
#[derive(Debug)]
pub(super) struct Special {
    pub(super) method: &'static str,
    /// Of paths of objects, what follows their prefix.
    pub(super) path: &'static str,
    pub(super) summary: &'static str,
    /// Of the answer, where all goes well.
    pub(super) status: u16,
    pub(super) media_type: &'static str,
    /// Examples, as JSON where the media type is.
    pub(super) answer: &'static str,
    pub(super) body: &'static str,
}

impl Special {
    /// Whether the route is this one.
    pub(super) fn is_of(&self, route: &Route) -> bool {
        let path = route.path.strip_prefix(PREFIX).unwrap_or(&route.path);
        route.method == self.method && path == self.path
    }

    /// Whether its answer is JSON.
    pub(super) fn is_json(&self) -> bool {
        self.media_type == JSON
    }
}

/// What there is to say of a route that not every kind has.
pub(super) fn of(route: &Route) -> Option<&'static Special> {
    ALL.iter().find(|special| special.is_of(route))
}

/// An example that is JSON.
pub(super) fn value(example: &str) -> Value {
    serde_json::from_str(example).unwrap_or_default()
}

const fn get(path: &'static str, summary: &'static str, answer: &'static str) -> Special {
    Special { method: "GET", path, summary, status: 200, media_type: JSON, answer, body: "" }
}

const fn write(
    method: &'static str,
    path: &'static str,
    summary: &'static str,
    body: &'static str,
    answer: &'static str,
) -> Special {
    Special { method, path, summary, status: 200, media_type: JSON, answer, body }
}

/// An answer that only says that it is done.
const DONE: &str = r#"{"message": "OK", "id": "0197a1b2-5c3d-7e4f-8a90-b1c2d3e4f506", "name": "edge"}"#;
const OPERATION: &str =
    r#"{"operation": {"id": "0197a1b2-5c3d-7e4f-8a90-b1c2d3e4f506", "state": "running"}}"#;
const QUOTA: &str = r#"{"message": "OK", "quota": {"project": "blue", "ports": {"limit": 100, "used": 3}}}"#;
const PEER: &str = r#"{"peer_router": {"ip": "203.0.113.1"}}"#;

const RULE: &str =
    r#"{"lb_rule": {"lb": "shop", "protocol": "tcp", "port_range_min": 443, "port_range_max": 443}}"#;
const RULES: &str = r#"{"lb_rules": [], "total": 0}"#;
const MEMBER: &str = r#"{"member": {"address": "10.0.1.12", "weight": 2}}"#;
const FORWARD: &str = r#"{"port_forward": {"protocol": "tcp", "port_range_min": 8080, "port_range_max": 8080, "target_ip": "10.0.1.10"}}"#;

/// All of them.
pub(super) static ALL: &[Special] = &[
    get(
        "/networks/available_ips",
        "The first free addresses of every network",
        r#"{"all_ips": [{"network": "front", "ips": ["10.0.1.11"], "total": 189}]}"#,
    ),
    get(
        "/networks/{name}/allocations",
        "Who has which address of a network",
        r#"{"allocations": [{"ip_address": "10.0.1.1", "purpose": "gateway", "id": "0197a1b2-5c3d-7e4f-8a90-b1c2d3e4f506", "name": "front", "mac_address": null}], "total": 1, "free": 189}"#,
    ),
    get(
        "/physnets",
        "The physical networks of this host",
        r#"{"physnets": [{"name": "wan", "interface": "eth1", "uplink": "wan0"}], "total": 1}"#,
    ),
    write("PUT", "/nodes/{name}/action", "Cordon, uncordon or drain a node", r#"{"action": "cordon"}"#, DONE),
    get(
        "/routers/{name}/peer_routers",
        "The upstream router of a router",
        r#"{"peer_routers": [{"ip": "203.0.113.1"}], "total": 1}"#,
    ),
    Special {
        status: 201,
        ..write("POST", "/routers/{name}/peer_routers", "Name the upstream router", PEER, DONE)
    },
    write("DELETE", "/routers/{name}/peer_routers/{ip}", "Forget the upstream router", "", DONE),
    get("/quotas/{project}", "How much a project has and may have", QUOTA),
    write(
        "PUT",
        "/quotas/{project}",
        "Say how much a project may have",
        r#"{"quota": {"ports": 100}}"#,
        QUOTA,
    ),
    get("/audit", "The last lines of the audit log", r#"{"audit": [], "total": 0}"#),
    get(
        "/events",
        "What happened to objects: a list, or a stream where `Accept` asks for one",
        r#"{"events": [], "total": 0}"#,
    ),
    get("/operations", "What takes longer than a request", r#"{"operations": [], "total": 0}"#),
    get("/operations/{name}", "Show an operation; with `wait`, once it has ended", OPERATION),
    write("DELETE", "/operations/{name}", "Give an operation up", "", OPERATION),
    get("/backups", "List the backups of the store", r#"{"backups": [], "total": 0}"#),
    Special {
        status: 202,
        ..write("POST", "/backups", "Begin a backup", r#"{"backup": {"name": "nightly"}}"#, OPERATION)
    },
    Special { media_type: "application/octet-stream", ..get("/backups/{name}", "Fetch a backup", "(bytes)") },
    write("DELETE", "/backups/{name}", "Remove a backup", "", r#"{"message": "OK", "name": "nightly"}"#),
    get("/edgetron/network/ports", "The ports of the dataplane with their counters", r#"{"ports": []}"#),
    get("/edgetron/network/flows", "The flows of the dataplane", r#"{"flows": []}"#),
    write(
        "DELETE",
        "/edgetron/network/flows",
        "End the connections that a filter means, or with `all` all of them",
        "",
        r#"{"message": "OK", "connections": 2}"#,
    ),
    get("/edgetron/network/nat", "The translations of the dataplane", r#"{"nat": []}"#),
    get("/edgetron/network/neighbours", "The neighbours in external networks", r#"{"neighbours": []}"#),
    get("/edgetron/network/drops", "What was dropped, by reason", r#"{"drops": []}"#),
    get("/edgetron/network/rules", "What rules let through and deny", r#"{"rules": []}"#),
    get("/edgetron/network/counters", "The counters of the dataplane", r#"{"counters": {}}"#),
    get("/edgetron/network/snapshot", "The configuration that is in effect", r#"{"snapshot": {}}"#),
    write(
        "POST",
        "/edgetron/network/trace",
        "What would become of a packet",
        r#"{"port": "web-1", "protocol": "tcp", "destination": "10.0.2.21", "destination_port": 5432}"#,
        r#"{"trace": {"verdict": "forward"}}"#,
    ),
    Special {
        media_type: "application/vnd.tcpdump.pcap",
        ..get("/edgetron/network/capture", "Packets as they pass, as a pcap file", "(bytes)")
    },
    get("/version", "The versions of the daemon", r#"{"name": "edgestackd", "version": "0.1.0"}"#),
    get(
        "/whoami",
        "Who asks, and with which roles",
        r#"{"name": "root", "roles": "admin", "project": "default"}"#,
    ),
    get("/healthz", "Whether the daemon lives", r#"{"status": "ok"}"#),
    get("/readyz", "Whether all that was stored is in effect", r#"{"status": "ready"}"#),
    Special {
        media_type: "application/openmetrics-text",
        ..get("/metrics", "Numbers for Prometheus", "# EOF\n")
    },
    get("/openapi.json", "This description", r#"{"openapi": "3.1.0"}"#),
    Special {
        media_type: "text/html",
        ..get("/reference", "This description, for people", "<!doctype html>")
    },
    get("/lbs/{name}/rules", "The rules of a load balancer", RULES),
    Special {
        status: 201,
        ..write("POST", "/lbs/{name}/rules", "Add a rule to a load balancer", RULE, DONE)
    },
    write("DELETE", "/lbs/{name}/rules/{rule}", "Remove a rule of a load balancer", "", DONE),
    get("/lbs/{name}/members", "The members of a load balancer", r#"{"members": [], "total": 0}"#),
    Special {
        status: 201,
        ..write("POST", "/lbs/{name}/members", "Add a member to a load balancer", MEMBER, DONE)
    },
    write("DELETE", "/lbs/{name}/members/{member}", "Remove a member of a load balancer", "", DONE),
    get("/lb_rules", "The rules of all load balancers", RULES),
    Special {
        status: 201,
        ..write("POST", "/lb_rules", "Add a rule to the load balancer that it names", RULE, DONE)
    },
    get("/lb_rules/{rule}", "Show a rule of a load balancer", RULE),
    write("DELETE", "/lb_rules/{rule}", "Remove a rule of a load balancer by its id", "", DONE),
    get(
        "/routers/{name}/port_forwards",
        "The forwarded ports of a router",
        r#"{"port_forwards": [], "total": 0}"#,
    ),
    Special {
        status: 201,
        ..write("POST", "/routers/{name}/port_forwards", "Forward a port", FORWARD, DONE)
    },
    write("DELETE", "/routers/{name}/port_forwards/{forward}", "Forward a port no longer", "", DONE),
    get(
        "/edgetron/network/load_balancers",
        "The load balancers of the dataplane",
        r#"{"load_balancers": []}"#,
    ),
    Special {
        media_type: "application/x-ndjson",
        ..get("/edgetron/network/trace/live", "What becomes of packets that pass", "{}\n")
    },
];
