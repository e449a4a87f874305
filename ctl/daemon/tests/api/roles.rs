//! Every route as every role, and as somebody of another project: made from the list of routes, so that a new one is tried
//! without anybody thinking of it.

use std::collections::BTreeMap;

use edgestack_model::{Kind, Role};
use edgestackd::access::table::{Resource, Verb, allows};
use edgestackd::http;
use edgestackd::http::routes::Route;
use serde_json::{Value, json};

use crate::bodies::external;
use crate::support::{Answer, Daemon};

/// A site with one object of every kind in the project `blue`, the ids of these, and that of the load balancer's rule.
fn site() -> (Daemon, BTreeMap<Kind, String>, String) {
    let daemon = Daemon::start_with("[api]\nrequests_per_second = 100000\nrequests_burst = 100000\n");
    for project in ["blue", "red"] {
        daemon.create("projects", &json!({"project": {"name": project}}));
    }
    daemon.create("networks", &external());
    daemon.create("flavors", &json!({"flavor": {"name": "mine", "vcpus": 1, "ram": 512}}));
    for (plural, body) in [
        ("networks", json!({"network": {"name": "mine", "cidr": "10.0.0.0/24"}})),
        (
            "routers",
            json!({"router": {"name": "mine", "internal": ["mine"], "external": "wan", "peer_router": {"ip": "203.0.113.77"},
                "port_forwards": [{"protocol": "tcp", "port_range_min": 8080, "target_ip": "10.0.0.9"}]}}),
        ),
        ("security_groups", json!({"security_group": {"name": "mine"}})),
        (
            "security_group_rules",
            json!({"security_group_rule": {"security_group_id": "mine", "direction": "egress"}}),
        ),
        ("ports", json!({"port": {"name": "mine", "network": "mine"}})),
        (
            "lbs",
            json!({"lb": {"name": "mine", "network": "mine", "members": ["10.0.0.9"],
                "rules": [{"protocol": "tcp", "port_range_min": 80}]}}),
        ),
        ("floating_ips", json!({"floating_ip": {"name": "mine", "network": "wan", "instance_name": "mine"}})),
        ("address_groups", json!({"address_group": {"name": "mine", "addresses": ["192.0.2.0/24"]}})),
        ("keypairs", json!({"keypair": {"name": "mine", "generate": "ed25519"}})),
        ("tokens", json!({"token": {"name": "mine", "role": "viewer"}})),
        ("role_bindings", json!({"role_binding": {"name": "mine", "user": "mine", "role": "viewer"}})),
    ] {
        let answer = daemon.post(&format!("{plural}?project=blue"), &body);
        assert_eq!(answer.status, 201, "{body}: {}", answer.text);
    }
    let backup = daemon.post("backups", &json!({"backup": {"name": "mine"}})).body;
    daemon.get(&format!("operations/{}?wait=20", backup["id"].as_str().unwrap()));
    let mut ids = BTreeMap::new();
    for kind in Kind::ALL.into_iter().filter(|kind| kind.is_of_projects()) {
        let listed = daemon.get(&format!("{}?project=blue", kind.plural())).body;
        let objects = listed[kind.plural()].as_array().unwrap();
        let mine = objects.iter().rev().find(|object| object["project"] == "blue");
        let mine =
            mine.unwrap_or_else(|| panic!("make one {kind} in `blue` above, so that its routes are tried"));
        ids.insert(kind, mine["id"].as_str().unwrap().to_owned());
    }
    // The host makes its node itself, in its own time.
    let node = crate::node::node(&daemon);
    ids.insert(Kind::Node, node["id"].as_str().unwrap().to_owned());
    let rules = daemon.get("lb_rules?project=blue").body;
    let rule = rules["lb_rules"][0]["id"].as_str().unwrap().to_owned();
    (daemon, ids, rule)
}

/// The path of a route, about an object of `blue`.
fn path(route: &Route, ids: &BTreeMap<Kind, String>, rule: &str) -> String {
    let name = match route.resource {
        Resource::Object(Kind::Project) => "blue".to_owned(),
        Resource::Object(kind) => ids.get(&kind).cloned().unwrap_or_else(|| "mine".to_owned()),
        _ => "mine".to_owned(),
    };
    let parts = [
        ("{project}", "blue"),
        ("{ip}", "203.0.113.77"),
        ("{rule}", rule),
        ("{member}", "10.0.0.9"),
        ("{forward}", "tcp:8080"),
    ];
    let path = route.path.replace("{name}", &name);
    parts.into_iter().fold(path, |path, (place, value)| path.replace(place, value))
}

/// Sends a request that changes nothing even where it is permitted: writes have a body that is refused or an entity tag that no
/// object has.
fn send(daemon: &Daemon, token: &str, route: &Route, path: &str) -> Answer {
    let method = route.method.as_str();
    let body = if matches!(method, "POST" | "PUT" | "PATCH") { "{\"nonsense\": true}" } else { "" };
    let authorization = format!("Authorization: Bearer {token}");
    daemon.request(method, path, &[&authorization, "If-Match: \"0-0\""], body)
}

