//! Reading request bodies under a byte limit and an idle timeout, and what happens to those that nobody reads.

use crate::problem::Problem;
use axum::body::{Body, BodyDataStream, HttpBody};
use axum::extract::Request;
use axum::http::{HeaderMap, header};
use axum::middleware::Next;
use axum::response::Response;
use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::time::timeout;

/// How long the rest of a refused body is read and thrown away after the answer, and how long a pause may be.
const DRAIN_TIME: Duration = Duration::from_secs(5);
const DRAIN_PAUSE: Duration = Duration::from_secs(1);

/// Every body that a handler leaves unread is drained in the background while the answer goes out: a connection closed
/// under a client that is still sending would be reset, and the client would see a broken pipe and not the answer.
pub(crate) async fn linger(request: Request, next: Next) -> Response {
    let request = request.map(|body| match body.is_end_stream() {
        true => body,
        false => Body::from_stream(Lingering(Some(body.into_data_stream()))),
    });
    next.run(request).await
}

/// A body until its end or its first error.
struct Lingering(Option<BodyDataStream>);

impl Stream for Lingering {
    type Item = Result<Bytes, axum::Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Some(stream) = &mut self.0 else {
            return Poll::Ready(None);
        };
        let piece = ready!(stream.poll_next_unpin(cx));
        if !matches!(piece, Some(Ok(_))) {
            self.0 = None;
        }
        Poll::Ready(piece)
    }
}

impl Drop for Lingering {
    fn drop(&mut self) {
        // Without a runtime the process is going down, and its connections with it.
        if let Some(mut rest) = self.0.take()
            && let Ok(runtime) = Handle::try_current()
        {
            runtime.spawn(timeout(DRAIN_TIME, async move {
                while let Ok(Some(Ok(_))) = timeout(DRAIN_PAUSE, rest.next()).await {}
            }));
        }
    }
}

/// A body of at most `limit` bytes, piece by piece.
pub(crate) struct Limited {
    what: &'static str,
    stream: BodyDataStream,
    limit: u64,
    read: u64,
    idle: Duration,
}

impl Limited {
    /// Refuses by headers alone where they already say that the body cannot be right.
    pub(crate) fn new(
        what: &'static str,
        headers: &HeaderMap,
        body: Body,
        limit: u64,
        idle: Duration,
    ) -> Result<Self, Problem> {
        let text = |name| headers.get(name).map(|v| v.to_str().unwrap_or("(not text)"));
        if let Some(kind) = text(header::CONTENT_TYPE)
            && kind != "application/octet-stream"
        {
            return Err(Problem::content_type(kind));
        }
        let announced = text(header::CONTENT_LENGTH).and_then(|l| l.parse::<u64>().ok());
        if announced.is_some_and(|length| length > limit) {
            return Err(Problem::too_large(what, limit, announced));
        }
        Ok(Self {
            what,
            stream: body.into_data_stream(),
            limit,
            read: 0,
            idle,
        })
    }

    /// The next piece; `None` at the end.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, Problem> {
        let next = timeout(self.idle, self.stream.next())
            .await
            .map_err(|_| Problem::idle(self.idle.as_secs()))?;
        let Some(piece) = next else { return Ok(None) };
        let piece = piece.map_err(|e| Problem::broken_body(&e.to_string()))?;
        self.read += piece.len() as u64;
        if self.read > self.limit {
            return Err(Problem::too_large(self.what, self.limit, None));
        }
        Ok(Some(piece))
    }

    /// The whole body in memory.
    pub(crate) async fn collect(mut self) -> Result<Bytes, Problem> {
        let mut whole = BytesMut::new();
        while let Some(piece) = self.next().await? {
            whole.extend_from_slice(&piece);
        }
        Ok(whole.freeze())
    }
}
