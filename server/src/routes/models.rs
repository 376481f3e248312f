//! What a client needs before it can send anything: the list, the manifest, the public bundle.

use crate::problem::Problem;
use crate::service::Service;
use axum::Json;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use std::sync::Arc;

/// `GET /v1/models`.
pub(super) async fn list(State(service): State<Arc<Service>>) -> Json<Value> {
    Json(json!({ "object": "list", "data": service.catalog.entries() }))
}

/// `GET /v1/models/{id}/manifest`, 304 when the client has it.
pub(super) async fn manifest(
    State(service): State<Arc<Service>>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let model = service.model(&id)?;
    let known = headers
        .get(header::IF_NONE_MATCH)
        .and_then(|v| v.to_str().ok())
        .unwrap_or_default();
    let etag = [(header::ETAG, model.etag.clone())];
    if known.split(',').any(|tag| tag.trim() == model.etag) {
        return Ok((StatusCode::NOT_MODIFIED, etag).into_response());
    }
    let json = [(header::CONTENT_TYPE, "application/json")];
    Ok((etag, json, model.manifest.clone()).into_response())
}

/// `GET /v1/models/{id}/files/{name}`: the files that the manifest lists, read at the start; no path is ever built
/// from a request.
pub(super) async fn file(
    State(service): State<Arc<Service>>,
    Path((id, name)): Path<(String, String)>,
) -> Result<Response, Problem> {
    let model = service.model(&id)?;
    let path = format!("/v1/models/{id}/files/{name}");
    let bytes = model
        .files
        .get(name.as_str())
        .ok_or_else(|| Problem::not_found(&path))?;
    let kind = if name.ends_with(".json") {
        "application/json"
    } else {
        "application/octet-stream"
    };
    Ok(([(header::CONTENT_TYPE, kind)], bytes.clone()).into_response())
}
