//! Circuits: the building blocks of a model, written into a [`Graph`] as primitive operations.
//!
//! A circuit answers before it runs: its [`Profile`] is read off its own compiled graph, so it cannot disagree with
//! what is executed.
//!
//! Slots are laid out tokens high, features low ([`TokenLayout`]); weights repeat with the period of the features.

mod attention;
mod block_attention;
mod block_matrix;
mod blocks;
mod feed_forward;
mod head;
mod layout;
mod polynomial;
mod power_softmax;
mod reciprocal;
mod repack;
mod token_norm;
mod token_transform;

pub use attention::PowerSoftmaxAttention;
pub use block_attention::{BlockAttention, BlockHead, BlockSums};
pub use block_matrix::BlockMatrix;
pub use blocks::{BlockLayout, Operand, pack_pairs, pack_real_parts, packed_operands, unpack_doubled};
pub use feed_forward::FeedForward;
pub use head::Head;
pub use layout::TokenLayout;
pub use polynomial::ChebyshevSeries;
pub use power_softmax::PowerSoftmax;
pub use reciprocal::Reciprocal;
pub use repack::{inner_sum, replicate, twice_imag_part, twice_real_part};
pub use token_norm::sum_of_squares;
pub use token_transform::{Matrix, TokenTransform};

use std::collections::BTreeSet;

use crate::graph::{Graph, NodeId, Profile, profile};
use crate::{Error, Result};

/// A part of a model that can be written into a graph, and that says what it costs.
pub trait Circuit {
    /// Name for errors and plans.
    fn name(&self) -> &'static str;

    /// Slots of its values.
    fn slots(&self) -> usize;

    /// Number of ciphertexts that it takes.
    fn arity(&self) -> usize;

    /// Writes the circuit into `g` and returns its result.
    ///
    /// # Errors
    /// [`Error::Shape`] for another number of inputs than [`arity`](Self::arity), or another slot count.
    fn expand(&self, g: &mut Graph, inputs: &[NodeId]) -> Result<NodeId>;

    /// Depth, rotations and products of the circuit on its own, with all inputs at one level.
    ///
    /// # Errors
    /// As [`expand`](Self::expand).
    fn profile(&self) -> Result<Profile> {
        let mut g = Graph::new(self.slots());
        let inputs: Vec<NodeId> = (0..self.arity()).map(|i| g.input(&format!("x{i}"))).collect();
        let result = self.expand(&mut g, &inputs)?;
        g.output("result", result);
        profile(&g)
    }

    /// Levels from input to result.
    ///
    /// # Errors
    /// As [`expand`](Self::expand).
    fn depth(&self) -> Result<usize> {
        Ok(self.profile()?.depth)
    }

    /// Distinct rotations: the Galois keys that it needs.
    ///
    /// # Errors
    /// As [`expand`](Self::expand).
    fn rotations(&self) -> Result<BTreeSet<i64>> {
        Ok(self.profile()?.rotations)
    }
}

/// The inputs as an array, checked in number and against the graph.
fn take<const N: usize>(circuit: &impl Circuit, g: &Graph, inputs: &[NodeId]) -> Result<[NodeId; N]> {
    same_slots(circuit, g)?;
    inputs.try_into().map_err(|_| wrong_arity(N, inputs))
}

/// Any number of inputs, checked against the circuit, and the circuit against the graph.
fn check_inputs(circuit: &impl Circuit, g: &Graph, inputs: &[NodeId]) -> Result<()> {
    same_slots(circuit, g)?;
    if inputs.len() == circuit.arity() {
        Ok(())
    } else {
        Err(wrong_arity(circuit.arity(), inputs))
    }
}

fn wrong_arity(needed: usize, inputs: &[NodeId]) -> Error {
    Error::Shape {
        what: "inputs of a circuit",
        needed,
        found: inputs.len(),
    }
}

fn same_slots(circuit: &impl Circuit, g: &Graph) -> Result<()> {
    if g.slots() == circuit.slots() {
        Ok(())
    } else {
        Err(Error::Shape {
            what: "slots of a circuit",
            needed: g.slots(),
            found: circuit.slots(),
        })
    }
}
