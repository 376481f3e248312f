//! The whole interface on one screen.

mod health;
mod infer;
mod keys;
mod models;

use crate::body::linger;
use crate::problem::Problem;
use crate::service::Service;
use axum::Router;
use axum::extract::{MatchedPath, Request};
use axum::http::{HeaderValue, Method, Uri, header};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use std::sync::Arc;
use std::time::Instant;

/// All paths. Bodies are limited by the handlers, each to what the plan of its model can need; CORS stays off.
pub(crate) fn router(service: Arc<Service>) -> Router {
    Router::new()
        .route("/health", get(health::health))
        .route("/ready", get(health::ready))
        .route("/v1/models", get(models::list))
        .route("/v1/models/{id}/manifest", get(models::manifest))
        .route("/v1/models/{id}/files/{name}", get(models::file))
        .route("/v1/models/{id}/infer", post(infer::infer))
        .route("/v1/requests/{id}", get(infer::standing))
        .route("/v1/keys", post(keys::upload))
        .route("/v1/keys/{id}", get(keys::status).delete(keys::remove))
        .fallback(|uri: Uri| async move { Problem::not_found(uri.path()) })
        .method_not_allowed_fallback(|method: Method, uri: Uri| async move {
            Problem::method(method.as_str(), uri.path())
        })
        .layer(from_fn(linger))
        .layer(from_fn(problems))
        .layer(from_fn(log))
        .with_state(service)
}

/// Refusals of the framework itself are plain text; they become problem documents like all others.
async fn problems(request: Request, next: Next) -> Response {
    let response = next.run(request).await;
    let status = response.status();
    let content_type = response.headers().get(header::CONTENT_TYPE);
    if status.is_client_error() && content_type.is_some_and(|t| t.as_bytes().starts_with(b"text/plain")) {
        return Problem::unreadable(status).into_response();
    }
    response
}

/// One line per request: never a body, a header or an id. Polls go to the debug level.
async fn log(request: Request, next: Next) -> Response {
    let route = request
        .extensions()
        .get::<MatchedPath>()
        .map_or("(none)", MatchedPath::as_str)
        .to_owned();
    let (method, start) = (request.method().clone(), Instant::now());
    let mut response = next.run(request).await;
    let (status, ms) = (response.status().as_u16(), start.elapsed().as_millis() as u64);
    if matches!(route.as_str(), "/health" | "/ready" | "/v1/requests/{id}") {
        tracing::debug!(%method, route, status, ms, "request");
    } else {
        tracing::info!(%method, route, status, ms, "request");
    }
    let nosniff = HeaderValue::from_static("nosniff");
    response
        .headers_mut()
        .insert(header::X_CONTENT_TYPE_OPTIONS, nosniff);
    response
}
