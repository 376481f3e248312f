//! What every operation is: the one place that says so.
//!
//! Passes, placement, plans, costs and benches ask here and match on no operation for what they want to know: the levels
//! that it takes, what it does with what products owe, the keys that it uses, what it counts as, and what its time
//! depends on. A new operation has a row in [`Op::facts`] and one in [`Op::class`].

use std::collections::BTreeSet;
use std::iter::Sum;
use std::ops::AddAssign;

use serde::{Deserialize, Serialize};

use super::op::{NodeId, Op, PerNode};
use crate::rlwe::{KeyPurpose, Params};

/// Where the level of a result comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Level {
    /// That of the operands.
    Same,
    /// One below that of the operands: the operation divides by the last prime.
    Below,
    /// The one that it names.
    Dropped(usize),
    /// The one that it names, after a division by the prime above.
    Aligned(usize),
    /// That which a bootstrap leaves, whatever the operand had.
    Fresh,
}

/// What an operation does with a debt of products: a relinearisation, or a rescale.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Debt {
    /// Its result owes what its operands owe.
    Passes,
    /// Needs operands that owe nothing, and owes nothing.
    Refuses,
    /// As [`Refuses`](Self::Refuses), but a pass may put the payment off: then the result owes what the operand owes.
    Defers,
    /// Needs operands that owe nothing; its result owes.
    Makes,
    /// Pays what its operand owes.
    Pays,
}

impl Debt {
    /// Whether operands must owe nothing.
    pub fn needs_settled(self) -> bool {
        matches!(self, Debt::Refuses | Debt::Defers | Debt::Makes)
    }
}

/// What the passes need to know of an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Facts {
    pub level: Level,
    /// Three ciphertext parts, which a key switch makes two of.
    pub relinearization: Debt,
    /// The square of the scale, of which a division makes the scale.
    pub rescale: Debt,
}

/// What the time of an operation depends on, besides its level and the keys that there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Class {
    /// Nothing is done.
    Free,
    /// Sum or difference of two ciphertexts.
    Sum,
    /// Product with a number, or with a power of i.
    Scaling,
    /// A constant is added.
    Constant {
        /// Its period.
        period: usize,
    },
    /// Sum of ciphertexts with weights.
    WeightedSum {
        /// Weights.
        terms: usize,
        /// Longest period of a weight.
        period: usize,
    },
    /// Linear map.
    LinearMap {
        /// Its digest.
        digest: [u8; 32],
        /// Its diagonals.
        diagonals: usize,
    },
    /// Product of two ciphertexts.
    Product,
    /// Product of a ciphertext with itself.
    Square,
    /// Rotation.
    Rotation,
    /// Complex conjugation.
    Conjugation,
    /// Relinearisation.
    Relinearization,
    /// Rescale.
    Rescale,
    /// Both in one division.
    RelinearizeRescale,
    /// To another level and scale.
    Alignment,
    /// Bootstrap.
    Bootstrap,
    /// Exact decision.
    Decision {
        /// Its classes.
        classes: usize,
        /// Its bootstraps.
        bootstraps: usize,
    },
}

/// An evaluation key that an operation uses, at the level of its operands. Those of a bootstrap are the bootstrap's to tell:
/// [`BootstrapLiteral::key_uses`](crate::ckks::BootstrapLiteral).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum KeyUse {
    /// That of products.
    Relinearization,
    /// That of the conjugation.
    Conjugation,
    /// That of the rotation by so many slots.
    Rotation(i64),
}

impl KeyUse {
    /// The purpose of the key for these parameters.
    #[must_use]
    pub fn purpose(self, params: &Params) -> KeyPurpose {
        match self {
            KeyUse::Relinearization => KeyPurpose::Relin,
            KeyUse::Conjugation => KeyPurpose::Galois(params.galois_element_conjugate()),
            KeyUse::Rotation(k) => KeyPurpose::Galois(params.galois_element(k)),
        }
    }
}

/// What operations count as. A bootstrap counts as one bootstrap, and nothing of what is done within it is counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Rotations, conjugations and relinearisations; the rotations of linear maps are among them.
    pub key_switches: usize,
    /// Rotations among them, those of linear maps included: baby steps once for all maps of a group, giant steps of every
    /// map.
    pub rotations: usize,
    /// Rotations that share the decomposition of their operand with others.
    pub hoisted_rotations: usize,
    /// Conjugations among the key switches.
    pub conjugations: usize,
    /// Relinearisations among the key switches.
    pub relinearizations: usize,
    /// Ciphertext-ciphertext products, squares included.
    pub products: usize,
    /// Plaintext-ciphertext products: weights of sums, diagonals of maps.
    pub plain_products: usize,
    /// Divisions by the last prime: rescales, those of linear maps and of alignments included.
    pub rescales: usize,
    /// Bootstraps.
    pub bootstraps: usize,
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Counts) {
        self.key_switches += other.key_switches;
        self.rotations += other.rotations;
        self.hoisted_rotations += other.hoisted_rotations;
        self.conjugations += other.conjugations;
        self.relinearizations += other.relinearizations;
        self.products += other.products;
        self.plain_products += other.plain_products;
        self.rescales += other.rescales;
        self.bootstraps += other.bootstraps;
    }
}

