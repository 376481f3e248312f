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

mod builder;
mod compile;
mod facts;
mod op;
mod passes;
mod plan;
mod plan_text;
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
