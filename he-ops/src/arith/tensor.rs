//! The tensor product of two pairs modulo one prime: what a product of ciphertexts is before its relinearization.

use crate::arith::{Modulus, Simd};

/// (a0 b0, a0 b1 + a1 b0, a1 b1), entry by entry; entries below the modulus. The sum in the middle is reduced once.
///
/// All slices have one length; surplus entries are ignored.
pub fn tensor_product(outs: [&mut [u64]; 3], a: [&[u64]; 2], b: [&[u64]; 2], modulus: &Modulus) {
    tensor_product_at(Simd::current(), outs, a, b, modulus);
}

fn tensor_product_at(simd: Simd, outs: [&mut [u64]; 3], a: [&[u64]; 2], b: [&[u64]; 2], modulus: &Modulus) {
    let [c0, c1, c2] = outs;
    // SAFETY: the features were detected.
    let done = match simd {
        #[cfg(target_arch = "x86_64")]
        Simd::Ifma => unsafe { ifma::lines([c0, c1, c2], a, b, modulus) },
        #[cfg(target_arch = "x86_64")]
        Simd::Avx2 => unsafe { avx2::lines([c0, c1, c2], a, b, modulus) },
        _ => 0,
    };
    let outs = [c0, c1, c2].map(|c| c.get_mut(done..).unwrap_or_default());
    let [a, b] = [a, b].map(|pair| pair.map(|x| x.get(done..).unwrap_or_default()));
    scalar(outs, a, b, modulus);
}

/// Entries that all slices have.
#[cfg(target_arch = "x86_64")]
fn common(outs: &[&mut [u64]; 3], a: &[&[u64]; 2], b: &[&[u64]; 2]) -> usize {
    let lens = outs.iter().map(|o| o.len());
    lens.chain(a.iter().chain(b).map(|x| x.len())).min().unwrap_or(0)
}

fn scalar(outs: [&mut [u64]; 3], a: [&[u64]; 2], b: [&[u64]; 2], modulus: &Modulus) {
    let [c0, c1, c2] = outs.map(|c| c.iter_mut());
    let [[a0, a1], [b0, b1]] = [a, b].map(|pair| pair.map(|x| x.iter()));
    let product = |x: &u64, y: &u64| u128::from(*x) * u128::from(*y);
    for (((((c0, c1), c2), a0), a1), (b0, b1)) in c0.zip(c1).zip(c2).zip(a0).zip(a1).zip(b0.zip(b1)) {
        *c0 = modulus.reduce_u128(product(a0, b0));
        *c1 = modulus.reduce_u128(product(a0, b1) + product(a1, b0));
        *c2 = modulus.reduce_u128(product(a1, b1));
    }
}

#[cfg(target_arch = "x86_64")]
mod ifma {
    use crate::arith::Modulus;
    use crate::arith::modulus::{MASK52, WORD52};
    use core::arch::x86_64::*;

    /// A sum of at most two products of numbers below a prime p < 2^50: low and high words of 52 bits.
    #[derive(Clone, Copy)]
    struct Sum(__m512i, __m512i);

    #[derive(Clone, Copy)]
    struct Prime {
        p: __m512i,
        /// p^-1 mod 2^52.
        inv: __m512i,
    }

    impl Sum {
        #[target_feature(enable = "avx512f,avx512ifma")]
        #[inline]
        fn add(self, x: __m512i, y: __m512i) -> Self {
            Sum(
                _mm512_madd52lo_epu64(self.0, x, y),
                _mm512_madd52hi_epu64(self.1, x, y),
            )
        }
    }

    impl Prime {
        /// sum / 2^52 mod p. With m = low p^-1 the low words of sum and m p agree, so the high words tell the result:
        /// the first is below p/2 + 2, the second below p.
        #[target_feature(enable = "avx512f,avx512ifma")]
        #[inline]
        fn reduce(self, sum: Sum) -> __m512i {
            let zero = _mm512_setzero_si512();
            let high = _mm512_add_epi64(sum.1, _mm512_srli_epi64::<WORD52>(sum.0));
            // The multiplier takes the low 52 bits of its operands only.
            let m = _mm512_madd52lo_epu64(zero, sum.0, self.inv);
            let r = _mm512_sub_epi64(high, _mm512_madd52hi_epu64(zero, m, self.p));
            // Below zero is above everything when unsigned.
            _mm512_min_epu64(r, _mm512_add_epi64(r, self.p))
        }
    }

