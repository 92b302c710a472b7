//! TensorBoard's event files, in the folder `tensorboard/` of a run: one event for every row of the metrics.
//!
//! Every start of a run has a file of its own, as whoever reads one while it grows would stumble over one that
//! shrinks. A resumed run cuts what earlier files hold of later steps, and adds rows that the metrics have and the files
//! lack, such as those before this format was asked for: so the events are the rows of `metrics.jsonl`, in their order.

mod event;

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};

use super::Row;
use crate::runtime;

/// What the names of event files begin with; a time follows, by which they are in order.
const PREFIX: &str = "events.out.tfevents.";

/// The folder of a run's event files.
pub fn folder(run: &Path) -> PathBuf {
    run.join("tensorboard")
}

/// The event file of this start of a run; it is made with its first event.
#[derive(Debug)]
pub struct EventFile {
    run: PathBuf,
    open: Option<(PathBuf, File)>,
    /// The step that a resumed run goes on with.
    restart: Option<usize>,
}

impl EventFile {
    /// The events of a run that begins.
    pub fn new(run: &Path) -> Self {
        Self { run: run.to_owned(), open: None, restart: None }
    }

    /// Goes on after the events of steps up to `step`, of which `rows` are the metrics.
    ///
    /// # Errors
    /// Names the file that cannot be read or written.
    pub fn resume(run: &Path, step: usize, rows: &[Row]) -> Result<Self> {
        let kept = cut(run, step)?;
        let mut events = Self { restart: Some(step + 1), ..Self::new(run) };
        rows.iter().skip(kept).try_for_each(|row| events.append(row))?;
        Ok(events)
    }

    /// Appends the event of a row, with one write.
    ///
    /// # Errors
    /// Names the file.
    pub fn append(&mut self, row: &Row) -> Result<()> {
        let mut bytes = Vec::new();
        let (path, file) = match &mut self.open {
            Some(open) => open,
            closed => {
                bytes.extend(event::version(now()));
                bytes.extend(self.restart.iter().flat_map(|&step| event::restart(now(), step)));
                closed.insert(create(&folder(&self.run))?)
            }
        };
        bytes.extend(event::scalars(now(), row));
        file.write_all(&bytes).with_context(|| format!("cannot write to {}", path.display()))
    }

    /// Waits until all events are on the disk.
    ///
    /// # Errors
    /// Names the file.
    pub fn sync(&self) -> Result<()> {
        let Some((path, file)) = &self.open else { return Ok(()) };
        file.sync_data().with_context(|| format!("cannot write to {}", path.display()))
    }
}

/// A new event file, in the order of the names after all that are there, whatever the clock says now.
fn create(dir: &Path) -> Result<(PathBuf, File)> {
    std::fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
    let last = files(dir)?.iter().filter_map(|path| second(path)).max();
    let mut second = (now() as u64).max(last.map_or(0, |last| last.saturating_add(1)));
    loop {
        let name = format!("{PREFIX}{second:010}.{}.{}.0", runtime::host_name(), std::process::id());
        let path = dir.join(name);
        match OpenOptions::new().append(true).create_new(true).open(&path) {
            Ok(file) => return Ok((path, file)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => second += 1,
            Err(error) => return Err(error).with_context(|| format!("cannot create {}", path.display())),
        }
    }
}

/// Removes the events of steps after `step`, and what follows a damaged one; counts the rows that are left. Files that
/// are left without any go.
///
/// # Errors
/// Names the file that cannot be read or written.
pub fn cut(run: &Path, step: usize) -> Result<usize> {
    let mut kept = 0;
    let mut is_over = false;
    for path in files(&folder(run))? {
        let bytes = std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let (mut end, mut rows) = (0, 0);
        for (payload, after) in event::payloads(&bytes) {
            match event::see(payload) {
                // another start begins with the step that it goes on with, and has its rows after that
                Some(seen) if !is_over && (!seen.is_row || seen.step <= step as u64) => {
                    end = after;
                    rows += usize::from(seen.is_row);
                }
                _ => break,
            }
        }
        is_over |= end < bytes.len();
        kept += rows;
        let cut = match rows {
            0 => std::fs::remove_file(&path),
            _ if end < bytes.len() => OpenOptions::new().write(true).open(&path).and_then(|file| {
                file.set_len(end as u64)?;
                file.sync_data()
            }),
            _ => Ok(()),
        };
        cut.with_context(|| format!("cannot shorten {}", path.display()))?;
    }
    Ok(kept)
}

/// Removes all event files of a run.
pub fn discard(run: &Path) {
    for path in files(&folder(run)).unwrap_or_default() {
        let _ = std::fs::remove_file(path);
    }
}

/// The event files of a folder, in the order in which they were begun; none if it is not there.
fn files(dir: &Path) -> Result<Vec<PathBuf>> {
    let entries = match std::fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.with_context(|| format!("cannot read {}", dir.display()))?,
    };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.with_context(|| format!("cannot read {}", dir.display()))?.path();
        if second(&path).is_some() {
            files.push(path);
        }
    }
    files.sort_by_cached_key(|path| (second(path), path.clone()));
    Ok(files)
}

/// The second in the name of an event file.
fn second(path: &Path) -> Option<u64> {
    path.file_name()?.to_str()?.strip_prefix(PREFIX)?.split('.').next()?.parse().ok()
}

/// Seconds since 1970.
fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

#[cfg(test)]
pub(crate) mod tests;
