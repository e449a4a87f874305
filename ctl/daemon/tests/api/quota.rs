//! Quotas: what a project may have is never exceeded, whatever comes at once.

use serde_json::{Value, json};

use crate::bodies::network;
use crate::support::{Daemon, request};

fn used(daemon: &Daemon, project: &str, kind: &str) -> u64 {
    daemon.get(&format!("quotas/{project}")).body["quota"][kind]["used"].as_u64().unwrap()
}

#[test]
fn fifty_creates_at_once_get_what_is_left_and_no_more() {
    let daemon = Daemon::start();
    daemon.create("projects", &json!({"project": {"name": "blue"}}));
    let answer = daemon.put("quotas/blue", &json!({"quota": {"networks": 12}}));
    assert_eq!(answer.body["quota"]["networks"], json!({"limit": 12, "used": 0}));
    for index in 0..2 {
        daemon.create("networks?project=blue", &network(&format!("n{index}"), "10.0.0.0/24"));
    }
    let statuses: Vec<u16> = std::thread::scope(|scope| {
        let create = |index: usize| {
            let body = network(&format!("m{index}"), "10.0.0.0/24").to_string();
            request(&daemon.socket(), "POST", "networks?project=blue", &[], &body).unwrap().status
        };
        let threads: Vec<_> = (0..50).map(|index| scope.spawn(move || create(index))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(statuses.iter().filter(|status| **status == 201).count(), 10, "{statuses:?}");
    assert_eq!(statuses.iter().filter(|status| **status == 403).count(), 40, "{statuses:?}");
    assert_eq!(used(&daemon, "blue", "networks"), 12);
    let one_more = daemon.post("networks?project=blue", &network("more", "10.0.0.0/24"));
    one_more.refused(403, "quota_exceeded", &[]);
    assert_eq!(
        daemon.post("networks?project=blue", &network("n0", "10.0.0.0/24")).status,
        200,
        "it is there already"
    );
    assert_eq!(daemon.delete("networks/n0?project=blue").status, 200);
    daemon.create("networks?project=blue", &network("more", "10.0.0.0/24"));
    daemon.create("networks", &network("elsewhere", "10.0.0.0/24"));
}

#[test]
fn what_comes_with_an_object_is_counted_too() {
    let mut daemon = Daemon::start_with("[quotas]\nsecurity_group_rules = 5\n");
    daemon.create("networks", &network("own", "10.0.0.0/24"));
    daemon.create("ports", &json!({"port": {"name": "p", "network": "own"}}));
    assert_eq!(
        used(&daemon, "default", "security_group_rules"),
        2,
        "those of the group that came with the port"
    );
    let rules: Vec<Value> =
        (1..=4).map(|port| json!({"direction": "ingress", "protocol": "tcp", "port_range_min": port, "port_range_max": port})).collect();
    let group = |rules: &[Value]| json!({"security_group": {"name": "web", "rules": rules}});
    daemon.post("security_groups", &group(&rules)).refused(403, "quota_exceeded", &[]);
    assert_eq!(used(&daemon, "default", "security_groups"), 1, "nothing of what is refused is left");
    daemon.create("security_groups", &group(&rules[..3]));
    assert_eq!(daemon.put("security_groups/web", &group(&rules[1..])).status, 200, "three for three");
    daemon.kill_and_restart();
    assert_eq!(used(&daemon, "default", "security_group_rules"), 5);
    assert_eq!(daemon.delete("security_groups/web").status, 200);
    assert_eq!(used(&daemon, "default", "security_group_rules"), 2);
}

#[test]
fn quotas_are_read_strictly_and_kept() {
    let mut daemon = Daemon::start();
    let wanted = [("/quota/prts", "unknown_field")];
    daemon.put("quotas/default", &json!({"quota": {"prts": 1}})).refused(400, "invalid", &wanted);
    daemon.get("quotas/nothing").refused(404, "not_found", &[]);
    daemon.put("quotas/nothing", &json!({"quota": {}})).refused(404, "not_found", &[]);
    assert_eq!(daemon.put("quotas/default", &json!({"quota": {"routers": 0}})).status, 200);
    daemon.kill_and_restart();
    daemon.post("routers", &json!({"router": {"name": "r"}})).refused(403, "quota_exceeded", &[]);
    let shown = daemon.get("quotas/default").body;
    assert_eq!(daemon.put("quotas/default", &shown).status, 200, "what is shown can be sent back");
    assert_eq!(daemon.put("quotas/default", &json!({"quota": {}})).status, 200);
    daemon.create("routers", &json!({"router": {"name": "r"}}));
}
