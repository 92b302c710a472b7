//! What a run would be in several processes: their shares, their memory, and what the sums between them cost.

use std::time::Instant;

use anyhow::Result;

use super::likelihood::{Row, accumulate};
use super::memory::{Memory, Prompts};
use super::summation::Summation;
use crate::config::{Command, GradientSum, RunConfig};
use crate::model::{Gradients, Sight};
use crate::rng::{Key, Purpose};
use crate::runtime;
use crate::session::Session;

/// Connections that the cost is told for: GB/s, and what has them.
const CONNECTIONS: [(f64, &str); 2] = [(1.0, "10-gigabit Ethernet"), (10.0, "100-gigabit, or one machine's memory")];

/// What the processes of a run share: how many parts a step has, what they are called, and how many completions or
/// demonstrations each is at most.
///
/// # Errors
/// A table that the command needs and the configuration lacks.
pub fn parts(config: &RunConfig) -> Result<(usize, &'static str, usize)> {
    let train = config.train();
    Ok(match config.command() {
        Command::Train => (train.prompts_per_step.get(), "prompts", config.algorithm()?.recipe().num_generations.get()),
        Command::Sft | Command::Eval => {
            let (batch, micro_batch) = (config.sft()?.batch_size.get(), train.micro_batch_size.get());
            match train.gradient_sum {
                GradientSum::Running => (batch, "demonstrations", 1),
                GradientSum::Tree => (batch.div_ceil(micro_batch), "micro-batches", micro_batch),
            }
        }
    })
}

/// Lines for the output of a dry run. `example` is a prompt and its completion by the model.
///
/// # Errors
/// Whatever the tensor library reports.
pub fn lines(
    config: &RunConfig,
    session: &Session,
    prompts: Prompts,
    example: (&[u32], &[u32]),
) -> Result<Vec<String>> {
    let processes = prompts.processes;
    let memory = Memory::new(config, &session.model, prompts)?.beside(runtime::resident_bytes().unwrap_or(0));
    let (parts, things, of) = parts(config)?;
    let share = parts.div_ceil(processes);
    let each = if of > 1 { format!(" ({} in all)", memory.completions()) } else { String::new() };
    let idle = match processes.checked_sub(parts) {
        Some(idle @ 1..) => format!("; {idle} have nothing to do"),
        _ if !parts.is_multiple_of(processes) => "; not all have as many, and wait for each other".to_owned(),
        _ => String::new(),
    };
    let mib = |bytes: usize| bytes as f64 / (1024.0 * 1024.0);
    let mut lines = vec![
        format!("world        {processes} processes, of {parts} {things} a step at most {share} each{each}{idle}"),
        format!("world        {:.1} MiB a process at its peak", mib(memory.peak_bytes()?)),
    ];
    let seconds = view_seconds(config, session, example)? * (memory.views() * memory.completions()) as f64;
    let order = config.train().gradient_sum;
    let traffic = Summation::traffic(order, memory.reduction(), processes);
    lines.push(format!(
        "world        {:.1} MiB of gradients to add up an update, whose passes take a process {seconds:.1} s here",
        mib(memory.reduction())
    ));
    for (speed, what) in CONNECTIONS {
        let reducing = traffic / (speed * 1e9);
        lines.push(format!(
            "world        at {speed} GB/s ({what}) that takes {reducing:.2} s, {:.1} % of the update",
            100.0 * reducing / (reducing + seconds)
        ));
    }
    Ok(lines)
}

/// How long one masked view of a completion takes to run forward and back.
fn view_seconds(config: &RunConfig, session: &Session, (prompt, canvas): (&[u32], &[u32])) -> Result<f64> {
    let model = &session.model;
    let masks = vec![model.ids().mask; canvas.len()];
    let paired = match config.command() {
        Command::Train => config.algorithm()?.recipe().masks.are_paired(),
        Command::Sft | Command::Eval => model.shape().sight != Sight::Full,
    };
    let row = Row {
        ids: [prompt, &masks].concat(),
        past: paired.then(|| [prompt, canvas].concat()),
        prompt: prompt.len(),
        scored: (prompt.len()..prompt.len() + canvas.len()).collect(),
        targets: canvas.to_vec(),
        dropout: Key::new(config.run().seed, Purpose::Dropout),
    };
    let mut gradients = Gradients::new();
    let mut last = 0.0;
    // the first one warms up
    for _ in 0..2 {
        let started = Instant::now();
        let slopes = |log_probs: &[f32]| Ok(vec![0.0; log_probs.len()]);
        accumulate(model, std::slice::from_ref(&row), config.train().activation_checkpointing, &mut gradients, slopes)?;
        model.device().synchronize()?;
        last = started.elapsed().as_secs_f64();
    }
    Ok(last)
}
