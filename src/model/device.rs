//! From the configuration's words to candle's devices and dtypes.

#[cfg(feature = "cuda")]
mod cuda;

use anyhow::{Context, Result, bail};
use candle_core::{DType, Device};

use crate::config::{DeviceSpec, Precision};
use crate::error::Usage;

/// Names the device that `auto` stands for.
pub const VARIABLE: &str = "SPG_DEVICE";

/// Opens a device; `auto` is what [`VARIABLE`] names, else the accelerator this build was made for when it answers, else
/// the CPU. `place` is this process's among those of its machine: where no GPU is named, each has its own.
///
/// # Errors
/// A back-end this build was not compiled with, a device that does not answer, or a variable that names none.
pub fn open(device: DeviceSpec, place: usize) -> Result<Device> {
    match device {
        DeviceSpec::Auto => match named(std::env::var_os(VARIABLE))? {
            DeviceSpec::Auto => Ok(accelerator_or_cpu(place)),
            named => open(named, place),
        },
        DeviceSpec::Cpu => Ok(Device::Cpu),
        DeviceSpec::Cuda(ordinal) => open_cuda(ordinal.unwrap_or(place)),
        DeviceSpec::Metal => open_metal(),
    }
}

/// What the variable says.
fn named(value: Option<std::ffi::OsString>) -> Result<DeviceSpec> {
    let Some(value) = value.filter(|value| !value.is_empty()) else { return Ok(DeviceSpec::Auto) };
    let named = value.to_string_lossy().parse().map_err(|error| Usage(format!("{VARIABLE}: {error}")))?;
    Ok(named)
}

/// The accelerator, or the CPU with the reason in the log.
fn accelerator_or_cpu(place: usize) -> Device {
    let opened = match () {
        () if cfg!(feature = "cuda") => open_cuda(place),
        () if cfg!(feature = "metal") => open_metal(),
        () => return Device::Cpu,
    };
    opened.unwrap_or_else(|error| {
        tracing::warn!("running on the CPU: {}", reason(&error));
        Device::Cpu
    })
}

/// The first line of every cause: what follows in candle's errors are addresses.
fn reason(error: &anyhow::Error) -> String {
    let lines: Vec<String> = error.chain().filter_map(|e| e.to_string().lines().next().map(str::to_owned)).collect();
    lines.join(": ")
}

#[cfg(feature = "cuda")]
fn open_cuda(ordinal: usize) -> Result<Device> {
    cuda::open(ordinal).with_context(|| {
        format!("cannot open CUDA device {ordinal} (`nvidia-smi` lists those there are; without one use device cpu)")
    })
}

#[cfg(not(feature = "cuda"))]
fn open_cuda(_: usize) -> Result<Device> {
    bail!("this build has no CUDA support: rebuild with --features cuda, or use device cpu")
}

fn open_metal() -> Result<Device> {
    if !cfg!(feature = "metal") {
        bail!("this build has no Metal support: rebuild with --features metal, or use device cpu")
    }
    Device::new_metal(0).context("cannot open the Metal device (without one use device cpu)")
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
        assert!(open(DeviceSpec::Cpu, 0).is_ok_and(|d| d.is_cpu()));
        if !cfg!(feature = "cuda") {
            let text = open(DeviceSpec::Cuda(Some(1)), 0).expect_err("not built in").to_string();
            assert!(text.contains("--features cuda"), "{text}");
        }
        if !cfg!(feature = "metal") {
            let text = open(DeviceSpec::Metal, 0).expect_err("not built in").to_string();
            assert!(text.contains("--features metal"), "{text}");
        }
    }

    #[test]
    fn the_variable_names_a_device_or_is_refused() {
        assert_eq!(named(None).unwrap(), DeviceSpec::Auto);
        assert_eq!(named(Some("".into())).unwrap(), DeviceSpec::Auto);
        assert_eq!(named(Some("cuda:2".into())).unwrap(), DeviceSpec::Cuda(Some(2)));
        let text = named(Some("gpu".into())).expect_err("no device").to_string();
        assert!(text.starts_with("SPG_DEVICE: unknown device `gpu`"), "{text}");
    }

    #[test]
    fn auto_was_cuda_without_a_gpu_in_a_cuda_build() {
        // an accelerator that does not answer is no error of `auto`: on a machine without one this is the CPU
        let device = accelerator_or_cpu(0);
        assert!(device.is_cpu() || cfg!(any(feature = "cuda", feature = "metal")));
    }

    #[test]
    fn a_reason_is_one_line_a_cause() {
        let error = anyhow::anyhow!("no driver\n   0: address\n   1: address").context("cannot open CUDA device 0");
        assert_eq!(reason(&error), "cannot open CUDA device 0: no driver");
    }
}
