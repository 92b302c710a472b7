//! The `spg` binary.

fn main() {}
