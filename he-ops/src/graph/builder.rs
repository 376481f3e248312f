//! The graph that circuits write into: primitive operations on whole ciphertexts, no levels, no scales.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use crate::ckks::{Pattern, SlotMap};
use crate::decision::Decision;

/// A value of a [`Graph`]. Ids are handed out in order, so an operand always has a smaller id than its user.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(u32);

impl NodeId {
    /// Position in [`Graph::nodes`].
    pub fn index(self) -> usize {
        self.0 as usize
    }

    pub(super) fn new(index: usize) -> Self {
        NodeId(u32::try_from(index).unwrap_or(u32::MAX))
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "%{}", self.0)
    }
}

/// One primitive operation. Circuits write the first group; passes insert the second.
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

/// A circuit of primitive operations on ciphertexts of `slots` complex slots.
///
/// Building never fails and never panics; [`compile`](super::compile) checks the whole graph and says what is wrong.
/// Equal operations on equal operands are one node (common-subexpression elimination), so that two matrices on the
/// same input share their rotations without knowing of each other.
///
/// ```
/// use he_ops::ckks::Pattern;
/// use he_ops::graph::Graph;
///
/// # fn main() -> he_ops::Result<()> {
/// let mut g = Graph::new(1024);
/// let half = Pattern::constant(0.5)?;
/// let x = g.input("x");
/// let y = g.scope("layer0.activation", "activation", |g| {
///     let shifted = g.add_plain(x, half);
///     g.mul(shifted, shifted)
/// });
/// g.output("y", y);
/// assert_eq!(g.rotate(x, 3), g.rotate(x, 3 - 1024));
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Graph {
    slots: usize,
    nodes: Vec<Node>,
    labels: Vec<Label>,
    current: usize,
    cuts: u32,
    outputs: Vec<(String, NodeId)>,
    seen: HashMap<[u8; 32], NodeId>,
}

impl Graph {
    /// An empty graph over `slots` complex slots (a power of two; half the ring degree).
    pub fn new(slots: usize) -> Self {
        let root = Label {
            layer: "input".to_owned(),
            op: "input".to_owned(),
        };
        Graph {
            slots,
            nodes: Vec::new(),
            labels: vec![root],
            current: 0,
            cuts: 0,
            outputs: Vec::new(),
            seen: HashMap::new(),
        }
    }

    /// Complex slots of every value.
    pub fn slots(&self) -> usize {
        self.slots
    }

    /// All operations; an operand always comes before its user.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// The operation that computes `id`, if it is of this graph.
    pub fn op(&self, id: NodeId) -> Option<&Op> {
        self.nodes.get(id.index()).map(|node| &node.op)
    }

    /// Layer and category of a node.
    pub fn label(&self, node: &Node) -> Option<&Label> {
        self.labels.get(node.label)
    }

    /// Named results.
    pub fn outputs(&self) -> &[(String, NodeId)] {
        &self.outputs
    }

    /// Everything that `body` adds belongs to `layer` and to the category `op`; returns what `body` returns.
    pub fn scope<R>(&mut self, layer: &str, op: &str, body: impl FnOnce(&mut Graph) -> R) -> R {
        let outer = self.current;
        self.current = self.intern(Label {
            layer: layer.to_owned(),
            op: op.to_owned(),
        });
        let result = body(self);
        self.current = outer;
        result
    }

    /// Like [`scope`](Self::scope), keeping the layer that is set.
    pub fn category<R>(&mut self, op: &str, body: impl FnOnce(&mut Graph) -> R) -> R {
        let layer = self
            .labels
            .get(self.current)
            .map(|label| label.layer.clone())
            .unwrap_or_default();
        self.scope(&layer, op, body)
    }

    /// A ciphertext from the client.
    pub fn input(&mut self, name: &str) -> NodeId {
        self.push(Op::Input {
            name: name.to_owned(),
        })
    }

    /// a + b.
    pub fn add(&mut self, a: NodeId, b: NodeId) -> NodeId {
        self.push(Op::Add(a, b))
    }

    /// a - b.
    pub fn sub(&mut self, a: NodeId, b: NodeId) -> NodeId {
        self.push(Op::Sub(a, b))
    }

    /// -a.
    pub fn negate(&mut self, a: NodeId) -> NodeId {
        self.push(Op::Negate(a))
    }

    /// 2a, as a sum: no level.
    pub fn double(&mut self, a: NodeId) -> NodeId {
        self.push(Op::Add(a, a))
    }

    /// i^power * a: no level.
    pub fn mul_i(&mut self, a: NodeId, power: u32) -> NodeId {
        match power % 4 {
            0 => a,
            power => self.push(Op::MulI(a, power)),
        }
    }

    /// a + pattern; a zero pattern changes nothing.
    pub fn add_plain(&mut self, a: NodeId, pattern: Pattern) -> NodeId {
        if pattern.is_zero() {
            a
        } else {
            self.push(Op::AddPlain(a, pattern))
        }
    }

    /// pattern * a: one level.
    pub fn mul_plain(&mut self, a: NodeId, pattern: Pattern) -> NodeId {
        self.push(Op::WeightedSum(vec![(a, pattern)]))
    }

