//! The program as a person starts it.
#![allow(dead_code, reason = "not every test needs all of it")]

use assert_cmd::Command;
use std::process::Output;

pub(crate) fn client(args: &[&str], stdin: &[u8]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_client"));
    for name in ["HE_SERVER", "HE_KEYS", "HE_MODEL", "HE_MODELS"] {
        command.env_remove(name);
    }
    command.args(args).write_stdin(stdin).output().unwrap()
}

#[track_caller]
pub(crate) fn ok(args: &[&str], stdin: &[u8]) -> Output {
    let output = client(args, stdin);
    assert!(
        output.status.success(),
        "{args:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    output
}

/// What it says when it fails with this exit code, which holds `word`.
#[track_caller]
pub(crate) fn fails(args: &[&str], stdin: &[u8], code: i32, word: &str) -> String {
    let output = client(args, stdin);
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(code), "{args:?}: {text}");
    assert!(text.contains(word), "{args:?}: {word:?} not in {text}");
    assert!(output.stdout.is_empty(), "{args:?} failed but wrote to stdout");
    text
}
