//! The model that is timed: a checkpoint, or random weights of its sizes.

use std::path::PathBuf;

use anyhow::{Context as _, Error, Result};
use candle_core::Device;

use super::work::{SEED, check};
use crate::config::{BenchModel, BenchRequest};
use crate::error::{Usage, find};
use crate::model::{Blocks, Decoder, Description, Weights, device, source};
use crate::rollout::Decoding;

/// Loads it, or makes it, frozen and as precise as is asked for.
///
/// # Errors
/// Names the model that cannot be loaded; blocks that do not fit it, or sequences that do not.
pub fn open(request: &BenchRequest, decoding: &Decoding, device: &Device) -> Result<Decoder> {
    let dtype = device::dtype(request.dtype);
    let random = |description| match request.quantize {
        Some(format) => Decoder::random_quantised(description, SEED, dtype, device, format),
        None => Decoder::random_sized(description, SEED, dtype, device, Weights::Frozen),
    };
    let (name, facts, is_random) = match &request.model {
        BenchModel::Shape(shape) => {
            let description = Description::from(*shape);
            check(request, decoding, &description)?;
            return random(description);
        }
        BenchModel::Random(name, facts) => (name, facts, true),
        BenchModel::Checkpoint(name, facts) => (name, facts, false),
    };
    let cannot = || format!("cannot load the model {name}");
    let dir: PathBuf = source::resolve(name, None)?.path;
    let description = Description::read_with(&dir, facts).map_err(with_options).with_context(cannot)?;
    check(request, decoding, &description)?;
    match (is_random, request.quantize) {
        (true, _) => random(description),
        (false, Some(format)) => {
            Decoder::load_quantised_described(description, &dir, dtype, device, Blocks::Pack(format))
        }
        (false, None) => Decoder::load_described(description, &dir, dtype, device, Weights::Frozen),
    }
    .with_context(cannot)
}

/// Says how a benchmark is told what a run is told by its configuration.
fn with_options(error: Error) -> Error {
    match find::<Usage>(&error) {
        Some(_) => {
            error.context("what a folder does not say is told by --mask-token-id, --end-token-ids, --block-size")
        }
        None => error,
    }
}
