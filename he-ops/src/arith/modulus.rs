//! One prime modulus of at most 50 bits, with Barrett, Shoup and Montgomery constants.

/// Largest bit size of a prime: what the kernels with AVX-512 IFMA and with AVX2 take.
pub const MAX_MODULUS_BITS: u32 = 50;

/// A prime q of at most 50 bits and the constants of its reductions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Modulus {
    value: u64,
    /// floor(2^128 / q), high and low word.
    barrett: (u64, u64),
    /// -q^-1 mod 2^52: Montgomery with R = 2^52, the word of the IFMA multiplier.
    neg_inv52: u64,
    /// 2^52 mod q.
    r52: u64,
}

/// Number of bits of a Montgomery word here.
pub(crate) const WORD52: u32 = 52;
/// Mask of the low 52 bits.
pub(crate) const MASK52: u64 = (1 << WORD52) - 1;

impl Modulus {
    /// Wraps an odd modulus of 2 to 50 bits; `None` otherwise. Primality is the caller's duty.
    #[must_use]
    pub fn new(value: u64) -> Option<Self> {
        if value < 3 || value.is_multiple_of(2) || value >> MAX_MODULUS_BITS != 0 {
            return None;
        }
        // floor(2^128 / q) = floor((2^128 - 1) / q) because q is odd and above 1.
        let ratio = u128::MAX / u128::from(value);
        // Newton iteration for q^-1 mod 2^64: each step doubles the correct low bits.
        let mut inv = value;
        for _ in 0..5 {
            inv = inv.wrapping_mul(2u64.wrapping_sub(value.wrapping_mul(inv)));
        }
        Some(Self {
            value,
            barrett: ((ratio >> 64) as u64, ratio as u64),
            neg_inv52: inv.wrapping_neg() & MASK52,
            r52: (1u64 << WORD52) % value,
        })
    }

    /// The prime itself.
    #[must_use]
    pub fn value(&self) -> u64 {
        self.value
    }

    /// Bits of the prime.
    #[must_use]
    pub fn bits(&self) -> u32 {
        u64::BITS - self.value.leading_zeros()
    }

    /// log2 of the prime.
    #[must_use]
    pub fn log2(&self) -> f64 {
        (self.value as f64).log2()
    }

    /// x mod q for any 128-bit x (two-word Barrett).
    #[must_use]
    pub fn reduce_u128(&self, x: u128) -> u64 {
        let (hi, lo) = ((x >> 64) as u64, x as u64);
        let (r1, r0) = self.barrett;
        // floor(x * ratio / 2^128), exact up to one.
        let carry = (u128::from(lo) * u128::from(r0)) >> 64;
        let mid = u128::from(lo) * u128::from(r1) + carry;
        let mid2 = u128::from(hi) * u128::from(r0) + (mid & u128::from(u64::MAX));
        let quotient = u128::from(hi)
            .wrapping_mul(u128::from(r1))
            .wrapping_add(mid >> 64)
            .wrapping_add(mid2 >> 64) as u64;
        let r = lo.wrapping_sub(quotient.wrapping_mul(self.value));
        if r >= self.value { r - self.value } else { r }
    }

    /// x mod q (one-word Barrett).
    #[must_use]
    #[inline]
    pub fn reduce(&self, x: u64) -> u64 {
        // x / q - x floor(2^64 / q) / 2^64 < 1, so the quotient is short by at most one.
        let quotient = ((u128::from(x) * u128::from(self.barrett.0)) >> 64) as u64;
        let r = x.wrapping_sub(quotient.wrapping_mul(self.value));
        if r >= self.value { r - self.value } else { r }
    }

    /// x mod q for a signed x.
    #[must_use]
    pub fn reduce_i64(&self, x: i64) -> u64 {
        let r = self.reduce(x.unsigned_abs());
        if x < 0 { self.neg(r) } else { r }
    }

    /// x mod q for a signed 128-bit x.
    #[must_use]
    pub fn reduce_i128(&self, x: i128) -> u64 {
        let r = self.reduce_u128(x.unsigned_abs());
        if x < 0 { self.neg(r) } else { r }
    }

    /// a + b mod q, both below q.
    #[must_use]
    #[inline]
    pub fn add(&self, a: u64, b: u64) -> u64 {
        let s = a + b;
        if s >= self.value { s - self.value } else { s }
    }

