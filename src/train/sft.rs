//! Supervised masked-diffusion fine-tuning on demonstrations: the ELBO of the completion at random mask ratios.

use std::time::Instant;

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

use super::drive::{Method, Phase};
use super::likelihood::{MicroBatches, Row as TokenRow, accumulate};
use super::summation::Summation;
use super::trainer::Trainer;
use crate::config::{RunConfig, Scope, Split};
use crate::meter;
use crate::model::Sight;
use crate::objective::sft::{draw_mask, sft_loss};
use crate::report::Row;
use crate::rng::{Key, Purpose};
use crate::session::{CANVAS_KEY, Example, Session, longest_prompt};
use crate::signal::Stop;
use crate::task::PromptOrder;

/// The method of `[sft]`.
pub struct SftMethod {
    examples: Vec<Example>,
    order: PromptOrder,
    canvas: usize,
    batch_size: usize,
    micro_batches: MicroBatches,
    summation: Summation,
    seed: u64,
}

/// What a process finds out about a demonstration.
#[derive(Clone, Copy, Serialize, Deserialize)]
struct Part {
    loss: f64,
    scored: usize,
}

impl SftMethod {
    /// Encodes the training prompts.
    ///
    /// # Errors
    /// If none fits.
    pub fn new(config: &RunConfig, session: &Session) -> Result<Self> {
        let canvas = config.rollout().max_completion_length.get();
        let mut examples = session.examples(session.task.records(Split::Train)?, (CANVAS_KEY, canvas))?;
        if session.task.has_fixed_demonstrations() {
            examples = keep_those_that_fit(examples, session, canvas)?;
        }
        Ok(Self {
            order: PromptOrder::new(config.run().seed, examples.len()),
            examples,
            canvas,
            batch_size: config.sft()?.batch_size.get(),
            micro_batches: config.train().into(),
            summation: Summation::new(&session.world, config.train().gradient_sum),
            seed: config.run().seed,
        })
    }

    /// The masked demonstration at a place of a step.
    fn row(&mut self, session: &Session, step: usize, place: usize) -> Result<TokenRow> {
        let example = &self.examples[self.order.at((step * self.batch_size + place) as u64)];
        let key = |purpose| Key::new(self.seed, purpose).step(step as u64).prompt(place);
        let text = session.task.demonstration(&example.record, &mut key(Purpose::Demonstration).rng())?;
        let mut ids = session.encoder.tokenizer().encode(&text).context("cannot encode a demonstration")?;
        ensure!(
            ids.len() <= self.canvas,
            "a demonstration of {} tokens is longer than rollout.max_completion_length {}",
            ids.len(),
            self.canvas
        );
        ids.resize(self.canvas, session.model.ids().fill());

        let prompt_length = example.prompt.len();
        let drawn = draw_mask(prompt_length, self.canvas, key(Purpose::Mask)).mask;
        let scored = drawn.scored(Scope::AllMasked);
        let mask = session.model.ids().mask;
        let clean: Vec<u32> = example.prompt.iter().chain(&ids).copied().collect();
        Ok(TokenRow {
            ids: clean.iter().zip(&drawn.masked).map(|(&id, &hidden)| if hidden { mask } else { id }).collect(),
            targets: scored.iter().map(|&i| ids[i]).collect(),
            scored: scored.iter().map(|&i| prompt_length + i).collect(),
            prompt: prompt_length,
            // a block-causal model predicts every block from a clean past
            past: (session.model.shape().sight != Sight::Full).then_some(clean),
            dropout: key(Purpose::Dropout),
        })
    }
}

/// Leaves out examples whose demonstration is longer than the canvas, with a warning that counts them.
fn keep_those_that_fit(examples: Vec<Example>, session: &Session, canvas: usize) -> Result<Vec<Example>> {
    let total = examples.len();
    let mut kept = Vec::with_capacity(total);
    for example in examples {
        // Nothing is drawn for these, so any generator will do.
        let mut rng = Key::new(0, Purpose::Demonstration).rng();
        let text = session.task.demonstration(&example.record, &mut rng)?;
        if session.encoder.tokenizer().encode(&text).context("cannot encode a demonstration")?.len() <= canvas {
            kept.push(example);
        }
    }
    if kept.len() < total {
        let skipped = total - kept.len();
        tracing::warn!("{skipped} of {total} demonstrations are longer than rollout.max_completion_length: skipped");
    }
    ensure!(!kept.is_empty(), "no demonstration fits rollout.max_completion_length = {canvas}: raise it");
    Ok(kept)
}

impl Method for SftMethod {
    fn phase(&mut self, trainer: &mut Trainer, step: usize, stop: &Stop) -> Result<Phase> {
        let started = Instant::now();
        let (summation, batch) = (self.summation.clone(), self.batch_size);
        let MicroBatches { size, checkpointing } = self.micro_batches;
        let part = summation.part(size);
        let parts = batch.div_ceil(part);
        let (mut found, mut present) = (Vec::new(), vec![false; parts]);
        let share = summation.world().share(parts);
        let mut meter = meter::count("update", "demonstrations", (share.len() * part).min(batch));
        let own = summation.own(parts, |parts, gradients| {
            let places = parts.start * part..(parts.end * part).min(batch);
            let rows: Vec<TokenRow> =
                places.map(|place| self.row(&trainer.session, step, place)).collect::<Result<_>>()?;
            for micro_batch in rows.chunks(size.get()) {
                meter.at(found.len() as u64);
                stop.check()?;
                accumulate(&trainer.session.model, micro_batch, checkpointing, gradients, |log_probs| {
                    let mut lps = log_probs.iter().map(|&lp| lp as f64);
                    let mut d_lp = Vec::with_capacity(log_probs.len());
                    for row in micro_batch {
                        let own: Vec<f64> = lps.by_ref().take(row.scored.len()).collect();
                        let part = sft_loss(&own, batch);
                        found.push(Part { loss: part.loss, scored: own.len() });
                        d_lp.extend(part.d_lp);
                    }
                    Ok(d_lp)
                })?;
            }
            present[parts].fill(!gradients.is_empty());
            Ok(())
        })?;
        drop(meter);
        let told = summation.world().gather((found, present[share].to_vec()))?;
        let (found, present): (Vec<Vec<Part>>, Vec<Vec<bool>>) = told.into_iter().unzip();
        let (found, present) = (found.concat(), present.concat());
        let gradients = summation.all(&trainer.session.model, parts, own, &present)?;
        let mut row = Row::new(step + 1);
        row.set("loss", found.iter().map(|part| part.loss).sum::<f64>())
            .set("scored_tokens", found.iter().map(|part| part.scored).sum::<usize>());
        trainer.update(step, &gradients, &mut row)?;
        row.set("update_seconds", started.elapsed().as_secs_f64());
        Ok(Phase { rows: vec![row], completions: None })
    }

    fn longest_prompt(&self) -> usize {
        longest_prompt(&self.examples)
    }

    fn headline(&self, row: &Row) -> String {
        format!("loss {:.4}", row.number("loss").unwrap_or(f64::NAN))
    }
}
