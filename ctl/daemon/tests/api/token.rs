//! Tokens and certificates: how the daemon knows who is asking.

use std::process::Command;
use std::time::{Duration, SystemTime};

use edgestack_client::{Client, Remote};
use edgestackd::access::authority::Authority;
use serde_json::{Value, json};

use crate::bodies::{external, network, port};
use crate::https::{listening, remote};
use crate::support::{Daemon, OBJECTS};

#[test]
fn a_token_is_shown_once_and_ends() {
    let daemon = Daemon::start();
    let body = json!({"token": {"name": "ci", "role": "member"}});
    let made = daemon.post("tokens", &body);
    let secret = made.body["secret"].as_str().unwrap().to_owned();
    assert_eq!(made.header("cache-control"), Some("no-store"));
    assert!(!daemon.get("tokens/ci").text.contains(&secret));
    assert_eq!(daemon.get("tokens/ci").body["token"]["last_used_at"], Value::Null);
    let whoami = daemon.request_as(&secret, "GET", "/whoami", &Value::Null).body;
    assert_eq!(
        whoami,
        json!({"name": "token:default/ci", "roles": "member in default", "project": "default"})
    );
    assert!(daemon.get("tokens/ci").body["token"]["last_used_at"].is_string());
    daemon.post("tokens", &body).refused(409, "already_exists", &[("/token/secret", "differs")]);
    daemon.request("PATCH", "tokens/ci", &[], "{}").refused(405, "method_not_allowed", &[]);
    assert_eq!(daemon.delete("tokens/ci").status, 200);
    daemon.request_as(&secret, "GET", "/whoami", &Value::Null).refused(401, "unauthenticated", &[]);

    let soon = (jiff::Timestamp::now() + Duration::from_millis(1500)).to_string();
    let body = json!({"token": {"name": "short", "role": "viewer", "expires_at": soon}});
    let secret = daemon.post("tokens", &body).body["secret"].as_str().unwrap().to_owned();
    assert_eq!(daemon.request_as(&secret, "GET", "networks", &Value::Null).status, 200);
    std::thread::sleep(Duration::from_millis(1600));
    let refused = daemon.request_as(&secret, "GET", "networks", &Value::Null);
    refused.refused(401, "unauthenticated", &[]);
    assert_eq!(refused.header("www-authenticate"), Some("Bearer"));
}

#[test]
fn secrets_survive_a_restart_and_are_not_in_the_store() {
    let mut daemon = Daemon::start();
    let secret = daemon.token("member", "default");
    daemon.kill_and_restart();
    assert_eq!(daemon.request_as(&secret, "GET", "networks", &Value::Null).status, 200);
    daemon.kill();
    let store = std::fs::read(daemon.directory().join("state/edgestack.redb")).unwrap();
    let random = secret.strip_prefix("edgs_").unwrap().as_bytes();
    assert!(!store.windows(random.len()).any(|window| window == random));
}

#[test]
fn a_key_of_one_caller_gives_no_answer_to_another() {
    let daemon = Daemon::start();
    daemon.create("projects", &json!({"project": {"name": "blue"}}));
    let callers = [daemon.token("member", "default"), daemon.token("member", "blue")];
    let body = network("tenant", "10.0.0.0/24").to_string();
    let mut ids = Vec::new();
    for token in &callers {
        let headers = [&format!("Authorization: Bearer {token}") as &str, "Idempotency-Key: one"];
        let answers = [0, 1].map(|_| daemon.request("POST", "networks", &headers, &body));
        assert_eq!((answers[0].status, answers[1].header("idempotency-replayed")), (201, Some("true")));
        assert_eq!(answers[0].body["id"], answers[1].body["id"]);
        ids.push(answers[0].body["id"].clone());
    }
    assert_ne!(ids[0], ids[1]);
    let body = json!({"token": {"name": "keyed", "role": "viewer"}}).to_string();
    let made = daemon.request("POST", "tokens", &["Idempotency-Key: two"], &body);
    assert!(made.body["secret"].is_string(), "{}", made.text);
    let again = daemon.request("POST", "tokens", &["Idempotency-Key: two"], &body);
    assert_eq!(
        (again.status, &again.body["secret"]),
        (409, &Value::Null),
        "a secret is not kept: {}",
        again.text
    );
}

