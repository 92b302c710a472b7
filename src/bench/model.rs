//! The model that is timed: a checkpoint, or random weights of its sizes.

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use candle_core::Device;

use super::work::{SEED, check_length};
use crate::config::{BenchModel, BenchRequest};
use crate::model::{Blocks, Llada, LladaConfig, Weights, device, source};

/// Loads it, or makes it, frozen and as precise as is asked for.
///
/// # Errors
/// Names the model that cannot be loaded; blocks that do not fit it, or sequences that do not.
pub fn open(request: &BenchRequest, device: &Device) -> Result<Llada> {
    let dtype = device::dtype(request.dtype);
    let random = |config| match request.quantize {
        Some(format) => Llada::random_quantised(config, SEED, dtype, device, format),
        None => Llada::random_sized(config, SEED, dtype, device, Weights::Frozen),
    };
    let (name, is_random) = match &request.model {
        BenchModel::Shape(shape) => {
            let config = LladaConfig::from(*shape);
            check_length(request, &config)?;
            return random(config);
        }
        BenchModel::Random(name) => (name, true),
        BenchModel::Checkpoint(name) => (name, false),
    };
    let cannot = || format!("cannot load the model {name}");
    let dir: PathBuf = source::resolve(name, None)?.path;
    let config = LladaConfig::load(&dir).with_context(cannot)?;
    check_length(request, &config)?;
    match (is_random, request.quantize) {
        (true, _) => random(config),
        (false, Some(format)) => Llada::load_quantised(&dir, dtype, device, Blocks::Pack(format)),
        (false, None) => Llada::load(&dir, dtype, device, Weights::Frozen),
    }
    .with_context(cannot)
}
