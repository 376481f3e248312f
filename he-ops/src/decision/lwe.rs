//! Sums of LWE samples of `tfhe`.

use super::keys::{Lwe, lwe};
use super::params::TFHE_PARAMETERS as TFHE;
use crate::par;

pub(super) const MINUS: u64 = u64::MAX;

pub(super) fn words(sample: &Lwe) -> &[u64] {
    sample.as_ref()
}

/// A sample of 0 without noise, of the dimension that bootstraps give.
pub(super) fn zero() -> Lwe {
    lwe(vec![0; TFHE.glwe_dimension.0 * TFHE.polynomial_size.0 + 1])
}

/// a + w b.
pub(super) fn add(a: &Lwe, b: &Lwe, w: u64) -> Lwe {
    let sums = words(a).iter().zip(words(b));
    lwe(sums.map(|(a, b)| a.wrapping_add(b.wrapping_mul(w))).collect())
}

/// a + constant.
pub(super) fn shift(mut a: Lwe, constant: u64) -> Lwe {
    let body = a.get_mut_body().data;
    *body = body.wrapping_add(constant);
    a
}

/// A part of the torus as a word.
pub(super) fn torus(part: f64) -> u64 {
    // Signed first: negative parts wrap.
    (part * 64f64.exp2()) as i128 as u64
}

/// f of every item, on all threads; in the order of the items.
#[expect(clippy::expect_used, reason = "just made for every item")]
pub(super) fn each<T: Sync, R: Send>(items: &[T], f: impl Fn(&T) -> R + Sync + Send) -> Vec<R> {
    let mut out: Vec<Option<R>> = items.iter().map(|_| None).collect();
    let places: Vec<(&T, &mut Option<R>)> = items.iter().zip(&mut out).collect();
    par::for_each(places, |_, (item, place)| *place = Some(f(item)));
    out.into_iter()
        .map(|r| r.expect("a result for each item"))
        .collect()
}
