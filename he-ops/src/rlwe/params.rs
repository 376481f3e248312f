//! Parameter sets: a literal that can be written down, and the checked, immutable value made from it.

use super::cache::{Cache, cached};
use super::gadget::{Gadget, choose_gadget, log_qp_at};
use super::security::{SECRET_DISTRIBUTION, SecurityReport, TABLE_SOURCE, max_log_qp};
use crate::arith::modulus::MAX_MODULUS_BITS;
use crate::arith::primes::{nearest_ntt_prime, ntt_prime_below};
use crate::arith::rns::BasisConverter;
use crate::arith::{Modulus, NttTable};
use crate::error::broken;
use crate::ring::automorphism::permutation;
use crate::ring::{Division, Eval, TimesP};
use crate::{Error, ParamsError, Result};
use serde::{Deserialize, Serialize};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// No parameters have more.
pub(crate) const MAX_CIPHERTEXT_PRIMES: usize = 64;

/// The only form of a parameter set that is written to disk or sent. Primes follow from it deterministically.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ParamsLiteral {
    /// log2 of the ring degree N.
    pub log_n: u32,
    /// Bits of the ciphertext primes q_0..q_L; the first is the bottom one, which is never rescaled away.
    pub log_q: Vec<u32>,
    /// Bits of the special primes p_0.. of key switching.
    pub log_p: Vec<u32>,
    /// log2 of the scale of a fresh ciphertext.
    pub log_scale: u32,
}

impl ParamsLiteral {
    /// A leveled set of `depth` rescalings of `log_scale` bits above a bottom prime of `log_scale + 12` bits (so that
    /// results up to 2^11 fit), with special primes up to the security bound, but no more than one digit needs.
    #[must_use]
    pub fn leveled(log_n: u32, depth: usize, log_scale: u32) -> Self {
        let mut log_q = vec![(log_scale + 12).min(MAX_MODULUS_BITS)];
        log_q.extend(std::iter::repeat_n(log_scale, depth));
        let total: u32 = log_q.iter().sum();
        // One spare bit: ciphertext primes may lie slightly above their power of two.
        let room = max_log_qp(log_n).map_or(total + 1, |b| (b as u32).saturating_sub(total + 1));
        let wanted = room.min(total + 1);
        let count = wanted.div_ceil(MAX_MODULUS_BITS).max(1);
        Self {
            log_n,
            log_q,
            log_p: vec![(wanted / count).max(log_n + 2); count as usize],
            log_scale,
        }
    }
}

struct Inner {
    literal: ParamsLiteral,
    q: Vec<NttTable>,
    p: Vec<NttTable>,
    scales: Vec<f64>,
    gadgets: Vec<Gadget>,
    digest: [u8; 32],
    report: SecurityReport,
    /// Constants of base conversions, made at first use.
    cache: Mutex<Cache>,
}

/// A checked parameter set: shared, immutable, cheap to clone.
#[derive(Clone)]
pub struct Params(Arc<Inner>);

impl std::fmt::Debug for Params {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Params({})", self.0.report)
    }
}

impl PartialEq for Params {
    fn eq(&self, other: &Self) -> bool {
        self.0.digest == other.0.digest
    }
}

impl Params {
    /// The one door: finds the primes, chooses the gadget of every level, and holds log2(QP) of every key against the
    /// 128-bit table.
    ///
    /// # Errors
    /// [`Error::Params`] for an unusable literal, [`Error::Insecure`] above the bound or outside the table.
    pub fn new(literal: &ParamsLiteral) -> Result<Self> {
        let params = Self::build(literal, max_log_qp(literal.log_n))?;
        let report = &params.0.report;
        if report.secure_128 {
            return Ok(params);
        }
        Err(Error::Insecure {
            log_n: literal.log_n,
            level: params.max_level(),
            found: report.log_qp,
            bound: report.log_qp_bound.unwrap_or(0.0),
        })
    }

    /// A set that is not held against the table. For tests on small rings only, behind a feature that no program
    /// enables; [`Params::is_secure`] says false and the server refuses it.
    ///
    /// # Errors
    /// [`Error::Params`] for an unusable literal.
    #[cfg(any(test, feature = "insecure-params"))]
    #[allow(non_snake_case)]
    pub fn new_INSECURE(literal: &ParamsLiteral) -> Result<Self> {
        Self::build(literal, None)
    }

