//! What a refused request gets: an RFC 9457 problem document, and the one mapping of errors to statuses.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use he_ops::wire::WireError;
use serde::Serialize;

/// Why a request was refused. Boxed, so that a `Result` with it stays small.
#[derive(Debug, Clone, PartialEq)]
pub struct Problem(Box<Document>);

/// A problem document. `kind` is stable; texts may change.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Document {
    /// Stable relative reference, `/problems/...`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The kind in words.
    pub title: &'static str,
    /// HTTP status.
    pub status: u16,
    /// What happened to this request.
    pub detail: String,
    /// What was needed, where that is one value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub needed: Option<String>,
    /// What was there instead.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub found: Option<String>,
    /// What to do.
    pub hint: String,
    /// Seconds to wait, also in the `Retry-After` header.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<u64>,
}

impl Problem {
    /// The document as sent.
    #[must_use]
    pub fn document(&self) -> &Document {
        &self.0
    }

    fn new(
        status: StatusCode,
        slug: &str,
        title: &'static str,
        detail: impl Into<String>,
        hint: &str,
    ) -> Self {
        Self(Box::new(Document {
            kind: format!("/problems/{slug}"),
            title,
            status: status.as_u16(),
            detail: detail.into(),
            needed: None,
            found: None,
            hint: hint.to_owned(),
            retry_after: None,
        }))
    }

    fn numbers(mut self, needed: impl ToString, found: impl ToString) -> Self {
        self.0.needed = Some(needed.to_string());
        self.0.found = Some(found.to_string());
        self
    }

    /// 404: no such path.
    pub(crate) fn not_found(path: &str) -> Self {
        let detail = format!("there is nothing at {path}");
        Self::new(
            StatusCode::NOT_FOUND,
            "not-found",
            "Not found",
            detail,
            "GET /v1/models lists what is served",
        )
    }

