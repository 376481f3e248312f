//! From circuits to a plan: a graph of primitive operations, and the passes that make it runnable.
//!
//! A circuit writes what it wants computed ([`Graph`]: sums, products, rotations, weights) and nothing about levels,
//! scales, relinearisation or rescaling. [`compile`] adds those, chooses the parameters, and answers every question
//! that can be asked before running: depth, keys with the level each is used at, counts, memory ([`Plan`]).
//!
//! A circuit deeper than any parameters has bootstraps in it ([`Graph::bootstrap`]); [`compile_with`] takes what says
//! how to do them, and refuses a graph in which one is missing.
//!
//! The passes, in order: check, drop dead code, rescale lazily, relinearise lazily, assign levels as low as possible,
//! assign exact scales, collect keys, put rotations of one value together, free values after their last use.

mod builder;
mod compile;
mod passes;
mod plan;
mod plan_text;
mod prices;
mod summary;
mod text;

pub use builder::{Graph, Label, Node, NodeId, Op};
pub use compile::{CompileOptions, Profile, compile, compile_for, compile_leveled, compile_with, profile};
pub use plan::{Plan, PlannedBootstrap, Port, Step};
pub use plan_text::Overview;
pub use summary::{BootstrapSummary, LevelCounts, PlanSummary};
