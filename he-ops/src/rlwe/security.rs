//! The security table that every parameter set is held against.

use serde::{Deserialize, Serialize};

/// Where the bounds come from.
pub const TABLE_SOURCE: &str = "Bossuat et al., Security Guidelines for Implementing Homomorphic Encryption, \
     IACR CiC 1(4) 2024, Table 5.2 (ePrint 2024/463), uniform ternary secret, 128-bit classical";

/// The secret distribution of every key of this crate.
pub const SECRET_DISTRIBUTION: &str = "uniform ternary";

/// Largest log2(QP) at 128 bits of classical security for ring degree 2^`log_n`, a uniform ternary secret and errors of a
/// standard deviation of 3.2: those drawn here have 3.24 ([`NOISE_VARIANCE`](crate::arith::sample::NOISE_VARIANCE)), and
/// wider ones are no less secure. `None` where the table has no row.
#[must_use]
pub fn max_log_qp(log_n: u32) -> Option<f64> {
    match log_n {
        10 => Some(26.0),
        11 => Some(53.0),
        12 => Some(106.0),
        13 => Some(214.0),
        14 => Some(430.0),
        15 => Some(868.0),
        16 => Some(1747.0),
        17 => Some(3523.0),
        _ => None,
    }
}

/// Non-zero coefficients of the ephemeral secret of bootstrapping.
pub const EPHEMERAL_WEIGHT: usize = 32;

/// Largest log2(q_0 P) at 128 bits for a ternary secret of [`EPHEMERAL_WEIGHT`] non-zero coefficients: the hybrid
/// attacks of ePrint 2026/279 in the estimates of github.com/jdumezy/sparse-key-estimate. `None` where there is no row.
#[must_use]
pub fn max_log_qp_ephemeral(log_n: u32) -> Option<f64> {
    match log_n {
        14 => Some(76.0),
        15 => Some(162.0),
        16 => Some(345.0),
        _ => None,
    }
}

/// What a parameter set is worth, to print and to send.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SecurityReport {
    /// log2 of the ring degree.
    pub log_n: u32,
    /// log2 of the ciphertext modulus at the highest level.
    pub log_q: f64,
    /// Largest log2(QP) of any key-switch key.
    pub log_qp: f64,
    /// The table's bound at 128 bits; none for a degree outside the table.
    pub log_qp_bound: Option<f64>,
    /// Distribution of the secret key.
    pub secret: String,
    /// The table.
    pub source: String,
    /// True when `log_qp` is within the bound.
    pub secure_128: bool,
}

impl std::fmt::Display for SecurityReport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let bound = self
            .log_qp_bound
            .map_or("no bound known".into(), |b| format!("bound {b:.0}"));
        write!(
            f,
            "N = 2^{}, log2 Q = {:.1}, log2 QP = {:.1} ({bound}), secret {}, {}",
            self.log_n,
            self.log_q,
            self.log_qp,
            self.secret,
            if self.secure_128 {
                "128-bit secure"
            } else {
                "INSECURE"
            }
        )
    }
}
