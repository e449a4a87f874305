//! The API against its own description, by schemathesis: no answer is a server's error, none is undeclared, and all are of
//! the schemas that they are said to be of. `make test-api` asks longer. And answers without end, which end with the right to them.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use edgestack_tests::command::{Process, run};
use edgestack_tests::site::Site;
use edgestack_tests::{LabError, wait};

/// What is asked of every answer. What the API takes beyond its schemas (numbers as texts, ...) is no mistake.
const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,\
                      response_schema_conformance";
/// Streams, which end with their client.
const STREAMS: &str = "/(events|capture|trace/live)$";
/// Examples of each operation, unless `EDGESTACK_API_EXAMPLES` says otherwise.
const EXAMPLES: &str = "3";
/// The same examples every time; `make test-api` tries others.
const SEED: &str = "1";
/// How long all of it may take on a machine with much else to do.
const PATIENCE: Duration = Duration::from_mins(30);
/// The same of what takes a moment.
const SOON: Duration = Duration::from_mins(1);

#[test]
fn answers_are_what_the_description_declares() -> Result<(), LabError> {
    let mut site = Site::unique()?;
    let mut settings = site.daemon_settings("auto");
    settings.dataplane = "[api]\nlisten = \"127.0.0.1:8443\"\nrequests_per_second = 100000\n\
                          requests_burst = 100000\n"
        .to_owned();
    let socket = settings.socket_path();
    let authority = settings.directory.join("tls/ca.pem");
    site.start_daemon(settings)?;
    let edgectl = site.edgectl();
    edgectl.run("create-network internet --type flat --physnet physnet1 --external --cidr 203.0.113.0/24")?;
    edgectl.run("create-network front --cidr 10.0.1.0/24")?;
    let secret = token(&socket)?;

    let log = site.directory().join("schemathesis.log");
    let mut command = Command::new(schemathesis());
    command.args([
        "run",
        "https://127.0.0.1:8443/openapi.json",
        "--no-color",
        "--phases",
        "examples,fuzzing",
    ]);
    command.args(["--checks", CHECKS, "--exclude-path-regex", STREAMS, "--continue-on-failure"]);
    match env::var("EDGESTACK_API_EXAMPLES") {
        Ok(examples) => command.args(["--max-examples", &examples]),
        Err(_) => command.args(["--max-examples", EXAMPLES, "--seed", SEED]),
    };
    command.args(["--header", &format!("Authorization: Bearer {secret}"), "--generation-database", "none"]);
    command.arg("--tls-verify").arg(&authority).current_dir(site.directory());
    let mut process = site.host().enter(|| Process::start(&mut command, &log))??;
    let status = process.wait(PATIENCE)?;
    assert!(status.success(), "{status}\n{}", process.log());
    assert_eq!(edgectl.ask("list-networks")?.code, 0, "the daemon is well: {}", site.daemon().log_tail());
    Ok(())
}

#[test]
fn a_capture_ends_with_the_token_that_it_was_asked_for_by() -> Result<(), LabError> {
    let mut site = Site::unique()?;
    let settings = site.daemon_settings("auto");
    let socket = settings.socket_path();
    site.start_daemon(settings)?;
    let edgectl = site.edgectl();
    edgectl.run("create-network front --cidr 10.0.1.0/24")?;
    edgectl.run("create-port vm --net front --plug tap")?;
    wait::value("the port", SOON, || {
        let port = edgectl.json("show-port vm").map_err(|error| error.to_string())?;
        if port["port"]["status"]["phase"] == "Active" { Ok(()) } else { Err(port.to_string()) }
    })?;
    let secret = token(&socket)?;
    let (file, log) = (site.directory().join("capture.pcap"), site.directory().join("capture.log"));
    let mut command = Command::new("curl");
    command.args(["--silent", "--show-error", "--fail", "--no-buffer", "--unix-socket"]).arg(&socket);
    command.args(["--header", &format!("Authorization: Bearer {secret}"), "--output"]).arg(&file);
    command.arg("http://edgestack/edgetron/network/capture?port=vm");
    let mut capture = Process::start(&mut command, &log)?;
    wait::until("the capture to begin", SOON, || file.metadata().is_ok_and(|file| file.len() >= 24))?;
    edgectl.run("remove-token fuzz --project system")?;
    let status = capture.wait(SOON)?;
    assert!(status.success(), "{status} {}", capture.log());
    Ok(())
}

/// A token by which everything may be asked.
fn token(socket: &Path) -> Result<String, LabError> {
    let mut command = Command::new("curl");
    command.args(["--silent", "--show-error", "--header", "Content-Type: application/json", "--unix-socket"]);
    command.arg(socket).args(["--data", "{\"token\": {\"name\": \"fuzz\", \"role\": \"admin\"}}"]);
    command.arg("http://edgestack/edgetron/resources/kubevirt/tokens?project=system");
    let output = run(&mut command)?;
    let answer: serde_json::Value = serde_json::from_str(&output).unwrap_or_default();
    let secret = answer["secret"].as_str().map(str::to_owned);
    secret.ok_or_else(|| LabError::Unexpected { what: "the making of a token".to_owned(), output })
}

/// The program, which `make setup-api` installs.
fn schemathesis() -> PathBuf {
    let installed = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/schemathesis/bin/schemathesis");
    let program = env::var_os("EDGESTACK_SCHEMATHESIS").map_or_else(installed, PathBuf::from);
    assert!(program.exists(), "{} is missing: make setup-api", program.display());
    program
}
