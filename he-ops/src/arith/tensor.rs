//! The tensor product of two pairs modulo one prime: what a product of ciphertexts is before its relinearization.

use super::lanes::Lanes;
use super::simd::Entries;
use super::{Modulus, Simd};
use core::ops::Range;

/// (a0 b0, a0 b1 + a1 b0, a1 b1), entry by entry; entries below the modulus. The sum in the middle is reduced once.
///
/// All slices have one length; surplus entries are ignored.
pub fn tensor_product(outs: [&mut [u64]; 3], a: [&[u64]; 2], b: [&[u64]; 2], modulus: &Modulus) {
    tensor_product_at(Simd::current(), outs, a, b, modulus);
}

fn tensor_product_at(simd: Simd, outs: [&mut [u64]; 3], a: [&[u64]; 2], b: [&[u64]; 2], modulus: &Modulus) {
    simd.run(Tensor { outs, a, b, modulus });
}

struct Tensor<'a> {
    outs: [&'a mut [u64]; 3],
    a: [&'a [u64]; 2],
    b: [&'a [u64]; 2],
    modulus: &'a Modulus,
}

impl Entries for Tensor<'_> {
    fn len(&self) -> usize {
        let lens = self.outs.iter().map(|o| o.len());
        lens.chain(self.a.iter().chain(&self.b).map(|x| x.len()))
            .min()
            .unwrap_or(0)
    }

    fn fit<L: Lanes>(&self) -> bool {
        // Four words of four inputs at a time are more than there are registers.
        L::TILE > 1 || L::WIDTH == 1
    }

    #[inline(always)]
    fn part<L: Lanes>(&mut self, lanes: L, range: Range<usize>) {
        let m = self.modulus;
        let prime = lanes.prime(m);
        let r104 = lanes.splat(L::weight(m.to_mont52(m.to_mont52(1))));
        let [c0, c1, c2] = self.outs.each_mut().map(|c| c.as_mut_ptr());
        let [[a0, a1], [b0, b1]] = [self.a, self.b].map(|pair| pair.map(|x| x.as_ptr()));
        for i in range.step_by(L::WIDTH) {
            // SAFETY: i + WIDTH is at most the length of every slice.
            unsafe {
                let a = [lanes.load(a0.add(i)), lanes.load(a1.add(i))];
                let b = [lanes.load(b0.add(i)), lanes.load(b1.add(i))];
                let [r0, r1, r2] = lanes.tensor(&prime, r104, a, b);
                lanes.store(c0.add(i), r0);
                lanes.store(c1.add(i), r1);
                lanes.store(c2.add(i), r2);
            }
        }
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
