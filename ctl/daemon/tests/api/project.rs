//! Projects: names, references and sight end at their borders; external networks are for all.

use serde_json::{Value, json};

use crate::bodies::{external, network, port};
use crate::support::Daemon;

fn with_projects(names: &[&str]) -> Daemon {
    let daemon = Daemon::start();
    for name in names {
        daemon.create("projects", &json!({"project": {"name": name}}));
    }
    daemon
}

#[test]
fn two_projects_have_objects_of_the_same_names() {
    let daemon = with_projects(&["blue", "red"]);
    let mut outside = external();
    outside["network"]["ip_pool"]["end"] = json!("203.0.113.60");
    daemon.create("networks", &outside);
    let mut ids = Vec::new();
    for project in ["default", "blue", "red"] {
        let made = daemon.create(&format!("networks?project={project}"), &network("tenant", "10.0.0.0/24"));
        assert_eq!(made["project"], project);
        ids.push(made["id"].clone());
        daemon.create(
            &format!("routers?project={project}"),
            &json!({"router": {"name": "r1", "internal": ["tenant"], "external": "wan"}}),
        );
        let made = daemon.create(&format!("ports?project={project}"), &port("web", "tenant"));
        assert_eq!(
            (&made["ip_address"], &made["security_groups"]),
            (&json!("10.0.0.2"), &json!(["default"]))
        );
        let floating = json!({"floating_ip": {"network": "wan", "instance_name": "web"}});
        let floating = daemon.create(&format!("floating_ips?project={project}"), &floating);
        assert_eq!(floating["router"], "r1");
    }
    let of = |answer: crate::support::Answer| answer.body["networks"].as_array().unwrap().len();
    assert_eq!(of(daemon.get("networks?project=blue")), 2, "its own and the shared one");
    assert_eq!(of(daemon.get("networks?project=all")), 4);
    assert_eq!(of(daemon.request("GET", "networks", &["X-Project: red"], "")), 2);
    let id = ids[1].as_str().unwrap();
    daemon.get(&format!("networks/{id}")).refused(404, "not_found", &[]);
    assert_eq!(daemon.get(&format!("networks/{id}?project=blue")).body["network"]["id"], ids[1]);
}

#[test]
fn references_end_at_the_border_of_the_project() {
    let daemon = with_projects(&["blue", "red"]);
    let net = daemon.create("networks?project=red", &network("secret", "10.0.0.0/24"));
    let group = daemon.create("security_groups?project=red", &json!({"security_group": {"name": "web"}}));
    for reference in [json!("secret"), net["id"].clone()] {
        let body = json!({"port": {"name": "p", "network": reference}});
        daemon.post("ports?project=blue", &body).refused(400, "invalid", &[("/port/network", "not_found")]);
    }
    daemon.create("networks?project=blue", &network("own", "10.0.0.0/24"));
    for reference in [json!("web"), group["id"].clone()] {
        let body = json!({"port": {"name": "p", "network": "own", "security_groups": [reference]}});
        let wanted = [("/port/security_groups/0", "not_found")];
        daemon.post("ports?project=blue", &body).refused(400, "invalid", &wanted);
        let rule = json!({"direction": "ingress", "remote_group_id": reference});
        let body = json!({"security_group": {"name": "x", "rules": [rule]}});
        let wanted = [("/security_group/rules/0/remote_group_id", "not_found")];
        daemon.post("security_groups?project=blue", &body).refused(400, "invalid", &wanted);
    }
}

#[test]
fn what_is_taken_in_another_project_is_not_named() {
    let daemon = with_projects(&["blue", "red"]);
    daemon.create(
        "networks?project=red",
        &json!({"network": {"name": "secret", "cidr": "10.0.0.0/24", "segment_id": 77}}),
    );
    let body = json!({"network": {"name": "own", "cidr": "10.0.0.0/24", "segment_id": 77}});
    let refused = daemon.post("networks?project=blue", &body);
    refused.refused(409, "conflict", &[("/network/segment_id", "segment_in_use")]);
    assert!(!refused.text.contains("secret") && refused.text.contains("another project"), "{}", refused.text);
}

#[test]
fn a_project_takes_outside_addresses_from_the_pools_only() {
    let daemon = with_projects(&["blue"]);
    let mut wan = external();
    wan["network"]["ipv6_cidr"] = json!("2001:db8:5::/64");
    wan["network"]["ipv6_ip_pool"] = json!({"start": "2001:db8:5::100", "end": "2001:db8:5::1ff"});
    daemon.create("networks", &wan);
    let member = daemon.token("member", "blue");
    let router = |external: &Value| json!({"router": {"name": "r", "internal": [], "external": external}});
    for (field, address) in [("ip", "203.0.113.99"), ("ipv6", "2001:db8:5::2")] {
        let body = router(&json!({"network": "wan", field: address}));
        let pointer = format!("/router/external/{field}");
        let refused = daemon.request_as(&member, "POST", "routers", &body);
        refused.refused(400, "invalid", &[(pointer.as_str(), "not_permitted")]);
    }
    let body = router(&json!({"network": "wan", "ipv6": "2001:db8:5::105"}));
    assert_eq!(daemon.request_as(&member, "POST", "routers", &body).status, 201);
    let moved = json!({"router": {"external": {"network": "wan", "ipv6": "2001:db8:5::2"}}});
    let wanted = [("/router/external/ipv6", "not_permitted")];
    daemon.request_as(&member, "PATCH", "routers/r", &moved).refused(400, "invalid", &wanted);
    // Those who run the site may, and what they chose stays right for everybody.
    assert_eq!(daemon.patch("routers/r?project=blue", &moved).status, 200);
    let labels = json!({"router": {"labels": {"a": "b"}}});
    assert_eq!(daemon.request_as(&member, "PATCH", "routers/r", &labels).status, 200);
}

