//! Decoding and grading a set of records, setting by setting.

use std::borrow::Cow;
use std::ops::Range;
use std::time::Instant;

use anyhow::Result;

use super::{Evaluation, Response, Sample};
use crate::config::{RolloutTable, RunConfig, Setting};
use crate::model::{Decoder, Pass, Sight};
use crate::report::{Commit, DecodingProgress, REPLAYS, Replay, Row};
use crate::rng::{Key, Purpose};
use crate::rollout::{Decoded, Decoding, Prompt, Sampler};
use crate::session::{Example, Session, longest_prompt};
use crate::signal::Stop;
use crate::task::{Attempt, Record};

/// Evaluates models on the held-out set of a configuration.
pub struct Evaluator {
    examples: Vec<Example>,
    /// Place of every example in its split.
    doc_ids: Vec<usize>,
    /// Records of the split.
    split_size: usize,
    settings: Vec<Setting>,
    num_samples: usize,
    rollout: RolloutTable,
    batch_size: usize,
    seed: u64,
}

/// What a model did at one setting.
pub struct Outcome {
    /// The figures.
    pub evaluation: Evaluation,
    /// The completions they are of, record after record.
    pub samples: Vec<Sample>,
    /// How the first of them were denoised.
    pub replays: Vec<Replay>,
}

impl Evaluator {
    /// Encodes the records of `eval.split` (the first `eval.limit` of them).
    ///
    /// # Errors
    /// If no prompt fits, or the largest canvas does not.
    pub fn new(config: &RunConfig, session: &Session) -> Result<Self> {
        let (eval, settings) = (config.eval(), config.eval_settings());
        let records = session.task.records(eval.split)?;
        let limit = if eval.limit == 0 { records.len() } else { eval.limit.min(records.len()) };
        let canvas = settings.iter().map(|s| s.max_completion_length).max().unwrap_or(0);
        let examples = session.examples(&records[..limit], ("eval.max_completion_length", canvas))?;
        Ok(Self {
            doc_ids: places(&examples, records),
            split_size: records.len(),
            examples,
            settings,
            num_samples: eval.num_samples.get(),
            rollout: config.rollout().clone(),
            batch_size: eval.batch_size.get(),
            seed: eval.seed,
        })
    }

    /// How many prompts there are, and the tokens of the longest.
    pub fn prompts(&self) -> (usize, usize) {
        (self.examples.len(), longest_prompt(&self.examples))
    }

    /// Records of the split, decoded or not.
    pub fn split_size(&self) -> usize {
        self.split_size
    }

    /// One forward pass over the first record: whether the model still makes numbers of its input.
    ///
    /// # Errors
    /// [`LogitsNotFinite`](crate::rollout::LogitsNotFinite)
    pub fn probe(&self, model: &Decoder) -> Result<()> {
        let (Some(example), Some(setting)) = (self.examples.first(), self.settings.first()) else { return Ok(()) };
        let canvas = match model.shape().sight {
            Sight::Full => setting.max_completion_length,
            Sight::Blocks(blocks) => blocks.length,
        };
        let decoding = Decoding::greedy_by_block(canvas, canvas, 1);
        let prompt = Prompt { ids: example.prompt.to_vec(), key: Key::new(self.seed, Purpose::EvalRollout) };
        let sampler = Sampler { model, decoding: &decoding, pass: Pass::INFERENCE, stop: &Stop::default() };
        sampler.complete(&[prompt], 1, |_| ()).map(drop)
    }

    /// The figures that a row of the metrics holds, setting by setting; nothing if it does not hold all of them.
    pub fn read(&self, row: &Row) -> Option<Vec<Evaluation>> {
        self.settings.iter().map(|setting| Evaluation::read(setting, row, self.num_samples)).collect()
    }

    /// Figures and completions at every setting of the configuration. Each process decodes and grades its share of the
    /// records; all of them get everything.
    ///
    /// Draws are keyed by `eval.seed`, the temperature's place, the record and the sample, so two models, two
    /// checkpoints of a run, or two ways to decode are compared on the same random numbers.
    ///
    /// # Errors
    /// If decoding fails, or a reward; [`Interrupted`](crate::signal::Interrupted) as soon as `stop` asks for it.
    pub fn outcomes(&self, session: &Session, pass: Pass<'_>, stop: &Stop) -> Result<Vec<Outcome>> {
        let model = match pass.adapters {
            true => session.model.for_sampling(self.rollout.merge_adapters)?,
            false => Cow::Borrowed(&session.model),
        };
        let run = |(i, setting): (usize, &Setting)| {
            let of =
                if self.settings.len() > 1 { format!(" ({} of {})", i + 1, self.settings.len()) } else { "".into() };
            let started = Instant::now();
            let world = &session.world;
            let share = world.share(self.examples.len());
            let decoded = self.decode(&model, pass, stop, setting, share.clone(), &format!("{}{of}", setting.label))?;
            let seconds = started.elapsed().as_secs_f64();
            let first = REPLAYS.saturating_sub(share.start * self.num_samples);
            let first: Vec<Decoded> = decoded.iter().take(first).cloned().collect();
            let responses = self.grade(session, decoded, share.clone(), stop)?;
            let own = replays(session, setting, first, &self.samples(session, share, &responses));
            let (mut all, mut replays, mut longest) = (Vec::new(), Vec::new(), seconds);
            for (responses, own, seconds) in world.gather((responses, own, seconds))? {
                all.extend(responses);
                replays.extend(own);
                longest = seconds.max(longest);
            }
            let samples = self.samples(session, 0..self.examples.len(), &all);
            Ok(Outcome { evaluation: Evaluation::of(setting, &samples, longest), samples, replays })
        };
        self.settings.iter().enumerate().map(run).collect()
    }

