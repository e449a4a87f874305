//! What workloads are served by the gateway, with real clients: curl for metadata, dig for DNS with dnsmasq upstream.

use std::fs;
use std::time::Duration;

use edgestack_tests::site::Site;
use edgestack_tests::tenants::{self, Attach};
use edgestack_tests::{LabError, Process, wait};

/// Where the upstream server listens, on the host.
const UPSTREAM: &str = "127.0.0.53";
const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl me";

#[test]
fn metadata_over_tc() -> Result<(), LabError> {
    metadata(&tenants::start(Attach::Tc, true)?)
}

#[test]
fn metadata_over_xdp() -> Result<(), LabError> {
    metadata(&tenants::start(Attach::Xdp, true)?)
}

/// Two tenants with equal addresses each get their own.
fn metadata(site: &Site) -> Result<(), LabError> {
    let edgectl = site.edgectl();
    let (user_data, key) = (site.directory().join("user-data"), site.directory().join("key.pub"));
    let long = format!("#!/bin/sh\n# {}\n", "x".repeat(60_000));
    fs::write(&user_data, &long).expect("the directory of a site can be written");
    fs::write(&key, KEY).expect("the directory of a site can be written");
    edgectl.run(&format!(
        "update-port red-web1 --no-sg --user-data {} --ssh-key {} --metadata role=web",
        user_data.display(),
        key.display()
    ))?;
    let fetch = |member: &str, path: &str, more: &str| {
        site.member(member).run(&format!("curl -s -m 5 {more} http://169.254.169.254{path}"))
    };
    let hostname = || {
        let name = fetch("red-web1", "/latest/meta-data/hostname", "").map_err(|error| error.to_string())?;
        if name == "red-web1" { Ok(()) } else { Err(name) }
    };
    wait::value("metadata to be served", Duration::from_secs(5), hostname)?;
    assert_eq!(fetch("blue-web1", "/latest/meta-data/hostname", "")?, "blue-web1");
    assert_eq!(fetch("blue-web1", "/latest/meta-data/public-ipv4", "")?, "198.51.100.102");
    assert_eq!(fetch("red-web1", "/latest/user-data", "")?, long, "more than fits in any buffer");
    assert_eq!(fetch("red-web1", "/latest/meta-data/public-keys/0/openssh-key", "")?.trim_end(), KEY);
    let document: serde_json::Value =
        serde_json::from_str(&fetch("red-web1", "/openstack/latest/meta_data.json", "")?)
            .expect("it is JSON");
    assert_eq!(document["meta"]["role"], "web");
    let token = fetch("red-web1", "/latest/api/token", "-X PUT -H X-aws-ec2-metadata-token-ttl-seconds:60")?;
    let with = |member: &str| {
        let more = format!("-o /dev/null -w %{{http_code}} -H X-aws-ec2-metadata-token:{token}");
        fetch(member, "/latest/meta-data/hostname", &more)
    };
    assert_eq!((&*with("red-web1")?, &*with("blue-web1")?), ("200", "401"));
    let forwarded =
        fetch("red-web1", "/latest/", "-o /dev/null -w %{http_code} -H X-Forwarded-For:10.0.0.9")?;
    assert_eq!(forwarded, "403");
    // Many requests at once, from both tenants.
    for _ in 0..20 {
        assert_eq!(fetch("red-web2", "/latest/meta-data/local-ipv4", "")?, "10.0.1.12");
        assert_eq!(fetch("blue-web2", "/latest/meta-data/hostname", "")?, "blue-web2");
    }
    Ok(())
}

#[test]
fn names() -> Result<(), LabError> {
    let mut site = Site::unique()?;
    tenants::plug_in(&mut site, Attach::Auto)?;
    site.host().run("ip link set lo up")?;
    let log = site.directory().join("dnsmasq.log");
    let long: Vec<String> =
        (1..=60).map(|last| format!("--host-record=many.example,192.0.2.{last}")).collect();
    let line = format!(
        "dnsmasq --keep-in-foreground --conf-file=/dev/null --no-resolv --no-hosts --listen-address={UPSTREAM} \
         --bind-interfaces --pid-file= --user=root --host-record=www.example,192.0.2.80 --local=/example/ {}",
        long.join(" ")
    );
    let _upstream =
        site.host().enter(|| Process::start(&mut edgestack_tests::command::words(&line), &log))??;
    let mut settings = site.daemon_settings("auto");
    settings.dataplane = format!("{}\n[dns]\nforwarders = [\"{UPSTREAM}\"]\n", settings.dataplane);
    site.start_daemon(settings)?;
    let edgectl = site.edgectl();
    for command in tenants::commands(Attach::Auto) {
        edgectl.run(&command)?;
    }
    tenants::wait_for_ports(&site)?;
    let dig = |member: &str, question: &str| {
        site.member(member).run(&format!("dig @10.0.1.1 +time=2 +tries=2 {question}"))
    };
    let short = |member: &str, question: &str| {
        dig(member, &format!("+short {question}")).map(|text| text.trim_end().to_owned())
    };
    let name = "red-web2.red-front.edgestack.internal";
    assert_eq!(short("red-web1", name)?, "10.0.1.12");
    assert_eq!(short("red-web1", &format!("+tcp {name}"))?, "10.0.1.12");
    assert_eq!(short("red-web1", "red-db.red-back.edgestack.internal")?, "10.0.2.21");
    assert_eq!(short("red-web1", "-x 10.0.1.12")?, format!("{name}."));
    assert_eq!(short("blue-web1", "-x 10.0.1.12")?, "blue-web2.blue-front.edgestack.internal.");
    for (member, question, wanted) in [
        ("blue-web1", name, "status: NXDOMAIN"),
        ("red-web1", "nobody.red-front.edgestack.internal", "status: NXDOMAIN"),
        ("red-web1", &format!("{name} AAAA"), "status: NOERROR"),
        ("red-web1", "nobody.example", "status: NXDOMAIN"),
        ("red-web1", "CH TXT version.bind", "status: REFUSED"),
    ] {
        let answer = dig(member, question)?;
        assert!(answer.contains(wanted), "{question}: {answer}");
    }
    assert_eq!(short("red-web1", "www.example")?, "192.0.2.80");
    assert_eq!(short("blue-web1", "www.example")?, "192.0.2.80");
    // More than fits into 512 bytes: the client is told so, and asks by TCP.
    assert_eq!(short("red-web1", "+noedns many.example")?.lines().count(), 60);
    Ok(())
}
