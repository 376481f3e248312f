//! A polynomial in residue form: one limb of N words per prime, contiguous.

use crate::arith::arena::{Buffer, take, take_zeroed};
use crate::arith::{NttTable, sums};
use crate::par;
use crate::{Error, Result};
use std::marker::PhantomData;
use std::sync::Arc;

/// Coefficients modulo each prime.
#[derive(Clone, Copy, Debug)]
pub enum Coeff {}

/// Values at the 2N-th roots of unity modulo each prime, in the order of [`NttTable`].
#[derive(Clone, Copy, Debug)]
pub enum Eval {}

/// P times a polynomial, P the product of the special primes in use, as key switching makes it: values modulo QP, before
/// the division by P.
///
/// Modulo a special prime a limb holds the values themselves. Modulo a ciphertext prime it holds them **without P**, that
/// is times 1/P: so a polynomial x times P has the limbs of x (`Poly::times_p`), sums need no factor, and the division by
/// P leaves such a limb as it is, plus the remainder ([`Division`](super::Division)). Products with a key come so because
/// the key's limbs were multiplied by 1/P. Limbs modulo the special primes that are all zero may be left out.
#[derive(Clone, Copy, Debug)]
pub enum TimesP {}

/// Marks what the words of a [`Poly`] stand for; mixing two does not compile.
pub trait Representation: Copy + Send + Sync + 'static {}
impl Representation for Coeff {}
impl Representation for Eval {}
impl Representation for TimesP {}

/// A polynomial with a fixed number of limbs. Which prime a limb belongs to is known to its owner (the level of a
/// ciphertext, the gadget of a key), which checks it.
///
/// Copies share their words until one of them is written to, and a polynomial may show only the first of its limbs: so
/// dropping a level costs nothing.
#[derive(Clone)]
pub struct Poly<R: Representation> {
    data: Arc<Buffer>,
    /// Words in use, a multiple of the degree; the buffer may be longer.
    len: usize,
    degree: usize,
    representation: PhantomData<R>,
}

impl<R: Representation> std::fmt::Debug for Poly<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Poly({} limbs of {})", self.limbs(), self.degree)
    }
}

impl<R: Representation> PartialEq for Poly<R> {
    fn eq(&self, other: &Self) -> bool {
        self.degree == other.degree && self.words() == other.words()
    }
}

impl<R: Representation> Poly<R> {
    /// Limbs whose content is left over from earlier users; the caller overwrites all of it.
    pub(crate) fn scratch(limbs: usize, degree: usize) -> Self {
        Self::owning(take(limbs * degree), degree)
    }

    fn owning(data: Buffer, degree: usize) -> Self {
        Self {
            len: data.len(),
            data: Arc::new(data),
            degree,
            representation: PhantomData,
        }
    }

    fn relabelled<S: Representation>(self) -> Poly<S> {
        Poly {
            data: self.data,
            len: self.len,
            degree: self.degree,
            representation: PhantomData,
        }
    }

    /// The zero polynomial.
    #[must_use]
    pub fn zero(limbs: usize, degree: usize) -> Self {
        Self::owning(take_zeroed(limbs * degree), degree)
    }

    /// From contiguous limbs of `degree` words each.
    ///
    /// # Errors
    /// [`Error::Shape`] when the length is no multiple of the degree.
    pub fn from_limbs(words: &[u64], degree: usize) -> Result<Self> {
        if degree == 0 || !words.len().is_multiple_of(degree) {
            return Err(Error::Shape {
                what: "words of a polynomial (a multiple of the degree)",
                needed: words.len().next_multiple_of(degree.max(1)),
                found: words.len(),
            });
        }
        let mut out = Self::scratch(words.len() / degree, degree);
        out.words_mut().copy_from_slice(words);
        Ok(out)
    }

    /// Number of limbs.
    #[must_use]
    pub fn limbs(&self) -> usize {
        self.len / self.degree.max(1)
    }

    /// Ring degree N.
    #[must_use]
    pub fn degree(&self) -> usize {
        self.degree
    }

    /// The N words of limb `i`; empty past the last limb.
    #[must_use]
    pub fn limb(&self, i: usize) -> &[u64] {
        self.words()
            .get(i * self.degree..(i + 1) * self.degree)
            .unwrap_or_default()
    }

    /// The N words of limb `i`; empty past the last limb.
    pub fn limb_mut(&mut self, i: usize) -> &mut [u64] {
        let degree = self.degree;
        self.words_mut()
            .get_mut(i * degree..(i + 1) * degree)
            .unwrap_or_default()
    }

    /// All words, limb after limb.
    #[must_use]
    #[expect(clippy::indexing_slicing, reason = "the buffer is never shorter")]
    pub fn words(&self) -> &[u64] {
        &self.data[..self.len]
    }

    /// All words, limb after limb; copied first when another polynomial shares them.
    #[expect(clippy::indexing_slicing, reason = "the buffer is never shorter")]
    #[expect(clippy::expect_used, reason = "just made the only owner")]
    pub fn words_mut(&mut self) -> &mut [u64] {
        if Arc::get_mut(&mut self.data).is_none() {
            let mut copy = take(self.len);
            copy.copy_from_slice(self.words());
            self.data = Arc::new(copy);
        }
        let len = self.len;
        &mut Arc::get_mut(&mut self.data).expect("the only owner")[..len]
    }

