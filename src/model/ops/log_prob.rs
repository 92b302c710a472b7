//! Log-probabilities of chosen tokens, with the softmax their gradient needs.

use std::sync::{Mutex, PoisonError};

use candle_core::{CpuStorage, D, DType, InplaceOp1, Layout, Result, Tensor};
use rayon::prelude::*;

use super::cpu;

/// `lp_n = log_softmax(logits_n)[target_n]` and `softmax(logits)`, in f32; on the CPU in the memory of `logits`, which
/// nobody else may share.
///
/// # Shapes
/// `logits` `[N, V]` contiguous, `targets` of length `N`; returns `N` log-probabilities and f32 `[N, V]`.
pub fn forward(logits: Tensor, targets: &[u32]) -> Result<(Vec<f32>, Tensor)> {
    let (n, v) = logits.dims2()?;
    if !cpu::serves(&logits) {
        let logits = logits.to_dtype(DType::F32)?;
        let top = logits.max_keepdim(D::Minus1)?;
        let shifted = logits.broadcast_sub(&top)?;
        let norm = shifted.exp()?.sum_keepdim(D::Minus1)?.log()?;
        let log_probs = shifted.broadcast_sub(&norm)?;
        let ids = Tensor::from_slice(targets, (n, 1), logits.device())?;
        let picked = log_probs.gather(&ids, 1)?.flatten_all()?.to_vec1()?;
        return Ok((picked, log_probs.exp()?));
    }
    let softmax = Softmax { v, targets, picked: Mutex::new(vec![0f32; n]) };
    logits.inplace_op1(&softmax)?;
    let picked = softmax.picked.into_inner().unwrap_or_else(PoisonError::into_inner);
    Ok((picked, logits))
}

/// From logits to probabilities, noting the targets' log-probabilities on the way.
struct Softmax<'a> {
    v: usize,
    targets: &'a [u32],
    picked: Mutex<Vec<f32>>,
}

impl InplaceOp1 for Softmax<'_> {
    fn name(&self) -> &'static str {
        "softmax-in-place"
    }

    fn cpu_fwd(&self, logits: &mut CpuStorage, layout: &Layout) -> Result<()> {
        let mut picked = self.picked.lock().unwrap_or_else(PoisonError::into_inner);
        let rows = cpu::slice_mut(logits, layout)?.par_chunks_exact_mut(self.v).zip(picked.par_iter_mut());
        rows.zip(self.targets).for_each(|((row, lp), &target)| *lp = softmax(row, target as usize));
        Ok(())
    }
}

cpu::wide! {
    /// Turns a row into probabilities; the log-probability of `target`.
    fn softmax(row: &mut [f32], target: usize) -> f32 {
        let (top, chosen) = (cpu::max_of(row), row[target]);
        let mut total = 0f64; // in parts, so that a row of 100,000 words loses no digits
        for part in row.chunks_mut(PART) {
            part.iter_mut().for_each(|x| *x = cpu::exp(*x - top));
            total += cpu::sum_of(part, |x| x) as f64;
        }
        let inverse = (1.0 / total) as f32;
        row.iter_mut().for_each(|p| *p *= inverse);
        ((chosen - top) as f64 - total.ln()) as f32
    }
}

/// Elements summed in f32 before the sum goes on in f64.
const PART: usize = 1024;

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;

    #[test]
    fn fused_equals_composed() -> Result<()> {
        let logits = (random(1, (5, 3001))? * 4.0)?;
        let targets = [0, 17, 3000, 5, 2];
        let (expected, softmax) = forward(logits.to_dtype(DType::F64)?, &targets)?;
        let (lp, probs) = forward(logits, &targets)?;
        for (a, b) in lp.iter().zip(expected) {
            assert!((a - b).abs() < 1e-5);
        }
        assert_close(&probs, &softmax, 1e-6);
        Ok(())
    }

    #[test]
    fn a_certain_token_has_log_probability_zero_and_a_hopeless_one_stays_finite() -> Result<()> {
        let logits = Tensor::new(&[[500f32, -500.0, 0.0]], &candle_core::Device::Cpu)?;
        assert_eq!(forward(logits.copy()?, &[0])?.0, [0.0]);
        assert_eq!(forward(logits, &[1])?.0, [-1000.0]);
        Ok(())
    }
}
