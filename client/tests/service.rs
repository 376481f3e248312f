//! The real server over real sockets, with real keys at the parameters of the model: what it answers, what it refuses,
//! and that a refusal harms nothing.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that meets the unexpected should stop"
)]

use client::{Api, Error, LocalServer, Session, download_bundle};
use he_ops::ckks::{Encoder, Encryptor};
use he_ops::rlwe::{KeyGenerator, KeyPurpose};
use he_ops::wire::{
    Frame, HEADER_LEN, Header, Kind, encode_ciphertext, encode_key, encode_seeded_ciphertext, write_frame,
};
use models::ModelDir;
use models::model::Mode;
use num_complex::Complex64;
use reqwest::{Client, Response};
use serde_json::Value;
use server::Config;
use std::path::Path;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

const MODEL: &str = "sentiment";
const TEXT: &str = "an utterly charming film";

/// Keys are made once for all tests of this file.
struct Fixture {
    session: Session,
    keys: Vec<u8>,
}

static FIXTURE: OnceLock<Fixture> = OnceLock::new();

fn config(data: &Path) -> Config {
    let mut config = Config::new(server::models_folder(None), data);
    config.only = Some(MODEL.into());
    config
}

async fn start(config: Config) -> (LocalServer, Api, &'static Fixture) {
    let server = LocalServer::start(config).await.unwrap();
    let api = Api::new(server.url()).unwrap();
    let manifest = api.manifest(MODEL).await.unwrap();
    let (bundle, _) = download_bundle(&api, &manifest).await.unwrap();
    let fixture = FIXTURE.get_or_init(|| {
        let session = Session::generate(manifest, bundle).unwrap();
        let mut keys = Vec::new();
        session.evaluation_keys(&mut keys, |_, _| {}).unwrap();
        Fixture { session, keys }
    });
    (server, api, fixture)
}

fn http() -> Client {
    Client::builder()
        .no_proxy()
        .pool_max_idle_per_host(0)
        .build()
        .unwrap()
}

fn frames(mut bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut out = Vec::new();
    while !bytes.is_empty() {
        let (frame, rest) = Frame::split(bytes, u64::MAX).unwrap();
        out.push(bytes[..frame.payload.len() + HEADER_LEN].to_vec());
        bytes = rest;
    }
    out
}

