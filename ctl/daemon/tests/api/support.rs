//! A daemon for one test, and a client that shows everything it was answered.

use std::fmt::Write as _;
use std::io::{Read, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

/// Prefix of the paths of objects.
pub(crate) const OBJECTS: &str = "/edgetron/resources/kubevirt";
/// How long a daemon may take to start.
const PATIENCE: Duration = Duration::from_secs(30);

/// A running `edgestackd` in a directory of its own; both end with it.
pub(crate) struct Daemon {
    directory: tempfile::TempDir,
    child: Child,
}

/// An answer.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    /// The status.
    pub(crate) status: u16,
    /// The head, names of headers in lower case.
    pub(crate) head: String,
    /// The body as it is.
    pub(crate) text: String,
    /// The body as JSON; null where it is none.
    pub(crate) body: Value,
}

impl Daemon {
    /// Starts a daemon with the dataplane off and one uplink.
    pub(crate) fn start() -> Self {
        Self::start_with("")
    }

    /// The same, with further tables of the configuration.
    pub(crate) fn start_with(tables: &str) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let place = directory.path().display();
        let config = format!(
            "state_dir = \"{place}/state\"\nrun_dir = \"{place}/run\"\n[dataplane]\nenabled = false\n\
             [[uplink]]\nname = \"wan0\"\ninterface = \"eth9\"\nphysical_network = \"internet\"\n{tables}"
        );
        std::fs::write(directory.path().join("edgestackd.toml"), config)
            .expect("the configuration is written");
        let child = spawn(directory.path());
        let mut daemon = Self { directory, child };
        daemon.wait_ready();
        daemon
    }

    /// Ends the daemon at once, as `kill -9` does, and starts it again on the same store.
    pub(crate) fn kill_and_restart(&mut self) {
        self.kill();
        self.restart();
    }

    /// Starts the daemon again after its end.
    pub(crate) fn restart(&mut self) {
        self.child = spawn(self.directory.path());
        self.wait_ready();
    }

    /// Ends the daemon at once.
    pub(crate) fn kill(&mut self) {
        self.child.kill().expect("the daemon is killed");
        self.child.wait().expect("the daemon ends");
    }

    /// Asks the daemon to stop (SIGTERM) and returns its exit code.
    pub(crate) fn stop(&mut self) -> Option<i32> {
        let id = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(id, rustix::process::Signal::TERM).expect("the signal is sent");
        self.child.wait().expect("the daemon ends").code()
    }

    /// The program on the same configuration, to be run beside the daemon.
    pub(crate) fn second(&self) -> Command {
        program(self.directory.path())
    }

    /// The control socket.
    pub(crate) fn socket(&self) -> PathBuf {
        self.directory.path().join("run/edgestackd.sock")
    }

    /// The daemon's directory.
    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Sends a request; `path` may be relative to the paths of objects.
    pub(crate) fn request(&self, method: &str, path: &str, headers: &[&str], body: &str) -> Answer {
        request(&self.socket(), method, path, headers, body).expect("the daemon answers")
    }

    /// GET.
    pub(crate) fn get(&self, path: &str) -> Answer {
        self.request("GET", path, &[], "")
    }

    /// POST of a JSON body.
    pub(crate) fn post(&self, path: &str, body: &Value) -> Answer {
        self.request("POST", path, &[], &body.to_string())
    }

    /// PUT of a JSON body.
    pub(crate) fn put(&self, path: &str, body: &Value) -> Answer {
        self.request("PUT", path, &[], &body.to_string())
    }

    /// PATCH with a JSON body.
    pub(crate) fn patch(&self, path: &str, body: &Value) -> Answer {
        self.request("PATCH", path, &[], &body.to_string())
    }

    /// DELETE.
    pub(crate) fn delete(&self, path: &str) -> Answer {
        self.request("DELETE", path, &[], "")
    }

    /// A token for a role in a project, made by the admin that the test is.
    pub(crate) fn token(&self, role: &str, project: &str) -> String {
        let body = serde_json::json!({"token": {"name": format!("{role}-token"), "role": role}});
        let answer = self.post(&format!("tokens?project={project}"), &body);
        assert_eq!(answer.status, 201, "{}", answer.text);
        answer.body["secret"].as_str().expect("the secret is shown once").to_owned()
    }

    /// A request by the bearer of a token.
    pub(crate) fn request_as(&self, token: &str, method: &str, path: &str, body: &Value) -> Answer {
        let header = format!("Authorization: Bearer {token}");
        let body = if body.is_null() { String::new() } else { body.to_string() };
        self.request(method, path, &[&header], &body)
    }

    /// POST of a JSON body that must create an object; returns the object.
    pub(crate) fn create(&self, path: &str, body: &Value) -> Value {
        let answer = self.post(path, body);
        assert_eq!(answer.status, 201, "{body} was answered {answer:?}");
        assert_eq!(answer.body["message"], "OK");
        let singular = body.as_object().and_then(|body| body.keys().next()).expect("a wrapped body").clone();
        answer.body[&singular].clone()
    }

    fn wait_ready(&mut self) {
        let started = Instant::now();
        while started.elapsed() < PATIENCE {
            if let Some(status) = self.child.try_wait().expect("the daemon can be waited for") {
                panic!("the daemon ended: {status}");
            }
            if request(&self.socket(), "GET", "/readyz", &[], "").is_ok_and(|answer| answer.status == 200) {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("the daemon was not ready in time");
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Answer {
    /// Pointers and codes of the errors.
    pub(crate) fn errors(&self) -> Vec<(&str, &str)> {
        let errors = self.body["errors"].as_array().map(Vec::as_slice).unwrap_or_default();
        errors
            .iter()
            .map(|error| {
                (error["pointer"].as_str().unwrap_or_default(), error["code"].as_str().unwrap_or_default())
            })
            .collect()
    }

    /// Asserts that the request was refused so, for these reasons.
    #[track_caller]
    pub(crate) fn refused(&self, status: u16, code: &str, errors: &[(&str, &str)]) -> &Self {
        assert_eq!((self.status, self.body["code"].as_str()), (status, Some(code)), "{}", self.text);
        assert_eq!(self.errors(), errors, "{}", self.text);
        assert!(self.head.contains("content-type: application/problem+json"), "{}", self.head);
        self
    }

    /// The value of a header.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }
}

fn program(directory: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_edgestackd"));
    command.arg("--config").arg(directory.join("edgestackd.toml"));
    command
}

fn spawn(directory: &Path) -> Child {
    program(directory).stderr(Stdio::null()).spawn().expect("the daemon starts")
}

/// One request on a connection of its own.
pub(crate) fn request(
    socket: &Path,
    method: &str,
    path: &str,
    headers: &[&str],
    body: &str,
) -> std::io::Result<Answer> {
    let path = if path.starts_with('/') { path.to_owned() } else { format!("{OBJECTS}/{path}") };
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut head = format!("{method} {path} HTTP/1.1\r\nHost: edgestack\r\nConnection: close\r\n");
    if !body.is_empty() {
        let _ = write!(head, "Content-Length: {}\r\n", body.len());
        if !headers.iter().any(|header| header.starts_with("Content-Type")) {
            head.push_str("Content-Type: application/json\r\n");
        }
    }
    for header in headers {
        head.push_str(header);
        head.push_str("\r\n");
    }
    stream.write_all(format!("{head}\r\n{body}").as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let cut = || std::io::Error::from(std::io::ErrorKind::UnexpectedEof);
    let (head, text) = answer.split_once("\r\n\r\n").ok_or_else(cut)?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).ok_or_else(cut)?;
    let body = serde_json::from_str(text).unwrap_or(Value::Null);
    Ok(Answer { status, head: head.replace("\r\n", "\n"), text: text.to_owned(), body })
}
