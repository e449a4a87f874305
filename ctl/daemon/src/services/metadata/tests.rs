//! The three dialects and what keeps others from reading them, request by request.

use std::sync::Arc;

use axum::body::{Body, to_bytes};
use axum::extract::State;
use axum::http::{Request, StatusCode};
use edgestack_model::{NetworkSpec, PortSpec};
use serde_json::{Value, json};

use super::{Service, Session, TOKEN_HEADER, TOKEN_TTL_HEADER, answer};
use crate::services::metadata::token::Tokens;
use crate::services::testing::{KEY, id, site};

fn session(service: &Arc<Service>, port: &str) -> Session {
    let network = service.app.get::<PortSpec>(port).unwrap().object.spec.network;
    Session {
        service: Arc::clone(service),
        port: id::<PortSpec>(&service.app, port).into(),
        network: id::<NetworkSpec>(&service.app, &network).into(),
        stream: None,
    }
}

fn service(imdsv1: bool) -> Arc<Service> {
    Arc::new(Service { app: site(), tokens: Tokens::default(), imdsv1 })
}

/// Status and text of the answer to a request.
async fn ask(session: &Session, line: &str, headers: &[(&str, &str)]) -> (StatusCode, String) {
    let (method, path) = line.split_once(' ').unwrap();
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let response = answer(State(session.clone()), request.body(Body::empty()).unwrap()).await;
    let status = response.status();
    let bytes = to_bytes(response.into_body(), 1 << 20).await.unwrap();
    (status, String::from_utf8(bytes.to_vec()).unwrap())
}

async fn get(session: &Session, path: &str) -> String {
    let (status, text) = ask(session, &format!("GET {path}"), &[]).await;
    assert_eq!(status, StatusCode::OK, "{path}: {text}");
    text
}

#[tokio::test]
async fn ec2s_dialect() {
    let service = service(true);
    let web = session(&service, "web");
    assert!(get(&web, "/").await.lines().any(|version| version == "latest/"));
    assert_eq!(get(&web, "/latest/").await, "dynamic/\nmeta-data/\nuser-data");
    let names = get(&web, "/latest/meta-data").await;
    assert!(
        ["instance-id", "local-ipv4", "public-keys/"]
            .iter()
            .all(|name| names.lines().any(|line| line == *name)),
        "{names}"
    );
    for (name, value) in [
        ("local-ipv4", "10.0.1.11"),
        ("public-ipv4", "203.0.113.50"),
        ("hostname", "web"),
        ("mac", "02:00:00:00:01:11"),
        ("public-keys/", "0=me"),
        ("network/interfaces/macs/02:00:00:00:01:11/subnet-ipv4-cidr-block", "10.0.1.0/24"),
    ] {
        assert_eq!(get(&web, &format!("/2009-04-04/meta-data/{name}")).await, value, "{name}");
    }
    assert_eq!(get(&web, "/latest/meta-data/public-keys/0/openssh-key").await.trim_end(), KEY);
    assert_eq!(get(&web, "/latest/user-data").await, "#!/bin/sh\n");
    // Others have the same addresses, and are others.
    let other = session(&service, "other");
    assert_eq!(get(&other, "/latest/meta-data/hostname").await, "other");
    assert_ne!(
        get(&other, "/latest/meta-data/instance-id").await,
        get(&web, "/latest/meta-data/instance-id").await
    );
    for path in
        ["/latest/user-data", "/latest/meta-data/public-ipv4", "/latest/meta-data/hostname/x", "/1999"]
    {
        assert_eq!(ask(&other, &format!("GET {path}"), &[]).await.0, StatusCode::NOT_FOUND, "{path}");
    }
    assert_eq!(ask(&web, "POST /latest/meta-data/", &[]).await.0, StatusCode::METHOD_NOT_ALLOWED);
}

#[tokio::test]
async fn tokens_are_wanted_and_forwarded_requests_are_not() {
    let service = service(false);
    let (web, other) = (session(&service, "web"), session(&service, "other"));
    let hostname = "GET /latest/meta-data/hostname";
    assert_eq!(ask(&web, hostname, &[]).await.0, StatusCode::UNAUTHORIZED);
    for ttl in ["0", "21601", "x", "-1"] {
        let asked = ask(&web, "PUT /latest/api/token", &[(TOKEN_TTL_HEADER, ttl)]).await;
        assert_eq!(asked.0, StatusCode::BAD_REQUEST, "{ttl}");
    }
    assert_eq!(ask(&web, "PUT /latest/api/token", &[]).await.0, StatusCode::BAD_REQUEST);
    assert_eq!(
        ask(&web, "GET /latest/api/token", &[(TOKEN_TTL_HEADER, "60")]).await.0,
        StatusCode::METHOD_NOT_ALLOWED
    );
    let (status, token) = ask(&web, "PUT /latest/api/token", &[(TOKEN_TTL_HEADER, "60")]).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(ask(&web, hostname, &[(TOKEN_HEADER, &token)]).await, (StatusCode::OK, "web".to_owned()));
    assert_eq!(
        ask(&other, hostname, &[(TOKEN_HEADER, &token)]).await.0,
        StatusCode::UNAUTHORIZED,
        "another's token"
    );
    assert_eq!(ask(&web, hostname, &[(TOKEN_HEADER, "made-up")]).await.0, StatusCode::UNAUTHORIZED);
    for line in
        [hostname, "PUT /latest/api/token", "GET /openstack/latest/meta_data.json", "GET /nocloud/meta-data"]
    {
        let headers = [("X-Forwarded-For", "10.0.0.1"), (TOKEN_HEADER, &*token), (TOKEN_TTL_HEADER, "60")];
        assert_eq!(ask(&web, line, &headers).await.0, StatusCode::FORBIDDEN, "{line}");
    }
}

#[tokio::test]
async fn openstacks_dialect() {
    let web = session(&service(false), "web");
    let read = async |path: &str| serde_json::from_str::<Value>(&get(&web, path).await).unwrap();
    let meta_data = read("/openstack/latest/meta_data.json").await;
    assert_eq!(meta_data["name"], "web");
    assert_eq!(meta_data["meta"], json!({"role": "web"}));
    assert_eq!(meta_data["public_keys"], json!({"me": KEY}));
    let network_data = read("/openstack/2018-08-27/network_data.json").await;
    assert_eq!(network_data["links"][0]["ethernet_mac_address"], "02:00:00:00:01:11");
    assert_eq!(
        (&network_data["links"][0]["mtu"], &network_data["networks"][0]["type"]),
        (&json!(1400), &json!("ipv4_dhcp"))
    );
    assert_eq!(get(&web, "/openstack/latest/user_data").await, "#!/bin/sh\n");
    assert_eq!(read("/openstack/latest/vendor_data.json").await, json!({}));
    assert!(get(&web, "/openstack").await.lines().any(|version| version == "latest/"));
}

#[tokio::test]
async fn files_for_nocloud() {
    let service = service(false);
    let web = session(&service, "web");
    let meta_data: Value = serde_json::from_str(&get(&web, "/nocloud/meta-data").await).unwrap();
    assert_eq!((&meta_data["local-hostname"], &meta_data["public-keys"]), (&json!("web"), &json!([KEY])));
    let config: Value = serde_json::from_str(&get(&web, "/nocloud/network-config").await).unwrap();
    assert_eq!(config["ethernets"]["id0"]["match"]["macaddress"], "02:00:00:00:01:11");
    assert_eq!(get(&web, "/nocloud/user-data").await, "#!/bin/sh\n");
    assert_eq!(get(&session(&service, "other"), "/nocloud/user-data").await, "");
}
