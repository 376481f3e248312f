//! From circuits to a plan: a graph of primitive operations, and the passes that make it runnable.
//!
//! A circuit writes what it wants computed ([`Graph`]: sums, products, rotations, weights) and nothing about levels,
//! scales, relinearisation or rescaling. `compile` adds those, chooses the parameters, and answers every question
//! that can be asked before running: depth, keys with the level each is used at, counts, memory ([`Plan`]).

mod builder;
mod text;

pub use builder::{Graph, Label, Node, NodeId, Op};
