//! Several residues at a time: what the kernels ask of an instruction set.
//!
//! The algorithms stand once, in [`super::dot`] and [`super::tensor`]; a file here says how one set of instructions loads,
//! multiplies, sums and reduces. One more set is one more file, and one more level in [`super::simd`].

use super::Modulus;

#[cfg(target_arch = "x86_64")]
pub(crate) mod avx2;
#[cfg(target_arch = "x86_64")]
pub(crate) mod ifma;
pub(crate) mod scalar;

/// An instruction set. Whoever holds a value has seen that the processor has the instructions, so methods that only
/// compute are safe.
///
/// Every implementation gives the same words. Methods are `#[inline(always)]`: they become part of the one function of
/// the file that has the instructions enabled.
pub(crate) trait Lanes: Copy {
    /// Residues in a vector.
    const WIDTH: usize;
    /// Outputs that share the loads of the inputs: as many sums as stay in registers.
    const TILE: usize;
    /// Whether a tile has registers for several vectors of each output.
    const WIDE: bool;
    /// Most terms of a sum.
    const MAX_TERMS: usize;
    /// Whether weights are other bits than the words.
    const CONVERTED: bool;

    /// Residues as they lie in memory.
    type Words: Copy;
    /// A factor of a product, below 2^50.
    type Factor: Copy;
    /// Sums of products.
    type Sum: Copy;
    /// The constants of a modulus.
    type Prime: Copy;
    /// How packed residues of a number of bits come apart.
    type Unpacking: Copy;

    /// The constants of a modulus.
    fn prime(self, modulus: &Modulus) -> Self::Prime;

    /// After how many terms a sum of so many is folded; `None` for not at all.
    fn fold_after(terms: usize, modulus: &Modulus) -> Option<usize>;

    /// # Safety
    /// There are `WIDTH` words at `at`.
    unsafe fn load(self, at: *const u64) -> Self::Words;

    /// # Safety
    /// There is room for `WIDTH` words at `at`.
    unsafe fn store(self, at: *mut u64, words: Self::Words);

    /// Words below 2^50 as factors.
    fn factor(self, words: Self::Words) -> Self::Factor;

    /// How residues of so many bits come apart.
    fn unpacking(self, bits: usize) -> Self::Unpacking;

    /// Residues `lane`, `lane` + 1, .. of the eight that are packed at `at`; `lane` is a multiple of `WIDTH`.
    ///
    /// # Safety
    /// 64 bytes may be read at `at`.
    unsafe fn unpack(self, unpacking: &Self::Unpacking, at: *const u8, lane: usize) -> Self::Factor;

    /// The bits in which a constant factor goes into [`Self::splat`].
    fn weight(word: u64) -> u64;

    /// A weight in all lanes.
    fn splat(self, weight: u64) -> Self::Factor;

    /// `start` in all lanes, to which so many products will be added.
    fn start(self, prime: &Self::Prime, start: u64, terms: usize) -> Self::Sum;

    /// sum + x w.
    fn mul_add(self, sum: Self::Sum, x: Self::Factor, w: Self::Factor) -> Self::Sum;

    /// Congruent, with room for [`Self::fold_after`] more products.
    fn fold(self, prime: &Self::Prime, sum: Self::Sum) -> Self::Sum;

    /// sum / 2^52 modulo the prime; `FEW` if it was not to be folded at all.
    fn reduce<const FEW: bool>(self, prime: &Self::Prime, sum: Self::Sum) -> Self::Words;

    /// x + y modulo the prime, of words below it.
    fn add(self, prime: &Self::Prime, x: Self::Words, y: Self::Words) -> Self::Words;

    /// (a0 b0, a0 b1 + a1 b0, a1 b1) modulo the prime, of words below it; `r104` is 2^104 modulo the prime.
    fn tensor(
        self,
        prime: &Self::Prime,
        r104: Self::Factor,
        a: [Self::Words; 2],
        b: [Self::Words; 2],
    ) -> [Self::Words; 3];
}
