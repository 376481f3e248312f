//! The graph that circuits write into: primitive operations on whole ciphertexts, no levels, no scales.

use std::collections::HashMap;
use std::sync::Arc;

use super::op::{Label, Node, NodeId, Op, PerNode};
use crate::ckks::{Pattern, SlotMap};

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

    /// All operations with their ids.
    pub(super) fn numbered(&self) -> impl DoubleEndedIterator<Item = (NodeId, &Node)> + ExactSizeIterator {
        self.nodes
            .iter()
            .enumerate()
            .map(|(index, node)| (NodeId(index), node))
    }

    /// The operation that computes `id`, if it is of this graph.
    pub fn op(&self, id: NodeId) -> Option<&Op> {
        self.nodes.get(id.index()).map(|node| &node.op)
    }

    #[expect(
        clippy::indexing_slicing,
        reason = "for ids of this graph, which `validate` checked"
    )]
    pub(super) fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.index()]
    }

    /// Layer and category of a node of this graph.
    pub fn label(&self, node: &Node) -> Option<&Label> {
        self.labels.get(node.label)
    }

    #[expect(
        clippy::indexing_slicing,
        reason = "a node has the index of a label of its graph"
    )]
    pub(super) fn label_of(&self, node: &Node) -> &Label {
        &self.labels[node.label]
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
    #[expect(
        clippy::indexing_slicing,
        reason = "`current` is the index of a label: 0, or what `intern` returned"
    )]
    pub fn category<R>(&mut self, op: &str, body: impl FnOnce(&mut Graph) -> R) -> R {
        let layer = self.labels[self.current].layer.clone();
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
        // Without slots there is nothing to rotate, and the graph is refused when it is compiled.
        let slots = (self.slots as i64).max(1);
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

    /// This graph written again, node by node. `write` gets the new graph, a node with its id in the old one, and the new
    /// names of what was written before; it returns what stands for the node. Values that it leaves out nobody may read.
    #[expect(clippy::expect_used, reason = "operands come before their users")]
    pub(super) fn rewritten(
        &self,
        mut write: impl FnMut(&mut Graph, NodeId, &Node, &dyn Fn(NodeId) -> NodeId) -> Option<NodeId>,
    ) -> Graph {
        let mut out = self.successor();
        let mut names: PerNode<Option<NodeId>> = PerNode::new();
        for (index, node) in self.nodes.iter().enumerate() {
            let name = write(&mut out, NodeId(index), node, &|id| {
                names[id].expect("what is read was written")
            });
            names.push(name);
        }
        for (name, value) in &self.outputs {
            out.output(name, names[*value].expect("outputs are written"));
        }
        out
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
        let key = op.digest();
        if let Some(known) = self.seen.get(&key) {
            return *known;
        }
        let id = NodeId(self.nodes.len());
        self.nodes.push(Node {
            op,
            label: self.current,
        });
        self.seen.insert(key, id);
        id
    }
}
