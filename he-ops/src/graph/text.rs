//! Graphs as text, one line per node: what the tests of the passes compare.

use std::fmt;

use super::{Graph, Node, Op};

impl fmt::Display for Graph {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (id, node) in self.nodes().iter().enumerate() {
            writeln!(f, "%{id} = {}", Line(node))?;
        }
        for (name, value) in self.outputs() {
            writeln!(f, "output {name} = {value}")?;
        }
        Ok(())
    }
}

struct Line<'a>(&'a Node);

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_op(f, &self.0.op)
    }
}

/// Operation and operands; a weighted sum names its inputs and the longest period of its weights, never the weights.
pub(super) fn write_op(f: &mut fmt::Formatter<'_>, op: &Op) -> fmt::Result {
    write!(f, "{}", op.name())?;
    if let Op::Input { name } = op {
        write!(f, " {name}")?;
    }
    match op {
        Op::Mul(a, b) if a == b => write!(f, " {a}")?,
        Op::WeightedSum(_) | Op::LinearMap(..) | Op::Decide(..) => {
            // Runs of ids are written as ranges: the 16 baby steps of a matrix fit on one line.
            let args = op.args();
            let mut rest = args.as_slice();
            while let Some((first, _)) = rest.split_first() {
                let run = rest
                    .iter()
                    .zip(first.index()..)
                    .take_while(|(id, index)| id.index() == *index)
                    .count();
                let (head, tail) = rest.split_at(run.max(1));
                match head {
                    [.., last] if head.len() > 2 => write!(f, " {first}..{last}")?,
                    _ => head.iter().try_for_each(|id| write!(f, " {id}"))?,
                }
                rest = tail;
            }
        }
        _ => op.args().iter().try_for_each(|arg| write!(f, " {arg}"))?,
    }
    match op {
        Op::MulI(_, power) => write!(f, " power {power}"),
        Op::Rotate(_, k) => write!(f, " by {k}"),
        Op::Cut(_, cut) => write!(f, " number {cut}"),
        Op::LinearMap(_, map) => write!(f, " {} diagonals, n {}", map.diagonals(), map.baby_steps()),
        Op::Decide(_, decision) => write!(
            f,
            " {} classes, {} bootstraps",
            decision.classes(),
            decision.bootstraps()
        ),
        Op::DropLevel(_, level) | Op::Align(_, level) => write!(f, " to {level}"),
        Op::AddPlain(_, pattern) => write!(f, " period {}", pattern.period()),
        Op::WeightedSum(terms) => {
            write!(
                f,
                " period {}",
                terms
                    .iter()
                    .map(|(_, pattern)| pattern.period())
                    .max()
                    .unwrap_or(0)
            )
        }
        _ => Ok(()),
    }
}
