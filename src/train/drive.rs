//! The outer loop that both kinds of training share: phases, metrics, checkpoints, evaluations, stopping.
//!
//! A phase is what a checkpoint must not cut: the `mu` updates on one set of completions, or one update of
//! supervised fine-tuning. Within a step the order is metrics, checkpoint, evaluation: an evaluation takes hours on a
//! large model, and whatever happens to it, the updates before it are safe. A resumed run makes the evaluation whose
//! line is missing before anything else, so that the lines of a run are the same wherever it was interrupted.
//!
//! The best evaluation of a run, where it is asked for, has its checkpoint kept and its weights in `best/` before anything
//! older goes; a run that stops early is one that is done.
//!
//! Whoever asks to stop is obeyed within a denoising step or a micro-batch. What had begun, an evaluation or a phase, is
//! dropped, and the state before it is saved: since all randomness is keyed by its place, the resumed run does the same
//! again, bit by bit.

use std::io;
use std::time::{Duration, Instant};

use anyhow::Result;

use super::belongs::Belongs;
use super::best;
use super::checkpoint::{self, TrainerState};
use super::decline::Decline;
use super::last_good;
use super::memory::{Memory, Prompts};
use super::retention::Retention;
use super::run_dir::RunDir;
use super::start::Start;
use super::trainer::Trainer;
use crate::config::{RunConfig, RunRequest};
use crate::error::{PeerFailed, Stopped, Usage, describe, has};
use crate::eval::{Column, Evaluation, Evaluator, completion_table, render_table};
use crate::model::Pass;
use crate::report::{CompletionTable, Progress, Recorder, Replay, Row, print_result, renew_page};
use crate::runtime;
use crate::signal::{Interrupted, Stop};
use crate::world::{Leave, World};

/// A way of training: what happens between two points where a run can be stopped.
pub trait Method {
    /// Runs the phase that starts after `step` updates.
    ///
    /// # Errors
    /// If sampling, the maths or the optimiser fails; [`Interrupted`] once `stop` asks for it.
    fn phase(&mut self, trainer: &mut Trainer, step: usize, stop: &Stop) -> Result<Phase>;

    /// Tokens of the longest prompt that is trained on.
    fn longest_prompt(&self) -> usize;

    /// What the progress bar shows of a row.
    fn headline(&self, row: &Row) -> String;
}

/// What a phase leaves to be written down.
pub struct Phase {
    /// The figures of each of its updates.
    pub rows: Vec<Row>,
    /// What the updates were made on, if it is kept.
    pub completions: Option<CompletionTable>,
}

/// Runs `method` to the end of `request`, or until someone asks to stop. `listen` makes the flag that says so; it is
/// called when there begins to be something to save.
///
/// # Errors
/// [`Stopped`] after a signal; [`Usage`](crate::error::Usage) for an output folder or a checkpoint that cannot be used
/// so; else what failed, with everything up to the last whole phase saved.
pub fn drive(
    request: &RunRequest,
    mut trainer: Trainer,
    method: &mut dyn Method,
    listen: impl FnOnce() -> io::Result<Stop>,
) -> Result<()> {
    let config = &request.config;
    let world = trainer.session.world.clone();
    let evaluator = Evaluator::new(config, &trainer.session)?;
    if !request.force && trainer.session.model.device().is_cpu() {
        let (held_out, longest_held_out) = evaluator.prompts();
        let (longest_train, processes) = (method.longest_prompt(), world.size());
        let prompts = Prompts { longest_train, longest_held_out, held_out, processes };
        let memory = Memory::new(config, &trainer.session.model, prompts)?;
        // where the system does not say how much there is, nothing is held against it
        if let Some(bytes) = runtime::memory_bytes() {
            memory.beside(runtime::resident_bytes().unwrap_or(0)).check(bytes / world.local_size())?;
        }
    }
    let belongs = Belongs::of(config, &trainer.session)?;
    agree(&world, config, &belongs)?;
    let mut start = Start::find(request, &mut trainer, &belongs)?;
    let total = config.train().max_steps.get();
    let retention = start.retention(config, &world)?;
    let verdict = retention.verdict().filter(|_| start.step < total);
    if verdict.is_some() || (start.step >= total && start.is_evaluated()) {
        let shown = config.run().output_dir.display();
        match verdict {
            Some(why) => tracing::info!(
                "{shown} was stopped early, at step {} of {total}: {why}; nothing to do unless that is raised",
                start.step
            ),
            None => tracing::info!("{shown} has all of its {total} steps: nothing to do"),
        }
        return start.complete(config, &retention);
    }
    let stop = listen()?.within(&world);
    let (dir, _lock, recorder) = start.open(request, trainer.session.model_commit.as_deref())?;
    let mut decline = Decline::default();
    start.rows.iter().for_each(|row| drop(decline.observe(row)));
    let evaluation = |step: usize| start.rows.iter().find(|row| row.step() == step && row.is_evaluation());
    let read = |step: usize| evaluation(step).and_then(|row| evaluator.read(row));
    let mut run = Run {
        config,
        world: world.clone(),
        before: read(0),
        best: retention.best().and_then(|best| read(best.step)),
        after: None,
        began: start.step,
        step: start.step,
        saved: start.resumed.filter(|_| start.in_place),
        evaluated: start.is_evaluated().then_some(start.step),
        dir,
        trainer,
        evaluator,
        belongs,
        stop,
        recorder,
        decline,
        retention,
    };
    let ended = match run.go(method) {
        Ok(()) => run.finish(),
        Err(error) => Err(run.leave(error)),
    };
    if world.is_first() {
        renew_page(&config.run().output_dir);
    }
    ended
}

