//! Events: the list, and the stream with resume.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use serde_json::{Value, json};

use crate::bodies::{network, port, site};
use crate::support::{Daemon, OBJECTS};

/// A message of a stream.
#[derive(Debug, Default)]
struct Message {
    event: String,
    id: Option<u64>,
    data: Value,
}

/// A stream of events.
struct Stream {
    input: BufReader<UnixStream>,
}

impl Stream {
    fn open(daemon: &Daemon, query: &str, headers: &[&str]) -> Self {
        let mut stream = UnixStream::connect(daemon.socket()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let headers = headers.iter().fold(String::new(), |all, header| all + header + "\r\n");
        // Closed where the stream ends.
        let head =
            format!("GET {OBJECTS}/events{query} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}\r\n");
        stream.write_all(head.as_bytes()).unwrap();
        let mut input = BufReader::new(stream);
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            assert!(input.read_line(&mut head).unwrap() > 0, "{head}");
        }
        assert!(head.starts_with("HTTP/1.1 200") && head.contains("text/event-stream"), "{head}");
        Self { input }
    }

    /// The next message that has data; None at the end.
    fn next(&mut self) -> Option<Message> {
        let mut message = Message::default();
        loop {
            let mut line = String::new();
            if self.input.read_line(&mut line).unwrap() == 0 {
                return None;
            }
            let line = line.trim_end();
            if let Some(data) = line.strip_prefix("data: ") {
                message.data = serde_json::from_str(data).unwrap();
            } else if let Some(event) = line.strip_prefix("event: ") {
                event.clone_into(&mut message.event);
            } else if let Some(id) = line.strip_prefix("id: ") {
                message.id = Some(id.parse().unwrap());
            } else if line.is_empty() {
                // Lines of the chunked encoding stand between messages.
                if message.data.is_object() {
                    return Some(message);
                }
            }
        }
    }

    fn find(&mut self, wanted: impl Fn(&Message) -> bool) -> Message {
        loop {
            let message = self.next().expect("the stream goes on");
            if wanted(&message) {
                return message;
            }
        }
    }
}

#[test]
fn what_happens_is_streamed_with_the_object() {
    let daemon = site();
    let mut stream = Stream::open(&daemon, "?watch=true&kind=ports", &[]);
    let made = daemon.create("ports", &port("db", "tenant"));
    let created = stream.find(|message| message.event == "created");
    assert_eq!((&created.data["kind"], &created.data["name"]), (&json!("port"), &json!("db")));
    assert_eq!((&created.data["id"], &created.data["object"]["id"]), (&made["id"], &made["id"]));
    assert_eq!(created.data["object"]["ip_address"], "10.0.0.3");
    assert!(created.data["object"].get("keys").is_none());
    assert_eq!(created.id, created.data["revision"].as_u64());
    let status = stream.find(|message| message.event == "status" && message.data["name"] == "db");
    assert_eq!(status.data["reason"], "NotPlugged");
    assert_eq!(status.data["object"]["status"]["phase"], "Pending");
    daemon.patch("ports/db", &json!({"port": {"description": "x"}}));
    let updated = stream.find(|message| message.event == "updated");
    assert_eq!(updated.data["object"]["description"], "x");
    daemon.create("networks", &network("other", "10.1.0.0/24"));
    daemon.delete("ports/db");
    let deleted = stream.find(|message| message.event != "status");
    assert_eq!((deleted.event.as_str(), &deleted.data["object"]["description"]), ("deleted", &json!("x")));
    assert!(deleted.id > updated.id);
}

#[test]
fn a_stream_is_resumed_without_loss() {
    let daemon = site();
    let mut stream = Stream::open(&daemon, "", &["Accept: text/event-stream"]);
    daemon.create("networks", &network("n0", "10.1.0.0/24"));
    let first = stream.find(|message| message.data["name"] == "n0" && message.event == "created");
    drop(stream);
    for number in 1..5 {
        daemon.create("networks", &network(&format!("n{number}"), &format!("10.1.{number}.0/24")));
    }
    // A group with its rules is several objects of one revision: the id comes with the last of them.
    let rules =
        json!([{"direction": "ingress", "protocol": "tcp"}, {"direction": "egress", "protocol": "udp"}]);
    daemon.create("security_groups", &json!({"security_group": {"name": "g", "rules": rules}}));
    let last = format!("Last-Event-ID: {}", first.id.unwrap());
    let mut stream = Stream::open(&daemon, "?watch=true&type=created", &[&last]);
    let names: Vec<Value> = (0..4).map(|_| stream.next().unwrap().data["name"].clone()).collect();
    assert_eq!(names, [json!("n1"), json!("n2"), json!("n3"), json!("n4")]);
    let group: Vec<Message> = (0..3).map(|_| stream.next().unwrap()).collect();
    assert_eq!(group.iter().map(|message| message.id.is_some()).collect::<Vec<_>>(), [false, false, true]);
    // From a revision in the query, as a list gives it.
    let revision = daemon.get("networks").body["revision"].as_u64().unwrap();
    daemon.delete("networks/n4");
    let mut stream = Stream::open(&daemon, &format!("?watch=true&since={revision}&type=deleted"), &[]);
    assert_eq!(stream.next().unwrap().data["name"], "n4");
}

