//! Command line of the service.
fn main() {}
