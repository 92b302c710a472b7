//! Final norm and language-model head, for chosen rows only: `[B, T, V]` never exists.
//!
//! Rows go through in chunks, on the CPU words too. The gradient of a row's log-probability with respect to that row,
//! `d lp / d x`, does not depend on what the objective makes of it, so it is computed while the chunk's softmax
//! is at hand, and `[N, D]` numbers are all that stays of `[N, V]` logits.

use std::ops::Range;

use candle_core::{DType, Device, Result, Tensor};

use super::ops::gpu::{self, Operand};
use super::ops::products::{Product, sum_of_products};
use super::ops::vocabulary::Words as _;
use super::ops::{cpu, log_prob, rms_norm, vocabulary};
use super::param::{Gradients, Param};
use super::weight::Weight;

/// Logits held at once, in elements: 64 MiB in f32.
const CHUNK_ELEMENTS: usize = 1 << 24;

/// `ln_f` and `ff_out` of the checkpoint.
#[derive(Clone, Debug)]
pub struct Head {
    /// Final RMSNorm, `[D]`.
    pub norm: Param,
    /// Output embedding, `[V, D]`.
    pub weight: Weight,
    /// Epsilon of the norm.
    pub eps: f64,
}

/// Log-probabilities of target tokens, ready for a backward pass.
#[derive(Debug)]
pub struct Scored {
    /// `log softmax(logits)[target]` a row.
    pub log_probs: Vec<f32>,
    /// Entropy of the prediction in nats, a row.
    pub entropies: Vec<f32>,
    targets: Vec<u32>,
    x: Tensor,      // [N, D]
    slopes: Tensor, // [N, D]: d lp_n / d normed_n
}

impl Head {
    /// Rows whose logits fit the memory set aside for them.
    pub fn chunk_rows(&self) -> Result<usize> {
        Ok((CHUNK_ELEMENTS / self.weight.dims2()?.0).max(1))
    }

    /// Calls `f(first_row, logits)` for chunks of rows, `logits` `[n, V]` as [`Head::logits`] gives them.
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

    /// Logits of a few rows, all at once: in the working dtype on the CPU, f32 on an accelerator.
    ///
    /// # Shapes
    /// `x` `[n, D]`, before the final norm; returns `[n, V]`.
    pub fn logits(&self, x: &Tensor) -> Result<Tensor> {
        if !cpu::serves(x) {
            return self.logits_on_device(x);
        }
        let h = rms_norm::forward(x, self.norm.value(), self.eps)?;
        sum_of_products(None, &[Product::forward(&h, &self.weight)])
    }

    /// Rows that [`Head::for_slices`] should be given at once.
    pub fn rows_at_once(&self) -> Result<usize> {
        if self.norm.value().device().is_cpu() { Ok(vocabulary::ROWS) } else { self.chunk_rows() }
    }

    /// Bytes that a pass over the vocabulary on the CPU holds at once for `rows` rows: logits of a slice and their sums,
    /// what rounds them to bf16, and unpacked words.
    pub fn slice_bytes(&self, rows: usize) -> Result<usize> {
        let (rows, dims) = (rows.min(vocabulary::ROWS), self.weight.dims2()?);
        let words = vocabulary::slice_words(dims);
        let unpacked = if self.weight.unpacked_bytes() > 0 { words * dims.1 } else { 0 };
        Ok((rows * (words + words / 2 + dims.1) + unpacked) * DType::F32.size_in_bytes())
    }

    /// Calls `f(first word, logits)` for slices of the vocabulary in turn, in whole parts of
    /// [`PART`](super::VOCABULARY_PART) words: `logits` f32 `[N, words]` in main memory, one for each of `xs`.
    ///
    /// # Shapes
    /// Each of `xs` `[N, D]`, before the final norm.
    pub fn for_slices(&self, xs: &[&Tensor], mut f: impl FnMut(usize, Vec<Tensor>) -> Result<()>) -> Result<()> {
        let normed = |x: &&Tensor| rms_norm::forward(x, self.norm.value(), self.eps);
        let hs: Vec<Tensor> = xs.iter().map(normed).collect::<Result<_>>()?;
        if !hs.iter().all(cpu::serves) {
            let logits = |h| sum_of_products(None, &[Product::forward(h, &self.weight)])?.to_dtype(DType::F32);
            return f(0, hs.iter().map(logits).collect::<Result<_>>()?);
        }
        vocabulary::for_slices(&hs, &self.weight, |start, _, logits| f(start, logits))
    }

