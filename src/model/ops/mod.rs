//! Differentiable building blocks: each a forward and an explicit backward over plain tensors.
//!
//! f32 tensors in main memory go through fused kernels of the CPU, those of accelerators through kernels of theirs, everything
//! else through compositions of candle's operations; all are tested against each other and against finite differences.
//! Nothing here records a graph, so candle's autograd and its silent cuts never come into play.

pub mod attention;
pub mod bias;
pub(crate) mod cpu;
pub mod dropout;
pub mod gpu;
pub mod log_prob;
mod matrix;
pub mod padding;
pub mod products;
pub mod rms_norm;
pub mod rope;
pub mod rows;
pub mod swiglu;
#[cfg(test)]
pub(crate) mod testing;
pub mod vocabulary;
