//! `spg eval`: a run folder, a checkpoint or a plain model, beside the base model if wanted.

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::Result;
use serde_json::json;

use super::harness::Provenance;
use super::results_dir::ResultsDir;
use super::timestamp::Timestamp;
use super::{Column, Evaluation, Evaluator, render_table};
use crate::config::EvalRequest;
use crate::model::{Pass, Weights};
use crate::report::{Checkpoint, print_json, print_result};
use crate::session::{Origin, Session, require_base};
use crate::signal::Stop;
use crate::world::World;

/// A model's name, its figures, and the file they were written to.
struct Evaluated {
    name: String,
    evaluations: Vec<Evaluation>,
    kept: Result<Option<PathBuf>>,
}

/// Evaluates what `request` names, together with the other processes; the first writes the result files of every model as
/// it is done, and prints a table, or JSON.
///
/// # Errors
/// A folder without a checkpoint or model in it, or whatever fails on the way.
pub fn run(request: &EvalRequest, world: &World) -> Result<()> {
    let config = &request.config;
    if request.base {
        require_base(config)?;
    }
    let checkpoint = Checkpoint::find(&request.checkpoint, request.which)?;
    let folder = if world.is_first() { ResultsDir::choose(request)? } else { ResultsDir::nowhere() };
    world.gather(())?; // all hear of a refusal before they load
    let job = Job { request, folder };
    let origin = Origin::Checkpoint(Weights::Frozen);
    let mut results = Vec::new();
    match &checkpoint {
        Checkpoint::Adapter(dir) => {
            let mut session = Session::open(config, origin, world)?;
            session.model.load_adapter(dir)?.warn_unless_made_for(&config.model().name_or_path);
            if request.base {
                results.push(job.evaluate(&session, Pass::BASE, None)?);
            }
            results.push(job.evaluate(&session, Pass::INFERENCE, Some(dir))?);
        }
        Checkpoint::Model(dir) => {
            if request.base {
                results.push(job.evaluate(&Session::open(config, origin, world)?, Pass::BASE, None)?);
            }
            let session = Session::open_dir(config, dir.to_owned(), origin, world)?;
            results.push(job.evaluate(&session, Pass::BASE, Some(dir))?);
        }
    }
    if !world.is_first() {
        return Ok(());
    }
    match request.json {
        true => print_json(&as_json(request, &results))?,
        false => print_result(&as_table(&results))?,
    }
    // what could not be kept is printed at least
    results.into_iter().try_for_each(|result| result.kept.map(drop))
}

/// What all models of a command share.
struct Job<'a> {
    request: &'a EvalRequest,
    folder: ResultsDir,
}

impl Job<'_> {
    /// Evaluates the adapters or the model of `checkpoint`, or the base model without one, and keeps the results.
    fn evaluate(&self, session: &Session, pass: Pass<'_>, checkpoint: Option<&Path>) -> Result<Evaluated> {
        let started = Instant::now();
        let name = checkpoint.map_or_else(|| "base".to_owned(), name);
        tracing::info!("{name}: {}", session.model_line(self.request.config.model()));
        tracing::info!("{}", session.task_line());
        tracing::info!("results {}", self.folder);
        let evaluator = Evaluator::new(&self.request.config, session)?;
        let outcomes = evaluator.outcomes(session, pass, &Stop::default().within(&session.world))?;
        let provenance = Provenance {
            config: &self.request.config,
            task: session.task.name(),
            checkpoint: checkpoint.map(|dir| dir.display().to_string()),
            model_commit: session.model_commit.clone(),
            device: session.device_name(),
            split_size: evaluator.split_size(),
            date: Timestamp::now(),
            seconds: started.elapsed().as_secs_f64(),
        };
        let kept = self.folder.write(&name, &provenance, &outcomes);
        if let Ok(Some(file)) = &kept {
            tracing::info!("{name}: {}", file.display());
        }
        Ok(Evaluated { name, evaluations: outcomes.into_iter().map(|o| o.evaluation).collect(), kept })
    }
}

fn name(dir: &Path) -> String {
    let named = dir.canonicalize().ok().and_then(|d| Some(d.file_name()?.to_string_lossy().into_owned()));
    named.unwrap_or_else(|| dir.display().to_string())
}

fn as_table(results: &[Evaluated]) -> String {
    let columns: Vec<Column<'_>> =
        results.iter().map(|r| Column { name: &r.name, evaluations: &r.evaluations }).collect();
    render_table(&columns)
}

fn as_json(request: &EvalRequest, results: &[Evaluated]) -> String {
    let model = |r: &Evaluated| json!({ "model": r.name, "results": r.evaluations, "file": r.kept.as_ref().ok() });
    let (config, models) = (&request.config, results.iter().map(model).collect::<Vec<_>>());
    json!({ "base_model": config.model().name_or_path, "split": config.eval().split, "models": models }).to_string()
}
