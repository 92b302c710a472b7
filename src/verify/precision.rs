//! What a precision or a block format costs: a model's distributions beside those of the same model in f32.
//!
//! Both read the same random tokens, half of them masked, and every masked place is compared. A real model is more
//! certain on text than on random tokens, so its errors there are rather smaller.

use std::path::Path;

use anyhow::{Context, Result};
use candle_core::{DType, Device, Tensor};
use serde::Serialize;

use crate::config::PrecisionRequest;
use crate::model::ops::log_prob;
use crate::model::{Batch, Blocks, Decoder, Pass, Place, Weights, device};
use crate::rng::{Key, Purpose};

/// Sequences that are compared.
const ROWS: usize = 4;
/// Tokens of a sequence, if the model takes as many.
const TOKENS: usize = 128;
/// Seed of the tokens and masks.
const SEED: u64 = 0;

/// Differences from the model in f32, over all masked places.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Precision {
    /// Places compared.
    pub places: usize,
    /// Mean of `|log p(t) - log q(t)|`, nats, `t` the best token in f32.
    pub mean_log_prob_error: f64,
    /// Largest of these.
    pub max_log_prob_error: f64,
    /// Mean of `sum p log(p / q)`, nats.
    pub kl: f64,
    /// Share of the places with the same best token.
    pub same_best_token: f64,
    /// Mebibytes of the weights.
    pub weights_mib: f64,
    /// The same in f32.
    pub weights_mib_f32: f64,
}

impl Precision {
    /// One line.
    pub fn line(&self) -> String {
        format!(
            "{} places: log-probability of the best token off by {:.2e} nats (largest {:.2e}), KL {:.2e} nats, \
             same best token {:.1} %; weights {:.0} MiB instead of {:.0}",
            self.places,
            self.mean_log_prob_error,
            self.max_log_prob_error,
            self.kl,
            100.0 * self.same_best_token,
            self.weights_mib,
            self.weights_mib_f32
        )
    }
}

/// Compares the model of a folder, kept as `request` says, with itself in f32.
///
/// # Errors
/// A model that cannot be loaded either way.
pub fn compare(dir: &Path, request: &PrecisionRequest, device: &Device) -> Result<Precision> {
    let dtype = device::dtype(request.dtype);
    let blocks = request.gguf_file.as_deref().map(Blocks::Gguf).or(request.quantize.map(Blocks::Pack));
    let kept = match blocks {
        Some(blocks) => Decoder::load_quantised(dir, dtype, device, blocks)?,
        None => Decoder::load(dir, dtype, device, Weights::Frozen)?,
    };
    let exact = Decoder::load(dir, DType::F32, device, Weights::Frozen)?;
    let (batch, places) = masked_tokens(&exact);
    let predictions = exact.predictions(&places, &batch);
    let hidden = |model: &Decoder| -> Result<Tensor> {
        Ok(predictions.spread(model.hidden(&batch, predictions.window().clone(), Pass::BASE)?)?)
    };
    let mut sums = Sums::default();
    let (x, y) = (hidden(&exact)?, hidden(&kept)?);
    exact.head().for_logits(&x, |start, logits| {
        let n = logits.dim(0)?;
        let best: Vec<u32> = logits.argmax(1)?.to_vec1()?;
        let other = kept.head().logits(&y.narrow(0, start, n)?)?.to_dtype(DType::F32)?.contiguous()?;
        let found: Vec<u32> = other.argmax(1)?.to_vec1()?;
        let (exact, other) = (log_prob::forward(logits, &best)?, log_prob::forward(other, &best)?);
        let (p, q): (Vec<Vec<f32>>, Vec<Vec<f32>>) = (exact.probs.to_vec2()?, other.probs.to_vec2()?);
        for i in 0..n {
            sums.add((exact.log_probs[i] - other.log_probs[i]).abs() as f64, kl(&p[i], &q[i]), best[i] == found[i]);
        }
        Ok(())
    })?;
    let mib = |model: &Decoder| {
        let bytes = model.matrices().into_iter().map(|w| w.bytes()).sum::<usize>()
            + model.vectors().into_iter().map(|p| p.bytes()).sum::<usize>();
        bytes as f64 / (1024.0 * 1024.0)
    };
    sums.precision(mib(&kept), mib(&exact)).context("no place was compared")
}

/// Random tokens with every second one masked, and the places of the masks.
fn masked_tokens(model: &Decoder) -> (Batch, Vec<Place>) {
    let (shape, ids) = (model.shape(), model.ids());
    let tokens = TOKENS.min(shape.positions);
    let mut places = Vec::new();
    let rows: Vec<Vec<u32>> = (0..ROWS)
        .map(|row| {
            let mut rng = Key::new(SEED, Purpose::Record).prompt(row).rng();
            (0..tokens)
                .map(|i| {
                    let id = rng.below(shape.vocabulary) as u32;
                    if rng.uniform_f64() >= 0.5 && id != ids.mask {
                        return id;
                    }
                    places.push((row, i));
                    ids.mask
                })
                .collect()
        })
        .collect();
    (Batch::left_padded(&rows, ids.pad), places)
}

/// `sum p log(p / q)`; what has no probability under `p` adds nothing.
fn kl(p: &[f32], q: &[f32]) -> f64 {
    let terms = p.iter().zip(q).filter(|(p, _)| **p > 0.0);
    terms.map(|(&p, &q)| p as f64 * (p as f64 / q.max(f32::MIN_POSITIVE) as f64).ln()).sum()
}

#[derive(Default)]
struct Sums {
    places: usize,
    error: f64,
    largest: f64,
    kl: f64,
    same: usize,
}

impl Sums {
    fn add(&mut self, error: f64, kl: f64, same: bool) {
        self.places += 1;
        self.error += error;
        self.largest = super::golden::larger(self.largest, error);
        self.kl += kl;
        self.same += usize::from(same);
    }

    fn precision(&self, weights_mib: f64, weights_mib_f32: f64) -> Option<Precision> {
        let n = (self.places > 0).then_some(self.places as f64)?;
        Some(Precision {
            places: self.places,
            mean_log_prob_error: self.error / n,
            max_log_prob_error: self.largest,
            kl: self.kl / n,
            same_best_token: self.same as f64 / n,
            weights_mib,
            weights_mib_f32,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{BlockFormat, Precision as Dtype};

    fn golden(dtype: Dtype, quantize: Option<BlockFormat>) -> Precision {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/golden/gqa_small");
        compare(&dir, &PrecisionRequest { dtype, quantize, gguf_file: None }, &Device::Cpu).expect("a golden model")
    }

    #[test]
    fn f32_is_itself_and_fewer_bits_cost_more() {
        let same = golden(Dtype::F32, None);
        assert_eq!((same.mean_log_prob_error, same.max_log_prob_error, same.same_best_token), (0.0, 0.0, 1.0));
        assert!(same.kl.abs() < 1e-6 && same.places > 100, "{same:?}");
        let (bf16, q8) = (golden(Dtype::Bf16, None), golden(Dtype::F32, Some(BlockFormat::Q8_0)));
        assert!(0.0 < bf16.kl && bf16.kl < q8.kl && q8.kl < 0.1, "{bf16:?} {q8:?}");
        assert!(bf16.max_log_prob_error >= bf16.mean_log_prob_error && bf16.same_best_token > 0.9);
        assert!(q8.weights_mib < bf16.weights_mib && bf16.weights_mib < bf16.weights_mib_f32);
    }
}
