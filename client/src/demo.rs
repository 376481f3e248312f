//! The whole way of one input: keys, upload, encryption, evaluation by the real server, decryption; beside it the same
//! model in clear.

use crate::answer::{Answer, cosine};
use crate::api::{Api, Upload, download_bundle};
use crate::error::{Error, Result};
use crate::local::LocalServer;
use crate::session::{Query, Reply, Session};
use crate::ui::{Ui, size, time};
use he_ops::trace::LatencyReport;
use models::ModelDir;
use models::model::Mode;
use serde::Serialize;
use server::Config;
use std::fmt;
use std::io::BufWriter;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What to run the demo with.
#[derive(Debug, Clone)]
pub struct Options {
    /// The model's id.
    pub model: String,
    /// Folder of model folders: the server's, and where the clear model is read.
    pub models: PathBuf,
    /// Threads of the server; 0 takes all cores.
    pub threads: usize,
    /// What to ask for; the model's usual answer where nothing is set.
    pub reply: Option<Reply>,
}

/// What came out.
#[derive(Debug, Clone, Serialize)]
pub struct Demo {
    /// The text; empty for an image.
    pub text: String,
    /// The model.
    pub model: String,
    /// The text was cut to the length of the model.
    pub truncated: bool,
    /// The answer of the encrypted evaluation.
    #[serde(flatten)]
    pub answer: Answer,
    /// That of the same polynomial model in clear.
    pub clear: Answer,
    /// Largest difference between an encrypted number of the answer and a clear one, embeddings before they are normed; for
    /// a label, by how much the clear numbers contradict it.
    pub max_error: f64,
    /// Largest difference that counts as agreement; for a label its resolution.
    pub tolerance: f64,
    /// Starting the server: compiling the plan.
    pub start_ms: f64,
    /// Secret key and evaluation keys.
    pub keygen_ms: f64,
    /// Uploading the keys, the server's check of them included.
    pub upload_ms: f64,
    /// Tokenizing, embedding, encoding, encrypting.
    pub encrypt_ms: f64,
    /// From sending the request to having the reply.
    pub round_trip_ms: f64,
    /// The homomorphic evaluation alone, as measured by the server.
    pub evaluate_ms: f64,
    /// Decrypting and decoding.
    pub decrypt_ms: f64,
    /// Evaluation keys made and uploaded.
    pub keys: usize,
    /// Their bytes; sent once per client.
    pub upload_bytes: u64,
    /// Bytes of the encrypted input.
    pub request_bytes: usize,
    /// Bytes of the encrypted answer with its report.
    pub reply_bytes: usize,
    /// Parameters and their security, in words.
    pub security: String,
    /// Where the time of the server went.
    pub report: LatencyReport,
}

/// Runs the demo.
///
/// # Errors
/// Any of this crate's; a wide difference to the clear model is not among them, the caller decides on it with
/// [`Demo::check`].
pub async fn run(options: &Options, query: &Query, ui: Arc<dyn Ui>) -> Result<Demo> {
    let text = match query {
        Query::Text(text) if text.trim().is_empty() => return Err(Error::EmptyText),
        Query::Text(text) => text.as_str(),
        Query::Image { .. } => "",
    };
    let dir = ModelDir::open(options.models.join(&options.model))?;
    let data = tempfile::tempdir().map_err(Error::io(std::env::temp_dir()))?;
    let mut config = Config::new(&options.models, data.path());
    config.only = Some(options.model.clone());
    config.threads = options.threads;

    ui.start("server", 0, false);
    let (server, start) = timed(LocalServer::start(config)).await;
    let server = server?;
    let api = Api::new(server.url())?;
    let manifest = api.manifest(&options.model).await?;
    let security = manifest.checked_params()?.security().to_string();
    let (bundle, _) = download_bundle(&api, &manifest).await?;
    ui.done(
        "server",
        &format!("model compiled and served on {} in {}", server.url(), time(start)),
    );

    let asked = Reply::choose(options.reply, &manifest)?;
    let clock = Instant::now();
    let mut session = Session::generate(manifest, bundle)?;
    if asked == Reply::Label {
        session = session.with_labels(None)?;
    }
    let count = session.key_count();
    ui.start("keys", count as u64, false);
    let path = data.path().join("evaluation.keys");
    let file = std::fs::File::create(&path).map_err(Error::io(&path))?;
    let keys = session.evaluation_keys(&mut BufWriter::new(file), |done, _| ui.at(done as u64))?;
    let keygen = clock.elapsed();
    let upload_bytes = keys.bytes;
    ui.done(
        "keys",
        &format!("secret key and {count} evaluation keys made in {}", time(keygen)),
    );

    ui.start("upload", upload_bytes, true);
    let sent = Arc::clone(&ui);
    let (stored, upload) = timed(async {
        let keys = Upload::open(&path).await?;
        api.upload_keys(&options.model, keys, move |n| sent.at(n)).await
    })
    .await;
    let key_id = stored?.key_id;
    std::fs::remove_file(&path).map_err(Error::io(&path))?;
    ui.done(
        "upload",
        &format!(
            "{} of evaluation keys, once per client, in {}",
            size(upload_bytes as usize),
            time(upload)
        ),
    );

    let clock = Instant::now();
    let request = session.encrypt_query(query)?;
    let encrypt = clock.elapsed();
    if asked == Reply::Label {
        session.check_label(&request)?;
    }
    let request_bytes = request.frames.len();
    ui.done(
        "encrypt",
        &format!(
            "the input as {} of ciphertext in {}",
            size(request_bytes),
            time(encrypt)
        ),
    );

    ui.start("evaluate", session.manifest().plan.steps as u64, false);
    let limit = session.reply_limit()?;
    let infer = api.infer(&options.model, &key_id, asked, request.frames, limit, |s| {
        ui.at(s.done as u64)
    });
    let (reply, round_trip) = timed(infer).await;
    let reply = reply?;
    let clock = Instant::now();
    let decrypted = session.decrypt(&reply)?;
    let decrypt = clock.elapsed();
    let missing = || Error::Protocol {
        url: server.url().to_owned(),
        reason: "the reply has no report".into(),
    };
    let report = decrypted.report.clone().ok_or_else(missing)?;
    let evaluate_ms = report.evaluate_us / 1e3;
    ui.done(
        "evaluate",
        &format!(
            "{} steps on ciphertexts in {evaluate_ms:.0} ms",
            session.manifest().plan.steps
        ),
    );

    let clear = dir.model()?.forward(&request.x, Mode::Polynomial)?;
    let (max_error, tolerance) = session.difference(&decrypted, &clear);
    let position = request.tokens.saturating_sub(1);
    let (answer, clear) = (
        session.answer_of(&decrypted, position),
        session.answer(clear, position),
    );
    server.stop().await?;
    Ok(Demo {
        text: text.to_owned(),
        model: options.model.clone(),
        truncated: request.truncated,
        answer,
        clear,
        max_error,
        tolerance,
        start_ms: ms(start),
        keygen_ms: ms(keygen),
        upload_ms: ms(upload),
        encrypt_ms: ms(encrypt),
        round_trip_ms: ms(round_trip),
        evaluate_ms,
        decrypt_ms: ms(decrypt),
        keys: count,
        upload_bytes,
        request_bytes,
        reply_bytes: reply.len(),
        security,
        report,
    })
}

