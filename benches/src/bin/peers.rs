//! The engine beside its peers, on the same work in the same run.

#![forbid(unsafe_code)]

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use benches::machine::Machine;
use benches::rows::{OURS, Row, measure, table};
use benches::workloads::{Op, Ring, Shape};
use clap::{Parser, ValueEnum};
use serde::Serialize;

/// The engine beside its peers: the same work, one after the other, on this machine.
///
/// Peers are poulpy-ckks (crates.io; nightly Rust and AVX-512 IFMA needed; built in benches/peers/poulpy), OpenFHE's
/// wheel and TenSEAL (PyPI; CPython 3.10 needed; installed into a virtual environment below the target folder). A peer
/// whose tools are missing is skipped with a word on stderr.
///
/// Sets: `b` N = 2^15, 16 levels of 40 bits; `c` N = 2^16, 24 levels of 45 bits; `wide` N = 2^16, log2 Q about 1300;
/// `bootstrap` all slots of N = 2^16 (up to 20 GiB of memory for the peers). Every result is decrypted and held against
/// plain arithmetic; ratios are the peer's time over ours. Nothing else should run on the machine.
#[derive(Debug, Parser)]
#[command(name = "peers", version, after_help = EXAMPLES)]
struct Args {
    /// Measures only these peers.
    #[arg(long, value_delimiter = ',', default_values_t = [Peer::Poulpy, Peer::Openfhe, Peer::Tenseal])]
    only: Vec<Peer>,
    /// Measures only these sets.
    #[arg(long, value_delimiter = ',', default_values_t = [Set::B, Set::C, Set::Wide, Set::Bootstrap])]
    sets: Vec<Set>,
    /// Measures only these operations.
    #[arg(long, value_delimiter = ',')]
    ops: Vec<Op>,
    /// Threads of an operation; poulpy's serial back end takes one whatever is asked.
    #[arg(long, default_value_t = 1, value_parser = server::parse_threads)]
    threads: usize,
    /// Prints one JSON document on stdout, and nothing else there.
    #[arg(long)]
    json: bool,
    /// Measures our rows of a set and prints them as JSON: how this program calls itself.
    #[arg(long, hide = true)]
    ours: Option<Set>,
}

const EXAMPLES: &str = "Examples:
  cargo run --release -p benches --bin peers
  cargo run --release -p benches --bin peers -- --only openfhe,tenseal --sets b --json > peers.json
  cargo run --release -p benches --bin peers -- --only poulpy --sets wide,bootstrap";

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Peer {
    Poulpy,
    Openfhe,
    Tenseal,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "snake_case")]
enum Set {
    B,
    C,
    Wide,
    Bootstrap,
}

impl std::fmt::Display for Peer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Peer::Poulpy => "poulpy",
            Peer::Openfhe => "openfhe",
            Peer::Tenseal => "tenseal",
        })
    }
}

impl std::fmt::Display for Set {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Set::B => "b",
            Set::C => "c",
            Set::Wide => "wide",
            Set::Bootstrap => "bootstrap",
        })
    }
}

impl Set {
    /// Our parameters.
    fn shape(self) -> Shape {
        match self {
            Set::B => Shape::usual(15),
            Set::C | Set::Bootstrap => Shape::usual(16),
            Set::Wide => Shape {
                log_n: 16,
                levels: 25,
                log_scale: 50,
            },
        }
    }

    /// What is measured.
    fn ops(self) -> &'static [Op] {
        match self {
            Set::B | Set::C => &[
                Op::Multiply,
                Op::MultiplyPlain,
                Op::Rotate,
                Op::RotateHoisted,
                Op::LinearTransform,
                Op::Chebyshev,
                Op::PowerSoftmax,
            ],
            Set::Wide => &[Op::Multiply, Op::MultiplyPlain, Op::Rotate, Op::LinearTransform],
            Set::Bootstrap => &[Op::Bootstrap],
        }
    }
}

impl Peer {
    /// What the peer can do of a set.
    fn ops(self, set: Set) -> &'static [Op] {
        match (self, set) {
            (_, Set::Bootstrap) if self != Peer::Tenseal => &[Op::Bootstrap],
            (Peer::Poulpy, _) => Set::Wide.ops(),
            (Peer::Openfhe, Set::B | Set::C) => set.ops(),
            // SEAL stops at N = 2^15, and TenSEAL shows no rotation.
            (Peer::Tenseal, Set::B) => &[Op::Multiply, Op::MultiplyPlain, Op::LinearTransform],
            _ => &[],
        }
    }
}

