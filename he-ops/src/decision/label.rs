//! The label: the number of a class as digits on the torus, and the samples that hold them.

use super::params::TFHE_PARAMETERS as TFHE;
use crate::{Error, Result};

/// Most classes whose numbers one digit holds: a quarter of the distance of two values is then still 9.5 standard deviations (9.2 are needed).
pub(super) const ONE_DIGIT: usize = 48;

/// Bytes of the number of the keys that a label was made with.
pub(crate) const ID_BYTES: usize = 16;

/// How the number of a class, from 1, is written; 0 is for none. The values of a digit divide the torus evenly.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Digits {
    /// Values of a digit.
    pub base: u64,
    /// Digits, the lowest first.
    pub count: usize,
}

impl Digits {
    /// One for up to 48 classes, two for more.
    pub(super) fn of(classes: usize) -> Self {
        let numbers = classes as u64 + 1;
        if classes <= ONE_DIGIT {
            return Digits {
                base: numbers,
                count: 1,
            };
        }
        Digits {
            base: (numbers - 1).isqrt() + 1,
            count: 2,
        }
    }

    /// The digits of a number.
    pub(super) fn write(self, number: usize) -> impl Iterator<Item = u64> {
        (0..self.count as u32).map(move |at| number as u64 / self.base.pow(at) % self.base)
    }

    /// A digit as a word of the torus.
    pub(super) fn word(self, digit: u64) -> u64 {
        ((u128::from(digit) << 64) / u128::from(self.base)) as u64
    }

    /// The digit nearest to a phase, if the phase is within a quarter of the distance of two.
    #[cfg(feature = "secret")]
    pub(super) fn nearest(self, phase: u32) -> Option<u64> {
        let scaled = u64::from(phase) * self.base;
        let rest = scaled.wrapping_add(1 << 30) as u32;
        let digit = (scaled + (1 << 31)) >> 32;
        (rest <= 1 << 31).then_some(digit % self.base)
    }
}

/// Samples of the small dimension of `tfhe`, one for each digit of the label, mask then body, the top 32 bits of each word;
/// and the number of the secrets that read them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EncryptedLabel {
    id: [u8; ID_BYTES],
    words: Vec<u32>,
}

impl EncryptedLabel {
    /// Words of a digit.
    pub(super) const DIGIT: usize = TFHE.lwe_dimension.0 + 1;

    /// Words of a label of so many classes.
    #[must_use]
    pub fn word_count(classes: usize) -> usize {
        Self::DIGIT * Digits::of(classes).count
    }

    /// Of its parts.
    ///
    /// # Errors
    /// [`Error::Shape`] for another number of words than this many classes take.
    pub fn new(classes: usize, id: [u8; ID_BYTES], words: Vec<u32>) -> Result<Self> {
        let needed = Self::word_count(classes);
        if words.len() == needed {
            return Ok(EncryptedLabel { id, words });
        }
        Err(Error::Shape {
            what: "words of an encrypted label",
            needed,
            found: words.len(),
        })
    }

    /// As in the [key](super::SeededDecisionKey) that it was made with.
    #[must_use]
    pub fn id(&self) -> [u8; ID_BYTES] {
        self.id
    }

    /// Mask then body of every digit.
    #[must_use]
    pub fn words(&self) -> &[u32] {
        &self.words
    }
}

/// Bytes of a label between so many classes on the wire: number of the keys and words.
pub(crate) fn label_bytes(classes: usize) -> u64 {
    (ID_BYTES + 4 * EncryptedLabel::word_count(classes)) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_of_every_number_are_read_back() {
        for classes in [2, 20, ONE_DIGIT, ONE_DIGIT + 1, 255, 256] {
            let digits = Digits::of(classes);
            assert!(digits.base.pow(digits.count as u32) > classes as u64);
            for number in 0..=classes {
                let written: Vec<u64> = digits.write(number).collect();
                let sum = written
                    .iter()
                    .rev()
                    .fold(0, |sum, digit| sum * digits.base + digit);
                assert_eq!(sum, number as u64);
                #[cfg(feature = "secret")]
                for digit in written {
                    let (word, quarter) = (
                        (digits.word(digit) >> 32) as u32,
                        (u32::MAX as u64 / digits.base / 4) as u32,
                    );
                    for phase in [
                        word,
                        word.wrapping_add(quarter - 2),
                        word.wrapping_sub(quarter - 2),
                    ] {
                        assert_eq!(digits.nearest(phase), Some(digit));
                    }
                    for phase in [word.wrapping_add(quarter + 2), word.wrapping_sub(quarter + 2)] {
                        assert_eq!(digits.nearest(phase), None);
                    }
                }
            }
        }
    }
}
