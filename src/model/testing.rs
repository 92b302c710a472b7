//! Models for tests of sizes alone.

use anyhow::Result;
use candle_core::{DType, Device, Tensor};

use super::decoder::Decoder;
use super::family::Description;
use super::gguf::Loaded;
use super::load::Weights;

/// A model of these sizes whose every weight is one zero, seen everywhere: it takes no memory.
pub fn hollow(description: Description, dtype: DType) -> Result<Decoder> {
    Decoder::build(description, Weights::Frozen, dtype, |tensor| {
        Ok(Loaded::Dense(Tensor::zeros(1, dtype, &Device::Cpu)?.broadcast_as(tensor.dims.as_slice())?))
    })
}
