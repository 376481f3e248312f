//! The commands as a user runs them: help that teaches, and one JSON document on stdout.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::process::{Command, Output};

use serde_json::Value;

fn run(program: &str, args: &[&str]) -> Output {
    Command::new(program)
        .args(args)
        .env_remove("MODEL")
        .output()
        .unwrap()
}

fn json(output: &Output) -> Value {
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).unwrap()
}

const EVALUATE: &str = env!("CARGO_BIN_EXE_evaluate");
const LATENCY: &str = env!("CARGO_BIN_EXE_latency");
const PRIMITIVES: &str = env!("CARGO_BIN_EXE_primitives");
const PEERS: &str = env!("CARGO_BIN_EXE_peers");

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
    let document = json(&run(LATENCY, &["--runs", "1", "--json"]));
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
    let document = json(&run(
        PRIMITIVES,
        &["--log-n", "13", "--only", "ntt_forward,multiply", "--json"],
    ));
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
    let document = json(&run(EVALUATE, &["--encrypted", "1", "--json"]));
    assert_eq!(document["passed"], true);
    assert_eq!(document["encrypted"]["score"]["inputs"], 1);
    assert_eq!(document["encrypted"]["score"]["agreement"], 1.0);
    assert!(document["clear"]["polynomial"]["accuracy"].as_f64().unwrap() > 0.7);
}
