//! Decoding and grading a set of records at one temperature.

use std::time::Instant;

use anyhow::Result;
use serde::Serialize;

use crate::config::RunConfig;
use crate::model::{Llada, Pass};
use crate::report::{Progress, Row};
use crate::rng::{Key, Purpose};
use crate::rollout::{Decoding, Prompt, Sampler};
use crate::session::{Example, Session};
use crate::task::Attempt;
use crate::text::completion_length;

/// The figures of one temperature.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Evaluation {
    /// Sampling temperature; 0 is greedy.
    pub temperature: f64,
    /// Records decoded.
    pub items: usize,
    /// Right units of all answers over all units asked for (cells for Sudoku), 0 to 1.
    pub accuracy: f64,
    /// Records whose whole answer is right, 0 to 1.
    pub solved: f64,
    /// Mean training reward.
    pub reward: f64,
    /// Mean tokens up to and including the end of the completion.
    pub mean_length: f64,
    /// Tokens decoded a second, canvases counted whole.
    pub tokens_per_second: f64,
}

/// Evaluates models on the held-out set of a configuration.
pub struct Evaluator {
    examples: Vec<Example>,
    decoding: Decoding,
    temperatures: Vec<f64>,
    batch_size: usize,
    merge_adapters: bool,
    seed: u64,
}

impl Evaluator {
    /// Encodes the held-out records (the first `eval.limit` of them).
    ///
    /// # Errors
    /// If no prompt fits, or the canvas does not.
    pub fn new(config: &RunConfig, session: &Session) -> Result<Self> {
        let eval = config.eval();
        let records = session.task.records(eval.split)?;
        let limit = if eval.limit == 0 { records.len() } else { eval.limit.min(records.len()) };
        let decoding = Decoding::from_table(config.rollout())?;
        Ok(Self {
            examples: session.examples(&records[..limit], decoding.canvas)?,
            decoding,
            temperatures: config.eval_temperatures(),
            batch_size: eval.batch_size.get(),
            merge_adapters: config.rollout().merge_adapters,
            seed: eval.seed,
        })
    }

    /// Evaluates at every temperature of the configuration.
    ///
    /// Draws are keyed by `eval.seed`, the temperature's place and the record, so two models, or two checkpoints of
    /// a run, are compared on the same random numbers.
    ///
    /// # Errors
    /// If decoding fails.
    pub fn run(&self, session: &Session, pass: Pass<'_>) -> Result<Vec<Evaluation>> {
        let merged = (self.merge_adapters && pass.adapters).then(|| session.model.merged()).transpose()?;
        let model = merged.as_ref().unwrap_or(&session.model);
        let run = |(i, &t): (usize, &f64)| self.run_at(session, model, pass, i, t);
        self.temperatures.iter().enumerate().map(run).collect()
    }

    fn run_at(
        &self,
        session: &Session,
        model: &Llada,
        pass: Pass<'_>,
        place: usize,
        temperature: f64,
    ) -> Result<Evaluation> {
        let decoding = Decoding { temperature, ..self.decoding.clone() };
        let key = Key::new(self.seed, Purpose::EvalRollout).part(place);
        let prompts: Vec<Prompt> = (self.examples.iter().enumerate())
            .map(|(i, example)| Prompt { ids: example.prompt.to_vec(), key: key.prompt(i) })
            .collect();
        let started = Instant::now();
        let sampler = Sampler { model, decoding: &decoding, pass };
        let mut progress = Progress::new("evaluate", prompts.len(), 0);
        let canvases = sampler
            .complete(&prompts, self.batch_size, |done| progress.update(done, &format!("temperature {temperature}")))?;
        let seconds = started.elapsed().as_secs_f64();

        let (mut correct, mut out_of, mut solved, mut reward, mut length) = (0, 0, 0, 0.0, 0);
        let tokenizer = session.encoder.tokenizer();
        let eos = session.model.config().eos_token_id;
        let texts: Vec<String> =
            canvases.iter().map(|canvas| tokenizer.decode(&canvas[..completion_length(canvas, eos)])).collect();
        let attempts: Vec<Attempt<'_>> = self.examples.iter().zip(&texts).map(|(e, text)| e.attempt(text)).collect();
        let rewards = session.task.rewards(&attempts)?;
        for ((example, canvas), earned) in self.examples.iter().zip(&canvases).zip(&rewards) {
            let grade = session.task.grade(&example.record, &tokenizer.decode_raw(canvas), earned)?;
            correct += grade.correct;
            out_of += grade.out_of;
            solved += usize::from(grade.solved());
            reward += earned.total;
            length += completion_length(canvas, eos);
        }
        let items = self.examples.len();
        Ok(Evaluation {
            temperature,
            items,
            accuracy: correct as f64 / out_of.max(1) as f64,
            solved: solved as f64 / items as f64,
            reward: reward / items as f64,
            mean_length: length as f64 / items as f64,
            tokens_per_second: (items * decoding.canvas) as f64 / seconds,
        })
    }
}

impl Evaluation {
    /// `greedy` or the temperature, as a name for metrics.
    pub fn label(&self) -> String {
        if self.temperature == 0.0 { "greedy".into() } else { format!("t{}", self.temperature) }
    }

    /// Adds the figures to a metrics row, under `eval/<label>/`.
    pub fn report(&self, row: &mut Row) {
        let label = self.label();
        let figures = [
            ("accuracy", self.accuracy),
            ("solved", self.solved),
            ("reward", self.reward),
            ("mean_length", self.mean_length),
            ("tokens_per_second", self.tokens_per_second),
        ];
        for (name, value) in figures {
            row.set(&format!("eval/{label}/{name}"), value);
        }
    }
}
