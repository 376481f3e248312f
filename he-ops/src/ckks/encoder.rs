//! Slots <-> polynomials: the canonical embedding (Cheon-Kim-Kim-Song, ePrint 2016/421).
//!
//! Slot j is the value at zeta^(5^j), zeta a primitive complex 2N-th root of unity, so that X -> X^5 rotates the slots.
#![expect(
    clippy::indexing_slicing,
    reason = "transform loops over tables of the same size"
)]

use super::ciphertext::{Plaintext, check_poly};
use super::linear::pattern::Pattern;
use crate::arith::NttTable;
use crate::arith::ntt::subring::reduce;
use crate::arith::ntt::{SubringTable, bit_reverse};
use crate::error::broken;
use crate::ring::{Coeff, Eval, Poly};
use crate::rlwe::Params;
use crate::{Error, Result};
use num_complex::Complex64;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Encodes and decodes for one parameter set. Cheap to clone: the tables are shared.
#[derive(Clone)]
pub struct Encoder {
    params: Params,
    /// zeta^k for k < 2N.
    roots: Arc<[Complex64]>,
    /// 5^j mod 2N for j < N/2.
    powers: Arc<[usize]>,
    /// Transform tables of subrings, by prime and size.
    subrings: Arc<Mutex<Subrings>>,
}

type Subrings = HashMap<(u64, usize), Arc<SubringTable>>;

/// A pattern of period D in evaluation form: the 2D distinct values per prime. Value r stands for the N/2D consecutive
/// entries from r N/2D on.
#[derive(Clone, Debug)]
pub struct PeriodicPlaintext {
    period: usize,
    /// 2D values per prime, prime after prime.
    values: Vec<u64>,
}

impl PeriodicPlaintext {
    /// One period in slots.
    #[must_use]
    pub fn period(&self) -> usize {
        self.period
    }

    /// The 2D values modulo prime `limb`.
    #[must_use]
    pub(crate) fn limb(&self, limb: usize) -> &[u64] {
        &self.values[2 * self.period * limb..2 * self.period * (limb + 1)]
    }
}

impl Encoder {
    /// Tables for a parameter set: 2N complex roots.
    #[must_use]
    pub fn new(params: &Params) -> Self {
        let m = 2 * params.degree();
        let roots = (0..m)
            .map(|k| Complex64::from_polar(1.0, std::f64::consts::TAU * k as f64 / m as f64))
            .collect();
        let powers = std::iter::successors(Some(1usize), |p| Some(p * 5 % m))
            .take(params.slots())
            .collect();
        Self {
            params: params.clone(),
            roots,
            powers,
            subrings: Arc::default(),
        }
    }

    /// The parameters.
    #[must_use]
    pub fn params(&self) -> &Params {
        &self.params
    }

    /// Encodes up to N/2 slots (the rest are zero).
    ///
    /// **Level, scale:** as given. **Cost:** one complex transform of N/2, level + 1 transforms of N.
    ///
    /// # Errors
    /// [`Error::Shape`] for more values than slots; [`Error::Value`] when a value is not finite or does not fit the
    /// modulus at this scale; [`Error::Level`].
    pub fn encode(&self, values: &[Complex64], level: usize, scale: f64) -> Result<Plaintext> {
        let slots = self.params.slots();
        if values.len() > slots {
            return Err(Error::Shape {
                what: "slots (at most)",
                needed: slots,
                found: values.len(),
            });
        }
        let mut z = values.to_vec();
        z.resize(slots, Complex64::default());
        let q = self.params.q_tables(level)?;
        let coefficients = self.coefficients(&mut z, scale)?;
        let limit = q.iter().map(|t| t.modulus().log2()).sum::<f64>() - 1.0;
        check_fits(&coefficients, limit)?;
        let poly = residues(&coefficients, q).into_eval(q);
        Ok(Plaintext { poly, level, scale })
    }

    /// Encodes values that repeat over all slots: a power of two of them, as a plan of fewer slots takes them.
    ///
    /// **Cost:** as [`Self::encode`].
    ///
    /// # Errors
    /// As [`Self::encode`]; [`Error::Shape`] when the number of values does not divide the slots.
    pub fn encode_repeated(&self, values: &[Complex64], level: usize, scale: f64) -> Result<Plaintext> {
        let slots = self.params.slots();
        if values.is_empty() || !slots.is_multiple_of(values.len()) {
            return Err(Error::Shape {
                what: "values that repeat (a divisor of the slots)",
                needed: slots,
                found: values.len(),
            });
        }
        self.encode(&values.repeat(slots / values.len()), level, scale)
    }

