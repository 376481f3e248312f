//! Which polynomials a model gets: the smallest that are good enough on the ranges where its values were seen.

pub(crate) mod calibrate;
pub(crate) mod margin;
pub(crate) mod report;

pub use report::{Approximation, Report};
