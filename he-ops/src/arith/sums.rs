//! Sums and differences of vectors modulo a prime.

use super::{Modulus, Simd};

/// out = x + y, entries below the modulus.
pub(crate) fn add(out: &mut [u64], x: &[u64], y: &[u64], modulus: &Modulus) {
    combine_at(Simd::current(), out, x, y, sum(modulus));
}

/// out = x - y, entries below the modulus.
pub(crate) fn sub(out: &mut [u64], x: &[u64], y: &[u64], modulus: &Modulus) {
    combine_at(Simd::current(), out, x, y, difference(modulus));
}

// The smaller of two words is one instruction, a comparison with its jump is not.
fn sum(modulus: &Modulus) -> impl Fn(u64, u64) -> u64 {
    let p = modulus.value();
    move |x, y| (x + y).min((x + y).wrapping_sub(p))
}

fn difference(modulus: &Modulus) -> impl Fn(u64, u64) -> u64 {
    let p = modulus.value();
    move |x, y| x.wrapping_sub(y).min(x.wrapping_sub(y).wrapping_add(p))
}

fn combine_at(simd: Simd, out: &mut [u64], x: &[u64], y: &[u64], f: impl Fn(u64, u64) -> u64) {
    simd.each(out.iter_mut().zip(x).zip(y), |((out, &x), &y)| *out = f(x, y));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_and_differences_are_those_of_single_words_at_every_level() {
        let m = Modulus::new((1 << 50) - 27).unwrap();
        let entry = |i: u64| match i % 4 {
            0 => 0,
            1 => m.value() - 1,
            _ => m.reduce(i.wrapping_mul(0x9e37_79b9_7f4a_7c15)),
        };
        let x: Vec<u64> = (0..77).map(entry).collect();
        let y: Vec<u64> = (0..77).map(|i| entry(i / 4 + 1)).collect();
        let want = |f: fn(&Modulus, u64, u64) -> u64| -> Vec<u64> {
            x.iter().zip(&y).map(|(&x, &y)| f(&m, x, y)).collect()
        };
        for simd in Simd::available() {
            let mut out = vec![0; 77];
            combine_at(simd, &mut out, &x, &y, sum(&m));
            assert_eq!(out, want(|m, x, y| m.add(x, y)), "{simd:?}");
            combine_at(simd, &mut out, &x, &y, difference(&m));
            assert_eq!(out, want(|m, x, y| m.sub(x, y)), "{simd:?}");
        }
    }
}
