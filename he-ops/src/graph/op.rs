//! The operations of a graph and of a plan, the values they are between, and where in the model they belong.

use std::fmt;
use std::ops::{Index, IndexMut};
use std::sync::Arc;

use crate::ckks::{Pattern, SlotMap};
use crate::decision::Decision;

/// A value of a [`Graph`](super::Graph). Ids are handed out in order, so an operand always has a smaller id than its user.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub(super) usize);

impl NodeId {
    /// Position in [`Graph::nodes`](super::Graph::nodes), or in the steps of a plan.
    pub fn index(self) -> usize {
        self.0
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "%{}", self.0)
    }
}

/// One thing for each node of a graph, in its order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PerNode<T>(Vec<T>);

impl<T> PerNode<T> {
    pub fn new() -> Self {
        PerNode(Vec::new())
    }

    pub fn push(&mut self, value: T) {
        self.0.push(value);
    }

    pub fn iter(&self) -> std::slice::Iter<'_, T> {
        self.0.iter()
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn into_vec(self) -> Vec<T> {
        self.0
    }
}

impl<T> FromIterator<T> for PerNode<T> {
    fn from_iter<I: IntoIterator<Item = T>>(values: I) -> Self {
        PerNode(values.into_iter().collect())
    }
}

impl<T> From<Vec<T>> for PerNode<T> {
    fn from(values: Vec<T>) -> Self {
        PerNode(values)
    }
}

#[expect(
    clippy::indexing_slicing,
    reason = "passes read what belongs to operands and outputs, which `validate` found to be nodes of the graph"
)]
impl<T> Index<NodeId> for PerNode<T> {
    type Output = T;

    fn index(&self, id: NodeId) -> &T {
        &self.0[id.0]
    }
}

#[expect(clippy::indexing_slicing, reason = "as for reading")]
impl<T> IndexMut<NodeId> for PerNode<T> {
    fn index_mut(&mut self, id: NodeId) -> &mut T {
        &mut self.0[id.0]
    }
}

/// One primitive operation. What is known of each stands in `facts`. Circuits write the first group; passes insert the second.
#[derive(Debug, Clone, PartialEq)]
pub enum Op {
    /// A ciphertext from the client.
    Input {
        /// Name in the plan and in the manifest.
        name: String,
    },
    /// a + b, slot by slot.
    Add(NodeId, NodeId),
    /// a - b, slot by slot.
    Sub(NodeId, NodeId),
    /// -a.
    Negate(NodeId),
    /// i^power * a: free, no noise, no level.
    MulI(NodeId, u32),
    /// a + pattern.
    AddPlain(NodeId, Pattern),
    /// Σ pattern_i * a_i, one level whatever the number of terms.
    WeightedSum(Vec<(NodeId, Pattern)>),
    /// Σ M_i a_i: one level, rescale included; one key switch for each rotation of the map.
    LinearMap(Vec<NodeId>, Arc<SlotMap>),
    /// a * b, slot by slot: one level and, sooner or later, one relinearisation.
    Mul(NodeId, NodeId),
    /// out\[j\] = a\[(j + k) mod slots\]: one key switch.
    Rotate(NodeId, i64),
    /// Complex conjugate of every slot: one key switch.
    Conjugate(NodeId),
    /// The same slots with the levels that a bootstrap leaves; real and imaginary parts must lie in \[-1, 1\].
    Bootstrap(NodeId),
    /// A value that may be bootstrapped here, together with all values of the same cut; the compiler decides.
    Cut(NodeId, u32),

    /// From three ciphertext parts to two: one key switch.
    Relinearize(NodeId),
    /// Divide by the last prime and drop it: what a product owes.
    Rescale(NodeId),
    /// Both at once, by one division: one key switch.
    RelinearizeRescale(NodeId),
    /// Forget primes down to the given level; the scale stays, so the consumer must absorb it.
    DropLevel(NodeId, usize),
    /// Bring a value to the given level at exactly the scale its consumer needs: drop to one level above,
    /// multiply by a constant one, rescale.
    Align(NodeId, usize),
    /// One exact class from the logits in these values; the last step of a plan, see [`Plan::decided`](super::Plan::decided).
    Decide(Vec<NodeId>, Arc<Decision>),
}

impl Op {
    /// The operands, in order (an operand used twice is listed twice).
    pub fn args(&self) -> Vec<NodeId> {
        match self {
            Op::Input { .. } => Vec::new(),
            Op::Add(a, b) | Op::Sub(a, b) | Op::Mul(a, b) => vec![*a, *b],
            Op::Negate(a)
            | Op::MulI(a, _)
            | Op::AddPlain(a, _)
            | Op::Rotate(a, _)
            | Op::Conjugate(a)
            | Op::Bootstrap(a)
            | Op::Cut(a, _)
            | Op::Relinearize(a)
            | Op::Rescale(a)
            | Op::RelinearizeRescale(a)
            | Op::DropLevel(a, _)
            | Op::Align(a, _) => vec![*a],
            Op::WeightedSum(terms) => terms.iter().map(|(a, _)| *a).collect(),
            Op::LinearMap(inputs, _) | Op::Decide(inputs, _) => inputs.clone(),
        }
    }

