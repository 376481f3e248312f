//! Search for primes q = 1 mod 2N, so that the negacyclic transform of size N exists.

use super::modulus::{MAX_MODULUS_BITS, Modulus};
use crate::{ParamsError, Result};

/// Deterministic Miller-Rabin for all 64-bit numbers (the twelve smallest primes as bases suffice).
#[must_use]
pub fn is_prime(n: u64) -> bool {
    const BASES: [u64; 12] = [2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37];
    if n < 2 {
        return false;
    }
    for p in BASES {
        if n.is_multiple_of(p) {
            return n == p;
        }
    }
    let mul = |a: u64, b: u64| (u128::from(a) * u128::from(b) % u128::from(n)) as u64;
    let pow = |mut a: u64, mut e: u64| {
        let mut acc = 1;
        while e > 0 {
            if e & 1 == 1 {
                acc = mul(acc, a);
            }
            a = mul(a, a);
            e >>= 1;
        }
        acc
    };
    let s = (n - 1).trailing_zeros();
    BASES.iter().all(|&a| {
        let mut x = pow(a, (n - 1) >> s);
        if x == 1 || x == n - 1 {
            return true;
        }
        for _ in 1..s {
            x = mul(x, x);
            if x == n - 1 {
                return true;
            }
        }
        false
    })
}

/// The prime q = 1 mod 2N nearest to `target` that is not in `taken`.
///
/// # Errors
/// [`Error::Params`](crate::Error::Params) when none of at most 50 bits lies within a factor of two of the target.
pub fn nearest_ntt_prime(target: f64, log_n: u32, taken: &[u64]) -> Result<u64> {
    let step = 1u64 << (log_n + 1);
    let limit = 1u64 << MAX_MODULUS_BITS;
    // Above the limit there is nothing to look for.
    let nearest = target.min(limit as f64);
    let center = ((nearest / step as f64).round() as u64).max(1) * step + 1;
    for i in 0.. {
        let up = center.saturating_add(i * step);
        let down = center.saturating_sub(i * step);
        if up as f64 > 2.0 * target && (down as f64) < target / 2.0 {
            break;
        }
        // The nearer of the two comes first; ties go up.
        let (first, second) = if (up as f64 - target).abs() <= (down as f64 - target).abs() {
            (up, down)
        } else {
            (down, up)
        };
        for q in [first, second] {
            if q > step && q < limit && !taken.contains(&q) && is_prime(q) {
                return Ok(q);
            }
        }
    }
    Err(ParamsError::NoPrime {
        bits: target.log2(),
        log_n,
    }
    .into())
}

/// The largest prime q = 1 mod 2N with q <= 2^bits that is not in `taken`.
///
/// # Errors
/// [`Error::Params`](crate::Error::Params) when there is none with that many bits.
pub fn ntt_prime_below(bits: u32, log_n: u32, taken: &[u64]) -> Result<u64> {
    let step = 1u64 << (log_n + 1);
    let mut q = (1u64 << bits.min(MAX_MODULUS_BITS)) + 1;
    while q > step && q >> (bits - 1) != 0 {
        if q >> bits == 0 && !taken.contains(&q) && is_prime(q) {
            return Ok(q);
        }
        q -= step;
    }
    Err(ParamsError::NoPrime {
        bits: f64::from(bits),
        log_n,
    }
    .into())
}

/// A primitive 2N-th root of unity mod q.
#[must_use]
pub fn primitive_root(m: &Modulus, log_n: u32) -> Option<u64> {
    let order = 1u64 << (log_n + 1);
    (2..m.value()).take(512).find_map(|g| {
        let root = m.pow(g, (m.value() - 1) / order);
        (m.pow(root, order / 2) == m.value() - 1).then_some(root)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn primality_agrees_with_trial_division() {
        for n in 0..5000u64 {
            let naive = n > 1 && (2..n).take_while(|d| d * d <= n).all(|d| n % d != 0);
            assert_eq!(is_prime(n), naive, "{n}");
        }
        assert!(!is_prime(3215031751)); // strong pseudoprime to bases 2, 3, 5, 7
        assert!(is_prime((1 << 61) - 1));
    }

    #[test]
    fn primes_found_are_ntt_friendly_and_distinct() {
        let mut taken = vec![];
        for _ in 0..12 {
            let q = nearest_ntt_prime((1u64 << 35) as f64, 15, &taken).unwrap();
            assert!(is_prime(q) && q % (1 << 16) == 1 && !taken.contains(&q));
            assert!(((q as f64).log2() - 35.0).abs() < 0.01);
            taken.push(q);
        }
        let p = ntt_prime_below(48, 15, &[]).unwrap();
        assert!(p < 1 << 48 && p > 1 << 47);
    }
}
