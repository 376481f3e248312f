//! Operations on ciphertexts. None of them aligns levels or scales silently: a mismatch is an error with both numbers.

use super::ciphertext::{
    Ciphertext, Plaintext, check_level, check_parts, check_poly, check_rescale, check_scale,
};
use super::encoder::{Encoder, add_periodic};
use super::linear::pattern::Pattern;
use crate::arith::dot::{Output, dot};
use crate::arith::tensor::tensor_product;
use crate::arith::{Modulus, NttTable};
use crate::error::{broken, only};
use crate::par;
use crate::ring::{Eval, Poly};
use crate::rlwe::key_switch::{DivideBy, Target, switch_all};
use crate::rlwe::{EvaluationKeys, KeyPurpose, Params};
use crate::{Error, Result};
use std::sync::Arc;

/// Evaluates on ciphertexts with one client's evaluation keys.
#[derive(Clone)]
pub struct Evaluator {
    encoder: Encoder,
    keys: Arc<EvaluationKeys>,
}

impl Evaluator {
    /// With these keys; operations that need a key that is not there say which. An encoder serves any number of
    /// clients: make it once.
    #[must_use]
    pub fn new(encoder: &Encoder, keys: Arc<EvaluationKeys>) -> Self {
        Self {
            encoder: encoder.clone(),
            keys,
        }
    }

    /// The parameters.
    #[must_use]
    pub fn params(&self) -> &Params {
        self.encoder.params()
    }

    /// The keys it evaluates with.
    pub(crate) fn keys(&self) -> &EvaluationKeys {
        &self.keys
    }

    /// The encoder it uses for plaintext operands.
    #[must_use]
    pub fn encoder(&self) -> &Encoder {
        &self.encoder
    }

    /// The primes of a ciphertext, whose parts must have a limb for each of them.
    fn tables(&self, a: &Ciphertext) -> Result<&[NttTable]> {
        check_parts(self.params(), a)
    }

    /// a + b slot by slot.
    ///
    /// **Level, scale:** equal for both and kept. **Cost:** additions.
    ///
    /// # Errors
    /// [`Error::Level`] or [`Error::Scale`] when the operands disagree.
    pub fn add(&self, a: &Ciphertext, b: &Ciphertext) -> Result<Ciphertext> {
        self.combine("add", a, b, false)
    }

    /// a - b slot by slot.
    ///
    /// **Level, scale:** equal for both and kept. **Cost:** additions.
    ///
    /// # Errors
    /// [`Error::Level`] or [`Error::Scale`] when the operands disagree.
    pub fn sub(&self, a: &Ciphertext, b: &Ciphertext) -> Result<Ciphertext> {
        self.combine("sub", a, b, true)
    }

    fn combine(&self, op: &'static str, a: &Ciphertext, b: &Ciphertext, minus: bool) -> Result<Ciphertext> {
        check_level(op, a.level, b.level)?;
        check_scale(op, a.scale, b.scale)?;
        let q = self.tables(a)?;
        self.tables(b)?;
        let both = a.parts.len().min(b.parts.len());
        let sums = a
            .parts
            .iter()
            .zip(&b.parts)
            .map(|(a, b)| Poly::sum(a, b, minus, q));
        let rest_of_b = b.parts.iter().skip(both).map(|part| match minus {
            false => part.clone(),
            true => Poly::sum(&Poly::zero(q.len(), part.degree()), part, true, q),
        });
        Ok(Ciphertext {
            parts: sums
                .chain(a.parts.iter().skip(both).cloned())
                .chain(rest_of_b)
                .collect(),
            level: a.level,
            scale: a.scale,
        })
    }

    /// -a.
    ///
    /// **Level, scale:** kept. **Cost:** subtractions.
    ///
    /// # Errors
    /// [`Error::Level`] when `a` does not fit the parameters.
    pub fn negate(&self, a: &Ciphertext) -> Result<Ciphertext> {
        self.scale_limbs(a, a.scale, |m, _| [m.to_mont52(m.value() - 1); 2])
    }

