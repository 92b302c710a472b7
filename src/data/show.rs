//! `spg data show`: rendered prompts, their lengths, and what would be skipped or cut.

use anyhow::Result;
use serde_json::{Value, json};

use crate::config::ShowDataRequest;
use crate::model::source;
use crate::report::{Progress, print_json, print_result};
use crate::session::open_task;
use crate::task::Record;
use crate::terminal::{width, wrapped};
use crate::text::{Prompt, PromptEncoder, TooLong};

/// A prompt as the model gets it.
struct Shown<'a> {
    record: &'a Record,
    rendered: String,
    tokens: usize,
    fate: &'static str,
    /// What the model gets, where that was asked for; nothing if the prompt is skipped.
    ids: Option<Vec<u32>>,
}

/// What becomes of all prompts of a split.
#[derive(Default)]
struct Lengths {
    tokens: Vec<usize>,
    skipped: usize,
    cut: usize,
}

/// Prints the first prompts of a split, and the lengths of all of them. Needs the model's tokenizer, not its weights.
///
/// # Errors
/// Data or a tokenizer that cannot be had, and templates that fail.
pub fn show(request: &ShowDataRequest) -> Result<()> {
    let config = &request.config;
    let (model, rollout) = (config.model(), config.rollout());
    let dir = source::resolve_tokenizer(&model.name_or_path, model.revision.as_deref())?.path;
    let too_long = if rollout.truncate_prompts { TooLong::Truncate } else { TooLong::Skip };
    let encoder = PromptEncoder::load(&dir, rollout.max_prompt_length, too_long)?
        .with_variables(model.chat_template_kwargs.clone());
    let task = open_task(config.task(), request.split == crate::config::Split::Test)?;
    let records = task.records(request.split)?;

    let mut shown = Vec::new();
    let mut lengths = Lengths::default();
    let mut progress = Progress::new("encode", records.len(), 0);
    for (i, record) in records.iter().enumerate() {
        let text = task.prompt(record)?;
        let prompt = encoder.encode(&text)?;
        let fate = lengths.add(&prompt);
        if i < request.count {
            let ids = prompt.ids().filter(|_| request.ids).map(<[u32]>::to_vec);
            shown.push(Shown { record, rendered: encoder.render(&text)?, tokens: lengths.tokens[i], fate, ids });
        }
        progress.update(i + 1, "");
    }
    drop(progress);
    let limit = rollout.max_prompt_length.get();
    match request.json {
        true => print_json(&as_json(task.name(), request, &shown, &mut lengths, limit)),
        false => print_result(&as_text(task.name(), request, &shown, &mut lengths, limit)),
    }
}

impl Lengths {
    fn add(&mut self, prompt: &Prompt) -> &'static str {
        let (tokens, fate) = match prompt {
            Prompt::Whole(ids) => (ids.len(), "kept"),
            Prompt::Truncated { full_length, .. } => (*full_length, "cut"),
            Prompt::Skipped { full_length } => (*full_length, "skipped"),
        };
        self.tokens.push(tokens);
        self.cut += usize::from(fate == "cut");
        self.skipped += usize::from(fate == "skipped");
        fate
    }

    /// Fewest, median and most tokens. (There is at least one prompt: a split is never empty.)
    fn range(&mut self) -> [usize; 3] {
        self.tokens.sort_unstable();
        let at = |i: usize| self.tokens.get(i).copied().unwrap_or(0);
        [at(0), at(self.tokens.len() / 2), at(self.tokens.len().saturating_sub(1))]
    }
}

fn as_text(task: &str, request: &ShowDataRequest, shown: &[Shown<'_>], lengths: &mut Lengths, limit: usize) -> String {
    let split = request.split.name();
    let mut text = String::new();
    for (i, prompt) in shown.iter().enumerate() {
        let note = if prompt.fate == "kept" { String::new() } else { format!(", {}", prompt.fate) };
        text += &format!("--- {split} {i}, {} tokens{note}\n{}\n", prompt.tokens, prompt.rendered);
        if let Some(ids) = &prompt.ids {
            text += &format!("{}\n", wrapped(&format!("ids {ids:?}"), width()));
        }
    }
    let [least, median, most] = lengths.range();
    let summary = format!(
        "--- task {task}, {split}: {} prompts of {least} to {most} tokens, median {median}; with \
         rollout.max_prompt_length = {limit}, {} are skipped and {} cut",
        lengths.tokens.len(),
        lengths.skipped,
        lengths.cut
    );
    text + &wrapped(&summary, width())
}

fn as_json(task: &str, request: &ShowDataRequest, shown: &[Shown<'_>], lengths: &mut Lengths, limit: usize) -> String {
    let prompt = |p: &Shown<'_>| {
        let mut value = json!({ "record": p.record, "prompt": p.rendered, "tokens": p.tokens, "fate": p.fate });
        if request.ids {
            value["ids"] = json!(p.ids);
        }
        value
    };
    let prompts: Vec<Value> = shown.iter().map(prompt).collect();
    let [min, median, max] = lengths.range();
    json!({
        "task": task,
        "split": request.split,
        "records": lengths.tokens.len(),
        "tokens": { "min": min, "median": median, "max": max },
        "max_prompt_length": limit,
        "skipped": lengths.skipped,
        "cut": lengths.cut,
        "prompts": prompts,
    })
    .to_string()
}
