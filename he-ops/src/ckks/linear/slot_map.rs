//! Linear maps from several ciphertexts to one, by their diagonals: the form of every matrix of a plan.

use std::collections::{BTreeMap, HashMap};
use std::ops::RangeInclusive;

use num_complex::Complex64;

use super::pattern::Pattern;
use crate::{Error, Result};

/// The diagonals of one input, by offset.
pub type MapPart = BTreeMap<i64, Pattern>;

/// y = Σ_i M_i x_i, one matrix for each input: y\[j\] = Σ_i Σ_k d_{i,k}\[j\] x_i\[j + k\], slots counted cyclically.
///
/// Evaluated with baby steps and giant steps, k = n g + b with 0 <= b < n: all maps with the same n share the rotations
/// by 1 .. n - 1 of their inputs, and the giant steps take the rotations by n and -n only.
///
/// **Memory:** 4 bytes for each entry of a pattern, 8 if it is complex.
#[derive(Debug, Clone, PartialEq)]
pub struct SlotMap {
    baby_steps: usize,
    parts: Vec<MapPart>,
    digest: [u8; 32],
    bytes: u64,
    known: bool,
}

impl SlotMap {
    /// One part for each input. Diagonals of zeros are left out.
    ///
    /// # Errors
    /// [`Error::Circuit`] unless there is a part, a diagonal that is not zero, and a power of two of baby steps.
    pub fn new(baby_steps: usize, mut parts: Vec<MapPart>) -> Result<Self> {
        for part in &mut parts {
            part.retain(|_, pattern| !pattern.is_zero());
        }
        if !baby_steps.is_power_of_two() || parts.iter().all(BTreeMap::is_empty) {
            return Err(Error::Circuit {
                circuit: "slot map",
                reason: format!(
                    "a power of two of baby steps and a diagonal that is not zero needed, {baby_steps} and {} parts of \
                     zeros found",
                    parts.len()
                ),
            });
        }
        let digest = digest(baby_steps, &parts);
        let patterns = || parts.iter().flat_map(BTreeMap::values);
        let distinct: HashMap<_, _> = patterns().map(|p| (p.address(), p.bytes())).collect();
        let bytes = distinct.values().sum();
        Ok(SlotMap {
            baby_steps,
            parts,
            digest,
            bytes,
            known: true,
        })
    }

