//! `spg eval`: a run folder, a checkpoint or a plain model, beside the base model if wanted.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use serde_json::json;

use super::{Column, Evaluation, Evaluator, render_table};
use crate::config::{EvalRequest, RunConfig};
use crate::model::{ADAPTER_CONFIG, Pass, Weights};
use crate::report::print_result;
use crate::session::{Origin, Session};

/// What a folder holds.
#[derive(Debug, PartialEq, Eq)]
enum Checkpoint {
    /// Adapters for the base model of the configuration.
    Adapter(PathBuf),
    /// A model of its own.
    Model(PathBuf),
}

/// Evaluates what `request` names and prints a table, or JSON.
///
/// # Errors
/// A folder without a checkpoint or model in it, or whatever fails on the way.
pub fn run(request: &EvalRequest) -> Result<()> {
    let config = &request.config;
    let checkpoint = find(&request.checkpoint)?;
    let mut results: Vec<(String, Vec<Evaluation>)> = Vec::new();
    match &checkpoint {
        Checkpoint::Adapter(dir) => {
            let mut session = Session::open(config, Origin::Checkpoint(Weights::Frozen))?;
            session.model.load_adapter(dir)?;
            let evaluator = Evaluator::new(config, &session)?;
            if request.base {
                results.push(("base".into(), evaluator.run(&session, Pass::BASE)?));
            }
            results.push((name(dir), evaluator.run(&session, Pass::INFERENCE)?));
        }
        Checkpoint::Model(dir) => {
            if request.base {
                results.push(("base".into(), evaluate_model(config, None)?));
            }
            results.push((name(dir), evaluate_model(config, Some(dir))?));
        }
    }
    print_result(&if request.json { as_json(config, &results) } else { as_table(&results) })
}

/// A model without adapters: the one in `dir`, or the configuration's.
fn evaluate_model(config: &RunConfig, dir: Option<&Path>) -> Result<Vec<Evaluation>> {
    let origin = Origin::Checkpoint(Weights::Frozen);
    let session = match dir {
        Some(dir) => Session::open_dir(config, dir.to_owned(), origin)?,
        None => Session::open(config, origin)?,
    };
    Evaluator::new(config, &session)?.run(&session, Pass::BASE)
}

/// Looks for adapters, then for a model, then for the last checkpoint of a run.
fn find(dir: &Path) -> Result<Checkpoint> {
    if !dir.is_dir() {
        bail!("{} is not a folder", dir.display());
    }
    if dir.join(ADAPTER_CONFIG).is_file() {
        return Ok(Checkpoint::Adapter(dir.to_owned()));
    }
    if dir.join("config.json").is_file() {
        return Ok(Checkpoint::Model(dir.to_owned()));
    }
    match crate::report::checkpoints(dir).pop() {
        Some((_, last)) => find(&last),
        None => bail!("{} holds no adapter, no model and no checkpoint", dir.display()),
    }
}

fn name(dir: &Path) -> String {
    let named = dir.canonicalize().ok().and_then(|d| Some(d.file_name()?.to_string_lossy().into_owned()));
    named.unwrap_or_else(|| dir.display().to_string())
}

fn as_table(results: &[(String, Vec<Evaluation>)]) -> String {
    let columns: Vec<Column<'_>> = results.iter().map(|(name, e)| Column { name, evaluations: e }).collect();
    render_table(&columns)
}

fn as_json(config: &RunConfig, results: &[(String, Vec<Evaluation>)]) -> String {
    let models: Vec<_> = results.iter().map(|(name, e)| json!({ "model": name, "results": e })).collect();
    json!({ "base_model": config.model().name_or_path, "models": models }).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_folder_stands_for_its_last_checkpoint() {
        let run = tempfile::tempdir().expect("temporary folder");
        assert!(find(run.path()).expect_err("empty").to_string().contains("no checkpoint"));
        for step in [80, 160] {
            let dir = run.path().join(format!("checkpoint-{step}"));
            std::fs::create_dir(&dir).expect("create");
            std::fs::write(dir.join(ADAPTER_CONFIG), "{}").expect("write");
        }
        let last = run.path().join("checkpoint-160");
        assert_eq!(find(run.path()).expect("a run"), Checkpoint::Adapter(last.clone()));
        assert_eq!(find(&last).expect("a checkpoint"), Checkpoint::Adapter(last.clone()));
        std::fs::write(run.path().join("config.json"), "{}").expect("write");
        assert_eq!(find(run.path()).expect("a model"), Checkpoint::Model(run.path().to_owned()));
    }
}
