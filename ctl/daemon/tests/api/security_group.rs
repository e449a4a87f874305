//! Security groups over HTTP.

use serde_json::{Value, json};

use crate::bodies::{network, port};
use crate::support::{Answer, Daemon};

fn group(rules: &Value) -> Value {
    json!({"security_group": {"name": "web", "rules": rules}})
}

fn ports(answer: &Answer) -> Vec<u64> {
    let rules = answer.body["security_group"]["rules"].as_array().unwrap();
    let mut ports: Vec<u64> = rules.iter().filter_map(|rule| rule["port_range_min"].as_u64()).collect();
    ports.sort_unstable();
    ports
}

fn tcp(port: u16) -> Value {
    json!({"direction": "ingress", "protocol": "tcp", "port_range_min": port, "port_range_max": port})
}

#[test]
fn rules_come_with_the_group_and_are_replaced_with_it() {
    let daemon = Daemon::start();
    let created = daemon.post("security_groups", &group(&json!([tcp(80), tcp(443), tcp(80)])));
    assert_eq!(created.status, 201, "{}", created.text);
    assert_eq!(ports(&created), [80, 443], "the same rule twice is one rule");
    assert_eq!(daemon.get("security_group_rules").body["total"], 2);
    assert_eq!(daemon.post("security_groups", &group(&json!([tcp(443), tcp(80)]))).status, 200);
    daemon.post("security_groups", &group(&json!([tcp(22)]))).refused(
        409,
        "already_exists",
        &[("/security_group/rules", "differs")],
    );

    let kept: Vec<Value> =
        daemon.get("security_groups/web").body["security_group"]["rules"].as_array().unwrap().clone();
    let replaced = daemon.put("security_groups/web", &group(&json!([tcp(80), tcp(22)])));
    assert_eq!(ports(&replaced), [22, 80]);
    let id = |rules: &[Value]| rules.iter().find(|rule| rule["port_range_min"] == 80).unwrap()["id"].clone();
    let now = replaced.body["security_group"]["rules"].as_array().unwrap();
    assert_eq!(id(&kept), id(now), "what stays is the same rule");

    let generation = |answer: &Answer| answer.body["security_group"]["generation"].as_u64().unwrap();
    assert_eq!(generation(&replaced), 2, "its rules are part of the group");
    let rule = daemon.create(
        "security_group_rules",
        &json!({"security_group_rule": {"security_group_id": "web", "direction": "egress"}}),
    );
    assert_eq!(generation(&daemon.get("security_groups/web")), 3);
    let path = format!("security_group_rules/{}", rule["id"].as_str().unwrap());
    assert_eq!(daemon.patch(&path, &json!({"security_group_rule": {}})).status, 200);
    assert_eq!(generation(&daemon.get("security_groups/web")), 3, "nothing was changed");
    assert_eq!(daemon.delete(&path).status, 200);
    assert_eq!(generation(&daemon.get("security_groups/web")), 4);

    let untouched =
        daemon.put("security_groups/web", &json!({"security_group": {"name": "web", "description": "d"}}));
    assert_eq!(ports(&untouched), [22, 80], "rules that are not mentioned stay");
    let whole = daemon.get("security_groups/web");
    let again = daemon.put("security_groups/web", &whole.body);
    assert_eq!((again.status, ports(&again)), (200, vec![22, 80]), "{}", again.text);
    assert_eq!(daemon.delete("security_groups/web").status, 200);
    assert_eq!(daemon.get("security_group_rules").body["total"], 0, "rules go with their group");
}

#[test]
fn lists_have_each_group_with_its_own_rules() {
    let daemon = Daemon::start();
    // What stands for no rules in JSON, as text.
    let strange = "\"rules\":[] and {\"rules\":[]}";
    for (name, rules) in
        [("web", json!([tcp(80), tcp(443)])), ("none", json!([])), ("db", json!([tcp(5432)]))]
    {
        let body = json!({"security_group": {"name": name, "description": strange, "rules": rules}});
        daemon.create("security_groups", &body);
    }
    let check = || {
        for query in ["", "?limit=2", "?name=db", "?sort_by=name&ascending=false"] {
            let list = daemon.get(&format!("security_groups{query}"));
            let groups = list.body["security_groups"].as_array().unwrap_or_else(|| panic!("{}", list.text));
            assert!(!groups.is_empty(), "{query}");
            for group in groups {
                let shown = daemon.get(&format!("security_groups/{}", group["name"].as_str().unwrap()));
                let mut shown = shown.body["security_group"].clone();
                // Rules are shown by what they allow, and listed by their age.
                let by_age = |rule: &Value| rule["id"].as_str().unwrap().to_owned();
                shown["rules"].as_array_mut().unwrap().sort_by_key(by_age);
                let mut listed = group.clone();
                // Written meanwhile by the reconciler.
                for group in [&mut listed, &mut shown] {
                    group["status"].take();
                    for rule in group["rules"].as_array_mut().unwrap() {
                        assert!(rule["status"].take()["phase"].is_string());
                    }
                }
                assert_eq!(listed, shown, "{query}");
            }
        }
    };
    check();
    daemon.put("security_groups/web", &group(&json!([tcp(443), tcp(22)])));
    check();
    assert_eq!(daemon.delete("security_groups/db").status, 200);
    daemon.create("security_groups", &json!({"security_group": {"name": "db", "rules": [tcp(3306)]}}));
    check();
}

#[test]
fn a_group_may_name_itself_before_it_exists() {
    let daemon = Daemon::start();
    let own = json!([{"direction": "ingress", "remote_group_id": "web"}]);
    let created = daemon.post("security_groups", &group(&own));
    assert_eq!(created.status, 201, "{}", created.text);
    assert_eq!(created.body["security_group"]["rules"][0]["remote_group_id"], created.body["id"]);
    assert_eq!(daemon.post("security_groups", &group(&own)).status, 200);
    let unknown = json!({"security_group": {"name": "db", "rules": [tcp(1), {"direction": "ingress", "remote_group_id": "x"}]}});
    daemon.post("security_groups", &unknown).refused(
        400,
        "invalid",
        &[("/security_group/rules/1/remote_group_id", "not_found")],
    );
    assert_eq!(daemon.delete("security_groups/web").status, 200, "its own rule does not keep it");
}

#[test]
fn a_group_in_use_stays_and_says_who_uses_it() {
    let daemon = Daemon::start();
    daemon.create("networks", &network("tenant", "10.0.0.0/24"));
    daemon.create("security_groups", &group(&json!([])));
    let db = json!({"security_group": {"name": "db", "rules": [{"direction": "ingress", "remote_group_id": "web"}]}});
    daemon.create("security_groups", &db);
    let body = json!({"port": {"name": "p", "network": "tenant", "security_groups": ["web"]}});
    daemon.create("ports", &body);
    let refused = daemon.delete("security_groups/web");
    refused.refused(409, "in_use", &[("", "used_by"), ("", "used_by")]);
    assert!(
        refused.text.contains("port p") && refused.text.contains("security group rule"),
        "{}",
        refused.text
    );
    daemon.create("ports", &port("q", "tenant"));
    assert_eq!(daemon.delete("ports/q").status, 200);
    daemon.delete("security_groups/default").refused(409, "protected", &[]);
}