    /// `num_samples` completions of the first record of a share, then of the second, and so on.
    fn decode(
        &self,
        model: &Decoder,
        pass: Pass<'_>,
        stop: &Stop,
        setting: &Setting,
        share: Range<usize>,
        shown: &str,
    ) -> Result<Vec<Decoded>> {
        let decoding = Decoding::at(setting, &self.rollout)?;
        let key = Key::new(self.seed, Purpose::EvalRollout).part(setting.place);
        let prompt =
            |i: usize, k: usize| Prompt { ids: self.examples[i].prompt.to_vec(), key: key.prompt(i).sample(k) };
        let prompts: Vec<Prompt> = share.flat_map(|i| (0..self.num_samples).map(move |k| prompt(i, k))).collect();
        let mut progress = DecodingProgress::new("evaluate");
        let sampler = Sampler { model, decoding: &decoding, pass, stop };
        sampler.complete(&prompts, self.batch_size, |headway| progress.at(headway, shown))
    }

    /// What the completions of a share of the records are worth.
    fn grade(
        &self,
        session: &Session,
        decoded: Vec<Decoded>,
        share: Range<usize>,
        stop: &Stop,
    ) -> Result<Vec<Response>> {
        let tokenizer = session.encoder.tokenizer();
        let ids = session.model.ids();
        let examples = &self.examples[share];
        let example = |c: usize| &examples[c / self.num_samples];
        let texts: Vec<String> = decoded.iter().map(|d| tokenizer.decode(&d.canvas[..ids.length(&d.canvas)])).collect();
        let attempts: Vec<Attempt<'_>> = texts.iter().enumerate().map(|(c, text)| example(c).attempt(text)).collect();
        let rewards = session.task.rewards(&attempts, stop)?;
        let answers = decoded.iter().zip(texts).zip(rewards).enumerate();
        let responses = answers.map(|(c, ((Decoded { canvas, steps, .. }, completion), reward))| {
            let text = tokenizer.decode_raw(canvas);
            Ok(Response {
                grade: session.task.grade(&example(c).record, &text, &reward)?,
                text,
                completion,
                reward,
                length: ids.length(canvas),
                effective_tokens: canvas.iter().position(|&id| ids.is_end(id)).unwrap_or(canvas.len()),
                decoding_steps: *steps,
            })
        });
        responses.collect()
    }

    /// The records of a share with their completions.
    fn samples(&self, session: &Session, share: Range<usize>, responses: &[Response]) -> Vec<Sample> {
        let examples = self.examples[share.clone()].iter().zip(&self.doc_ids[share]);
        let sample = |(responses, (example, &doc_id)): (&[Response], (&Example, &usize))| Sample {
            doc_id,
            record: example.record.clone(),
            prompt: session.encoder.tokenizer().decode_raw(&example.prompt),
            responses: responses.to_vec(),
        };
        responses.chunks(self.num_samples).zip(examples).map(sample).collect()
    }
}

/// How `decoded`, the first completions of `samples`, came about.
fn replays(session: &Session, setting: &Setting, decoded: Vec<Decoded>, samples: &[Sample]) -> Vec<Replay> {
    let tokenizer = session.encoder.tokenizer();
    let answers = samples.iter().flat_map(|sample| sample.responses.iter().map(move |response| (sample, response)));
    let replay = |(d, (sample, response)): (Decoded, (&Sample, &Response))| Replay {
        setting: setting.label.clone(),
        remasking: setting.remasking,
        prompt: sample.prompt.clone(),
        reward: Some(response.reward.total).filter(|total| total.is_finite()),
        length: response.length,
        pieces: tokenizer.pieces(&d.canvas),
        commits: d.trace.iter().map(|c| Commit::new(c.position, c.step, c.confidence)).collect(),
    };
    decoded.into_iter().zip(answers).map(replay).collect()
}

/// Where the examples, which are some of the records in their order, stand among them.
fn places(examples: &[Example], records: &[Record]) -> Vec<usize> {
    let mut all = records.iter().enumerate();
    examples.iter().filter_map(|e| all.find(|(_, record)| **record == e.record)).map(|(place, _)| place).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_skip_the_records_that_were_left_out() {
        let records: Vec<Record> = ["a", "b", "c", "b"].map(|t| Record::from([("x", t.to_owned())])).to_vec();
        let example = |i: usize| Example { record: records[i].clone(), text: "".into(), prompt: [0].into() };
        assert_eq!(places(&[example(0), example(2)], &records), [0, 2]);
        assert_eq!(places(&[example(1), example(3)], &records), [1, 3]);
    }
}
