//! Exact labels through the real server, held against the clear polynomial model.

use anyhow::Context;
use client::{Reply, Session};
use models::bundle::split::Row;
use models::model::Mode;
use serde::Serialize;

use crate::accuracy::{Service, Subject};
use crate::stats::Runs;

/// Encrypted decisions on some inputs, and what they cost.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Labels {
    /// Inputs.
    pub inputs: usize,
    /// Share of right labels.
    pub accuracy: f64,
    /// Share of right labels of the polynomial in clear.
    pub clear_accuracy: f64,
    /// Share of labels that are those of the polynomial in clear.
    pub agreement: f64,
    /// Two logits that are further apart are told apart.
    pub resolution: f64,
    /// Inputs whose two best logits are nearer than that.
    pub near_ties: usize,
    /// Inputs without a label: no class was ahead of all others.
    pub undecided: usize,
    /// Ids of the inputs with another label than in clear.
    pub disagreements: Vec<String>,
    /// Ids of those whose clear logits contradict the label by more than the resolution: there may be none.
    pub wrong: Vec<String>,
    /// Largest contradiction, in units of a logit.
    pub largest_contradiction: f64,
    /// Programmable bootstraps of a label.
    pub bootstraps: usize,
    /// The exact decision alone, as the server measured it.
    pub head: Runs,
    /// The whole evaluation.
    pub evaluate: Runs,
    /// Bytes of the additional key, sent once.
    pub key_bytes: u64,
    /// Bytes of one answer with its report.
    pub reply_bytes: usize,
    /// Bytes of the encrypted label in it.
    pub label_bytes: u64,
}

/// Name of the layer of the decision in latency reports.
const HEAD: &str = "exact decision";

impl Subject {
    /// Asks for the label of every row, encrypted, from a real server in this process; `progress(done, total)`.
    ///
    /// # Errors
    /// - a model without an exact decision
    /// - the server cannot start or refuses a request
    pub async fn labels(
        &self,
        rows: &[&Row],
        threads: usize,
        mut progress: impl FnMut(usize, usize),
    ) -> anyhow::Result<Labels> {
        let service = self.serve(threads, Reply::Label).await?;
        let Service {
            api, session, key_id, ..
        } = &service;
        let decision = session
            .manifest()
            .decision
            .context("the model has no exact decision")?;
        let (mut right, mut clear_right, mut same, mut near_ties, mut undecided) = (0, 0, 0, 0, 0);
        let (mut disagreements, mut wrong, mut largest) = (Vec::new(), Vec::new(), 0.0_f64);
        let (mut head, mut evaluate, mut reply_bytes) = (Vec::new(), Vec::new(), 0);
        for (done, row) in rows.iter().enumerate() {
            progress(done, rows.len());
            let request = session.encrypt_query(&self.query(row)?)?;
            session.check_label(&request)?;
            let limit = session.reply_limit()?;
            let id = self.dir.id();
            let reply = api
                .infer(id, key_id, Reply::Label, request.frames, limit, |_| ())
                .await?;
            reply_bytes = reply.len();
            let decrypted = session.decrypt(&reply)?;
            if let Some(report) = &decrypted.report {
                evaluate.push(report.evaluate_us / 1e3);
                let own = report.ops.iter().filter(|op| op.layer == HEAD);
                head.push(own.map(|op| op.total_us / 1e3).sum());
            }
            let clear = self.model.forward(&request.x, Mode::Polynomial)?;
            let (contradiction, _) = session.difference(&decrypted, &clear);
            let logits = self.head.decided(session.manifest().max_tokens(), &clear);
            largest = largest.max(contradiction);
            let found = class(session, &decrypted);
            let expected = decision.config.class(logits);
            right += usize::from(found == Some(row.label));
            clear_right += usize::from(expected == Some(row.label));
            undecided += usize::from(found.is_none());
            near_ties += usize::from(decision.config.lead(logits) <= decision.resolution);
            if found == expected {
                same += 1;
            } else {
                disagreements.push(row.id.clone());
            }
            // Written so that a number that is none counts as wrong.
            if contradiction <= decision.resolution {
                continue;
            }
            wrong.push(row.id.clone());
        }
        progress(rows.len(), rows.len());
        let share = |part: usize| part as f64 / rows.len().max(1) as f64;
        let labels = Labels {
            inputs: rows.len(),
            accuracy: share(right),
            clear_accuracy: share(clear_right),
            agreement: share(same),
            resolution: decision.resolution,
            near_ties,
            undecided,
            disagreements,
            wrong,
            largest_contradiction: largest,
            bootstraps: decision.bootstraps,
            head: Runs::new(head),
            evaluate: Runs::new(evaluate),
            key_bytes: decision.key_bytes,
            reply_bytes,
            label_bytes: he_ops::wire::label_frame_len(session.manifest().packing.answer_features()),
        };
        service.server.stop().await?;
        Ok(labels)
    }
}

fn class(session: &Session, decrypted: &client::Decrypted) -> Option<usize> {
    match session.answer_of(decrypted, 0) {
        client::Answer::Label { index, .. } => index,
        _ => None,
    }
}
