//! One measured row, and how it is measured.

use std::time::Instant;

/// A row of the `peers` table.
pub struct Row {
    pub op: String,
    pub log_n: usize,
    pub log_qp: usize,
    pub log_q: usize,
    pub levels: usize,
    pub median_ms: f64,
    pub precision_bits: f64,
    pub precision_mean_bits: f64,
    pub bytes: usize,
    pub security: String,
}

impl Row {
    /// Prints the row as one line of JSON.
    pub fn print(&self) {
        let number = |v: f64| {
            if v.is_finite() {
                format!("{v:.3}")
            } else {
                "null".to_owned()
            }
        };
        println!(
            "{{\"peer\":\"poulpy-ckks 0.10\",\"op\":\"{}\",\"log_n\":{},\"log_qp\":{},\"log_q\":{},\"levels\":{},\"threads\":1,\"median_ms\":{},\"precision_bits\":{},\"precision_mean_bits\":{},\"bytes\":{},\"security\":\"{}\"}}",
            self.op,
            self.log_n,
            self.log_qp,
            self.log_q,
            self.levels,
            number(self.median_ms),
            number(self.precision_bits),
            number(self.precision_mean_bits),
            self.bytes,
            self.security
        );
    }
}

/// Median time of `f` in milliseconds: one warm-up, then at least `least` runs and about one second.
pub fn median_ms(least: usize, mut f: impl FnMut()) -> f64 {
    f();
    let mut times: Vec<f64> = Vec::new();
    let start = Instant::now();
    while times.len() < least || (start.elapsed().as_secs_f64() < 1.0 && times.len() < 100) {
        let t = Instant::now();
        f();
        times.push(t.elapsed().as_secs_f64() * 1e3);
    }
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

/// Worst and mean precision in bits: `-log2` of the largest and of the mean error.
pub fn precision(got: &[f64], want: &[f64]) -> (f64, f64) {
    let errors = got.iter().zip(want).map(|(g, w)| (g - w).abs());
    let worst = errors.clone().fold(0.0, f64::max);
    let mean = errors.sum::<f64>() / got.len() as f64;
    (-worst.log2(), -mean.log2())
}

/// The most memory this process has held, in bytes.
pub fn peak_memory() -> usize {
    std::fs::read_to_string("/proc/self/status")
        .ok()
        .and_then(|s| {
            let line = s.lines().find(|l| l.starts_with("VmHWM:"))?.to_owned();
            line.split_whitespace().nth(1)?.parse::<usize>().ok()
        })
        .map_or(0, |kib| kib * 1024)
}