    /// Encodes a pattern in the subring of its period.
    ///
    /// **Cost:** a complex transform of D and level + 1 transforms of 2D, D the period.
    ///
    /// # Errors
    /// As [`Self::encode`]; [`Error::Shape`] when the period is larger than the number of slots.
    pub fn encode_periodic(
        &self,
        pattern: &Pattern,
        period: usize,
        level: usize,
        scale: f64,
    ) -> Result<PeriodicPlaintext> {
        let slots = self.params.slots();
        if period > slots || !period.is_power_of_two() || period < pattern.period() {
            return Err(Error::Shape {
                what: "period of a pattern (at most the slots)",
                needed: slots,
                found: period,
            });
        }
        let mut z: Vec<Complex64> = (0..period).map(|j| pattern.get(j)).collect();
        let q: Vec<&NttTable> = self.params.q_tables(level)?.iter().collect();
        self.encode_subring(&mut z, scale, &q)
    }

    /// Encodes one period of slots, a power of two of them, over any primes; `z` is scratch afterwards.
    ///
    /// **Cost:** as [`Self::encode_periodic`].
    ///
    /// # Errors
    /// [`Error::Value`] when a value is not finite or does not fit 125 bits at this scale.
    pub(crate) fn encode_subring(
        &self,
        z: &mut [Complex64],
        scale: f64,
        tables: &[&NttTable],
    ) -> Result<PeriodicPlaintext> {
        let period = z.len();
        let coefficients = self.subring_coefficients(z, scale)?;
        let mut values = vec![0; 2 * period * tables.len()];
        for (table, values) in tables.iter().zip(values.chunks_mut(2 * period)) {
            self.subring_values(&coefficients, table, values);
        }
        Ok(PeriodicPlaintext { period, values })
    }

    /// The 2D integers, as doubles, that encode one period of D slots: what is the same for all primes.
    ///
    /// **Cost:** a complex transform of D.
    ///
    /// # Errors
    /// As [`Self::encode_subring`].
    pub(crate) fn subring_coefficients(&self, z: &mut [Complex64], scale: f64) -> Result<Vec<f64>> {
        let coefficients = self.coefficients(z, scale)?;
        check_fits(&coefficients, 125.0)?;
        Ok(coefficients)
    }

    /// The 2D values of [`Self::subring_coefficients`] modulo one prime.
    ///
    /// **Cost:** a transform of 2D.
    pub(crate) fn subring_values(&self, coefficients: &[f64], table: &NttTable, values: &mut [u64]) {
        if values.len() == self.params.degree() {
            reduce(table.modulus(), coefficients, values);
            table.forward(values);
        } else {
            self.subring(table, values.len()).values(coefficients, values);
        }
    }

    /// Transform tables of the subring of `size` coefficients, a power of two; made at first use of a prime and size.
    fn subring(&self, table: &NttTable, size: usize) -> Arc<SubringTable> {
        let mut cache = self.subrings.lock().unwrap_or_else(PoisonError::into_inner);
        cache
            .entry((table.modulus().value(), size))
            .or_insert_with(|| Arc::new(table.subring(size.trailing_zeros())))
            .clone()
    }

    /// The N/2 slots of a plaintext.
    ///
    /// # Errors
    /// [`Error::Level`] or [`Error::Shape`] when it does not fit the parameters.
    pub fn decode(&self, plaintext: &Plaintext) -> Result<Vec<Complex64>> {
        let q = check_poly(
            &self.params,
            "limbs of a plaintext",
            &plaintext.poly,
            plaintext.level,
        )?;
        let coefficients = compose(&plaintext.poly.clone().into_coeff(q), q)?;
        let slots = self.params.slots();
        let mut z: Vec<Complex64> = (0..slots)
            .map(|i| Complex64::new(coefficients[i], coefficients[i + slots]) / plaintext.scale)
            .collect();
        self.fft(&mut z);
        Ok(z)
    }

    /// The 2D scaled real coefficients of the polynomial with the given D slots.
    fn coefficients(&self, z: &mut [Complex64], scale: f64) -> Result<Vec<f64>> {
        if z.iter().any(|v| !v.re.is_finite() || !v.im.is_finite()) || !scale.is_finite() || scale <= 0.0 {
            return Err(Error::Value {
                what: "encode",
                reason: "a value or the scale is not finite".into(),
            });
        }
        self.ifft(z);
        let d = z.len();
        let mut out = vec![0.0; 2 * d];
        for (i, v) in z.iter().enumerate() {
            out[i] = (v.re * scale).round();
            out[i + d] = (v.im * scale).round();
        }
        Ok(out)
    }

