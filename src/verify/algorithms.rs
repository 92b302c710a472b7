//! The other published objectives on given completions and masks, with given old and reference terms.

use std::num::NonZeroUsize;

use anyhow::{Context, Result, ensure};
use candle_core::DType;
use serde::Deserialize;

use super::Item;
use super::golden::{Golden, Tensors, larger, relative};
use super::step::Step;
use crate::config::{CoupledGrpoTable, D1Table, EspoTable, NonNegative, Positive, Recipe, UnigrpoTable, Wd1Table};
use crate::model::{Decoder, Gradients};
use crate::objective::advantage::group_advantages;
use crate::objective::loss::Anchor;
use crate::objective::masking::MaskSample;
use crate::train::{Prepared, StepLoss};

/// `algorithms.json`: the numbers of every method, and its loss.
#[derive(Deserialize)]
struct File {
    d1: Clipped,
    wd1: Weighted,
    unigrpo: Clipped,
    coupled_grpo: Clipped,
    espo: Clipped,
}

#[derive(Deserialize)]
struct Clipped {
    loss: f64,
    epsilon: Positive,
    kl_beta: NonNegative,
    /// The ratio of coupled-GRPO's set.
    t: Option<f64>,
}

#[derive(Deserialize)]
struct Weighted {
    loss: f64,
    psi: Positive,
}

/// One method: its recipe, the loss that is expected, the ratio of its set.
struct Method {
    name: &'static str,
    recipe: Recipe,
    loss: f64,
    t: Option<f64>,
}

/// Three items a method: advantages, loss, gradients.
pub fn check(golden: &Golden) -> Result<Vec<Item>> {
    let tensors = golden.tensors("algorithms")?;
    let model = golden.adapted()?;
    let rewards = tensors.values("rewards")?;
    let group = NonZeroUsize::new(rewards.len()).context("algorithms.safetensors has no rewards")?;
    let mut items = Vec::new();
    for method in methods(golden)? {
        let name = method.name;
        let expected = tensors.values(&format!("{name}.advantages"))?;
        let advantages = group_advantages(&rewards, group, method.recipe.advantage);
        let error = (advantages.iter().zip(&expected)).map(|(a, b)| (a - b).abs()).fold(0.0, larger);
        items.push(Item::new(
            format!("algorithms.{name}.advantages"),
            error,
            1e-5,
            format!("{:?}", method.recipe.advantage),
        ));

        let (found, gradients) = method.evaluate(&model, &tensors, group)?;
        let error = ((found.loss() - method.loss) / method.loss).abs();
        items.push(Item::new(format!("algorithms.{name}"), error, 1e-5, format!("{} log-probabilities", found.tokens)));
        let mut worst = 0.0;
        for (key, gradient) in gradients.by_name() {
            worst = larger(worst, relative(gradient, tensors.get(&format!("{name}.grad.{key}"))?)?);
        }
        let count = gradients.by_name().len();
        ensure!(count == model.trainable().len(), "{name}: {count} gradients");
        items.push(Item::new(
            format!("algorithms.{name}.gradients"),
            worst,
            1e-4,
            format!("{count} tensors, relative norm"),
        ));
    }
    Ok(items)
}

/// The methods of a folder, with its numbers.
fn methods(golden: &Golden) -> Result<[Method; 5]> {
    let File { d1, wd1, unigrpo, coupled_grpo, espo } = golden.json("algorithms")?;
    macro_rules! clipped {
        ($name:literal, $table:ident, $numbers:ident) => {{
            let table = $table { epsilon: $numbers.epsilon, kl_beta: $numbers.kl_beta, ..$table::default() };
            Method { name: $name, recipe: table.recipe(), loss: $numbers.loss, t: $numbers.t }
        }};
    }
    let weighted = Wd1Table { psi: wd1.psi, ..Wd1Table::default() };
    Ok([
        clipped!("d1", D1Table, d1),
        Method { name: "wd1", recipe: weighted.recipe(), loss: wd1.loss, t: None },
        clipped!("unigrpo", UnigrpoTable, unigrpo),
        clipped!("coupled_grpo", CoupledGrpoTable, coupled_grpo),
        clipped!("espo", EspoTable, espo),
    ])
}

impl Method {
    /// Loss and gradients, `micro_batch` completions at a time.
    fn evaluate(&self, model: &Decoder, tensors: &Tensors, micro_batch: NonZeroUsize) -> Result<(StepLoss, Gradients)> {
        let name = self.name;
        let step = Step::of(tensors, tensors.values(&format!("{name}.advantages"))?)?;
        let n = step.completions.len();
        let canvas = step.completions.first().context("no completions")?.len();
        let all_scored = matches!(name, "espo");
        let samples: Vec<Vec<MaskSample>> = (0..n).map(|c| self.samples(&step, tensors, c)).collect::<Result<_>>()?;
        let old = self.terms(tensors, "old", &samples)?;
        let reference = self.terms(tensors, "reference", &samples)?;
        let prepare = |c: usize| Prepared {
            views: step.views(model, c, &samples[c], if all_scored { canvas } else { step.lengths[c] }),
            anchor: Anchor {
                old: old.as_ref().map(|o| o[c].clone()),
                reference: reference.as_ref().map(|r| r[c].clone()),
            },
        };
        step.gradients_by(micro_batch, model, &self.recipe, prepare)
    }

