//! The command line as a person uses it: files, pipes, refusals, exit codes.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that meets the unexpected should stop"
)]

mod common;

use client::LocalServer;
use common::{client, fails, ok};
use serde_json::Value;
use server::Config;
use std::fs;
use std::path::Path;
use std::process::Output;
use tokio::runtime::Runtime;

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap()
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn separate_steps_by_files_and_by_pipes() {
    let dir = tempfile::tempdir().unwrap();
    let runtime = Runtime::new().unwrap();
    let config = Config::new(server::models_folder(None), dir.path().join("data"));
    let server = runtime.block_on(LocalServer::start(config)).unwrap();
    let url = server.url().to_owned();
    let home = dir.path().join("keys");
    let keys = text(&home);
    let at = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();

    // nothing there yet: each verb says what to do
    fails(
        &["encrypt", "x", "--keys", keys],
        b"",
        1,
        "client keygen --model sentiment",
    );
    fails(
        &["keys", "status", "--keys", keys, "--server", &url],
        b"",
        1,
        "client keygen",
    );
    fails(
        &["keygen", "-m", "none", "--keys", keys, "--server", &url],
        b"",
        4,
        "GET /v1/models",
    );
    assert!(!home.join("none").exists());

    let made = json(&ok(&["keygen", "--keys", keys, "--server", &url, "--json"], b""));
    let secret = home.join("sentiment/secret.key");
    let evaluation = home.join("sentiment/evaluation.keys");
    assert_eq!(made["bytes"], fs::metadata(&evaluation).unwrap().len());
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(fs::metadata(&secret).unwrap().permissions().mode() & 0o777, 0o600);
    }
    let before = fs::read(&secret).unwrap();
    fails(&["keygen", "--keys", keys, "--server", &url], b"", 1, "--force");
    assert_eq!(fs::read(&secret).unwrap(), before);

    let unsafe_file = ok(&["inspect", text(&secret)], b"");
    assert!(String::from_utf8_lossy(&unsafe_file.stdout).contains("safe to send  NO"));
    let info = json(&ok(&["inspect", text(&evaluation), "--json"], b""));
    assert_eq!(
        (&info["safe_to_send"], &info["blake3"]),
        (&Value::Bool(true), &made["key_id"])
    );
    assert_eq!(
        info["frames"].as_array().unwrap().len() as u64,
        made["keys"].as_u64().unwrap()
    );

    let request = at("request.he");
    ok(
        &[
            "encrypt",
            "an utterly charming film",
            "--keys",
            keys,
            "-o",
            &request,
        ],
        b"",
    );
    fails(
        &["encrypt", "x", "--keys", keys, "-o", &request],
        b"",
        1,
        "--force",
    );
    ok(
        &[
            "encrypt",
            "the worst film ever",
            "--keys",
            keys,
            "-o",
            &request,
            "--force",
        ],
        b"",
    );
    let piped = ok(
        &["encrypt", "--keys", keys],
        "an utterly charming film\n".as_bytes(),
    )
    .stdout;
    assert_eq!(piped.len() as u64, fs::metadata(&request).unwrap().len());
    let long = ok(&["encrypt", "--keys", keys, "-"], "very ".repeat(100).as_bytes());
    assert!(String::from_utf8_lossy(&long.stderr).contains("its end was cut"));
    assert!(!String::from_utf8_lossy(&ok(&["inspect", "-"], &piped).stdout).contains("NO"));
    fails(&["encrypt", "--keys", keys], &[0xff, 0xfe], 1, "UTF-8");

    // what must not or cannot be sent
    fails(
        &["infer", text(&secret), "--keys", keys, "--server", &url],
        b"",
        6,
        "must never be sent",
    );
    fails(
        &["infer", text(&evaluation), "--keys", keys, "--server", &url],
        b"",
        6,
        "seeded ciphertext needed",
    );
    fails(
        &["infer", "--keys", keys, "--server", &url],
        b"hello",
        6,
        "truncated",
    );
    fails(
        &["infer", "--keys", keys, "--server", "http://127.0.0.1:9"],
        &piped,
        3,
        "is the server running",
    );
    fails(
        &["infer", "--keys", keys, "--server", "https://example.org"],
        &piped,
        3,
        "TLS",
    );

    let dry = json(&ok(
        &[
            "keys",
            "upload",
            "--keys",
            keys,
            "--server",
            &url,
            "--dry-run",
            "--json",
        ],
        b"",
    ));
    assert_eq!(
        (&dry["sent"], &dry["bytes"]),
        (&Value::Bool(false), &made["bytes"])
    );
    let status = ok(&["keys", "status", "--keys", keys, "--server", &url], b"");
    assert!(String::from_utf8_lossy(&status.stdout).starts_with("not on this server"));
    fails(
        &["infer", "--keys", keys, "--server", &url],
        &piped[..piped.len() - 1],
        6,
        "truncated",
    );
    let mut damaged = piped.clone();
    damaged[1000] ^= 1;
    fails(
        &["infer", "--keys", keys, "--server", &url],
        &damaged,
        6,
        "checksum mismatch",
    );
    // A secret key behind a whole request must not slip through.
    let sneaky = [piped.as_slice(), before.as_slice()].concat();
    fails(
        &["infer", "--keys", keys, "--server", &url],
        &sneaky,
        6,
        "left over",
    );
    for nothing in [b"".as_slice(), b" \n"] {
        fails(&["encrypt", "--keys", keys], nothing, 2, "a text needed");
    }

    let report = at("report.json");
    let reply = ok(
        &["infer", "--keys", keys, "--server", &url, "--report", &report],
        &piped,
    )
    .stdout;
    let status = json(&ok(
        &["keys", "status", "--keys", keys, "--server", &url, "--json"],
        b"",
    ));
    assert_eq!(status["stored"], Value::Bool(true));
    let report: Value = serde_json::from_slice(&fs::read(report).unwrap()).unwrap();
    assert!(report["evaluate_us"].as_f64().unwrap() > 0.0);
    fs::write(at("reply.he"), &reply).unwrap();
    assert_eq!(
        String::from_utf8_lossy(&ok(&["decrypt", &at("reply.he"), "--keys", keys], b"").stdout)
            .split(' ')
            .next(),
        Some("positive")
    );
    let answer = json(&ok(&["decrypt", "--keys", keys, "--json", "--report"], &reply));
    assert_eq!(
        (answer["label"].as_str(), answer["rounded_to_bits"].as_u64()),
        (Some("positive"), Some(8))
    );
    let probability = answer["probability"].as_f64().unwrap();
    assert!(probability > 0.5 && (probability * 256.0).fract() == 0.0);
    assert_eq!(answer["report"]["model"], "sentiment");
    fails(
        &["decrypt", "--keys", keys],
        &reply[..reply.len() - 1],
        6,
        "truncated",
    );
    fails(&["decrypt", "--keys", keys], &piped, 6, "ciphertext needed");
    let stranger = at("stranger");
    ok(&["keygen", "--keys", &stranger, "--server", &url], b"");
    fails(
        &["decrypt", "--keys", &stranger],
        &reply,
        6,
        "made under other keys",
    );

    ok(&["keys", "rm", "--keys", keys, "--server", &url], b"");
    fails(
        &["keys", "rm", "--keys", keys, "--server", &url],
        b"",
        4,
        "Unknown evaluation keys",
    );
    let list = json(&ok(&["models", "--server", &url, "--json"], b""));
    let ids: Vec<_> = list
        .as_array()
        .unwrap()
        .iter()
        .map(|model| &model["id"])
        .collect();
    assert_eq!(ids, ["bible", "fashion", "minilm", "r8", "sentiment", "spam"]);

    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(&secret, fs::Permissions::from_mode(0o644)).unwrap();
        fails(&["decrypt", "--keys", keys], &reply, 1, "chmod 600");
    }
    runtime.block_on(server.stop()).unwrap();
}