    /// D values at zeta_4D^(5^j) from D complex coefficient pairs.
    fn fft(&self, z: &mut [Complex64]) {
        let d = z.len();
        bit_reverse_in_place(z);
        let mut len = 2;
        while len <= d {
            let (half, quad) = (len / 2, len * 4);
            let stride = self.roots.len() / quad;
            for block in z.chunks_mut(len) {
                let (lo, hi) = block.split_at_mut(half);
                for (j, (a, b)) in lo.iter_mut().zip(hi).enumerate() {
                    let v = *b * self.roots[(self.powers[j] % quad) * stride];
                    (*a, *b) = (*a + v, *a - v);
                }
            }
            len *= 2;
        }
    }

    /// The inverse of [`Self::fft`].
    fn ifft(&self, z: &mut [Complex64]) {
        let d = z.len();
        let mut len = d;
        while len >= 2 {
            let (half, quad) = (len / 2, len * 4);
            let stride = self.roots.len() / quad;
            for block in z.chunks_mut(len) {
                let (lo, hi) = block.split_at_mut(half);
                for (j, (a, b)) in lo.iter_mut().zip(hi).enumerate() {
                    let root = self.roots[(quad - self.powers[j] % quad) * stride];
                    (*a, *b) = (*a + *b, (*a - *b) * root);
                }
            }
            len /= 2;
        }
        bit_reverse_in_place(z);
        let factor = 1.0 / d as f64;
        z.iter_mut().for_each(|v| *v *= factor);
    }
}

fn bit_reverse_in_place(z: &mut [Complex64]) {
    let bits = z.len().trailing_zeros();
    for i in 0..z.len() {
        let j = bit_reverse(i, bits);
        if i < j {
            z.swap(i, j);
        }
    }
}

fn check_fits(coefficients: &[f64], log_limit: f64) -> Result<()> {
    let max = coefficients.iter().fold(0.0f64, |m, c| m.max(c.abs()));
    if max > 0.0 && max.log2() >= log_limit {
        return Err(Error::Value {
            what: "encode",
            reason: format!(
                "a coefficient of 2^{:.1} found, below 2^{log_limit:.1} needed; lower the scale",
                max.log2()
            ),
        });
    }
    Ok(())
}

fn residues(coefficients: &[f64], tables: &[NttTable]) -> Poly<Coeff> {
    let n = coefficients.len();
    let mut out = Poly::<Coeff>::scratch(tables.len(), n);
    crate::par::for_each(
        out.words_mut().chunks_mut(n).zip(tables).collect(),
        |_, (limb, t): (&mut [u64], &NttTable)| {
            reduce(t.modulus(), coefficients, limb);
        },
    );
    out
}

/// Centered integers, as doubles, by mixed-radix digits (Garner): exact up to one double rounding per digit.
fn compose(poly: &Poly<Coeff>, tables: &[NttTable]) -> Result<Vec<f64>> {
    let n = poly.degree();
    // inverse[i][j] = q_j^-1 mod q_i.
    let inverse: Vec<Vec<u64>> = tables
        .iter()
        .enumerate()
        .map(|(i, t)| {
            let m = t.modulus();
            let inverse = |s: &NttTable| m.inv(s.modulus().value());
            tables[..i].iter().map(inverse).collect::<Option<_>>()
        })
        .collect::<Option<_>>()
        .ok_or_else(|| broken("no prime stands twice in a chain"))?;
    let mut out = vec![0.0; n];
    let items: Vec<_> = out.chunks_mut(1024).collect();
    crate::par::for_each(items, |block, values: &mut [f64]| {
        let mut digits = vec![0i64; tables.len()];
        for (offset, value) in values.iter_mut().enumerate() {
            let at = block * 1024 + offset;
            let (mut sum, mut radix) = (0.0, 1.0);
            for (i, t) in tables.iter().enumerate() {
                let m = t.modulus();
                let mut v = poly.limb(i)[at];
                for (&digit, &inv) in digits[..i].iter().zip(&inverse[i]) {
                    v = m.mul(m.sub(v, m.reduce_i64(digit)), inv);
                }
                digits[i] = m.center(v);
                // Above 2^1024 the radix is infinite; the digits of a small value are zero there.
                if digits[i] != 0 {
                    sum += digits[i] as f64 * radix;
                }
                radix *= m.value() as f64;
            }
            *value = sum;
        }
    });
    Ok(out)
}

