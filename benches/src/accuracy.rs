//! The model in clear on its whole test split, and encrypted through the real server on a part of it.

use std::time::Instant;

use client::{Api, LocalServer, Session, download_bundle};
use models::reference::{Mode, label};
use models::split::Row;
use models::{Bundle, Model, ModelDir};
use serde::Serialize;

use crate::engine::millis;
use crate::stats::Runs;

/// Right answers in clear on the whole test split.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Clear {
    /// Held-out sentences.
    pub sentences: usize,
    /// Share of right labels when the denominator is inverted by a division.
    pub exact_accuracy: f64,
    /// Share of right labels of the polynomial that the server evaluates.
    pub polynomial_accuracy: f64,
    /// Share of the most frequent label: what knowing nothing is worth.
    pub majority: f64,
    /// Sentences for which division and polynomial give the same label, as a share.
    pub agreement: f64,
}

/// What the encrypted evaluation of some held-out sentences gave, against the clear polynomial model.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Encrypted {
    /// Sentences, taken evenly from the test split.
    pub sentences: usize,
    /// Share of right labels.
    pub accuracy: f64,
    /// The same of the clear polynomial model on the same sentences.
    pub clear_accuracy: f64,
    /// Share of labels equal to those of the clear polynomial model.
    pub agreement: f64,
    /// Largest difference between an encrypted and a clear logit.
    pub max_logit_error: f64,
    /// Its log2.
    pub max_logit_error_log2: f64,
    /// Ids of the sentences with another label than in clear.
    pub disagreements: Vec<String>,
    /// Key generation on the side of the client.
    pub keygen_ms: f64,
    /// Bytes of the evaluation keys, sent once.
    pub upload_bytes: usize,
    /// Bytes of one encrypted sentence.
    pub request_bytes: usize,
    /// Bytes of one encrypted answer with its report.
    pub reply_bytes: usize,
    /// Evaluation of one sentence, as the server measured it.
    pub evaluate: Runs,
    /// From sending a sentence to having its answer.
    pub round_trip: Runs,
}

/// Evaluates every row in clear.
///
/// # Errors
/// - the tokenizer refuses a sentence
pub fn clear(model: &Model, bundle: &Bundle, rows: &[Row]) -> anyhow::Result<Clear> {
    let (mut exact, mut polynomial, mut positive, mut agree) = (0, 0, 0, 0);
    for row in rows {
        let x = bundle.embed(&row.text)?.x;
        let labelled = |mode| model.forward(&x, mode).map(|logits| label(&logits));
        let (by_division, by_polynomial) = (labelled(Mode::Exact)?, labelled(Mode::Polynomial)?);
        exact += usize::from(by_division == row.label);
        polynomial += usize::from(by_polynomial == row.label);
        agree += usize::from(by_division == by_polynomial);
        positive += usize::from(row.label == 1);
    }
    Ok(Clear {
        sentences: rows.len(),
        exact_accuracy: share(exact, rows.len()),
        polynomial_accuracy: share(polynomial, rows.len()),
        majority: share(positive.max(rows.len() - positive), rows.len()),
        agreement: share(agree, rows.len()),
    })
}

/// `count` rows, evenly over all, so that every domain has its part; all when there are not so many.
pub fn spread(rows: &[Row], count: usize) -> Vec<&Row> {
    let count = count.min(rows.len());
    (0..count)
        .filter_map(|i| rows.get(i * rows.len() / count.max(1)))
        .collect()
}

/// Sends every row, encrypted, to a real server in this process, over HTTP on a loopback port; `progress(done, total)`.
///
/// # Errors
/// - the server cannot start or refuses a request
pub async fn encrypted(
    dir: &ModelDir,
    model: &Model,
    rows: &[&Row],
    threads: usize,
    mut progress: impl FnMut(usize, usize),
) -> anyhow::Result<Encrypted> {
    let data = tempfile::tempdir()?;
    let folder = dir.path().parent().unwrap_or(dir.path());
    let config = server::Config {
        only: Some(dir.id().to_owned()),
        threads,
        ..server::Config::new(folder, data.path())
    };
    let server = LocalServer::start(config).await?;

    let api = Api::new(server.url())?;
    let manifest = api.manifest(dir.id()).await?;
    let (bundle, _) = download_bundle(&api, &manifest).await?;
    let start = Instant::now();
    let session = Session::generate(manifest, bundle)?;
    let mut keys = Vec::new();
    session.evaluation_keys(&mut keys, |_, _| ())?;
    let keygen_ms = millis(start);
    let upload_bytes = keys.len();
    let key_id = api.upload_keys(dir.id(), keys, |_| ()).await?.key_id;

    let (mut right, mut clear_right, mut largest) = (0, 0, 0.0_f64);
    let (mut request_bytes, mut reply_bytes) = (0, 0);
    let (mut disagreements, mut evaluate, mut round_trip) = (Vec::new(), Vec::new(), Vec::new());
    for (done, row) in rows.iter().enumerate() {
        progress(done, rows.len());
        let request = session.encrypt(&row.text)?;
        request_bytes = request.frames.len();
        let start = Instant::now();
        let reply = api
            .infer(dir.id(), &key_id, request.frames, session.reply_limit()?, |_| ())
            .await?;
        round_trip.push(millis(start));
        reply_bytes = reply.len();
        let decrypted = session.decrypt(&reply)?;
        let logits = decrypted.outputs;
        evaluate.extend(decrypted.report.map(|report| report.evaluate_us / 1e3));

        let expected = model.forward(&request.x, Mode::Polynomial)?;
        let differences = logits.iter().zip(&expected).map(|(a, b)| (a - b).abs());
        largest = differences.fold(largest, f64::max);
        let (found, expected) = (label(&logits), label(&expected));
        right += usize::from(found == row.label);
        clear_right += usize::from(expected == row.label);
        if found != expected {
            disagreements.push(row.id.clone());
        }
    }
    progress(rows.len(), rows.len());
    server.stop().await?;
    Ok(Encrypted {
        sentences: rows.len(),
        accuracy: share(right, rows.len()),
        clear_accuracy: share(clear_right, rows.len()),
        agreement: share(rows.len() - disagreements.len(), rows.len()),
        max_logit_error: largest,
        max_logit_error_log2: largest.log2(),
        disagreements,
        keygen_ms,
        upload_bytes,
        request_bytes,
        reply_bytes,
        evaluate: Runs::new(evaluate),
        round_trip: Runs::new(round_trip),
    })
}

fn share(part: usize, whole: usize) -> f64 {
    part as f64 / whole.max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_spread_evenly() {
        let rows: Vec<Row> = (0..10)
            .map(|i| Row {
                id: i.to_string(),
                domain: String::new(),
                label: 0,
                text: String::new(),
            })
            .collect();
        let ids = |count| {
            spread(&rows, count)
                .iter()
                .map(|row| row.id.as_str())
                .collect::<Vec<_>>()
                .join(" ")
        };
        assert_eq!(ids(3), "0 3 6");
        assert_eq!(ids(20), "0 1 2 3 4 5 6 7 8 9");
        assert_eq!(ids(0), "");
    }
}
