//! From gradients to new weights: clipping, the learning rate, AdamW.
//!
//! Parameters, gradients and state go by name and in name order, so that a step is the same bits every time and
//! a checkpoint is a plain map of named tensors.

mod adamw;
mod clip;
mod error;
mod finite;
#[cfg(test)]
mod golden;
mod schedule;

pub use adamw::{AdamW, AdamWParams};
pub use clip::{Clip, clip};
pub use error::{OptimError, Result};
pub use finite::is_finite;
pub use schedule::Schedule;

use candle_core::Tensor;
use std::collections::BTreeMap;

/// Tensors by name, in name order.
pub type Named = BTreeMap<String, Tensor>;
