//! A model in clear on held-out inputs, with divisions and with polynomials, and encrypted through the real server on some
//! of them.

use std::path::Path;
use std::time::Instant;

use anyhow::Context;
use client::api::ModelEntry;
use client::{Api, LocalServer, Query, Reply, Session, download_bundle};
use models::bundle::split::Row;
use models::model::Mode;
use models::{Bundle, Embedded, Head, Input, Model, ModelDir};
use rayon::prelude::*;
use serde::Serialize;

use crate::engine::millis;
use crate::score::{Score, Tally};
use crate::stats::Runs;

/// A model with what is needed to ask it in clear.
pub struct Subject {
    pub(crate) dir: ModelDir,
    pub(crate) model: Model,
    bundle: Bundle,
    pub(crate) head: Head,
}

/// A running service with one client.
pub(crate) struct Service {
    pub server: LocalServer,
    pub api: Api,
    pub entry: ModelEntry,
    pub session: Session,
    pub key_id: String,
    pub keygen_ms: f64,
    pub upload_bytes: usize,
    /// Holds the keys on disk as long as the server runs.
    pub _data: tempfile::TempDir,
}

/// The model in clear.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Clear {
    /// With divisions and roots.
    pub exact: Score,
    /// With the polynomials that the server evaluates, against the exact one.
    pub polynomial: Score,
}

/// Encrypted evaluations of some inputs, and what they cost.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Encrypted {
    /// Against the polynomial in clear.
    pub score: Score,
    /// The polynomial in clear on the same inputs.
    pub polynomial: Score,
    /// Largest error that is allowed: [`client::TOLERANCE`] of the largest number of the clear answers, if that is
    /// above 1.
    pub tolerance: f64,
    /// Ids of the inputs that have another label than in clear.
    pub disagreements: Vec<String>,
    /// Levels from request to reply, or between bootstraps.
    pub depth: usize,
    /// Bootstraps of one evaluation.
    pub bootstraps: usize,
    /// Milliseconds of an evaluation as the cost model of the server says.
    pub predicted_ms: f64,
    /// Evaluation of one input, as the server measured it.
    pub evaluate: Runs,
    /// From sending an input to having its answer.
    pub round_trip: Runs,
    /// Key generation on the side of the client.
    pub keygen_ms: f64,
    /// Bytes of the evaluation keys, sent once.
    pub upload_bytes: usize,
    /// Bytes of one encrypted input.
    pub request_bytes: usize,
    /// Bytes of one encrypted answer with its report.
    pub reply_bytes: usize,
}

/// `count` rows, evenly over all, so that every domain has its part; all when there are not so many.
pub fn spread(rows: &[Row], count: usize) -> Vec<&Row> {
    let count = count.min(rows.len());
    (0..count)
        .filter_map(|i| rows.get(i * rows.len() / count.max(1)))
        .collect()
}

impl Subject {
    /// Reads weights and bundle of a model folder.
    ///
    /// # Errors
    /// - a file is missing or refused
    pub fn open(dir: ModelDir) -> anyhow::Result<Self> {
        Ok(Self {
            model: dir.model()?,
            bundle: Bundle::open(&dir)?,
            head: dir.head(),
            dir,
        })
    }

    /// What a row asks: its text, or the image whose pixels stand in place of one.
    pub(crate) fn query(&self, row: &Row) -> anyhow::Result<Query> {
        Ok(match self.dir.public().input {
            Input::Text => Query::Text(row.text.clone()),
            Input::Patches { .. } => Query::Image {
                file: row.pixels()?,
                index: 0,
            },
        })
    }

    fn embed(&self, query: &Query) -> models::Result<Embedded> {
        match query {
            Query::Text(text) => self.bundle.embed(text),
            Query::Image { file, .. } => self.bundle.embed_image(file),
        }
    }

    /// What is right: the label of the row, or for every token the one after it, the label of the row after the last. An
    /// embedding has nothing to be right about.
    fn targets(&self, row: &Row, embedded: &Embedded) -> Vec<usize> {
        let inner = embedded.ids.get(1..embedded.tokens).unwrap_or_default();
        match self.head {
            Head::Classification { .. } => vec![row.label],
            Head::Embedding => Vec::new(),
            Head::NextToken => (inner.iter().map(|id| *id as usize)).chain([row.label]).collect(),
        }
    }

    fn tally(&self, answer: &[f64], reference: &[f64], targets: &[usize]) -> Tally {
        Tally::new(
            &self.head,
            self.bundle.config().seq_len,
            answer,
            reference,
            targets,
        )
    }

