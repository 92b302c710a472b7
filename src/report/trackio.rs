//! trackio's inbox: files of JSON lines that a dashboard imports and removes.
//!
//! What was imported cannot be cut, so that only rows are handed over that a finished checkpoint covers: no resumed run
//! makes them again. `trackio.json` in the run folder says which they are, and what the run is called. Should a run be
//! killed before it has noted what it handed over, the rows come a second time with the ids that they had, which trackio
//! takes for the same.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use chrono::{SecondsFormat, Utc};
use rand::TryRng as _;
use rand::rngs::SysRng;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use super::Row;
use crate::config::RunConfig;
use crate::files::{hex, write_whole};
use crate::hub;

/// Attempts to write a file whose folder an import may take away.
const ATTEMPTS: usize = 3;

/// Where a row stands: its step, and how many of the same step there are before it.
type Place = (usize, usize);

/// `trackio.json`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct State {
    /// What keeps runs of one name apart.
    run_id: String,
    /// The last row that was handed over.
    published: Option<Place>,
}

/// The rows of a run on their way to the inbox.
#[derive(Debug)]
pub struct Trackio {
    /// The folder of this start of the run in the inbox, whose files nobody else numbers.
    writer: PathBuf,
    /// The number of its next file.
    next: usize,
    project: String,
    run: String,
    /// What the run is; said once.
    config: Option<Value>,
    state_file: PathBuf,
    state: State,
    /// The last row seen.
    last: Option<Place>,
    pending: Vec<(Place, Value)>,
}

impl Trackio {
    /// The rows of a run that begins.
    ///
    /// # Errors
    /// Names the folder or file that cannot be written.
    pub fn new(config: &RunConfig, inbox: &Path) -> Result<Self> {
        let state_file = state_file(&config.run().output_dir);
        let state = State { run_id: random_id()?, published: None };
        write_state(&state_file, &state)?;
        Self::with(config, inbox, state_file, state)
    }

