//! What a bootstrap is made of, and presets that are within the security table.

use crate::rlwe::{Params, ParamsLiteral};
use crate::{Error, ParamsError, Result};
use serde::{Deserialize, Serialize};

/// Degree of the cosine in the input of EvalMod; it is even, so half of it in the square.
pub const COSINE_DEGREE: usize = 30;

/// Levels of the cosine: one for the square, log2 of (half the degree + 1) for the rest.
pub(super) const COSINE_DEPTH: usize = 5;

/// How to bootstrap: everything that the parameter set itself does not say.
///
/// The chain of the parameters must be, from the bottom: q_0; one prime for each level of `slots_to_coeffs`; the levels
/// that are left to the user, of the parameters' own scale; one prime of the size of q_0 for each level of EvalMod; one
/// prime for each level of `coeffs_to_slots`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BootstrapLiteral {
    /// log2 of the complex slots in use, each repeated N/2n times: n from 2 to N/2.
    pub log_slots: u32,
    /// log2 of the radix of each level of SlotsToCoeffs, in order of evaluation; the sum is `log_slots`.
    pub slots_to_coeffs: Vec<u32>,
    /// log2 of the radix of each level of CoeffsToSlots, in order of evaluation; the sum is `log_slots`. Fewer than all
    /// slots need at least two.
    pub coeffs_to_slots: Vec<u32>,
    /// log2 of q_0 over the scale of the message while it lies in the coefficients. The error of the sine falls, and
    /// that of the arithmetic grows, with it.
    pub log_message_ratio: f64,
    /// Largest multiple of q_0 that the raised ciphertext may hold: what is above is the failure probability.
    pub interval: u32,
    /// Doublings of the angle after the cosine.
    pub double_angles: u32,
    /// Removes the cubic term of the sine, for two more levels; full slots only.
    pub arcsine: bool,
}

impl BootstrapLiteral {
    /// Levels that EvalMod takes.
    #[must_use]
    pub fn eval_mod_depth(&self) -> usize {
        COSINE_DEPTH + self.double_angles as usize + if self.arcsine { 2 } else { 0 }
    }

    /// Level of the operand: those of SlotsToCoeffs.
    #[must_use]
    pub fn input_level(&self) -> usize {
        self.slots_to_coeffs.len()
    }

    /// Level of the result.
    ///
    /// # Errors
    /// [`Error::Level`] when the parameters have too few levels.
    pub fn output_level(&self, params: &Params) -> Result<usize> {
        let depth = self.coeffs_to_slots.len() + self.eval_mod_depth();
        params
            .max_level()
            .checked_sub(depth)
            .filter(|&level| level > self.input_level())
            .ok_or(Error::Level {
                op: "bootstrap",
                needed: depth + self.input_level() + 1,
                found: params.max_level(),
            })
    }

    /// log2 of the probability that some coefficient of a raised ciphertext is beyond the interval.
    ///
    /// A coefficient is a sum of h + 1 values of at most q_0/2, about uniform, h the weight of the ephemeral secret: an
    /// Irwin-Hall distribution, whose tail below the first integer from its end is y^(h+1) / (h+1)! for the distance y
    /// from the end; further in this is an upper bound.
    #[must_use]
    pub fn log_failure_probability(&self, params: &Params) -> f64 {
        let terms = crate::rlwe::security::EPHEMERAL_WEIGHT as f64 + 1.0;
        let distance = terms / 2.0 - f64::from(self.interval);
        if distance <= 0.0 {
            return f64::NEG_INFINITY;
        }
        let log_factorial: f64 = (1..=terms as u32).map(|k| f64::from(k).log2()).sum();
        // Two ends, N coefficients.
        terms * distance.log2() - log_factorial + 1.0 + f64::from(params.log_n())
    }

