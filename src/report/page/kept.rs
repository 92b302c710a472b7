//! Completions that a run kept, read back.

use std::path::Path;

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::report::Replay;
use crate::task::data;

/// A completion.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Kept {
    /// The setting, of an evaluation.
    pub setting: String,
    /// What the model was given.
    pub prompt: String,
    /// What it wrote.
    pub text: String,
    /// What it earned, all in all.
    pub reward: Option<f64>,
    /// What it earned beside its group, in training.
    pub advantage: Option<f64>,
    /// Whether it is right, in an evaluation.
    pub solved: Option<bool>,
}

/// The completions of a file.
///
/// # Errors
/// Names the file.
pub fn read(path: &Path) -> Result<Vec<Kept>> {
    let rows = data::read(path).with_context(|| refused(path))?;
    let kept = |row: data::Row| {
        let value = |name: &str| row.record.fields().get(name);
        let text = |name: &str| value(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        let number = |name: &str| value(name).and_then(Value::as_f64);
        Kept {
            setting: text("setting"),
            prompt: text("prompt"),
            text: text("completion"),
            reward: number("reward"),
            advantage: number("advantage"),
            solved: value("solved").and_then(Value::as_bool),
        }
    };
    Ok(rows.into_iter().map(kept).collect())
}

/// The replays of a file.
///
/// # Errors
/// Names the file.
pub fn read_replays(path: &Path) -> Result<Vec<Replay>> {
    let bytes = std::fs::read(path).with_context(|| refused(path))?;
    serde_json::from_slice(&bytes).with_context(|| format!("{} is damaged: {}", path.display(), ADVICE))
}

const ADVICE: &str = "remove it, the report can do without";

fn refused(path: &Path) -> String {
    format!("cannot read the completions in {}: {ADVICE}", path.display())
}