/// Adds a periodic plaintext to a polynomial of the same level.
pub(crate) fn add_periodic(poly: &mut Poly<Eval>, plain: &PeriodicPlaintext, tables: &[NttTable]) {
    let n = poly.degree();
    let run = n / (2 * plain.period);
    crate::par::for_each(
        poly.words_mut().chunks_mut(n).zip(tables).collect(),
        |i, (limb, t): (&mut [u64], &NttTable)| {
            let m = t.modulus();
            for (words, &value) in limb.chunks_mut(run).zip(plain.limb(i)) {
                for w in words {
                    *w = m.add(*w, value);
                }
            }
        },
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ckks::PrecisionStats;
    use crate::rlwe::ParamsLiteral;

    fn small_insecure(log_n: u32) -> Params {
        Params::new_INSECURE(&ParamsLiteral {
            log_n,
            log_q: vec![47, 35, 35, 35],
            log_p: vec![48, 48],
            log_scale: 35,
        })
        .unwrap()
    }

    fn values(n: usize) -> Vec<Complex64> {
        (0..n)
            .map(|i| Complex64::new((i as f64 * 0.37).sin() * 3.0, (i as f64 * 0.91).cos()))
            .collect()
    }

    #[test]
    fn a_modulus_beyond_the_range_of_f64_decodes() {
        let params = Params::new_INSECURE(&ParamsLiteral {
            log_n: 6,
            log_q: vec![48; 23],
            log_p: vec![48],
            log_scale: 40,
        })
        .unwrap();
        assert!(params.log_q() > 1024.0);
        let encoder = Encoder::new(&params);
        let z = values(32);
        let plain = encoder.encode(&z, 22, 40f64.exp2()).unwrap();
        assert!(PrecisionStats::new(&z, &encoder.decode(&plain).unwrap()).min_bits > 30.0);
    }

    /// The definition: sum of coefficients times powers of zeta^(5^j).
    #[test]
    fn slots_are_values_at_powers_of_five() {
        let params = small_insecure(5);
        let encoder = Encoder::new(&params);
        let z = values(16);
        let plain = encoder.encode(&z, 3, 35f64.exp2()).unwrap();
        let tables = params.q_tables(3).unwrap();
        let coefficients = compose(&plain.poly.clone().into_coeff(tables), tables).unwrap();
        for (j, want) in z.iter().enumerate() {
            let point = encoder.powers[j];
            let got: Complex64 = coefficients
                .iter()
                .enumerate()
                .map(|(i, c)| encoder.roots[point * i % 64] * c)
                .sum::<Complex64>()
                / plain.scale;
            assert!((got - want).norm() < 1e-8, "slot {j}: {got} instead of {want}");
        }
    }

    #[test]
    fn decode_undoes_encode_at_real_size_and_every_level() {
        let params = Params::new(&ParamsLiteral::leveled(15, 11, 35)).unwrap();
        let encoder = Encoder::new(&params);
        let z = values(params.slots());
        for level in [0, 1, 11] {
            let plain = encoder.encode(&z, level, params.scale(level).unwrap()).unwrap();
            let stats = PrecisionStats::new(&z, &encoder.decode(&plain).unwrap());
            assert!(stats.min_bits > 24.0, "{stats}");
        }
    }

    #[test]
    fn a_pattern_encoded_in_its_subring_is_the_full_encoding() {
        let params = small_insecure(9);
        let encoder = Encoder::new(&params);
        for period in [1usize, 2, 8, 64, 256] {
            let z = values(period);
            let pattern = Pattern::complex(
                z.iter().map(|v| v.re as f32).collect(),
                z.iter().map(|v| v.im as f32).collect(),
            )
            .unwrap();
            for scale in [35f64.exp2(), 70f64.exp2()] {
                let all: Vec<Complex64> = (0..params.slots()).map(|j| pattern.get(j)).collect();
                let full = encoder.encode(&all, 3, scale).unwrap();
                let periodic = encoder.encode_periodic(&pattern, period, 3, scale).unwrap();
                let mut spread = Poly::<Eval>::zero(4, params.degree());
                add_periodic(&mut spread, &periodic, params.q_tables(3).unwrap());
                let got = encoder
                    .decode(&Plaintext {
                        poly: spread,
                        level: 3,
                        scale,
                    })
                    .unwrap();
                let want = encoder.decode(&full).unwrap();
                assert!(PrecisionStats::new(&want, &got).min_bits > 26.0);
            }
        }
    }

    #[test]
    fn what_cannot_be_encoded_is_refused() {
        let params = small_insecure(5);
        let encoder = Encoder::new(&params);
        let one = [Complex64::new(1.0, 0.0)];
        assert!(matches!(
            encoder.encode(&values(17), 0, 35f64.exp2()),
            Err(Error::Shape { .. })
        ));
        assert!(matches!(
            encoder.encode(&one, 0, 80f64.exp2()),
            Err(Error::Value { .. })
        ));
        assert!(matches!(
            encoder.encode(&one, 9, 35f64.exp2()),
            Err(Error::Level { .. })
        ));
        assert!(matches!(
            encoder.encode(&[Complex64::new(f64::NAN, 0.0)], 0, 35f64.exp2()),
            Err(Error::Value { .. })
        ));
    }
}