#[test]
fn who_asks_for_what_is_gone_is_told() {
    let mut daemon = site();
    let revision = daemon.get("networks").body["revision"].as_u64().unwrap();
    daemon.kill_and_restart();
    let mut stream = Stream::open(&daemon, "?watch=true", &["Last-Event-ID: 1"]);
    let told = stream.next().unwrap();
    assert_eq!((told.event.as_str(), &told.data["status"]), ("compacted", &json!(410)));
    assert!(told.id.unwrap() >= revision, "it goes on from there");
    daemon.create("networks", &network("after", "10.1.0.0/24"));
    assert_eq!(stream.find(|message| message.event == "created").data["name"], "after");
    daemon.get("events?since=1").refused(410, "compacted", &[]);
    let far = Stream::open(&daemon, "?watch=true", &["Last-Event-ID: 99999999"]).next().unwrap();
    assert_eq!(far.event, "compacted", "of a store that is no more");
    let wrong = daemon.request("GET", "events?watch=true", &["Last-Event-ID: x"], "");
    wrong.refused(400, "malformed", &[]);
}

#[test]
fn the_last_events_are_listed() {
    let daemon = site();
    daemon.patch("networks/tenant", &json!({"network": {"mtu": 1400}}));
    let told = |query: &str| -> Vec<(String, String)> {
        let body = daemon.get(&format!("events?{query}")).body;
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let events = body["events"].as_array().unwrap_or_else(|| panic!("no list: {body}"));
        events.iter().map(|event| (text(&event["reason"]), text(&event["message"]))).collect()
    };
    let pair = |reason: &str, message: &str| (reason.to_owned(), message.to_owned());
    assert_eq!(
        told("kind=network&name=tenant&type=created"),
        [pair("Created", "the network tenant was created")]
    );
    assert_eq!(told("kind=networks&type=updated"), [pair("Updated", "the network tenant was updated")]);
    assert_eq!(told("type=created&limit=1")[0].1, "the port web was created", "the newest");
    let all = daemon.get("events").body;
    assert!(all["total"].as_u64().unwrap() >= 5, "{all}");
    let revision = all["events"][0]["revision"].as_u64().unwrap();
    let later = daemon.get(&format!("events?since={revision}")).body;
    assert!(
        later["events"].as_array().unwrap().iter().all(|event| event["revision"].as_u64() > Some(revision))
    );
    daemon.get("events?kind=thing").refused(400, "invalid", &[("?kind", "invalid_value")]);
    daemon.get("events?limit=0&tpye=x").refused(
        400,
        "invalid",
        &[("?limit", "out_of_range"), ("?tpye", "unknown_parameter")],
    );
}

#[test]
fn nobody_hears_of_objects_that_they_may_not_read() {
    let daemon = site();
    let operator = daemon.token("operator", "system");
    let binding = json!({"role_binding": {"name": "b", "user": "ann", "role": "viewer"}});
    daemon.create("role_bindings", &binding);
    let kinds = |body: &Value| -> Vec<String> {
        let events = body["events"].as_array().unwrap_or_else(|| panic!("no list: {body}"));
        events.iter().map(|event| event["kind"].as_str().unwrap().to_owned()).collect()
    };
    let all = kinds(&daemon.get("events").body);
    assert!(all.contains(&"token".to_owned()) && all.contains(&"role_binding".to_owned()), "{all:?}");
    let told = kinds(&daemon.request_as(&operator, "GET", "events", &Value::Null).body);
    assert!(told.contains(&"network".to_owned()), "{told:?}");
    assert!(!told.contains(&"token".to_owned()) && !told.contains(&"role_binding".to_owned()), "{told:?}");
    let asked = daemon.request_as(&operator, "GET", "events?kind=token", &Value::Null).body;
    assert_eq!(asked["total"], 0);
}