    /// The masks of a completion: as they are, or made of a set.
    fn samples(&self, step: &Step, tensors: &Tensors, c: usize) -> Result<Vec<MaskSample>> {
        let (name, prompt) = (self.name, step.prompts[c].len());
        let row = |of: &str| -> Result<Vec<bool>> {
            let rows: Vec<Vec<u8>> = tensors.get(&format!("{name}.{of}"))?.to_dtype(DType::U8)?.to_vec2()?;
            Ok(rows.get(c).with_context(|| format!("{name}.{of} has no row {c}"))?.iter().map(|&m| m == 1).collect())
        };
        let over = |hidden: &dyn Fn(bool) -> bool, set: &[bool]| -> Vec<bool> {
            std::iter::repeat_n(false, prompt).chain(set.iter().map(|&inside| hidden(inside))).collect()
        };
        match name {
            "coupled_grpo" => {
                let set = row("set")?;
                let t = self.t.context("algorithms.json: coupled_grpo has no t")?;
                let mask = |hidden: &dyn Fn(bool) -> bool, weight| step.sample(c, over(hidden, &set), weight);
                Ok(vec![
                    mask(&|_| true, 0.5),
                    mask(&|inside| inside, 0.5 / t),
                    mask(&|inside| !inside, 0.5 / (1.0 - t)),
                ])
            }
            "espo" => {
                let set = row("set")?;
                let (n, size) = (set.len(), set.iter().filter(|&&inside| inside).count());
                let mask = |hidden: &dyn Fn(bool) -> bool, size: usize| {
                    let weight = (n + 1) as f64 / size as f64 / 2.0;
                    MaskSample::given(over(hidden, &set), prompt, n, weight)
                };
                let sides = [(mask(&|inside| inside, size), size), (mask(&|inside| !inside, n - size), n - size)];
                Ok(sides.into_iter().filter(|(_, size)| *size > 0).map(|(mask, _)| mask).collect())
            }
            _ => Ok(vec![step.sample(c, row("masked")?, 1.0)]),
        }
    }

    /// Given terms, of those tokens that have one; none where the recipe asks for none.
    fn terms(&self, tensors: &Tensors, policy: &str, samples: &[Vec<MaskSample>]) -> Result<Option<Vec<Vec<f64>>>> {
        let asked = if policy == "old" { self.recipe.link.ratio.is_some() } else { self.recipe.link.kl.is_some() };
        if !asked {
            return Ok(None);
        }
        let name = format!("{}.{policy}", self.name);
        let values = tensors.values(&name)?;
        ensure!(values.len().is_multiple_of(samples.len()), "{name} is not of {} completions", samples.len());
        let width = values.len() / samples.len();
        let of_completion = |(row, samples): (&[f64], &Vec<MaskSample>)| -> Result<Vec<f64>> {
            if width == 1 {
                return Ok(row.to_vec());
            }
            let mut scored: Vec<usize> =
                samples.iter().flat_map(|s| s.scored(crate::config::Scope::AllMasked)).collect();
            scored.sort_unstable();
            scored.dedup();
            scored.iter().map(|&i| row.get(i).copied().with_context(|| format!("{name} is too short"))).collect()
        };
        Ok(Some(values.chunks(width).zip(samples).map(of_completion).collect::<Result<_>>()?))
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use candle_core::Device;

    use super::*;

    #[test]
    fn no_split_into_micro_batches_changes_any_method() -> Result<()> {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/golden/gqa_small");
        let golden = Golden::open(&dir, &Device::Cpu)?;
        let (model, tensors) = (golden.adapted()?, golden.tensors("algorithms")?);
        for method in methods(&golden)? {
            let at = |n| method.evaluate(&model, &tensors, NonZeroUsize::new(n).expect("above 0"));
            let (whole, expected) = at(6)?;
            for n in [1, 4] {
                let (found, gradients) = at(n)?;
                assert!((found.loss() - whole.loss()).abs() < 1e-6 * whole.loss().abs(), "{} by {n}", method.name);
                for (key, gradient) in gradients.by_name() {
                    let error = relative(gradient, &expected.by_name()[key])?;
                    assert!(error < 1e-5, "{} by {n}, {key}: {error}", method.name);
                }
            }
        }
        Ok(())
    }
}
