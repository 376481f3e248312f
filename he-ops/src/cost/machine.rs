//! A machine as coefficients: what turns counted work into microseconds.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::work::Work;

/// Kinds of operations, each with a correction of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Rotation, conjugation or relinearisation with its own decomposition.
    KeySwitch,
    /// Several rotations of one value.
    Hoisted,
    /// Linear maps.
    LinearMap,
    /// Weighted sums.
    WeightedSum,
    /// Product of two ciphertexts.
    Product,
    /// Rescale, alignment.
    Rescale,
    /// Bootstrap.
    Bootstrap,
    /// Exact decision.
    Decision,
    /// Sums, products with scalars, constants.
    Other,
}

impl Kind {
    /// All of them.
    pub const ALL: [Kind; 9] = [
        Kind::KeySwitch,
        Kind::Hoisted,
        Kind::LinearMap,
        Kind::WeightedSum,
        Kind::Product,
        Kind::Rescale,
        Kind::Bootstrap,
        Kind::Decision,
        Kind::Other,
    ];

    /// Name in tables and in machine files.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Kind::KeySwitch => "key_switch",
            Kind::Hoisted => "hoisted",
            Kind::LinearMap => "linear_map",
            Kind::WeightedSum => "weighted_sum",
            Kind::Product => "product",
            Kind::Rescale => "rescale",
            Kind::Bootstrap => "bootstrap",
            Kind::Decision => "decision",
            Kind::Other => "other",
        }
    }
}

/// Time of a unit of work on one thread, in nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rates {
    /// A butterfly of a transform.
    pub butterfly_ns: f64,
    /// A multiply-add of a word.
    pub product_ns: f64,
    /// A byte through memory.
    pub byte_ns: f64,
    /// A scalar step of encoding.
    pub scalar_ns: f64,
}

impl Rates {
    /// Nanoseconds of each unit, in the order of [`units`].
    pub(super) fn to_array(self) -> [f64; 4] {
        [self.butterfly_ns, self.product_ns, self.byte_ns, self.scalar_ns]
    }

    pub(super) fn from_array([butterfly_ns, product_ns, byte_ns, scalar_ns]: [f64; 4]) -> Self {
        Rates {
            butterfly_ns,
            product_ns,
            byte_ns,
            scalar_ns,
        }
    }
}

/// Work in the units of [`Rates`].
pub(super) fn units(work: &Work) -> [f64; 4] {
    [work.butterflies, work.products, work.bytes, work.scalars].map(|count| count as f64)
}

/// How a kind of operation differs from the sum of its parts.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Correction {
    /// Time over that of its parts, on one thread.
    pub factor: f64,
    /// Part of it that further threads do not make faster, 0 to 1.
    pub serial: f64,
}

impl Default for Correction {
    fn default() -> Self {
        Correction {
            factor: 1.0,
            serial: 0.1,
        }
    }
}

/// What a machine needs for a unit of work; `calibrate` of the benches measures one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Machine {
    /// What it is.
    pub name: String,
    /// Time of a unit of work.
    pub rates: Rates,
    /// Corrections by kind; a kind that is not there has none.
    pub kinds: BTreeMap<Kind, Correction>,
}

impl Machine {
    /// Microseconds of an operation on this many threads.
    #[must_use]
    pub fn predict_us(&self, kind: Kind, work: &Work, threads: usize) -> f64 {
        let Correction { factor, serial } = self.kinds.get(&kind).copied().unwrap_or_default();
        let one = self.parts_us(work) * factor;
        one * (serial + (1.0 - serial) / threads.max(1) as f64)
    }

    /// Microseconds of the parts on one thread, before any correction.
    #[must_use]
    pub fn parts_us(&self, work: &Work) -> f64 {
        let rates = self.rates.to_array();
        units(work).iter().zip(rates).map(|(n, ns)| n * ns).sum::<f64>() / 1e3
    }
}

/// Two cores of a virtual machine on an AMD EPYC of the Zen 4 generation with AVX-512 IFMA, as `calibrate` of the benches
/// measured them: what the README's figures were measured on. Other machines differ by a factor, hardly in proportions;
/// `calibrate` finds both.
impl Default for Machine {
    fn default() -> Self {
        let correction = |factor, serial| Correction { factor, serial };
        Machine {
            name: "AMD EPYC (Zen 4), AVX-512 IFMA, 2 cores".to_owned(),
            rates: Rates {
                butterfly_ns: 0.349,
                product_ns: 0.155,
                byte_ns: 0.0320,
                scalar_ns: 0.076,
            },
            kinds: BTreeMap::from([
                (Kind::KeySwitch, correction(0.86, 0.2)),
                (Kind::Hoisted, correction(1.02, 0.2)),
                (Kind::LinearMap, correction(1.02, 0.12)),
                (Kind::WeightedSum, correction(1.27, 0.4)),
                (Kind::Product, correction(0.86, 0.3)),
                (Kind::Rescale, correction(0.84, 0.4)),
                (Kind::Bootstrap, correction(1.01, 0.17)),
                (Kind::Decision, correction(1.0, 0.1)),
                (Kind::Other, correction(0.99, 0.2)),
            ]),
        }
    }
}