    /// a + p for an encoded vector of the same level and scale.
    ///
    /// # Errors
    /// [`Error::Level`] or [`Error::Scale`] when the operands disagree.
    pub fn add_plain(&self, a: &Ciphertext, p: &Plaintext) -> Result<Ciphertext> {
        check_level("add_plain", a.level, p.level)?;
        check_scale("add_plain", a.scale, p.scale)?;
        let q = self.tables(a)?;
        check_poly(self.params(), "limbs of a plaintext", &p.poly, p.level)?;
        let mut out = a.clone();
        let body = out.body_mut("add_plain")?;
        *body = Poly::sum(body, &p.poly, false, q);
        Ok(out)
    }

    /// a + pattern, encoded at the scale of `a`, whatever it is.
    ///
    /// **Level, scale:** kept. **Cost:** a transform of 2D per prime, D the period.
    ///
    /// # Errors
    /// [`Error::Value`] when the pattern does not fit at this scale.
    pub fn add_pattern(&self, a: &Ciphertext, pattern: &Pattern) -> Result<Ciphertext> {
        let plain = self
            .encoder
            .encode_periodic(pattern, pattern.period(), a.level, a.scale)?;
        let q = self.tables(a)?;
        let mut out = a.clone();
        add_periodic(out.body_mut("add_pattern")?, &plain, q);
        Ok(out)
    }

    /// a * p for an encoded vector of the same level, not rescaled.
    ///
    /// **Level:** kept. **Scale:** product of both. **Cost:** 2 (level + 1) pointwise products; no key.
    ///
    /// # Errors
    /// [`Error::Level`] when the operands disagree.
    pub fn mul_plain(&self, a: &Ciphertext, p: &Plaintext) -> Result<Ciphertext> {
        check_level("mul_plain", a.level, p.level)?;
        let q = self.tables(a)?;
        check_poly(self.params(), "limbs of a plaintext", &p.poly, p.level)?;
        let n = self.params().degree();
        let product = |part: &Poly<Eval>| {
            let mut out = Poly::zero(q.len(), n);
            par::for_each(
                out.words_mut().chunks_mut(n).zip(q).collect(),
                |i, (limb, table): (&mut [u64], &NttTable)| {
                    table.mul_accumulate(limb, part.limb(i), p.poly.limb(i));
                },
            );
            out
        };
        Ok(Ciphertext {
            parts: a.parts.iter().map(product).collect(),
            level: a.level,
            scale: a.scale * p.scale,
        })
    }

    /// a * b slot by slot, as three parts.
    ///
    /// **Level:** equal for both and kept. **Scale:** product of both. **Cost:** 4 (level + 1) pointwise products; no key.
    ///
    /// # Errors
    /// [`Error::Level`] when the operands disagree, [`Error::Parts`] when one is not relinearized.
    pub fn mul(&self, a: &Ciphertext, b: &Ciphertext) -> Result<Ciphertext> {
        check_level("mul", a.level, b.level)?;
        let q = self.tables(a)?;
        self.tables(b)?;
        let (a0, a1) = two_parts("mul", a)?;
        let (b0, b1) = two_parts("mul", b)?;
        let n = self.params().degree();
        let mut parts: [Poly<Eval>; 3] = [(); 3].map(|()| Poly::scratch(q.len(), n));
        let [c0, c1, c2] = parts.each_mut().map(|part| part.words_mut().chunks_mut(n));
        let items: Vec<_> = c0.zip(c1).zip(c2).zip(q).collect();
        par::for_each(items, |i, (((c0, c1), c2), table)| {
            let (a, b) = ([a0.limb(i), a1.limb(i)], [b0.limb(i), b1.limb(i)]);
            tensor_product([c0, c1, c2], a, b, table.modulus());
        });
        Ok(Ciphertext {
            parts: parts.into(),
            level: a.level,
            scale: a.scale * b.scale,
        })
    }

