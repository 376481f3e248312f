//! One function per verb.

#[cfg(feature = "demo")]
use crate::args::Demo;
use crate::args::{
    Decrypt, Encrypt, ImageArgs, Infer, Inspect, KeyArgs, Keygen, KeysRemote, KeysUpload, Models,
};
use crate::files;
use client::terminal::Progress;
use client::ui::{Ui, size, time};
use client::{
    Answer, Api, Error, KeyFolder, KeySet, Query, Reply, Result, Session, Upload, cosine, download_bundle,
};
use he_ops::trace::LatencyReport;
use he_ops::wire::{Frame, decode_report};
use models::Head;
use serde_json::{Value, json};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

fn folder(args: &KeyArgs) -> KeyFolder {
    KeyFolder::new(&files::key_home(args.keys.as_ref()), &args.model)
}

#[cfg(feature = "demo")]
pub async fn demo(args: Demo, progress: Progress) -> Result<()> {
    let models = server::models_folder(args.models);
    let options = client::demo::Options {
        model: args.model,
        models,
        threads: args.threads,
        reply: args.reply,
    };
    let query = query(args.text.as_deref(), &args.image)?;
    let demo = client::demo::run(&options, &query, Arc::new(progress)).await?;
    if args.json {
        files::print_json(&demo)?;
    } else {
        files::print(&demo.to_string())?;
    }
    demo.check()
}

pub async fn keygen(args: Keygen, progress: Progress) -> Result<()> {
    let folder = folder(&args.keys);
    folder.check_free(args.force)?;
    let api = Api::new(&args.server.server)?;
    let manifest = api.manifest(&args.keys.model).await?;
    // From the parameters as checked here, not as the server describes them.
    let params = manifest.checked_params()?;
    progress.note(&format!("  model {}: {}", args.keys.model, params.security()));
    let (bundle, public) = download_bundle(&api, &manifest).await?;
    let reply = Reply::choose(args.reply, &manifest)?;
    let clock = Instant::now();
    let mut session = Session::generate(manifest, bundle)?;
    if reply == Reply::Label {
        session = session.with_labels(None)?;
    }
    let count = session.key_count();
    progress.start("keys", count as u64, false);
    let keys = folder.save(&session, &public, args.force, |done, _| progress.at(done as u64))?;
    let elapsed = clock.elapsed();
    let path = folder.path().display();
    let text = format!(
        "secret key and {count} evaluation keys ({}) in {}",
        size(keys.bytes as usize),
        time(elapsed)
    );
    progress.done("keys", &text);
    progress.note(&format!(
        "  in {path}; secret.key is yours alone, evaluation.keys is for the server"
    ));
    if args.json {
        let ms = elapsed.as_secs_f64() * 1e3;
        let folder = folder.path();
        files::print_json(&json!({
            "model": args.keys.model, "folder": folder, "key_id": keys.key_id, "keys": count,
            "bytes": keys.bytes, "keygen_ms": ms,
        }))?;
    }
    Ok(())
}

/// The text as given or from stdin, or the image.
fn query(text: Option<&str>, image: &ImageArgs) -> Result<Query> {
    if let Some(path) = &image.image {
        return Ok(Query::Image {
            file: files::read(path)?,
            index: image.index,
        });
    }
    let text = match text {
        None | Some("-") => {
            let bytes = files::read_text()?;
            String::from_utf8(bytes).map_err(|e| Error::Io {
                path: "stdin".into(),
                source: std::io::Error::new(
                    std::io::ErrorKind::InvalidData,
                    format!("UTF-8 text needed: {e}"),
                ),
            })?
        }
        Some(text) => text.to_owned(),
    };
    Ok(Query::Text(text))
}

pub fn encrypt(args: &Encrypt, progress: &Progress) -> Result<()> {
    files::check_output(&args.output.out, args.output.force)?;
    let query = query(args.text.as_deref(), &args.image)?;
    let session = folder(&args.keys).open()?;
    let request = session.encrypt_query(&query)?;
    let most = session.manifest().max_tokens();
    if request.truncated {
        progress.note(&format!(
            "note: the text is longer than the {most} tokens that the model takes; its end was cut"
        ));
    }
    if session.manifest().head == Head::NextToken {
        progress.note(&format!(
            "note: {} of {most} tokens; what follows them: client decrypt --position {}",
            request.tokens,
            request.tokens.saturating_sub(1)
        ));
        if session.decision_secret().is_some() && request.tokens < most {
            progress.note(&format!(
                "note: a label (infer --reply label) is that of position {}, which this text does not reach",
                most.saturating_sub(1)
            ));
        }
    }
    files::write(&args.output.out, &request.frames)
}