    /// `gadget_bound` limits QP of every key where it can be kept.
    fn build(literal: &ParamsLiteral, gadget_bound: Option<f64>) -> Result<Self> {
        check_literal(literal)?;
        let log_n = literal.log_n;
        let mut taken: Vec<u64> = Vec::new();
        // Special primes first: they must be the widest of their size.
        let mut p = Vec::with_capacity(literal.log_p.len());
        for &bits in &literal.log_p {
            let value = ntt_prime_below(bits, log_n, &taken)?;
            taken.push(value);
            p.push(table(log_n, value)?);
        }
        let (q, scales) = ciphertext_primes(literal, &mut taken)?;
        let bound = max_log_qp(log_n);
        let as_smaller = choose_gadget(&q, &p, q.len() - 1, gadget_bound, false)?.digits() > 1;
        let gadgets = (0..q.len())
            .map(|level| choose_gadget(&q, &p, level, gadget_bound, as_smaller))
            .collect::<Result<Vec<_>>>()?;
        let log_q: f64 = q.iter().map(|t| t.modulus().log2()).sum();
        let log_qp = gadgets
            .iter()
            .enumerate()
            .map(|(level, g)| log_qp_at(&q, &p, level, g.specials))
            .fold(0.0, f64::max);
        let report = SecurityReport {
            log_n,
            log_q,
            log_qp,
            log_qp_bound: bound,
            secret: SECRET_DISTRIBUTION.into(),
            source: TABLE_SOURCE.into(),
            secure_128: bound.is_some_and(|b| log_qp <= b),
        };
        let mut hasher = blake3::Hasher::new();
        hasher.update(b"ckks-params-v1");
        hasher.update(&log_n.to_le_bytes());
        hasher.update(&literal.log_scale.to_le_bytes());
        for list in [&q, &p] {
            hasher.update(&(list.len() as u64).to_le_bytes());
            for t in list {
                hasher.update(&t.modulus().value().to_le_bytes());
            }
        }
        let digest = *hasher.finalize().as_bytes();
        Ok(Self(Arc::new(Inner {
            literal: literal.clone(),
            q,
            p,
            scales,
            gadgets,
            digest,
            report,
            cache: Mutex::default(),
        })))
    }

    /// What it was made from.
    #[must_use]
    pub fn literal(&self) -> &ParamsLiteral {
        &self.0.literal
    }

    /// log2 of the ring degree.
    #[must_use]
    pub fn log_n(&self) -> u32 {
        self.0.literal.log_n
    }

    /// Ring degree N.
    #[must_use]
    pub fn degree(&self) -> usize {
        1 << self.0.literal.log_n
    }

    /// Complex slots, N/2.
    #[must_use]
    pub fn slots(&self) -> usize {
        self.degree() / 2
    }

    /// Level of a fresh ciphertext; level l has the l + 1 primes q_0..q_l.
    #[must_use]
    pub fn max_level(&self) -> usize {
        self.0.q.len() - 1
    }

    /// log2 Q at the highest level.
    #[must_use]
    pub fn log_q(&self) -> f64 {
        self.0.report.log_q
    }

    /// Largest log2(QP) of any key-switch key.
    #[must_use]
    pub fn log_qp(&self) -> f64 {
        self.0.report.log_qp
    }

    /// The 128-bit bound on log2(QP), if the table has this degree.
    #[must_use]
    pub fn log_qp_bound(&self) -> Option<f64> {
        self.0.report.log_qp_bound
    }

    /// True when every key is within the 128-bit bound.
    #[must_use]
    pub fn is_secure(&self) -> bool {
        self.0.report.secure_128
    }

    /// The figures behind [`Self::is_secure`].
    #[must_use]
    pub fn security(&self) -> &SecurityReport {
        &self.0.report
    }

    /// blake3 of the ring degree, the scale and all primes.
    #[must_use]
    pub fn digest(&self) -> [u8; 32] {
        self.0.digest
    }