    /// a * a. See [`Self::mul`].
    ///
    /// # Errors
    /// As [`Self::mul`].
    pub fn square(&self, a: &Ciphertext) -> Result<Ciphertext> {
        self.mul(a, a)
    }

    /// Back to two parts.
    ///
    /// **Level, scale:** kept. **Keys:** relinearization. **Cost:** one key switch.
    ///
    /// # Errors
    /// [`Error::MissingKey`]; [`Error::Parts`] unless there are two or three parts.
    pub fn relinearize(&self, a: &Ciphertext) -> Result<Ciphertext> {
        match &a.parts[..] {
            [_, _] => Ok(a.clone()),
            [c0, c1, c2] => Ok(Ciphertext {
                parts: self.switch_square("relinearize", a, [c0, c1, c2], DivideBy::Specials)?,
                level: a.level,
                scale: a.scale,
            }),
            other => Err(Error::Parts {
                op: "relinearize",
                needed: 3,
                found: other.len(),
            }),
        }
    }

    /// Back to two parts and divided by the last prime, as one division by the special primes and that prime: as exact
    /// as [`Self::relinearize`] and then [`Self::rescale`], without the transforms of the second. Sums of products can
    /// be added up before.
    ///
    /// **Level:** one less. **Scale:** divided by the prime. **Keys:** relinearization. **Cost:** one key switch.
    ///
    /// # Errors
    /// [`Error::Level`] at level 0; [`Error::MissingKey`]; [`Error::Parts`] unless there are two or three parts.
    pub fn relinearize_rescale(&self, a: &Ciphertext) -> Result<Ciphertext> {
        let [c0, c1, c2] = &a.parts[..] else {
            return self.rescale(&self.relinearize(a)?);
        };
        check_rescale("relinearize_rescale", a.level)?;
        Ok(Ciphertext {
            parts: self.switch_square("relinearize_rescale", a, [c0, c1, c2], DivideBy::SpecialsAndLast)?,
            level: a.level - 1,
            scale: a.scale / self.params().prime(a.level)?,
        })
    }

    /// The three parts of `a` as two, divided.
    fn switch_square(
        &self,
        op: &'static str,
        a: &Ciphertext,
        [c0, c1, c2]: [&Poly<Eval>; 3],
        divide_by: DivideBy,
    ) -> Result<Vec<Poly<Eval>>> {
        self.tables(a)?;
        let target = Target {
            key: self.keys.get(op, KeyPurpose::Relin, a.level)?,
            permutation: None,
        };
        let add = [Some(c0), Some(c1)];
        only(switch_all(self.params(), c2, a.level, add, &[target], divide_by)?).map(Vec::from)
    }

    /// a * b slot by slot with two parts, rescaled. See [`Self::mul`] and [`Self::relinearize_rescale`].
    ///
    /// **Level:** equal for both; one less. **Scale:** product of both, divided by the last prime. **Keys:**
    /// relinearization. **Cost:** one key switch.
    ///
    /// # Errors
    /// As [`Self::mul`] and [`Self::relinearize_rescale`].
    pub fn mul_relin_rescale(&self, a: &Ciphertext, b: &Ciphertext) -> Result<Ciphertext> {
        self.relinearize_rescale(&self.mul(a, b)?)
    }

    /// Divides by the last prime with rounding.
    ///
    /// **Level:** one less. **Scale:** divided by the prime. **Cost:** per part one inverse transform and `level`
    /// transforms.
    ///
    /// # Errors
    /// [`Error::Level`] at level 0.
    pub fn rescale(&self, a: &Ciphertext) -> Result<Ciphertext> {
        check_rescale("rescale", a.level)?;
        let division = self.params().rescale(a.level)?;
        let q: Vec<_> = self.tables(a)?.iter().collect();
        let (keep, drop) = q.split_at(a.level);
        let inputs: Vec<_> = a.parts.iter().collect();
        let parts = division.divide(&inputs, keep, drop);
        Ok(Ciphertext {
            parts,
            level: a.level - 1,
            scale: a.scale / self.params().prime(a.level)?,
        })
    }

