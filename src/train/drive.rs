//! The outer loop that both kinds of training share: phases, metrics, evaluations, checkpoints, stopping.
//!
//! A phase is what a checkpoint must not cut: the `mu` updates on one set of completions, or one update of
//! supervised fine-tuning. Within a step the order is metrics, evaluation, checkpoint; so a checkpoint of step
//! `n` stands for exactly the lines of the metrics file up to step `n`.

use std::path::Path;

use anyhow::Result;

use super::checkpoint::{self, TrainerState};
use super::run_dir::RunDir;
use super::trainer::Trainer;
use crate::config::{Resume, RunConfig, RunRequest};
use crate::error::{Stopped, Usage};
use crate::eval::{Column, Evaluation, Evaluator, render_table};
use crate::model::Pass;
use crate::report::{MetricsFile, Progress, Row, print_result};
use crate::runtime;
use crate::signal::Stop;

/// A way of training: what happens between two points where a run can be stopped.
pub trait Method {
    /// Optimiser updates of a phase.
    fn updates_per_phase(&self) -> usize;

    /// Runs the phase that starts after `step` updates; one row for each of its updates.
    ///
    /// # Errors
    /// If sampling, the maths or the optimiser fails.
    fn phase(&mut self, trainer: &mut Trainer, step: usize) -> Result<Vec<Row>>;

    /// What the progress bar shows of a row.
    fn headline(&self, row: &Row) -> String;
}

/// Runs `method` to the end of `request`, or until a signal asks to stop.
///
/// # Errors
/// [`Stopped`] after a signal; [`Usage`] for an output folder that cannot be used so; else what failed.
pub fn drive(request: &RunRequest, mut trainer: Trainer, method: &mut dyn Method) -> Result<()> {
    let config = &request.config;
    let stop = Stop::install()?;
    let evaluator = Evaluator::new(config, &trainer.session)?;
    let (run, start) = open(request, &mut trainer)?;
    let total = config.train().max_steps.get();
    if start.step >= total {
        tracing::info!("{} has all of its {total} steps: nothing to do", run.root().display());
        return Ok(());
    }
    run.describe(config, start.resumed, trainer.session.model_commit.as_deref())?;
    let mut metrics = match start.resumed {
        Some(step) => MetricsFile::resume(&run.metrics(), step)?,
        None => MetricsFile::create(&run.metrics())?,
    };
    let mut before = None;
    if start.resumed.is_none() {
        before = Some(evaluate(&evaluator, &trainer, 0, &mut metrics)?);
    }
    let mut progress = Progress::new(config.command().name(), total, start.step);
    let mut step = start.step;
    let mut after = None;
    while step < total {
        let rows = method.phase(&mut trainer, step)?;
        step += method.updates_per_phase();
        for row in &rows {
            metrics.append(row)?;
            progress.update(row.step(), &method.headline(row));
        }
        let every = |n: usize| n > 0 && step.is_multiple_of(n);
        let last = step >= total;
        if last || every(config.eval().eval_steps) {
            after = Some(evaluate(&evaluator, &trainer, step, &mut metrics)?);
        }
        let stopping = stop.requested() && !last;
        if last || stopping || every(config.train().save_steps.get()) {
            metrics.sync()?;
            let saved = checkpoint::save(&run, &trainer, &state(config, step), config.train().save_total_limit.get())?;
            if stopping {
                return Err(Stopped { step, checkpoint: saved }.into());
            }
        }
    }
    drop(progress);
    summarise(&run, before, after)
}

/// Where a run begins.
struct Start {
    step: usize,
    resumed: Option<usize>,
}

fn open(request: &RunRequest, trainer: &mut Trainer) -> Result<(RunDir, Start)> {
    let root = &request.config.run().output_dir;
    match &request.resume {
        None => Ok((RunDir::create(root)?, Start { step: 0, resumed: None })),
        Some(Resume::From(path)) if !inside(path, root) => {
            let run = RunDir::create(root)?;
            let step = restore(path, request, trainer)?;
            Ok((run, Start { step, resumed: Some(step) }))
        }
        Some(resume) => {
            let run = RunDir::open(root)?;
            let last = run.checkpoints().pop();
            let Some((_, last)) = last else {
                tracing::warn!("{} has no checkpoint yet: starting again from step 0", root.display());
                let _ = std::fs::remove_file(run.metrics());
                return Ok((run, Start { step: 0, resumed: None }));
            };
            if let Resume::From(path) = resume
                && !same_folder(path, &last)
            {
                return Err(Usage(format!(
                    "{} is not the last checkpoint of its run ({} is): resume from the last one, or add --output-dir \
                     DIR to branch off into a new folder",
                    path.display(),
                    last.display()
                ))
                .into());
            }
            let step = restore(&last, request, trainer)?;
            Ok((run, Start { step, resumed: Some(step) }))
        }
    }
}

fn restore(dir: &Path, request: &RunRequest, trainer: &mut Trainer) -> Result<usize> {
    let config = &request.config;
    let state = checkpoint::restore(dir, trainer, config.command(), config.run().seed)?;
    tracing::info!("going on from {} (step {})", dir.display(), state.global_step);
    Ok(state.global_step)
}

fn inside(path: &Path, root: &Path) -> bool {
    path.parent().is_some_and(|parent| same_folder(parent, root))
}

fn same_folder(a: &Path, b: &Path) -> bool {
    match (a.canonicalize(), b.canonicalize()) {
        (Ok(a), Ok(b)) => a == b,
        _ => a == b,
    }
}

fn state(config: &RunConfig, step: usize) -> TrainerState {
    TrainerState {
        command: config.command().name().into(),
        global_step: step,
        seed: config.run().seed,
        revision: runtime::REVISION.into(),
    }
}

fn evaluate(
    evaluator: &Evaluator,
    trainer: &Trainer,
    step: usize,
    metrics: &mut MetricsFile,
) -> Result<Vec<Evaluation>> {
    let evaluations = evaluator.run(&trainer.session, Pass::INFERENCE)?;
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
    metrics.append(&row)?;
    Ok(evaluations)
}

/// The held-out figures before and after, on standard output.
fn summarise(run: &RunDir, before: Option<Vec<Evaluation>>, after: Option<Vec<Evaluation>>) -> Result<()> {
    let columns = [("start", &before), ("end", &after)];
    let columns: Vec<Column<'_>> = columns
        .iter()
        .filter_map(|(name, evaluations)| Some(Column { name, evaluations: evaluations.as_ref()? }))
        .collect();
    let memory = runtime::peak_memory_mib().map_or(String::new(), |m| format!(" Peak memory {m:.0} MiB."));
    tracing::info!("done: {}.{memory}", run.root().display());
    print_result(&render_table(&columns))
}
