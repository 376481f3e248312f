//! The program `server` as scripts use it. `interface.txt` names the keys of its documents and its exit codes.
#![allow(clippy::unwrap_used, reason = "a test that meets the unexpected should stop")]

#[path = "../../client/tests/common/docs.rs"]
#[allow(dead_code, reason = "not every test needs all of it")]
mod docs;
#[path = "../../client/tests/common/shape.rs"]
mod shape;

use shape::{golden, shape};
use std::path::Path;
use std::process::{Command, Output};

const SERVER: &str = env!("CARGO_BIN_EXE_server");

fn server(args: &[&str]) -> Output {
    let mut command = Command::new(SERVER);
    for name in ["HE_MODELS", "HE_MODEL", "HE_LISTEN", "HE_DATA_DIR"] {
        command.env_remove(name);
    }
    command.args(args).output().unwrap()
}

#[test]
fn every_command_for_the_server_is_understood() {
    docs::parse_all("server", SERVER);
}

#[test]
fn what_scripts_read_is_golden() {
    let mut text = "exit codes of the server\n".to_owned();
    for (code, meaning, args) in [
        (0, "done", &["--help"][..]),
        (1, "failure", &["plan", "--model", "no-such-model"]),
        (2, "wrong usage", &["plan", "--speed"]),
    ] {
        let output = server(args);
        assert_eq!(output.status.code(), Some(code), "{args:?}: {output:?}");
        assert!(code == 0 || output.stdout.is_empty(), "{args:?}");
        text += &format!("  {code}  {meaning}\n");
    }
    for (title, args) in [
        (
            "plan --model sentiment --json",
            &["plan", "--model", "sentiment", "--json"][..],
        ),
        (
            "plan --model sentiment --label --json",
            &["plan", "--model", "sentiment", "--label", "--json"],
        ),
        (
            "plan --model bert-tiny --json",
            &["plan", "--model", "bert-tiny", "--json"],
        ),
    ] {
        let output = server(args);
        assert!(output.status.success(), "{output:?}");
        let document = serde_json::from_slice(&output.stdout).unwrap();
        text += &format!("\nserver {title}\n{}", shape(&document));
    }
    golden(
        &Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interface.txt"),
        &text,
    );
}
