//! From the configuration's words to candle's devices and dtypes.

use anyhow::{Context, Result, bail};
use candle_core::{DType, Device};

use crate::config::{DeviceSpec, Precision};

/// Opens a device; `auto` is the accelerator this build was made for when there is one, else the CPU.
///
/// # Errors
/// A back-end this build was not compiled with, or a device that does not answer.
pub fn open(device: DeviceSpec) -> Result<Device> {
    match device {
        DeviceSpec::Cpu => Ok(Device::Cpu),
        DeviceSpec::Auto if cfg!(feature = "cuda") => Device::cuda_if_available(0).context("cannot open CUDA device 0"),
        DeviceSpec::Auto if cfg!(feature = "metal") => {
            Device::metal_if_available(0).context("cannot open the Metal device")
        }
        DeviceSpec::Auto => Ok(Device::Cpu),
        DeviceSpec::Metal if cfg!(feature = "metal") => Device::new_metal(0).context("cannot open the Metal device"),
        DeviceSpec::Metal => {
            bail!("this build has no Metal support: rebuild with --features metal, or use device cpu")
        }
        DeviceSpec::Cuda(ordinal) if cfg!(feature = "cuda") => {
            Device::new_cuda(ordinal).with_context(|| format!("cannot open CUDA device {ordinal}"))
        }
        DeviceSpec::Cuda(_) => {
            bail!("this build has no CUDA support: rebuild with --features cuda, or use device cpu")
        }
    }
}

/// candle's name of a working precision.
pub fn dtype(precision: Precision) -> DType {
    match precision {
        Precision::F32 => DType::F32,
        Precision::Bf16 => DType::BF16,
        Precision::F16 => DType::F16,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_back_end_that_is_not_built_in_says_how_to_get_it() {
        assert!(open(DeviceSpec::Cpu).is_ok_and(|d| d.is_cpu()));
        if !cfg!(feature = "cuda") {
            let text = open(DeviceSpec::Cuda(1)).expect_err("not built in").to_string();
            assert!(text.contains("--features cuda"), "{text}");
        }
    }
}
