//! Final norm and language-model head, for chosen rows only: `[B, T, V]` never exists.
//!
//! Rows go through in chunks. The gradient of a row's log-probability with respect to that row,
//! `d lp / d x`, does not depend on what the objective makes of it, so it is computed while the chunk's softmax
//! is at hand, and `[N, D]` numbers are all that stays of `[N, V]` logits.

use candle_core::{DType, Result, Tensor};

use super::ops::products::{Product, sum_of_products};
use super::ops::{log_prob, rms_norm};
use super::param::{Gradients, Param};

/// Logits held at once, in elements: 64 MiB in f32.
const CHUNK_ELEMENTS: usize = 1 << 24;

/// `ln_f` and `ff_out` of the checkpoint.
#[derive(Clone, Debug)]
pub struct Head {
    /// Final RMSNorm, `[D]`.
    pub norm: Param,
    /// Output embedding, `[V, D]`.
    pub weight: Param,
    /// Epsilon of the norm.
    pub eps: f64,
}

/// Log-probabilities of target tokens, ready for a backward pass.
#[derive(Debug)]
pub struct Scored {
    /// `log softmax(logits)[target]` a row.
    pub log_probs: Vec<f32>,
    targets: Vec<u32>,
    x: Tensor,      // [N, D]
    slopes: Tensor, // [N, D]: d lp_n / d normed_n
}

impl Head {
    /// Rows whose logits fit the memory set aside for them.
    pub fn chunk_rows(&self) -> Result<usize> {
        Ok((CHUNK_ELEMENTS / self.weight.value().dim(0)?).max(1))
    }

    /// Calls `f(first_row, logits)` for chunks of rows, `logits` `[n, V]` in the working dtype.
    ///
    /// # Shapes
    /// `x` `[N, D]`, before the final norm.
    pub fn for_logits(&self, x: &Tensor, mut f: impl FnMut(usize, Tensor) -> Result<()>) -> Result<()> {
        let (n, step) = (x.dim(0)?, self.chunk_rows()?);
        for start in (0..n).step_by(step) {
            f(start, self.logits(&x.narrow(0, start, step.min(n - start))?)?)?;
        }
        Ok(())
    }

    /// Logits of a few rows, all at once.
    ///
    /// # Shapes
    /// `x` `[n, D]`, before the final norm; returns `[n, V]`.
    pub fn logits(&self, x: &Tensor) -> Result<Tensor> {
        let h = rms_norm::forward(x, self.norm.value(), self.eps)?;
        sum_of_products(None, &[Product::forward(&h, self.weight.value())])
    }

    /// Log-probabilities of `targets` under the rows of `x`, with their slopes.
    ///
    /// # Shapes
    /// `x` `[N, D]`, before the final norm; `targets` of length `N`.
    pub fn score(&self, x: &Tensor, targets: &[u32]) -> Result<Scored> {
        let mut log_probs = Vec::with_capacity(targets.len());
        let mut slopes = Vec::new();
        let w = self.weight.value();
        self.for_logits(x, |start, logits| {
            let targets = &targets[start..start + logits.dim(0)?];
            let (lp, probs) = log_prob::forward(logits, targets)?;
            let wanted = w.index_select(&Tensor::from_slice(targets, targets.len(), x.device())?, 0)?;
            let probs = probs.to_dtype(w.dtype())?;
            slopes.push(sum_of_products(Some(&wanted), &[Product::backward(&probs, w).scaled(-1.0)])?);
            log_probs.extend(lp);
            Ok(())
        })?;
        Ok(Scored { log_probs, targets: targets.to_vec(), x: x.clone(), slopes: Tensor::cat(&slopes, 0)? })
    }

    /// From the gradient of the log-probabilities to that of `x`; adds those of the head if it is trained.
    ///
    /// # Shapes
    /// `d_lp` of length `N`; returns `[N, D]`.
    pub fn backward(&self, scored: &Scored, d_lp: &[f32], gradients: &mut Gradients) -> Result<Tensor> {
        let device = scored.x.device();
        let d_lp = Tensor::from_slice(d_lp, (d_lp.len(), 1), device)?;
        let dh = scored.slopes.broadcast_mul(&d_lp.to_dtype(scored.slopes.dtype())?)?;
        if self.norm.is_trainable() {
            gradients.add(self.norm.name(), rms_norm::weight_gradient(&scored.x, self.eps, &dh)?)?;
        }
        if self.weight.is_trainable() {
            gradients.add(self.weight.name(), self.weight_gradient(scored, &d_lp)?)?;
        }
        rms_norm::backward(&scored.x, self.norm.value(), self.eps, &dh)
    }

    /// `dW = (d_lp (onehot - softmax))^T h`, `[V, D]` in f32, chunk by chunk.
    fn weight_gradient(&self, scored: &Scored, d_lp: &Tensor) -> Result<Tensor> {
        let h = rms_norm::forward(&scored.x, self.norm.value(), self.eps)?.to_dtype(DType::F32)?;
        let scaled = h.broadcast_mul(d_lp)?; // [N, D]
        let mut dw = self.weight.value().to_dtype(DType::F32)?.zeros_like()?;
        self.for_logits(&scored.x, |start, logits| {
            let n = logits.dim(0)?;
            let targets = &scored.targets[start..start + n];
            let (_, probs) = log_prob::forward(logits, targets)?;
            let rows = scaled.narrow(0, start, n)?.contiguous()?;
            dw = (&dw - probs.t()?.matmul(&rows)?)?;
            dw = dw.index_add(&Tensor::from_slice(targets, n, rows.device())?, &rows, 0)?;
            Ok(())
        })?;
        Ok(dw)
    }
}

#[cfg(test)]
mod tests {
    use super::super::ops::testing::*;
    use super::*;

    /// So many words that 200 rows take two chunks.
    const WORDS: usize = 100_003;

    fn head() -> Result<Head> {
        let weight = (random(1, (WORDS, 4))? * 0.5)?;
        Ok(Head {
            norm: Param::trainable("norm", &random(2, 4)?)?,
            weight: Param::trainable("head", &weight)?,
            eps: 1e-5,
        })
    }

    #[test]
    fn chunks_change_neither_log_probabilities_nor_gradients() -> Result<()> {
        let (head, x) = (head()?, random(3, (200, 4))?);
        assert!(head.chunk_rows()? < 200);
        let targets: Vec<u32> = (0..200).map(|i| (i * 499) as u32).collect();
        let d_lp: Vec<f32> = (0..200).map(|i| (i as f32 * 0.7).sin()).collect();
        let mut whole = Gradients::new();
        let scored = head.score(&x, &targets)?;
        let dx = head.backward(&scored, &d_lp, &mut whole)?;

        let (mut log_probs, mut parts, mut d_parts) = (Vec::new(), Gradients::new(), Vec::new());
        for start in (0..200).step_by(50) {
            let part = head.score(&x.narrow(0, start, 50)?, &targets[start..start + 50])?;
            d_parts.push(head.backward(&part, &d_lp[start..start + 50], &mut parts)?);
            log_probs.extend(part.log_probs);
        }
        assert_eq!(scored.log_probs, log_probs);
        assert_close(&dx, &Tensor::cat(&d_parts, 0)?, 1e-6);
        for (name, gradient) in whole.by_name() {
            assert_close(gradient, &parts.by_name()[name], 1e-4);
        }
        // every row of softmax sums to one, so a column of the head's gradient sums to zero
        let column_sums: Vec<f32> = whole.by_name()["head"].sum(0)?.to_vec1()?;
        assert!(column_sums.iter().all(|s| s.abs() < 1e-2), "{column_sums:?}");
        Ok(())
    }
}
