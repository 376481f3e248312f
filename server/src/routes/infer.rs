//! Evaluation of one input.

use super::keys::stored;
use crate::body::Limited;
use crate::catalog::Served;
use crate::problem::Problem;
use crate::progress::{Progress, Standing};
use crate::service::Service;
use crate::worker::Job;
use axum::Json;
use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, HeaderName, header};
use axum::response::{IntoResponse, Response};
use he_ops::trace::LatencyReport;
use he_ops::wire::Header;
use serde::Deserialize;
use std::sync::Arc;
use std::time::Instant;

/// `logits` or `label`; without it logits, or the label where a model gives nothing else.
#[derive(Debug, Deserialize)]
pub(super) struct InferQuery {
    reply: Option<String>,
}

/// True for a label.
fn wants_label(model: &Served, query: &InferQuery) -> Result<bool, Problem> {
    let asked = query.reply.as_deref().unwrap_or(match model.labels_only {
        true => "label",
        false => "logits",
    });
    if model.entry.replies.contains(&asked) {
        return Ok(asked == "label");
    }
    Err(Problem::reply(&model.id, &model.entry.replies, asked))
}

/// `POST /v1/models/{id}/infer`: the ciphertext frames of all inputs in the order of the manifest, seeded or full, in; a
/// report frame and the ciphertext frames of all outputs out.
///
/// `x-key-id` names the uploaded keys. With `x-request-id`, `GET /v1/requests/{id}` tells where the request stands.
pub(super) async fn infer(
    State(service): State<Arc<Service>>,
    Path(id): Path<String>,
    Query(query): Query<InferQuery>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let start = Instant::now();
    service.check_open()?;
    let model = Arc::clone(service.model(&id)?);
    let label = wants_label(&model, &query)?;
    let request = match text(&headers, "x-request-id") {
        None => None,
        Some(id) if is_request_id(id) => {
            let taken = || Problem::missing("a fresh x-request-id", "this id is in use; choose a random one");
            Some(service.registry.register(id).ok_or_else(taken)?)
        }
        Some(_) => {
            return Err(Problem::missing(
                "x-request-id",
                "use 8 to 64 letters, digits or dashes",
            ));
        }
    };

    // Held until the answer: a request that waits is in memory as well.
    let limit = model.request_limit;
    let kib = u32::try_from(limit.div_ceil(1 << 10)).unwrap_or(u32::MAX);
    let Ok(memory) = Arc::clone(&service.requests).try_acquire_many_owned(kib) else {
        let places = service.config.request_bytes / limit.max(1);
        return Err(Problem::busy("request bodies", places as usize, 1));
    };
    let body = Limited::new("request", &headers, body, limit, service.config.idle_timeout)?;
    let frames = body.collect().await?;

    let key_id = text(&headers, "x-key-id").ok_or_else(|| {
        Problem::missing(
            "the header x-key-id",
            "send the key_id that POST /v1/keys answered",
        )
    })?;
    let (key_id, info) = stored(&service, key_id).await?;
    if info.params_digest != model.entry.params_digest {
        return Err(Problem::keys_of_other_params(
            &model.entry.params_digest,
            &info.params_digest,
        ));
    }
    if label && info.keys <= model.needs.len() {
        let detail = "these keys have none for the exact decision, which a label needs".to_owned();
        let needed = format!(
            "{} keys, the last one for the exact decision",
            model.needs.len() + 1
        );
        return Err(Problem::wrong_keys(detail, needed, format!("{} keys", info.keys)));
    }
    // The cheap checks come before the queue; the worker checks the rest.
    let wire = |e| Problem::wire("request", &e);
    let head = Header::parse(&frames).map_err(wire)?;
    head.expect_params(&model.plan.params.digest()).map_err(wire)?;

    let progress = request
        .as_ref()
        .map_or_else(|| Arc::new(Progress::default()), |r| Arc::clone(&r.progress));
    let receive = start.elapsed();
    let done = service
        .workers
        .evaluate(Job {
            model,
            label,
            key_id,
            frames,
            _memory: memory,
            receive,
            progress,
        })
        .await?;
    let headers = [
        (header::CONTENT_TYPE, "application/octet-stream".to_owned()),
        (
            HeaderName::from_static("server-timing"),
            server_timing(&done.report),
        ),
    ];
    Ok((headers, done.body).into_response())
}

/// `GET /v1/requests/{id}`: step k of n, while the request is in progress.
pub(super) async fn standing(
    State(service): State<Arc<Service>>,
    Path(id): Path<String>,
) -> Result<Json<Standing>, Problem> {
    let path = format!("/v1/requests/{id}");
    service
        .registry
        .standing(&id)
        .map(Json)
        .ok_or_else(|| Problem::not_found(&path))
}

/// The phases as a `Server-Timing` header, in milliseconds.
fn server_timing(report: &LatencyReport) -> String {
    let phases: Vec<String> = report
        .phases
        .iter()
        .map(|p| format!("{};dur={:.3}", p.name, p.us / 1e3))
        .collect();
    phases.join(", ")
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).map(|v| v.to_str().unwrap_or_default())
}

fn is_request_id(id: &str) -> bool {
    (8..=64).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
}