    /// Evaluates the rows in clear, on all threads of the pool.
    ///
    /// # Errors
    /// - the tokenizer refuses a text, or a row holds no image
    pub fn clear(&self, rows: &[&Row]) -> anyhow::Result<Clear> {
        let pairs: Vec<[Tally; 2]> = rows
            .par_iter()
            .map(|row| {
                let embedded = self.embed(&self.query(row)?)?;
                let targets = self.targets(row, &embedded);
                let [exact, polynomial] =
                    [Mode::Exact, Mode::Polynomial].map(|mode| self.model.forward(&embedded.x, mode));
                let (exact, polynomial) = (exact?, polynomial?);
                Ok([&exact, &polynomial].map(|answer| self.tally(answer, &exact, &targets)))
            })
            .collect::<anyhow::Result<_>>()?;
        let sum = |pick: fn(&[Tally; 2]) -> &Tally| pairs.iter().map(pick).sum::<Tally>().score(&self.head);
        Ok(Clear {
            exact: sum(|[exact, _]| exact),
            polynomial: sum(|[_, polynomial]| polynomial),
        })
    }

    /// A real server in this process with this model alone, and a client with fresh keys, uploaded.
    pub(crate) async fn serve(&self, threads: usize, reply: Reply) -> anyhow::Result<Service> {
        let (data, id) = (tempfile::tempdir()?, self.dir.id());
        let folder = self.dir.path().parent().unwrap_or(Path::new("."));
        let config = server::Config {
            only: Some(id.to_owned()),
            threads,
            ..server::Config::new(folder, data.path())
        };
        let server = LocalServer::start(config).await?;
        let api = Api::new(server.url())?;
        let entry = (api.models().await?.into_iter().next()).context("the server lists no model")?;
        let manifest = api.manifest(id).await?;
        let (bundle, _) = download_bundle(&api, &manifest).await?;
        let start = Instant::now();
        let mut session = Session::generate(manifest, bundle)?;
        if reply == Reply::Label {
            session = session.with_labels(None)?;
        }
        let mut keys = Vec::new();
        session.evaluation_keys(&mut keys, |_, _| ())?;
        let keygen_ms = millis(start);
        let upload_bytes = keys.len();
        let key_id = api.upload_keys(id, keys, |_| ()).await?.key_id;
        Ok(Service {
            server,
            api,
            entry,
            session,
            key_id,
            keygen_ms,
            upload_bytes,
            _data: data,
        })
    }

    /// Sends every row, encrypted, to a real server in this process, over HTTP on a loopback port; `progress(done, total)`.
    ///
    /// # Errors
    /// - the server cannot start or refuses a request
    pub async fn encrypted(
        &self,
        rows: &[&Row],
        threads: usize,
        mut progress: impl FnMut(usize, usize),
    ) -> anyhow::Result<Encrypted> {
        let id = self.dir.id();
        let Service {
            server,
            api,
            entry,
            session,
            key_id,
            keygen_ms,
            upload_bytes,
            _data,
        } = self.serve(threads, Reply::Logits).await?;

        let (mut found, mut clear, mut largest) = (Tally::default(), Tally::default(), 1.0_f64);
        let (mut request_bytes, mut reply_bytes) = (0, 0);
        let (mut disagreements, mut evaluate, mut round_trip) = (Vec::new(), Vec::new(), Vec::new());
        for (done, row) in rows.iter().enumerate() {
            progress(done, rows.len());
            let query = self.query(row)?;
            let request = session.encrypt_query(&query)?;
            request_bytes = request.frames.len();
            let start = Instant::now();
            let reply = api
                .infer(
                    id,
                    &key_id,
                    Reply::Logits,
                    request.frames,
                    session.reply_limit()?,
                    |_| (),
                )
                .await?;
            round_trip.push(millis(start));
            reply_bytes = reply.len();
            let decrypted = session.decrypt(&reply)?;
            evaluate.extend(decrypted.report.map(|report| report.evaluate_us / 1e3));

            let targets = self.targets(row, &self.embed(&query)?);
            let expected = self.model.forward(&request.x, Mode::Polynomial)?;
            largest = expected.iter().map(|v| v.abs()).fold(largest, f64::max);
            let tally = self.tally(&decrypted.outputs, &expected, &targets);
            if !tally.agrees() {
                disagreements.push(row.id.clone());
            }
            found += &tally;
            clear += &self.tally(&expected, &expected, &targets);
        }
        progress(rows.len(), rows.len());
        server.stop().await?;
        Ok(Encrypted {
            score: found.score(&self.head),
            polynomial: clear.score(&self.head),
            tolerance: client::TOLERANCE * largest,
            disagreements,
            depth: entry.depth,
            bootstraps: entry.bootstraps,
            predicted_ms: entry.predicted_ms,
            evaluate: Runs::new(evaluate),
            round_trip: Runs::new(round_trip),
            keygen_ms,
            upload_bytes,
            request_bytes,
            reply_bytes,
        })
    }
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