fn tried() -> Vec<Route> {
    let routes = http::routes().list().to_vec();
    assert!(routes.len() > 50, "{}", routes.len());
    routes.into_iter().filter(|route| !route.resource.is_public()).collect()
}

#[test]
fn every_role_may_what_the_table_says_on_every_route() {
    let (daemon, ids, rule) = site();
    for role in Role::ALL {
        let project = if role.is_of_the_site() { "system" } else { "blue" };
        let token = daemon.token(role.word(), project);
        for route in tried() {
            let path = format!("{}?project=blue", path(&route, &ids, &rule));
            let answer = send(&daemon, &token, &route, &path);
            let what = format!("{role}: {} {path} answered {}", route.method, answer.text);
            // An operation has an id of its own: `mine` is none.
            let is_none = route.resource == Resource::Operations && route.path.contains('{');
            if allows(role, route.resource, route.verb) && is_none {
                assert_eq!(answer.status, 404, "{what}");
            } else if allows(role, route.resource, route.verb) {
                assert!(
                    !matches!(answer.status, 401 | 403 | 404 | 405 | 429 | 500),
                    "{}: {what}",
                    answer.status
                );
            } else {
                assert_eq!((answer.status, &answer.body["code"]), (403, &json!("forbidden")), "{what}");
            }
        }
    }
}

#[test]
fn somebody_of_another_project_finds_nothing_on_any_route() {
    let (daemon, ids, rule) = site();
    let stranger = daemon.token("project-owner", "red");
    let nobody = "edgs_0000000000000000000000000000000000000000000000000000000000000000";
    for route in tried() {
        let plain = path(&route, &ids, &rule);
        let about_one = route.path.contains('{');
        let of_projects = route.resource.is_of_projects();
        let permitted = allows(Role::ProjectOwner, route.resource, route.verb);
        for suffix in ["", "?project=blue", "?project=red", "?project=all"] {
            let refused = send(&daemon, nobody, &route, &format!("{plain}{suffix}"));
            assert_eq!(refused.status, 401, "{} {plain}{suffix}: {}", route.method, refused.text);
            let answer = send(&daemon, &stranger, &route, &format!("{plain}{suffix}"));
            let what = format!("{} {plain}{suffix} answered {} {}", route.method, answer.status, answer.text);
            if of_projects && (suffix == "?project=blue" || route.resource == Resource::Quotas) {
                let wanted = if route.resource == Resource::Quotas && suffix != "?project=blue" {
                    [400, 404].as_slice()
                } else {
                    &[404]
                };
                assert!(wanted.contains(&answer.status), "{what}");
            } else if route.resource == Resource::Object(Kind::Flavor) && route.verb == Verb::Read {
                assert_eq!(answer.status, 200, "flavors are for all projects: {what}");
            } else if about_one && permitted && route.verb == Verb::Read {
                assert_eq!(answer.status, 404, "{what}");
            } else if about_one {
                // Writes: refused for what they are, or for what is not there; never for what is.
                assert!(matches!(answer.status, 400 | 403 | 404), "{what}");
            }
            for (kind, id) in &ids {
                let shows = answer.text.contains(id.as_str());
                assert!(
                    !shows || plain.contains(id.as_str()),
                    "{what}: the id of a {kind} of another project"
                );
            }
            assert!(!answer.text.contains("\"project\":\"blue\""), "{what}");
        }
    }
}

#[test]
fn what_is_of_another_project_looks_like_what_is_not_there() {
    let (daemon, ids, _) = site();
    let stranger = daemon.token("project-owner", "red");
    let nothing = "01900000-0000-7000-8000-000000000000";
    for (kind, id) in ids.iter().filter(|(kind, _)| kind.is_of_projects()) {
        let ask = |method: &str, id: &str, body: &Value| {
            let answer = daemon.request_as(&stranger, method, &format!("{}/{id}", kind.plural()), body);
            (answer.status, answer.text.replace(id, "ID"))
        };
        for (method, body) in [("GET", Value::Null), ("DELETE", Value::Null), ("PATCH", json!({}))] {
            assert_eq!(ask(method, id, &body), ask(method, nothing, &body), "{method} {kind}");
        }
        let wanted = if *kind == Kind::Token { 404 } else { ask("PATCH", id, &json!({})).0 };
        assert_eq!(wanted, 404, "{kind}");
    }
    let project = |name: &str| {
        let answer = daemon.request_as(&stranger, "GET", &format!("networks?project={name}"), &Value::Null);
        (answer.status, answer.text.replace(name, "NAME"))
    };
    assert_eq!(project("blue"), project("nothing"));
    let projects = daemon.request_as(&stranger, "GET", "projects", &Value::Null).body;
    assert_eq!((&projects["total"], &projects["projects"][0]["name"]), (&json!(1), &json!("red")));
}