    /// Whole lines of eight entries; how many entries that are.
    #[target_feature(enable = "avx512f,avx512ifma")]
    pub(super) fn lines(outs: [&mut [u64]; 3], a: [&[u64]; 2], b: [&[u64]; 2], modulus: &Modulus) -> usize {
        let len = super::common(&outs, &a, &b) / 8 * 8;
        let zero = _mm512_setzero_si512();
        let none = Sum(zero, zero);
        let prime = Prime {
            p: _mm512_set1_epi64(modulus.value() as i64),
            inv: _mm512_set1_epi64((modulus.neg_inv52().wrapping_neg() & MASK52) as i64),
        };
        // 2^104 mod p: a product with it, divided by 2^52, is in Montgomery form.
        let r104 = _mm512_set1_epi64(modulus.to_mont52(modulus.to_mont52(1)) as i64);
        let [c0, c1, c2] = outs.map(|o| o.as_mut_ptr());
        let [[a0, a1], [b0, b1]] = [a, b].map(|pair| pair.map(|x| x.as_ptr()));
        for i in (0..len).step_by(8) {
            // SAFETY: i + 8 <= len, which is at most the length of every slice.
            unsafe {
                let load = |x: *const u64| _mm512_loadu_si512(x.add(i).cast());
                let (a0, a1, b0, b1) = (load(a0), load(a1), load(b0), load(b1));
                let b0 = prime.reduce(none.add(b0, r104));
                let b1 = prime.reduce(none.add(b1, r104));
                _mm512_storeu_si512(c0.add(i).cast(), prime.reduce(none.add(a0, b0)));
                _mm512_storeu_si512(c1.add(i).cast(), prime.reduce(none.add(a0, b1).add(a1, b0)));
                _mm512_storeu_si512(c2.add(i).cast(), prime.reduce(none.add(a1, b1)));
            }
        }
        len
    }
}

#[cfg(target_arch = "x86_64")]
mod avx2 {
    use crate::arith::Modulus;
    use crate::arith::lanes::{Prime, load, store};
    use core::arch::x86_64::_mm256_add_pd;

    /// Whole lines of four entries; how many entries that are. A product is below 7/8 p in size.
    #[target_feature(enable = "avx2,fma")]
    pub(super) fn lines(outs: [&mut [u64]; 3], a: [&[u64]; 2], b: [&[u64]; 2], modulus: &Modulus) -> usize {
        let len = super::common(&outs, &a, &b) / 4 * 4;
        let prime = Prime::new(modulus);
        let [c0, c1, c2] = outs.map(|o| o.as_mut_ptr());
        for i in (0..len).step_by(4) {
            // SAFETY: i + 4 <= len, which is at most the length of every slice.
            unsafe {
                let (a0, a1) = (Prime::double(load(a[0], i)), Prime::double(load(a[1], i)));
                let (b0, b1) = (Prime::double(load(b[0], i)), Prime::double(load(b[1], i)));
                let middle = _mm256_add_pd(prime.product(a0, b1), prime.product(a1, b0));
                store(c0, i, prime.canonical(prime.product(a0, b0)));
                store(c1, i, prime.canonical(middle));
                store(c2, i, prime.canonical(prime.product(a1, b1)));
            }
        }
        len
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arith::primes::ntt_prime_below;

    /// Against u128, for the widest and narrow primes, extreme entries, a length that is no multiple of eight.
    #[test]
    fn every_level_agrees_with_u128() {
        for bits in [50, 49, 35, 20] {
            let modulus = Modulus::new(ntt_prime_below(bits, 10, &[]).unwrap()).unwrap();
            let q = modulus.value();
            let vector = |seed: u64| -> Vec<u64> {
                (0..101u64)
                    .map(|i| match (i + seed) % 7 {
                        0 => 0,
                        1..=3 => q - 1,
                        _ => modulus.reduce((i + seed).wrapping_mul(0x9e37_79b9_7f4a_7c15)),
                    })
                    .collect()
            };
            let [a0, a1, b0, b1] = [1, 2, 3, 5].map(vector);
            for simd in Simd::available() {
                let mut got = [(); 3].map(|()| vec![0; 101]);
                let outs = got.each_mut().map(|c| &mut c[..]);
                tensor_product_at(simd, outs, [&a0, &a1], [&b0, &b1], &modulus);
                for i in 0..101 {
                    let product = |x: u64, y: u64| u128::from(x) * u128::from(y);
                    let q = u128::from(q);
                    let middle = product(a0[i], b1[i]) + product(a1[i], b0[i]);
                    let want = [product(a0[i], b0[i]), middle, product(a1[i], b1[i])].map(|c| c % q);
                    assert_eq!([0, 1, 2].map(|j: usize| u128::from(got[j][i])), want, "{simd:?}");
                }
            }
        }
    }
}
