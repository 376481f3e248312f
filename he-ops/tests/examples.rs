//! The examples run, and their answers are right: each `main` is an error where one is not.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../examples/linear_map.rs"]
mod linear_map;
#[path = "../examples/multiply_and_rotate.rs"]
mod multiply_and_rotate;
#[path = "../examples/polynomial_and_bootstrap.rs"]
mod polynomial_and_bootstrap;

#[test]
fn multiply_and_rotate() {
    multiply_and_rotate::main().unwrap();
}

#[test]
fn linear_map() {
    linear_map::main().unwrap();
}

#[test]
fn polynomial_and_bootstrap() {
    polynomial_and_bootstrap::main().unwrap();
}
