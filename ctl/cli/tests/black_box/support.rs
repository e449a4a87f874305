//! What the black-box tests share: a daemon that answers as a test tells it to, and runs of the real `edgectl`.

use std::fs::Permissions;
use std::io::{BufRead, BufReader, Read, Write};
use std::ops::Deref;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{Arc, Mutex};

use serde_json::Value;

/// A request as the fake daemon got it.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) body: Value,
}

/// An answer of the fake daemon.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) content_type: &'static str,
    pub(crate) body: Vec<u8>,
    /// Keeps the connection open after the body, as a capture that goes on does.
    pub(crate) endless: bool,
}

impl Answer {
    pub(crate) fn json(status: u16, body: &Value) -> Self {
        let content_type = if status < 400 { "application/json" } else { "application/problem+json" };
        Self { status, content_type, body: body.to_string().into_bytes(), endless: false }
    }

    pub(crate) fn bytes(body: Vec<u8>) -> Self {
        Self { status: 200, content_type: "application/vnd.tcpdump.pcap", body, endless: false }
    }
}

/// A problem document.
pub(crate) fn problem(status: u16, code: &str, detail: &str) -> Answer {
    let body = serde_json::json!({
        "type": format!("/problems/{code}"), "title": "Refused", "status": status, "detail": detail, "code": code,
    });
    Answer::json(status, &body)
}

/// A daemon that answers as it is told and remembers what it was asked.
pub(crate) struct FakeDaemon {
    pub(crate) socket: Scratch,
    requests: Arc<Mutex<Vec<Request>>>,
}

impl FakeDaemon {
    pub(crate) fn start(answer: impl Fn(&Request) -> Answer + Send + Sync + 'static) -> Self {
        let socket = scratch("daemon.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&requests);
        let answer = Arc::new(answer);
        // The threads end with the test's process.
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (seen, answer) = (Arc::clone(&seen), Arc::clone(&answer));
                std::thread::spawn(move || serve(stream.unwrap(), &seen, &*answer));
            }
        });
        Self { socket, requests }
    }

    /// What it was asked so far.
    pub(crate) fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }

    /// Runs edgectl against it.
    pub(crate) fn run(&self, arguments: &[&str]) -> Run {
        run(&self.socket, arguments)
    }
}

fn serve(stream: UnixStream, seen: &Mutex<Vec<Request>>, answer: &dyn Fn(&Request) -> Answer) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut line = String::new();
    if reader.read_line(&mut line).unwrap() == 0 {
        return;
    }
    let mut words = line.split_whitespace();
    let (method, path) = (words.next().unwrap().to_owned(), words.next().unwrap().to_owned());
    let mut length = 0;
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).unwrap();
        match header.trim().split_once(": ") {
            Some((name, value)) if name.eq_ignore_ascii_case("content-length") => {
                length = value.parse().unwrap();
            }
            Some(_) => {}
            None => break,
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    let request = Request { method, path, body: serde_json::from_slice(&body).unwrap_or_default() };
    seen.lock().unwrap().push(request.clone());
    let answer = answer(&request);
    let head = format!(
        "HTTP/1.1 {} X\r\ncontent-type: {}\r\nconnection: close\r\n\r\n",
        answer.status, answer.content_type
    );
    let mut stream = stream;
    // A client that has gone is no failure of the test.
    let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&answer.body));
    if answer.endless {
        let _ = stream.read(&mut [0]);
    }
}

/// What a run of edgectl came to.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Run {
    pub(crate) fn of(output: &Output) -> Self {
        Self {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// The output of a run that went well.
    #[track_caller]
    pub(crate) fn fine(self) -> String {
        assert_eq!(self.code, Some(0), "{self:?}");
        self.stdout
    }
}

/// Runs edgectl.
pub(crate) fn run(socket: &Path, arguments: &[&str]) -> Run {
    Run::of(&edgectl(socket).args(arguments).output().unwrap())
}

/// edgectl, with nothing of the environment that would change what it does.
pub(crate) fn edgectl(socket: &Path) -> Command {
    let mut command = edgectl_without_daemon();
    command.env("EDGECTL_SOCKET", socket);
    command
}

/// The same, told of no daemon.
pub(crate) fn edgectl_without_daemon() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_edgectl"));
    for variable in ["EDGECTL_OUTPUT", "EDGECTL_SOCKET", "NO_COLOR", "CLICOLOR_FORCE"] {
        command.env_remove(variable);
    }
    for variable in ["SOCKET", "SERVER", "CONTEXT", "CA", "TOKEN", "CERT", "KEY", "PROJECT"] {
        command.env_remove(format!("EDGESTACK_{variable}"));
    }
    command.env("EDGESTACK_CONFIG", "/dev/null").stdin(std::process::Stdio::null());
    command
}

/// A path in a directory of its own, which ends with the value.
#[derive(Debug)]
pub(crate) struct Scratch {
    path: PathBuf,
    _directory: tempfile::TempDir,
}

impl Deref for Scratch {
    type Target = Path;

    fn deref(&self) -> &Path {
        &self.path
    }
}

impl AsRef<Path> for Scratch {
    fn as_ref(&self) -> &Path {
        &self.path
    }
}

/// A path for a test, short enough for a socket, in a directory that other users may enter.
pub(crate) fn scratch(name: &str) -> Scratch {
    let directory = tempfile::Builder::new()
        .prefix("edgectl-")
        .permissions(Permissions::from_mode(0o755))
        .tempdir()
        .unwrap();
    Scratch { path: directory.path().join(name), _directory: directory }
}