#[test]
fn roles_are_given_where_they_hold() {
    let daemon = Daemon::start();
    let token = |role: &str| json!({"token": {"name": "t", "role": role}});
    let wanted = [("/token/role", "wrong_project")];
    daemon.post("tokens", &token("admin")).refused(400, "invalid", &wanted);
    daemon.post("tokens?project=system", &token("member")).refused(400, "invalid", &wanted);
    let body = json!({"token": {"name": "t", "role": "viewer", "expires_at": "2020-01-01T00:00:00Z"}});
    daemon.post("tokens", &body).refused(400, "invalid", &[("/token/expires_at", "out_of_range")]);
    let owner = daemon.token("project-owner", "default");
    daemon.request_as(&owner, "POST", "tokens?project=system", &token("admin")).refused(
        404,
        "not_found",
        &[],
    );
    daemon.request_as(&owner, "POST", "tokens", &token("admin")).refused(400, "invalid", &wanted);
    assert_eq!(daemon.request_as(&owner, "POST", "tokens", &token("member")).status, 201);
}

#[test]
fn wrong_credentials_are_never_replaced_by_the_user_of_the_socket() {
    let daemon = Daemon::start();
    for header in [
        "Authorization: Bearer edgs_0000",
        "Authorization: Basic cm9vdDpyb290",
        "Authorization: Bearer",
        "Authorization: ",
    ] {
        daemon.request("GET", "networks", &[header], "").refused(401, "unauthenticated", &[]);
    }
    let secret = daemon.token("admin", "system");
    let header = format!("Authorization: Bearer {secret}");
    daemon.request("GET", "networks", &[&header, &header], "").refused(401, "unauthenticated", &[]);
}

#[test]
fn what_is_the_host_s_is_not_a_member_s() {
    let daemon = Daemon::start();
    daemon.create("networks", &external());
    let member = daemon.token("member", "default");
    let send = |method: &str, path: &str, body: &Value| daemon.request_as(&member, method, path, body);
    assert_eq!(send("POST", "networks", &network("own", "10.0.0.0/24")).status, 201);
    let mut web = port("web", "own");
    web["port"]["interface"] = json!("eth0");
    send("POST", "ports", &web).refused(400, "invalid", &[("/port/interface", "not_permitted")]);
    let flat =
        json!({"network": {"name": "f", "type": "FLAT", "physnet_name": "other", "cidr": "10.9.0.0/24"}});
    send("POST", "networks", &flat).refused(400, "invalid", &[("/network/type", "not_permitted")]);
    let body = json!({"network": {"name": "s", "cidr": "10.9.0.0/24", "segment_id": 5}});
    send("POST", "networks", &body).refused(400, "invalid", &[("/network/segment_id", "not_permitted")]);
    let router = json!({"router": {"name": "r", "mac": "02:00:00:00:00:01",
        "external": {"network": "wan", "ip": "203.0.113.99"}, "peer_router": {"ip": "203.0.113.98"}}});
    let wanted = [
        ("/router/mac", "not_permitted"),
        ("/router/peer_router", "not_permitted"),
        ("/router/external/ip", "not_permitted"),
    ];
    send("POST", "routers", &router).refused(400, "invalid", &wanted);
    // What leaves untranslated has addresses that the tenant chose.
    let routed = json!({"router": {"name": "r", "external": {"network": "wan", "routed": true}}});
    let wanted = [("/router/external/routed", "not_permitted")];
    send("POST", "routers", &routed).refused(400, "invalid", &wanted);
    let exempt = json!({"router": {"name": "r", "external": {"network": "wan",
        "snat_exemptions": [{"destination": "198.51.100.0/24"}]}}});
    let wanted = [("/router/external/snat_exemptions", "not_permitted")];
    send("POST", "routers", &exempt).refused(400, "invalid", &wanted);
    let router = json!({"router": {"name": "r", "external": {"network": "wan", "ip": "203.0.113.12"}}});
    assert_eq!(send("POST", "routers", &router).status, 201);
    for (method, body) in [("PATCH", json!({"network": {"mtu": 1400}})), ("DELETE", Value::Null)] {
        send(method, "networks/wan", &body).refused(403, "forbidden", &[]);
    }
    // What somebody with more rights has set stays when a member changes something else.
    web["port"]["interface"] = json!("veth-web");
    daemon.create("ports", &web);
    assert_eq!(send("PATCH", "ports/web", &json!({"port": {"description": "x"}})).status, 200);
    let moved = send("PATCH", "ports/web", &json!({"port": {"interface": "eth0"}}));
    moved.refused(400, "invalid", &[("/port/interface", "not_permitted")]);
}

