//! Many bootstraps in a row, each decrypted and compared, with the memory of the process watched.

#![forbid(unsafe_code)]

use anyhow::{Context, bail};
use clap::Parser;
use he_ops::ckks::{BootstrapPreset, Bootstrapper, Decryptor, Encoder, Encryptor, Evaluator, PrecisionStats};
use he_ops::rlwe::{EvaluationKeyConfig, EvaluationKeys, KeyGenerator, KeyUses, Params, SecretKey};
use num_complex::Complex64;
use std::sync::Arc;

/// Many bootstraps in a row: each result is decrypted and compared with its message, and memory must not grow.
///
/// Sizes take turns at N = 2^15, 128-bit secure. Ends with an error at the first slot that is off by more than 2^-8, or
/// when the process holds more after the last round than after the first tenth (at least one round of every size).
#[derive(Debug, Parser)]
#[command(name = "soak", version)]
struct Args {
    /// Bootstraps to run.
    #[arg(long, default_value_t = 100)]
    count: usize,
    /// log2 of the slots of the bootstraps, in turn.
    #[arg(long, value_delimiter = ',', default_values_t = [10, 12, 13])]
    log_slots: Vec<u32>,
    /// Threads; 0 takes all cores.
    #[arg(long, default_value_t = 0, value_parser = server::parse_threads)]
    threads: usize,
}

/// Memory that may come and go with the allocator.
const SLACK_KIB: u64 = 64 << 10;

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(args.threads)
        .build()?;
    pool.install(|| run(&args))
}

fn run(args: &Args) -> anyhow::Result<()> {
    let preset = BootstrapPreset::N15;
    let params = Params::new(&preset.params())?;
    let encoder = Encoder::new(&params);
    let boots = args
        .log_slots
        .iter()
        .map(|&log_slots| Bootstrapper::new(&encoder, &preset.bootstrap(log_slots)))
        .collect::<Result<Vec<_>, _>>()?;
    if boots.is_empty() {
        bail!("no size given; name one or more with --log-slots");
    }
    let mut uses = KeyUses::new();
    let mut config = EvaluationKeyConfig::default();
    for boot in &boots {
        config = config.union(&boot.keys());
        for (purpose, levels) in boot.key_uses() {
            uses.entry(purpose).or_default().extend(levels);
        }
    }
    let secret = SecretKey::generate(&params)?;
    let generator = KeyGenerator::new(&params, &secret)?;
    let mut keys = EvaluationKeys::new(&params);
    for (purpose, level) in config.iter() {
        keys.insert_seeded(generator.key(purpose, level)?, &uses)?;
    }
    let evaluator = Evaluator::new(&encoder, Arc::new(keys));
    let (encryptor, decryptor) = (
        Encryptor::new(&params, &secret)?,
        Decryptor::new(&params, &secret)?,
    );

    let warm = (args.count / 10).max(boots.len());
    let (mut first, mut worst) = (None, f64::INFINITY);
    let mut means = 0.0;
    for (round, boot) in (0..args.count).zip(boots.iter().cycle()) {
        let z = message(round as u64 + 1, boot.slots(), params.slots());
        let level = boot.input_level();
        let plain = encoder.encode(&z, level, params.scale(level)?)?;
        let operand = encryptor.encrypt(&plain)?.expand(&params)?;
        let result = boot.bootstrap(&evaluator, &operand)?;
        let stats = PrecisionStats::new(&z, &encoder.decode(&decryptor.decrypt(&result)?)?);
        if stats.min_bits < 8.0 {
            bail!(
                "bootstrap {} of {} slots failed: {stats}",
                round + 1,
                boot.slots()
            );
        }
        worst = worst.min(stats.min_bits);
        means += stats.mean_bits;
        if round + 1 == warm {
            first = Some(resident_kib()?);
        }
        if (round + 1).is_multiple_of(50) {
            eprintln!(
                "{} of {}: worst {worst:.1} bits, {} MiB",
                round + 1,
                args.count,
                resident_kib()? >> 10
            );
        }
    }
    let last = resident_kib()?;
    println!(
        "{} bootstraps, none failed: worst slot {worst:.1} bits, mean {:.1} bits",
        args.count,
        means / args.count as f64
    );
    if let Some(first) = first {
        println!(
            "memory after {warm}: {} MiB, at the end: {} MiB",
            first >> 10,
            last >> 10
        );
        if last > first + SLACK_KIB {
            bail!("memory grew by {} MiB", (last - first) >> 10);
        }
    }
    Ok(())
}

/// Slots uniform in the unit square, the first n repeated.
fn message(seed: u64, n: usize, slots: usize) -> Vec<Complex64> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 33) as f64 / f64::from(1u32 << 30) - 1.0
    };
    let one: Vec<Complex64> = (0..n).map(|_| Complex64::new(next(), next())).collect();
    one.into_iter().cycle().take(slots).collect()
}

/// Resident memory of this process.
fn resident_kib() -> anyhow::Result<u64> {
    let status =
        std::fs::read_to_string("/proc/self/status").context("memory is read from /proc, on Linux")?;
    status
        .lines()
        .find_map(|line| {
            line.strip_prefix("VmRSS:")?
                .split_whitespace()
                .next()?
                .parse()
                .ok()
        })
        .context("no VmRSS in /proc/self/status")
}