/// The JSON document.
#[derive(Debug, Serialize)]
struct Document {
    machine: Machine,
    sets: Vec<Measured>,
    skipped: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Measured {
    set: Set,
    rows: Vec<Row>,
    ratios: Vec<Ratio>,
}

/// The peer's time over ours.
#[derive(Debug, Serialize)]
struct Ratio {
    op: String,
    peer: String,
    ratio: f64,
}

fn main() -> Result<()> {
    let args = Args::parse();
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(args.threads)
        .build()?;
    let wanted = |op: &&Op| args.ops.is_empty() || args.ops.contains(op);
    if let Some(set) = args.ours {
        let rows = pool.install(|| ours(set, &wanted))?;
        println!("{}", serde_json::to_string(&rows)?);
        return Ok(());
    }
    let mut document = Document {
        machine: Machine::this(),
        sets: Vec::new(),
        skipped: Vec::new(),
    };
    // Everything is built and installed before anything is measured.
    let mut programs = Vec::new();
    for &peer in &args.only {
        match program(peer) {
            Ok(program) => programs.push((peer, program)),
            Err(reason) => {
                let word = format!("{peer} is skipped: {reason:#}");
                eprintln!("{word}");
                document.skipped.push(word);
            }
        }
    }
    for &set in &args.sets {
        let mut rows = ours_apart(set, &args.ops, args.threads)?;
        for (peer, program) in &programs {
            let ops: Vec<Op> = peer.ops(set).iter().filter(wanted).copied().collect();
            if ops.is_empty() {
                continue;
            }
            match theirs(*peer, program, set, &ops, pool.current_num_threads()) {
                Ok(found) => rows.extend(found),
                Err(reason) => {
                    let word = format!("{peer}, set {set}: {reason:#}");
                    eprintln!("{word}");
                    document.skipped.push(word);
                }
            }
        }
        if rows.is_empty() {
            continue;
        }
        let ratios = ratios(&rows);
        if !args.json {
            println!("set {set}\n{}", table(&rows)?);
            for Ratio { op, peer, ratio } in &ratios {
                println!("{op:<40} {peer:<28} {ratio:>6.1}x");
            }
            notes(&rows);
        }
        document.sets.push(Measured { set, rows, ratios });
    }
    if args.json {
        println!("{}", serde_json::to_string_pretty(&document)?);
    } else {
        println!("{}", document.machine);
    }
    Ok(())
}

/// What stands behind the parameters, and how the work differs.
fn notes(rows: &[Row]) {
    let mut said: Vec<String> = Vec::new();
    for row in rows {
        let security = format!("{}: {}", row.peer, row.security);
        let note = format!("{}, {}: {}", row.peer, row.op, row.note);
        let lines = [Some(security), (!row.note.is_empty()).then_some(note)];
        for line in lines
            .into_iter()
            .flatten()
            .filter(|line| !said.contains(line))
            .collect::<Vec<_>>()
        {
            println!("  {line}");
            said.push(line);
        }
    }
    println!();
}

/// [`ours`] in a process of its own, as the peers are: none holds its memory while another is measured.
fn ours_apart(set: Set, ops: &[Op], threads: usize) -> Result<Vec<Row>> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["--ours", &set.to_string(), "--threads", &threads.to_string()]);
    for op in ops {
        command.args(["--ops", op.name()]);
    }
    let output = command.stderr(Stdio::inherit()).output()?;
    ensure!(
        output.status.success(),
        "our rows of set {set} failed: {}",
        output.status
    );
    Ok(serde_json::from_slice(&output.stdout)?)
}

fn ours(set: Set, wanted: &impl Fn(&&Op) -> bool) -> Result<Vec<Row>> {
    let shape = set.shape();
    let ring = Ring::new(shape)?;
    let mut rows = Vec::new();
    for &op in set.ops().iter().filter(wanted) {
        eprintln!("{OURS}: {}, set {set}", op.name());
        rows.push(measure(op, &ring)?);
    }
    Ok(rows)
}

