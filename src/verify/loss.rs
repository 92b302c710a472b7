//! SPG's loss, bounds and adapter gradients on given completions and masks.

use anyhow::Result;
use serde::Deserialize;

use super::Item;
use super::golden::{Golden, Tensors, larger, relative};
use super::step::Step;
use crate::config::{ForwardType, NegativeEstimator, SpgTable};
use crate::model::{Decoder, Gradients};
use crate::objective::loss::Anchor;
use crate::objective::masking::MaskSample;
use crate::train::Prepared;

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
    pub fn evaluate(&self, model: &Decoder, tensors: &Tensors) -> Result<Outcome> {
        let step = Step::of(tensors, tensors.values("advantages")?)?;
        let masked = tensors.get(&format!("{}.masked", self.case))?;
        let masked: Vec<Vec<Vec<f32>>> = masked.to_dtype(candle_core::DType::F32)?.to_vec3()?;

        let table = SpgTable {
            negative_estimator: self.negative_estimator,
            beta: self.beta.try_into().map_err(anyhow::Error::msg)?,
            mix_weight: self.mix_weight.try_into().map_err(anyhow::Error::msg)?,
            ..SpgTable::default()
        };
        let prepare = |c: usize| {
            let masks = masked[c].iter().map(|hidden| hidden.iter().map(|&h| h > 0.5).collect());
            let samples: Vec<MaskSample> = masks.map(|masked| step.sample(c, masked, 1.0)).collect();
            Prepared { views: step.views(model, c, &samples, step.lengths[c]), anchor: Anchor::default() }
        };
        let (found, gradients) = step.gradients(model, &table.recipe(), prepare)?;
        let mut bounds = vec![0.0; step.lengths.len()];
        found.completions.iter().for_each(|(c, part)| bounds[*c] = part.likelihood);
        Ok(Outcome { loss: found.loss(), bounds, gradients })
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
