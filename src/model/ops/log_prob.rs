//! Log-probabilities of chosen tokens, with the softmax their gradient needs.

use candle_core::{D, DType, Result, Tensor};
use rayon::prelude::*;

use super::cpu;

/// `lp_n = log_softmax(logits_n)[target_n]` and `softmax(logits)`, in f32.
///
/// # Shapes
/// `logits` `[N, V]` contiguous, `targets` of length `N`; returns `N` log-probabilities and f32 `[N, V]`.
pub fn forward(logits: &Tensor, targets: &[u32]) -> Result<(Vec<f32>, Tensor)> {
    let (n, v) = logits.dims2()?;
    if !cpu::serves(logits) {
        let logits = logits.to_dtype(DType::F32)?;
        let top = logits.max_keepdim(D::Minus1)?;
        let shifted = logits.broadcast_sub(&top)?;
        let norm = shifted.exp()?.sum_keepdim(D::Minus1)?.log()?;
        let log_probs = shifted.broadcast_sub(&norm)?;
        let ids = Tensor::from_slice(targets, (n, 1), logits.device())?;
        let picked = log_probs.gather(&ids, 1)?.flatten_all()?.to_vec1()?;
        return Ok((picked, log_probs.exp()?));
    }
    let view = cpu::View::new(logits)?;
    let xs: &[f32] = &view;
    let mut probs = vec![0f32; n * v];
    let mut picked = vec![0f32; n];
    let rows = probs.par_chunks_exact_mut(v).zip(xs.par_chunks_exact(v)).zip(picked.par_iter_mut());
    rows.zip(targets).for_each(|(((p, x), lp), &target)| {
        cpu::simd(|| {
            let top = cpu::max_of(x);
            let mut total = 0f64; // in parts, so that a row of 100,000 words loses no digits
            for (p, x) in p.chunks_mut(PART).zip(x.chunks(PART)) {
                for (p, &x) in p.iter_mut().zip(x) {
                    *p = cpu::exp(x - top);
                }
                total += cpu::sum_of(p.len(), |j| p[j]) as f64;
            }
            let inverse = (1.0 / total) as f32;
            p.iter_mut().for_each(|p| *p *= inverse);
            *lp = ((x[target as usize] - top) as f64 - total.ln()) as f32;
        })
    });
    Ok((picked, cpu::tensor(probs, (n, v))?))
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
        let (lp, probs) = forward(&logits, &targets)?;
        let (expected, softmax) = forward(&logits.to_dtype(DType::F64)?, &targets)?;
        for (a, b) in lp.iter().zip(expected) {
            assert!((a - b).abs() < 1e-5);
        }
        assert_close(&probs, &softmax, 1e-6);
        Ok(())
    }

    #[test]
    fn a_certain_token_has_log_probability_zero_and_a_hopeless_one_stays_finite() -> Result<()> {
        let logits = Tensor::new(&[[500f32, -500.0, 0.0]], &candle_core::Device::Cpu)?;
        assert_eq!(forward(&logits, &[0])?.0, [0.0]);
        assert_eq!(forward(&logits, &[1])?.0, [-1000.0]);
        Ok(())
    }
}