    /// 405: the path exists, the method does not.
    pub(crate) fn method(method: &str, path: &str) -> Self {
        let detail = format!("{path} does not answer {method}");
        let hint = "the Allow header names the methods of this path";
        Self::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "method-not-allowed",
            "Method not allowed",
            detail,
            hint,
        )
    }

    /// 404: no such model.
    pub(crate) fn unknown_model(id: &str, known: &[&str]) -> Self {
        let detail = format!("no model {id:?} is served here");
        Self::new(
            StatusCode::NOT_FOUND,
            "unknown-model",
            "Unknown model",
            detail,
            "GET /v1/models lists the models",
        )
        .numbers(known.join(", "), id)
    }

    /// 404: no such key set.
    pub(crate) fn unknown_key(id: &str) -> Self {
        let detail = format!("no evaluation keys {id:?} are stored here");
        let hint = "upload the keys with POST /v1/keys?model=ID and use the key_id of the answer";
        Self::new(
            StatusCode::NOT_FOUND,
            "unknown-key",
            "Unknown evaluation keys",
            detail,
            hint,
        )
    }

    /// 400: a header or a query parameter is absent or unusable.
    pub(crate) fn missing(what: &str, hint: &str) -> Self {
        let detail = format!("{what} is missing or malformed");
        Self::new(
            StatusCode::BAD_REQUEST,
            "bad-request",
            "Bad request",
            detail,
            hint,
        )
    }

    /// 403: the model does not give out this kind of answer.
    pub(crate) fn reply(model: &str, offered: &[&str], asked: &str) -> Self {
        let detail = format!("the model {model} does not answer with {asked:?}");
        let hint = "ask with ?reply= for one that GET /v1/models lists for it";
        Self::new(
            StatusCode::FORBIDDEN,
            "reply-not-offered",
            "Reply not offered",
            detail,
            hint,
        )
        .numbers(offered.join(" or "), asked)
    }

    /// 415: the body is declared as something that is not bytes.
    pub(crate) fn content_type(found: &str) -> Self {
        let detail = "the body must be a binary frame";
        let hint = "send Content-Type: application/octet-stream";
        Self::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "content-type",
            "Unsupported media type",
            detail,
            hint,
        )
        .numbers("application/octet-stream", found)
    }

    /// 413: more bytes than the plan of the model can need.
    pub(crate) fn too_large(what: &str, limit: u64, found: Option<u64>) -> Self {
        let detail = format!("the {what} is larger than this model takes");
        let hint = "the manifest of the model states the exact sizes; was this made for another model?";
        let found = found.map_or_else(|| format!("more than {limit} bytes"), |f| format!("{f} bytes"));
        Self::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "too-large",
            "Body too large",
            detail,
            hint,
        )
        .numbers(format!("at most {limit} bytes"), found)
    }

    /// 400: the body ended early or the client stopped sending.
    pub(crate) fn broken_body(reason: &str) -> Self {
        let detail = format!("the body could not be read: {reason}");
        Self::new(
            StatusCode::BAD_REQUEST,
            "broken-body",
            "Broken body",
            detail,
            "send the request again",
        )
    }

    /// What the framework refuses before a handler runs: a path or a query that cannot be read.
    pub(crate) fn unreadable(status: StatusCode) -> Self {
        Self::new(
            status,
            "unreadable-request",
            "Unreadable request",
            "the path or the query of the request could not be read",
            "percent-encode the path as UTF-8 and give each query parameter once",
        )
    }

    /// 408: nothing came for too long.
    pub(crate) fn idle(seconds: u64) -> Self {
        let detail = format!("no bytes of the body came for {seconds} s");
        Self::new(
            StatusCode::REQUEST_TIMEOUT,
            "timeout",
            "Request timeout",
            detail,
            "send the request again",
        )
    }

    /// 422: an upload does not hold exactly the keys of the plan.
    pub(crate) fn wrong_keys(detail: String, needed: impl ToString, found: impl ToString) -> Self {
        let hint = "generate the keys from the current manifest of this model (client keygen) and upload all of them";
        Self::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "wrong-keys",
            "Evaluation keys do not fit",
            detail,
            hint,
        )
        .numbers(needed, found)
    }

    /// 409: stored keys belong to other parameters than the model's.
    pub(crate) fn keys_of_other_params(needed: &str, found: &str) -> Self {
        let detail = "these evaluation keys were made for other parameters than this model's";
        let hint = "generate and upload keys for this model";
        Self::new(
            StatusCode::CONFLICT,
            "wrong-parameters",
            "Parameters differ",
            detail,
            hint,
        )
        .numbers(needed, found)
    }

    /// 429: all places are taken.
    pub(crate) fn busy(what: &str, places: usize, retry_after: u64) -> Self {
        let detail = format!("all {places} places for {what} are taken");
        let hint = format!("try again in {retry_after} s");
        let mut problem = Self::new(StatusCode::TOO_MANY_REQUESTS, "busy", "Busy", detail, &hint);
        problem.0.retry_after = Some(retry_after);
        problem
    }

    /// 503: the service is going down.
    pub(crate) fn draining() -> Self {
        let detail = "the service is shutting down and takes no new work";
        let mut problem = Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "draining",
            "Shutting down",
            detail,
            "try again later",
        );
        problem.0.retry_after = Some(10);
        problem
    }

    /// 507: the key store is full.
    pub(crate) fn quota(limit: u64, stored: u64, needed: u64) -> Self {
        let detail =
            format!("the key store holds {stored} of {limit} bytes and has no room for {needed} more");
        let hint = "remove keys that are no longer used: DELETE /v1/keys/{id}";
        Self::new(
            StatusCode::INSUFFICIENT_STORAGE,
            "key-quota",
            "Key store full",
            detail,
            hint,
        )
    }

    /// 500: our fault; the cause goes to the log, not to the caller.
    pub(crate) fn internal(cause: &dyn std::fmt::Display) -> Self {
        tracing::error!(%cause, "internal error");
        let detail = "the service failed to do what it should";
        let hint = "try again; if it stays, tell the operator the time of this request";
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal",
            "Internal error",
            detail,
            hint,
        )
    }

    /// Of a refused frame; `what` names the frame for the reader.
    pub(crate) fn wire(what: &str, error: &WireError) -> Self {
        let detail = format!("{what}: {error}");
        let regenerate = "make it with a client of this release, from the current manifest of this model";
        match error {
            WireError::TooLarge { limit, found, .. } => Self::too_large(what, *limit, Some(*found)),
            WireError::ParamsDigest { needed, found } => Self::new(
                StatusCode::CONFLICT,
                "wrong-parameters",
                "Parameters differ",
                detail,
                regenerate,
            )
            .numbers(needed, found),
            WireError::Version { needed, found } => Self::new(
                StatusCode::CONFLICT,
                "wrong-version",
                "Made by another release",
                detail,
                "make keys and requests with a client of this release (client keygen --force, client encrypt); DELETE \
                 /v1/keys/{id} erases old keys",
            )
            .numbers(format!("format version {needed}"), format!("format version {found}")),
            WireError::Kind { needed, found } => Self::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "wrong-type",
                "Wrong frame type",
                detail,
                regenerate,
            )
            .numbers(needed, found),
            WireError::Level { needed, found, .. } => Self::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "wrong-level",
                "Wrong level",
                detail,
                regenerate,
            )
            .numbers(needed, found),
            WireError::Scale { needed, found, .. } => Self::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "wrong-scale",
                "Wrong scale",
                detail,
                regenerate,
            )
            .numbers(
                format!("2^{:.6}", needed.log2()),
                format!("2^{:.6}", found.log2()),
            ),
            WireError::Io { .. } | WireError::Engine(_) => Self::internal(error),
            WireError::Truncated { needed, found, .. } => {
                let hint = "the transfer was cut: send it again";
                Self::new(
                    StatusCode::BAD_REQUEST,
                    "malformed-frame",
                    "Malformed frame",
                    detail,
                    hint,
                )
                .numbers(format!("{needed} bytes"), format!("{found} bytes"))
            }
            _ => Self::new(
                StatusCode::BAD_REQUEST,
                "malformed-frame",
                "Malformed frame",
                detail,
                regenerate,
            ),
        }
    }
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}: {}", self.0.status, self.0.title, self.0.detail)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.0.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let retry_after = self.0.retry_after;
        let body = serde_json::to_vec(&self.0).unwrap_or_default();
        let mut response = (status, body).into_response();
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        if let Some(seconds) = retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use he_ops::wire::Kind;

    /// Scripts and clients tell problems apart by these; a new one is added here.
    #[test]
    fn kinds_and_statuses_are_golden() {
        let wire = |error| Problem::wire("x", &error);
        let scale = WireError::Scale {
            what: "x",
            needed: 1.0,
            found: 2.0,
        };
        let params = WireError::ParamsDigest {
            needed: "x".into(),
            found: "y".into(),
        };
        let kind = WireError::Kind {
            needed: Kind::Ciphertext,
            found: Kind::Report,
        };
        let level = WireError::Level {
            what: "x",
            needed: 1,
            found: 2,
        };
        let cut = WireError::Truncated {
            what: "x",
            needed: 2,
            found: 1,
        };
        let large = WireError::TooLarge {
            what: "x",
            limit: 1,
            found: 2,
        };
        let version = WireError::Version { needed: 2, found: 1 };
        let io = WireError::Io { reason: "x".into() };
        let golden = [
            (400, "bad-request", Problem::missing("x", "x")),
            (400, "broken-body", Problem::broken_body("x")),
            (400, "malformed-frame", wire(WireError::Checksum)),
            (400, "malformed-frame", wire(cut)),
            (
                400,
                "unreadable-request",
                Problem::unreadable(StatusCode::BAD_REQUEST),
            ),
            (403, "reply-not-offered", Problem::reply("x", &["y"], "z")),
            (404, "not-found", Problem::not_found("x")),
            (404, "unknown-key", Problem::unknown_key("x")),
            (404, "unknown-model", Problem::unknown_model("x", &["y"])),
            (405, "method-not-allowed", Problem::method("x", "y")),
            (408, "timeout", Problem::idle(1)),
            (409, "wrong-parameters", Problem::keys_of_other_params("x", "y")),
            (409, "wrong-parameters", wire(params)),
            (409, "wrong-version", wire(version)),
            (413, "too-large", Problem::too_large("x", 1, None)),
            (413, "too-large", wire(large)),
            (415, "content-type", Problem::content_type("x")),
            (422, "wrong-keys", Problem::wrong_keys("x".into(), "y", "z")),
            (422, "wrong-level", wire(level)),
            (422, "wrong-scale", wire(scale)),
            (422, "wrong-type", wire(kind)),
            (429, "busy", Problem::busy("x", 1, 2)),
            (500, "internal", Problem::internal(&"x")),
            (500, "internal", wire(io)),
            (503, "draining", Problem::draining()),
            (507, "key-quota", Problem::quota(1, 2, 3)),
        ];
        for (status, slug, problem) in golden {
            let document = problem.document();
            assert_eq!(
                (document.status, document.kind.as_str()),
                (status, format!("/problems/{slug}").as_str())
            );
            // A client that is told to wait is told how long.
            assert_eq!(
                document.retry_after.is_some(),
                matches!(status, 429 | 503),
                "{slug}"
            );
        }
    }
}
