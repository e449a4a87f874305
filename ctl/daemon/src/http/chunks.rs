//! Bodies that come in chunks for as long as somebody sends them, and whoever asked may hear them.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes};
use hyper::body::Frame;
use tokio::sync::mpsc;

/// A body of what comes out of `receiver`, until `end` is there. Its sender finds it closed then.
pub(super) fn body(receiver: mpsc::Receiver<Bytes>, end: impl Future<Output = ()> + Send + 'static) -> Body {
    Body::new(Chunks { receiver, end: Some(Box::pin(end)) })
}

struct Chunks {
    receiver: mpsc::Receiver<Bytes>,
    /// None once it was there.
    end: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

impl hyper::body::Body for Chunks {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let has_ended = self.end.as_mut().is_none_or(|end| end.as_mut().poll(context).is_ready());
        if has_ended {
            self.end = None;
            self.receiver.close();
            return Poll::Ready(None);
        }
        self.receiver.poll_recv(context).map(|chunk| chunk.map(|chunk| Ok(Frame::data(chunk))))
    }
}

#[cfg(test)]
mod tests {
    use axum::body::{Bytes, to_bytes};
    use tokio::sync::{mpsc, oneshot};

    use super::body;

    #[tokio::test]
    async fn a_body_ends_with_its_sender_or_with_the_right_to_it() {
        let (sender, receiver) = mpsc::channel(4);
        sender.send(Bytes::from("all")).await.unwrap();
        drop(sender);
        let whole = to_bytes(body(receiver, std::future::pending()), 100).await.unwrap();
        assert_eq!(whole, "all");

        let (sender, receiver) = mpsc::channel(4);
        let (revoke, revoked) = oneshot::channel::<()>();
        let reading = tokio::spawn(to_bytes(body(receiver, async { drop(revoked.await) }), 100));
        sender.send(Bytes::from("some")).await.unwrap();
        revoke.send(()).unwrap();
        assert!(reading.await.unwrap().unwrap().len() <= 4);
        sender.closed().await;
    }
}
