//! Models for tests of sizes alone.

use anyhow::Result;
use candle_core::{DType, Device, Tensor};

use super::config::LladaConfig;
use super::gguf::Loaded;
use super::llada::Llada;
use super::load::Weights;

/// A model of these sizes whose every weight is one zero, seen everywhere: it takes no memory.
pub fn hollow(config: LladaConfig, dtype: DType) -> Result<Llada> {
    Llada::build(config, Weights::Frozen, dtype, |_, shape| {
        Ok(Loaded::Dense(Tensor::zeros(1, dtype, &Device::Cpu)?.broadcast_as(shape)?))
    })
}