    /// The canonical scale of a level: 2^log_scale at the top, S_(l-1) = S_l^2 / q_l below. Every product of two values
    /// of canonical scale is canonical again after its rescale (ePrint 2020/1118).
    ///
    /// # Errors
    /// [`Error::Level`] above the highest level.
    pub fn scale(&self, level: usize) -> Result<f64> {
        self.0.scales.get(level).copied().ok_or(Error::Level {
            op: "scale",
            needed: self.max_level(),
            found: level,
        })
    }

    /// The primes q_0..q_level with their tables.
    ///
    /// # Errors
    /// [`Error::Level`] above the highest level.
    pub fn q_tables(&self, level: usize) -> Result<&[NttTable]> {
        self.0.q.get(..=level).ok_or(Error::Level {
            op: "ciphertext primes",
            needed: self.max_level(),
            found: level,
        })
    }

    /// The first `count` special primes with their tables.
    ///
    /// # Errors
    /// [`Error::Shape`] when there are fewer.
    pub fn p_tables(&self, count: usize) -> Result<&[NttTable]> {
        self.0.p.get(..count).ok_or(Error::Shape {
            what: "special primes",
            needed: count,
            found: self.0.p.len(),
        })
    }

    /// The ciphertext primes, bottom first.
    pub fn moduli(&self) -> impl ExactSizeIterator<Item = &Modulus> {
        self.0.q.iter().map(NttTable::modulus)
    }

    /// q_0, the bottom prime.
    #[must_use]
    #[expect(clippy::indexing_slicing, reason = "a literal without primes is refused")]
    pub fn bottom_modulus(&self) -> &Modulus {
        self.0.q[0].modulus()
    }

    /// q_level as a number: what a rescale at this level divides by.
    ///
    /// # Errors
    /// [`Error::Level`] above the highest level.
    pub fn prime(&self, level: usize) -> Result<f64> {
        let table = self.0.q.get(level).ok_or(Error::Level {
            op: "ciphertext prime",
            needed: self.max_level(),
            found: level,
        })?;
        Ok(table.modulus().value() as f64)
    }

    /// The special primes.
    pub fn special_moduli(&self) -> impl ExactSizeIterator<Item = &Modulus> {
        self.0.p.iter().map(NttTable::modulus)
    }

    /// How keys of this level decompose: fewest digits that the bound allows, then fewest special primes.
    ///
    /// # Errors
    /// [`Error::Level`] above the highest level.
    pub fn gadget(&self, level: usize) -> Result<&Gadget> {
        self.0.gadgets.get(level).ok_or(Error::Level {
            op: "gadget",
            needed: self.max_level(),
            found: level,
        })
    }

    fn cache(&self) -> MutexGuard<'_, Cache> {
        // A panic while the lock was held cannot leave a half-made entry behind.
        self.0.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Conversion of digit `digit` of a level-`level` ciphertext to all its other primes and the special primes.
    pub(crate) fn mod_up(&self, level: usize, gadget: &Gadget, digit: usize) -> Result<Arc<BasisConverter>> {
        let q = self.q_tables(level)?;
        let p = self.p_tables(gadget.specials)?;
        let range = gadget.digit_range(digit, level);
        cached(
            &mut self.cache().mod_up,
            (level, range.clone(), gadget.specials),
            || {
                let others = q
                    .iter()
                    .enumerate()
                    .filter(|(i, _)| !range.contains(i))
                    .map(|(_, t)| t);
                let own = q.get(range.clone());
                BasisConverter::new(own.ok_or_else(|| broken("a digit of primes"))?, others.chain(p))
            },
        )
    }

    /// Division of QP at `level` by the first `specials` special primes.
    pub(crate) fn mod_down(&self, level: usize, specials: usize) -> Result<Arc<Division<TimesP>>> {
        let keep: Vec<_> = self.q_tables(level)?.iter().collect();
        let specials_tables: Vec<_> = self.p_tables(specials)?.iter().collect();
        cached(&mut self.cache().mod_down, (level, specials), || {
            Division::<TimesP>::new(&keep, &[], &specials_tables)
        })
    }

