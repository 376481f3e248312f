//! The machine that a number was measured on: a time without it says nothing.

use he_ops::arith::Simd;
use serde::Serialize;

/// Processor and threads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Machine {
    /// Model name of the processor, where the system tells it.
    pub cpu: String,
    /// Hardware threads that this process may use.
    pub cores: usize,
    /// Level of the engine's kernels: `ifma`, `avx2` or `scalar`; `HE_OPS_SIMD` lowers it.
    pub simd: &'static str,
    /// Operating system and architecture.
    pub system: String,
    /// `release`, or `debug` for numbers that nobody should report.
    pub build: &'static str,
}

impl Machine {
    /// This machine.
    pub fn this() -> Self {
        let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let cpu = info
            .lines()
            .find_map(|line| line.strip_prefix("model name")?.split_once(':'))
            .map_or("unknown processor", |(_, name)| name.trim());
        Self {
            cpu: cpu.to_owned(),
            cores: std::thread::available_parallelism().map_or(1, Into::into),
            simd: Simd::current().name(),
            system: format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
            build: if cfg!(debug_assertions) {
                "debug"
            } else {
                "release"
            },
        }
    }
}

impl std::fmt::Display for Machine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{}, {} hardware threads, {} kernels, {}, {} build",
            self.cpu, self.cores, self.simd, self.system, self.build
        )
    }
}