#[test]
fn a_shared_name_is_nobody_else_s() {
    let daemon = with_projects(&["blue"]);
    daemon.create("networks?project=blue", &network("wan", "10.0.0.0/24"));
    let refused = daemon.post("networks", &external());
    refused.refused(409, "conflict", &[("/network/name", "name_in_use")]);
    assert_eq!(daemon.delete("networks/wan?project=blue").status, 200);
    daemon.create("networks", &external());
    assert_eq!(daemon.post("networks?project=blue", &network("wan", "10.0.0.0/24")).status, 409);
    assert_eq!(daemon.get("networks/wan?project=blue").status, 200, "it is seen from everywhere");
}

#[test]
fn a_project_comes_with_its_group_and_goes_when_it_is_empty() {
    let daemon = with_projects(&["blue"]);
    assert_eq!(
        daemon.get("projects/blue").body["project"]["status"]["phase"],
        "Active",
        "it waits for nothing"
    );
    let group = daemon.get("security_groups/default?project=blue").body["security_group"].clone();
    let rules: Vec<&Value> =
        group["rules"].as_array().unwrap().iter().map(|rule| &rule["direction"]).collect();
    assert_eq!(rules.len(), 2, "{rules:?}");
    daemon.create("networks?project=blue", &network("own", "10.0.0.0/24"));
    daemon.token("member", "blue");
    let refused = daemon.delete("projects/blue");
    assert_eq!((refused.status, &refused.body["code"]), (409, &json!("in_use")));
    assert!(refused.text.contains("networks (1)") && refused.text.contains("tokens (1)"), "{}", refused.text);
    assert_eq!(daemon.delete("networks/own?project=blue").status, 200);
    assert_eq!(daemon.delete("tokens/member-token?project=blue").status, 200);
    assert_eq!(daemon.delete("projects/blue").status, 200);
    daemon.get("networks?project=blue").refused(404, "not_found", &[]);
    daemon.create("projects", &json!({"project": {"name": "blue"}}));
    assert_eq!(daemon.get("security_groups?project=blue").body["total"], 1, "nothing of the old one is left");
    let refused = daemon.delete("projects/default");
    assert_eq!((refused.status, &refused.body["code"]), (409, &json!("protected")));
}

#[test]
fn wrong_projects_are_refused() {
    let mut daemon = with_projects(&["blue"]);
    daemon.get("networks?project=nothing").refused(404, "not_found", &[]);
    daemon.get("networks?project=../x").refused(404, "not_found", &[]);
    daemon.get("networks?project=blue&project=default").refused(400, "malformed", &[]);
    let post = |path: &str| daemon.post(path, &network("n", "10.0.0.0/24"));
    post("networks?project=all").refused(403, "forbidden", &[]);
    post("networks?project=system").refused(404, "not_found", &[]);
    for name in ["all", "system"] {
        let body = json!({"project": {"name": name}});
        daemon.post("projects", &body).refused(400, "invalid", &[("/project/name", "reserved")]);
    }
    let body = json!({"network": {"name": "n", "cidr": "10.0.0.0/24", "project": "blue"}});
    daemon.post("networks", &body).refused(400, "invalid", &[("/network/project", "mismatch")]);
    let made = daemon.create("networks?project=blue", &body);
    let back = daemon.put("networks/n?project=blue", &json!({"network": made}));
    assert_eq!(back.status, 200, "what was shown can be sent back: {}", back.text);
    daemon.kill_and_restart();
    assert_eq!(daemon.get("networks/n?project=blue").body["network"]["project"], "blue");
}

#[test]
fn who_has_an_address_is_not_told_to_another_project() {
    let daemon = with_projects(&["blue"]);
    daemon.create("networks", &external());
    daemon.create("routers?project=blue", &json!({"router": {"name": "secret", "external": "wan"}}));
    let reserve = json!({"network": {"reservations": [{"start": "203.0.113.10", "end": "203.0.113.10"}]}});
    let elsewhere = json!({"network": {"physnet_name": "other"}});
    for (body, field, code) in [
        (&reserve, "/network/reservations/0", "address_in_use"),
        (&elsewhere, "/network/physnet_name", "in_use"),
    ] {
        let hidden = daemon.patch("networks/wan", body);
        hidden.refused(409, "conflict", &[(field, code)]);
        assert!(hidden.text.contains("an object of another project"), "{}", hidden.text);
        assert!(!hidden.text.contains("secret"), "{}", hidden.text);
    }
}
