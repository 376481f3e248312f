//! Bootstrapping: a ciphertext without levels becomes one with levels, encrypting the same slots.
//!
//! In the order of ePrint 2022/024 and of "slim" bootstraps: SlotsToCoeffs first, at the bottom where it is cheap; a
//! switch to an ephemeral sparse secret at the lowest modulus; ModRaise, which adds multiples of q_0 to the
//! coefficients; back to the secret while CoeffsToSlots takes its first step; EvalMod, which removes the multiples.

mod dft;
pub(crate) mod eval_mod;
mod literal;
pub(crate) mod noise;
mod on_ciphertexts;
pub(crate) mod structure;

pub use literal::{BootstrapLiteral, BootstrapPreset, COSINE_DEGREE};

use super::ciphertext::{check_level, check_parts, check_scale};
use super::linear::schedule::BabySteps;
use super::{Ciphertext, Encoder, Evaluator, LinearTransform};
use crate::arith::NttTable;
use crate::arith::arena;
use crate::error::broken;
use crate::par;
use crate::ring::{Eval, Poly};
use crate::rlwe::key_switch::{decompose, switch};
use crate::rlwe::key_switch_key::serving_gadget;
use crate::rlwe::{EvaluationKeyConfig, Gadget, KeyPurpose, KeyUses, Params};
use crate::{Error, ParamsError, Result};
use eval_mod::EvalMod;
use num_complex::Complex64;
use on_ciphertexts::{OnCiphertexts, Twist};
use std::collections::BTreeMap;

/// A bootstrap that is ready for ciphertexts: matrices encoded, constants computed. One serves any number of clients.
pub struct Bootstrapper {
    params: Params,
    literal: BootstrapLiteral,
    output_level: usize,
    /// Scale of the message in the coefficients, at level 0.
    bottom_scale: f64,
    slots_to_coeffs: Vec<LinearTransform>,
    coeffs_to_slots: Vec<LinearTransform>,
    eval_mod: EvalMod,
    twists: Vec<Twist>,
    key_uses: KeyUses,
}

impl Bootstrapper {
    /// Encodes the matrices for the parameters of `encoder`.
    ///
    /// **Cost:** seconds, once; memory as of [`Self::memory_bytes`].
    ///
    /// # Errors
    /// [`Error::Params`] or [`Error::Level`] when the literal and the chain of the parameters do not fit;
    /// [`Error::Insecure`] when q_0 is too wide for the ephemeral secret.
    pub fn new(encoder: &Encoder, literal: &BootstrapLiteral) -> Result<Self> {
        let params = encoder.params();
        literal.check(params)?;
        params.key_gadget(KeyPurpose::Encapsulate, 0)?;
        let n = 1usize << literal.log_slots;
        let full = n == params.slots();
        let factors = if full {
            vec![Complex64::new(1.0, 0.0)]
        } else {
            halves(n, Complex64::I)
        };
        let eval_mod = EvalMod::new(literal);
        let baby_steps = literal.baby_steps(params);
        let top = params.max_level();
        let depth = literal.coeffs_to_slots.len();
        let raised_scale = bottom_to_slots_scale(params, literal, &eval_mod)?;
        let sine_level = top - depth;
        // Scales settle at twice the primes in EvalMod, which also needs this one to be exact.
        let step = (2.0 * params.prime(sine_level)? / raised_scale).powf(1.0 / depth as f64);
        let mut coeffs_to_slots = Vec::with_capacity(depth);
        for (i, map) in dft::coeffs_to_slots(n, &literal.coeffs_to_slots)?
            .iter()
            .enumerate()
        {
            let level = top - i;
            // Real parts into the first half of the slots, imaginary parts into the second, where there is room.
            let map = if !full && i + 1 == depth {
                map.scaled_rows(&halves(n, -Complex64::I))
            } else {
                map.clone()
            };
            let scale = params.prime(level)? * step;
            let baby_steps = if i == 0 { BabySteps::Raised } else { baby_steps };
            coeffs_to_slots.push(LinearTransform::with_keys_of(
                encoder,
                &map,
                [level, top],
                scale,
                baby_steps,
            )?);
        }
        let input_level = literal.input_level();
        let bottom_scale = params.prime(0)? / literal.log_message_ratio.exp2();
        // Every level of SlotsToCoeffs takes its part of the way from one scale to the other.
        let step = (bottom_scale / params.scale(input_level)?).powf(1.0 / input_level as f64);
        let shared: BTreeMap<_, _> = coeffs_to_slots.iter().flat_map(|t| t.keys().galois).collect();
        let mut slots_to_coeffs = Vec::with_capacity(input_level);
        for (i, map) in dft::slots_to_coeffs(n, &literal.slots_to_coeffs)?
            .iter()
            .enumerate()
        {
            let level = input_level - i;
            let scale = params.prime(level)? * step;
            let transform =
                LinearTransform::with_keys_of(encoder, map, [level, input_level], scale, baby_steps)?;
            // Where CoeffsToSlots has the same rotations, the keys are made from its keys.
            let gadget = params.gadget(input_level)?;
            for own in transform.keys().galois.keys().filter_map(|g| shared.get(g)) {
                if serving_gadget(params, *own, &[input_level].into(), input_level)? != *gadget {
                    return Err(ParamsError::NoSmallerKey {
                        from: *own,
                        level: input_level,
                    }
                    .into());
                }
            }
            slots_to_coeffs.push(transform);
        }
        Ok(Self {
            params: params.clone(),
            literal: literal.clone(),
            output_level: literal.output_level(params)?,
            bottom_scale,
            slots_to_coeffs,
            coeffs_to_slots,
            eval_mod,
            twists: Twist::of(literal, &factors),
            key_uses: literal.key_uses(params)?,
        })
    }

