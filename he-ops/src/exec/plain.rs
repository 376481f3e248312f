//! The plain backend: f64 slots, the oracle of every circuit.

use num_complex::Complex64;

use super::Backend;
use crate::ckks::{Pattern, SlotMap};
use crate::decision::Decision;
use crate::graph::Step;
use crate::par;
use crate::{Error, Result};

/// Runs a plan on complex f64 vectors, one entry per slot. Levels and scales play no part.
#[derive(Debug, Clone)]
pub struct Plain {
    slots: usize,
    /// Root mean square of the slots of every value made, in order of the steps; for the noise model.
    magnitudes: Vec<f64>,
    /// The logits of the decision at the end, if there was one, and the class.
    decided: Option<(Vec<f64>, Option<usize>)>,
}

impl Plain {
    /// A backend for vectors of `slots` entries.
    pub fn new(slots: usize) -> Self {
        Plain {
            slots,
            magnitudes: Vec::new(),
            decided: None,
        }
    }

    /// Root mean square of the slots of each value, in order of the steps run so far.
    pub fn magnitudes(&self) -> &[f64] {
        &self.magnitudes
    }

    /// The logits of the decision that the plan ended with, and the class ahead of all others.
    #[must_use]
    pub fn decided(&self) -> Option<&(Vec<f64>, Option<usize>)> {
        self.decided.as_ref()
    }

    fn keep(&mut self, value: Vec<Complex64>) -> Result<Vec<Complex64>> {
        if value.len() != self.slots {
            return Err(Error::Shape {
                what: "plain vector",
                needed: self.slots,
                found: value.len(),
            });
        }
        let power: f64 = value.iter().map(Complex64::norm_sqr).sum();
        self.magnitudes.push((power / self.slots as f64).sqrt());
        Ok(value)
    }

    fn map(&mut self, a: &[Complex64], f: impl Fn(Complex64) -> Complex64) -> Result<Vec<Complex64>> {
        self.keep(a.iter().map(|x| f(*x)).collect())
    }

    fn zip(
        &mut self,
        a: &[Complex64],
        b: &[Complex64],
        f: impl Fn(Complex64, Complex64) -> Complex64,
    ) -> Result<Vec<Complex64>> {
        self.keep(a.iter().zip(b).map(|(x, y)| f(*x, *y)).collect())
    }
}

impl Backend for Plain {
    type Value = Vec<Complex64>;

    fn input(&mut self, value: &Self::Value, _: &Step) -> Result<Self::Value> {
        self.keep(value.clone())
    }

    fn add(&mut self, a: &Self::Value, b: &Self::Value, _: &Step) -> Result<Self::Value> {
        self.zip(a, b, |x, y| x + y)
    }

    fn sub(&mut self, a: &Self::Value, b: &Self::Value, _: &Step) -> Result<Self::Value> {
        self.zip(a, b, |x, y| x - y)
    }

    fn negate(&mut self, a: &Self::Value, _: &Step) -> Result<Self::Value> {
        self.map(a, |x| -x)
    }

    fn mul_i(&mut self, a: &Self::Value, power: u32, _: &Step) -> Result<Self::Value> {
        self.map(a, |x| x * Complex64::i().powu(power % 4))
    }

    fn add_plain(&mut self, a: &Self::Value, pattern: &Pattern, _: &Step) -> Result<Self::Value> {
        let value = a.iter().enumerate().map(|(j, x)| x + pattern.get(j)).collect();
        self.keep(value)
    }

    fn weighted_sums(
        &mut self,
        inputs: &[&Self::Value],
        rows: &[&[Option<&Pattern>]],
        _: &[Step],
    ) -> Result<Vec<Self::Value>> {
        rows.iter()
            .map(|row| {
                let mut sum = vec![Complex64::ZERO; self.slots];
                for (input, weight) in inputs.iter().zip(*row) {
                    let Some(weight) = weight else { continue };
                    let weight = weight.values();
                    for ((sum, x), w) in sum.iter_mut().zip(*input).zip(weight.iter().cycle()) {
                        *sum += x * w;
                    }
                }
                self.keep(sum)
            })
            .collect()
    }

    fn linear_maps(
        &mut self,
        inputs: &[&Self::Value],
        maps: &[&SlotMap],
        _: &[Step],
    ) -> Result<Vec<Self::Value>> {
        let inputs: Vec<&[Complex64]> = inputs.iter().map(|x| x.as_slice()).collect();
        let mut outputs = vec![Vec::new(); maps.len()];
        par::for_each(outputs.iter_mut().zip(maps).collect(), |_, (out, map)| {
            *out = map.apply(&inputs)
        });
        outputs.into_iter().map(|out| self.keep(out)).collect()
    }

    fn mul(&mut self, a: &Self::Value, b: &Self::Value, _: &Step) -> Result<Self::Value> {
        self.zip(a, b, |x, y| x * y)
    }

    fn square(&mut self, a: &Self::Value, _: &Step) -> Result<Self::Value> {
        self.map(a, |x| x * x)
    }

    fn rotate(&mut self, a: &Self::Value, by: &[i64], _: &[Step]) -> Result<Vec<Self::Value>> {
        by.iter()
            .map(|k| {
                let mut out = a.clone();
                // rem_euclid of a length that fits an i64 fits a usize.
                out.rotate_left(k.rem_euclid(a.len().max(1) as i64) as usize);
                self.keep(out)
            })
            .collect()
    }

    fn conjugate(&mut self, a: &Self::Value, _: &Step) -> Result<Self::Value> {
        self.map(a, |x| x.conj())
    }

    /// The sine is left out: the noise model counts its error.
    fn bootstrap(&mut self, a: &Self::Value, _: &Step) -> Result<Self::Value> {
        self.keep(a.clone())
    }

    fn relinearize(&mut self, a: &Self::Value, _: &Step) -> Result<Self::Value> {
        self.keep(a.clone())
    }

    fn rescale(&mut self, a: &Self::Value, _: &Step) -> Result<Self::Value> {
        self.keep(a.clone())
    }

    fn relinearize_rescale(&mut self, a: &Self::Value, _: &Step) -> Result<Self::Value> {
        self.keep(a.clone())
    }

    fn drop_level(&mut self, a: &Self::Value, _: &Step) -> Result<Self::Value> {
        self.keep(a.clone())
    }

    fn align(&mut self, a: &Self::Value, _: &Step) -> Result<Self::Value> {
        self.keep(a.clone())
    }

    fn decide(&mut self, values: &[&Self::Value], decision: &Decision, _: &Step) -> Result<()> {
        let values: Vec<&[Complex64]> = values.iter().map(|value| value.as_slice()).collect();
        let logits = decision.read(&values)?;
        let class = decision.of(&logits);
        self.decided = Some((logits, class));
        Ok(())
    }
}
