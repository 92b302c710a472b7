//! What tests of the sweep begin with.

use std::path::Path;

use crate::config::{SweepAction, SweepReportOptions, SweepRequest};

/// A request about the tiny Sudoku model.
pub fn request(dir: &Path, grid: &[&str], set: &[&str], seeds: &[u64]) -> SweepRequest {
    SweepRequest {
        config: "sudoku-tiny".into(),
        set: set.iter().map(|text| text.parse().expect("an assignment")).collect(),
        axes: grid.iter().map(|text| text.parse().expect("an axis")).collect(),
        seeds: seeds.to_vec(),
        dir: dir.to_owned(),
        action: SweepAction::List,
        report: SweepReportOptions::default(),
    }
}
