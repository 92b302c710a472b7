//! SPG's loss, bounds and adapter gradients on given completions and masks.

use anyhow::{Context, Result};
use serde::Deserialize;

use super::Item;
use super::golden::{Golden, Tensors, larger, relative};
use crate::config::{ActivationCheckpointing, ForwardType, NegativeEstimator, SpgTable};
use crate::model::{Gradients, Llada};
use crate::objective::ScoredTokens;
use crate::objective::spg::Spg;
use crate::rng::{Key, Purpose};
use crate::train::{Row, accumulate};

/// `loss.json`
#[derive(Deserialize)]
pub struct LossFile {
    /// The cases.
    pub cases: Vec<Case>,
}

/// One masking and estimator.
#[derive(Deserialize)]
pub struct Case {
    case: usize,
    negative_estimator: NegativeEstimator,
    beta: f64,
    mix_weight: f64,
    forward_type: ForwardType,
    num_t: usize,
}

/// What the model gave for a case.
pub struct Outcome {
    /// The loss.
    pub loss: f64,
    /// The bound of every completion.
    pub bounds: Vec<f64>,
    /// Adapter gradients.
    pub gradients: Gradients,
}

/// Three items a case: loss, bounds, gradients.
pub fn check(golden: &Golden) -> Result<Vec<Item>> {
    let tensors = golden.tensors("loss")?;
    let model = golden.adapted()?;
    let file: LossFile = golden.json("loss")?;
    let mut items = Vec::new();
    for case in &file.cases {
        let k = case.case;
        let outcome = case.evaluate(&model, &tensors)?;
        let note =
            format!("{:?}, {:?}, beta {}, M {}", case.negative_estimator, case.forward_type, case.beta, case.num_t);
        let loss = tensors.values(&format!("{k}.loss"))?[0];
        items.push(Item::new(format!("loss.{k}"), ((outcome.loss - loss) / loss).abs(), 1e-5, note));
        let expected = tensors.values(&format!("{k}.per_seq_logps"))?;
        let bounds =
            (outcome.bounds.iter().zip(&expected)).map(|(a, b)| (a - b).abs() / b.abs().max(1.0)).fold(0.0, larger);
        items.push(Item::new(format!("loss.{k}.bounds"), bounds, 1e-5, format!("{} completions", expected.len())));
        let mut worst = 0.0;
        for (name, gradient) in outcome.gradients.by_name() {
            worst = larger(worst, relative(gradient, tensors.get(&format!("{k}.grad.{name}"))?)?);
        }
        let count = outcome.gradients.by_name().len();
        items.push(Item::new(format!("loss.{k}.gradients"), worst, 1e-4, format!("{count} tensors, relative norm")));
    }
    Ok(items)
}

impl Case {
    /// Loss, bounds and gradients of the case under the model's current adapter.
    pub fn evaluate(&self, model: &Llada, tensors: &Tensors) -> Result<Outcome> {
        let (prompts, completions) = (tensors.ids("prompt_ids")?, tensors.ids("completion_ids")?);
        let lengths: Vec<usize> =
            tensors.ids("completion_mask")?.iter().map(|row| row.iter().filter(|&&m| m == 1).count()).collect();
        let advantages = tensors.values("advantages")?;
        let masked = tensors.get(&format!("{}.masked", self.case))?;
        let (b, samples, _) = masked.dims3()?;
        let masked: Vec<Vec<Vec<f32>>> = masked.to_dtype(candle_core::DType::F32)?.to_vec3()?;

        let mask = model.config().mask_token_id;
        let (mut rows, mut positions) = (Vec::new(), Vec::new());
        for c in 0..b {
            let (p, clean) = (prompts[c].len(), [&prompts[c][..], &completions[c]].concat());
            let mut of_completion = Vec::with_capacity(samples);
            for hidden in &masked[c] {
                let scored: Vec<usize> = (0..lengths[c]).filter(|&i| hidden[p + i] > 0.5).collect();
                rows.push(Row {
                    ids: clean.iter().zip(hidden).map(|(&id, &h)| if h > 0.5 { mask } else { id }).collect(),
                    targets: scored.iter().map(|&i| completions[c][i]).collect(),
                    scored: scored.iter().map(|&i| p + i).collect(),
                    dropout: Key::new(0, Purpose::Dropout),
                });
                of_completion.push(scored);
            }
            positions.push(of_completion);
        }

        let objective = Spg::new(&SpgTable {
            negative_estimator: self.negative_estimator,
            beta: self.beta.try_into().map_err(anyhow::Error::msg)?,
            mix_weight: self.mix_weight.try_into().map_err(anyhow::Error::msg)?,
            ..SpgTable::default()
        });
        let mut outcome = Outcome { loss: 0.0, bounds: Vec::new(), gradients: Gradients::new() };
        let (loss, bounds) = (&mut outcome.loss, &mut outcome.bounds);
        accumulate(model, &rows, ActivationCheckpointing::Off, &mut outcome.gradients, |log_probs| {
            let mut lps = log_probs.iter().map(|&lp| lp as f64);
            let scored: Vec<ScoredTokens> = (lengths.iter().zip(&positions))
                .map(|(&len, positions)| ScoredTokens::from_positions(len, positions, &mut lps))
                .collect::<Option<_>>()
                .context("too few log-probabilities")?;
            let parts: Vec<(f64, &ScoredTokens)> = advantages.iter().copied().zip(&scored).collect();
            let result = objective.loss(&parts, lengths.iter().sum());
            *loss = result.loss;
            *bounds = result.completions.iter().map(|c| c.bound).collect();
            Ok(result.completions.into_iter().flat_map(|c| c.d_lp).flatten().collect())
        })?;
        Ok(outcome)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use candle_core::{DType, Device, Tensor};

    use super::*;

    fn dot(a: &Tensor, b: &Tensor) -> Result<f64> {
        Ok((a.to_dtype(DType::F64)? * b.to_dtype(DType::F64)?)?.sum_all()?.to_scalar()?)
    }

    /// Without the reference's numbers: the loss itself, moved along each adapter tensor's gradient, changes as the
    /// gradient says, for every estimator and masking of the golden cases.
    #[test]
    fn the_loss_through_the_adapters_has_the_gradient_of_finite_differences() -> Result<()> {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/golden/gqa_small");
        let golden = Golden::open(&dir, &Device::Cpu)?;
        let (model, tensors) = (golden.adapted()?, golden.tensors("loss")?);
        let file: LossFile = golden.json("loss")?;
        for case in &file.cases {
            let outcome = case.evaluate(&model, &tensors)?;
            let vars = model.trainable();
            assert_eq!(outcome.gradients.by_name().len(), vars.len());
            for (name, var) in vars {
                let gradient = &outcome.gradients.by_name()[&name];
                let norm = dot(gradient, gradient)?.sqrt();
                assert!(norm.is_finite() && norm > 0.0, "{name} has no gradient");
                let (at, direction) = (var.as_tensor().copy()?, (gradient / norm)?);
                let h = 2e-3;
                let loss_at = |step: f64| -> Result<f64> {
                    var.set(&(&at + (&direction * step)?)?)?;
                    Ok(case.evaluate(&model, &tensors)?.loss)
                };
                let slope = (loss_at(h)? - loss_at(-h)?) / (2.0 * h);
                var.set(&at)?;
                assert!((slope - norm).abs() < 1e-2 * norm + 1e-3, "case {}, {name}: {norm} is not {slope}", case.case);
            }
        }
        Ok(())
    }
}
