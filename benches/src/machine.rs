//! The machine that a number was measured on: a time without it says nothing.

use serde::Serialize;

/// Processor and threads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Machine {
    /// Model name of the processor, where the system tells it.
    pub cpu: String,
    /// Hardware threads that this process may use.
    pub cores: usize,
    /// Whether the engine runs its AVX-512 IFMA path.
    pub avx512_ifma: bool,
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
        #[cfg(target_arch = "x86_64")]
        let avx512_ifma = std::arch::is_x86_feature_detected!("avx512ifma");
        #[cfg(not(target_arch = "x86_64"))]
        let avx512_ifma = false;
        Self {
            cpu: cpu.to_owned(),
            cores: std::thread::available_parallelism().map_or(1, Into::into),
            avx512_ifma,
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
        let ifma = if self.avx512_ifma {
            "AVX-512 IFMA"
        } else {
            "no AVX-512 IFMA"
        };
        write!(
            f,
            "{}, {} hardware threads, {ifma}, {}, {} build",
            self.cpu, self.cores, self.system, self.build
        )
    }
}