    /// The same operation on other operands.
    #[must_use]
    pub fn map_args(&self, mut f: impl FnMut(NodeId) -> NodeId) -> Op {
        match self {
            Op::Input { name } => Op::Input { name: name.clone() },
            Op::Add(a, b) => Op::Add(f(*a), f(*b)),
            Op::Sub(a, b) => Op::Sub(f(*a), f(*b)),
            Op::Mul(a, b) => Op::Mul(f(*a), f(*b)),
            Op::Negate(a) => Op::Negate(f(*a)),
            Op::MulI(a, power) => Op::MulI(f(*a), *power),
            Op::AddPlain(a, pattern) => Op::AddPlain(f(*a), pattern.clone()),
            Op::WeightedSum(terms) => Op::WeightedSum(
                terms
                    .iter()
                    .map(|(a, pattern)| (f(*a), pattern.clone()))
                    .collect(),
            ),
            Op::LinearMap(inputs, map) => {
                Op::LinearMap(inputs.iter().map(|a| f(*a)).collect(), Arc::clone(map))
            }
            Op::Rotate(a, k) => Op::Rotate(f(*a), *k),
            Op::Conjugate(a) => Op::Conjugate(f(*a)),
            Op::Bootstrap(a) => Op::Bootstrap(f(*a)),
            Op::Cut(a, cut) => Op::Cut(f(*a), *cut),
            Op::Relinearize(a) => Op::Relinearize(f(*a)),
            Op::Rescale(a) => Op::Rescale(f(*a)),
            Op::RelinearizeRescale(a) => Op::RelinearizeRescale(f(*a)),
            Op::DropLevel(a, level) => Op::DropLevel(f(*a), *level),
            Op::Align(a, level) => Op::Align(f(*a), *level),
            Op::Decide(inputs, decision) => {
                Op::Decide(inputs.iter().map(|a| f(*a)).collect(), Arc::clone(decision))
            }
        }
    }

    /// Name in plans and in latency reports.
    pub fn name(&self) -> &'static str {
        match self {
            Op::Input { .. } => "input",
            Op::Add(..) => "add",
            Op::Sub(..) => "sub",
            Op::Negate(..) => "negate",
            Op::MulI(..) => "mul_i",
            Op::AddPlain(..) => "add_plain",
            Op::WeightedSum(..) => "weighted_sum",
            Op::LinearMap(..) => "linear_map",
            Op::Mul(a, b) if a == b => "square",
            Op::Mul(..) => "mul",
            Op::Rotate(..) => "rotate",
            Op::Conjugate(..) => "conjugate",
            Op::Bootstrap(..) => "bootstrap",
            Op::Cut(..) => "cut",
            Op::Relinearize(..) => "relinearize",
            Op::Rescale(..) => "rescale",
            Op::RelinearizeRescale(..) => "relinearize_rescale",
            Op::DropLevel(..) => "drop_level",
            Op::Align(..) => "align",
            Op::Decide(..) => "decide",
        }
    }

    /// The plaintexts that this operation carries.
    pub fn patterns(&self) -> Vec<&Pattern> {
        match self {
            Op::AddPlain(_, pattern) => vec![pattern],
            Op::WeightedSum(terms) => terms.iter().map(|(_, pattern)| pattern).collect(),
            _ => Vec::new(),
        }
    }

    /// blake3 of the operation with its operands: equal digests compute equal values.
    pub(super) fn digest(&self) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new();
        hasher.update(self.name().as_bytes());
        let mut args = self.args();
        if matches!(self, Op::Add(..) | Op::Mul(..)) {
            args.sort_unstable();
        }
        for arg in args {
            hasher.update(&(arg.0 as u64).to_le_bytes());
        }
        match self {
            Op::Input { name } => _ = hasher.update(name.as_bytes()),
            Op::MulI(_, power) => _ = hasher.update(&power.to_le_bytes()),
            Op::Rotate(_, k) => _ = hasher.update(&k.to_le_bytes()),
            Op::DropLevel(_, level) | Op::Align(_, level) => {
                _ = hasher.update(&(*level as u64).to_le_bytes());
            }
            Op::Cut(_, cut) => _ = hasher.update(&cut.to_le_bytes()),
            Op::LinearMap(_, map) => _ = hasher.update(map.digest()),
            Op::Decide(_, decision) => _ = hasher.update(&decision.canonical_bytes()),
            _ => {}
        }
        for pattern in self.patterns() {
            hasher.update(&pattern.canonical_bytes());
        }
        *hasher.finalize().as_bytes()
    }
}

/// Where in the model an operation belongs: a row of the latency table.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Label {
    /// Layer, e.g. `layer0.attention`.
    pub layer: String,
    /// Category of work, e.g. `ciphertext matmul`.
    pub op: String,
}

/// One operation with the part of the model it belongs to.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// What is computed.
    pub op: Op,
    pub(super) label: usize,
}
