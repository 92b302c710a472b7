//! Greedy decodes of the base model, token for token.

use anyhow::{Result, ensure};
use serde::Deserialize;

use super::Item;
use super::golden::Golden;
use crate::model::Pass;
use crate::rng::{Key, Purpose};
use crate::rollout::{Decoding, Prompt, Sampler};
use crate::signal::Stop;

#[derive(Deserialize)]
struct Case {
    case: usize,
    gen_length: usize,
    steps: usize,
    block_length: usize,
    cfg_scale: f64,
    temperature: f64,
    remasking: String,
    /// Passes of every block, in folders whose blocks may be cut.
    steps_per_block: Option<usize>,
}

/// One item a case; the error is the number of tokens that differ.
pub fn check(golden: &Golden) -> Result<Vec<Item>> {
    let tensors = golden.tensors("generate")?;
    let model = golden.base()?;
    let cases: Vec<Case> = golden.json("generate")?;
    cases
        .iter()
        .map(|case| {
            ensure!(
                case.temperature == 0.0 && case.remasking == "low_confidence",
                "generate.json, case {}: only greedy low-confidence decodes can be compared",
                case.case
            );
            let greedy = match case.steps_per_block {
                Some(steps) => Decoding::greedy_by_block(case.gen_length, case.block_length, steps),
                None => Decoding::greedy(case.gen_length, case.block_length, case.steps)?,
            };
            let decoding = Decoding { cfg_scale: case.cfg_scale, ..greedy };
            let prompts = tensors.ids(&format!("{}.prompt", case.case))?;
            let expected = tensors.ids(&format!("{}.output", case.case))?;
            let rows: Vec<Prompt> =
                prompts.iter().map(|ids| Prompt { ids: ids.clone(), key: Key::new(0, Purpose::EvalRollout) }).collect();
            let sampler = Sampler { model: &model, decoding: &decoding, pass: Pass::BASE, stop: &Stop::default() };
            let completions: Vec<Vec<u32>> =
                sampler.complete(&rows, rows.len(), |_| ())?.into_iter().map(|d| d.canvas).collect();
            let mut differing = 0;
            for ((prompt, completion), expected) in prompts.iter().zip(&completions).zip(&expected) {
                let whole = prompt.iter().chain(completion);
                ensure!(
                    expected.len() == prompt.len() + completion.len(),
                    "generate.safetensors: a row has another length"
                );
                differing += whole.zip(expected).filter(|(a, b)| a != b).count();
            }
            let note = format!("{} x {} tokens, guidance {}", completions.len(), case.gen_length, case.cfg_scale);
            Ok(Item::new(format!("decode.{}", case.case), differing as f64, 0.0, note))
        })
        .collect()
}
