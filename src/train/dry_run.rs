//! `--dry-run`: load everything, decode one prompt, count parameters, change nothing.

use anyhow::{Context, Result};

use crate::config::{RunConfig, Split};
use crate::model::Pass;
use crate::report::print_result;
use crate::rng::{Key, Purpose};
use crate::rollout::{Decoding, Prompt, Sampler};
use crate::session::Session;
use crate::text::completion_length;

/// Prints the resolved config, the counts and a decoded prompt.
///
/// # Errors
/// Whatever would stop the run at its start.
pub fn report(config: &RunConfig, session: &Session) -> Result<()> {
    let decoding = Decoding::from_table(config.rollout())?;
    let train = session.examples(session.task.records(Split::Train)?, decoding.canvas)?;
    let held_out = session.examples(session.task.records(config.eval().split)?, decoding.canvas)?;
    let example = train.first().context("the training set is empty")?;
    let key = Key::new(config.run().seed, Purpose::Rollout);
    let prompt = Prompt { ids: example.prompt.to_vec(), key };
    let sampler = Sampler { model: &session.model, decoding: &decoding, pass: Pass::INFERENCE };
    let decoded = sampler.complete(&[prompt], 1, |_| ())?;
    let canvas = &decoded.first().context("nothing was decoded")?.canvas;
    let tokenizer = session.encoder.tokenizer();
    let len = completion_length(canvas, session.model.config().eos_token_id);
    let text = tokenizer.decode(&canvas[..len]);
    let rewards = session.task.rewards(&[example.attempt(&text)])?;
    let reward = rewards.first().context("nothing was rewarded")?;

    let total: usize = session.model.parameter_count();
    let trainable: usize = session.model.trainable().values().map(|v| v.elem_count()).sum();
    let lines = [
        config.to_toml()?,
        format!("model        {} ({total} parameters, {:?})", session.model_dir.display(), session.model.dtype()),
        format!("trainable    {trainable} parameters"),
        format!("device       {:?}", session.model.device().location()),
        format!("task         {}: {} training prompts, {} held out", session.task.name(), train.len(), held_out.len()),
        format!("prompt       {:?} ({} tokens)", tokenizer.decode_raw(&example.prompt), example.prompt.len()),
        format!("completion   {:?} ({len} tokens, reward {})", text, reward.total),
    ];
    print_result(&lines.join("\n"))
}