    /// a - b mod q, both below q.
    #[must_use]
    #[inline]
    pub fn sub(&self, a: u64, b: u64) -> u64 {
        if a >= b { a - b } else { a + self.value - b }
    }

    /// -a mod q, a below q.
    #[must_use]
    #[inline]
    pub fn neg(&self, a: u64) -> u64 {
        if a == 0 { 0 } else { self.value - a }
    }

    /// a * b mod q.
    #[must_use]
    #[inline]
    pub fn mul(&self, a: u64, b: u64) -> u64 {
        self.reduce_u128(u128::from(a) * u128::from(b))
    }

    /// a^e mod q.
    #[must_use]
    pub fn pow(&self, a: u64, mut e: u64) -> u64 {
        let mut base = self.reduce(a);
        let mut acc = 1;
        while e > 0 {
            if e & 1 == 1 {
                acc = self.mul(acc, base);
            }
            base = self.mul(base, base);
            e >>= 1;
        }
        acc
    }

    /// a^-1 mod q for a prime q; `None` for a = 0 mod q.
    #[must_use]
    pub fn inv(&self, a: u64) -> Option<u64> {
        let a = self.reduce(a);
        (a != 0).then(|| self.pow(a, self.value - 2))
    }

    /// Shoup companion floor(w * 2^64 / q) of a constant w below q.
    #[must_use]
    pub fn shoup(&self, w: u64) -> u64 {
        ((u128::from(w) << 64) / u128::from(self.value)) as u64
    }

    /// a * w mod q with w's Shoup companion.
    #[must_use]
    #[inline]
    pub fn mul_shoup(&self, a: u64, w: u64, w_shoup: u64) -> u64 {
        let quotient = ((u128::from(a) * u128::from(w_shoup)) >> 64) as u64;
        let r = a.wrapping_mul(w).wrapping_sub(quotient.wrapping_mul(self.value));
        if r >= self.value { r - self.value } else { r }
    }

    /// a * 2^52 mod q: the form of the constants of [`super::dot`].
    #[must_use]
    pub fn to_mont52(&self, a: u64) -> u64 {
        self.mul(a, self.r52)
    }

    /// -q^-1 mod 2^52.
    #[must_use]
    pub(crate) fn neg_inv52(&self) -> u64 {
        self.neg_inv52
    }

    /// 2^-52 mod q: what a product with a constant in Montgomery form is to be multiplied by.
    #[must_use]
    pub(crate) fn inv52(&self) -> u64 {
        ((u128::from(self.neg_inv52) * u128::from(self.value) + 1) >> WORD52) as u64
    }

    /// Residue in [-q/2, q/2).
    #[must_use]
    pub fn center(&self, a: u64) -> i64 {
        if a > self.value / 2 {
            a as i64 - self.value as i64
        } else {
            a as i64
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const Q: [u64; 4] = [65537, 34359754753, (1 << 50) - 27, 1125899906826241];

    proptest! {
        #[test]
        fn reductions_agree_with_u128(x: u128, a: u64, b: u64, i: usize) {
            let m = Modulus::new(Q[i % Q.len()]).unwrap();
            let q = u128::from(m.value());
            prop_assert_eq!(u128::from(m.reduce_u128(x)), x % q);
            let (a, b) = (m.reduce(a), m.reduce(b));
            prop_assert_eq!(u128::from(m.mul(a, b)), u128::from(a) * u128::from(b) % q);
            prop_assert_eq!(m.mul_shoup(a, b, m.shoup(b)), m.mul(a, b));
            prop_assert_eq!(u128::from(m.to_mont52(a)), (u128::from(a) << 52) % q);
            prop_assert_eq!(m.mul(m.to_mont52(a), m.inv52()), a);
            prop_assert_eq!(m.reduce(x as u64), (x as u64) % m.value());
            prop_assert_eq!(m.add(a, m.neg(a)), 0);
            prop_assert_eq!(m.sub(m.add(a, b), b), a);
        }
    }

    #[test]
    fn even_tiny_and_wide_moduli_are_refused() {
        for q in [0, 1, 2, 4, 1 << 50, u64::MAX] {
            assert!(Modulus::new(q).is_none());
        }
    }
}