    /// Division of QP at `level` (at least 1) by the first `specials` special primes and the last prime of Q.
    pub(crate) fn mod_down_rescale(&self, level: usize, specials: usize) -> Result<Arc<Division<TimesP>>> {
        let q: Vec<_> = self.q_tables(level)?.iter().collect();
        let (keep, last) = q.split_at(level);
        let specials_tables: Vec<_> = self.p_tables(specials)?.iter().collect();
        cached(&mut self.cache().mod_down_rescale, (level, specials), || {
            Division::<TimesP>::new(keep, last, &specials_tables)
        })
    }

    /// Division of Q at `level` (at least 1) by its last prime.
    pub(crate) fn rescale(&self, level: usize) -> Result<Arc<Division<Eval>>> {
        let q: Vec<_> = self.q_tables(level)?.iter().collect();
        let (keep, drop) = q.split_at(level);
        cached(&mut self.cache().rescale, level, || {
            Division::<Eval>::new(keep, drop)
        })
    }

    /// The permutation of values of X -> X^element.
    pub(crate) fn permutation(&self, element: u64) -> Result<Arc<Vec<u32>>> {
        cached(&mut self.cache().permutations, element, || {
            Ok(permutation(element, self.log_n()))
        })
    }

    /// Element 5^k of the Galois group: rotation of the slots by k to the left.
    #[must_use]
    pub fn galois_element(&self, k: i64) -> u64 {
        self.power(5, k.rem_euclid(self.slots() as i64) as u64)
    }

    /// The inverse of a Galois element: the group of odd residues modulo 2N has exponent N/2.
    #[cfg(feature = "secret")]
    pub(crate) fn inverse_element(&self, element: u64) -> u64 {
        self.power(element, self.slots() as u64 - 1)
    }

    /// base^e modulo 2N.
    fn power(&self, mut base: u64, mut e: u64) -> u64 {
        let mask = 2 * self.degree() as u64 - 1;
        let mut acc = 1u64;
        while e > 0 {
            if e & 1 == 1 {
                acc = acc.wrapping_mul(base) & mask;
            }
            base = base.wrapping_mul(base) & mask;
            e >>= 1;
        }
        acc
    }

    /// Element -1 of the Galois group: complex conjugation of the slots.
    #[must_use]
    pub fn galois_element_conjugate(&self) -> u64 {
        2 * self.degree() as u64 - 1
    }

    /// The rotation k in (-N/4, N/4] that a Galois element stands for; `None` for conjugations and for no element at
    /// all.
    #[must_use]
    pub fn rotation_of(&self, element: u64) -> Option<i64> {
        let slots = self.slots() as i64;
        (0..slots)
            .find(|&k| self.galois_element(k) == element)
            .map(|k| if k > slots / 2 { k - slots } else { k })
    }
}

fn check_literal(l: &ParamsLiteral) -> Result<()> {
    ParamsError::check("log2 of the ring degree", l.log_n, [5, 17])?;
    let counts = [
        ("ciphertext primes", l.log_q.len(), MAX_CIPHERTEXT_PRIMES),
        ("special primes", l.log_p.len(), 32),
    ];
    for (what, found, most) in counts {
        ParamsError::check(what, found as f64, [1.0, most as f64])?;
    }
    for &bits in l.log_q.iter().chain(&l.log_p) {
        ParamsError::check(
            "bits of a prime of this ring",
            bits,
            [l.log_n + 2, MAX_MODULUS_BITS],
        )?;
    }
    Ok(ParamsError::check(
        "bits of the scale",
        l.log_scale,
        [1, MAX_MODULUS_BITS],
    )?)
}

fn table(log_n: u32, value: u64) -> Result<NttTable> {
    let modulus = Modulus::new(value).ok_or(ParamsError::NoModulus { value })?;
    NttTable::new(log_n, modulus)
}