    /// Goes on after a checkpoint of `step`, up to which `rows` are the metrics: those that were not handed over are now.
    ///
    /// # Errors
    /// Names the folder or file that cannot be read or written.
    pub fn resume(config: &RunConfig, inbox: &Path, step: usize, rows: &[Row]) -> Result<Self> {
        let state_file = state_file(&config.run().output_dir);
        let text = match std::fs::read_to_string(&state_file) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            text => Some(text.with_context(|| format!("cannot read {}", state_file.display()))?),
        };
        // a run that trackio is asked for only now
        let Some(text) = text else {
            let mut trackio = Self::new(config, inbox)?;
            rows.iter().for_each(|row| trackio.append(row));
            trackio.cover(step);
            return Ok(trackio);
        };
        let state = serde_json::from_str(&text)
            .with_context(|| format!("{} is damaged: remove it to begin a new run in trackio", state_file.display()))?;
        let mut trackio = Self::with(config, inbox, state_file, state)?;
        rows.iter().for_each(|row| trackio.append(row));
        trackio.cover(step);
        Ok(trackio)
    }

    fn with(config: &RunConfig, inbox: &Path, state_file: PathBuf, state: State) -> Result<Self> {
        std::fs::create_dir_all(inbox).with_context(|| {
            format!(
                "cannot create trackio's inbox {}: set TRACKIO_DIR to a folder that can be written",
                inbox.display()
            )
        })?;
        let folder = &config.run().output_dir;
        let named = folder.canonicalize().unwrap_or_else(|_| folder.clone());
        Ok(Self {
            writer: inbox.join(&random_id()?[..16]),
            next: 0,
            project: config.train().project.clone(),
            run: named.file_name().unwrap_or(named.as_os_str()).to_string_lossy().into_owned(),
            config: Some(config.to_json()?),
            state_file,
            state,
            last: None,
            pending: Vec::new(),
        })
    }

    /// Takes a row, unless it was handed over before.
    pub fn append(&mut self, row: &Row) {
        let nth = self.last.filter(|&(step, _)| step == row.step()).map_or(0, |(_, nth)| nth + 1);
        let place = (row.step(), nth);
        self.last = Some(place);
        if self.state.published.is_some_and(|published| place <= published) {
            return;
        }
        let metrics = row.iter().filter(|&(name, _)| name != "step").map(|(name, value)| {
            // JSON has no NaN, and trackio a word for it
            (name.to_owned(), if value.is_null() { "NaN".into() } else { value.clone() })
        });
        let record = json!({
            "v": 1,
            "kind": "metric",
            "project": self.project,
            "run": self.run,
            "run_id": self.state.run_id,
            "metrics": metrics.collect::<Map<_, _>>(),
            "step": row.step(),
            "timestamp": Utc::now().to_rfc3339_opts(SecondsFormat::Micros, false),
            "config": self.config.take(),
            "log_id": log_id(&self.state.run_id, place),
        });
        self.pending.push((place, record));
    }

    /// Hands over the rows of steps up to `step`, of which there is a checkpoint now, and which are on the disk.
    ///
    /// A run does not end because its dashboard's folder cannot be written: the log says so, and the next checkpoint
    /// hands them over.
    pub fn cover(&mut self, step: usize) {
        let count = self.pending.iter().take_while(|((of, _), _)| *of <= step).count();
        let Some(&(last, _)) = count.checked_sub(1).and_then(|last| self.pending.get(last)) else { return };
        let lines: String = self.pending[..count].iter().map(|(_, record)| format!("{record}\n")).collect();
        let state = State { published: Some(last), ..self.state.clone() };
        match self.publish(lines.as_bytes()).and_then(|()| write_state(&self.state_file, &state)) {
            Ok(()) => {
                self.state = state;
                self.pending.drain(..count);
            }
            Err(error) => {
                tracing::warn!("trackio lacks the rows up to step {step} until the next checkpoint: {error:#}")
            }
        }
    }

    /// Writes the next file under a temporary name, which an import does not look at.
    fn publish(&mut self, lines: &[u8]) -> Result<()> {
        let path = self.writer.join(format!("{:08}.jsonl", self.next));
        let temporary = self.writer.join(format!("{:08}.tmp", self.next));
        self.next += 1;
        let write = || -> io::Result<()> {
            // an import removes the folder whenever it is empty
            std::fs::create_dir_all(&self.writer)?;
            let mut file = File::create(&temporary)?;
            file.write_all(lines)?;
            file.sync_all()?;
            std::fs::rename(&temporary, &path)
        };
        let mut result = write();
        for _ in 1..ATTEMPTS {
            if result.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::NotFound) {
                result = write();
            }
        }
        result.with_context(|| format!("cannot write {}", path.display()))
    }
}

/// The inbox of this machine: where trackio looks.
///
/// # Errors
/// Nothing says where it is.
pub fn inbox() -> Result<PathBuf> {
    let named: Option<OsString> = std::env::var_os("TRACKIO_DIR").filter(|dir| !dir.is_empty());
    let dir = match named {
        Some(dir) => PathBuf::from(dir),
        None => hub::home_from_env().context("there is no folder for trackio: set TRACKIO_DIR")?.join("trackio"),
    };
    Ok(dir.join("inbox"))
}

/// Forgets what a run is called, and what was handed over of it.
pub fn discard(run: &Path) {
    let _ = std::fs::remove_file(state_file(run));
}

fn state_file(run: &Path) -> PathBuf {
    run.join("trackio.json")
}

fn write_state(path: &Path, state: &State) -> Result<()> {
    let text = serde_json::to_string(state)? + "\n";
    write_whole(path, text.as_bytes()).with_context(|| format!("cannot write {}", path.display()))
}

/// An id that nobody else has; it is no part of the run's numbers.
fn random_id() -> Result<String> {
    let mut bytes = [0; 16];
    SysRng.try_fill_bytes(&mut bytes).context("the system has no random numbers")?;
    Ok(hex(&bytes))
}

/// The id of a row as a UUID (version 8): the same for the same row of the same run.
fn log_id(run_id: &str, (step, nth): Place) -> String {
    let mut bytes: [u8; 32] = Sha256::digest(format!("{run_id}/{step}/{nth}")).into();
    bytes[6] = bytes[6] & 0x0f | 0x80;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let [a, b, c, d, e] = [0..4, 4..6, 6..8, 8..10, 10..16].map(|part| hex(&bytes[part]));
    format!("{a}-{b}-{c}-{d}-{e}")
}

#[cfg(test)]
mod tests;
