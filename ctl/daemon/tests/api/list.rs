//! Lists: paging, order, filters, selectors.

use serde_json::{Value, json};

use crate::bodies::{network, port, site};
use crate::support::Daemon;

/// The names in a list.
fn names(list: &Value, plural: &str) -> Vec<String> {
    let objects = list[plural].as_array().unwrap_or_else(|| panic!("no list: {list}"));
    objects.iter().map(|object| object["name"].as_str().unwrap().to_owned()).collect()
}

/// A daemon with the ports p0 to p11 in two networks, labelled by their remainder modulo 3.
fn ports() -> Daemon {
    let daemon = Daemon::start();
    daemon.create("networks", &network("a", "10.0.0.0/24"));
    daemon.create("networks", &network("b", "10.0.1.0/24"));
    for number in 0..12 {
        let network = if number % 2 == 0 { "a" } else { "b" };
        let labels = json!({"rest": (number % 3).to_string()});
        let mut body = port(&format!("p{number}"), network);
        body["port"]["labels"] = labels;
        if number == 5 {
            body["port"]["admin_state_up"] = json!(false);
        }
        daemon.create("ports", &body);
    }
    daemon
}

fn asked(daemon: &Daemon, query: &str) -> Vec<String> {
    let answer = daemon.get(&format!("ports?{query}"));
    assert_eq!(answer.status, 200, "{query}: {}", answer.text);
    names(&answer.body, "ports")
}

#[test]
fn lists_are_sorted() {
    let daemon = ports();
    let made: Vec<String> = (0..12).map(|number| format!("p{number}")).collect();
    assert_eq!(asked(&daemon, ""), made, "in the order they were made");
    let reversed: Vec<String> = made.iter().rev().cloned().collect();
    assert_eq!(asked(&daemon, "ascending=false"), reversed);
    let mut by_name = made.clone();
    by_name.sort();
    assert_eq!(asked(&daemon, "sort_by=name"), by_name);
    assert_eq!(asked(&daemon, "sortBy=name&ascending=true"), by_name);
    // 10.0.0.2, .3, ... .7 of the even ones, then 10.0.1.2 ...: as numbers, not as texts.
    let by_address = asked(&daemon, "sort_by=ip_address");
    assert_eq!(by_address[..2], ["p0", "p2"]);
    assert_eq!(by_address[6..8], ["p1", "p3"]);
    assert_eq!(asked(&daemon, "sort_by=status.phase").len(), 12);
    assert_eq!(asked(&daemon, "sort_by=labels.rest&limit=4"), ["p0", "p3", "p6", "p9"]);
}

#[test]
fn lists_are_filtered() {
    let daemon = ports();
    assert_eq!(asked(&daemon, "name=p3"), ["p3"]);
    assert_eq!(asked(&daemon, "name=p3&name=p4"), ["p3", "p4"]);
    assert_eq!(asked(&daemon, "name=p3&network=a"), Vec::<String>::new());
    assert_eq!(asked(&daemon, "network=b&label_selector=rest%3D1"), ["p1", "p7"]);
    assert_eq!(asked(&daemon, "label_selector=rest%20in%20(1,2),rest!%3D2"), ["p1", "p4", "p7", "p10"]);
    assert_eq!(asked(&daemon, "labelSelector=!rest"), Vec::<String>::new());
    assert_eq!(asked(&daemon, "admin_state_up=false"), ["p5"]);
    assert_eq!(asked(&daemon, "security_groups=default").len(), 12);
    assert_eq!(asked(&daemon, "interface=").len(), 12);
    let id = daemon.get("ports/p3").body["port"]["id"].as_str().unwrap().to_owned();
    assert_eq!(asked(&daemon, &format!("id={id}")), ["p3"]);
    let list = daemon.get("ports?network=b&limit=2").body;
    assert_eq!((names(&list, "ports"), &list["total"]), (vec!["p1".to_owned(), "p3".to_owned()], &json!(6)));
    let site = site();
    assert_eq!(names(&site.get("routers?internal=tenant&external=wan").body, "routers"), ["r1"]);
    assert_eq!(
        names(&site.get("routers?external.network=wan&external.ip=x").body, "routers"),
        Vec::<String>::new()
    );
}

#[test]
fn pages_follow_each_other() {
    let daemon = ports();
    assert_eq!(asked(&daemon, "limit=5&page=1"), ["p0", "p1", "p2", "p3", "p4"]);
    assert_eq!(asked(&daemon, "limit=5&page=3"), ["p10", "p11"]);
    assert_eq!(asked(&daemon, "limit=5&page=4"), Vec::<String>::new());
    let last = daemon.get("ports?limit=12").body;
    assert_eq!((&last["total"], &last["continue"]), (&json!(12), &Value::Null));
}

#[test]
fn a_token_goes_on_where_the_part_before_ended_whatever_happened_between() {
    let daemon = ports();
    let query = "limit=4&sort_by=name&ascending=false";
    let first = daemon.get(&format!("ports?{query}")).body;
    assert_eq!(names(&first, "ports"), ["p9", "p8", "p7", "p6"]);
    let token = first["continue"].as_str().unwrap();
    // The last one seen goes, others come before and behind.
    assert_eq!(daemon.delete("ports/p6").status, 200);
    daemon.create("ports", &port("p99", "a"));
    daemon.create("ports", &port("p55", "a"));
    let second = daemon.get(&format!("ports?{query}&continue={token}")).body;
    assert_eq!(names(&second, "ports"), ["p55", "p5", "p4", "p3"]);
    assert_eq!(second["total"], 13);
    let token = second["continue"].as_str().unwrap();
    let third = daemon.get(&format!("ports?limit=100&sort_by=name&ascending=false&continue={token}")).body;
    assert_eq!(names(&third, "ports"), ["p2", "p11", "p10", "p1", "p0"]);
    assert_eq!(third["continue"], Value::Null);

    let refused = [("?continue", "invalid_token")];
    daemon.get(&format!("ports?limit=4&sort_by=name&continue={token}")).refused(400, "invalid", &refused);
    for wrong in ["00", "zz", &token[2..], &format!("{token}00")] {
        daemon.get(&format!("ports?{query}&continue={wrong}")).refused(400, "invalid", &refused);
    }
}

#[test]
fn unknown_parameters_are_refused_by_name() {
    let daemon = site();
    let unknown = |query: &str| daemon.get(&format!("ports?{query}"));
    unknown("nam=web").refused(400, "invalid", &[("?nam", "unknown_field")]);
    assert!(unknown("lable_selector=a").text.contains("did you mean `label_selector`?"));
    unknown("sort_by=size").refused(400, "invalid", &[("?sort_by", "unknown_field")]);
    unknown("limit=10001").refused(400, "invalid", &[("?limit", "out_of_range")]);
    daemon.get("floating_ips?nam=x").refused(400, "invalid", &[("?nam", "unknown_field")]);
    for (method, path) in [
        ("GET", "ports/web"),
        ("GET", "ports/web/manifest"),
        ("POST", "ports"),
        ("PUT", "ports/web"),
        ("PUT", "floating_ips/x"),
        ("PATCH", "ports/web"),
        ("DELETE", "ports/web"),
        ("GET", "routers/r1/peer_routers"),
        ("POST", "routers/r1/peer_routers"),
        ("DELETE", "routers/r1/peer_routers/10.0.0.1"),
    ] {
        let answer = daemon.request(method, &format!("{path}?dry_rum=true"), &[], "");
        answer.refused(400, "invalid", &[("?dry_rum", "unknown_parameter")]);
    }
    assert_eq!(daemon.get("ports/web").status, 200, "nothing was done");
}