    /// Forgets primes; the scale stays.
    ///
    /// **Level:** `level`. **Cost:** none; the words are shared.
    ///
    /// # Errors
    /// [`Error::Level`] when `a` is below that level already.
    pub fn drop_level(&self, a: &Ciphertext, level: usize) -> Result<Ciphertext> {
        if level > a.level {
            return Err(Error::Level {
                op: "drop_level",
                needed: level,
                found: a.level,
            });
        }
        self.tables(a)?;
        let parts = a.parts.iter().map(|p| p.truncated(level + 1)).collect();
        Ok(Ciphertext {
            parts,
            level,
            scale: a.scale,
        })
    }

    /// a times a real constant, encoded as one integer of scale `plain_scale`.
    ///
    /// **Level:** kept. **Scale:** times `plain_scale`. **Cost:** one product per word.
    ///
    /// # Errors
    /// [`Error::Value`] when the integer does not fit 2^62.
    pub fn mul_scalar(&self, a: &Ciphertext, value: f64, plain_scale: f64) -> Result<Ciphertext> {
        let integer = (value * plain_scale).round();
        if !integer.is_finite() || integer.abs() >= (1u64 << 62) as f64 {
            return Err(Error::Value {
                what: "mul_scalar",
                reason: format!("{value} at scale 2^{:.1} is too large", plain_scale.log2()),
            });
        }
        let integer = integer as i64;
        self.scale_limbs(a, a.scale * plain_scale, |m, _| {
            [m.to_mont52(m.reduce_i64(integer)); 2]
        })
    }

    /// a times i^power, i the imaginary unit: the monomial X^(power N/2).
    ///
    /// **Level, scale:** kept. **Cost:** one product per word; no noise.
    ///
    /// # Errors
    /// [`Error::Level`] when `a` does not fit the parameters.
    pub fn mul_i(&self, a: &Ciphertext, power: u32) -> Result<Ciphertext> {
        let half = self.params().degree() as u64 / 2;
        self.scale_limbs(a, a.scale, |m, table| {
            // X^(N/2) is psi^(N/2 (2r+1)) = +-I at entry r; entries of even r fill the first half in bit-reversed order.
            let unit = m.pow(m.pow(table.psi(), half), u64::from(power % 4));
            let other = if power.is_multiple_of(2) {
                unit
            } else {
                m.neg(unit)
            };
            [m.to_mont52(unit), m.to_mont52(other)]
        })
    }

    /// Multiplies the two halves of every limb by a constant each.
    fn scale_limbs(
        &self,
        a: &Ciphertext,
        scale: f64,
        factors: impl Fn(&Modulus, &NttTable) -> [u64; 2] + Sync + Send,
    ) -> Result<Ciphertext> {
        let q = self.tables(a)?;
        let n = self.params().degree();
        let parts = a
            .parts
            .iter()
            .map(|part| {
                let mut out = Poly::<Eval>::scratch(q.len(), n);
                par::for_each(
                    out.words_mut().chunks_mut(n).zip(q).collect(),
                    |i, (limb, table): (&mut [u64], &NttTable)| {
                        let modulus = table.modulus();
                        let factors = factors(modulus, table);
                        for ((out, x), w) in limb
                            .chunks_mut(n / 2)
                            .zip(part.limb(i).chunks(n / 2))
                            .zip(factors)
                        {
                            dot(
                                &mut [Output {
                                    out,
                                    weights: &[w],
                                    start: 0,
                                    modulus,
                                }],
                                &[x],
                            );
                        }
                    },
                );
                out
            })
            .collect();
        Ok(Ciphertext {
            parts,
            level: a.level,
            scale,
        })
    }

    /// Rotates the slots by k to the left: slot j of the result is slot j + k of `a`.
    ///
    /// **Level, scale:** kept. **Keys:** the Galois key of k. **Cost:** one key switch and two permutations.
    ///
    /// # Errors
    /// [`Error::MissingKey`] naming the rotation; [`Error::Parts`] when `a` is not relinearized.
    pub fn rotate(&self, a: &Ciphertext, k: i64) -> Result<Ciphertext> {
        self.automorphism("rotate", a, self.params().galois_element(k))
    }

