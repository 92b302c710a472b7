//! Devices by name.

use anyhow::{Context, Result, bail};
use candle_core::{DType, Device};

use crate::config::Precision;

/// `auto` (the accelerator this build has, else the CPU), `cpu`, `cuda`, `cuda:N` or `metal`.
///
/// # Errors
/// An unknown name, a back-end this build was not compiled with, or a device that does not answer.
pub fn open(name: &str) -> Result<Device> {
    match name {
        "cpu" => Ok(Device::Cpu),
        "auto" if cfg!(feature = "cuda") => Device::cuda_if_available(0).context("cannot open the CUDA device"),
        "auto" if cfg!(feature = "metal") => Device::metal_if_available(0).context("cannot open the Metal device"),
        "auto" => Ok(Device::Cpu),
        "metal" if cfg!(feature = "metal") => Device::new_metal(0).context("cannot open the Metal device"),
        "metal" => bail!("this build has no Metal support: rebuild with --features metal, or use device cpu"),
        _ => {
            let index = match name.strip_prefix("cuda") {
                Some("") => Some(0),
                Some(rest) => rest.strip_prefix(':').and_then(|n| n.parse().ok()),
                None => None,
            };
            match index {
                Some(i) if cfg!(feature = "cuda") => {
                    Device::new_cuda(i).with_context(|| format!("cannot open CUDA device {i}"))
                }
                Some(_) => bail!("this build has no CUDA support: rebuild with --features cuda, or use device cpu"),
                None => bail!("unknown device {name:?}: expected auto, cpu, cuda, cuda:N or metal"),
            }
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
    fn names() {
        assert!(open("cpu").is_ok_and(|d| d.is_cpu()));
        assert!(open("tpu").expect_err("unknown").to_string().contains("expected auto, cpu"));
        assert!(open("cuda:x").is_err());
        if !cfg!(feature = "cuda") {
            assert!(open("cuda:1").expect_err("not built in").to_string().contains("--features cuda"));
        }
    }
}
