//! Reading request bodies under a byte limit and an idle timeout.

use crate::problem::Problem;
use axum::body::{Body, BodyDataStream};
use axum::http::{HeaderMap, header};
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use std::time::Duration;
use tokio::time::timeout;

/// How much more than a body of the right size is read and thrown away, so that a client that is still sending gets to
/// see the answer and not a reset connection.
const DRAIN_BYTES: u64 = 16 << 20;
const DRAIN_TIME: Duration = Duration::from_secs(5);

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
    pub(crate) async fn new(
        what: &'static str,
        headers: &HeaderMap,
        body: Body,
        limit: u64,
        idle: Duration,
    ) -> Result<Self, Problem> {
        let mut limited = Self {
            what,
            stream: body.into_data_stream(),
            limit,
            read: 0,
            idle,
        };
        let text = |name| headers.get(name).map(|v| v.to_str().unwrap_or("(not text)"));
        if let Some(kind) = text(header::CONTENT_TYPE)
            && kind != "application/octet-stream"
        {
            limited.discard().await;
            return Err(Problem::content_type(kind));
        }
        let announced = text(header::CONTENT_LENGTH).and_then(|l| l.parse::<u64>().ok());
        if announced.is_some_and(|length| length > limit) {
            limited.discard().await;
            return Err(Problem::too_large(what, limit, announced));
        }
        Ok(limited)
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
            self.discard().await;
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

    async fn discard(&mut self) {
        let mut left = self.limit.saturating_add(DRAIN_BYTES);
        let rest = async {
            while let Some(Ok(piece)) = self.stream.next().await {
                left = left.saturating_sub(piece.len() as u64);
                if left == 0 {
                    break;
                }
            }
        };
        // Whether it ended or not, the answer goes out now.
        let _ = timeout(DRAIN_TIME, rest).await;
    }
}
