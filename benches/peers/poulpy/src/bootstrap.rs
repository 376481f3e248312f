//! Bootstraps, with poulpy's own 128-bit presets and its own driver of them.

use crate::row::{Row, median_ms, peak_memory};
use anyhow::{Context, Result};
use poulpy_ckks::layouts::EvalModRing;
use poulpy_ckks::presets::bootstrapping::all;
use poulpy_ckks::test_suite::presets::{BootstrappingPresetRun, CIBackend, preset_for_backend};
use poulpy_cpu_avx512::NTT3x42Ifma as Be;

/// The full-slot presets measured, fastest first.
pub const PRESETS: [&str; 2] = ["n16_d35_k685_p19_s2c_ffr_ci", "n16_d35_k733_p20_s2c"];

/// Sets the preset up, bootstraps it a few times and prints its row.
pub fn run(name: &str) -> Result<()> {
    let nominal = all()?
        .into_iter()
        .find(|p| p.name() == name)
        .context("unknown preset")?;
    let preset = preset_for_backend::<Be, CIBackend<Be>>(&nominal)?;
    eprintln!("poulpy: {name}: keys and first bootstrap (base2k {})", preset.base2k());
    let mut run = match preset.plan().eval_mod_ring() {
        EvalModRing::Standard => BootstrappingPresetRun::<Be>::setup(preset.clone()),
        _ => BootstrappingPresetRun::<Be>::setup_ci(preset.clone()),
    };
    let median = median_ms(3, || run.bootstrap());
    let (re, im) = run.precision();
    Row {
        op: format!("bootstrap ({name})"),
        log_n: preset.log_n(),
        log_qp: preset.max_dense_modulus(),
        log_q: preset.bootstrap_k(),
        levels: (preset.output_k() - preset.input_k()) / preset.log_delta(),
        median_ms: median,
        precision_bits: re.min_log2_prec.min(im.min_log2_prec),
        precision_mean_bits: re.avg_log2_prec.min(im.avg_log2_prec),
        bytes: peak_memory(),
        security: format!(
            "128 bits by its authors: secret of weight {}, ephemeral {}",
            preset.dense_secret_hamming_weight(),
            preset.sparse_secret_hamming_weight()
        ),
    }
    .print();
    Ok(())
}
