//! `--dry-run`: load everything, decode one prompt, count parameters, estimate the memory of a run, change nothing.

use anyhow::{Context, Result};

use super::memory::{Memory, Prompts};
use super::scale;
use crate::config::{RunRequest, Split};
use crate::eval::Evaluator;
use crate::model::Pass;
use crate::report::print_result;
use crate::rng::{Key, Purpose};
use crate::rollout::{Decoding, Prompt, Sampler};
use crate::runtime;
use crate::session::{CANVAS_KEY, Session, longest_prompt};
use crate::signal::Stop;
use crate::terminal::{width, wrapped};

/// Prints the resolved config, the counts and a decoded prompt.
///
/// # Errors
/// Whatever would stop the run at its start.
pub fn report(request: &RunRequest, session: &Session) -> Result<()> {
    let config = &request.config;
    let decoding = Decoding::from_table(config.rollout())?;
    let train = session.examples(session.task.records(Split::Train)?, (CANVAS_KEY, decoding.canvas))?;
    let (held_out, longest_held_out) = Evaluator::new(config, session)?.prompts();
    let prompts = Prompts { longest_train: longest_prompt(&train), longest_held_out, held_out, processes: 1 };
    let memory = Memory::new(config, &session.model, prompts)?;
    let example = train.first().context("the training set is empty")?;
    let key = Key::new(config.run().seed, Purpose::Rollout);
    let prompt = Prompt { ids: example.prompt.to_vec(), key };
    let model = session.model.for_sampling(false)?;
    let sampler = Sampler { model: &model, decoding: &decoding, pass: Pass::INFERENCE, stop: &Stop::default() };
    let decoded = sampler.complete(&[prompt], 1, |_| ())?;
    let canvas = &decoded.first().context("nothing was decoded")?.canvas;
    let tokenizer = session.encoder.tokenizer();
    let len = session.model.ids().length(canvas);
    let text = tokenizer.decode(&canvas[..len]);
    let rewards = session.task.rewards(&[example.attempt(&text)], &Stop::default())?;
    let reward = rewards.first().context("nothing was rewarded")?;

    let total: usize = session.model.parameter_count();
    let trainable: usize = session.model.trainable().values().map(|v| v.elem_count()).sum();
    let mut lines = vec![
        format!("model        {} ({total} parameters, {:?})", session.model_dir.display(), session.model.dtype()),
        format!("trainable    {trainable} parameters"),
        format!("device       {}", session.device_name()),
        format!("task         {}: {} training prompts, {held_out} held out", session.task.name(), train.len()),
        format!("prompt       {:?} ({} tokens)", tokenizer.decode_raw(&example.prompt), example.prompt.len()),
        format!("completion   {:?} ({len} tokens, reward {})", text, reward.total),
    ];
    // the code has run by now, the prompts are there: what is resident beside the model is the process
    let memory = memory.beside(runtime::resident_bytes().unwrap_or(0));
    lines.extend(memory.lines()?);
    if let Some(gib) = request.memory_gib {
        lines.extend(memory.fitting(gib.get())?);
    }
    if let Some(processes) = request.world {
        let prompts = Prompts { processes: processes.get(), ..prompts };
        lines.extend(scale::lines(config, session, prompts, (&example.prompt, canvas))?);
    }
    print_result(&format!("{}\n{}", config.to_toml()?, wrapped(&lines.join("\n"), width())))
}
