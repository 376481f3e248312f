//! What release 0.1 made, met by this one: refused by name, with what to do; never a wrong answer.
//!
//! The files of `release-0.1` were written by that release for its model `sentiment`; of the long ones only the beginning is
//! kept, which is all that is looked at.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that meets the unexpected should stop"
)]

mod common;

use client::{Api, Error, KeyFolder, LocalServer, Reply, Session, download_bundle};
use common::fails;
use server::Config;
use std::fs;
use std::path::Path;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const MODEL: &str = "sentiment";

fn old(name: &str) -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/release-0.1");
    fs::read(folder.join(name)).unwrap()
}

#[test]
fn a_key_folder_is_refused_until_its_keys_are_made_again() {
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join(MODEL);
    fs::create_dir(&folder).unwrap();
    for name in ["manifest.json", "secret.key", "evaluation.keys"] {
        fs::write(folder.join(name), old(name)).unwrap();
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(folder.join("secret.key"), fs::Permissions::from_mode(0o600)).unwrap();
    }
    let keys = home.path().to_str().unwrap();
    for (args, stdin) in [
        (&["encrypt", "a text"][..], Vec::new()),
        (&["infer"], old("request.he")),
        (&["decrypt"], old("reply.he")),
        (&["keys", "upload"], Vec::new()),
    ] {
        let args = [args, &["--keys", keys]].concat();
        let text = fails(&args, &stdin, 6, "made by release 0.1");
        assert!(text.contains("client keygen --model sentiment --force"), "{text}");
    }
    // New keys would make what was encrypted under the old ones unreadable: only on demand.
    fails(&["keygen", "--keys", keys], b"", 1, "--force");
    fails(
        &["inspect", folder.join("secret.key").to_str().unwrap()],
        b"",
        6,
        "made by release 0.1",
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_names_the_release_of_what_it_refuses() {
    let dir = tempfile::tempdir().unwrap();
    let stored = "ab".repeat(32);
    fs::create_dir(dir.path().join("keys")).unwrap();
    fs::write(
        dir.path().join(format!("keys/{stored}.keys")),
        old("evaluation.keys"),
    )
    .unwrap();
    let mut config = Config::new(server::models_folder(None), dir.path());
    config.only = Some(MODEL.into());
    let server = LocalServer::start(config).await.unwrap();
    let api = Api::new(server.url()).unwrap();

    let refused = |error: Error| match error {
        Error::Refused { status, problem } => {
            assert_eq!(status, 409, "{problem:?}");
            assert!(problem.detail.contains("made by release 0.1"), "{problem:?}");
            assert!(problem.hint.contains("client keygen --force"), "{problem:?}");
            assert_eq!(problem.needed.as_deref(), Some("format version 2"));
        }
        other => assert!(matches!(other, Error::Refused { .. }), "{other}"),
    };
    // What a client of 0.1 asks first, then what it sends.
    refused(api.key_status(&stored).await.unwrap_err());
    refused(
        api.upload_keys(MODEL, old("evaluation.keys"), |_| {})
            .await
            .unwrap_err(),
    );
    let request = old("request.he");
    let sent = api.infer(MODEL, &stored, Reply::Logits, request, 1 << 20, |_| {});
    refused(sent.await.unwrap_err());
    api.remove_keys(&stored).await.unwrap();

    // With keys of this release, a request and a reply of the other.
    let manifest = api.manifest(MODEL).await.unwrap();
    let (bundle, files) = download_bundle(&api, &manifest).await.unwrap();
    let session = Session::generate(manifest, bundle).unwrap();
    let home = tempfile::tempdir().unwrap();
    KeyFolder::new(home.path(), MODEL)
        .save(&session, &files, false, |_, _| {})
        .unwrap();
    let keys = home.path().to_str().unwrap().to_owned();
    let url = server.url().to_owned();
    tokio::task::spawn_blocking(move || {
        let infer = ["infer", "--keys", &keys, "--server", &url];
        for (args, file) in [
            (&infer[..], "request.he"),
            (&["decrypt", "--keys", &keys], "reply.he"),
        ] {
            let text = fails(args, &old(file), 6, "made by release 0.1");
            assert!(text.contains("client keygen, encrypt, infer"), "{text}");
        }
    })
    .await
    .unwrap();
    server.stop().await.unwrap();
}

/// A server of 0.1, as far as a client of this release gets with it.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_names_the_release_of_a_server() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let answered = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = [0; 1 << 12];
        let length = stream.read(&mut request).await.unwrap();
        let manifest = old("manifest.json");
        let head = format!(
            "HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
            manifest.len()
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(&manifest).await.unwrap();
        String::from_utf8(request[..length].to_vec()).unwrap()
    });
    let home = tempfile::tempdir().unwrap();
    let keys = home.path().to_str().unwrap().to_owned();
    tokio::task::spawn_blocking(move || {
        let args = ["keygen", "--keys", &keys, "--server", &url];
        let text = fails(&args, b"", 6, "made by release 0.1");
        assert!(text.contains("update the older one"), "{text}");
    })
    .await
    .unwrap();
    let request = answered.await.unwrap();
    assert!(
        request.starts_with("GET /v1/models/sentiment/manifest"),
        "{request}"
    );
    assert_eq!(fs::read_dir(home.path()).unwrap().count(), 0);
}
