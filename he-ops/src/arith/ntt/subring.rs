//! The transform of a polynomial in Y = X^(N/2D): weights of period D are encoded with it.

use super::{NttTable, Own, bit_reverse};
use crate::arith::{Modulus, Simd};

/// Transform tables of one prime for the subring of 2D coefficients.
///
/// Entry r of a transformed polynomial is the value at Y = phi^(2 brv(r) + 1), phi = psi^(N/2D), which the big transform
/// repeats N/2D times in a row.
pub struct SubringTable {
    modulus: Modulus,
    /// Powers of phi in bit-reversed order, each with its Shoup companion.
    twiddles: Vec<[u64; 2]>,
    own: Own,
}

impl NttTable {
    /// Tables for the subring of 2^log_size coefficients, at most N.
    #[must_use]
    pub fn subring(&self, log_size: u32) -> SubringTable {
        let m = self.modulus;
        let phi = m.pow(
            self.psi,
            1 << self.plan.ntt_size().trailing_zeros().saturating_sub(log_size),
        );
        let own = Own::new(Simd::current(), log_size, &m, phi);
        let size = if matches!(own, Own::None) {
            1 << log_size
        } else {
            0
        };
        let mut twiddles = vec![[0u64; 2]; size];
        let mut power = 1;
        for i in 0..twiddles.len() {
            if let Some(twiddle) = twiddles.get_mut(bit_reverse(i, log_size)) {
                *twiddle = [power, m.shoup(power)];
            }
            power = m.mul(power, phi);
        }
        SubringTable {
            modulus: m,
            twiddles,
            own,
        }
    }
}

impl SubringTable {
    /// Values of the polynomial with these integers, up to 2^125 as doubles, as coefficients.
    pub fn values(&self, coefficients: &[f64], values: &mut [u64]) {
        reduce(&self.modulus, coefficients, values);
        if self.own.forward(values) {
            return;
        }
        let m = &self.modulus;
        let size = values.len();
        let (mut half, mut groups) = (size, 1);
        while groups < size {
            half /= 2;
            let blocks = values.chunks_mut(2 * half);
            for (block, &[w, shoup]) in blocks.zip(self.twiddles.iter().skip(groups)) {
                let (lo, hi) = block.split_at_mut(half);
                for (a, b) in lo.iter_mut().zip(hi) {
                    let v = m.mul_shoup(*b, w, shoup);
                    (*a, *b) = (m.add(*a, v), m.sub(*a, v));
                }
            }
            groups *= 2;
        }
    }
}

/// Integer-valued doubles modulo a prime.
pub(crate) fn reduce(m: &Modulus, coefficients: &[f64], out: &mut [u64]) {
    reduce_at(Simd::current(), m, coefficients, out);
}

fn reduce_at(simd: Simd, m: &Modulus, coefficients: &[f64], out: &mut [u64]) {
    if simd > Simd::Scalar && coefficients.iter().all(|c| c.abs() < I64_SAFE) {
        /// Adding it makes the low bits of a number above -2^51 and below 2^51 those of an integer.
        const MAGIC: f64 = 1.5 * (1u64 << 52) as f64;
        let (modulus, q) = (m.value(), m.value() as f64);
        let inverse = 1.0 / q;
        // c - round(c / q) q with one rounding: |c / q| is far below 2^52 (|c| is below 2^62, q has 16 bits or more), so the
        // quotient is off by at most one and the result, a whole number below 2 q, is exact.
        return simd.each(out.iter_mut().zip(coefficients), |(out, &c)| {
            let rest = (c * inverse).round_ties_even().mul_add(-q, c);
            let integer = (rest + MAGIC).to_bits().wrapping_sub(MAGIC.to_bits());
            let below = integer.min(integer.wrapping_add(modulus));
            *out = below.min(below.wrapping_sub(modulus));
        });
    }
    for (out, &c) in out.iter_mut().zip(coefficients) {
        *out = if c.abs() < I64_SAFE {
            m.reduce_i64(c as i64)
        } else {
            m.reduce_i128(c as i128)
        };
    }
}

/// Doubles below this are exact as i64.
const I64_SAFE: f64 = (1u64 << 62) as f64;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arith::primes::{nearest_ntt_prime, ntt_prime_below};

    #[test]
    fn doubles_are_reduced_exactly() {
        for q in [
            ntt_prime_below(50, 10, &[]).unwrap(),
            ntt_prime_below(48, 10, &[]).unwrap(),
            nearest_ntt_prime((1u64 << 33) as f64, 10, &[]).unwrap(),
            65537,
        ] {
            let m = Modulus::new(q).unwrap();
            let mut all = vec![
                0.0,
                -0.0,
                q as f64,
                -(q as f64),
                (q - 1) as f64,
                2f64.powi(61),
                -2f64.powi(61),
            ];
            all.extend((0..500u64).map(|i| {
                let x = (i + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) as i64;
                (x >> (i % 60)) as f64 / 4.0
            }));
            let all: Vec<f64> = all.into_iter().map(f64::round).collect();
            for simd in Simd::available() {
                let mut out = vec![0; all.len()];
                reduce_at(simd, &m, &all, &mut out);
                for (&c, &r) in all.iter().zip(&out) {
                    assert_eq!(r, m.reduce_i64(c as i64), "{c} mod {q}, {simd:?}");
                }
            }
            // Beyond 2^62.
            let wide = [3.0 * 2f64.powi(100), -2f64.powi(124), 5.0];
            let mut out = [0; 3];
            reduce(&m, &wide, &mut out);
            assert_eq!(out, wide.map(|c| m.reduce_i128(c as i128)));
        }
    }

    #[test]
    fn values_of_the_subring_repeat_in_the_big_transform() {
        let log_n = 12;
        let q = Modulus::new(ntt_prime_below(48, log_n, &[]).unwrap()).unwrap();
        let table = NttTable::new(log_n, q).unwrap();
        for log_size in [1, 3, 5, 6, 8, 12] {
            let size = 1usize << log_size;
            let coefficients: Vec<f64> = (0..size as i64)
                .map(|i| (i * i * 1000 - 777 * i - 5) as f64)
                .collect();
            let mut values = vec![0; size];
            table.subring(log_size).values(&coefficients, &mut values);
            let gap = (1 << log_n) / size;
            let mut big = vec![0; 1 << log_n];
            for (i, &c) in coefficients.iter().enumerate() {
                big[i * gap] = q.reduce_i64(c as i64);
            }
            table.forward(&mut big);
            for (r, run) in big.chunks(gap).enumerate() {
                assert!(run.iter().all(|&v| v == values[r]), "size {size}, value {r}");
            }
        }
    }
}
