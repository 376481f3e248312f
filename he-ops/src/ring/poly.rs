//! A polynomial in residue form: one limb of N words per prime, contiguous.

use super::arena::{Buffer, take, take_zeroed};
use crate::arith::NttTable;
use crate::par;
use crate::{Error, Result};
use std::marker::PhantomData;

/// Coefficients modulo each prime.
#[derive(Clone, Copy, Debug)]
pub enum Coeff {}

/// Values at the 2N-th roots of unity modulo each prime, in the order of [`NttTable`].
#[derive(Clone, Copy, Debug)]
pub enum Eval {}

/// Marks what the words of a [`Poly`] stand for; mixing the two does not compile.
pub trait Representation: Copy + Send + Sync + 'static {}
impl Representation for Coeff {}
impl Representation for Eval {}

/// A polynomial with a fixed number of limbs. Which prime a limb belongs to is known to its owner (the level of a
/// ciphertext, the gadget of a key), which checks it.
#[derive(Clone)]
pub struct Poly<R: Representation> {
    data: Buffer,
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
        self.degree == other.degree && self.data[..] == other.data[..]
    }
}

impl<R: Representation> Poly<R> {
    /// Limbs whose content is left over from earlier users; the caller overwrites all of it.
    pub(crate) fn scratch(limbs: usize, degree: usize) -> Self {
        Self { data: take(limbs * degree), degree, representation: PhantomData }
    }

    /// The zero polynomial.
    #[must_use]
    pub fn zero(limbs: usize, degree: usize) -> Self {
        Self { data: take_zeroed(limbs * degree), degree, representation: PhantomData }
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
        out.data.copy_from_slice(words);
        Ok(out)
    }

    /// Number of limbs.
    #[must_use]
    pub fn limbs(&self) -> usize {
        self.data.len() / self.degree.max(1)
    }

    /// Ring degree N.
    #[must_use]
    pub fn degree(&self) -> usize {
        self.degree
    }

    /// The N words of limb `i`; empty past the last limb.
    #[must_use]
    pub fn limb(&self, i: usize) -> &[u64] {
        self.data.get(i * self.degree..(i + 1) * self.degree).unwrap_or_default()
    }

    /// The N words of limb `i`; empty past the last limb.
    pub fn limb_mut(&mut self, i: usize) -> &mut [u64] {
        self.data.get_mut(i * self.degree..(i + 1) * self.degree).unwrap_or_default()
    }

    /// All words, limb after limb.
    #[must_use]
    pub fn words(&self) -> &[u64] {
        &self.data
    }

    /// All words, limb after limb.
    pub fn words_mut(&mut self) -> &mut [u64] {
        &mut self.data
    }

    /// A copy of the first `limbs` limbs.
    #[must_use]
    pub fn truncated(&self, limbs: usize) -> Self {
        let limbs = limbs.min(self.limbs());
        let mut out = Self::scratch(limbs, self.degree);
        out.data.copy_from_slice(self.data.get(..limbs * self.degree).unwrap_or_default());
        out
    }

    /// Overwrites all words with zeros in a way the compiler keeps.
    pub fn zeroize(&mut self) {
        zeroize::Zeroize::zeroize(&mut *self.data);
    }
}

impl Poly<Coeff> {
    /// Small signed coefficients, reduced modulo each prime.
    #[must_use]
    pub fn from_signed<'a>(coefficients: &[i64], tables: impl IntoIterator<Item = &'a NttTable>) -> Self {
        let tables: Vec<&NttTable> = tables.into_iter().collect();
        let n = coefficients.len();
        let mut out = Self::scratch(tables.len(), n);
        par::for_each(out.data.chunks_mut(n).zip(tables).collect(), |_, (limb, table): (&mut [u64], &NttTable)| {
            for (word, &c) in limb.iter_mut().zip(coefficients) {
                *word = table.modulus().reduce_i64(c);
            }
        });
        out
    }

    /// To values; one transform per limb.
    #[must_use]
    pub fn into_eval<'a>(mut self, tables: impl IntoIterator<Item = &'a NttTable>) -> Poly<Eval> {
        let n = self.degree;
        par::for_each(self.data.chunks_mut(n).zip(tables).collect(), |_, (limb, table): (&mut [u64], &NttTable)| {
            table.forward(limb);
        });
        Poly { data: self.data, degree: n, representation: PhantomData }
    }
}

impl Poly<Eval> {
    /// To coefficients; one inverse transform per limb.
    #[must_use]
    pub fn into_coeff<'a>(mut self, tables: impl IntoIterator<Item = &'a NttTable>) -> Poly<Coeff> {
        let n = self.degree;
        par::for_each(self.data.chunks_mut(n).zip(tables).collect(), |_, (limb, table): (&mut [u64], &NttTable)| {
            table.inverse(limb);
        });
        Poly { data: self.data, degree: n, representation: PhantomData }
    }

    /// self += a * b, limb by limb.
    pub(crate) fn mul_accumulate<'a>(&mut self, a: &Self, b: &Self, tables: impl IntoIterator<Item = &'a NttTable>) {
        let n = self.degree;
        let items: Vec<(&mut [u64], &NttTable)> = self.data.chunks_mut(n).zip(tables).collect();
        par::for_each(items, |i, (limb, table)| table.mul_accumulate(limb, a.limb(i), b.limb(i)));
    }

    /// Applies `f(modulus value, a, b)` to every pair of words: sums and differences.
    pub(crate) fn zip_assign<'a>(
        &mut self,
        other: &Self,
        tables: impl IntoIterator<Item = &'a NttTable>,
        f: impl Fn(u64, u64, u64) -> u64 + Sync + Send,
    ) {
        let n = self.degree;
        let items: Vec<(&mut [u64], &NttTable)> = self.data.chunks_mut(n).zip(tables).collect();
        par::for_each(items, |i, (limb, table)| {
            let q = table.modulus().value();
            for (a, &b) in limb.iter_mut().zip(other.limb(i)) {
                *a = f(q, *a, b);
            }
        });
    }
}
