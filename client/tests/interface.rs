//! What scripts read, named in one place: the keys of every JSON document of the client, its exit codes, and every path, status
//! and header of the service. The golden text is `interface.txt` beside this file.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that meets the unexpected should stop"
)]

mod common;
#[path = "common/shape.rs"]
mod shape;

use client::answer::Prediction;
use client::error::EXIT_CODES;
use client::{Answer, LocalServer};
use common::ok;
use reqwest::header::HeaderMap;
use reqwest::{Client, RequestBuilder};
use serde_json::{Value, json};
use server::Config;
use shape::{golden, shape};
use std::fs;
use std::path::Path;

const MODEL: &str = "sentiment";

/// The text of the golden file, as it grows.
#[derive(Default)]
struct Interface(String);

impl Interface {
    fn json(&mut self, title: &str, document: &Value) {
        self.0 += &format!("{title}\n{}\n", shape(document));
    }

    /// Runs the client and names its document; returns it.
    fn command(&mut self, title: &str, args: &[&str], stdin: &[u8]) -> Value {
        let document = serde_json::from_slice(&ok(args, stdin).stdout).unwrap();
        self.json(&format!("client {title}"), &document);
        document
    }

    async fn http(&mut self, title: &str, request: RequestBuilder) -> (HeaderMap, Vec<u8>) {
        let answer = request.send().await.unwrap();
        let headers = answer.headers().clone();
        let mut names: Vec<String> = headers.keys().map(ToString::to_string).collect();
        names.retain(|name| {
            !["date", "content-length", "connection", "transfer-encoding"].contains(&name.as_str())
        });
        names.sort();
        let kind = headers
            .get("content-type")
            .map_or("", |kind| kind.to_str().unwrap());
        self.0 += &format!("{title} -> {} {kind}\n", answer.status().as_u16());
        self.0 += &format!("  headers: {}\n", names.join(", "));
        let json = kind.contains("json");
        let body = answer.bytes().await.unwrap().to_vec();
        if json {
            self.0 += &shape(&serde_json::from_slice(&body).unwrap());
        }
        self.0.push('\n');
        (headers, body)
    }
}

#[test]
fn what_scripts_read_is_golden() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let mut config = Config::new(server::models_folder(None), dir.path().join("data"));
    config.only = Some(MODEL.into());
    let server = runtime.block_on(LocalServer::start(config)).unwrap();
    let url = server.url().to_owned();
    let (keys, report) = (dir.path().join("keys"), dir.path().join("report.json"));
    let (keys, report) = (keys.to_str().unwrap(), report.to_str().unwrap());
    let mut all = Interface::default();

    all.0 += "exit codes of the client\n";
    for (code, meaning) in EXIT_CODES.iter().enumerate() {
        all.0 += &format!("  {code}  {meaning}\n");
    }
    all.0.push('\n');

    let remote = ["--keys", keys, "--server", &url];
    let with = |args: &[&'static str]| [args, &remote].concat();
    let home = ["--keys", keys];
    all.command("models --json", &["models", "--server", &url, "--json"], b"");
    let made = all.command(
        "keygen --json",
        &with(&["keygen", "--reply", "label", "--json"]),
        b"",
    );
    all.command("keys upload --json", &with(&["keys", "upload", "--json"]), b"");
    all.command("keys status --json", &with(&["keys", "status", "--json"]), b"");
    let request = ok(&[&["encrypt", "a charming film"], &home[..]].concat(), b"").stdout;
    let infer = [&with(&["infer"])[..], &["--report", report]].concat();
    let reply = ok(&infer, &request).stdout;
    let label = ok(&with(&["infer", "--reply", "label"]), &request).stdout;
    let measured = serde_json::from_slice(&fs::read(report).unwrap()).unwrap();
    all.json("client infer --report FILE", &measured);
    let decrypt = [&["decrypt", "--json"], &home[..]].concat();
    all.command("decrypt --json, of a classifier", &decrypt, &reply);
    all.command("decrypt --json, of a label", &decrypt, &label);
    let reported = [&decrypt[..], &["--report"]].concat();
    all.command("decrypt --json --report", &reported, &reply);
    let file = dir.path().join("reply.he");
    fs::write(&file, &reply).unwrap();
    let file = file.to_str().unwrap();
    all.command(
        "decrypt --json, of two files",
        &[&decrypt[..], &[file, file]].concat(),
        b"",
    );
    let embedding = Answer::Embedding { vector: vec![0.5] };
    all.json("an embedding in place of a class", &json!(embedding));
    let tokens = vec![Prediction {
        id: 1,
        text: "a".into(),
        probability: 0.5,
    }];
    let next = Answer::NextToken { position: 0, tokens };
    all.json("a next token in place of a class", &json!(next));
    all.command(
        "inspect --json, of a request",
        &["inspect", "-", "--json"],
        &request,
    );
    let evaluation = Path::new(keys).join(MODEL).join("evaluation.keys");
    let evaluation = evaluation.to_str().unwrap();
    all.command(
        "inspect --json, of evaluation keys",
        &["inspect", evaluation, "--json"],
        b"",
    );
    all.command(
        "demo --json",
        &["demo", "a dull and lifeless mess", "--json", "--quiet"],
        b"",
    );
    let uploaded = fs::read(evaluation).unwrap();
    runtime.block_on(service(
        &mut all,
        &url,
        made["key_id"].as_str().unwrap(),
        request,
        uploaded,
    ));
    all.command("keys rm --json", &with(&["keys", "rm", "--json"]), b"");
    runtime.block_on(server.stop()).unwrap();
    golden(
        &Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interface.txt"),
        &all.0,
    );
}