impl Demo {
    /// Whether the encrypted answer is the clear one, up to [`Self::tolerance`].
    ///
    /// # Errors
    /// [`Error::Precision`].
    pub fn check(&self) -> Result<()> {
        // Written so that a NaN is refused.
        if self.max_error <= self.tolerance {
            return Ok(());
        }
        Err(Error::Precision {
            needed: self.tolerance,
            found: self.max_error,
        })
    }
}

impl fmt::Display for Demo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.text.is_empty() {
            writeln!(f, "\n  \"{}\"", shorten(&self.text, 90))?;
        }
        if self.truncated {
            writeln!(f, "  (longer than the model takes; its end was cut)")?;
        }
        let row = |f: &mut fmt::Formatter<'_>, answer: &Answer, how: &str| {
            let Some(p) = answer.probability() else {
                return writeln!(f, "    {:<42}  {how}", answer.to_string());
            };
            let filled = (p.clamp(0.0, 1.0) * 30.0).round() as usize;
            writeln!(
                f,
                "    {:<10} {:>5.1} %  {}{}  {how}",
                answer.name(),
                p * 100.0,
                "█".repeat(filled),
                "░".repeat(30 - filled)
            )
        };
        writeln!(f)?;
        row(f, &self.answer, "on encrypted data, by the server")?;
        row(f, &self.clear, "in clear, by the same model")?;
        let agree = match (&self.answer, &self.clear) {
            (Answer::Embedding { vector: a }, Answer::Embedding { vector: b }) => {
                format!("cosine of the two {:.6}", cosine(a, b))
            }
            (a, b) if a.name() == b.name() => "same answer".to_owned(),
            _ => "DIFFERENT answers".to_owned(),
        };
        match self.answer {
            Answer::Label { .. } => writeln!(
                f,
                "\n  {agree}; only the class came back, told apart from {:.2} of a logit on",
                self.tolerance
            )?,
            _ => {
                let bits = -self.max_error.max(f64::MIN_POSITIVE).log2();
                writeln!(
                    f,
                    "\n  {agree}; largest difference {:.1e} ({bits:.1} bits)",
                    self.max_error
                )?;
            }
        }
        writeln!(f, "  {}", self.security)?;

        writeln!(f, "\n  {:<29} times", "sizes")?;
        let sizes = [
            ("keys (once)", self.upload_bytes as usize),
            ("request", self.request_bytes),
            ("reply", self.reply_bytes),
        ];
        let times = [
            ("make keys", self.keygen_ms),
            ("upload", self.upload_ms),
            ("encrypt", self.encrypt_ms),
            ("round trip", self.round_trip_ms),
            ("decrypt", self.decrypt_ms),
        ];
        for (i, (name, value)) in times.iter().enumerate() {
            let (left, bytes) = sizes.get(i).map_or(("", String::new()), |(n, b)| (*n, size(*b)));
            writeln!(f, "    {left:<12} {bytes:>10}      {name:<12} {value:>9.1} ms")?;
        }
        writeln!(f, "\n  Where the time of the server went\n")?;
        for line in self.report.to_string().lines() {
            writeln!(f, "{}", format!("    {line}").trim_end())?;
        }
        Ok(())
    }
}

async fn timed<T>(work: impl Future<Output = T>) -> (T, Duration) {
    let clock = Instant::now();
    let out = work.await;
    (out, clock.elapsed())
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

fn shorten(text: &str, length: usize) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.chars().count() <= length {
        return line;
    }
    line.chars().take(length - 3).chain("...".chars()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_texts_are_shortened() {
        assert_eq!(shorten("a  b\n c", 10), "a b c");
        assert_eq!(shorten("ääääääääää", 6), "äää...");
    }
}
