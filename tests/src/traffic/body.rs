//! A large body by one TCP connection, in either direction: what hangs where full-sized packets get lost in silence.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use crate::error::LabError;
use crate::namespace::Namespace;

/// Bytes of the body: many windows of full-sized packets.
const BODY_LENGTH: usize = 4 << 20;
/// How long the connection may stand still.
const STILL_TIMEOUT: Duration = Duration::from_secs(20);

/// Who sends the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Who opened the connection.
    Upload,
    /// Who was asked.
    Download,
}

/// Carries a body between `client` and a server in the namespace `server`, who listens on the port of `target`; fails where not all
/// of it arrives.
pub fn carry(
    client: &Namespace,
    server: &Namespace,
    target: SocketAddr,
    direction: Direction,
) -> Result<(), LabError> {
    let failed = |what: &str| LabError::system(format!("{what} {target} ({direction:?})"));
    let listener = server
        .enter(|| TcpListener::bind(("0.0.0.0", target.port())))?
        .map_err(failed("listen for a body to"))?;
    let asking = client.enter(|| TcpStream::connect_timeout(&target, STILL_TIMEOUT))?;
    let asking = asking.map_err(failed("connect to"))?;
    let (asked, _) = listener.accept().map_err(failed("accept a connection to"))?;
    let (mut sender, mut receiver) = match direction {
        Direction::Upload => (asking, asked),
        Direction::Download => (asked, asking),
    };
    sender.set_write_timeout(Some(STILL_TIMEOUT)).map_err(failed("set up the connection to"))?;
    receiver.set_read_timeout(Some(STILL_TIMEOUT)).map_err(failed("set up the connection to"))?;
    let body: Vec<u8> = (0..BODY_LENGTH).map(|position| ((position * 31) >> 3) as u8).collect();
    let received = std::thread::scope(|scope| {
        let sending = scope.spawn(|| sender.write_all(&body).and_then(|()| sender.shutdown(Shutdown::Write)));
        let mut received = Vec::with_capacity(BODY_LENGTH);
        let result = receiver.read_to_end(&mut received);
        // The sender need not wait for who has given up.
        let _ = receiver.shutdown(Shutdown::Both);
        let sent = sending.join().expect("the sender does not panic");
        result.and(sent).map(|()| received)
    });
    let received = received.map_err(failed("carry a body by the connection to"))?;
    if received == body {
        Ok(())
    } else {
        let output = format!("{} of {BODY_LENGTH} bytes, or others", received.len());
        Err(LabError::Unexpected { what: format!("a body to {target} ({direction:?})"), output })
    }
}

/// The path MTU that a namespace has learned towards an address; none where it has learned none.
pub fn learned_mtu(namespace: &Namespace, target: &str) -> Result<Option<u32>, LabError> {
    let route = namespace.run(&format!("ip route get {target}"))?;
    let mut words = route.split_whitespace().skip_while(|word| *word != "mtu");
    Ok(words.nth(1).and_then(|mtu| mtu.parse().ok()))
}
