//! Coefficients from measurements: least squares of relative errors, each weighted by its time; none below zero.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::machine::{Correction, Kind, Machine, Rates, units};
use super::work::Work;

/// A measured operation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// What was measured, for people.
    pub name: String,
    /// Its kind.
    pub kind: Kind,
    /// Its counted work.
    pub work: Work,
    /// Threads that it could use.
    pub threads: usize,
    /// Microseconds that it took.
    pub us: f64,
}

/// Sweeps over the coordinates; each lowers the error, and it converges long before.
const SWEEPS: usize = 20_000;

/// The machine on which these samples were measured. Rates and factors come from the samples on one thread, the serial
/// parts from those on more. What no sample tells is taken from `known`.
#[must_use]
pub fn fit(name: &str, samples: &[Sample], known: &Machine) -> Machine {
    let single: Vec<&Sample> = samples.iter().filter(|s| s.threads == 1 && s.us > 0.0).collect();
    let rates = if single.is_empty() {
        known.rates
    } else {
        rates(&single, known.rates)
    };
    let mut machine = Machine {
        name: name.to_owned(),
        rates,
        kinds: known.kinds.clone(),
    };
    for kind in Kind::ALL {
        let own = |s: &&Sample| s.kind == kind && s.us > 0.0;
        let mut correction = machine.kinds.get(&kind).copied().unwrap_or_default();
        let of_kind = single.iter().copied().filter(own);
        let (measured, parts) = sums(of_kind.map(|s| (s.us, machine.parts_us(&s.work))));
        if parts > 0.0 {
            correction.factor = measured / parts;
        }
        // The same operation on more threads and on one: t = t_1 (serial + (1 - serial) / threads).
        let shared = samples.iter().filter(|s| own(s) && s.threads > 1);
        let (waiting, all) = sums(shared.filter_map(|s| {
            let alone = single.iter().find(|a| a.name == s.name && a.work == s.work)?;
            let each = 1.0 / s.threads as f64;
            Some((s.us - alone.us * each, alone.us * (1.0 - each)))
        }));
        if all > 0.0 {
            correction.serial = (waiting / all).clamp(0.0, 1.0);
        }
        machine.kinds.insert(kind, correction);
    }
    machine
}

fn sums(pairs: impl Iterator<Item = (f64, f64)>) -> (f64, f64) {
    pairs.fold((0.0, 0.0), |(a, b), (x, y)| (a + x, b + y))
}

/// Coordinate descent on Σ t_i (Σ_j rate_j n_ij / t_i - 1)^2. A unit of which nothing was measured keeps its rate.
#[expect(clippy::indexing_slicing, reason = "there are four units")]
fn rates(samples: &[&Sample], known: Rates) -> Rates {
    let rows: Vec<([f64; 4], f64)> = samples
        .iter()
        .map(|s| (units(&s.work).map(|n| n / (s.us.sqrt() * 1e3)), s.us.sqrt()))
        .collect();
    let norms = [0, 1, 2, 3].map(|j| rows.iter().map(|(row, _)| row[j].powi(2)).sum::<f64>());
    let mut rates = known.to_array();
    for _ in 0..SWEEPS {
        for j in 0..4 {
            let norm = norms[j];
            if norm <= 0.0 {
                continue;
            }
            let gradient: f64 = rows
                .iter()
                .map(|(row, target)| {
                    let predicted: f64 = row.iter().zip(rates).map(|(n, rate)| n * rate).sum();
                    row[j] * (target - predicted)
                })
                .sum();
            rates[j] = (rates[j] + gradient / norm).max(0.0);
        }
    }
    Rates::from_array(rates)
}

/// Samples beside what a machine predicts for them: (sample, microseconds predicted).
#[must_use]
pub fn compare<'s>(machine: &Machine, samples: &'s [Sample]) -> Vec<(&'s Sample, f64)> {
    samples
        .iter()
        .map(|s| (s, machine.predict_us(s.kind, &s.work, s.threads)))
        .collect()
}

/// A correction of one and the default serial part for every kind: where a first calibration starts.
#[must_use]
pub fn uncorrected() -> BTreeMap<Kind, Correction> {
    Kind::ALL
        .into_iter()
        .map(|kind| (kind, Correction::default()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Times made from known coefficients, each off by a few per cent, give predictions as good as that.
    #[test]
    fn coefficients_are_found_again() {
        let truth = Machine {
            name: "truth".to_owned(),
            rates: Rates {
                butterfly_ns: 0.3,
                product_ns: 0.1,
                byte_ns: 0.04,
                scalar_ns: 2.0,
            },
            kinds: [(
                Kind::KeySwitch,
                Correction {
                    factor: 1.2,
                    serial: 0.2,
                },
            )]
            .into(),
        };
        let mut samples = Vec::new();
        for i in 1..40_u64 {
            let work = Work {
                transforms: 1,
                butterflies: 1000 * (i % 7),
                products: 700 * (i % 5),
                bytes: 9000 * (i % 3 + 1),
                scalars: 90 * (i % 2),
            };
            let kind = if i % 4 == 0 { Kind::KeySwitch } else { Kind::Other };
            for threads in [1, 2] {
                let noise = 1.0 + 0.02 * ((i * 37 % 11) as f64 / 5.0 - 1.0);
                let us = truth.predict_us(kind, &work, threads) * noise;
                let name = i.to_string();
                samples.push(Sample {
                    name,
                    kind,
                    work,
                    threads,
                    us,
                });
            }
        }
        let found = fit("found", &samples, &Machine::default());
        for (sample, predicted) in compare(&found, &samples) {
            let ratio = predicted / sample.us;
            assert!((0.85..1.18).contains(&ratio), "{sample:?}: {predicted}");
        }
        let serial = found.kinds[&Kind::KeySwitch].serial;
        assert!((serial - 0.2).abs() < 0.02, "{serial}");
        let text = serde_json::to_string(&Machine::default()).unwrap();
        assert_eq!(
            serde_json::from_str::<Machine>(&text).unwrap(),
            Machine::default()
        );
    }
}
