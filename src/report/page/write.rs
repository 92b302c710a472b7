//! From folders to the file.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use super::document::{self, MARK};
use super::run_record::{Limits, RunRecord};
use crate::config::{RESOLVED_FILE, ReportRequest};
use crate::error::Usage;
use crate::files::write_whole;
use crate::report::print_result;

/// The report's name in the folder that it is of.
const REPORT_FILE: &str = "report.html";
/// Where the mark of a report ends at the latest.
const HEAD: u64 = 1024;

/// `spg report`: writes the report of the runs that `request` names, and says where.
///
/// # Errors
/// [`Usage`] for a folder that holds no run, a run that is named twice, and a file in the way that is no report; files that
/// cannot be read or written.
pub fn write(request: &ReportRequest) -> Result<()> {
    let runs = runs(&request.dirs)?;
    let out = match (&request.out, request.dirs.as_slice()) {
        (Some(out), _) => out.clone(),
        (None, [dir]) => dir.join(REPORT_FILE),
        (None, _) => return Err(Usage("a report of several folders needs a place: add --out FILE".into()).into()),
    };
    write_to(&out, &runs)?;
    print_result(&format!("{} ({})", out.display(), counted(runs.len())))
}

fn counted(runs: usize) -> String {
    if runs == 1 { "1 run".to_owned() } else { format!("{runs} runs") }
}

/// Writes the report of a run into its folder. A run must not fail by it: what goes wrong is a warning.
pub fn renew(run: &Path) {
    let out = run.join(REPORT_FILE);
    if let Err(error) = write_to(&out, &[run.to_owned()]) {
        tracing::warn!("there is no new report of this run: {error:#}");
    }
}

fn write_to(out: &Path, runs: &[PathBuf]) -> Result<()> {
    check_free(out)?;
    let limits = Limits::of(runs.len());
    let read = |(run, name): (&PathBuf, String)| RunRecord::read(run, name, limits);
    let records: Vec<RunRecord> = runs.iter().zip(names(runs)).map(read).collect::<Result<_>>()?;
    let page = document::html(&records);
    write_whole(out, page.as_bytes()).with_context(|| format!("cannot write {}", out.display()))
}

/// Whether a report may be written to `out`: a new file or an empty one, an older report, or what is no regular file.
fn check_free(out: &Path) -> Result<()> {
    if !out.is_file() {
        return Ok(());
    }
    let mut head = Vec::new();
    let file = File::open(out).and_then(|file| file.take(HEAD).read_to_end(&mut head));
    file.with_context(|| format!("cannot read {}", out.display()))?;
    if head.is_empty() || String::from_utf8_lossy(&head).contains(MARK) {
        return Ok(());
    }
    Err(Usage(format!(
        "{} is there already and is no report of spg: remove it, or choose another file with --out FILE",
        out.display()
    ))
    .into())
}

/// The run folders that `dirs` stand for: themselves, or what they hold, as the folder of a sweep does.
fn runs(dirs: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let mut runs = Vec::new();
    for dir in dirs {
        if !dir.is_dir() {
            return Err(Usage(format!("{} is not a folder", dir.display())).into());
        }
        if dir.join(RESOLVED_FILE).is_file() {
            runs.push(dir.clone());
            continue;
        }
        let entries = std::fs::read_dir(dir).with_context(|| format!("cannot read {}", dir.display()))?;
        let mut inside: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
        inside.retain(|path| path.join(RESOLVED_FILE).is_file());
        inside.sort();
        if inside.is_empty() {
            return Err(Usage(format!(
                "{} is no run folder: neither it nor a folder in it holds a {RESOLVED_FILE}, which spg train, spg sft and \
                 spg sweep write",
                dir.display()
            ))
            .into());
        }
        runs.extend(inside);
    }
    let mut seen = BTreeSet::new();
    for run in &runs {
        let real = run.canonicalize().with_context(|| format!("cannot read {}", run.display()))?;
        if !seen.insert(real) {
            return Err(Usage(format!("{} is named twice: name every run once", run.display())).into());
        }
    }
    Ok(runs)
}

/// A name for each run: as much of the end of its path as tells it from the others.
fn names(runs: &[PathBuf]) -> Vec<String> {
    let paths: Vec<PathBuf> = runs.iter().map(|run| run.canonicalize().unwrap_or_else(|_| run.clone())).collect();
    let end = |path: &PathBuf, parts: usize| -> String {
        let all: Vec<_> = path.components().collect();
        all[all.len().saturating_sub(parts)..].iter().collect::<PathBuf>().display().to_string()
    };
    let longest = paths.iter().map(|path| path.components().count()).max().unwrap_or(1);
    let distinct = |parts: &usize| paths.iter().map(|p| end(p, *parts)).collect::<BTreeSet<_>>().len() == paths.len();
    let parts = (1..=longest).find(distinct).unwrap_or(longest);
    paths.iter().map(|path| end(path, parts)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_as_short_as_tells_runs_apart() {
        let of = |paths: &[&str]| names(&paths.iter().map(PathBuf::from).collect::<Vec<_>>());
        assert_eq!(of(&["/nowhere/a/run"]), ["run"]);
        assert_eq!(of(&["/nowhere/a/run", "/nowhere/b/run"]), ["a/run", "b/run"]);
        assert_eq!(of(&["/nowhere/x", "/nowhere/y/x"]), ["nowhere/x", "y/x"]);
    }
}