    /// What it was made from.
    #[must_use]
    pub fn literal(&self) -> &BootstrapLiteral {
        &self.literal
    }

    /// Level of the operand.
    #[must_use]
    pub fn input_level(&self) -> usize {
        self.literal.input_level()
    }

    /// Level of the result.
    #[must_use]
    pub fn output_level(&self) -> usize {
        self.output_level
    }

    /// Complex slots in use.
    #[must_use]
    pub fn slots(&self) -> usize {
        1 << self.literal.log_slots
    }

    /// Bytes of the encoded matrices.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        self.slots_to_coeffs
            .iter()
            .chain(&self.coeffs_to_slots)
            .map(LinearTransform::memory_bytes)
            .sum()
    }

    fn is_full(&self) -> bool {
        self.slots() == self.params.slots()
    }

    /// The keys that it needs, each at its highest level.
    #[must_use]
    pub fn keys(&self) -> EvaluationKeyConfig {
        let mut config = EvaluationKeyConfig::default();
        for (purpose, levels) in &self.key_uses {
            for level in levels {
                config.require(*purpose, *level);
            }
        }
        config
    }

    /// Every level at which each key is used, for [`crate::rlwe::EvaluationKeys::from_seeded`]: the server makes small
    /// keys for SlotsToCoeffs from those of CoeffsToSlots.
    #[must_use]
    pub fn key_uses(&self) -> KeyUses {
        self.key_uses.clone()
    }

    /// The same slots at a higher level. Real and imaginary parts must lie in \[-1, 1\]; what is beyond loses precision
    /// with the cube of its size.
    ///
    /// **Level:** [`Self::input_level`] -> [`Self::output_level`]. **Scale:** the canonical ones of both. **Keys:**
    /// [`Self::keys`].
    ///
    /// # Errors
    /// [`Error::Level`], [`Error::Scale`], [`Error::Parts`]; [`Error::MissingKey`] naming the key.
    pub fn bootstrap(&self, evaluator: &Evaluator, a: &Ciphertext) -> Result<Ciphertext> {
        let low = self.slots_to_coeffs(evaluator, a)?;
        let raised = self.raise(evaluator, &low)?;
        let sines = self.coeffs_to_slots(evaluator, &raised)?;
        self.eval_mod(evaluator, &sines)
    }

    /// Slots into coefficients, at the bottom of the chain.
    ///
    /// # Errors
    /// As [`Self::bootstrap`].
    pub fn slots_to_coeffs(&self, evaluator: &Evaluator, a: &Ciphertext) -> Result<Ciphertext> {
        check_level("bootstrap", self.input_level(), a.level)?;
        check_scale("bootstrap", self.params.scale(a.level)?, a.scale)?;
        self.slots_to_coeffs
            .iter()
            .try_fold(a.clone(), |x, map| map.apply(evaluator, &x))
    }

    /// To the ephemeral secret, and from q_0 to all primes: the coefficients gain multiples of q_0.
    ///
    /// # Errors
    /// As [`Self::bootstrap`].
    pub fn raise(&self, evaluator: &Evaluator, a: &Ciphertext) -> Result<Raised> {
        check_level("raise", 0, a.level)?;
        check_parts(&self.params, a)?;
        let [body, mask] = &a.parts[..] else {
            return Err(Error::Parts {
                op: "raise",
                needed: 2,
                found: a.parts.len(),
            });
        };
        let params = &self.params;
        let key = evaluator.keys().get("bootstrap", KeyPurpose::Encapsulate, 0)?;
        let decomposed = decompose(params, mask, 0, &key.gadget)?;
        let [body, mask] = &switch(params, &decomposed, key, [Some(body), None])?;
        let top = params.max_level();
        let gadget = params.key_gadget(KeyPurpose::Raise(1), top)?;
        Ok(Raised {
            mask: widen(params, mask, top, &gadget)?,
            body: widen(params, body, top, &gadget)?.truncated(top + 1),
        })
    }

    /// The coefficients of a raised ciphertext in the slots of one ciphertext of real slots, or of two for the real and
    /// the imaginary part: x / B, B the half width of EvalMod.
    ///
    /// # Errors
    /// As [`Self::bootstrap`].
    pub fn coeffs_to_slots(&self, evaluator: &Evaluator, raised: &Raised) -> Result<Vec<Ciphertext>> {
        let scale = bottom_to_slots_scale(&self.params, &self.literal, &self.eval_mod)?;
        let [first, middle @ .., last] = &self.coeffs_to_slots[..] else {
            // All slots in one map: there is no trace, and nothing to pack.
            let map = self.coeffs_to_slots.first();
            let map = map.ok_or_else(|| broken("a bootstrap has maps"))?;
            let sum = map.undivided_raised(evaluator, &raised.body, &raised.mask)?;
            return parts(evaluator, &map.finish(&sum, scale)?);
        };
        let mut sum = first.undivided_raised(evaluator, &raised.body, &raised.mask)?;
        // The trace multiplies by the number of repetitions. After the map, which takes the step from the ephemeral
        // secret as well, and before any division.
        for k in structure::trace(&self.params, self.slots()) {
            let element = self.params.galois_element(k);
            sum = first.plus_automorphism(evaluator, &sum, element)?;
        }
        let slots = middle
            .iter()
            .try_fold(first.finish(&sum, scale)?, |x, map| map.apply(evaluator, &x))?;
        if self.is_full() {
            return parts(evaluator, &last.apply(evaluator, &slots)?);
        }
        let sum = last.undivided(evaluator, &slots)?;
        let conjugate = self.params.galois_element_conjugate();
        let real = last.plus_automorphism(evaluator, &sum, conjugate)?;
        Ok(vec![last.finish(&real, slots.scale)?])
    }

    /// Removes the multiples of q_0, and puts real and imaginary parts together again.
    ///
    /// # Errors
    /// As [`Self::bootstrap`].
    pub fn eval_mod(&self, evaluator: &Evaluator, parts: &[Ciphertext]) -> Result<Ciphertext> {
        let level = self.output_level;
        let scale = self.params.scale(level)?;
        let q0 = self.params.bottom_modulus().value() as f64;
        // z = sin q_0 / (2 pi Delta): the factor goes into the scale, at no cost.
        let sine_scale = scale * q0 / (std::f64::consts::TAU * self.bottom_scale);
        let message = |part: &Ciphertext| -> Result<Ciphertext> {
            let mut arithmetic = OnCiphertexts {
                evaluator,
                twists: &self.twists,
            };
            let sine = self.eval_mod.apply(&mut arithmetic, part, sine_scale)?;
            Ok(Ciphertext { scale, ..sine })
        };
        let out = match parts {
            [real, imaginary] => {
                let (real, imaginary) = par::join(|| message(real), || message(imaginary));
                evaluator.add(&real?, &evaluator.mul_i(&imaginary?, 1)?)?
            }
            [packed] => {
                let both = message(packed)?;
                evaluator.add(&both, &evaluator.rotate(&both, self.slots() as i64)?)?
            }
            other => {
                return Err(Error::Parts {
                    op: "eval_mod",
                    needed: 2,
                    found: other.len(),
                });
            }
        };
        check_level("bootstrap", level, out.level)?;
        Ok(out)
    }
}

