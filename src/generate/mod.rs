//! `spg generate`: completes prompts with a checkpoint.

mod input;
mod watch;

use anyhow::{Context as _, Result};
use serde_json::json;

use crate::config::GenerateRequest;
use crate::model::Pass;
use crate::report::{Checkpoint, DecodingProgress, print_json, print_result};
use crate::rng::{Key, Purpose};
use crate::rollout::{Decoded, Decoding, Headway, Prompt, Sampler};
use crate::session::{Loaded, require_base};
use crate::signal::Stop;
use crate::text::{Message, PromptEncoder, SpecialIds};

/// Decodes what `request` asks for, and prints a completion as soon as its batch is done.
///
/// Completions are keyed by `run.seed`, prompt and sample: they depend neither on the batch nor on the other prompts.
///
/// # Errors
/// A folder without a model, prompts that cannot be read or are too long, or whatever fails on the way.
pub fn run(request: &GenerateRequest) -> Result<()> {
    let GenerateRequest { config, samples, .. } = request;
    let conversations = input::conversations(&request.prompts, request.system.as_deref())?;
    let canvas = if request.watch { Some(watch::Screen::open()?) } else { None };
    let decoding = Decoding::from_table(config.rollout())?;
    let (loaded, pass) = open(request)?;
    let Loaded { model, encoder, .. } = &loaded;
    let encoded: Vec<Vec<u32>> =
        conversations.iter().enumerate().map(|(i, turns)| encoded(encoder, i, turns)).collect::<Result<_>>()?;
    let key = Key::new(config.run().seed, Purpose::EvalRollout);
    let prompts: Vec<Prompt> = encoded
        .iter()
        .enumerate()
        .flat_map(|(i, ids)| (0..samples.get()).map(move |k| Prompt { ids: ids.clone(), key: key.prompt(i).sample(k) }))
        .collect();
    let model = model.for_sampling(config.rollout().merge_adapters && pass.adapters)?;
    let sampler = Sampler { model: &model, decoding: &decoding, pass, stop: &Stop::default() };
    let printer = Printer { request, encoder, ids: model.ids(), all: prompts.len() };
    if let Some(mut screen) = canvas {
        let (tokenizer, mask) = (encoder.tokenizer(), model.ids().mask);
        for (i, prompt) in prompts.iter().enumerate() {
            let decoded = sampler.complete_watched(prompt, |canvas| screen.draw(tokenizer, canvas, mask))?;
            screen.clear();
            decoded.iter().try_for_each(|decoded| printer.print(i, &conversations[i / samples.get()], decoded))?;
        }
        return Ok(());
    }
    let mut progress = DecodingProgress::new("generate");
    let batch = config.rollout().batch_size.get();
    for (first, chunk) in prompts.chunks(batch).enumerate().map(|(i, chunk)| (i * batch, chunk)) {
        let seen = |headway: Headway| progress.at(headway.after(first, prompts.len(), batch), "");
        for (i, decoded) in sampler.complete(chunk, batch, seen)?.iter().enumerate() {
            printer.print(first + i, &conversations[(first + i) / samples.get()], decoded)?;
        }
    }
    Ok(())
}

/// The model, with adapters if there are any and they are wanted.
fn open(request: &GenerateRequest) -> Result<(Loaded, Pass<'static>)> {
    if request.base {
        require_base(&request.config)?;
    }
    match Checkpoint::find(&request.checkpoint, request.which)? {
        Checkpoint::Adapter(dir) => {
            let mut loaded = Loaded::open(&request.config, None)?;
            if request.base {
                return Ok((loaded, Pass::BASE));
            }
            loaded.model.load_adapter(&dir)?.warn_unless_made_for(&request.config.model().name_or_path);
            Ok((loaded, Pass::INFERENCE))
        }
        Checkpoint::Model(_) if request.base => Ok((Loaded::open(&request.config, None)?, Pass::BASE)),
        Checkpoint::Model(dir) => Ok((Loaded::open(&request.config, Some(&dir))?, Pass::BASE)),
    }
}

fn encoded(encoder: &PromptEncoder, i: usize, turns: &[Message]) -> Result<Vec<u32>> {
    let prompt = encoder.encode_turns(turns).with_context(|| format!("prompt {} cannot be encoded", i + 1))?;
    prompt.ids().map(<[u32]>::to_vec).with_context(|| {
        format!(
            "prompt {} is longer than rollout.max_prompt_length: raise it, or set rollout.truncate_prompts=true",
            i + 1
        )
    })
}

/// Writes completions to standard output.
struct Printer<'a> {
    request: &'a GenerateRequest,
    encoder: &'a PromptEncoder,
    ids: &'a SpecialIds,
    /// Completions in all.
    all: usize,
}

impl Printer<'_> {
    fn print(&self, i: usize, turns: &[Message], Decoded { canvas, steps, .. }: &Decoded) -> Result<()> {
        let samples = self.request.samples.get();
        let length = self.ids.length(canvas);
        let text = self.encoder.tokenizer().decode(&canvas[..length]);
        let (prompt, sample) = (i / samples, i % samples);
        if self.request.json {
            let line = json!({
                "prompt": prompt,
                "sample": sample,
                "messages": turns,
                "completion": text,
                "tokens": length,
                "ended": self.ids.ended(canvas),
                "decoding_steps": steps,
            });
            return print_json(&line.to_string());
        }
        match self.all {
            1 => print_result(&text),
            _ => print_result(&format!("[prompt {}, sample {}]\n{text}\n", prompt + 1, sample + 1)),
        }
    }
}
