//! What a plan will cost before it runs: counted work, and a machine that turns it into microseconds.
//!
//! | module | what |
//! |---|---|
//! | `work` | the work of every operation, as a function of parameters, level and sharing |
//! | `steps` | the work of the steps of a plan, groups sharing what they share |
//! | `plan` | [`plan_costs`]: time per step, label and kind; memory; keys |
//! | `price` | [`price_us`]: one operation of a graph that has no plan yet |
//! | `machine`, `fit` | coefficients, and where they come from |

mod fit;
mod machine;
mod plan;
mod price;
mod steps;
mod work;

pub use fit::{Sample, compare, fit, uncorrected};
pub use machine::{Correction, Kind, Machine, Rates};
pub use plan::{LabelCost, Memory, PlanCosts, StepCost, plan_costs};
pub use price::price_us;
pub use steps::Counts;
pub(crate) use steps::KeyLevels;
pub use work::{Counter, MapShape, SumShape, Work};
