//! Address groups over HTTP, and the rules that name them.

use serde_json::json;

use crate::support::Daemon;

#[test]
fn rules_name_address_groups_which_then_stay() {
    let daemon = Daemon::start();
    let office = json!({"address_group": {"name": "office", "addresses": ["192.0.2.0/24", "198.51.100.7"]}});
    let office = daemon.create("address_groups", &office);
    assert_eq!(office["addresses"][1], "198.51.100.7/32");
    daemon.create("security_groups", &json!({"security_group": {"name": "web"}}));
    let rule = json!({"security_group_rule": {"security_group_id": "web", "direction": "ingress",
        "protocol": "icmp", "port_range_min": "echo-request", "remote_address_group_id": "office"}});
    let created = daemon.create("security_group_rules", &rule);
    assert_eq!((&created["remote_address_group_id"], &created["port_range_min"]), (&office["id"], &json!(8)));
    assert_eq!(daemon.post("security_group_rules", &rule).status, 200, "the same rule is there already");
    let users = daemon.delete("address_groups/office");
    users.refused(409, "in_use", &[("", "used_by")]);
    let inline = json!({"security_group": {"name": "db", "rules": [
        {"direction": "ingress", "remote_address_group_id": "office"}]}});
    let group = daemon.create("security_groups", &inline);
    assert_eq!(group["rules"][0]["remote_address_group_id"], office["id"]);
    assert_eq!(daemon.post("security_groups", &inline).status, 200);
    let unknown = json!({"security_group": {"name": "no", "rules": [
        {"direction": "ingress", "remote_address_group_id": "nowhere"}]}});
    let unknown = daemon.post("security_groups", &unknown);
    unknown.refused(400, "invalid", &[("/security_group/rules/0/remote_address_group_id", "not_found")]);
    let changed =
        daemon.patch("address_groups/office", &json!({"address_group": {"addresses": ["fd00::/8"]}}));
    assert_eq!((changed.status, &changed.body["address_group"]["addresses"]), (200, &json!(["fd00::/8"])));
    assert_eq!(daemon.delete("security_groups/web").status, 200);
    assert_eq!(daemon.delete("security_groups/db").status, 200);
    assert_eq!(daemon.delete("address_groups/office").status, 200, "nobody names it any more");
}