#[tokio::test]
async fn a_certificate_is_a_user_with_the_roles_of_its_bindings() {
    let (daemon, port) = listening();
    let issue = Command::new(env!("CARGO_BIN_EXE_edgestackd"))
        .arg("--config")
        .arg(daemon.directory().join("edgestackd.toml"))
        .args(["issue-certificate", "--user", "alice", "--output"])
        .arg(daemon.directory())
        .output()
        .unwrap();
    assert!(issue.status.success(), "{}", String::from_utf8_lossy(&issue.stderr));
    let files = (daemon.directory().join("alice.pem"), daemon.directory().join("alice-key.pem"));
    let remote = Remote { certificate: Some(files), ..remote(&daemon, port) };
    let client = Client::remote(&remote).unwrap();
    let networks = || client.list::<Value>(edgestack_client::Kind::Network);
    let refused = networks().await.unwrap_err();
    assert_eq!(refused.problem().unwrap().status, 403, "known, and without a role: {refused}");
    daemon
        .create("role_bindings", &json!({"role_binding": {"name": "a", "user": "alice", "role": "viewer"}}));
    assert_eq!(networks().await.unwrap().total, 0);
    let body = json!({"name": "n", "cidr": "10.0.0.0/24"});
    let created = client.create::<Value>(edgestack_client::Kind::Network, &body);
    assert_eq!(created.await.unwrap_err().problem().unwrap().status, 403);
    assert_eq!(daemon.delete("role_bindings/a").status, 200);
    assert!(networks().await.is_err(), "what is taken away is gone at once");

    // The server's own certificate is none of a client, and a token counts before a certificate.
    let own = daemon.directory().join("state/tls");
    let stolen =
        Remote { certificate: Some((own.join("server.pem"), own.join("server-key.pem"))), ..remote.clone() };
    let error = Client::remote(&stolen).unwrap().version().await.unwrap_err();
    assert!(error.problem().is_none(), "{error}");
    let token = daemon.token("member", "default");
    let client = Client::remote(&remote).unwrap().with_token(&token).unwrap();
    assert!(client.list::<Value>(edgestack_client::Kind::Network).await.is_ok());
}

#[tokio::test]
async fn a_stream_ends_with_the_certificate_that_it_was_asked_for_by() {
    let (daemon, port) = listening();
    daemon
        .create("role_bindings", &json!({"role_binding": {"name": "a", "user": "alice", "role": "viewer"}}));
    let authority = Authority::open(&daemon.directory().join("state/tls")).unwrap();
    let lifetime = Duration::from_secs(15);
    let issued = authority.client("alice", lifetime, SystemTime::now()).unwrap();
    let files = issued.write(daemon.directory(), "short").unwrap();
    let remote = Remote { certificate: Some(files), ..remote(&daemon, port) };
    let client = Client::remote(&remote).unwrap();
    let mut stream = client.stream(&format!("{OBJECTS}/events?watch=true")).await.unwrap();
    daemon.create("networks", &json!({"network": {"name": "told", "cidr": "10.0.0.0/24"}}));
    let mut heard = String::new();
    let whole = async {
        // A body in chunks that is cut short is an error; this one has its end.
        while let Some(chunk) = stream.next().await.unwrap() {
            heard.push_str(&String::from_utf8_lossy(&chunk));
        }
    };
    // Before it would be looked at again without a reason.
    tokio::time::timeout(Duration::from_secs(28), whole).await.expect("the stream ends");
    assert!(heard.contains("\"told\""), "{heard}");
    // Who has a ticket of an earlier handshake gets to ask once more, and no answer.
    let refused = client.version().await.unwrap_err();
    assert!(refused.problem().is_none_or(|problem| problem.status == 401), "{refused}");
}

#[test]
fn callers_that_ask_too_often_are_slowed_down_each_for_itself() {
    let daemon = Daemon::start_with("[api]\nrequests_per_second = 1\nrequests_burst = 5\n");
    let (one, two) = (daemon.token("viewer", "default"), daemon.token("member", "default"));
    let ask = |token: &str| daemon.request_as(token, "GET", "networks", &Value::Null);
    let statuses: Vec<u16> = (0..7).map(|_| ask(&one).status).collect();
    assert_eq!(statuses[..5], [200; 5]);
    let refused = ask(&one);
    refused.refused(429, "too_many_requests", &[]);
    assert!(refused.header("retry-after").unwrap().parse::<u64>().unwrap() >= 1);
    assert_eq!(ask(&two).status, 200);
    let wrong: Vec<u16> = (0..7).map(|_| ask("edgs_wrong").status).collect();
    assert_eq!((wrong[0], wrong[6]), (401, 429), "{wrong:?}");
    assert_eq!(
        (0..20).filter(|_| daemon.get("networks").status == 200).count(),
        20,
        "the admin of the host is not"
    );
}
