//! UDP sockets in namespaces: an echo server and a client that asks it.

use std::net::UdpSocket;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::error::LabError;
use crate::namespace::Namespace;

/// How often the server looks whether it should stop.
const STOP_INTERVAL: Duration = Duration::from_millis(50);
/// How long a client waits for its answer.
const ANSWER_TIMEOUT: Duration = Duration::from_millis(500);

/// Answers every datagram with the sender's address as it saw it; dropping it closes its socket.
#[derive(Debug)]
pub struct UdpEcho {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl UdpEcho {
    /// Serves on `address` (`IP:PORT`) of `namespace`. Should the namespace have several addresses, 0.0.0.0 would answer
    /// with the one nearest to the client.
    pub fn start(namespace: &Namespace, address: &str) -> Result<Self, LabError> {
        let socket = bind(namespace, address)?;
        socket.set_read_timeout(Some(STOP_INTERVAL)).map_err(LabError::system("set a timeout"))?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut datagram = [0; 2048];
            while !stopped.load(Ordering::Acquire) {
                if let Ok((_, sender)) = socket.recv_from(&mut datagram) {
                    // The client notices a lost answer.
                    let _ = socket.send_to(sender.to_string().as_bytes(), sender);
                }
            }
        });
        Ok(Self { stop, thread: Some(thread) })
    }
}

impl Drop for UdpEcho {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A UDP socket on `address` (`IP:PORT`) of `namespace`; port 0 lets the kernel choose.
pub fn bind(namespace: &Namespace, address: &str) -> Result<UdpSocket, LabError> {
    let socket = namespace.enter(|| UdpSocket::bind(address))?;
    socket.map_err(LabError::system(format!("bind UDP {address} in {}", namespace.name())))
}

/// Sends one datagram to `target` (`address:port`) and returns the answer, None when none comes in time.
pub fn ask(socket: &UdpSocket, target: &str) -> Result<Option<String>, LabError> {
    socket.set_read_timeout(Some(ANSWER_TIMEOUT)).map_err(LabError::system("set a timeout"))?;
    socket.send_to(b"who am I", target).map_err(LabError::system(format!("send to {target}")))?;
    let mut answer = [0; 256];
    Ok(socket
        .recv_from(&mut answer)
        .ok()
        .map(|(length, _)| String::from_utf8_lossy(&answer[..length]).into_owned()))
}

/// Datagrams that reached `namespace` and were lost there, because a socket's buffer was full: on a busy machine a
/// receiver may not run for longer than its buffer lasts, which is not the gateway's doing.
pub fn receive_buffer_errors(namespace: &Namespace) -> Result<u64, LabError> {
    let path = "/proc/thread-self/net/snmp";
    let text = namespace
        .enter(|| std::fs::read_to_string(path))?
        .map_err(LabError::system(format!("read {path}")))?;
    let mut lines = text.lines().filter(|line| line.starts_with("Udp: "));
    let column = lines.next().and_then(|titles| titles.split(' ').position(|title| title == "RcvbufErrors"));
    let value = column.and_then(|column| lines.next()?.split(' ').nth(column)?.parse().ok());
    value.ok_or(LabError::Unexpected { what: path.to_owned(), output: text })
}