/// Twice the real part, and twice the imaginary part.
fn parts(evaluator: &Evaluator, slots: &Ciphertext) -> Result<Vec<Ciphertext>> {
    let conjugate = evaluator.conjugate(slots)?;
    let real = evaluator.add(slots, &conjugate)?;
    let imaginary = evaluator.mul_i(&evaluator.sub(slots, &conjugate)?, 3)?;
    Ok(vec![real, imaginary])
}

/// A ciphertext at the highest level under the ephemeral secret; its slots hold the message plus multiples of q_0.
pub struct Raised {
    /// Over Q.
    body: Poly<Eval>,
    /// Over QP, ready for the inner product with keys from the ephemeral secret.
    mask: Poly<Eval>,
}

/// The scale by which the slots of a raised ciphertext, summed over its repetitions, are x / 2B: with the conjugate
/// added, x / B.
fn bottom_to_slots_scale(params: &Params, literal: &BootstrapLiteral, sine: &EvalMod) -> Result<f64> {
    let repetitions = (params.slots() >> literal.log_slots) as f64;
    Ok(params.prime(0)? * repetitions * 2.0 * sine.bound())
}

/// One in the first n slots, `second` in the next n.
fn halves(n: usize, second: Complex64) -> Vec<Complex64> {
    (0..2 * n)
        .map(|j| if j < n { Complex64::new(1.0, 0.0) } else { second })
        .collect()
}

/// A polynomial modulo q_0, centered, modulo every prime of QP.
fn widen(params: &Params, poly: &Poly<Eval>, level: usize, gadget: &Gadget) -> Result<Poly<Eval>> {
    let n = params.degree();
    let q = params.q_tables(level)?;
    let p = params.p_tables(gadget.specials)?;
    let converter = params.mod_up(level, gadget, 0)?;
    let (bottom, others) = q
        .split_first()
        .ok_or_else(|| broken("a chain has a bottom prime"))?;
    let tables: Vec<&NttTable> = others.iter().chain(p).collect();
    let mut source = arena::take(n);
    source.copy_from_slice(poly.limb(0));
    converter.prepare_values(0, bottom, &mut source);
    let mut out = Poly::<Eval>::scratch(q.len() + p.len(), n);
    let (first, others) = out.words_mut().split_at_mut(n);
    first.copy_from_slice(poly.limb(0));
    converter.convert(&source, others, n);
    par::for_each(
        others.chunks_mut(n).zip(tables).collect(),
        |_, (limb, table): (&mut [u64], &NttTable)| {
            table.forward(limb);
        },
    );
    Ok(out)
}