/// The ciphertext primes, bottom first, and the canonical scale of each level.
///
/// From the top down, each prime is the free one nearest to S_l^2 / 2^log_q, which steers the next scale back to the
/// wanted size; otherwise small deviations would double at every level. Primes of another size belong to bootstrapping,
/// which minds its own scales: below them the canonical scale starts anew.
fn ciphertext_primes(l: &ParamsLiteral, taken: &mut Vec<u64>) -> Result<(Vec<NttTable>, Vec<f64>)> {
    let mut scale = f64::from(l.log_scale).exp2();
    let mut q = Vec::with_capacity(l.log_q.len());
    let mut scales = vec![scale];
    for (i, &bits) in l.log_q.iter().enumerate().rev() {
        let target = if i > 0 && bits == l.log_scale {
            scale * scale / f64::from(bits).exp2()
        } else {
            f64::from(bits).exp2()
        };
        let value = if i == 0 {
            ntt_prime_below(bits, l.log_n, taken)?
        } else {
            nearest_ntt_prime(target, l.log_n, taken)?
        };
        taken.push(value);
        q.push(table(l.log_n, value)?);
        if i > 0 {
            scale = if bits == l.log_scale {
                scale * scale / value as f64
            } else {
                f64::from(l.log_scale).exp2()
            };
            scales.push(scale);
        }
    }
    q.reverse();
    scales.reverse();
    Ok((q, scales))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_leveled_set_of_depth_11_is_secure_with_one_digit() {
        let params = Params::new(&ParamsLiteral::leveled(15, 11, 35)).unwrap();
        assert_eq!(params.max_level(), 11);
        assert!(
            params.log_qp() <= 868.0 && params.log_qp() > 840.0,
            "{}",
            params.log_qp()
        );
        assert_eq!(params.gadget(11).unwrap().digits(), 1);
        assert!(params.gadget(0).unwrap().specials < params.gadget(11).unwrap().specials);
        for level in 0..=11 {
            assert!((params.scale(level).unwrap().log2() - 35.0).abs() < 0.001);
        }
        assert!(params.security().to_string().contains("128-bit secure"));
        assert_ne!(
            params.digest(),
            Params::new(&ParamsLiteral::leveled(15, 10, 35)).unwrap().digest()
        );
    }

    #[test]
    fn insecure_and_unusable_literals_are_refused_with_numbers() {
        let wide = ParamsLiteral {
            log_n: 13,
            log_q: vec![50; 5],
            log_p: vec![50],
            log_scale: 40,
        };
        assert!(matches!(
            Params::new(&wide),
            Err(Error::Params(_) | Error::Insecure { .. })
        ));
        let small = ParamsLiteral {
            log_n: 9,
            log_q: vec![40, 30],
            log_p: vec![40],
            log_scale: 30,
        };
        assert!(matches!(Params::new(&small), Err(Error::Insecure { .. })));
        assert!(!Params::new_INSECURE(&small).unwrap().is_secure());
        for bad in [
            ParamsLiteral {
                log_n: 40,
                ..small.clone()
            },
            ParamsLiteral {
                log_q: vec![],
                ..small.clone()
            },
            ParamsLiteral {
                log_p: vec![],
                ..small.clone()
            },
            ParamsLiteral {
                log_q: vec![60],
                ..small.clone()
            },
            ParamsLiteral {
                log_scale: 0,
                ..small.clone()
            },
        ] {
            assert!(Params::new_INSECURE(&bad).is_err());
        }
    }

    #[test]
    fn every_degree_of_the_table_has_a_secure_leveled_set() {
        for (log_n, depth, log_scale) in [(13, 2, 35), (14, 5, 35), (15, 11, 35), (16, 20, 40)] {
            let params = Params::new(&ParamsLiteral::leveled(log_n, depth, log_scale)).unwrap();
            assert!(params.log_qp() <= max_log_qp(log_n).unwrap());
        }
    }

    #[test]
    fn galois_elements_form_the_cyclic_group_of_rotations() {
        let l = ParamsLiteral {
            log_n: 6,
            log_q: vec![30],
            log_p: vec![30],
            log_scale: 25,
        };
        let params = Params::new_INSECURE(&l).unwrap();
        assert_eq!(params.galois_element(0), 1);
        assert_eq!(params.galois_element(32), 1);
        assert_eq!(params.galois_element(3) * params.galois_element(-3) % 128, 1);
        assert_eq!(params.rotation_of(params.galois_element(-5)), Some(-5));
        assert_eq!(params.rotation_of(params.galois_element_conjugate()), None);
    }
}