/// Every path of the service.
async fn service(all: &mut Interface, url: &str, key_id: &str, request: Vec<u8>, keys: Vec<u8>) {
    let http = Client::builder().no_proxy().build().unwrap();
    let get = |path: &str| http.get(format!("{url}{path}"));
    let post = |path: &str| http.post(format!("{url}{path}"));
    all.http("GET /health", get("/health")).await;
    all.http("GET /ready", get("/ready")).await;
    all.http("GET /v1/models", get("/v1/models")).await;
    let manifest = "/v1/models/sentiment/manifest";
    let (headers, _) = all.http("GET /v1/models/{id}/manifest", get(manifest)).await;
    let known = get(manifest).header("if-none-match", &headers["etag"]);
    all.http("GET /v1/models/{id}/manifest, if-none-match", known)
        .await;
    for name in ["tokenizer.json", "embeddings.safetensors"] {
        let file = get(&format!("/v1/models/sentiment/files/{name}"));
        let answer = file.send().await.unwrap();
        let kind = answer.headers()["content-type"].to_str().unwrap();
        all.0 += &format!(
            "GET /v1/models/{{id}}/files/{name} -> {} {kind}\n\n",
            answer.status().as_u16()
        );
    }
    all.http(
        "POST /v1/keys?model=ID",
        post("/v1/keys?model=sentiment").body(keys),
    )
    .await;
    all.http("GET /v1/keys/{id}", get(&format!("/v1/keys/{key_id}")))
        .await;
    let infer = |query: &str| {
        let ask = post(&format!("/v1/models/sentiment/infer{query}"));
        ask.header("x-key-id", key_id).body(request.clone())
    };
    let (headers, _) = all.http("POST /v1/models/{id}/infer, x-key-id", infer("")).await;
    let phases = headers["server-timing"].to_str().unwrap().split(", ");
    let phases: Vec<&str> = phases.filter_map(|phase| phase.split(';').next()).collect();
    all.0 += &format!("phases of server-timing\n  {}\n\n", phases.join(", "));
    let label = infer("?reply=label").header("x-request-id", "followed-by-nobody");
    all.http(
        "POST /v1/models/{id}/infer?reply=label, x-key-id, x-request-id",
        label,
    )
    .await;
    let absent = get("/v1/requests/none-of-this-name");
    all.http("GET /v1/requests/{id}, of none", absent).await;
    let wrong = post("/v1/models/sentiment/infer?reply=poem").body(request.clone());
    all.http("POST /v1/models/{id}/infer, refused with numbers", wrong)
        .await;
    let method = get("/v1/models/sentiment/infer");
    all.http("a method that a path does not have", method).await;
    let bytes = post("/v1/keys?model=sentiment").body("HEIS");
    all.http("a frame that is cut", bytes).await;
}