/// The problem document of an answer, checked for its form.
async fn problem(answer: Response) -> (u16, String, Value) {
    let status = answer.status().as_u16();
    let kind = answer.headers()["content-type"].to_str().unwrap().to_owned();
    let body: Value = serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap();
    assert_eq!(kind, "application/problem+json", "{body}");
    assert_eq!(body["status"], status, "{body}");
    for field in ["title", "detail", "hint"] {
        assert!(
            body[field].as_str().is_some_and(|text| text.len() > 3),
            "{field}: {body}"
        );
    }
    (
        status,
        body["type"]
            .as_str()
            .unwrap()
            .trim_start_matches("/problems/")
            .to_owned(),
        body,
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_after_a_restart_and_during_a_drain() {
    let data = tempfile::tempdir().unwrap();
    let (first, api, fixture) = start(config(data.path())).await;
    let stored = api
        .upload_keys(MODEL, fixture.keys.clone(), |_| {})
        .await
        .unwrap();
    assert_eq!(stored.bytes, fixture.keys.len() as u64);
    assert_eq!(stored.keys, fixture.session.manifest().keys.len());
    assert_eq!(stored.key_id, blake3::hash(&fixture.keys).to_hex().to_string());
    // the same keys again are no error and no second copy
    assert_eq!(
        api.upload_keys(MODEL, fixture.keys.clone(), |_| {})
            .await
            .unwrap(),
        stored
    );
    first.stop().await.unwrap();

    let (second, api, _) = start(config(data.path())).await;
    assert_eq!(
        api.key_status(&stored.key_id).await.unwrap(),
        Some(stored.clone())
    );
    let request = fixture.session.encrypt(TEXT).unwrap();
    let url = format!("{}/v1/models/{MODEL}/infer", second.url());
    let sent = http()
        .post(url)
        .header("content-type", "application/octet-stream")
        .header("x-key-id", &stored.key_id)
        .header("x-request-id", "followed-request")
        .body(request.frames);
    let sent = tokio::spawn(sent.send());
    let standing = format!("{}/v1/requests/followed-request", second.url());
    until("the evaluation starts", async || {
        let answer = http().get(&standing).send().await.unwrap();
        let body: Value = serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap();
        body["state"] == "evaluating" && body["done"].as_u64() > Some(0)
    })
    .await;
    // a server that is told to stop finishes what it has
    let base = second.url().to_owned();
    let stopped = tokio::spawn(second.stop());
    let answer = sent.await.unwrap().unwrap();
    assert_eq!(answer.status(), 200);
    let timing = answer.headers()["server-timing"].to_str().unwrap().to_owned();
    for phase in [
        "receive;dur=",
        "queue;dur=",
        "decode;dur=",
        "keys;dur=",
        "evaluate;dur=",
        "encode;dur=",
    ] {
        assert!(timing.contains(phase), "{phase} in {timing}");
    }
    let reply = answer.bytes().await.unwrap();
    stopped.await.unwrap().unwrap();
    assert!(http().get(format!("{base}/health")).send().await.is_err());

    let decrypted = fixture.session.decrypt(&reply).unwrap();
    let report = decrypted.report.unwrap();
    let dir = ModelDir::open(server::models_folder(None).join(MODEL)).unwrap();
    let clear = dir
        .model()
        .unwrap()
        .forward(&request.x, Mode::Polynomial)
        .unwrap();
    for (encrypted, clear) in decrypted.outputs.iter().zip(&clear) {
        assert!((encrypted - clear).abs() < 1.0 / 128.0, "{encrypted} {clear}");
    }
    let sum: f64 = report.ops.iter().map(|op| op.total_us).sum();
    assert!(
        (sum / report.evaluate_us - 1.0).abs() < 0.02,
        "{sum} of {}",
        report.evaluate_us
    );
}

async fn until(what: &str, mut done: impl AsyncFnMut() -> bool) {
    let start = Instant::now();
    while !done().await {
        assert!(
            start.elapsed() < Duration::from_secs(60),
            "waited too long until {what}"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_requests_get_a_problem_and_harm_nothing() {
    let data = tempfile::tempdir().unwrap();
    let (server, api, fixture) = start(config(data.path())).await;
    let key_id = api
        .upload_keys(MODEL, fixture.keys.clone(), |_| {})
        .await
        .unwrap()
        .key_id;
    let (session, params) = (&fixture.session, fixture.session.params());
    let good = session.encrypt(TEXT).unwrap().frames;

    let encrypt_at = |level: usize, scale: f64| {
        let plaintext = Encoder::new(params)
            .encode(&[Complex64::new(0.5, 0.0); 4], level, scale)
            .unwrap();
        let ciphertext = Encryptor::new(params, session.secret())
            .unwrap()
            .encrypt(&plaintext)
            .unwrap();
        encode_seeded_ciphertext(params, &ciphertext).unwrap()
    };
    let level = session.manifest().inputs[0].level;
    let scale = params.scale(level).unwrap();
    let full = {
        let plaintext = Encoder::new(params)
            .encode(&[Complex64::new(0.5, 0.0); 4], 0, scale)
            .unwrap();
        let seeded = Encryptor::new(params, session.secret())
            .unwrap()
            .encrypt(&plaintext)
            .unwrap();
        encode_ciphertext(params, &seeded.expand(params).unwrap()).unwrap()
    };
    let changed = |at: usize, with: u8| {
        let mut bytes = good.clone();
        bytes[at] = with;
        bytes
    };
    // the digest is right, the residues are not
    let mut high = good[HEADER_LEN..].to_vec();
    high[40..48].fill(0xff);
    let high = write_frame(Kind::SeededCiphertext, params.digest(), &high);
    let limit = he_ops::wire::ciphertext_frame_limit(params, level, 2).unwrap() as usize;
    let other = write_frame(Kind::SeededCiphertext, [7; 32], &good[HEADER_LEN..]);
    let report = write_frame(Kind::Report, params.digest(), b"{}");

    let cases: Vec<(&str, Vec<u8>, u16, &str)> = vec![
        ("empty", Vec::new(), 400, "malformed-frame"),
        ("garbage", vec![0x5a; 5000], 400, "malformed-frame"),
        ("cut in the header", good[..50].to_vec(), 400, "malformed-frame"),
        (
            "cut in the payload",
            good[..good.len() - 1].to_vec(),
            400,
            "malformed-frame",
        ),
        (
            "one byte too many",
            [&good[..], b"x"].concat(),
            400,
            "malformed-frame",
        ),
        (
            "damaged",
            changed(good.len() - 1, good[good.len() - 1] ^ 1),
            400,
            "malformed-frame",
        ),
        ("another version", changed(4, 1), 409, "wrong-version"),
        ("an unknown type", changed(6, 99), 400, "malformed-frame"),
        ("a residue above its prime", high, 400, "malformed-frame"),
        ("other parameters", other, 409, "wrong-parameters"),
        ("oversized", vec![0x5a; limit + 1], 413, "too-large"),
        ("a report", report, 422, "wrong-type"),
        (
            "too low a level",
            encrypt_at(level - 1, scale),
            422,
            "wrong-level",
        ),
        ("a full ciphertext of another level", full, 422, "wrong-level"),
        (
            "another scale",
            encrypt_at(level, scale * 2.0),
            422,
            "wrong-scale",
        ),
    ];
    let infer = format!("{}/v1/models/{MODEL}/infer", server.url());
    for (name, body, status, kind) in cases {
        let answer = http()
            .post(&infer)
            .header("x-key-id", &key_id)
            .body(body)
            .send()
            .await
            .unwrap();
        let (found, slug, document) = problem(answer).await;
        assert_eq!((found, slug.as_str()), (status, kind), "{name}: {document}");
        if status == 422 || status == 413 {
            assert!(
                document["needed"].is_string() && document["found"].is_string(),
                "{name}: {document}"
            );
        }
    }

    let post = |path: &str| http().post(format!("{}{path}", server.url()));
    let get = |path: &str| http().get(format!("{}{path}", server.url()));
    let model = format!("/v1/models/{MODEL}");
    let absent = "ab".repeat(32);
    let oversized = good.len() as u64 * 5;
    let requests = vec![
        (
            "unknown model",
            post("/v1/models/none/infer").body(good.clone()),
            404,
            "unknown-model",
        ),
        (
            "no key id",
            post(&format!("{model}/infer")).body(good.clone()),
            400,
            "bad-request",
        ),
        (
            "absent key",
            post(&format!("{model}/infer"))
                .header("x-key-id", &absent)
                .body(good.clone()),
            404,
            "unknown-key",
        ),
        (
            "no digest",
            post(&format!("{model}/infer"))
                .header("x-key-id", "../x")
                .body(good.clone()),
            404,
            "unknown-key",
        ),
        (
            "json",
            post(&format!("{model}/infer"))
                .header("content-type", "application/json")
                .body("{}"),
            415,
            "content-type",
        ),
        (
            "request id",
            post(&format!("{model}/infer"))
                .header("x-request-id", "a b")
                .body(good.clone()),
            400,
            "bad-request",
        ),
        (
            "announced",
            post(&format!("{model}/infer")).body(vec![0; oversized as usize]),
            413,
            "too-large",
        ),
        (
            "unknown manifest",
            get("/v1/models/none/manifest"),
            404,
            "unknown-model",
        ),
        (
            "weights",
            get(&format!("{model}/files/model.safetensors")),
            404,
            "not-found",
        ),
        (
            "traversal",
            get(&format!("{model}/files/..%2f..%2fCargo.toml")),
            404,
            "not-found",
        ),
        ("unknown path", get("/v2/anything"), 404, "not-found"),
        (
            "wrong method",
            get(&format!("{model}/infer")),
            405,
            "method-not-allowed",
        ),
        ("unknown request", get("/v1/requests/none"), 404, "not-found"),
        (
            "unknown key",
            get(&format!("/v1/keys/{absent}")),
            404,
            "unknown-key",
        ),
        (
            "upload without model",
            post("/v1/keys").body("x"),
            400,
            "bad-request",
        ),
        (
            "upload for another model",
            post("/v1/keys?model=none").body("x"),
            404,
            "unknown-model",
        ),
    ];
    for (name, request, status, kind) in requests {
        let (found, slug, document) = problem(request.send().await.unwrap()).await;
        assert_eq!((found, slug.as_str()), (status, kind), "{name}: {document}");
    }
    // still there, keys included, and the answer to a good question is not an error of ours
    assert_eq!(get("/ready").send().await.unwrap().status(), 200);
    assert!(api.key_status(&key_id).await.unwrap().is_some());
    server.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn uploads_must_be_exactly_the_keys_of_the_plan() {
    let data = tempfile::tempdir().unwrap();
    let (server, api, fixture) = start(config(data.path())).await;
    let (session, params) = (&fixture.session, fixture.session.params());
    let keys = frames(&fixture.keys);
    let generator = KeyGenerator::new(params, session.secret()).unwrap();
    let config = session.manifest().key_config();
    let (purpose, level) = config.iter().last().unwrap();
    let KeyPurpose::Galois(element) = purpose else {
        panic!("a rotation key expected")
    };
    let lower = encode_key(params, &generator.galois_key(element, level - 1).unwrap()).unwrap();
    let unused = (1..200)
        .map(|k| params.galois_element(k * 3))
        .find(|e| !config.galois.contains_key(e))
        .unwrap();
    let unused = encode_key(params, &generator.galois_key(unused, level).unwrap()).unwrap();

    let most = &keys[..keys.len() - 1];
    let replaced = |with: &[u8]| [most.concat(), with.to_vec()].concat();
    let last = keys.last().unwrap();
    let decision_bytes = session.manifest().decision.as_ref().unwrap().key_bytes as usize;
    let high = {
        let mut payload = last[HEADER_LEN..].to_vec();
        payload[40..60].fill(0xff);
        write_frame(Kind::KeySwitchKey, params.digest(), &payload)
    };
    let cases: Vec<(&str, Vec<u8>, u16, &str, &str)> = vec![
        ("one missing", most.concat(), 422, "wrong-keys", "missing"),
        ("none", Vec::new(), 422, "wrong-keys", "missing"),
        ("one twice", replaced(&keys[0]), 422, "wrong-keys", "two keys"),
        ("one too low", replaced(&lower), 422, "wrong-keys", "level"),
        ("one unused", replaced(&unused), 422, "wrong-keys", "does not use"),
        (
            "cut",
            fixture.keys[..fixture.keys.len() - 5].to_vec(),
            400,
            "malformed-frame",
            "truncated",
        ),
        ("garbage", vec![1; 100_000], 400, "malformed-frame", "magic"),
        (
            "a high residue",
            replaced(&high),
            400,
            "malformed-frame",
            "residue",
        ),
        (
            "other parameters",
            replaced(&write_frame(Kind::KeySwitchKey, [1; 32], b"x")),
            409,
            "wrong-parameters",
            "parameters",
        ),
        (
            "a ciphertext",
            session.encrypt(TEXT).unwrap().frames,
            422,
            "wrong-type",
            "needed",
        ),
        (
            // The limit leaves room for the key of the exact decision, which is larger than this one.
            "one too many",
            [&fixture.keys[..], last].concat(),
            422,
            "wrong-keys",
            "two keys",
        ),
        (
            "larger than all keys together",
            [&fixture.keys[..], &vec![0; decision_bytes + (1 << 20)]].concat(),
            413,
            "too-large",
            "larger",
        ),
    ];
    for (name, body, status, kind, word) in cases {
        let url = format!("{}/v1/keys?model={MODEL}", server.url());
        let (found, slug, document) = problem(http().post(url).body(body).send().await.unwrap()).await;
        assert_eq!((found, slug.as_str()), (status, kind), "{name}: {document}");
        assert!(
            document["detail"].as_str().unwrap().contains(word),
            "{name}: {document}"
        );
    }
    // nothing of all that was kept
    let mut left: Vec<_> = std::fs::read_dir(data.path().join("keys"))
        .unwrap()
        .map(|e| e.unwrap().file_name())
        .collect();
    left.sort();
    assert_eq!(left, ["incoming", "lock"]);
    // and no second server may take the folder, whose start removes unfinished uploads
    let second = LocalServer::start(self::config(data.path())).await;
    assert!(
        second
            .err()
            .unwrap()
            .to_string()
            .contains("another server uses this data folder")
    );
    assert_eq!(
        std::fs::read_dir(data.path().join("keys/incoming"))
            .unwrap()
            .count(),
        0
    );

    let stored = api
        .upload_keys(MODEL, fixture.keys.clone(), |_| {})
        .await
        .unwrap();
    api.remove_keys(&stored.key_id).await.unwrap();
    assert_eq!(api.key_status(&stored.key_id).await.unwrap(), None);
    assert!(matches!(
        api.remove_keys(&stored.key_id).await,
        Err(Error::Refused { status: 404, .. })
    ));
    server.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_queue_says_so_and_a_client_that_leaves_frees_its_place() {
    let data = tempfile::tempdir().unwrap();
    let mut config = config(data.path());
    (config.workers, config.queue) = (1, 0);
    let (server, api, fixture) = start(config).await;
    let key_id = api
        .upload_keys(MODEL, fixture.keys.clone(), |_| {})
        .await
        .unwrap()
        .key_id;
    let frame = fixture.session.encrypt(TEXT).unwrap().frames;
    let base = server.url().to_owned();
    let infer = move |id: &str, frame: Vec<u8>| {
        let request = http().post(format!("{base}/v1/models/{MODEL}/infer"));
        request
            .header("x-key-id", &key_id)
            .header("x-request-id", id)
            .body(frame)
            .send()
    };
    let first = tokio::spawn(infer("the-first-one", frame.clone()));
    until("the first is evaluated", async || {
        let url = format!("{}/v1/requests/the-first-one", server.url());
        let answer = http().get(url).send().await.unwrap().bytes().await.unwrap();
        serde_json::from_slice::<Value>(&answer).unwrap()["state"] == "evaluating"
    })
    .await;
    let answer = infer("the-second-one", frame.clone()).await.unwrap();
    let wait: u64 = answer.headers()["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((1..=600).contains(&wait));
    let (status, kind, _) = problem(answer).await;
    assert_eq!((status, kind.as_str()), (429, "busy"));

    first.abort();
    let mut damaged = frame.clone();
    *damaged.last_mut().unwrap() ^= 1;
    // a frame that is refused at once, but only by a worker
    until("the place is free", async || {
        infer("the-third-one", damaged.clone()).await.unwrap().status() == 400
    })
    .await;
    server.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_manifest_is_cacheable_and_secure() {
    let data = tempfile::tempdir().unwrap();
    let (server, api, fixture) = start(config(data.path())).await;
    let url = format!("{}/v1/models/{MODEL}/manifest", server.url());
    let answer = http().get(&url).send().await.unwrap();
    let etag = answer.headers()["etag"].clone();
    assert_eq!(
        http()
            .get(&url)
            .header("if-none-match", etag)
            .send()
            .await
            .unwrap()
            .status(),
        304
    );
    assert!(
        http()
            .get(&url)
            .header("origin", "http://evil")
            .send()
            .await
            .unwrap()
            .headers()
            .get("access-control-allow-origin")
            .is_none()
    );

    let manifest = api.manifest(MODEL).await.unwrap();
    assert!(manifest.checked_params().unwrap().is_secure());
    let list = api.models().await.unwrap();
    assert_eq!(
        (list.len(), list[0].id.as_str(), list[0].keys),
        (1, MODEL, manifest.keys.len())
    );
    let exact: u64 = manifest.keys.iter().map(|key| key.bytes).sum();
    assert_eq!(list[0].key_bytes, exact);
    let sent = fixture.keys.len() as u64;
    assert!(
        sent >= exact && sent < exact + 200 * manifest.keys.len() as u64,
        "{sent} {exact}"
    );
    let header = Header::parse(&fixture.session.encrypt("x").unwrap().frames).unwrap();
    let longest = fixture.session.encrypt(&"a long text ".repeat(100)).unwrap();
    assert!(longest.truncated);
    assert_eq!(
        Header::parse(&longest.frames).unwrap().payload_len,
        header.payload_len,
        "the length must not show"
    );
    server.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_stops_sending_is_dropped_and_leaves_nothing() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let data = tempfile::tempdir().unwrap();
    let mut config = config(data.path());
    config.idle_timeout = Duration::from_millis(500);
    let server = LocalServer::start(config).await.unwrap();
    let address = server.url().trim_start_matches("http://").to_owned();
    let head = format!(
        "POST /v1/keys?model={MODEL} HTTP/1.1\r\nhost: {address}\r\ncontent-length: 1000000\r\n\r\nHEIS"
    );
    let incoming = data.path().join("keys/incoming");
    let count = || std::fs::read_dir(&incoming).unwrap().count();

    // one hangs up in the middle of an upload
    let mut gone = tokio::net::TcpStream::connect(&address).await.unwrap();
    gone.write_all(head.as_bytes()).await.unwrap();
    until("the upload starts", async || count() == 1).await;
    drop(gone);
    until("the upload is cleaned up", async || count() == 0).await;

    // one stays and says nothing
    let mut silent = tokio::net::TcpStream::connect(&address).await.unwrap();
    silent.write_all(head.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    silent.read_to_end(&mut answer).await.unwrap();
    let answer = String::from_utf8(answer).unwrap();
    assert!(
        answer.starts_with("HTTP/1.1 408") && answer.contains("/problems/timeout"),
        "{answer}"
    );
    assert_eq!(count(), 0);
    server.stop().await.unwrap();
}
