//! X -> X^g on values: a permutation of the evaluation points.

use super::poly::{Eval, Poly};
use crate::arith::gather::gather;
use crate::arith::ntt::bit_reverse;
use crate::par;

/// Where each value comes from: entry i of the result is entry `table[i]` of the input.
///
/// Entry i of a polynomial is its value at psi^(2 brv(i) + 1); after X -> X^g it is the value of the old polynomial at
/// that point to the g-th power. `element` is odd and below 2N.
#[must_use]
pub fn permutation(element: u64, log_n: u32) -> Vec<u32> {
    let mask = (2u64 << log_n) - 1;
    (0..1usize << log_n)
        .map(|i| {
            let exponent = (2 * bit_reverse(i, log_n) as u64 + 1).wrapping_mul(element) & mask;
            bit_reverse((exponent >> 1) as usize, log_n) as u32
        })
        .collect()
}

/// Applies a [`permutation`] to every limb.
#[must_use]
pub fn permute(input: &Poly<Eval>, table: &[u32]) -> Poly<Eval> {
    let n = input.degree();
    let mut out = Poly::<Eval>::scratch(input.limbs(), n);
    par::limbs(out.words_mut(), n, |i, limb| gather(limb, input.limb(i), table));
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arith::primes::nearest_ntt_prime;
    use crate::arith::{Modulus, NttTable};
    use crate::ring::Coeff;

    #[test]
    fn permuting_values_is_substituting_x_to_the_g() {
        let log_n = 7;
        let n = 1usize << log_n;
        let q = Modulus::new(nearest_ntt_prime((1u64 << 35) as f64, log_n, &[]).unwrap()).unwrap();
        let tables = [NttTable::new(log_n, q).unwrap()];
        let coefficients: Vec<i64> = (0..n as i64).map(|i| i * i - 50 * i + 3).collect();
        for g in [5u64, 25, 2 * n as u64 - 1, 77, 3] {
            let mut moved = vec![0i64; n];
            for (i, &c) in coefficients.iter().enumerate() {
                let e = (i as u64 * g) as usize % (2 * n);
                moved[e % n] = if e < n { c } else { -c };
            }
            let input = Poly::<Coeff>::from_signed(&coefficients, &tables).into_eval(&tables);
            let want = Poly::<Coeff>::from_signed(&moved, &tables).into_eval(&tables);
            assert_eq!(permute(&input, &permutation(g, log_n)), want);
        }
    }
}
