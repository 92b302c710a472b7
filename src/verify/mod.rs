//! `spg verify`: this build and device against golden tensors of a PyTorch run.
//!
//! A golden folder holds a small model, an adapter, and what the reference made of them: logits, greedy decodes,
//! SPG losses with bounds and adapter gradients, four AdamW updates, and losses and gradients of other objectives. Every
//! item prints its worst error beside the tolerance it has to hold; items whose files are not in the folder are skipped by
//! name. For any other model, [`precision`] says what fewer bits than f32 change, and [`adapter`] compares an adapter with
//! logits beside it.

mod adamw;
mod adapter;
mod algorithms;
mod decodes;
mod golden;
mod logits;
mod loss;
mod precision;
mod step;

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
    let device = device::open(request.device, 0)?;
    if let Some(precision) = &request.precision {
        let found = precision::compare(&request.dir, precision, &device)?;
        return print(request, &found, found.line());
    }
    let items = match &request.adapter {
        Some(dir) => vec![adapter::check(&golden::Golden::open(&request.dir, &device)?, dir)?],
        None => check(&request.dir, &device)?,
    };
    for item in &items {
        print(request, item, item.line())?;
    }
    let failed = items.iter().filter(|i| !i.holds()).count();
    if failed > 0 {
        let place = request.adapter.as_ref().unwrap_or(&request.dir);
        bail!("{failed} of {} items of {} do not hold", items.len(), place.display());
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

/// Compares one kind of items.
type Check = fn(&golden::Golden) -> Result<Vec<Item>>;

/// Runs the items of a golden folder whose files are there; the others are named as skipped.
///
/// # Errors
/// If a file cannot be read, or none is there.
pub fn check(dir: &Path, device: &Device) -> Result<Vec<Item>> {
    let golden = golden::Golden::open(dir, device)?;
    let parts: [(&str, &[&str], Check); 5] = [
        ("logits", &[logits::FILE], |golden| Ok(vec![logits::check(golden)?])),
        ("decode", &["generate.json", "generate.safetensors"], decodes::check),
        ("loss", &["loss.json", "loss.safetensors"], loss::check),
        ("adamw", &["train.json", "train.safetensors", "loss.json", "loss.safetensors"], adamw::check),
        ("algorithms", &["algorithms.json", "algorithms.safetensors"], algorithms::check),
    ];
    let mut items = Vec::new();
    for (name, files, check) in parts {
        match files.iter().find(|file| !dir.join(file).is_file()) {
            None => items.extend(check(&golden)?),
            Some(file) => items.push(Item::not_covered(name, &format!("not checked: there is no {file}"))),
        }
    }
    if items.iter().all(|item| item.error.is_none()) {
        let files: Vec<&str> = items.iter().map(|item| item.note.trim_start_matches("not checked: ")).collect();
        bail!("{} holds nothing to compare with: {}", dir.display(), files.join(", "));
    }
    Ok(items)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_with_logits_alone_stopped_at_the_decodes_it_does_not_have() -> Result<()> {
        let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/golden/gqa_small");
        let dir = tempfile::tempdir()?;
        let text = check(dir.path(), &Device::Cpu).expect_err("nothing there").to_string();
        assert!(text.contains("there is no logits.safetensors, there is no generate.json"), "{text}");
        for file in ["config.json", "model.safetensors", "logits.safetensors", "generate.json"] {
            std::fs::copy(golden.join(file), dir.path().join(file))?;
        }
        let items = check(dir.path(), &Device::Cpu)?;
        let found: Vec<(&str, bool)> = items.iter().map(|i| (i.name.as_str(), i.error.is_some())).collect();
        assert_eq!(
            found,
            [("logits", true), ("decode", false), ("loss", false), ("adamw", false), ("algorithms", false)]
        );
        assert_eq!(items[1].note, "not checked: there is no generate.safetensors");
        Ok(())
    }
}
