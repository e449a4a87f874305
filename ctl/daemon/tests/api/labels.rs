//! Labels and descriptions of every kind.

use serde_json::{Value, json};

use crate::bodies::site;

#[test]
fn every_kind_has_labels_and_a_description() {
    let daemon = site();
    daemon.create("floating_ips", &json!({"floating_ip": {"network": "wan", "name": "fip"}}));
    let rule = json!({"security_group_rule": {"security_group_id": "default", "direction": "egress", "protocol": "sctp"}});
    let rule = daemon.create("security_group_rules", &rule);
    let rule = format!("security_group_rules/{}", rule["id"].as_str().unwrap());
    for path in
        ["networks/tenant", "ports/web", "routers/r1", "floating_ips/fip", "security_groups/default", &rule]
    {
        let before = daemon.get(path);
        let singular = before.body.as_object().unwrap().keys().next().unwrap().clone();
        assert_eq!(before.body[&singular]["labels"], json!({}), "{path}");
        let patch = json!({ &singular: {"labels": {"tier": "web", "stage": "test"}} });
        let changed = daemon.patch(path, &patch);
        assert_eq!(changed.status, 200, "{}", changed.text);
        let object = &changed.body[&singular];
        assert_eq!(object["labels"], json!({"tier": "web", "stage": "test"}));
        if !path.contains("rules") {
            assert_eq!(
                object["generation"], before.body[&singular]["generation"],
                "{path}: nothing to bring into effect"
            );
        }
        assert_ne!(changed.header("etag"), before.header("etag"), "{path}");
        let patch = json!({ &singular: {"labels": {"stage": null}, "description": "said"} });
        let object = daemon.patch(path, &patch).body[&singular].clone();
        assert_eq!((&object["labels"], &object["description"]), (&json!({"tier": "web"}), &json!("said")));
        let again = daemon.put(path, &daemon.get(path).body);
        assert_eq!(
            again.body[&singular]["labels"],
            json!({"tier": "web"}),
            "what GET returned can be PUT back"
        );
    }
    let mut daemon = daemon;
    daemon.kill_and_restart();
    assert_eq!(daemon.get("ports/web").body["port"]["labels"], json!({"tier": "web"}));
    let manifest = daemon.get("ports/web/manifest").body["manifest"].as_str().unwrap().to_owned();
    assert!(manifest.contains("labels:\n    tier: web\n"), "{manifest}");
    let peer = json!({"peer_router": {"ip": "203.0.113.200"}});
    let router = daemon.post("routers/r1/peer_routers", &peer).body["router"].clone();
    assert_eq!(
        router["labels"],
        json!({"tier": "web"}),
        "what belongs to the router leaves its labels alone"
    );
}

#[test]
fn labels_count_when_an_object_is_created_again() {
    let daemon = site();
    let body = |labels: Value| json!({"port": {"name": "db", "network": "tenant", "labels": labels}});
    daemon.create("ports", &body(json!({"tier": "db"})));
    assert_eq!(daemon.post("ports", &body(json!({"tier": "db"}))).status, 200);
    let other = daemon.post("ports", &body(json!({})));
    other.refused(409, "already_exists", &[("/port/labels", "differs")]);
    let wrong = daemon.post("ports", &body(json!({"a b": "c"})));
    wrong.refused(400, "invalid", &[("/port/labels/a b", "invalid_label")]);
}