    /// Rotates one ciphertext by several steps with one decomposition.
    ///
    /// **Level, scale:** kept. **Keys:** the Galois key of each step. **Cost:** one ModUp for each distinct gadget of
    /// the keys, then an inner product and a ModDown each.
    ///
    /// # Errors
    /// As [`Self::rotate`].
    pub fn rotate_hoisted(&self, a: &Ciphertext, steps: &[i64]) -> Result<Vec<Ciphertext>> {
        let elements: Vec<u64> = steps.iter().map(|&k| self.params().galois_element(k)).collect();
        self.automorphisms("rotate_hoisted", a, &elements)
    }

    /// Complex conjugate of every slot.
    ///
    /// **Level, scale:** kept. **Keys:** the conjugation key. **Cost:** one key switch and two permutations.
    ///
    /// # Errors
    /// As [`Self::rotate`].
    pub fn conjugate(&self, a: &Ciphertext) -> Result<Ciphertext> {
        self.automorphism("conjugate", a, self.params().galois_element_conjugate())
    }

    fn automorphism(&self, op: &'static str, a: &Ciphertext, element: u64) -> Result<Ciphertext> {
        only(self.automorphisms(op, a, &[element])?)
    }

    /// One result per element. Those whose keys have one gadget share a decomposition.
    fn automorphisms(&self, op: &'static str, a: &Ciphertext, elements: &[u64]) -> Result<Vec<Ciphertext>> {
        self.tables(a)?;
        let (c0, c1) = two_parts(op, a)?;
        let mut out: Vec<Option<Vec<Poly<Eval>>>> = vec![None; elements.len()];
        let mut waiting = Vec::with_capacity(elements.len());
        for (slot, &element) in out.iter_mut().zip(elements) {
            if element == 1 {
                *slot = Some(a.parts.clone());
                continue;
            }
            let key = self.keys.get(op, KeyPurpose::Galois(element), a.level)?;
            let permutation = Some(self.params().permutation(element)?);
            waiting.push((slot, Target { key, permutation }));
        }
        while let Some((_, Target { key, .. })) = waiting.first() {
            let gadget = &key.gadget;
            let (now, later): (Vec<_>, Vec<_>) =
                waiting.into_iter().partition(|(_, t)| t.key.gadget == *gadget);
            let (slots, targets): (Vec<_>, Vec<_>) = now.into_iter().unzip();
            let add = [Some(c0), None];
            let results = switch_all(self.params(), c1, a.level, add, &targets, DivideBy::Specials)?;
            for (slot, parts) in slots.into_iter().zip(results) {
                *slot = Some(parts.into());
            }
            waiting = later;
        }
        let turned = out.into_iter().map(|parts| {
            Ok(Ciphertext {
                parts: parts.ok_or_else(|| broken("a rotated value for each rotation"))?,
                level: a.level,
                scale: a.scale,
            })
        });
        turned.collect()
    }

    /// sum_i weights\[i\] (.) inputs\[i\]: [`Self::weighted_sums`] with one row.
    ///
    /// # Errors
    /// As [`Self::weighted_sums`].
    pub fn weighted_sum(
        &self,
        inputs: &[&Ciphertext],
        weights: &[Pattern],
        plain_scale: f64,
    ) -> Result<Ciphertext> {
        let row: Vec<Option<&Pattern>> = weights.iter().map(Some).collect();
        only(self.weighted_sums(inputs, &[(&row, plain_scale)])?)
    }
}

pub(super) fn two_parts<'c>(op: &'static str, a: &'c Ciphertext) -> Result<(&'c Poly<Eval>, &'c Poly<Eval>)> {
    match &a.parts[..] {
        [c0, c1] => Ok((c0, c1)),
        other => Err(Error::Parts {
            op,
            needed: 2,
            found: other.len(),
        }),
    }
}
