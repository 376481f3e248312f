//! The class that won all its comparisons.

use super::keys::{DecisionKey, Lwe};
use super::label::Digits;
use super::lwe::{MINUS, add, each, shift, torus, zero};
use super::rule::groups;

/// Comparisons that are in memory together: 8 MB of samples.
const BATCH: usize = 512;

/// Sums of +-step of some comparisons of a class, shifted so that it is one step above 0 if all of them are won, and at
/// least one below if not.
struct Votes {
    sum: Lwe,
}

/// Largest step for which the sum of `count` of them, shifted, stays a step away from the ends of the torus.
fn step(count: usize) -> u64 {
    torus(1.0 / (4 * count) as f64)
}

impl Votes {
    /// Before any of `count` comparisons.
    fn new(count: usize, step: u64) -> Self {
        Votes {
            sum: shift(zero(), step.wrapping_mul(count as u64 - 1).wrapping_neg()),
        }
    }

    fn cast(&mut self, sign: &Lwe, weight: u64) {
        self.sum = add(&self.sum, sign, weight);
    }
}

/// The digits of the class ahead of all others, or of 0.
///
/// One bootstrap for each pair of classes gives both their votes; those of a class are gathered in
/// [groups](super::rule::groups) few enough for one bootstrap each, the groups likewise, and the last sign of a class is
/// its digit or 0: at most one class adds to the sum.
#[expect(clippy::indexing_slicing, reason = "pairs of classes, and groups of each")]
pub(super) fn arg_max(key: &DecisionKey, logits: &[Lwe]) -> Vec<Lwe> {
    let opponents = logits.len().saturating_sub(1);
    let groups = groups(logits.len());
    let unit = step(opponents.div_ceil(groups));
    // Opponent number k is in group k mod groups.
    let votes = || (0..groups).map(|group| Votes::new((opponents - group).div_ceil(groups), unit));
    let mut classes: Vec<Vec<Votes>> = logits.iter().map(|_| votes().collect()).collect();
    let pairs: Vec<(usize, usize)> = (0..logits.len())
        .flat_map(|j| (0..j).map(move |i| (i, j)))
        .collect();
    for batch in pairs.chunks(BATCH) {
        let signs = each(batch, |(i, j)| {
            key.sign(&add(&logits[*i], &logits[*j], MINUS), unit)
        });
        for ((i, j), sign) in batch.iter().zip(&signs) {
            // Class j is opponent j - 1 of class i, which is opponent i of class j.
            for (own, opponent, weight) in [(*i, j - 1, 1), (*j, *i, MINUS)] {
                classes[own][opponent % groups].cast(sign, weight);
            }
        }
    }
    let wins: Vec<Lwe> = if groups == 1 {
        classes.into_iter().flatten().map(|votes| votes.sum).collect()
    } else {
        let unit = step(groups);
        each(&classes, |votes| {
            let mut all = Votes::new(groups, unit);
            for group in votes {
                all.cast(&key.sign(&group.sum, unit), 1);
            }
            all.sum
        })
    };
    let digits = Digits::of(logits.len());
    let numbered: Vec<(usize, Lwe)> = (1..).zip(wins).collect();
    let chosen = each(&numbered, |(number, wins)| {
        let values = digits.write(*number).map(|digit| digits.word(digit) / 2);
        // Half of it up or down from half of it.
        let signs = values.map(|half| (half > 0).then(|| shift(key.sign(wins, half), half)));
        signs.collect::<Vec<_>>()
    });
    let sum = |at: usize| {
        let own = chosen.iter().filter_map(|class| class[at].as_ref());
        own.fold(zero(), |sum, value| add(&sum, value, 1))
    };
    (0..digits.count).map(sum).collect()
}