    /// A map of weights that nobody knows, with the cost of one that has them: its diagonals may all be the same pattern,
    /// and yet every one counts in [`bytes`](Self::bytes) and is encoded on its own.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn unknown(baby_steps: usize, parts: Vec<MapPart>) -> Result<Self> {
        let map = Self::new(baby_steps, parts)?;
        let patterns = map.parts.iter().flat_map(BTreeMap::values);
        let bytes = patterns.map(Pattern::bytes).sum();
        Ok(SlotMap {
            bytes,
            known: false,
            ..map
        })
    }

    /// False for a map of weights that nobody knows, each of which counts as different.
    pub(crate) fn is_known(&self) -> bool {
        self.known
    }

    /// Bytes of the weights in memory; a pattern that repeats counts once.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// n: a power of two.
    #[must_use]
    pub fn baby_steps(&self) -> usize {
        self.baby_steps
    }

    /// The diagonals of every input.
    #[must_use]
    pub fn parts(&self) -> &[MapPart] {
        &self.parts
    }

    /// Largest period of a diagonal.
    #[must_use]
    pub fn period(&self) -> usize {
        let periods = self.parts.iter().flat_map(BTreeMap::values).map(Pattern::period);
        periods.max().unwrap_or(1)
    }

    /// Plaintext products: diagonals of all parts.
    #[must_use]
    pub fn diagonals(&self) -> usize {
        self.parts.iter().map(BTreeMap::len).sum()
    }

    /// Giant step and baby step of an offset.
    #[must_use]
    pub fn steps(&self, offset: i64) -> (i64, usize) {
        let n = self.baby_steps as i64;
        (offset.div_euclid(n), offset.rem_euclid(n) as usize)
    }

    /// Lowest and highest giant step in use; 0 is always among them.
    #[must_use]
    pub fn giants(&self) -> RangeInclusive<i64> {
        let giants = || {
            self.parts
                .iter()
                .flat_map(BTreeMap::keys)
                .map(|k| self.steps(*k).0)
        };
        giants().min().unwrap_or(0).min(0)..=giants().max().unwrap_or(0).max(0)
    }

    /// Baby steps in use for one input, 0 among them if it is.
    #[must_use]
    pub fn babies(&self, input: usize) -> Vec<usize> {
        let offsets = self.parts.get(input).into_iter().flat_map(BTreeMap::keys);
        let mut babies: Vec<usize> = offsets.map(|k| self.steps(*k).1).collect();
        babies.sort_unstable();
        babies.dedup();
        babies
    }

    /// The rotations that it takes, hence its keys.
    #[must_use]
    pub fn rotations(&self) -> Vec<i64> {
        let babies = (0..self.parts.len()).flat_map(|i| self.babies(i));
        let mut rotations: Vec<i64> = babies.filter(|b| *b > 0).map(|b| b as i64).collect();
        let (n, giants) = (self.baby_steps as i64, self.giants());
        rotations.extend((*giants.end() > 0).then_some(n));
        rotations.extend((*giants.start() < 0).then_some(-n));
        rotations.sort_unstable();
        rotations.dedup();
        rotations
    }

    /// The map in clear, on vectors of equal length.
    #[must_use]
    pub fn apply(&self, inputs: &[&[Complex64]]) -> Vec<Complex64> {
        let slots = inputs.first().map_or(0, |x| x.len());
        let mut out = vec![Complex64::ZERO; slots];
        for (part, x) in self.parts.iter().zip(inputs) {
            for (&offset, pattern) in part {
                let start = offset.rem_euclid(slots.max(1) as i64) as usize;
                // Masks are mostly zeros: entry by entry, every period.
                for (j, w) in pattern.values().into_iter().enumerate() {
                    if w == Complex64::ZERO {
                        continue;
                    }
                    for at in (j..slots).step_by(pattern.period()) {
                        if let (Some(y), Some(x)) = (out.get_mut(at), x.get((at + start) % slots)) {
                            *y += x * w;
                        }
                    }
                }
            }
        }
        out
    }

    /// blake3 of steps, offsets and weights: two maps of one digest compute the same.
    #[must_use]
    pub fn digest(&self) -> &[u8; 32] {
        &self.digest
    }
}

fn digest(baby_steps: usize, parts: &[MapPart]) -> [u8; 32] {
    // Masks repeat: each is hashed once.
    let mut known: HashMap<*const f32, blake3::Hash> = HashMap::new();
    let mut hasher = blake3::Hasher::new();
    hasher.update(&(baby_steps as u64).to_le_bytes());
    for part in parts {
        hasher.update(&(part.len() as u64).to_le_bytes());
        for (offset, pattern) in part {
            let hash = known
                .entry(pattern.address())
                .or_insert_with(|| blake3::hash(&pattern.canonical_bytes()));
            hasher.update(&offset.to_le_bytes());
            hasher.update(hash.as_bytes());
        }
    }
    *hasher.finalize().as_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_are_cut_into_steps_and_the_keys_follow() {
        let weight = |w: f32| Pattern::constant(w).unwrap();
        let part: MapPart = [
            (-5, weight(1.0)),
            (0, weight(2.0)),
            (6, weight(0.0)),
            (9, weight(3.0)),
        ]
        .into();
        let map = SlotMap::new(4, vec![part]).unwrap();
        assert_eq!((map.diagonals(), map.period(), map.giants()), (3, 1, -2..=2));
        assert_eq!(
            (map.babies(0), map.rotations()),
            (vec![0, 1, 3], vec![-4, 1, 3, 4])
        );
        let x: Vec<Complex64> = (0..8).map(|j| Complex64::new(f64::from(j), 0.0)).collect();
        let y = map.apply(&[&x]);
        // x[j - 5] + 2 x[j] + 3 x[j + 9]
        assert_eq!(y.first().map(|y| y.re), Some(3.0 + 3.0));
        assert!(SlotMap::new(3, vec![[(0, weight(1.0))].into()]).is_err());
        assert!(SlotMap::new(4, vec![[(0, weight(0.0))].into()]).is_err());
    }
}
