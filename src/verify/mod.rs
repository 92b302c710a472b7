//! `spg verify`: this build and device against golden tensors of a PyTorch run.
//!
//! A golden folder holds a small model, an adapter, and what the reference made of them: logits, greedy decodes,
//! SPG losses with bounds and adapter gradients, and four AdamW updates. Every item prints its worst error beside
//! the tolerance it has to hold. For any other model, [`precision`] says what fewer bits than f32 change.

mod adamw;
mod decodes;
mod golden;
mod logits;
mod loss;
mod precision;

use std::path::Path;

use anyhow::{Result, bail};
use candle_core::Device;
use serde::Serialize;

use crate::config::VerifyRequest;
use crate::model::device;
use crate::report::{print_json, print_result};
use crate::terminal::{width, wrapped};

/// What was found for one item.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Item {
    /// What was compared.
    pub name: String,
    /// The largest error seen; none if the item was not checked.
    pub error: Option<f64>,
    /// What the error may be at most.
    pub tolerance: f64,
    /// A remark.
    pub note: String,
}

impl Item {
    fn new(name: impl Into<String>, error: f64, tolerance: f64, note: impl Into<String>) -> Self {
        Self { name: name.into(), error: Some(error), tolerance, note: note.into() }
    }

    fn not_covered(name: &str, note: &str) -> Self {
        Self { name: name.into(), error: None, tolerance: 0.0, note: note.into() }
    }

    /// Whether the item holds. An error that is not a number does not.
    pub fn holds(&self) -> bool {
        self.error.is_none_or(|e| e <= self.tolerance)
    }

    fn line(&self) -> String {
        let (verdict, error) = match self.error {
            None => ("skip", "-".to_owned()),
            Some(e) => (if self.holds() { "ok" } else { "FAIL" }, format!("{e:.2e}")),
        };
        format!("{verdict:4}  {:28}  error {error:>9}  tolerance {:.0e}  {}", self.name, self.tolerance, self.note)
    }
}

/// Runs all items of a folder on a device and prints a line, or a JSON object, for each; or what a precision costs.
///
/// # Errors
/// A folder that is not golden, or any item that does not hold.
pub fn run(request: &VerifyRequest) -> Result<()> {
    let device = device::open(request.device)?;
    if let Some(precision) = &request.precision {
        let found = precision::compare(&request.dir, precision, &device)?;
        return print(request, &found, found.line());
    }
    let items = check(&request.dir, &device)?;
    for item in &items {
        print(request, item, item.line())?;
    }
    let failed = items.iter().filter(|i| !i.holds()).count();
    if failed > 0 {
        bail!("{failed} of {} items of {} do not hold", items.len(), request.dir.display());
    }
    Ok(())
}

/// Prints a finding as JSON, or its line.
fn print(request: &VerifyRequest, found: &impl Serialize, line: String) -> Result<()> {
    match request.json {
        true => print_json(&serde_json::to_string(found)?),
        false => print_result(&wrapped(&line, width())),
    }
}

/// Runs all items of a golden folder.
///
/// # Errors
/// If a file is missing or cannot be read.
pub fn check(dir: &Path, device: &Device) -> Result<Vec<Item>> {
    let golden = golden::Golden::open(dir, device)?;
    let mut items = vec![logits::check(&golden)?];
    items.extend(decodes::check(&golden)?);
    items.extend(loss::check(&golden)?);
    items.extend(adamw::check(&golden)?);
    for name in ["d1", "wd1", "unigrpo", "coupled_grpo", "espo"] {
        items.push(Item::not_covered(&format!("algorithms.{name}"), "not covered: this build has only SPG"));
    }
    Ok(items)
}
