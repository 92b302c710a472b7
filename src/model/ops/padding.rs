//! Where the rows of a batch begin.

use candle_core::{Device, Result, Tensor};

use super::gpu;

/// Padding columns at the left of every row, `[B]`.
#[derive(Clone, Copy, Debug)]
pub struct Padding<'a> {
    /// How many.
    pub columns: &'a [usize],
    /// The same for an accelerator's kernels, u32, if it is there already.
    pub uploaded: Option<&'a Tensor>,
}

impl Padding<'_> {
    /// The same numbers on a device.
    pub fn on(&self, device: &Device) -> Result<Tensor> {
        match self.uploaded {
            Some(tensor) => Ok(tensor.clone()),
            None => uploaded(self.columns, device),
        }
    }
}

/// What [`Padding::uploaded`] is to be.
pub fn uploaded(columns: &[usize], device: &Device) -> Result<Tensor> {
    let columns: Vec<u32> = columns.iter().map(|&pad| pad as u32).collect();
    gpu::upload(&columns, columns.len(), device)
}
