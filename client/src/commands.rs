//! One function per verb.

use crate::args::{Decrypt, Demo, Encrypt, Infer, Inspect, KeyArgs, Keygen, KeysRemote, KeysUpload, Models};
use crate::files;
use crate::ui::Progress;
use client::demo::{Options, Ui, size, time};
use client::{Api, Error, KeyFolder, Result, Session, download_bundle};
use he_ops::trace::LatencyReport;
use he_ops::wire::{Frame, decode_report};
use serde_json::json;
use std::sync::Arc;
use std::time::Instant;

fn folder(args: &KeyArgs) -> KeyFolder {
    KeyFolder::new(&files::key_home(args.keys.as_ref()), &args.model)
}

pub async fn demo(args: Demo, progress: Progress) -> Result<()> {
    let models = server::models_folder(args.models);
    let options = Options {
        model: args.model,
        models,
        threads: args.threads,
    };
    let demo = client::demo::run(&options, &args.text, Arc::new(progress)).await?;
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
    let count = manifest.keys.len();
    progress.start("keys", count as u64, false);
    let clock = Instant::now();
    let session = Session::generate(manifest, bundle)?;
    let keys = session.evaluation_keys(|done, _| progress.at(done as u64))?;
    folder.save(&session, &public, &keys, args.force)?;
    let elapsed = clock.elapsed();
    let path = folder.path().display();
    let text = format!(
        "secret key and {count} evaluation keys ({}) in {}",
        size(keys.len()),
        time(elapsed)
    );
    progress.done("keys", &text);
    progress.note(&format!(
        "  in {path}; secret.key is yours alone, evaluation.keys is for the server"
    ));
    if args.json {
        let key_id = blake3::hash(&keys).to_hex().to_string();
        let ms = elapsed.as_secs_f64() * 1e3;
        let folder = folder.path();
        files::print_json(&json!({
            "model": args.keys.model, "folder": folder, "key_id": key_id, "keys": count,
            "bytes": keys.len(), "keygen_ms": ms,
        }))?;
    }
    Ok(())
}

pub fn encrypt(args: &Encrypt, progress: &Progress) -> Result<()> {
    files::check_output(&args.output.out, args.output.force)?;
    let text = match args.text.as_deref() {
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
    let session = folder(&args.keys).open()?;
    let request = session.encrypt(&text)?;
    if request.truncated {
        let most = session.manifest().max_tokens;
        progress.note(&format!(
            "note: the text is longer than the {most} tokens that the model takes; its end was cut"
        ));
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
    let params = manifest.checked_params()?;
    let progress = Arc::new(progress);
    let key_id = ensure_uploaded(&api, &keys, &args.keys.model, &progress).await?.0;
    progress.start("evaluate", manifest.plan.steps as u64, false);
    let limit = Session::reply_limit_of(&manifest, &params)?;
    let clock = Instant::now();
    let on = |s: &client::api::Standing| progress.at(s.done as u64);
    let reply = api.infer(&args.keys.model, &key_id, frames, limit, on).await?;
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
    let reply = files::read(&args.file)?;
    let session = folder(&args.keys).open()?;
    let (mut answer, report) = session.decrypt(&reply)?;
    answer.round(args.round);
    let report = report.filter(|_| args.report);
    if args.json {
        let mut document = json!(answer);
        if let Some(fields) = document.as_object_mut() {
            fields.insert("rounded_to_bits".into(), json!(args.round));
            if let Some(report) = report {
                fields.insert("report".into(), json!(report));
            }
        }
        return files::print_json(&document);
    }
    let report = report.map(|r| format!("\n{r}")).unwrap_or_default();
    files::print(&format!("{answer}\n{report}"))
}

pub async fn models(args: &Models) -> Result<()> {
    let models = Api::new(&args.server.server)?.models().await?;
    if args.json {
        return files::print_json(&models);
    }
    let mut text = format!(
        "{:<24} {:>6} {:>6} {:>12} {:>12}\n",
        "model", "depth", "keys", "key size", "request"
    );
    for m in models {
        // A full ciphertext is twice what a client of this release sends.
        let (keys, request) = (size(m.key_bytes as usize), size(m.request_bytes as usize / 2));
        text += &format!(
            "{:<24} {:>6} {:>6} {keys:>12} {request:>12}\n",
            m.id, m.depth, m.keys
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
    let (keys, id) = folder.evaluation_keys()?;
    if api.key_status(&id).await?.is_some() {
        return Ok((id, false));
    }
    let bytes = keys.len();
    progress.start("upload", bytes as u64, true);
    let clock = Instant::now();
    let bar = Arc::clone(progress);
    let stored = api.upload_keys(model, keys, move |sent| bar.at(sent)).await?;
    let text = format!("{} of evaluation keys in {}", size(bytes), time(clock.elapsed()));
    progress.done("upload", &text);
    Ok((stored.key_id, true))
}

pub async fn keys_upload(args: &KeysUpload, progress: Progress) -> Result<()> {
    let KeysRemote { keys, server, json } = &args.remote;
    let api = Api::new(&server.server)?;
    let folder = folder(keys);
    let (bytes, id) = folder.evaluation_keys()?;
    let sent = if args.dry_run {
        progress.note(&format!(
            "would send {} ({} bytes) to {}",
            size(bytes.len()),
            bytes.len(),
            api.base()
        ));
        false
    } else {
        let progress = Arc::new(progress);
        let sent = ensure_uploaded(&api, &folder, &keys.model, &progress).await?.1;
        if !sent {
            progress.note("the server has these keys already");
        }
        sent
    };
    if *json {
        files::print_json(
            &json!({ "key_id": id, "bytes": bytes.len(), "sent": sent, "dry_run": args.dry_run }),
        )
    } else {
        files::print(&format!("{id}\n"))
    }
}

pub async fn keys_status(args: &KeysRemote) -> Result<()> {
    let (bytes, id) = folder(&args.keys).evaluation_keys()?;
    let info = Api::new(&args.server.server)?.key_status(&id).await?;
    if args.json {
        return files::print_json(&json!({ "key_id": id, "stored": info.is_some(), "info": info }));
    }
    files::print(&match info {
        Some(info) => format!("stored: {} keys, {} bytes, {id}\n", info.keys, info.bytes),
        None => format!("not on this server: {} bytes to upload, {id}\n", bytes.len()),
    })
}

pub async fn keys_rm(args: &KeysRemote, progress: &Progress) -> Result<()> {
    let (_, id) = folder(&args.keys).evaluation_keys()?;
    Api::new(&args.server.server)?.remove_keys(&id).await?;
    progress.note("erased on the server; the files here stay");
    if args.json {
        files::print_json(&json!({ "key_id": id, "removed": true }))
    } else {
        Ok(())
    }
}

pub fn inspect(args: &Inspect) -> Result<()> {
    let info = client::inspect::inspect(&args.file.display().to_string(), &files::read(&args.file)?)?;
    if args.json {
        files::print_json(&info)
    } else {
        files::print(&info.to_string())
    }
}
