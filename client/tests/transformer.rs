//! Transformers with several ciphertexts in and out, over the real server: every kind of answer is that of the f64 forward.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that meets the unexpected should stop"
)]

use client::{Answer, Api, Error, LocalServer, Session, download_bundle};
use he_ops::wire::{Frame, HEADER_LEN, ciphertext_frame_limit};
use models::reference::Mode;
use models::transformer::synthetic_files::{word, write};
use models::transformer::{Activation, Head, Mask, NormKind, TransformerConfig, shape, synthetic};
use models::{Layout, ModelDir, Padding};
use server::Config;
use std::path::Path;

/// One shallow layer, so that a leveled plan has it in seconds.
fn shallow(dim: usize, n_heads: usize, hidden_dim: usize, seq_len: usize, head: Head) -> TransformerConfig {
    let mut config = shape("bert-tiny").unwrap();
    (config.dim, config.n_heads, config.hidden_dim) = (dim, n_heads, hidden_dim);
    (config.n_layers, config.seq_len, config.vocab_size) = (1, seq_len, 50);
    config.id2label.clear();
    config.attention.power = 2;
    config.norm.kind = NormKind::BatchNorm;
    config.activation = Activation::Quadratic;
    config.head = head;
    config.precision_bits = 6;
    config
}

fn make(models: &Path, id: &str, config: &TransformerConfig) -> ModelDir {
    let path = models.join(id);
    std::fs::create_dir(&path).unwrap();
    let (config, weights) = synthetic::calibrated(config, 5).unwrap();
    write(&path, &config, &weights).unwrap();
    ModelDir::open(path).unwrap()
}

struct Asked {
    session: Session,
    request: Vec<u8>,
    reply: Vec<u8>,
    answer: Answer,
}

/// Keys, upload, request, reply, and the answer held against the f64 forward.
async fn ask(models: &Path, dir: &ModelDir, text: &str) -> Asked {
    let data = tempfile::tempdir().unwrap();
    let mut config = Config::new(models, data.path());
    config.only = Some(dir.id().to_owned());
    let server = LocalServer::start(config).await.unwrap();
    let api = Api::new(server.url()).unwrap();
    let manifest = api.manifest(dir.id()).await.unwrap();
    let (bundle, _) = download_bundle(&api, &manifest).await.unwrap();
    let session = Session::generate(manifest, bundle).unwrap();
    let keys = session.evaluation_keys(|_, _| {}).unwrap();
    let key_id = api.upload_keys(dir.id(), keys, |_| {}).await.unwrap().key_id;
    let request = session.encrypt(text).unwrap();
    Session::check_request(session.manifest(), "request", &request.frames).unwrap();
    let limit = session.reply_limit().unwrap();
    let sent = request.frames.clone();
    let reply = api.infer(dir.id(), &key_id, sent, limit, |_| {}).await.unwrap();
    server.stop().await.unwrap();
    let (answer, report) = session.decrypt(&reply).unwrap();
    assert!(
        report
            .unwrap()
            .ops
            .iter()
            .any(|op| op.layer == "layer0.attention")
    );
    let clear = dir.load().unwrap().forward(&request.x, Mode::Polynomial).unwrap();
    let clear = session.answer(clear).unwrap();
    let difference = answer.difference(&clear);
    assert!(
        difference < 1.0 / 128.0,
        "{difference}: {answer}, {clear} in clear"
    );
    Asked {
        session,
        request: request.frames,
        reply,
        answer,
    }
}

/// The bytes of every frame.
fn frames(mut bytes: &[u8]) -> Vec<&[u8]> {
    let mut out = Vec::new();
    while !bytes.is_empty() {
        let (frame, rest) = Frame::split(bytes, u64::MAX).unwrap();
        out.push(&bytes[..frame.payload.len() + HEADER_LEN]);
        bytes = rest;
    }
    out
}

#[tokio::test(flavor = "multi_thread")]
async fn an_embedding_of_several_ciphertexts() {
    let models = tempfile::tempdir().unwrap();
    let mut config = shallow(528, 33, 16, 128, Head::Embedding);
    config.padding = Padding::Repeat;
    let dir = make(models.path(), "wide", &config);
    let asked = ask(models.path(), &dir, "w7 w3 w49 w3").await;
    let Answer::Embedding { embedding, norm } = &asked.answer else {
        panic!("{}", asked.answer)
    };
    let length: f64 = embedding.iter().map(|v| v * v).sum();
    assert!(embedding.len() == 528 && (length - 1.0).abs() < 1e-9 && *norm > 0.0);

    let manifest = asked.session.manifest();
    let Layout::Blocks(_) = manifest.layout else {
        panic!("{:?}", manifest.layout)
    };
    let (sent, got) = (frames(&asked.request), frames(&asked.reply));
    assert_eq!(
        (sent.len(), got.len()),
        (manifest.inputs.len(), 1 + manifest.outputs.len())
    );
    let ports = (manifest.inputs.len(), manifest.outputs.len());
    assert!(
        ports.0 > 1 && ports.1 > 1,
        "{ports:?}, {:?}",
        manifest.plan.bootstrap
    );
    let text = |error: Error| error.to_string();
    // one ciphertext is missing, one is too many, two are in each other's place
    assert!(Session::check_request(manifest, "request", sent[0]).is_err());
    let many = [&asked.request, sent[0]].concat();
    let refused = Session::check_request(manifest, "request", &many).unwrap_err();
    assert!(text(refused).contains("request"));
    assert!(
        asked
            .session
            .decrypt(&asked.reply[..asked.reply.len() - got[2].len()])
            .is_err()
    );
    assert!(asked.session.decrypt(&[&asked.reply, got[1]].concat()).is_err());
    // another key gives noise, and noise is no answer
    let other = Session::generate(manifest.clone(), models::Bundle::open(&dir).unwrap()).unwrap();
    assert!(matches!(
        other.decrypt(&asked.reply),
        Err(Error::OtherKeys { .. })
    ));
    let limit = ciphertext_frame_limit(asked.session.params(), manifest.inputs[0].level, 2).unwrap();
    assert!(sent.iter().all(|frame| (frame.len() as u64) < limit));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_next_token_of_a_causal_model() {
    let models = tempfile::tempdir().unwrap();
    let mut config = shallow(16, 2, 32, 8, Head::NextToken { vocab: 50 });
    config.attention.mask = Mask::Causal;
    config.attention.visible_mean = true;
    let dir = make(models.path(), "causal", &config);
    let asked = ask(models.path(), &dir, "w7 w3 w49").await;
    let Answer::Next { next, logits } = &asked.answer else {
        panic!("{}", asked.answer)
    };
    assert_eq!((next.len(), logits.len()), (5, 50));
    assert!(next.is_sorted_by(|a, b| a.probability >= b.probability));
    let best = (0..50).max_by(|a, b| logits[*a].total_cmp(&logits[*b])).unwrap();
    assert_eq!(next[0].token, word(best));
    let other = Session::generate(
        asked.session.manifest().clone(),
        models::Bundle::open(&dir).unwrap(),
    );
    assert!(matches!(
        other.unwrap().decrypt(&asked.reply),
        Err(Error::OtherKeys { .. })
    ));
}
