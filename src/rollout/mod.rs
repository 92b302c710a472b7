//! Sampling completions: block-wise masked decoding, the reference sampler of LLaDA.

mod candidate;
mod decoding;
mod sampler;

pub use decoding::{Decoding, UnevenSplit};
pub use sampler::{Decoded, Prompt, Sampler};
