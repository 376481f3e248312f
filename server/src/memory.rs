//! Memory: what the models need, held against what there is, before anything is served.

use anyhow::bail;

use crate::catalog::Catalog;
use crate::config::{Config, gib};

/// What is left of the memory for the expanded keys of the clients.
///
/// The rest goes to what every model keeps (weights and the matrices of its bootstrap), to the ciphertexts of as many
/// evaluations as there are workers, and to the request bodies.
///
/// # Errors
/// The largest request, or the largest key set of a model, does not fit; the message names the model and what to do.
pub(crate) fn key_memory(config: &Config, catalog: &Catalog) -> anyhow::Result<u64> {
    let available = config.memory_bytes.unwrap_or_else(|| machine_bytes() / 10 * 9);
    let models = || catalog.models();
    let kept: u64 = models()
        .map(|model| model.memory.weights + model.memory.matrices)
        .sum();
    let running = models().map(|model| model.memory.ciphertexts).max().unwrap_or(0);
    let running = running.saturating_mul(config.workers.max(1) as u64);
    let besides = kept.saturating_add(running).saturating_add(config.request_bytes);
    for model in models() {
        if model.request_limit > config.request_bytes {
            bail!(
                "model {}: its requests have up to {}, of which the memory for requests holds {}; raise --request-mib",
                model.id,
                gib(model.request_limit),
                gib(config.request_bytes)
            );
        }
        let needed = besides.saturating_add(model.needs.expanded_bytes);
        if needed > available {
            bail!(
                "model {}: {} of memory needed ({} for models, {} for evaluations, {} for request bodies, {} for the keys of \
                 one client), {} available; serve fewer models (--model), use fewer workers, or raise --memory-mib",
                model.id,
                gib(needed),
                gib(kept),
                gib(running),
                gib(config.request_bytes),
                gib(model.needs.expanded_bytes),
                gib(available)
            );
        }
    }
    let left = available.saturating_sub(besides);
    tracing::info!(
        models = gib(kept),
        evaluations = gib(running),
        requests = gib(config.request_bytes),
        keys = gib(left),
        "memory planned"
    );
    Ok(left)
}

/// The memory of the machine, or of the container that the process runs in if that is less; no bound where the system
/// does not tell.
fn machine_bytes() -> u64 {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let machine = total_of(&read("/proc/meminfo"));
    let container = read("/sys/fs/cgroup/memory.max").trim().parse().ok();
    [machine, container]
        .into_iter()
        .flatten()
        .min()
        .unwrap_or(u64::MAX)
}

/// `MemTotal:  1024 kB` in bytes.
fn total_of(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.trim()
        .trim_end_matches("kB")
        .trim()
        .parse::<u64>()
        .ok()?
        .checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_memory_of_the_machine_is_read() {
        assert_eq!(
            total_of("MemTotal:       24 kB\nMemFree: 1 kB\n"),
            Some(24 * 1024)
        );
        assert_eq!(total_of("MemTotal: much\n"), None);
        assert!(machine_bytes() > 1 << 20);
    }
}
