//! Command line of the client.
fn main() {}