/// A peer's row counts for the operation whose name its own name begins with: `bootstrap (preset)`,
/// `linear_transform_prepared`.
fn ratios(rows: &[Row]) -> Vec<Ratio> {
    let ours = |row: &Row| {
        rows.iter()
            .filter(|own| own.peer == OURS && row.op.starts_with(&own.op))
            .max_by_key(|own| own.op.len())
    };
    rows.iter()
        .filter(|row| row.peer != OURS)
        .filter_map(|row| {
            Some(Ratio {
                op: row.op.clone(),
                peer: row.peer.clone(),
                ratio: row.median_ms / ours(row)?.median_ms,
            })
        })
        .collect()
}

fn peers_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("peers")
}

/// Where the peers are built and installed: below the folder of this program's own build.
fn work_folder() -> Result<PathBuf> {
    let own = std::env::current_exe()?;
    let target = own.parent().and_then(Path::parent).context("the target folder")?;
    Ok(target.join("peers"))
}

/// Builds or installs a peer; the program that prints its rows.
fn program(peer: Peer) -> Result<PathBuf> {
    match peer {
        Peer::Poulpy => poulpy(),
        Peer::Openfhe | Peer::Tenseal => python(),
    }
}

fn poulpy() -> Result<PathBuf> {
    #[cfg(target_arch = "x86_64")]
    let ifma =
        std::arch::is_x86_feature_detected!("avx512ifma") && std::arch::is_x86_feature_detected!("avx512vl");
    #[cfg(not(target_arch = "x86_64"))]
    let ifma = false;
    ensure!(ifma, "its fastest back end needs a processor with AVX-512 IFMA");
    let nightly = quiet(Command::new("rustup").args(["run", "nightly", "rustc", "--version"]));
    ensure!(
        nightly,
        "no nightly Rust; `rustup toolchain install nightly --profile minimal`"
    );
    let target = work_folder()?.join("poulpy");
    eprintln!("poulpy: building with nightly Rust");
    let mut build = Command::new("rustup");
    build
        .args([
            "run",
            "nightly",
            "cargo",
            "build",
            "--release",
            "--locked",
            "--quiet",
        ])
        .current_dir(peers_folder().join("poulpy"))
        .env("CARGO_TARGET_DIR", &target)
        // Those of the calling cargo belong to another toolchain.
        .env_remove("RUSTUP_TOOLCHAIN")
        .env_remove("RUSTFLAGS")
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .stdout(Stdio::null());
    ensure!(
        build.status()?.success(),
        "it does not build with this nightly Rust"
    );
    Ok(target.join("release/poulpy-rows"))
}

/// The interpreter of a virtual environment with both wheels. OpenFHE's is built for one version of Python.
fn python() -> Result<PathBuf> {
    let folder = work_folder()?.join("python");
    let interpreter = folder.join("bin/python");
    let check = ["-c", "import openfhe, tenseal, numpy"];
    if quiet(Command::new(&interpreter).args(check)) {
        return Ok(interpreter);
    }
    let version = ["-c", "import sys; sys.exit(sys.version_info[:2] != (3, 10))"];
    let system = ["python3.10", "python3", "python"]
        .into_iter()
        .map(PathBuf::from)
        .chain(pyenv())
        .find(|path| quiet(Command::new(path).args(version)))
        .context("no CPython 3.10, for which the wheel is built: no python3.10 in the path, none in pyenv")?;
    eprintln!(
        "installing openfhe and tenseal from PyPI into {}",
        folder.display()
    );
    let made = quiet(Command::new(&system).args(["-m", "venv", "--clear"]).arg(&folder));
    ensure!(made, "{} cannot make a virtual environment", system.display());
    let requirements = peers_folder().join("requirements.txt");
    let install = Command::new(&interpreter)
        .args([
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            "-r",
        ])
        .arg(requirements)
        .stdout(Stdio::null())
        .status()?;
    ensure!(install.success(), "pip cannot install openfhe and tenseal");
    ensure!(
        quiet(Command::new(&interpreter).args(check)),
        "the wheels do not load"
    );
    Ok(interpreter)
}

/// The interpreter that pyenv holds, if there is one.
fn pyenv() -> Option<PathBuf> {
    let output = Command::new("pyenv").args(["prefix", "3.10"]).output().ok()?;
    let prefix = String::from_utf8(output.stdout).ok()?;
    output
        .status
        .success()
        .then(|| Path::new(prefix.trim()).join("bin/python3.10"))
}

