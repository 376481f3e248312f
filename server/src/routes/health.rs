//! Liveness and readiness.

use crate::problem::Problem;
use crate::service::Service;
use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};
use std::sync::Arc;

/// The process is up.
pub(super) async fn health() -> Json<Value> {
    Json(json!({ "status": "ok", "version": env!("CARGO_PKG_VERSION") }))
}

/// Models are compiled, the key store is open, and no shutdown is under way.
pub(super) async fn ready(State(service): State<Arc<Service>>) -> Result<Json<Value>, Problem> {
    service.check_open()?;
    Ok(Json(
        json!({ "status": "ready", "models": service.catalog.ids() }),
    ))
}