/// Whether all processes are about to make the same run: each has read its own files.
fn agree(world: &World, config: &RunConfig, belongs: &Belongs) -> Result<()> {
    let all = world.gather((runtime::REVISION.to_owned(), belongs.clone()))?;
    let Some((revision, first)) = all.first().filter(|_| !world.is_first()) else { return Ok(()) };
    if revision != runtime::REVISION {
        return Err(Usage(format!(
            "this process is of another build ({}) than the first ({revision}): start the same on all machines",
            runtime::REVISION
        ))
        .into());
    }
    let changes = belongs.changes_since(first, config)?;
    let Some(change) = changes.refused.iter().chain(&changes.allowed).next() else { return Ok(()) };
    let shown = |value: &Option<serde_json::Value>| value.as_ref().map_or("nothing".into(), ToString::to_string);
    Err(Usage(format!(
        "{} is {} here and {} in the first process: start the same run everywhere",
        change.key,
        shown(&change.new),
        shown(&change.old)
    ))
    .into())
}

/// Processes that start from the same weights and add the same to them, to the bit, have not the same any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the weights of process {rank} are not those of process 0 after step {step}: one of their machines computes something \
     else, or its memory is broken; nothing is saved of this step, go on from the last checkpoint with --resume on others"
)]
struct Diverged {
    rank: usize,
    step: usize,
}

impl Diverged {
    /// Compares the digests of all processes' weights.
    fn check(digests: &[String], step: usize) -> Result<(), Self> {
        match digests.iter().position(|digest| *digest != digests[0]) {
            None => Ok(()),
            Some(rank) => Err(Self { rank, step }),
        }
    }
}

/// Adds what working together took, in parts of a phase's time, to a row of it.
fn shares(world: &World, phase: Duration, row: &mut Row) {
    if !world.is_solo() {
        let (times, phase) = (world.times(), phase.as_secs_f64());
        row.set("world/size", world.size())
            .set("world/waiting", times.waiting / phase)
            .set("world/reducing", times.reducing / phase);
    }
}

/// A run under way.
struct Run<'a> {
    config: &'a RunConfig,
    world: World,
    dir: RunDir,
    trainer: Trainer,
    evaluator: Evaluator,
    belongs: Belongs,
    stop: Stop,
    recorder: Recorder,
    decline: Decline,
    retention: Retention,
    /// The step at which this process began.
    began: usize,
    /// Updates of all whole phases, whose lines are written.
    step: usize,
    /// The last step that has a checkpoint in the folder.
    saved: Option<usize>,
    /// The last step that was evaluated.
    evaluated: Option<usize>,
    /// The figures of step 0.
    before: Option<Vec<Evaluation>>,
    /// Those of the best evaluation, where one is looked for.
    best: Option<Vec<Evaluation>>,
    /// Those of the last evaluation.
    after: Option<Vec<Evaluation>>,
}

