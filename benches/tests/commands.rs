//! The commands as a user runs them: help that teaches, and one JSON document on stdout. The keys of the documents, which scripts
//! read, are named by the golden texts of `interface`.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

#[path = "../../client/tests/common/docs.rs"]
#[allow(dead_code, reason = "not every test needs all of it")]
mod docs;
#[path = "../../client/tests/common/shape.rs"]
mod shape;

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

fn run(program: &str, args: &[&str]) -> Output {
    Command::new(program)
        .args(args)
        .env_remove("MODEL")
        .output()
        .unwrap()
}

/// The document, its keys held against those of `interface/NAME.txt`.
fn json(name: &str, output: &Output) -> Value {
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let document = serde_json::from_slice(&output.stdout).unwrap();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interface");
    shape::golden(&folder.join(name).with_extension("txt"), &shape::shape(&document));
    document
}

const EVALUATE: &str = env!("CARGO_BIN_EXE_evaluate");
const LATENCY: &str = env!("CARGO_BIN_EXE_latency");
const PRIMITIVES: &str = env!("CARGO_BIN_EXE_primitives");
const PEERS: &str = env!("CARGO_BIN_EXE_peers");
const CALIBRATE: &str = env!("CARGO_BIN_EXE_calibrate");
const SOAK: &str = env!("CARGO_BIN_EXE_soak");

#[test]
fn every_command_of_the_documents_is_understood() {
    for (name, path) in [
        ("calibrate", CALIBRATE),
        ("evaluate", EVALUATE),
        ("latency", LATENCY),
        ("peers", PEERS),
        ("primitives", PRIMITIVES),
        ("soak", SOAK),
    ] {
        docs::parse_all(name, path);
    }
}

#[test]
fn help_names_what_is_measured_and_shows_an_example() {
    for (program, option) in [
        (EVALUATE, "--model"),
        (LATENCY, "--model"),
        (PRIMITIVES, "--levels"),
        (PEERS, "--sets"),
    ] {
        let help = String::from_utf8(run(program, &["--help"]).stdout).unwrap();
        for word in [option, "--json", "Examples:", "cargo run --release -p benches"] {
            assert!(help.contains(word), "{word} in {help}");
        }
    }
}

#[test]
fn an_unknown_model_is_named() {
    let output = run(EVALUATE, &["--model", "nothing-here"]);
    assert!(!output.status.success() && output.stdout.is_empty());
    assert!(String::from_utf8_lossy(&output.stderr).contains("nothing-here"));
}

#[test]
fn latency_accounts_for_all_of_the_time() {
    let document = json("latency", &run(LATENCY, &["--runs", "1", "--json"]));
    let number = |value: &Value| value.as_f64().unwrap();
    for report in [&document["cold"], &document["warm_median"]] {
        let wall = number(&report["evaluate_us"]);
        let sum: f64 = report["ops"]
            .as_array()
            .unwrap()
            .iter()
            .map(|row| number(&row["total_us"]))
            .sum();
        assert!(
            (sum / wall - 1.0).abs() < 0.02,
            "operations {sum} us of {wall} us"
        );
    }
    // what the plan predicted is what the tracer counted
    let rows = document["categories"].as_array().unwrap();
    let total = |name: &str| rows.iter().map(|row| row[name].as_u64().unwrap()).sum::<u64>();
    assert_eq!(
        total("key_switches"),
        document["plan"]["key_switches"].as_u64().unwrap()
    );
    assert_eq!(total("steps"), document["plan"]["steps"].as_u64().unwrap());
    let counted = document["warm_median"]["ops"].as_array().unwrap();
    assert_eq!(
        total("steps"),
        counted
            .iter()
            .map(|row| row["count"].as_u64().unwrap())
            .sum::<u64>()
    );
    assert_eq!(document["plan"]["secure"], true);
}

#[test]
fn primitives_are_measured_and_checked() {
    let document = json(
        "primitives",
        &run(
            PRIMITIVES,
            &["--log-n", "13", "--only", "ntt_forward,multiply", "--json"],
        ),
    );
    let rows = document["rows"].as_array().unwrap();
    assert_eq!(rows.len(), 2);
    for (row, op) in rows.iter().zip(["ntt_forward", "multiply"]) {
        assert_eq!((row["op"].as_str(), row["log_n"].as_u64()), (Some(op), Some(13)));
        assert!(row["median_ms"].as_f64().unwrap() > 0.0);
    }
    assert!(rows[0]["precision_bits"].is_null());
    assert!(rows[1]["precision_bits"].as_f64().unwrap() > 15.0);
    assert!(rows[1]["bytes"].as_u64().unwrap() > 100_000);
}

#[test]
fn parameters_that_are_not_secure_are_refused() {
    let output = run(PRIMITIVES, &["--log-n", "13", "--levels", "20"]);
    assert!(!output.status.success() && output.stdout.is_empty());
    assert!(String::from_utf8_lossy(&output.stderr).contains("20 levels"));
}

#[test]
fn a_sentence_goes_encrypted_through_the_server() {
    let document = json("evaluate", &run(EVALUATE, &["--encrypted", "1", "--json"]));
    assert_eq!(document["passed"], true);
    assert_eq!(document["encrypted"]["score"]["inputs"], 1);
    assert_eq!(document["encrypted"]["score"]["agreement"], 1.0);
    assert!(document["clear"]["polynomial"]["accuracy"].as_f64().unwrap() > 0.7);
}
