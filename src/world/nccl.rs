//! Sums between GPUs, by NVIDIA's NCCL: what MPI would carry through the main memory stays on the devices.
//!
//! MPI carries the 128 bytes by which the processes find each other. NCCL refuses two processes on one GPU; then, and where
//! a process has none, nobody uses it.

use std::collections::HashSet;
use std::fmt;
use std::sync::{Mutex, OnceLock, PoisonError};

use anyhow::{Result, anyhow, ensure};
use candle_core::cuda_backend::cudarc::nccl::{Comm, Id, ReduceOp};
use candle_core::op::BackpropOp;
use candle_core::{CudaDevice, CudaStorage, Device, Storage, Tensor};

use super::Collective;
use crate::runtime::host_name;

/// The connection between the GPUs, made at the first sum; none where there is to be none.
#[derive(Default)]
pub struct Nccl(OnceLock<Option<Mutex<Connection>>>);

struct Connection(Comm);

// SAFETY: a handle of the library, which may be used by one thread at a time; it is behind a lock.
unsafe impl Send for Connection {}

impl fmt::Debug for Nccl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.get().is_some_and(Option::is_some) { "NCCL" } else { "no NCCL" })
    }
}

impl Nccl {
    /// Adds up everybody's f32 numbers, which are contiguous; nothing where the GPUs are not connected.
    ///
    /// # Errors
    /// What NCCL reports.
    pub fn sum(&self, processes: &dyn Collective, values: &Tensor) -> Result<Option<Tensor>> {
        let Device::Cuda(device) = values.device() else { return Ok(None) };
        if self.0.get().is_none() {
            let _ = self.0.set(connect(processes, device)?.map(Mutex::new));
        }
        let Some(connection) = self.0.get().and_then(Option::as_ref) else { return Ok(None) };
        let connection = connection.lock().unwrap_or_else(PoisonError::into_inner);
        let (storage, layout) = values.storage_and_layout();
        ensure!(layout.is_contiguous() && layout.start_offset() == 0, "only whole tensors are summed between GPUs");
        let Storage::Cuda(storage) = &*storage else { return Ok(None) };
        let mut sums = device.alloc_zeros::<f32>(values.elem_count())?;
        let done = connection.0.all_reduce(storage.as_cuda_slice::<f32>()?, &mut sums, &ReduceOp::Sum);
        done.map_err(|error| anyhow!("NCCL cannot add up the gradients: {error:?}"))?;
        let sums = Storage::Cuda(CudaStorage::wrap_cuda_slice(sums, device.clone()));
        Ok(Some(Tensor::from_storage(sums, values.dims(), BackpropOp::none(), false)))
    }
}

fn connect(processes: &dyn Collective, device: &CudaDevice) -> Result<Option<Connection>> {
    let stream = device.cuda_stream();
    let place = format!("{}:{}", host_name(), stream.context().ordinal());
    let places = processes.gather(place.as_bytes())?;
    if places.iter().collect::<HashSet<_>>().len() < places.len() {
        if processes.rank() == 0 {
            tracing::warn!("several processes share a GPU: gradients go through the main memory, not through NCCL");
        }
        return Ok(None);
    }
    let id = match processes.rank() {
        0 => Id::new()
            .map_err(|error| anyhow!("NCCL does not start: {error:?}"))?
            .internal()
            .map(|byte| byte as u8)
            .to_vec(),
        _ => Vec::new(),
    };
    let told = processes.gather(&id)?;
    let id: [u8; 128] = told[0].as_slice().try_into()?;
    let id = Id::uninit(id.map(|byte| byte as core::ffi::c_char));
    let comm = Comm::from_rank(stream, processes.rank(), processes.size(), id);
    Ok(Some(Connection(comm.map_err(|error| anyhow!("NCCL cannot connect the GPUs: {error:?}"))?)))
}