/// True when the command runs and succeeds; what it prints is dropped.
fn quiet(command: &mut Command) -> bool {
    let command = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// Runs a peer's program on a set and reads its rows.
fn theirs(peer: Peer, program: &Path, set: Set, ops: &[Op], threads: usize) -> Result<Vec<Row>> {
    let Shape {
        log_n,
        levels,
        log_scale,
    } = set.shape();
    let names: Vec<&str> = ops.iter().map(|op| op.name()).collect();
    let mut command = Command::new(program);
    let mut option = |name: &str, value: &dyn ToString| {
        command.arg(name).arg(value.to_string());
    };
    match peer {
        Peer::Poulpy => {
            // At equal log2 Q; the largest digits that keep its keys within 128 bits where more of them are slower.
            let (log_q, log_delta, digit) = match set {
                Set::B => (690, 40, 2),
                Set::C => (1130, 45, 3),
                Set::Wide | Set::Bootstrap => (1300, 45, 3),
            };
            option("--log-n", &log_n);
            option("--log-q", &log_q);
            option("--log-delta", &log_delta);
            option("--dsize", &digit);
            option("--only", &names.join(","));
        }
        Peer::Openfhe | Peer::Tenseal => {
            command.arg(peers_folder().join(format!("{peer}_rows.py")));
            command.args(["--log-n", &log_n.to_string(), "--levels", &levels.to_string()]);
            command.args([
                "--log-scale",
                &log_scale.to_string(),
                "--threads",
                &threads.to_string(),
            ]);
            command.args(["--ops", &names.join(",")]);
            command.env("PYTHONDONTWRITEBYTECODE", "1");
        }
    }
    eprintln!("{peer}: {}, set {set}", names.join(", "));
    let output = command.stderr(Stdio::inherit()).output()?;
    let text = String::from_utf8(output.stdout)?;
    let rows = text
        .lines()
        .filter(|line| line.starts_with('{'))
        .map(|line| serde_json::from_str(line).with_context(|| format!("a row: {line}")))
        .collect::<Result<Vec<Row>>>()?;
    if rows.is_empty() || !output.status.success() {
        bail!("{} after {} rows", output.status, rows.len());
    }
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(peer: &str, op: &str, median_ms: f64) -> Row {
        Row {
            peer: peer.to_owned(),
            op: op.to_owned(),
            log_n: 16,
            log_qp: 1747.0,
            log_q: 1300.0,
            levels: 24,
            threads: 1,
            median_ms,
            precision_bits: Some(20.0),
            precision_mean_bits: Some(22.0),
            bytes: 0,
            weight_bytes: 0,
            security: String::new(),
            note: String::new(),
        }
    }

    #[test]
    fn a_ratio_is_taken_with_the_operation_of_the_same_name() {
        let rows = [
            row(OURS, "multiply", 10.0),
            row(OURS, "multiply_plain", 2.0),
            row(OURS, "bootstrap", 100.0),
            row("p", "multiply", 20.0),
            row("p", "multiply_plain", 8.0),
            row("p", "bootstrap (fast)", 250.0),
            row("p", "sort", 1.0),
        ];
        let found: Vec<(String, f64)> = ratios(&rows).into_iter().map(|r| (r.op, r.ratio)).collect();
        let named = |name: &str, ratio| (name.to_owned(), ratio);
        let expected = [
            named("multiply", 2.0),
            named("multiply_plain", 4.0),
            named("bootstrap (fast)", 2.5),
        ];
        assert_eq!(found, expected);
    }
}

#[cfg(test)]
#[path = "../../../client/tests/common/shape.rs"]
mod shape;

/// A run needs the peers; what scripts read of it does not.
#[cfg(test)]
#[test]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
fn what_scripts_read_is_golden() {
    let text = || "x".to_owned();
    let row = Row {
        peer: text(),
        op: text(),
        log_n: 15,
        log_qp: 1.0,
        log_q: 1.0,
        levels: 1,
        threads: 1,
        median_ms: 1.0,
        precision_bits: Some(1.0),
        precision_mean_bits: Some(1.0),
        bytes: 1,
        weight_bytes: 1,
        security: text(),
        note: text(),
    };
    let ratio = Ratio {
        op: text(),
        peer: text(),
        ratio: 1.0,
    };
    let document = serde_json::to_value(Document {
        machine: Machine::this(),
        sets: vec![Measured {
            set: Set::B,
            rows: vec![row],
            ratios: vec![ratio],
        }],
        skipped: vec![text()],
    });
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interface/peers.txt");
    shape::golden(&file, &shape::shape(&document.unwrap()));
}
