//! A connection with a workload as Tokio's readers and writers see it.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use edgestack_dataplane::virtual_stack::{Datagram, TcpListener, TcpStream, UdpServer};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A connection; dropping the last hold on its stream closes it.
#[derive(Debug)]
pub(crate) struct Connection(pub(crate) Arc<TcpStream>);

impl AsyncRead for Connection {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let length = ready!(self.0.poll_read(context, buffer.initialize_unfilled()))?;
        buffer.advance(length);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Connection {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.0.poll_write(context, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.shutdown();
        Poll::Ready(Ok(()))
    }
}

/// The next connection of a server.
pub(super) async fn accept(listener: &TcpListener) -> TcpStream {
    std::future::poll_fn(|context| listener.poll_accept(context)).await
}

/// The next datagram of a server.
pub(super) async fn receive(server: &UdpServer) -> Datagram {
    std::future::poll_fn(|context| server.poll_receive(context)).await
}
