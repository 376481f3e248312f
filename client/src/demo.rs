//! The whole way of one text: keys, upload, encryption, evaluation by the real server, decryption; beside it the same
//! model in clear.

use crate::answer::{Answer, TOLERANCE};
use crate::api::Api;
use crate::error::{Error, Result};
use crate::folder::download_bundle;
use crate::local::LocalServer;
use crate::session::Session;
use he_ops::trace::LatencyReport;
use models::ModelDir;
use models::reference::Mode;
use serde::Serialize;
use server::Config;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Hears how far a long step is.
pub trait Ui: Send + Sync {
    /// A step begins; `total` in bytes or pieces.
    fn start(&self, what: &str, total: u64, bytes: bool);
    /// So much of it is done.
    fn at(&self, done: u64);
    /// It is over; `text` sums it up.
    fn done(&self, what: &str, text: &str);
}

/// What to run the demo with.
#[derive(Debug, Clone)]
pub struct Options {
    /// The model's id.
    pub model: String,
    /// Folder of model folders: the server's, and where the clear model is read.
    pub models: PathBuf,
    /// Threads of the server; 0 takes all cores.
    pub threads: usize,
}

/// What came out.
#[derive(Debug, Clone, Serialize)]
pub struct Demo {
    /// The text.
    pub text: String,
    /// The model.
    pub model: String,
    /// The text was cut to the length of the model.
    pub truncated: bool,
    /// Answer of the encrypted evaluation.
    #[serde(flatten)]
    pub answer: Answer,
    /// Answer of the same polynomial model in clear.
    pub clear: Answer,
    /// Largest difference between their numbers.
    pub max_error: f64,
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
    pub upload_bytes: usize,
    /// Bytes of the encrypted text.
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
pub async fn run(options: &Options, text: &str, ui: Arc<dyn Ui>) -> Result<Demo> {
    if text.trim().is_empty() {
        return Err(Error::EmptyText);
    }
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

    let count = manifest.keys.len();
    ui.start("keys", count as u64, false);
    let clock = Instant::now();
    let session = Session::generate(manifest, bundle)?;
    let keys = session.evaluation_keys(|done, _| ui.at(done as u64))?;
    let keygen = clock.elapsed();
    let upload_bytes = keys.len();
    ui.done(
        "keys",
        &format!("secret key and {count} evaluation keys made in {}", time(keygen)),
    );

    ui.start("upload", upload_bytes as u64, true);
    let sent = Arc::clone(&ui);
    let (stored, upload) = timed(api.upload_keys(&options.model, keys, move |n| sent.at(n))).await;
    let key_id = stored?.key_id;
    ui.done(
        "upload",
        &format!(
            "{} of evaluation keys, once per client, in {}",
            size(upload_bytes),
            time(upload)
        ),
    );

    let clock = Instant::now();
    let request = session.encrypt(text)?;
    let encrypt = clock.elapsed();
    let request_bytes = request.frames.len();
    ui.done(
        "encrypt",
        &format!(
            "the text as {} of ciphertext in {}",
            size(request_bytes),
            time(encrypt)
        ),
    );

    ui.start("evaluate", session.manifest().plan.steps as u64, false);
    let limit = session.reply_limit()?;
    let infer = api.infer(&options.model, &key_id, request.frames, limit, |s| {
        ui.at(s.done as u64)
    });
    let (reply, round_trip) = timed(infer).await;
    let reply = reply?;
    let clock = Instant::now();
    let (answer, report) = session.decrypt(&reply)?;
    let decrypt = clock.elapsed();
    let missing = || Error::Protocol {
        url: server.url().to_owned(),
        reason: "the reply has no report".into(),
    };
    let report = report.ok_or_else(missing)?;
    let evaluate_ms = report.evaluate_us / 1e3;
    ui.done(
        "evaluate",
        &format!(
            "{} steps on ciphertexts in {evaluate_ms:.0} ms",
            session.manifest().plan.steps
        ),
    );

    let clear = dir.load()?.forward(&request.x, Mode::Polynomial)?;
    let clear = session.answer(clear)?;
    server.stop().await?;
    Ok(Demo {
        text: text.trim().to_owned(),
        model: options.model.clone(),
        truncated: request.truncated,
        max_error: answer.difference(&clear),
        answer,
        clear,
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
    /// Whether the encrypted answer is the clear one, up to [`TOLERANCE`].
    ///
    /// # Errors
    /// [`Error::Precision`].
    pub fn check(&self) -> Result<()> {
        // Written so that a NaN is refused.
        if self.max_error <= TOLERANCE {
            return Ok(());
        }
        Err(Error::Precision {
            needed: TOLERANCE,
            found: self.max_error,
        })
    }
}

impl fmt::Display for Demo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "\n  \"{}\"", shorten(&self.text, 90))?;
        if self.truncated {
            writeln!(f, "  (longer than the model takes; its end was cut)")?;
        }
        writeln!(f)?;
        self.answer.row(f, "on encrypted data, by the server")?;
        self.clear.row(f, "in clear, by the same model")?;
        let bits = -self.max_error.max(f64::MIN_POSITIVE).log2();
        let agree = match (self.answer.label(), self.clear.label()) {
            (Some(found), Some(clear)) if found == clear => "same label; ",
            (Some(_), Some(_)) => "DIFFERENT labels; ",
            _ => "",
        };
        writeln!(
            f,
            "\n  {agree}largest difference {:.1e} ({bits:.1} bits)",
            self.max_error
        )?;
        writeln!(f, "  {}", self.security)?;

        writeln!(f, "\n  {:<29} times", "sizes")?;
        let sizes = [
            ("keys (once)", self.upload_bytes),
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

/// A duration for people.
#[must_use]
pub fn time(duration: Duration) -> String {
    let s = duration.as_secs_f64();
    if s < 1.0 {
        format!("{:.0} ms", s * 1e3)
    } else {
        format!("{s:.1} s")
    }
}

/// A size for people.
#[must_use]
pub fn size(bytes: usize) -> String {
    let b = bytes as f64;
    match bytes {
        0..=9_999 => format!("{bytes} B"),
        10_000..=999_999 => format!("{:.1} kB", b / 1e3),
        _ => format!("{:.2} MB", b / 1e6),
    }
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
    fn numbers_for_people() {
        assert_eq!(
            (
                size(80).as_str(),
                size(147_000).as_str(),
                size(52_428_800).as_str()
            ),
            ("80 B", "147.0 kB", "52.43 MB")
        );
        assert_eq!(
            (
                time(Duration::from_millis(12)).as_str(),
                time(Duration::from_millis(2345)).as_str()
            ),
            ("12 ms", "2.3 s")
        );
        assert_eq!(shorten("a  b\n c", 10), "a b c");
        assert_eq!(shorten("ääääääääää", 6), "äää...");
    }
}