#[test]
fn readers_are_bounded_and_end_with_the_daemon() {
    let mut daemon = site();
    let mut streams: Vec<Stream> = (0..64).map(|_| Stream::open(&daemon, "?watch=true", &[])).collect();
    daemon.get("events?watch=true").refused(503, "too_many_subscribers", &[]);
    streams.truncate(10);
    // A place is free as soon as the daemon has seen that its reader is gone.
    let is_free = |_| {
        std::thread::sleep(Duration::from_millis(20));
        let mut stream = UnixStream::connect(daemon.socket()).unwrap();
        write!(stream, "GET {OBJECTS}/events?watch=true HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line).unwrap();
        line.contains("200")
    };
    assert!((0..200).any(is_free));
    assert_eq!(daemon.stop(), Some(0));
    while streams[0].next().is_some() {}
}

/// Two projects, with networks of the same name.
fn two_projects() -> Daemon {
    let daemon = Daemon::start();
    for project in ["blue", "red"] {
        daemon.create("projects", &json!({"project": {"name": project}}));
    }
    daemon
}

fn bearer(token: &str) -> String {
    format!("Authorization: Bearer {token}")
}

/// Makes a network in a project.
fn network_in(daemon: &Daemon, project: &str, name: &str) {
    let answer = daemon.post(&format!("networks?project={project}"), &network(name, "10.0.0.0/24"));
    assert_eq!(answer.status, 201, "{}", answer.text);
}

#[test]
fn tenants_hear_of_their_own_projects_alone() {
    let daemon = two_projects();
    let (viewer, owner) = (daemon.token("viewer", "blue"), daemon.token("project-owner", "blue"));
    let mut stream = Stream::open(&daemon, "?watch=true", &[&bearer(&viewer)]);
    // Whatever is not the project's comes first, so that a leak would be seen.
    daemon.create("flavors", &json!({"flavor": {"name": "small", "vcpus": 1, "ram": 512}}));
    daemon.create("networks", &network("default", "10.0.0.0/24"));
    network_in(&daemon, "red", "theirs");
    daemon.token("member", "blue");
    network_in(&daemon, "blue", "own");
    let created = stream.find(|message| {
        assert_eq!(message.data["project"], "blue", "{message:?}");
        message.event == "created"
    });
    assert_eq!((&created.data["kind"], &created.data["name"]), (&json!("network"), &json!("own")));
    let told = |token: &str, query: &str| daemon.request_as(token, "GET", query, &Value::Null);
    for (token, query, hears_of_tokens) in [
        (&viewer, "events", false),
        (&viewer, "events?project=blue", false),
        (&viewer, "events?project=all&limit=1000", false),
        (&owner, "events?limit=1000", true),
    ] {
        let body = told(token, query).body;
        let events = body["events"].as_array().unwrap_or_else(|| panic!("no list: {body}"));
        assert!(events.iter().any(|event| event["name"] == "own"), "{query}: {body}");
        assert!(events.iter().all(|event| event["project"] == "blue"), "{query}: {body}");
        let tokens = events.iter().filter(|event| event["kind"] == "token").count();
        assert_eq!(tokens > 0, hears_of_tokens, "{query}: {body}");
    }
    told(&viewer, "events?project=red").refused(404, "not_found", &[]);
    told(&viewer, "events?project=system").refused(404, "not_found", &[]);
    // Who runs the site hears of everything, or of what is asked for.
    let all = daemon.get("events?limit=1000").body.to_string();
    for part in ["\"theirs\"", "\"own\"", "\"small\""] {
        assert!(all.contains(part), "{part} is not in {all}");
    }
    let red = daemon.get("events?limit=1000&project=red").body.to_string();
    assert!(red.contains("\"theirs\"") && !red.contains("\"own\"") && !red.contains("\"small\""), "{red}");
}

#[test]
fn a_stream_ends_with_the_token_that_it_was_asked_for_by() {
    let daemon = two_projects();
    let stays = daemon.token("member", "blue");
    let soon = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(15);
    let made = |name: &str, more: Value| {
        let mut body = json!({"token": {"name": name, "role": "viewer"}});
        body["token"].as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let answer = daemon.post("tokens?project=blue", &body);
        answer.body["secret"].as_str().unwrap_or_else(|| panic!("{}", answer.text)).to_owned()
    };
    let (revoked, expiring) = (made("revoked", json!({})), made("expiring", json!({"expires_at": soon})));
    let open = |token: &str| Stream::open(&daemon, "?watch=true", &[&bearer(token)]);
    let (mut one, mut other, mut third) = (open(&stays), open(&revoked), open(&expiring));
    network_in(&daemon, "blue", "before");
    for stream in [&mut one, &mut other, &mut third] {
        stream.find(|message| message.data["name"] == "before");
    }
    assert_eq!(daemon.delete("tokens/revoked?project=blue").status, 200);
    while other.next().is_some() {}
    while third.next().is_some() {}
    network_in(&daemon, "blue", "after");
    one.find(|message| message.data["name"] == "after");
    for token in [&revoked, &expiring] {
        daemon.request_as(token, "GET", "events", &Value::Null).refused(401, "unauthenticated", &[]);
    }
}