    /// The first `limbs` limbs, sharing the words.
    #[must_use]
    pub fn truncated(&self, limbs: usize) -> Self {
        Self {
            len: limbs.min(self.limbs()) * self.degree,
            ..self.clone()
        }
    }

    /// A copy without the limbs from `from` to `to`.
    #[must_use]
    pub(crate) fn without(&self, from: usize, to: usize) -> Self {
        let mut out = Self::scratch(self.limbs() + from - to, self.degree);
        for i in 0..out.limbs() {
            out.limb_mut(i)
                .copy_from_slice(self.limb(if i < from { i } else { i + to - from }));
        }
        out
    }

    /// a + b, or a - b.
    pub(crate) fn sum<'a>(
        a: &Self,
        b: &Self,
        minus: bool,
        tables: impl IntoIterator<Item = &'a NttTable>,
    ) -> Self {
        let n = a.degree;
        let mut out = Self::scratch(a.limbs(), n);
        let items: Vec<(&mut [u64], &NttTable)> = out.words_mut().chunks_mut(n).zip(tables).collect();
        par::for_each(items, |i, (out, table)| {
            let sum = if minus { sums::sub } else { sums::add };
            sum(out, a.limb(i), b.limb(i), table.modulus());
        });
        out
    }

    /// Overwrites all words with zeros in a way the compiler keeps. Secret polynomials are never cloned, so nobody
    /// shares the words.
    pub fn zeroize(&mut self) {
        zeroize::Zeroize::zeroize(self.words_mut());
    }
}

impl Poly<Coeff> {
    /// Small signed coefficients, reduced modulo each prime.
    #[must_use]
    pub fn from_signed<'a>(coefficients: &[i64], tables: impl IntoIterator<Item = &'a NttTable>) -> Self {
        let tables: Vec<&NttTable> = tables.into_iter().collect();
        let n = coefficients.len();
        let mut out = Self::scratch(tables.len(), n);
        par::for_each(
            out.words_mut().chunks_mut(n).zip(tables).collect(),
            |_, (limb, table): (&mut [u64], &NttTable)| {
                for (word, &c) in limb.iter_mut().zip(coefficients) {
                    *word = table.modulus().reduce_i64(c);
                }
            },
        );
        out
    }

    /// To values; one transform per limb.
    #[must_use]
    pub fn into_eval<'a>(mut self, tables: impl IntoIterator<Item = &'a NttTable>) -> Poly<Eval> {
        let n = self.degree;
        par::for_each(
            self.words_mut().chunks_mut(n).zip(tables).collect(),
            |_, (limb, table): (&mut [u64], &NttTable)| {
                table.forward(limb);
            },
        );
        self.relabelled()
    }
}

impl Poly<TimesP> {
    /// The division by P of a multiple of P, over `limbs` ciphertext primes.
    ///
    /// # Errors
    /// [`Error::Shape`] when there are limbs modulo special primes: then it is no multiple.
    pub(crate) fn quotient(self, limbs: usize) -> Result<Poly<Eval>> {
        if self.limbs() == limbs {
            return Ok(self.relabelled());
        }
        Err(Error::Shape {
            what: "limbs of a multiple of P",
            needed: limbs,
            found: self.limbs(),
        })
    }
}

impl Poly<Eval> {
    /// P times the polynomial, sharing the words: modulo the special primes it is zero.
    pub(crate) fn times_p(&self) -> Poly<TimesP> {
        self.clone().relabelled()
    }

    /// To coefficients; one inverse transform per limb.
    #[must_use]
    pub fn into_coeff<'a>(mut self, tables: impl IntoIterator<Item = &'a NttTable>) -> Poly<Coeff> {
        let n = self.degree;
        par::for_each(
            self.words_mut().chunks_mut(n).zip(tables).collect(),
            |_, (limb, table): (&mut [u64], &NttTable)| {
                table.inverse(limb);
            },
        );
        self.relabelled()
    }

    /// self += a * b, limb by limb.
    #[cfg(feature = "secret")]
    pub(crate) fn mul_accumulate<'a>(
        &mut self,
        a: &Self,
        b: &Self,
        tables: impl IntoIterator<Item = &'a NttTable>,
    ) {
        let n = self.degree;
        let items: Vec<(&mut [u64], &NttTable)> = self.words_mut().chunks_mut(n).zip(tables).collect();
        par::for_each(items, |i, (limb, table)| {
            table.mul_accumulate(limb, a.limb(i), b.limb(i))
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_share_words_until_one_is_written() {
        let mut a = Poly::<Eval>::from_limbs(&[1, 2, 3, 4, 5, 6, 7, 8], 4).unwrap();
        let head = a.truncated(1);
        assert_eq!((head.limbs(), head.words()), (1, &[1, 2, 3, 4][..]));
        assert_eq!(head.words().as_ptr(), a.words().as_ptr());
        a.limb_mut(0)[0] = 9;
        assert_eq!((head.limb(0)[0], a.limb(0)[0], a.limb(1)[0]), (1, 9, 5));
        assert!(Poly::<Eval>::from_limbs(&[1, 2, 3], 2).is_err());
    }
}