impl Sum for Counts {
    fn sum<I: Iterator<Item = Counts>>(counts: I) -> Counts {
        counts.fold(Counts::default(), |mut all, own| {
            all += own;
            all
        })
    }
}

impl Op {
    /// Levels and debts.
    pub(super) fn facts(&self) -> Facts {
        let row = |level, relinearization, rescale| Facts {
            level,
            relinearization,
            rescale,
        };
        use Debt::{Defers, Makes, Passes, Pays, Refuses};
        match self {
            Op::Input { .. } | Op::Cut(..) => row(Level::Same, Passes, Passes),
            Op::Add(..) | Op::Sub(..) => row(Level::Same, Passes, Passes),
            Op::Negate(_) | Op::MulI(..) | Op::AddPlain(..) => row(Level::Same, Passes, Passes),
            Op::WeightedSum(_) => row(Level::Same, Refuses, Makes),
            Op::LinearMap(..) => row(Level::Below, Refuses, Refuses),
            Op::Mul(..) => row(Level::Same, Makes, Makes),
            Op::Rotate(..) => row(Level::Same, Refuses, Defers),
            Op::Conjugate(_) => row(Level::Same, Refuses, Refuses),
            Op::Bootstrap(_) => row(Level::Fresh, Refuses, Refuses),
            Op::Relinearize(_) => row(Level::Same, Pays, Passes),
            // Of two parts only: the rounding of a third would be multiplied by the square of the secret, which costs
            // seven bits of precision at N = 2^15 (measured in `tests/ckks.rs`).
            Op::Rescale(_) => row(Level::Below, Refuses, Pays),
            Op::RelinearizeRescale(_) => row(Level::Below, Pays, Pays),
            Op::DropLevel(_, level) => row(Level::Dropped(*level), Passes, Passes),
            Op::Align(_, level) => row(Level::Aligned(*level), Passes, Passes),
            Op::Decide(..) => row(Level::Dropped(0), Refuses, Refuses),
        }
    }

    /// What its time depends on.
    #[must_use]
    pub fn class(&self) -> Class {
        match self {
            Op::Input { .. } | Op::Cut(..) | Op::DropLevel(..) => Class::Free,
            Op::Add(..) | Op::Sub(..) => Class::Sum,
            Op::Negate(_) | Op::MulI(..) => Class::Scaling,
            Op::AddPlain(_, pattern) => Class::Constant {
                period: pattern.period(),
            },
            Op::WeightedSum(terms) => Class::WeightedSum {
                terms: terms.len(),
                // 1 is the shortest period.
                period: terms
                    .iter()
                    .map(|(_, pattern)| pattern.period())
                    .fold(1, usize::max),
            },
            Op::LinearMap(_, map) => Class::LinearMap {
                digest: *map.digest(),
                diagonals: map.diagonals(),
            },
            Op::Mul(a, b) if a == b => Class::Square,
            Op::Mul(..) => Class::Product,
            Op::Rotate(..) => Class::Rotation,
            Op::Conjugate(_) => Class::Conjugation,
            Op::Relinearize(_) => Class::Relinearization,
            Op::Rescale(_) => Class::Rescale,
            Op::RelinearizeRescale(_) => Class::RelinearizeRescale,
            Op::Align(..) => Class::Alignment,
            Op::Bootstrap(_) => Class::Bootstrap,
            Op::Decide(_, decision) => Class::Decision {
                classes: decision.classes(),
                bootstraps: decision.bootstraps(),
            },
        }
    }

    /// The evaluation keys that it uses.
    #[must_use]
    pub fn keys(&self) -> Vec<KeyUse> {
        match self {
            Op::Rotate(_, k) => vec![KeyUse::Rotation(*k)],
            Op::LinearMap(_, map) => map.rotations().into_iter().map(KeyUse::Rotation).collect(),
            Op::Conjugate(_) => vec![KeyUse::Conjugation],
            Op::Relinearize(_) | Op::RelinearizeRescale(_) => vec![KeyUse::Relinearization],
            _ => Vec::new(),
        }
    }

    /// Levels between the operands and the result, once the result owes nothing.
    pub(super) fn levels(&self) -> usize {
        let Facts { level, rescale, .. } = self.facts();
        // What a rescale takes is what the product before it owes.
        usize::from(rescale == Debt::Makes || (level == Level::Below && rescale != Debt::Pays))
    }

