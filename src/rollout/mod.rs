//! Sampling completions: block-wise masked decoding, the reference sampler of LLaDA, and its faster relatives.

mod candidate;
mod commit;
mod decoding;
mod encoder;
mod filter;
mod grid;
mod offer;
mod replay;
mod row;
mod sampler;

pub use decoding::{Decoding, UnevenSplit};
pub use grid::Grid;
pub use offer::LogitsNotFinite;
pub use replay::Agreement;
pub use row::{Choice, Decoded, Prompt};
pub use sampler::{Headway, Sampler};