pub async fn infer(args: &Infer, progress: Progress) -> Result<()> {
    files::check_output(&args.output.out, args.output.force)?;
    if let Some(report) = &args.report {
        files::check_output(report, args.output.force)?;
    }
    let frames = files::read(&args.file)?;
    let name = args.file.display().to_string();
    let api = Api::new(&args.server.server)?;
    let keys = folder(&args.keys);
    let manifest = keys.manifest()?;
    Session::check_request(&manifest, &name, &frames)?;
    let asked = Reply::choose(args.reply, &manifest)?;
    if asked == Reply::Label && !keys.has_labels() {
        return Err(Error::NoLabelKey {
            model: args.keys.model.clone(),
        });
    }
    let params = manifest.checked_params()?;
    let progress = Arc::new(progress);
    let key_id = ensure_uploaded(&api, &keys, &args.keys.model, &progress).await?.0;
    progress.start("evaluate", manifest.plan.steps as u64, false);
    let limit = client::session::reply_limit(&manifest, &params)?;
    let clock = Instant::now();
    let on = |s: &client::api::Standing| progress.at(s.done as u64);
    let reply = api
        .infer(&args.keys.model, &key_id, asked, frames, limit, on)
        .await?;
    let report = report_of(&reply)?;
    let (trip, evaluate) = (time(clock.elapsed()), report.evaluate_us / 1e3);
    progress.done(
        "evaluate",
        &format!("answered in {trip}, {evaluate:.0} ms of it on ciphertexts"),
    );
    if let Some(path) = &args.report {
        let json = serde_json::to_vec_pretty(&report).unwrap_or_default();
        files::write(path, &json)?;
    }
    files::write(&args.output.out, &reply)
}

/// The report at the front of a reply.
fn report_of(reply: &[u8]) -> Result<LatencyReport> {
    let wrong = |source| Error::Mismatch {
        what: "reply".into(),
        source,
    };
    let (frame, _) = Frame::split(reply, reply.len() as u64).map_err(wrong)?;
    decode_report(&frame).map_err(wrong)
}

pub fn decrypt(args: &Decrypt) -> Result<()> {
    if let Some(path) = &args.vector {
        files::check_output(path, args.force)?;
    }
    let session = folder(&args.keys).open()?;
    let bits = args.round.unwrap_or(match session.manifest().head {
        Head::Embedding => 12,
        Head::Classification { .. } | Head::NextToken => 8,
    });
    let mut answers = Vec::new();
    for path in &args.files {
        let decrypted = session.decrypt(&files::read(path)?)?;
        let answer = session.answer_of(&decrypted, args.position.unwrap_or(usize::MAX));
        answers.push((answer.rounded(bits), decrypted.report.filter(|_| args.report)));
    }
    if let Some(path) = &args.vector {
        write_vector(path, &answers)?;
    }
    let cosines = cosines(&answers);
    if args.json {
        let documents: Vec<Value> = answers
            .iter()
            .map(|(answer, report)| {
                let mut document = json!(answer);
                if let Some(fields) = document.as_object_mut() {
                    fields.insert("rounded_to_bits".into(), json!(bits));
                    if let Some(report) = report {
                        fields.insert("report".into(), json!(report));
                    }
                }
                document
            })
            .collect();
        return match documents.as_slice() {
            [one] => files::print_json(one),
            all => files::print_json(&json!({ "answers": all, "cosines": cosines })),
        };
    }
    let mut text = String::new();
    for (answer, report) in &answers {
        text += &format!("{answer}\n");
        if let Some(report) = report {
            text += &format!("\n{report}\n");
        }
    }
    for Cosine {
        first,
        second,
        cosine,
    } in &cosines
    {
        text += &format!("cosine of answers {first} and {second}: {cosine:.4}\n");
    }
    files::print(&text)
}

/// How near two embeddings are.
#[derive(serde::Serialize)]
struct Cosine {
    /// Number of an answer, from 1.
    first: usize,
    /// Number of another.
    second: usize,
    /// The cosine of their angle.
    cosine: f64,
}

/// Of every pair of embeddings.
fn cosines(answers: &[(Answer, Option<LatencyReport>)]) -> Vec<Cosine> {
    let mut vectors = Vec::new();
    for (number, (answer, _)) in (1..).zip(answers) {
        if let Answer::Embedding { vector } = answer {
            vectors.push((number, vector));
        }
    }
    let pairs = vectors.iter().enumerate().flat_map(|(i, (second, b))| {
        vectors.iter().take(i).map(|(first, a)| Cosine {
            first: *first,
            second: *second,
            cosine: cosine(a, b),
        })
    });
    pairs.collect()
}