#[test]
fn the_demo_prints_one_json_document() {
    let output = ok(&["demo", "a dull and lifeless mess", "--json", "--quiet"], b"");
    assert!(
        output.stderr.is_empty(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let demo = json(&output);
    assert_eq!(demo["label"], demo["clear"]["label"]);
    assert!(demo["max_error"].as_f64().unwrap() < 1.0 / 128.0);
    assert!((0.5..=1.0).contains(&demo["probability"].as_f64().unwrap()));
    for field in [
        "keygen_ms",
        "upload_bytes",
        "request_bytes",
        "reply_bytes",
        "evaluate_ms",
    ] {
        assert!(demo[field].as_f64().unwrap() > 0.0, "{field}");
    }
    assert!(demo["report"]["ops"].as_array().unwrap().len() > 3);
}

#[test]
fn wrong_usage_is_exit_code_2_and_help_teaches() {
    fails(&["classify"], b"", 2, "unrecognized subcommand");
    fails(&["encrypt", "--colour"], b"", 2, "unexpected argument");
    fails(&["decrypt", "--round", "60"], b"", 2, "1..=40");
    assert_eq!(client(&[], b"").status.code(), Some(2));
    let help = String::from_utf8(ok(&["--help"], b"").stdout).unwrap();
    for (code, meaning) in client::error::EXIT_CODES.iter().enumerate() {
        assert!(
            help.contains(&format!("  {code}  {meaning}\n")),
            "{code} in {help}"
        );
    }
    for verb in [
        "demo", "keygen", "encrypt", "infer", "decrypt", "models", "keys", "inspect",
    ] {
        let help = String::from_utf8(ok(&[verb, "--help"], b"").stdout).unwrap();
        assert!(help.contains("Examples:"), "{verb}");
        assert!(help.lines().all(|line| line.chars().count() <= 110), "{verb}");
    }
    fails(&["inspect", "no/such/file"], b"", 1, "no/such/file");
    fails(
        &["demo", "x", "--models", "no/such/folder"],
        b"",
        1,
        "no/such/folder",
    );
}
