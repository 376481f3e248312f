//! What the documents tell people to type: the quick commands are run, every other one is understood by its program; and what the
//! manifests of the packages promise.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that meets the unexpected should stop"
)]

#[path = "../examples/ask.rs"]
#[allow(dead_code, reason = "its main is not called here")]
mod ask;
mod common;
#[path = "common/docs.rs"]
mod docs;

use client::LocalServer;
use common::ok;
use docs::{Shown, commands, parse_all};
use server::Config;
use std::path::{Path, PathBuf};
use std::process::Command;

const CLIENT: &str = env!("CARGO_BIN_EXE_client");

#[test]
fn a_line_is_split_as_a_shell_does() {
    let line = "cargo run -p client -- demo \"two words\" [--json] > out # why | not";
    let all: Vec<_> = [line, "target/release/client a | ls && b"]
        .into_iter()
        .flat_map(docs::split)
        .filter_map(docs::program)
        .collect();
    let expected = [
        ("client", &["demo", "two words", "--json"][..]),
        ("client", &["a"]),
        ("ls", &[]),
        ("b", &[]),
    ];
    let owned =
        |(name, args): (&str, &[&str])| (name.to_owned(), args.iter().map(ToString::to_string).collect());
    assert_eq!(all, expected.map(owned));
    let text = "a `client x\n y` b\n```sh\nc\n```\n```text\nd\n```\n";
    assert_eq!(docs::lines(text), ["c", "client x  y"]);
}

#[test]
fn every_command_of_the_documents_is_one_of_a_known_program() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let benches = ["calibrate", "evaluate", "latency", "peers", "primitives", "soak"];
    for Shown { file, program, args } in commands() {
        let after = |flag: &str| args.iter().skip_while(|arg| *arg != flag).nth(1);
        let is_file = |parts: &[&str]| root.join(parts.iter().collect::<PathBuf>()).is_file();
        let known = match program.as_str() {
            "client" | "server" | "ask" | "search" => true,
            "fit" | "decide" => is_file(&["models/src/bin", &format!("{program}.rs")]),
            "cargo" => after("-p").is_none_or(|package| {
                let test = after("--test");
                is_file(&[package, "Cargo.toml"])
                    && test.is_none_or(|test| is_file(&[package, "tests", &format!("{test}.rs")]))
            }),
            // The training, in Python, and what a shell has.
            "cd" | "polynomial-transformers" | "python3" => true,
            other => benches.contains(&other) || other.starts_with(".venv/bin/"),
        };
        assert!(known, "{}: {program} {args:?}", file.display());
    }
}

#[test]
fn every_command_for_the_client_is_understood() {
    parse_all("client", CLIENT);
}

/// The examples of `--help`, of every verb.
#[test]
fn the_examples_of_the_help_are_understood() {
    let help = |verb: &[&str]| String::from_utf8(ok(&[verb, &["--help"]].concat(), b"").stdout).unwrap();
    let mut texts = vec![help(&[])];
    for verb in [
        "demo", "keygen", "encrypt", "infer", "decrypt", "models", "keys", "inspect",
    ] {
        texts.push(help(&[verb]));
    }
    let mut count = 0;
    for line in texts.iter().flat_map(|text| text.lines()) {
        // The remark behind an example stands apart from it.
        let example = line.trim().split("   ").next().unwrap();
        if !line.starts_with("  ") || !example.contains("client ") {
            continue;
        }
        for words in docs::split(example) {
            if words[0] == "client" && words[1] != "help" {
                let output = Command::new(CLIENT)
                    .args(&words[1..])
                    .arg("--help")
                    .output()
                    .unwrap();
                assert!(output.status.success(), "{example}: {output:?}");
                count += 1;
            }
        }
    }
    assert!(count > 20, "{count} examples found");
}

#[test]
fn the_quick_demos_of_the_readme_run() {
    let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md");
    let readme = readme.canonicalize().unwrap();
    let quick = |shown: &Shown| {
        shown.file == readme
            && shown.program == "client"
            && shown.args[0] == "demo"
            && !shown.args.contains(&"--model".to_owned())
            && shown.args[1] != "..."
    };
    let demos: Vec<Shown> = commands().into_iter().filter(quick).collect();
    assert_eq!(demos.len(), 2, "{demos:?}");
    for demo in demos {
        let args: Vec<&str> = demo.args.iter().map(String::as_str).collect();
        let output = String::from_utf8(ok(&args, b"").stdout).unwrap();
        assert!(output.contains("same answer"), "{args:?}: {output}");
    }
}

/// The block of separate steps, by a shell, with a server in this process in place of the one of the other terminal.
#[test]
fn the_steps_of_the_readme_run() {
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../README.md")).unwrap();
    let (_, steps) = text.split_once("# in another\n").unwrap();
    let (steps, _) = steps.split_once("```").unwrap();
    assert!(steps.contains(" keygen ") && steps.contains(" infer "), "{steps}");
    let dir = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let mut config = Config::new(server::models_folder(None), dir.path().join("server"));
    config.only = Some("sentiment".into());
    let server = runtime.block_on(LocalServer::start(config)).unwrap();
    let output = Command::new("sh")
        .args(["-euc", &steps.replace("target/release/client", CLIENT)])
        .current_dir(&dir)
        .env("HE_SERVER", server.url())
        .env("HE_KEYS", dir.path().join("keys"))
        .env_remove("HE_MODEL")
        .output()
        .unwrap();
    let (out, err) = (
        String::from_utf8(output.stdout).unwrap(),
        String::from_utf8(output.stderr).unwrap(),
    );
    assert!(output.status.success(), "{err}");
    let answer = out.lines().last().unwrap();
    assert!(answer.starts_with("negative "), "{out}{err}");

    // The example of a client against a server.
    let answer = runtime.block_on(ask::ask(server.url(), "an utterly charming film"));
    assert_eq!(answer.unwrap().name(), "positive");
    runtime.block_on(server.stop()).unwrap();
}

/// What a program pays for that wants the session alone, and what one that also speaks to a server.
#[test]
fn the_library_needs_neither_a_server_nor_a_command_line() {
    for (features, absent) in [
        (
            "",
            &["axum", "clap", "hyper", "indicatif", "reqwest", "server", "tokio"][..],
        ),
        ("api", &["axum", "clap", "indicatif", "server"]),
    ] {
        let tree = Command::new(env!("CARGO"))
            .args([
                "tree",
                "--offline",
                "--locked",
                "-p",
                "client",
                "-e",
                "normal",
                "--prefix",
                "none",
            ])
            .args(["--no-default-features", "--features", features])
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .output()
            .unwrap();
        assert!(tree.status.success(), "{tree:?}");
        let tree = String::from_utf8(tree.stdout).unwrap();
        for name in absent {
            let found = tree.lines().any(|line| line.split(' ').next() == Some(name));
            assert!(!found, "{name} with the features {features:?}:\n{tree}");
        }
        assert!(tree.contains("he-ops"), "{tree}");
    }
}
