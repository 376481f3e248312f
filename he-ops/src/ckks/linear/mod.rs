//! Linear maps of slots, by diagonals.

mod columns;
pub mod diagonals;
pub mod maps;
pub mod pattern;
pub mod prepared;
pub mod slot_map;
pub mod sums;
mod weights;

pub use diagonals::Diagonals;
pub use pattern::Pattern;
pub use prepared::LinearTransform;
pub use slot_map::{MapPart, SlotMap};