/// The one embedding, as its name says: `.json`, or else a file of numpy.
fn write_vector(path: &Path, answers: &[(Answer, Option<LatencyReport>)]) -> Result<()> {
    let [(Answer::Embedding { vector }, _)] = answers else {
        let needed = "the answer of one text by an embedding model needed for --vector";
        return Err(Error::Io {
            path: path.to_owned(),
            source: std::io::Error::new(std::io::ErrorKind::InvalidInput, needed),
        });
    };
    let json = path.extension().is_some_and(|extension| extension == "json");
    let bytes = if json {
        serde_json::to_vec(vector).unwrap_or_default()
    } else {
        client::answer::npy(vector)
    };
    files::write(path, &bytes)
}

pub async fn models(args: &Models) -> Result<()> {
    let models = Api::new(&args.server.server)?.models().await?;
    if args.json {
        return files::print_json(&models);
    }
    let mut text = format!(
        "{:<24} {:>6} {:>6} {:>12} {:>12} {:>12} {:>10}\n",
        "model", "depth", "keys", "key size", "request", "memory", "predicted"
    );
    for m in models {
        // A full ciphertext is twice what a client of this release sends.
        let (keys, request) = (size(m.key_bytes as usize), size(m.request_bytes as usize / 2));
        text += &format!(
            "{:<24} {:>6} {:>6} {keys:>12} {request:>12} {:>12} {:>8.1} s\n",
            m.id,
            m.depth,
            m.keys,
            size(m.memory_bytes as usize),
            m.predicted_ms / 1e3
        );
    }
    files::print(&text)
}

/// Uploads the keys of a folder unless the server has them. True when they were sent.
async fn ensure_uploaded(
    api: &Api,
    folder: &KeyFolder,
    model: &str,
    progress: &Arc<Progress>,
) -> Result<(String, bool)> {
    let (path, KeySet { bytes, key_id }) = folder.evaluation_keys()?;
    if api.key_status(&key_id).await?.is_some() {
        return Ok((key_id, false));
    }
    progress.start("upload", bytes, true);
    let clock = Instant::now();
    let bar = Arc::clone(progress);
    let upload = Upload::open(&path).await?;
    let stored = api.upload_keys(model, upload, move |sent| bar.at(sent)).await?;
    let text = format!(
        "{} of evaluation keys in {}",
        size(bytes as usize),
        time(clock.elapsed())
    );
    progress.done("upload", &text);
    Ok((stored.key_id, true))
}

pub async fn keys_upload(args: &KeysUpload, progress: Progress) -> Result<()> {
    let KeysRemote { keys, server, json } = &args.remote;
    let api = Api::new(&server.server)?;
    let folder = folder(keys);
    let (_, KeySet { bytes, key_id: id }) = folder.evaluation_keys()?;
    let sent = if args.dry_run {
        progress.note(&format!(
            "would send {} ({bytes} bytes) to {}",
            size(bytes as usize),
            api.base()
        ));
        false
    } else {
        // Refuses keys of another release before they are sent.
        folder.manifest()?;
        let progress = Arc::new(progress);
        let sent = ensure_uploaded(&api, &folder, &keys.model, &progress).await?.1;
        if !sent {
            progress.note("the server has these keys already");
        }
        sent
    };
    if *json {
        files::print_json(&json!({ "key_id": id, "bytes": bytes, "sent": sent, "dry_run": args.dry_run }))
    } else {
        files::print(&format!("{id}\n"))
    }
}

pub async fn keys_status(args: &KeysRemote) -> Result<()> {
    let (_, KeySet { bytes, key_id: id }) = folder(&args.keys).evaluation_keys()?;
    let info = Api::new(&args.server.server)?.key_status(&id).await?;
    if args.json {
        return files::print_json(&json!({ "key_id": id, "stored": info.is_some(), "info": info }));
    }
    files::print(&match info {
        Some(info) => format!("stored: {} keys, {} bytes, {id}\n", info.keys, info.bytes),
        None => format!("not on this server: {bytes} bytes to upload, {id}\n"),
    })
}

pub async fn keys_rm(args: &KeysRemote, progress: &Progress) -> Result<()> {
    let (_, KeySet { key_id: id, .. }) = folder(&args.keys).evaluation_keys()?;
    Api::new(&args.server.server)?.remove_keys(&id).await?;
    progress.note("erased on the server; the files here stay");
    if args.json {
        files::print_json(&json!({ "key_id": id, "removed": true }))
    } else {
        Ok(())
    }
}

pub fn inspect(args: &Inspect) -> Result<()> {
    let info = client::inspect::inspect(&args.file.display().to_string(), &mut files::open(&args.file)?)?;
    if args.json {
        files::print_json(&info)
    } else {
        files::print(&info.to_string())
    }
}
