//! What a plan will cost before it runs: counted work, and a machine that turns it into microseconds.
//!
//! | module | what |
//! |---|---|
//! | `work` | the work of every operation, as a function of parameters, level and sharing |
//! | `maps` | the same for linear maps, which are most of it |
//! | `steps` | the work of the steps of a plan, groups sharing what they share |
//! | `plan` | [`plan_costs`]: time per step, label and kind; memory; keys; `table` prints it |
//! | `price` | [`Prices`]: the operations of a graph that has no plan yet |
//! | `machine`, `fit` | coefficients, and where they come from |

mod decision;
mod fit;
mod machine;
mod maps;
mod plan;
mod price;
mod steps;
mod table;
mod work;

pub use fit::{Sample, compare, fit, uncorrected};
pub use machine::{Correction, Kind, Machine, Rates};
pub use maps::MapsCost;
pub use plan::{KindCost, LabelCost, Memory, PlanCosts, StepCost, plan_costs};
pub use price::Prices;
pub(crate) use steps::KeyLevels;
pub use work::{Counter, SumShape, Work};
