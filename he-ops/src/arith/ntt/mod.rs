//! The negacyclic number-theoretic transform of one prime: our own where the processor has AVX-512 IFMA (note 006) or AVX2
//! (note 012), `concrete-ntt` elsewhere and for very short limbs, with the same results bit for bit.
//!
//! Evaluation order: entry i of a transformed polynomial is its value at psi^(2*brv(i)+1), brv the bit reversal of
//! log2(N) bits. [`NttTable::new`] checks that the library keeps to it, because [`crate::ring::automorphism`] and the
//! subring encoder rely on it.

use super::Simd;
use super::dot::scale_in_place;
use super::modulus::Modulus;
use super::primes::primitive_root;
use crate::error::broken;
use crate::{ParamsError, Result};
use concrete_ntt::prime64::Plan;

#[cfg(target_arch = "x86_64")]
mod doubles;
#[cfg(target_arch = "x86_64")]
mod ifma;
pub mod subring;

pub use subring::SubringTable;

/// Transform tables of one prime.
pub struct NttTable {
    modulus: Modulus,
    plan: Plan,
    psi: u64,
    n_inv: u64,
    own: Own,
}

/// A transform of our own, if there is one for the processor and the size.
enum Own {
    None,
    #[cfg(target_arch = "x86_64")]
    Doubles(doubles::Tables),
    #[cfg(target_arch = "x86_64")]
    Ifma(ifma::Tables),
}

#[cfg_attr(
    not(target_arch = "x86_64"),
    expect(unused_variables, reason = "there is no transform of our own")
)]
impl Own {
    /// For the root psi of order 2N.
    fn new(simd: Simd, log_n: u32, modulus: &Modulus, psi: u64) -> Self {
        let own = match simd {
            #[cfg(target_arch = "x86_64")]
            Simd::Ifma => ifma::Tables::new(log_n, modulus, psi).map(Own::Ifma),
            #[cfg(target_arch = "x86_64")]
            Simd::Avx2 => doubles::Tables::new(log_n, modulus, psi).map(Own::Doubles),
            _ => None,
        };
        own.unwrap_or(Own::None)
    }

    /// Coefficients to values. False, and nothing done, where there is none.
    fn forward(&self, limb: &mut [u64]) -> bool {
        match self {
            Own::None => false,
            #[cfg(target_arch = "x86_64")]
            Own::Doubles(tables) => tables.forward(limb),
            #[cfg(target_arch = "x86_64")]
            Own::Ifma(tables) => tables.forward(limb),
        }
    }

    /// Values to start + weight times N times the coefficients. False, and nothing done, where there is none.
    fn inverse(&self, limb: &mut [u64], weight: u64, start: u64) -> bool {
        match self {
            Own::None => false,
            #[cfg(target_arch = "x86_64")]
            Own::Doubles(tables) => tables.inverse(limb, weight, start),
            #[cfg(target_arch = "x86_64")]
            Own::Ifma(tables) => tables.inverse(limb, weight, start),
        }
    }
}

impl std::fmt::Debug for NttTable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "NttTable(q = {}, N = {})",
            self.modulus.value(),
            self.plan.ntt_size()
        )
    }
}

/// The low `bits` bits of `i`, reversed.
#[must_use]
pub fn bit_reverse(i: usize, bits: u32) -> usize {
    if bits == 0 {
        0
    } else {
        i.reverse_bits() >> (usize::BITS - bits)
    }
}

impl NttTable {
    /// Tables for X^N + 1 modulo a prime q = 1 mod 2N.
    ///
    /// # Errors
    /// [`Error::Params`](crate::Error::Params) when q has no 2N-th root of unity, [`Error::Broken`](crate::Error::Broken) when the library's order is not the documented one.
    pub fn new(log_n: u32, modulus: Modulus) -> Result<Self> {
        let n = 1usize << log_n;
        let q = modulus.value();
        let missing = ParamsError::NoTransform { modulus: q, log_n };
        let plan = primitive_root(&modulus, log_n).and_then(|_| Plan::try_new(n, q));
        let plan = plan.ok_or(missing)?;
        // Transform X: entry i is the point itself.
        let mut points = vec![0u64; n];
        if let Some(x) = points.get_mut(1) {
            *x = 1;
        }
        plan.fwd(&mut points);
        let psi = points.first().copied().unwrap_or(0);
        for i in [1, 2, 3, n / 2, n - 1] {
            let want = modulus.pow(psi, 2 * bit_reverse(i, log_n) as u64 + 1);
            if points.get(i) != Some(&want) {
                return Err(broken(format!(
                    "the transform modulo {q} is in bit-reversed order at {i}"
                )));
            }
        }
        let n_inv = modulus
            .inv(n as u64)
            .ok_or_else(|| broken(format!("{n} has an inverse modulo {q}")))?;
        Ok(Self {
            own: Own::new(Simd::current(), log_n, &modulus, psi),
            modulus,
            plan,
            psi,
            n_inv,
        })
    }

    /// The prime.
    #[must_use]
    pub fn modulus(&self) -> &Modulus {
        &self.modulus
    }

    /// The 2N-th root of unity of the evaluation order.
    #[must_use]
    pub fn psi(&self) -> u64 {
        self.psi
    }

    /// N^-1 mod q, the factor that [`Self::inverse_unnormalized`] leaves out.
    #[must_use]
    pub fn n_inv(&self) -> u64 {
        self.n_inv
    }