    /// Logits of a few rows, f32 where they are computed: on an accelerator. Rounded to bf16, those of 16 to 32 would be 0.06
    /// off; of a head in blocks they are.
    ///
    /// # Shapes
    /// `x` `[n, D]`, before the final norm; returns `[n, V]`.
    pub fn logits_on_device(&self, x: &Tensor) -> Result<Tensor> {
        let h = rms_norm::forward(x, self.norm.value(), self.eps)?;
        match self.weight.dense() {
            Some(weight) => {
                let (h, w) = (Operand::plain(&h), Operand::transposed(weight.value()));
                gpu::cast(&gpu::product(None, h, w, 1.0, gpu::unrounded(h.x), false)?, DType::F32)
            }
            None => gpu::cast(&sum_of_products(None, &[Product::forward(&h, &self.weight)])?, DType::F32),
        }
    }

    /// Logits of some words, f32 in main memory: `[N, words]`.
    ///
    /// # Shapes
    /// `x` `[N, D]`, before the final norm.
    pub fn logits_of(&self, x: &Tensor, words: Range<usize>) -> Result<Tensor> {
        let h = rms_norm::forward(x, self.norm.value(), self.eps)?;
        let slice = self.weight.slice(words.start, words.len())?.moved_to(x.device())?;
        let logits = sum_of_products(None, &[Product::forward(&h, &slice).like(&self.weight)])?;
        logits.to_dtype(DType::F32)?.to_device(&Device::Cpu)?.contiguous()
    }

    /// Log-probabilities of `targets` under the rows of `x`, with their slopes.
    ///
    /// # Shapes
    /// `x` `[N, D]`, before the final norm; `targets` of length `N`.
    pub fn score(&self, x: &Tensor, targets: &[u32]) -> Result<Scored> {
        if cpu::serves(x) {
            return self.score_in_slices(x, targets);
        }
        let (mut log_probs, mut entropies) = (Vec::with_capacity(targets.len()), Vec::with_capacity(targets.len()));
        let mut slopes = Vec::new();
        self.for_logits(x, |start, logits| {
            let targets = &targets[start..start + logits.dim(0)?];
            let found = log_prob::forward(logits, targets)?;
            // before it is rounded: near 1 the probability of the target would leave nothing or too much of what is missing
            let ids = gpu::upload(targets, (targets.len(), 1), x.device())?;
            let wanted = Tensor::ones((targets.len(), 1), DType::F32, x.device())?;
            let rest = found.probs.neg()?.scatter_add(&ids, &wanted, 1)?;
            slopes.push(sum_of_products(None, &[Product::backward(&rest.to_dtype(x.dtype())?, &self.weight)])?);
            log_probs.extend(found.log_probs);
            entropies.extend(found.entropies);
            Ok(())
        })?;
        let slopes = Tensor::cat(&slopes, 0)?;
        Ok(Scored { log_probs, entropies, targets: targets.to_vec(), x: x.clone(), slopes })
    }

    /// [`Head::score`] on the CPU, for any number of rows without their logits.
    fn score_in_slices(&self, x: &Tensor, targets: &[u32]) -> Result<Scored> {
        let (mut log_probs, mut entropies) = (Vec::with_capacity(targets.len()), Vec::with_capacity(targets.len()));
        let mut slopes = Vec::new();
        for (i, targets) in targets.chunks(vocabulary::ROWS).enumerate() {
            let rows = x.narrow(0, i * vocabulary::ROWS, targets.len())?;
            let h = rms_norm::forward(&rows, self.norm.value(), self.eps)?;
            let found = vocabulary::log_probs(&h, &self.weight, targets)?;
            let wanted = self.weight.rows(&gpu::upload(targets, targets.len(), x.device())?)?;
            slopes.push((wanted.to_dtype(DType::F32)? - found.mean_words)?);
            log_probs.extend(found.log_probs);
            entropies.extend(found.entropies);
        }
        let slopes = Tensor::cat(&slopes, 0)?;
        Ok(Scored { log_probs, entropies, targets: targets.to_vec(), x: x.clone(), slopes })
    }

    /// From the gradient of the log-probabilities to that of `x`; adds those of the head if it is trained.
    ///
    /// # Shapes
    /// `d_lp` of length `N`; returns `[N, D]`.
    pub fn backward(&self, scored: &Scored, d_lp: &[f32], gradients: &mut Gradients) -> Result<Tensor> {
        let device = scored.x.device();
        let d_lp = gpu::upload(d_lp, (d_lp.len(), 1), device)?;
        let dh = scored.slopes.broadcast_mul(&d_lp.to_dtype(scored.slopes.dtype())?)?;
        if self.norm.is_trainable() {
            gradients.add(self.norm.name(), rms_norm::weight_gradient(&scored.x, self.eps, &dh)?)?;
        }
        if let Some(weight) = self.weight.dense().filter(|w| w.is_trainable()) {
            gradients.add(weight.name(), self.weight_gradient(weight, scored, &d_lp)?)?;
        }
        rms_norm::backward(&scored.x, self.norm.value(), self.eps, &dh)
    }

