//! Log-probabilities of chosen tokens, with the softmax their gradient needs and its entropy.

use std::sync::{Mutex, PoisonError};

use candle_core::{CpuStorage, D, DType, InplaceOp1, Layout, Result, Tensor};
use rayon::prelude::*;

use super::{cpu, gpu};

/// What is known of rows of logits.
#[derive(Debug)]
pub struct Softmaxed {
    /// `log_softmax(logits_n)[target_n]`, a number a row.
    pub log_probs: Vec<f32>,
    /// Entropy of the row's distribution in nats, a number a row.
    pub entropies: Vec<f32>,
    /// `softmax(logits)`, f32 `[N, V]`.
    pub probs: Tensor,
}

/// The softmax of rows, in f32; on the CPU in the memory of `logits`, which nobody else may share.
///
/// # Shapes
/// `logits` `[N, V]` contiguous, `targets` of length `N`.
pub fn forward(logits: Tensor, targets: &[u32]) -> Result<Softmaxed> {
    let (n, v) = logits.dims2()?;
    if !cpu::serves(&logits) {
        let logits = logits.to_dtype(DType::F32)?;
        let top = logits.max_keepdim(D::Minus1)?;
        let shifted = logits.broadcast_sub(&top)?;
        drop(logits);
        let norm = shifted.exp()?.sum_keepdim(D::Minus1)?.log()?;
        let log_probs = shifted.broadcast_sub(&norm)?;
        drop(shifted);
        let ids = gpu::upload(targets, (n, 1), log_probs.device())?;
        let picked = gpu::download(&log_probs.gather(&ids, 1)?)?;
        let probs = log_probs.exp()?;
        let entropies = gpu::download(&(&probs * log_probs)?.sum(D::Minus1)?.neg()?)?;
        return Ok(Softmaxed { log_probs: picked, entropies, probs });
    }
    let softmax = Softmax { v, targets, found: Mutex::new(vec![(0f32, 0f32); n]) };
    logits.inplace_op1(&softmax)?;
    let found = softmax.found.into_inner().unwrap_or_else(PoisonError::into_inner);
    let (log_probs, entropies) = found.into_iter().unzip();
    Ok(Softmaxed { log_probs, entropies, probs: logits })
}

/// From logits to probabilities, noting the targets' log-probabilities and the entropies on the way.
struct Softmax<'a> {
    v: usize,
    targets: &'a [u32],
    found: Mutex<Vec<(f32, f32)>>,
}

impl InplaceOp1 for Softmax<'_> {
    fn name(&self) -> &'static str {
        "softmax-in-place"
    }

    fn cpu_fwd(&self, logits: &mut CpuStorage, layout: &Layout) -> Result<()> {
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        let rows = cpu::slice_mut(logits, layout)?.par_chunks_exact_mut(self.v).zip(found.par_iter_mut());
        rows.zip(self.targets).for_each(|((row, found), &target)| *found = softmax(row, target as usize));
        Ok(())
    }
}

cpu::wide! {
    /// Turns a row into probabilities; the log-probability of `target`, and the entropy.
    fn softmax(row: &mut [f32], target: usize) -> (f32, f32) {
        let (top, chosen) = (cpu::max_of(row), row[target]);
        let (mut total, mut below) = (0f64, 0f64); // in parts, so that a row of 100,000 words loses no digits
        for part in row.chunks_mut(PART) {
            below += cpu::sum_over(part, |x| {
                let from_top = *x - top;
                *x = cpu::exp(from_top);
                *x * from_top
            }) as f64;
            total += cpu::sum_of(part, |x| x) as f64;
        }
        let inverse = (1.0 / total) as f32;
        row.iter_mut().for_each(|p| *p *= inverse);
        (((chosen - top) as f64 - total.ln()) as f32, (total.ln() - below / total).max(0.0) as f32)
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
        let composed = forward(logits.to_dtype(DType::F64)?, &targets)?;
        let fused = forward(logits, &targets)?;
        let numbers = |of: &Softmaxed| [of.log_probs.clone(), of.entropies.clone()].concat();
        for (a, b) in numbers(&fused).iter().zip(numbers(&composed)) {
            assert!((a - b).abs() < 1e-5, "{fused:?} {composed:?}");
        }
        assert_close(&fused.probs, &composed.probs, 1e-6);
        Ok(())
    }

    #[test]
    fn a_certain_token_has_log_probability_zero_and_a_hopeless_one_stays_finite() -> Result<()> {
        let logits = Tensor::new(&[[500f32, -500.0, 0.0]], &candle_core::Device::Cpu)?;
        let certain = forward(logits.copy()?, &[0])?;
        assert_eq!((&certain.log_probs[..], &certain.entropies[..]), (&[0.0][..], &[0.0][..]));
        assert_eq!(forward(logits, &[1])?.log_probs, [-1000.0]);
        Ok(())
    }
}
