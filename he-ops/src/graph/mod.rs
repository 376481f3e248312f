//! From circuits to a plan: a graph of primitive operations, and the passes that make it runnable.
//!
//! A circuit writes what it wants computed ([`Graph`]: sums, products, rotations, weights) and nothing about levels,
//! scales, relinearisation or rescaling. [`compile`] adds those, chooses the parameters, and answers every question
//! that can be asked before running: depth, keys with the level each is used at, counts, memory ([`Plan`]).
//!
//! A circuit deeper than any parameters has bootstraps in it ([`Graph::bootstrap`]); [`compile_with`] takes what says
//! how to do them, and refuses a graph in which one is missing.
//!
//! The passes, in order: check, drop dead code, place bootstraps (or remove the places where they might be), rescale
//! lazily, relinearise lazily, do both in one division where nothing else reads what is between, assign levels as low as
//! possible, assign exact scales, put work that can be shared together, collect keys, free values after their last use.
//! After each of them the graph is verified in debug builds.

// What belongs to a node is kept at its index (`PerNode`). Ids come from `Graph::push` alone and `validate` refuses others, so an
// id that is not there is a bug of a pass, which the verification after it names in debug builds.
#[expect(clippy::indexing_slicing, reason = "by the id of a node of the same graph")]
mod builder;
#[expect(clippy::indexing_slicing, reason = "by the id of a node of the same graph")]
mod compile;
#[expect(clippy::indexing_slicing, reason = "by the id of a node of the same graph")]
mod facts;
mod op;
#[expect(clippy::indexing_slicing, reason = "by the id of a node of the same graph")]
mod passes;
mod plan;
mod plan_text;
#[expect(clippy::indexing_slicing, reason = "by the id of a node of the same graph")]
mod summary;

pub use builder::Graph;
pub use compile::{
    CompileOptions, Price, Profile, compile, compile_for, compile_leveled, compile_with, profile,
};
pub use facts::{Class, Counts, KeyUse};
pub use op::{Label, Node, NodeId, Op};
pub use plan::{Plan, PlannedBootstrap, Port, Step};
pub use plan_text::Overview;
pub use summary::{BootstrapSummary, LabelCounts, LevelCounts, PlanSummary};
