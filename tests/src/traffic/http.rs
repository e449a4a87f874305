//! A web server of one page that says who answered whom, and `curl` to fetch it.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::command::{output, words};
use crate::error::LabError;
use crate::namespace::Namespace;
use crate::wait;

/// How long a client may take to send its request, and to take the answer.
const CLIENT_TIMEOUT: Duration = Duration::from_secs(2);
/// How long the port may still be another server's.
const FREE_TIMEOUT: Duration = Duration::from_secs(5);

/// A web server in a namespace; dropping it closes its socket.
#[derive(Debug)]
pub struct HttpServer {
    address: SocketAddr,
    namespace: String,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl HttpServer {
    /// Serves on `port` of all addresses of `namespace`. The page reads `NAME sees ADDRESS:PORT`.
    pub fn start(namespace: &Namespace, name: &str, port: u16) -> Result<Self, LabError> {
        Self::start_at(namespace, name, (Ipv4Addr::UNSPECIFIED, port).into())
    }

    /// The same at an address: `[::]:80` is all of both versions.
    pub fn start_at(namespace: &Namespace, name: &str, address: SocketAddr) -> Result<Self, LabError> {
        // A program that another test is just starting holds the socket of a server before this one until it runs.
        let listener = wait::value(&format!("{address} of {name} to be free"), FREE_TIMEOUT, || {
            let bound = namespace.enter(|| TcpListener::bind(address));
            bound.map_err(|error| error.to_string())?.map_err(|error| error.to_string())
        })?;
        let address = listener.local_addr().map_err(LabError::system("address of the web server"))?;
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, name) = (Arc::clone(&stop), name.to_owned());
        let thread = std::thread::spawn(move || serve(&listener, &name, &stopped));
        Ok(Self { address, namespace: namespace.name().to_owned(), stop, thread: Some(thread) })
    }
}

impl Drop for HttpServer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        // Wakes the thread up; should the namespace be gone, the thread is left to the end of the process.
        let port = self.address.port();
        let woken =
            Namespace::existing(&self.namespace).enter(|| TcpStream::connect(("127.0.0.1", port)).is_ok());
        if let (Ok(true), Some(thread)) = (woken, self.thread.take()) {
            let _ = thread.join();
        }
    }
}

/// Answers one client after the other until `stop` is set.
pub fn serve(listener: &TcpListener, name: &str, stop: &AtomicBool) {
    for client in listener.incoming() {
        if stop.load(Ordering::Acquire) {
            return;
        }
        // A client that goes away is its own business.
        let _ = client.and_then(|client| answer(client, name));
    }
}

fn answer(mut client: TcpStream, name: &str) -> std::io::Result<()> {
    client.set_read_timeout(Some(CLIENT_TIMEOUT))?;
    client.set_write_timeout(Some(CLIENT_TIMEOUT))?;
    let mut request = [0; 1024];
    let _ = client.read(&mut request)?;
    let body = format!("{name} sees {}\n", client.peer_addr()?);
    write!(client, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len())
}

/// Fetches `http://TARGET/` with `curl`; None when it cannot be had within two seconds.
pub fn fetch(from: &Namespace, target: &str) -> Result<Option<String>, LabError> {
    fetch_within(from, target, 2)
}

/// The same with a limit of so many seconds.
pub fn fetch_within(from: &Namespace, target: &str, limit_seconds: u32) -> Result<Option<String>, LabError> {
    let line = format!("curl --silent --max-time {limit_seconds} http://{target}/");
    let result = from.enter(|| output(&mut words(&line)))??;
    Ok(result.status.success().then(|| String::from_utf8_lossy(&result.stdout).trim().to_owned()))
}