    /// Coefficients to values, in place; entries below q in and out.
    pub fn forward(&self, limb: &mut [u64]) {
        if !self.own.forward(limb) {
            self.plan.fwd(limb);
        }
    }

    /// Values to N times the coefficients, in place; entries below q in and out.
    pub fn inverse_unnormalized(&self, limb: &mut [u64]) {
        self.inverse_scaled(limb, 1, 0);
    }

    /// Values to coefficients, in place; entries below q in and out.
    pub fn inverse(&self, limb: &mut [u64]) {
        self.inverse_scaled(limb, self.n_inv, 0);
    }

    /// Values to start + weight times N times the coefficients, in place; entries, weight and start below q.
    pub fn inverse_scaled(&self, limb: &mut [u64], weight: u64, start: u64) {
        if self.own.inverse(limb, weight, start) {
            return;
        }
        self.plan.inv(limb);
        if (weight, start) != (1, 0) {
            let m = &self.modulus;
            scale_in_place(limb, m.to_mont52(weight), m.to_mont52(start), m);
        }
    }

    /// acc += a * b pointwise; entries below q.
    pub fn mul_accumulate(&self, acc: &mut [u64], a: &[u64], b: &[u64]) {
        self.plan.mul_accumulate(acc, a, b);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arith::primes::{nearest_ntt_prime, ntt_prime_below};

    /// Values by Horner at every point, the definition.
    #[test]
    fn forward_evaluates_at_odd_powers_of_psi_and_inverse_undoes_it() {
        for (log_n, bits) in [(6, 30), (8, 35), (10, 50)] {
            let n = 1usize << log_n;
            let q =
                Modulus::new(nearest_ntt_prime((1u64 << (bits - 1)) as f64, log_n, &[]).unwrap()).unwrap();
            let table = NttTable::new(log_n, q).unwrap();
            let poly: Vec<u64> = (0..n as u64)
                .map(|i| q.reduce(i * i * 77_777_777 + 5 * i + 3))
                .collect();
            let mut values = poly.clone();
            table.forward(&mut values);
            for (i, &value) in values.iter().enumerate() {
                let x = q.pow(table.psi(), 2 * bit_reverse(i, log_n) as u64 + 1);
                let want = poly.iter().rev().fold(0, |acc, &c| q.add(q.mul(acc, x), c));
                assert_eq!(value, want);
            }
            let mut back = values.clone();
            table.inverse(&mut back);
            assert_eq!(back, poly);
            table.inverse_unnormalized(&mut values);
            let scaled: Vec<u64> = values.iter().map(|&v| q.mul(v, table.n_inv())).collect();
            assert_eq!(scaled, poly);
        }
    }

    #[test]
    fn real_size_round_trip() {
        let q = Modulus::new(ntt_prime_below(48, 15, &[]).unwrap()).unwrap();
        let table = NttTable::new(15, q).unwrap();
        let poly: Vec<u64> = (0..1u64 << 15)
            .map(|i| q.reduce(i.wrapping_mul(0x9e37_79b9_7f4a_7c15)))
            .collect();
        let mut x = poly.clone();
        table.forward(&mut x);
        assert_ne!(x, poly);
        table.inverse(&mut x);
        assert_eq!(x, poly);
    }

    /// Own transforms and the library's, bit for bit, for random and extreme entries.
    #[test]
    fn all_paths_give_the_same_bits() {
        for simd in Simd::available() {
            compare(simd);
        }
    }

    fn compare(simd: Simd) {
        let mut primes = 0;
        for log_n in 4..=17 {
            for bits in [20, 30, 36, 45, 46, 47, 48, 49, 50] {
                let Ok(q) = ntt_prime_below(bits, log_n, &[]) else {
                    continue;
                };
                primes += 1;
                let q = Modulus::new(q).unwrap();
                let mut table = NttTable::new(log_n, q).unwrap();
                table.own = Own::new(simd, log_n, &q, table.psi);
                let random = |i: u64| q.reduce((i + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
                let fill = [
                    |_: u64, _: u64, _: u64| 0,
                    |q: u64, _: u64, _: u64| q - 1,
                    |q: u64, i: u64, _: u64| (i & 1) * (q - 1),
                    |q: u64, _: u64, r: u64| if r & 4 == 0 { q - 1 } else { 0 },
                    |_: u64, _: u64, r: u64| r,
                ];
                for fill in fill {
                    let limb: Vec<u64> = (0..1u64 << log_n)
                        .map(|i| fill(q.value(), i, random(i)))
                        .collect();
                    let (mut ours, mut theirs) = (limb.clone(), limb.clone());
                    table.forward(&mut ours);
                    table.plan.fwd(&mut theirs);
                    assert!(ours == theirs, "{simd:?}, forward, 2^{log_n}, {bits} bits");
                    let (mut ours, mut theirs) = (limb.clone(), limb.clone());
                    table.inverse_unnormalized(&mut ours);
                    table.plan.inv(&mut theirs);
                    assert!(ours == theirs, "{simd:?}, inverse, 2^{log_n}, {bits} bits");
                    let (weight, start) = (random(77), q.value() - 1);
                    let mut scaled = limb;
                    table.inverse_scaled(&mut scaled, weight, start);
                    let want: Vec<u64> = theirs.iter().map(|&v| q.add(q.mul(v, weight), start)).collect();
                    assert!(scaled == want, "{simd:?}, scaled inverse, 2^{log_n}, {bits} bits");
                }
            }
        }
        assert!(primes > 90, "{primes}");
    }
}
