//! Exact labels over HTTP at the parameters of the model: what comes back is a label and a report, nothing else.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that meets the unexpected should stop"
)]

use client::{Answer, Api, Error, KeyFolder, LocalServer, Reply, Session, download_bundle};
use he_ops::wire::{Frame, Kind, encode_decision_secret, label_frame_len};
use models::ModelDir;
use models::model::Mode;
use serde_json::{Value, json};
use server::Config;
use std::path::Path;

const MODEL: &str = "sentiment";

/// A copy of the model with this decision.
fn models(folder: &Path, decision: &Value) {
    let (from, to) = (server::models_folder(None).join(MODEL), folder.join(MODEL));
    std::fs::create_dir(&to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, to.join(path.file_name().unwrap())).unwrap();
    }
    let path = to.join("config.json");
    let mut config: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    config["decision"] = decision.clone();
    std::fs::write(path, config.to_string()).unwrap();
}

fn kinds(mut reply: &[u8]) -> Vec<(Kind, u64)> {
    let mut out = Vec::new();
    while !reply.is_empty() {
        let (frame, rest) = Frame::split(reply, u64::MAX).unwrap();
        out.push((frame.header.kind, frame.header.frame_len()));
        reply = rest;
    }
    out
}

fn refused(error: Error) -> (u16, String) {
    match error {
        Error::Refused { status, problem } => (status, format!("{problem:?}")),
        other => panic!("a refusal needed, {other} found"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_label_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    // Yes if the second logit is ahead by more than 1: an operator's threshold, and labels alone.
    models(
        folder.path(),
        &json!({"kind": "threshold", "margin": 1.0, "range": 16.0, "only": true}),
    );
    let data = tempfile::tempdir().unwrap();
    let server = LocalServer::start(Config::new(folder.path(), data.path()))
        .await
        .unwrap();
    let api = Api::new(server.url()).unwrap();
    let manifest = api.manifest(MODEL).await.unwrap();
    let decision = manifest.decision.unwrap();
    assert!(decision.key_bytes < 60_000_000 && decision.resolution < 0.5);
    assert_eq!(Reply::choose(None, &manifest).unwrap(), Reply::Label);
    let (bundle, files) = download_bundle(&api, &manifest).await.unwrap();
    let session = Session::generate(manifest, bundle).unwrap();

    // Without the key of the exact decision there is no label, and logits are not given out.
    let mut plain = Vec::new();
    session.evaluation_keys(&mut plain, |_, _| {}).unwrap();
    let stored = api.upload_keys(MODEL, plain.clone(), |_| {}).await.unwrap();
    let limit = session.reply_limit().unwrap();
    let request = session.encrypt("an utterly charming film").unwrap();
    for (reply, status, word) in [
        (Reply::Label, 422, "exact decision"),
        (Reply::Logits, 403, "label"),
    ] {
        let frames = request.frames.clone();
        let error = api
            .infer(MODEL, &stored.key_id, reply, frames, limit, |_| {})
            .await;
        let (found, problem) = refused(error.unwrap_err());
        assert_eq!(found, status, "{problem}");
        assert!(problem.contains(word), "{problem}");
    }

    // Through a folder, as the command line does it.
    let session = session.with_labels(None).unwrap();
    let home = tempfile::tempdir().unwrap();
    let keys = KeyFolder::new(home.path(), MODEL);
    keys.save(&session, &files, false, |_, _| {}).unwrap();
    assert!(keys.has_labels());
    let session = keys.open().unwrap();
    let bytes = std::fs::read(keys.path().join("evaluation.keys")).unwrap();
    assert_eq!((bytes.len() - plain.len()) / 1_000_000, 30);

    // Damaged, cut or doubled keys are refused.
    let head = &bytes[plain.len()..];
    let mut damaged = bytes.clone();
    damaged[plain.len() + 1000] ^= 1;
    for bad in [
        damaged,
        bytes[..bytes.len() - 9].to_vec(),
        [&bytes, head].concat(),
        head.to_vec(),
    ] {
        let (status, problem) = refused(api.upload_keys(MODEL, bad, |_| {}).await.unwrap_err());
        assert!((400..500).contains(&status), "{problem}");
    }

    // Keys of two key generations: the label names the one it was made with, a secret key the CKKS secret beside it.
    let (bundle, _) = download_bundle(&api, session.manifest()).await.unwrap();
    let strange = Session::generate(session.manifest().clone(), bundle).unwrap();
    let strange = strange.with_labels(None).unwrap();
    let mut mixed = Vec::new();
    strange.evaluation_keys(&mut mixed, |_, _| {}).unwrap();
    let mixed = [&plain, &mixed[plain.len()..]].concat();
    let stored = api.upload_keys(MODEL, mixed, |_| {}).await.unwrap();
    let reply = api
        .infer(MODEL, &stored.key_id, Reply::Label, request.frames, limit, |_| {})
        .await
        .unwrap();
    let error = session.decrypt(&reply).unwrap_err().to_string();
    assert!(error.contains("other keys"), "{error}");
    let label_key = keys.path().join("label.key");
    let own = std::fs::read(&label_key).unwrap();
    let other = encode_decision_secret(strange.params(), strange.decision_secret().unwrap());
    std::fs::write(&label_key, &other).unwrap();
    let error = keys.open().err().unwrap().to_string();
    assert!(error.contains("another secret key"), "{error}");
    std::fs::write(&label_key, own).unwrap();

    let stored = api.upload_keys(MODEL, bytes, |_| {}).await.unwrap();
    assert_eq!(stored.keys, session.key_count());
    let model = ModelDir::open(folder.path().join(MODEL))
        .unwrap()
        .model()
        .unwrap();
    for text in [
        "an utterly charming film",
        "the plot makes no sense and bored me",
        "a film",
    ] {
        let request = session.encrypt(text).unwrap();
        let clear = model.forward(&request.x, Mode::Polynomial).unwrap();
        let reply = api
            .infer(MODEL, &stored.key_id, Reply::Label, request.frames, limit, |_| {})
            .await
            .unwrap();
        let found = kinds(&reply);
        assert_eq!(found.len(), 2);
        assert_eq!(found[0].0, Kind::Report);
        assert_eq!(found[1], (Kind::Label, label_frame_len(2)));
        let decrypted = session.decrypt(&reply).unwrap();
        assert!(decrypted.outputs.is_empty());
        let (contradiction, resolution) = session.difference(&decrypted, &clear);
        assert!(contradiction <= resolution, "{text}: {clear:?}");
        let Answer::Label { label, index } = session.answer_of(&decrypted, 0) else {
            panic!("a label needed");
        };
        if decision.config.lead(&clear) > resolution {
            assert_eq!(
                index,
                Some(usize::from(clear[1] - clear[0] > 1.0)),
                "{text}: {clear:?}"
            );
            assert_eq!(
                label.as_deref(),
                [Some("negative"), Some("positive")][index.unwrap()]
            );
        }
        let report = decrypted.report.unwrap();
        assert!(
            report
                .ops
                .iter()
                .any(|op| op.layer == "exact decision" && op.total_us > 0.0)
        );
    }
    server.stop().await.unwrap();
}