    /// Σ pattern_i * a_i: one level. Terms with a zero pattern are left out; if all are zero, one of them stays, so
    /// that the value exists. An empty sum is refused when the graph is compiled.
    pub fn weighted_sum(&mut self, terms: impl IntoIterator<Item = (NodeId, Pattern)>) -> NodeId {
        let (mut kept, zeros): (Vec<_>, Vec<_>) =
            terms.into_iter().partition(|(_, pattern)| !pattern.is_zero());
        if kept.is_empty() {
            kept.extend(zeros.into_iter().next());
        }
        self.push(Op::WeightedSum(kept))
    }

    /// Σ M_i a_i with one matrix of the map for each input: one level. Maps of the same inputs and the same number of
    /// baby steps share the rotations of the inputs.
    pub fn linear_map(&mut self, inputs: &[NodeId], map: Arc<SlotMap>) -> NodeId {
        self.push(Op::LinearMap(inputs.to_vec(), map))
    }

    /// a * b: one level; [`square`](Self::square) is the same with a = b and cheaper.
    pub fn mul(&mut self, a: NodeId, b: NodeId) -> NodeId {
        self.push(Op::Mul(a, b))
    }

    /// a * a: one level.
    pub fn square(&mut self, a: NodeId) -> NodeId {
        self.push(Op::Mul(a, a))
    }

    /// out\[j\] = a\[(j + k) mod slots\]. k is taken modulo the slots, nearest to zero; k = 0 is `a` itself.
    pub fn rotate(&mut self, a: NodeId, k: i64) -> NodeId {
        let slots = i64::try_from(self.slots.max(1)).unwrap_or(i64::MAX);
        let k = k.rem_euclid(slots);
        match if k > slots / 2 { k - slots } else { k } {
            0 => a,
            k => self.push(Op::Rotate(a, k)),
        }
    }

    /// The complex conjugate of every slot.
    pub fn conjugate(&mut self, a: NodeId) -> NodeId {
        self.push(Op::Conjugate(a))
    }

    /// The same slots with levels to go on: what a circuit deeper than the parameters needs on the way. Real and
    /// imaginary parts must lie in \[-1, 1\]; beyond, precision falls with the cube of the size.
    ///
    /// Needs [`CompileOptions::bootstrap`](super::CompileOptions).
    pub fn bootstrap(&mut self, a: NodeId) -> NodeId {
        self.push(Op::Bootstrap(a))
    }

    /// A place where the compiler may bootstrap: all of these values together or none. Their real and imaginary parts
    /// must lie in \[-1, 1\]. Every path from what was computed before to what comes after should pass through one of
    /// them, or not need the levels.
    pub fn cut(&mut self, values: &[NodeId]) -> Vec<NodeId> {
        let cut = self.cuts;
        self.cuts += 1;
        values.iter().map(|a| self.push(Op::Cut(*a, cut))).collect()
    }

    /// Names a result. The same value may have several names.
    pub fn output(&mut self, name: &str, value: NodeId) {
        self.outputs.push((name.to_owned(), value));
    }

    /// An empty graph with the same slots and labels: what a pass rewrites into.
    pub(super) fn successor(&self) -> Graph {
        Graph {
            labels: self.labels.clone(),
            cuts: self.cuts,
            ..Graph::new(self.slots)
        }
    }

    /// Adds an operation under the label that an existing node has.
    pub(super) fn push_as(&mut self, op: Op, label: usize) -> NodeId {
        let outer = std::mem::replace(&mut self.current, label);
        let id = self.push(op);
        self.current = outer;
        id
    }

    fn intern(&mut self, label: Label) -> usize {
        match self.labels.iter().position(|known| *known == label) {
            Some(index) => index,
            None => {
                self.labels.push(label);
                self.labels.len() - 1
            }
        }
    }

    fn push(&mut self, op: Op) -> NodeId {
        let key = content(&op);
        if let Some(known) = self.seen.get(&key) {
            return *known;
        }
        let id = NodeId::new(self.nodes.len());
        self.nodes.push(Node {
            op,
            label: self.current,
        });
        self.seen.insert(key, id);
        id
    }
}

/// Digest of an operation with its operands: equal digests compute equal values.
fn content(op: &Op) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(op.name().as_bytes());
    let mut args = op.args();
    if matches!(op, Op::Add(..) | Op::Mul(..)) {
        args.sort_unstable();
    }
    for arg in args {
        hasher.update(&arg.0.to_le_bytes());
    }
    match op {
        Op::Input { name } => _ = hasher.update(name.as_bytes()),
        Op::MulI(_, power) => _ = hasher.update(&power.to_le_bytes()),
        Op::Rotate(_, k) => _ = hasher.update(&k.to_le_bytes()),
        Op::DropLevel(_, level) | Op::Align(_, level) => _ = hasher.update(&level.to_le_bytes()),
        Op::Cut(_, cut) => _ = hasher.update(&cut.to_le_bytes()),
        Op::LinearMap(_, map) => _ = hasher.update(map.digest()),
        Op::Decide(_, decision) => _ = hasher.update(&decision.canonical_bytes()),
        _ => {}
    }
    for pattern in op.patterns() {
        hasher.update(&pattern.canonical_bytes());
    }
    *hasher.finalize().as_bytes()
}
