//! Benchmarks of the training path.

fn main() {}
