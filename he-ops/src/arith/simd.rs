//! Which instructions the kernels use: chosen once, here, for all of them.

use super::lanes::Lanes;
use super::lanes::scalar::{CHUNK, Words};
#[cfg(target_arch = "x86_64")]
use super::lanes::{avx2, ifma};
use core::ops::Range;
use std::sync::atomic::{AtomicU8, Ordering};

/// Instruction sets that have kernels of their own. Every set gives the same bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Simd {
    /// Word by word, on any processor.
    Scalar = 1,
    /// x86-64 with AVX2 and FMA: four lanes, products in doubles.
    Avx2 = 2,
    /// x86-64 with AVX-512 F, IFMA and VBMI: eight lanes, products of 52 bits.
    Ifma = 3,
}

/// The set in use; 0 before anybody asked.
static IN_USE: AtomicU8 = AtomicU8::new(0);

/// The environment variable that lowers the set in use: `scalar`, `avx2` or `ifma`.
const VARIABLE: &str = "HE_OPS_SIMD";

impl Simd {
    /// All of them, from the lowest.
    pub const ALL: [Simd; 3] = [Simd::Scalar, Simd::Avx2, Simd::Ifma];

    /// The highest set of this processor.
    #[must_use]
    pub fn detected() -> Simd {
        #[cfg(target_arch = "x86_64")]
        {
            use std::arch::is_x86_feature_detected as has;
            if has!("avx512f") && has!("avx512ifma") && has!("avx512vbmi") {
                return Simd::Ifma;
            }
            if has!("avx2") && has!("fma") {
                return Simd::Avx2;
            }
        }
        Simd::Scalar
    }

    /// The set in use, never above [`Self::detected`]. The first call takes the environment variable `HE_OPS_SIMD`
    /// (`scalar`, `avx2` or `ifma`) as a [`Self::limit`]; anything else in it counts as not set.
    #[must_use]
    #[inline]
    pub fn current() -> Simd {
        match IN_USE.load(Ordering::Relaxed) {
            1 => Simd::Scalar,
            2 => Simd::Avx2,
            3 => Simd::Ifma,
            _ => {
                let asked = std::env::var(VARIABLE).unwrap_or_default();
                let named = Self::ALL.into_iter().find(|set| set.name() == asked);
                let set = named.unwrap_or(Simd::Ifma).min(Self::detected());
                match IN_USE.compare_exchange(0, set as u8, Ordering::Relaxed, Ordering::Relaxed) {
                    Ok(_) => set,
                    // Another thread was first.
                    Err(_) => Self::current(),
                }
            }
        }
    }

    /// Uses this set from now on, or the highest of the processor if that is lower; tells which. For tests and
    /// benchmarks. Safe at any time, since the bits are the same; transform tables keep the set that they were made at.
    pub fn limit(set: Simd) -> Simd {
        let set = set.min(Self::detected());
        IN_USE.store(set as u8, Ordering::Relaxed);
        set
    }

    /// The sets of this processor, for tests that compare them.
    pub fn available() -> impl Iterator<Item = Simd> {
        let highest = Self::detected();
        Self::ALL.into_iter().filter(move |set| *set <= highest)
    }

    /// Name in reports and in `HE_OPS_SIMD`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Simd::Scalar => "scalar",
            Simd::Avx2 => "avx2",
            Simd::Ifma => "ifma",
        }
    }
}

/// Work that is compiled for every level.
pub(crate) trait Kernel {
    /// Does it, with these lanes: becomes part of the one function that has their instructions enabled.
    fn run<L: Lanes>(self, lanes: L);
}

/// Work on entries that depend on nothing but the entries of other slices at the same place.
pub(crate) trait Entries {
    /// How many entries.
    fn len(&self) -> usize;

    /// Whether these lanes can do it.
    fn fit<L: Lanes>(&self) -> bool {
        true
    }

    /// Does the entries of a range, a whole number of vectors from a multiple of their width on.
    fn part<L: Lanes>(&mut self, lanes: L, range: Range<usize>);
}

/// Entries by whole vectors, then word by word.
struct ByVectors<E>(E);

impl<E: Entries> ByVectors<E> {
    /// The whole vectors from `start` on, if they fit; where they end.
    #[inline(always)]
    fn vectors<L: Lanes>(&mut self, lanes: L, start: usize) -> usize {
        let len = self.0.len() - start;
        let end = if self.0.fit::<L>() {
            start + len / L::WIDTH * L::WIDTH
        } else {
            start
        };
        if end > start {
            self.0.part(lanes, start..end);
        }
        end
    }

    #[inline(never)]
    fn words(&mut self, start: usize) {
        let start = self.vectors(Words::<CHUNK>, start);
        self.vectors(Words::<1>, start);
    }
}

impl<E: Entries> Kernel for ByVectors<E> {
    #[inline(always)]
    fn run<L: Lanes>(mut self, lanes: L) {
        // Not twice the same code.
        let start = if L::TILE > 1 { self.vectors(lanes, 0) } else { 0 };
        if start < self.0.len() {
            self.words(start);
        }
    }
}

/// A loop that the compiler makes vectors of.
struct Each<I, F>(I, F);

impl<I: Iterator, F: Fn(I::Item)> Kernel for Each<I, F> {
    #[inline(always)]
    fn run<L: Lanes>(self, _: L) {
        for item in self.0 {
            (self.1)(item);
        }
    }
}

impl Simd {
    /// Does all entries with the instructions of this level.
    pub(crate) fn run(self, entries: impl Entries) {
        self.call(ByVectors(entries));
    }

    /// Does something small to each item with the instructions of this level.
    pub(crate) fn each<I: Iterator>(self, items: I, f: impl Fn(I::Item)) {
        self.call(Each(items, f));
    }

    fn call(self, kernel: impl Kernel) {
        debug_assert!(self <= Self::detected());
        match self {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: levels in use are not above the processor's.
            Simd::Ifma => unsafe { ifma::run(kernel) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: as above.
            Simd::Avx2 => unsafe { avx2::run(kernel) },
            _ => kernel.run(Words::<CHUNK>),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_set_above_the_processor_is_used() {
        assert_eq!(Simd::available().next(), Some(Simd::Scalar));
        assert!(Simd::available().all(|set| set <= Simd::detected()));
        assert!(Simd::current() <= Simd::detected());
    }
}