impl Run<'_> {
    fn go(&mut self, method: &mut dyn Method) -> Result<()> {
        let (train, eval) = (self.config.train(), self.config.eval());
        let total = train.max_steps.get();
        let mut progress = None;
        self.keep_best()?;
        loop {
            let step = self.step;
            let at_end = step >= total;
            let every = |n: usize| n > 0 && step.is_multiple_of(n);
            if step > 0 && (at_end || every(train.save_steps.get())) {
                self.save()?;
            }
            if (step == 0 || at_end || every(eval.eval_steps)) && self.evaluated != Some(step) {
                self.evaluate()?;
            }
            if at_end || self.retention.verdict().is_some() {
                return self.prune();
            }
            self.stop.check()?;
            // the time left is told from the steps alone: the first evaluation is none
            let progress = progress.get_or_insert_with(|| Progress::new(self.config.command().name(), total, step));
            self.world.restart_times();
            let began = Instant::now();
            let mut phase = method.phase(&mut self.trainer, step, &self.stop)?;
            if let Some(table) = &phase.completions {
                self.recorder.completions(table)?;
            }
            for row in &mut phase.rows {
                shares(&self.world, began.elapsed(), row);
                self.recorder.row(row)?;
                progress.update(row.step(), &method.headline(row));
                if let Some(warning) = self.decline.observe(row).filter(|_| self.world.is_first()) {
                    tracing::warn!("{warning}; lower train.learning_rate, or look at the rewards");
                }
            }
            self.step += self.config.updates_per_phase();
            // the model has run forward and back from what was saved last: older ones may go
            self.prune()?;
        }
    }

    /// Deletes the checkpoints that need not stay.
    fn prune(&self) -> Result<()> {
        if !self.world.is_first() {
            return Ok(());
        }
        checkpoint::prune(&self.dir, &self.retention.obsolete(&self.dir.saved()))
    }

    /// Makes `best/` what it should be.
    fn keep_best(&self) -> Result<()> {
        if self.world.is_first() { best::keep(&self.dir, &self.retention) } else { Ok(()) }
    }

    fn state(&self, step: usize) -> TrainerState {
        TrainerState::new(self.config, &self.belongs, step, self.retention.standing())
    }

    /// Saves a checkpoint of the last whole phase, unless there is one.
    ///
    /// Weights that the model cannot run with are none: a checkpoint of them could replace a good one.
    fn save(&mut self) -> Result<()> {
        if self.saved == Some(self.step) {
            return Ok(());
        }
        self.compare_weights()?;
        if self.world.is_first() {
            self.evaluator.probe(&self.trainer.session.model)?;
            self.recorder.sync()?;
            let state = self.state(self.step);
            checkpoint::write_folder(&self.dir, &self.dir.checkpoint(self.step), &self.trainer, &state)?;
        }
        self.saved = Some(self.step);
        self.recorder.covered(self.step)
    }

    /// Whether all processes have the same weights: they start from the same and add the same, to the bit.
    fn compare_weights(&self) -> Result<()> {
        if self.world.is_solo() || self.world.is_parted() {
            return Ok(());
        }
        Diverged::check(&self.world.gather(self.trainer.digest()?)?, self.step)?;
        Ok(())
    }

    fn evaluate(&mut self) -> Result<()> {
        let step = self.step;
        let outcomes = self.evaluator.outcomes(&self.trainer.session, Pass::INFERENCE, &self.stop)?;
        if self.config.train().log_completions && self.world.is_first() {
            self.recorder.completions(&completion_table(step, &outcomes))?;
            let replays: Vec<Replay> = outcomes.iter().flat_map(|outcome| outcome.replays.clone()).collect();
            self.recorder.replays(step, &replays)?;
        }
        let evaluations: Vec<Evaluation> = outcomes.into_iter().map(|outcome| outcome.evaluation).collect();
        let mut row = Row::new(step);
        for e in &evaluations {
            e.report(&mut row);
            tracing::info!(
                "step {step}, {}: accuracy {:.1} %, solved {:.1} %, reward {:.3}",
                e.label(),
                100.0 * e.accuracy,
                100.0 * e.solved,
                e.reward
            );
        }
        self.recorder.row(&row)?;
        if self.saved == Some(step) {
            self.recorder.covered(step)?;
        }
        self.decline.observe(&row);
        let is_best = self.retention.observe(&row);
        self.evaluated = Some(step);
        if self.saved == Some(step) && self.world.is_first() {
            // its checkpoint was written before there were these figures
            if let Err(error) =
                checkpoint::renew(&self.dir, &self.dir.checkpoint(step), &self.trainer, &self.state(step))
            {
                tracing::warn!("{error:#}");
            }
        }
        if is_best {
            // the line that says so outlives whatever goes because of it
            self.recorder.sync()?;
            self.keep_best()?;
            self.best = Some(evaluations.clone());
        }
        if step == 0 {
            self.before = Some(evaluations);
        } else {
            self.after = Some(evaluations);
        }
        Ok(())
    }

    /// What becomes of a run that does not come to its end: everything up to the last whole phase is saved.
    ///
    /// All processes leave together: what one of them fails of is told to the others, and a failure outweighs a stop.
    fn leave(&mut self, error: anyhow::Error) -> anyhow::Error {
        let (numeric, asked) = (last_good::is_numeric(&error), self.stop.requested());
        let fails = numeric || !asked;
        let leave = if fails { Leave::Failed { text: describe(&error), numeric } } else { Leave::Stopped };
        let parted = self.world.part(leave);
        let (asked, error) = match parted.failure() {
            None => (true, error),
            Some((rank, ..)) if !fails => (false, PeerFailed { rank }.into()),
            Some(_) => (false, error),
        };
        if parted.is_numeric() {
            return self.leave_broken(error);
        }
        // nobody knows which of them is right
        if has::<Diverged>(&error) {
            return error;
        }
        // before the first update there is nothing to save but the place to start from
        if self.step == 0 && self.trainer.step() == 0 && !asked {
            return error;
        }
        if let Err(failure) = self.save_whole_phases() {
            return if last_good::is_numeric(&failure) { self.leave_broken(failure) } else { failure };
        }
        let checkpoint = self.dir.checkpoint(self.step);
        if !asked {
            return error.context(format!(
                "the run failed after step {}; {} holds everything up to it: go on with --resume",
                self.step,
                checkpoint.display()
            ));
        }
        if !has::<Interrupted>(&error) {
            // such as a reward command that got the same signal
            tracing::warn!("while stopping: {error:#}");
        }
        Stopped { step: self.step, checkpoint }.into()
    }

    fn save_whole_phases(&mut self) -> Result<()> {
        if self.trainer.step() != self.step {
            self.trainer.rewind()?;
            anyhow::ensure!(self.trainer.step() == self.step, "the state of step {} is lost", self.step);
        }
        self.save()
    }

    /// Keeps the last state that is known to be good apart from the checkpoints, and says how to go on.
    fn leave_broken(&mut self, error: anyhow::Error) -> anyhow::Error {
        if !self.world.is_first() {
            return error;
        }
        if self.trainer.step() == self.began && !last_good::was_refused(&error) {
            // what the run began with is broken: no update has done it
            return error.context(format!("the numbers of step {} are broken before any update", self.began));
        }
        let standing = self.retention.standing();
        let state = |step| TrainerState::new(self.config, &self.belongs, step, standing);
        let kept = last_good::keep(&self.dir, &mut self.trainer, state, &error);
        last_good::explain(error, kept, self.step, self.config, &self.dir)
    }

    /// The held-out figures before and after, on standard output; before that, what the user would not like to miss.
    fn finish(self) -> Result<()> {
        if !self.world.is_first() {
            return Ok(());
        }
        let best = self.retention.best();
        let best_name = best.map_or_else(String::new, |best| format!("best (step {})", best.step));
        let columns = [("start", &self.before), (&best_name, &self.best), ("end", &self.after)];
        let columns: Vec<Column<'_>> = columns
            .iter()
            .filter_map(|(name, evaluations)| Some(Column { name, evaluations: evaluations.as_ref()? }))
            .collect();
        if let Some(why) = self.retention.verdict().filter(|_| self.step < self.config.train().max_steps.get()) {
            tracing::info!("stopped early, at step {}: {why}", self.step);
        }
        if let (Some(best), Some(metric)) = (best, self.retention.metric()) {
            let shown = self.dir.best();
            match best.step {
                0 => tracing::warn!(
                    "no update has improved {metric}, {:.4} before the first one: there is no {}",
                    best.value,
                    shown.display()
                ),
                step => tracing::info!("{} is of step {step}, where {metric} was {:.4}", shown.display(), best.value),
            }
        }
        if let Some(loss) = self.decline.loss() {
            let left = match self.dir.checkpoints().iter().find(|(step, _)| *step == loss.best_step) {
                Some((_, checkpoint)) => format!("{} is of that step", checkpoint.display()),
                None if loss.best_step == 0 => "that is where the run began".to_owned(),
                None => "there is no checkpoint of that step: train.metric_for_best_model keeps the best".to_owned(),
            };
            tracing::warn!(
                "the held-out reward ({}) was {:.3} at step {} and is {:.3} now; {left}. Lower train.learning_rate ({})",
                loss.label,
                loss.best,
                loss.best_step,
                loss.last,
                self.config.train().learning_rate.get()
            );
        }
        if let Some(drought) = self.decline.drought() {
            tracing::warn!("{drought}");
        }
        let memory = runtime::peak_memory_mib().map_or(String::new(), |m| format!(" Peak memory {m:.0} MiB."));
        tracing::info!("done: {}.{memory}", self.dir.root().display());
        print_result(&render_table(&columns))
    }
}

#[cfg(test)]
mod best_tests;
#[cfg(test)]
mod tests;
