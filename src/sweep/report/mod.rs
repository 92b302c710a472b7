//! What came of a sweep: `report.md`, `report.csv` and the curves, from the run folders alone.

mod csv;
mod curves;
mod figures;
mod markdown;
mod record;
mod statistics;

use std::path::Path;

use anyhow::{Context as _, Result};

use super::folder::lock;
use super::manifest::{Manifest, SWEEP_FILE};
use super::names;
use crate::config::SweepReportOptions;
use crate::error::Usage;
use crate::files::write_whole;

use figures::Figures;

/// The page and the table, in the folder of the sweep.
const PAGE: &str = "report.md";
const TABLE: &str = "report.csv";

/// Writes the report of a sweep and returns what it says in short.
///
/// # Errors
/// [`Usage`] for a folder that is none of a sweep; files that cannot be read or written.
pub fn write(dir: &Path, options: SweepReportOptions) -> Result<String> {
    // Whoever has the lock last reads last: what it writes is the newest.
    let _lock = lock(dir);
    let manifest = Manifest::load(dir)?;
    let none = || Usage(format!("{} is no folder of a sweep: it holds no {SWEEP_FILE}", dir.display()));
    let manifest = manifest.ok_or_else(none)?;
    let (keys, records) = record::read(dir, &manifest)?;
    let figures = Figures::of(&names::leaves(&keys), records, options);
    for (name, text) in curves::files(&figures) {
        save(dir, &name, &text)?;
    }
    save(dir, TABLE, &csv::table(&figures)?)?;
    save(dir, PAGE, &markdown::page(&manifest, &figures))?;
    Ok(format!("{}\n\n{}", markdown::summary(&figures), dir.join(PAGE).display()))
}

fn save(dir: &Path, name: &str, text: &str) -> Result<()> {
    let path = dir.join(name);
    write_whole(&path, text.as_bytes()).with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests;