    pub(super) fn check(&self, params: &Params) -> Result<()> {
        let all = params.log_n() - 1;
        ParamsError::check("log2 of the slots of a bootstrap", self.log_slots, [1, all])?;
        for (map, radices) in [
            ("slots_to_coeffs", &self.slots_to_coeffs),
            ("coeffs_to_slots", &self.coeffs_to_slots),
        ] {
            if radices.iter().sum::<u32>() != self.log_slots || radices.contains(&0) {
                return Err(ParamsError::Radices {
                    map,
                    log_slots: self.log_slots,
                    found: radices.clone(),
                }
                .into());
            }
        }
        ParamsError::check("interval of EvalMod", self.interval, [1, 64])?;
        ParamsError::check("double angles", self.double_angles, [0, 6])?;
        ParamsError::check("bits of the message ratio", self.log_message_ratio, [2.0, 30.0])?;
        if self.log_slots < all {
            if self.arcsine {
                return Err(ParamsError::Arcsine {
                    needed: all,
                    found: self.log_slots,
                }
                .into());
            }
            if self.coeffs_to_slots.len() < 2 {
                let found = self.coeffs_to_slots.len();
                return Err(ParamsError::SparseLevels { found }.into());
            }
        }
        self.output_level(params).map(drop)
    }
}

/// Parameter sets with their bootstraps, all at 128 bits under a uniform ternary secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum BootstrapPreset {
    /// N = 2^16, 15 levels of 40 bits left.
    ///
    /// Budget of log2 Q = 1293: q_0 50; SlotsToCoeffs 3 x 33; levels left 15 x 40; EvalMod 8 x 50; CoeffsToSlots
    /// 3 x 48. Special primes 9 x 50, three digits: log2 QP = 1743 of 1747. Key to the ephemeral secret: 100 bits of
    /// 345. Interval 14: failure probability below 2^-61 for a bootstrap. Precision of messages uniform in the unit
    /// square: see the table of the README.
    N16,
    /// N = 2^15, 3 levels of 35 bits left.
    ///
    /// Budget of log2 Q = 676: q_0 45; SlotsToCoeffs 2 x 33; levels left 3 x 35; EvalMod 8 x 46; CoeffsToSlots 2 x 46.
    /// Special primes 4 x 45, five digits: log2 QP = 856 of 868. Key to the ephemeral secret: 90 bits of 162. Interval
    /// 14: failure probability below 2^-62 for a bootstrap.
    N15,
}

impl BootstrapPreset {
    /// The parameter set.
    #[must_use]
    pub fn params(self) -> ParamsLiteral {
        let chain = |runs: &[(u32, usize)]| -> Vec<u32> {
            runs.iter()
                .flat_map(|&(bits, count)| std::iter::repeat_n(bits, count))
                .collect()
        };
        match self {
            Self::N16 => ParamsLiteral {
                log_n: 16,
                log_q: chain(&[(50, 1), (33, 3), (40, 15), (50, 8), (48, 3)]),
                log_p: vec![50; 9],
                log_scale: 40,
            },
            Self::N15 => ParamsLiteral {
                log_n: 15,
                log_q: chain(&[(45, 1), (33, 2), (35, 3), (46, 8), (46, 2)]),
                log_p: vec![45; 4],
                log_scale: 35,
            },
        }
    }

    /// The bootstrap of 2^log_slots slots.
    #[must_use]
    pub fn bootstrap(self, log_slots: u32) -> BootstrapLiteral {
        let (levels, log_message_ratio) = match self {
            Self::N16 => (3, 11.2),
            Self::N15 => (2, 8.5),
        };
        // Even radices; the largest first, where CoeffsToSlots wraps around and its operand is cheap. Few slots take
        // one stage more there; for many, whose diagonals are written out, that would be too much memory.
        let more = u32::from(levels < log_slots && log_slots + 4 <= self.params().log_n);
        let radix = |i: u32| (log_slots - more + levels - 1 - i) / levels + if i == 0 { more } else { 0 };
        let coeffs_to_slots: Vec<u32> = (0..levels).map(radix).collect();
        BootstrapLiteral {
            log_slots,
            slots_to_coeffs: coeffs_to_slots.iter().rev().copied().collect(),
            coeffs_to_slots,
            log_message_ratio,
            interval: 14,
            double_angles: 3,
            arcsine: false,
        }
    }
}
