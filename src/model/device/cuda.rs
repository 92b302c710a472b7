//! Opening a CUDA device, with what candle leaves at CUDA's defaults.

use std::ffi::CString;

use anyhow::{Result, bail};
use candle_core::Device;
use candle_core::cuda_backend::WrapErr as _;
use candle_core::cuda_backend::cudarc::driver::{result, sys};

/// Libraries to load before the first call, their names with colons between: a binary that is packed to start without
/// them (`scripts/build-cuda.sh`) does not name them to the loader.
const LIBRARIES: Option<&str> = option_env!("SPG_CUDA_LIBRARIES");

/// Opens the device.
///
/// # Errors
/// A library that is not there, or whatever CUDA says.
pub fn open(ordinal: usize) -> Result<Device> {
    for name in LIBRARIES.into_iter().flat_map(|names| names.split(':')).filter(|name| !name.is_empty()) {
        load(name)?;
    }
    let device = Device::new_cuda(ordinal)?;
    // SAFETY: all tensors are made, used and freed on the one stream of the thread that computes.
    unsafe { device.as_cuda_device()?.disable_event_tracking() };
    keep_pool(ordinal)?;
    Ok(device)
}

/// Makes the functions of a library known to all that was linked against it.
fn load(name: &str) -> Result<()> {
    let path = CString::new(name)?;
    // SAFETY: a C string, and flags as the manual has them.
    if !unsafe { libc::dlopen(path.as_ptr(), libc::RTLD_NOW | libc::RTLD_GLOBAL) }.is_null() {
        return Ok(());
    }
    bail!(
        "{name} cannot be loaded: {}",
        match name.starts_with("libcuda.") {
            true => "it comes with NVIDIA's driver",
            false => "put the folder of the CUDA libraries on LD_LIBRARY_PATH",
        }
    )
}

/// Memory that was freed stays with the pool: by default every wait for the device gives it back to the system.
fn keep_pool(ordinal: usize) -> candle_core::Result<()> {
    let device = result::device::get(ordinal as i32).w()?;
    let mut all = u64::MAX;
    // SAFETY: the attribute is a number of 64 bits, and is read before the call returns.
    unsafe {
        let pool = result::device::get_default_mem_pool(device).w()?;
        let threshold = sys::CUmemPool_attribute::CU_MEMPOOL_ATTR_RELEASE_THRESHOLD;
        result::mem_pool::set_attribute(pool, threshold, (&raw mut all).cast()).w()
    }
}