    /// `dW = (d_lp (onehot - softmax))^T h`, `[V, D]` in f32, chunk by chunk.
    fn weight_gradient(&self, weight: &Param, scored: &Scored, d_lp: &Tensor) -> Result<Tensor> {
        let h = rms_norm::forward(&scored.x, self.norm.value(), self.eps)?.to_dtype(DType::F32)?;
        let scaled = h.broadcast_mul(d_lp)?; // [N, D]
        let mut dw = weight.value().to_dtype(DType::F32)?.zeros_like()?;
        self.for_logits(&scored.x, |start, logits| {
            let n = logits.dim(0)?;
            let targets = &scored.targets[start..start + n];
            let probs = log_prob::forward(logits, targets)?.probs;
            let rows = scaled.narrow(0, start, n)?.contiguous()?;
            dw = (&dw - probs.t()?.matmul(&rows)?)?;
            dw = dw.index_add(&gpu::upload(targets, n, rows.device())?, &rows, 0)?;
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
            weight: Weight::Dense(Param::trainable("head", &weight)?),
            eps: 1e-5,
        })
    }

    #[test]
    fn slices_of_words_give_the_plain_softmax() -> Result<()> {
        let (head, x) = (head()?, (random(3, (300, 4))? * 3.0)?);
        let targets: Vec<u32> = (0..300).map(|i| (i * 333) as u32).collect();
        let scored = head.score(&x, &targets)?;
        for start in [0, 255, 299] {
            let (rows, targets) = (x.narrow(0, start, 1)?, &targets[start..start + 1]);
            let plain = log_prob::forward(head.logits(&rows)?, targets)?;
            assert!((scored.log_probs[start] - plain.log_probs[0]).abs() < 2e-5, "row {start}");
            assert!((scored.entropies[start] - plain.entropies[0]).abs() < 2e-5, "row {start}");
            let mean = plain.probs.matmul(head.weight.dense().expect("dense").value())?;
            let slope = (head.weight.rows(&Tensor::new(targets, rows.device())?)? - mean)?;
            assert_close(&scored.slopes.narrow(0, start, 1)?, &slope, 1e-5);
            let alone = head.score(&rows, targets)?;
            assert_eq!(alone.log_probs[0], scored.log_probs[start], "a row does not depend on the others");
            assert_eq!(alone.slopes.to_vec2::<f32>()?[0], scored.slopes.to_vec2::<f32>()?[start]);
        }
        Ok(())
    }

    #[test]
    fn slopes_of_likely_tokens_were_lost_in_rounding_on_a_device() -> Result<()> {
        const WORDS: usize = 500;
        let weight = (random(1, (WORDS, 64))? * 0.2)?;
        let head = |weight: &Tensor, dtype| -> Result<Head> {
            let norm = Tensor::ones(64, dtype, weight.device())?;
            let weight = Weight::Dense(Param::frozen("head", weight.to_dtype(dtype)?));
            Ok(Head { norm: Param::frozen("norm", norm), weight, eps: 1e-5 })
        };
        // along its own word's embedding a row is all but sure of it
        let rounded = weight.to_dtype(DType::BF16)?.to_dtype(DType::F32)?;
        for sure in [0.5, 1.0, 2.0, 3.0] {
            let towards = (rounded.narrow(0, 7, 1)? * sure)?.to_dtype(DType::BF16)?;
            let plain = head(&rounded, DType::F32)?;
            let x = towards.to_dtype(DType::F32)?;
            let expected = plain.score(&x, &[7])?;
            let found = gpu::host::as_device(|| head(&rounded, DType::BF16)?.score(&towards, &[7]))?;
            let off = (found.slopes.to_dtype(DType::F32)? - &expected.slopes)?;
            let norm = |t: &Tensor| -> Result<f32> { t.sqr()?.sum_all()?.sqrt()?.to_scalar() };
            let relative = norm(&off)? / norm(&expected.slopes)?;
            assert!(relative < 0.02, "{sure}: {relative}, log-probability {}", expected.log_probs[0]);
        }
        Ok(())
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
