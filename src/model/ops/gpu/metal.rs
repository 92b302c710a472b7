//! Kernels on Apple's GPUs.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use candle_core::{MetalDevice, Result, Storage, bail};
use candle_metal_kernels::MetalKernelError;
use candle_metal_kernels::metal::{ComputePipeline, Device};
use objc2_metal::{MTLCompileOptions, MTLMathMode, MTLSize};

use super::launch::{Argument, BLOCK};

/// What Metal compiles.
const TEXT: &str = concat!(include_str!("kernels/metal.h"), include_str!("kernels/kernels.h"));

/// Compiled kernels by device and name.
static PIPELINES: Mutex<Option<HashMap<(u64, String), ComputePipeline>>> = Mutex::new(None);

/// Starts a kernel.
pub fn run(device: &MetalDevice, kernel: &str, threads: usize, arguments: &[Argument<'_>]) -> Result<()> {
    let pipeline = pipeline(device.metal_device(), kernel).map_err(candle_core::MetalError::from)?;
    let guard = device.command_encoder()?;
    let encoder = guard.as_ref();
    encoder.set_compute_pipeline_state(&pipeline);
    for (i, argument) in arguments.iter().enumerate() {
        match *argument {
            Argument::Input(x) | Argument::Output(x) => {
                let (storage, layout) = x.storage_and_layout();
                let Storage::Metal(storage) = &*storage else { bail!("an argument of {kernel} is not on the GPU") };
                let start = layout.start_offset() * x.dtype().size_in_bytes();
                match argument {
                    Argument::Output(_) => encoder.set_output_buffer(i, Some(storage.buffer()), start),
                    _ => encoder.set_input_buffer(i, Some(storage.buffer()), start),
                }
            }
            Argument::Whole(whole) => encoder.set_bytes(i, &whole),
            Argument::Number(number) => encoder.set_bytes(i, &number),
        }
    }
    let size = |width| MTLSize { width, height: 1, depth: 1 };
    encoder.dispatch_thread_groups(size(threads / BLOCK), size(BLOCK));
    Ok(())
}

fn pipeline(device: &Device, kernel: &str) -> std::result::Result<ComputePipeline, MetalKernelError> {
    let mut all = PIPELINES.lock().unwrap_or_else(PoisonError::into_inner);
    let all = all.get_or_insert_default();
    let name = (device.registry_id(), kernel.to_owned());
    if let Some(pipeline) = all.get(&name) {
        return Ok(pipeline.clone());
    }
    let options = MTLCompileOptions::new();
    // the sampler asks for what is not a number
    options.setMathMode(MTLMathMode::Safe);
    let library = device.new_library_with_source(TEXT, Some(&options))?;
    let pipeline = device.new_compute_pipeline_state_with_function(&library.get_function(kernel, None)?)?;
    all.insert(name, pipeline.clone());
    Ok(pipeline)
}