    /// Whether the levels of the result have nothing to do with those of the operand.
    pub(super) fn is_fresh(&self) -> bool {
        self.facts().level == Level::Fresh
    }

    /// The level at which operands enter whose result has this level, where the operation does not choose it.
    pub(super) fn operand_level(&self, level: usize) -> usize {
        level + usize::from(self.facts().level == Level::Below)
    }

    /// The level of the operands of a result of this level that owes nothing any more.
    pub(crate) fn level_before(&self, settled: usize) -> usize {
        let Facts { level, rescale, .. } = self.facts();
        settled + usize::from(level == Level::Below || rescale == Debt::Makes)
    }

    /// What pays what its result owes, on any operand.
    pub(crate) fn settlement(&self) -> Option<Op> {
        let Facts {
            relinearization,
            rescale,
            ..
        } = self.facts();
        match (relinearization == Debt::Makes, rescale == Debt::Makes) {
            (true, true) => Some(Op::RelinearizeRescale(NodeId(0))),
            (true, false) => Some(Op::Relinearize(NodeId(0))),
            (false, true) => Some(Op::Rescale(NodeId(0))),
            (false, false) => None,
        }
    }

    /// The level at which the work is done: that of the operands, unless a part of them is dropped before.
    pub(crate) fn level_of_work(&self, level_in: usize) -> usize {
        match self.facts().level {
            Level::Aligned(level) => level + 1,
            _ => level_in,
        }
    }

    /// What it counts as, without the rotations of a linear map and without what rotations share: see [`counts`].
    fn own_counts(&self) -> Counts {
        let mut counts = Counts::default();
        match self.class() {
            Class::Free | Class::Sum | Class::Scaling | Class::Constant { .. } | Class::Decision { .. } => {}
            Class::WeightedSum { terms, .. } => counts.plain_products = terms,
            Class::LinearMap { diagonals, .. } => (counts.plain_products, counts.rescales) = (diagonals, 1),
            Class::Product | Class::Square => counts.products = 1,
            Class::Rotation => counts.rotations = 1,
            Class::Conjugation => counts.conjugations = 1,
            Class::Relinearization => counts.relinearizations = 1,
            Class::Rescale | Class::Alignment => counts.rescales = 1,
            Class::RelinearizeRescale => (counts.relinearizations, counts.rescales) = (1, 1),
            Class::Bootstrap => counts.bootstraps = 1,
        }
        counts
    }
}

/// What each of some operations counts as that are executed together: rotations of one value share its decomposition,
/// linear maps over the same inputs their baby steps, which are counted with the first map that takes them.
pub(super) fn counts(group: &[&Op]) -> Vec<Counts> {
    let baby_steps: BTreeSet<(usize, usize)> = group.iter().flat_map(|op| turned(op)).collect();
    let mut seen = BTreeSet::new();
    let each = group.iter().map(|op| {
        let mut own = op.own_counts();
        match op {
            Op::Rotate(..) => own.hoisted_rotations = usize::from(group.len() > 1),
            Op::LinearMap(_, map) => {
                // Giant steps lead from the outermost sums of both directions to the middle.
                own.rotations = (map.giants().end() - map.giants().start()).unsigned_abs() as usize;
                for (input, baby) in turned(op) {
                    if seen.insert((input, baby)) {
                        own.rotations += 1;
                        let of_input = baby_steps.range((input, 0)..(input + 1, 0));
                        own.hoisted_rotations += usize::from(of_input.count() > 1);
                    }
                }
            }
            _ => {}
        }
        own.key_switches = own.rotations + own.conjugations + own.relinearizations;
        own
    });
    each.collect()
}

/// The baby steps of a linear map that rotate an input: (input, baby step).
fn turned(op: &Op) -> Vec<(usize, usize)> {
    let Op::LinearMap(inputs, map) = op else {
        return Vec::new();
    };
    let babies =
        (0..inputs.len()).flat_map(|input| map.babies(input).into_iter().map(move |baby| (input, baby)));
    babies.filter(|(_, baby)| *baby > 0).collect()
}

/// For each of some operations in order, whether its result owes what `debt` tells.
pub(super) fn owing<'a>(ops: impl Iterator<Item = &'a Op>, debt: fn(&Facts) -> Debt) -> PerNode<bool> {
    let mut owes: PerNode<bool> = PerNode::new();
    for op in ops {
        let own = match debt(&op.facts()) {
            Debt::Makes => true,
            Debt::Refuses | Debt::Pays => false,
            Debt::Passes | Debt::Defers => op.args().into_iter().any(|arg: NodeId| owes[arg]),
        };
        owes.push(own);
    }
    owes
}
