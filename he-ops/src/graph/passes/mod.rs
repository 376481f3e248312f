//! The passes of the compiler, in the order in which they run; each rewrites or annotates a whole graph.

mod dead_code;
mod depth;
mod fuse;
mod hoist;
mod keys;
mod levels;
mod liveness;
mod place;
mod relinearize;
mod rescale;
mod scales;
mod settle;
mod validate;
mod verify;

pub(super) use dead_code::remove_dead_code;
pub(super) use depth::{check_depth, depth};
pub(super) use fuse::fuse_relinearize_rescale;
pub(super) use hoist::{Scheduled, maps_together, schedule};
pub(super) use keys::{collect_keys, settle_keys};
pub(super) use levels::{Span, assign_levels};
pub(super) use liveness::last_uses;
pub(super) use place::{place_bootstraps, remove_cuts};
pub(super) use relinearize::insert_relinearize;
pub(super) use rescale::insert_rescale;
pub(super) use scales::{Scaled, assign_scales};
pub(super) use validate::validate;
pub(super) use verify::{Stage, after, verify, verify_levels, verify_order, verify_plan, verify_scales};

#[cfg(test)]
use super::Graph;

/// The text of a graph with a note before the line of each node, for the tests of the passes.
#[cfg(test)]
fn annotated<T: std::fmt::Display>(graph: &Graph, notes: impl IntoIterator<Item = T>) -> String {
    let text = graph.to_string();
    let lines = text.lines().zip(notes);
    lines.map(|(line, note)| format!("{note}: {line}\n")).collect()
}

/// A map with diagonals of ones at these offsets, one list for each input.
#[cfg(test)]
fn map_of_ones(baby_steps: usize, offsets: &[&[i64]]) -> std::sync::Arc<crate::ckks::SlotMap> {
    use crate::ckks::{Pattern, SlotMap};
    let one = Pattern::constant(1.0).unwrap();
    let part = |offsets: &&[i64]| offsets.iter().map(|k| (*k, one.clone())).collect();
    std::sync::Arc::new(SlotMap::new(baby_steps, offsets.iter().map(part).collect()).unwrap())
}
