//! `sweep.json`: what a sweep is and which runs belong to it, for whoever finds the folder and for the report.

use std::path::{Component, Path};

use anyhow::{Context as _, Result, ensure};
use serde::{Deserialize, Serialize};

use super::plan::Run;
use crate::config::{Assignment, SweepRequest};
use crate::error::Usage;
use crate::files::{read_optional, write_whole};
use crate::terminal::shell_line;

/// The file in the folder of a sweep.
pub const SWEEP_FILE: &str = "sweep.json";

/// The content of the file.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// The configuration as it was named; its text lies beside this file.
    pub config: String,
    /// What all runs change in it.
    pub set: Vec<String>,
    /// The commands that made the runs, each once.
    pub commands: Vec<String>,
    /// All runs, in the order in which they were first asked for.
    pub runs: Vec<Entry>,
}

/// A run of the sweep.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// Its folder.
    pub name: String,
    /// Its seed.
    pub seed: u64,
    /// What its point changes, as `--set` reads it.
    pub point: Vec<String>,
}

impl Entry {
    fn of(run: &Run) -> Self {
        Self { name: run.name.clone(), seed: run.seed, point: run.point.iter().map(Assignment::to_string).collect() }
    }

    /// What the point changes.
    ///
    /// # Errors
    /// If the file was changed into something that is no assignment.
    pub fn assignments(&self) -> Result<Vec<Assignment>> {
        let parse = |text: &String| text.parse().map_err(|error| anyhow::anyhow!("{SWEEP_FILE}: {text}: {error}"));
        self.point.iter().map(parse).collect()
    }
}

impl Manifest {
    /// That of a folder, if it has one.
    ///
    /// # Errors
    /// A file that cannot be read or is no such file.
    pub fn load(dir: &Path) -> Result<Option<Self>> {
        let path = dir.join(SWEEP_FILE);
        let Some(bytes) = read_optional(&path).with_context(|| format!("cannot read {}", path.display()))? else {
            return Ok(None);
        };
        let read = || -> Result<Self> {
            let manifest: Self = serde_json::from_slice(&bytes)?;
            for Entry { name, .. } in &manifest.runs {
                // what is read or run there must not be elsewhere
                let mut parts = Path::new(name).components();
                let plain = matches!((parts.next(), parts.next()), (Some(Component::Normal(_)), None));
                ensure!(plain, "{name:?} is not the name of a folder");
            }
            Ok(manifest)
        };
        read().map(Some).with_context(|| format!("{} is damaged", path.display()))
    }

    /// Adds what is asked for now.
    ///
    /// # Errors
    /// [`Usage`] if the folder of a new run is that of another point.
    pub fn add(&mut self, request: &SweepRequest, plan: &[Run]) -> Result<(), Usage> {
        for new in plan.iter().map(Entry::of) {
            match self.runs.iter().find(|old| old.name == new.name) {
                None => self.runs.push(new),
                Some(old) if *old == new => {}
                Some(old) => {
                    return Err(Usage(format!(
                        "the folder {} is that of {} already, and would be that of {}: choose another --output-dir",
                        new.name,
                        old.point.join(" "),
                        new.point.join(" ")
                    )));
                }
            }
        }
        self.config = request.config.display().to_string();
        self.set = request.set.iter().map(Assignment::to_string).collect();
        let command = command(request);
        if !self.commands.contains(&command) {
            self.commands.push(command);
        }
        Ok(())
    }

    /// Writes the file.
    ///
    /// # Errors
    /// Names the file.
    pub fn save(&self, dir: &Path) -> Result<()> {
        let path = dir.join(SWEEP_FILE);
        let text = serde_json::to_string_pretty(self)? + "\n";
        write_whole(&path, text.as_bytes()).with_context(|| format!("cannot write {}", path.display()))
    }
}

/// The command line that asks for these runs, for a shell.
fn command(request: &SweepRequest) -> String {
    let mut words = vec!["spg".to_owned(), "sweep".into(), "--config".into(), request.config.display().to_string()];
    let mut option = |name: &str, value: String| words.extend([name.to_owned(), value]);
    for axis in &request.axes {
        let values: Vec<String> = axis.values.iter().map(|value| value.value().to_string()).collect();
        option("--grid", format!("{}={}", axis.key, values.join(",")));
    }
    if !request.seeds.is_empty() {
        option("--seeds", request.seeds.iter().map(u64::to_string).collect::<Vec<_>>().join(","));
    }
    request.set.iter().for_each(|assignment| option("--set", assignment.to_string()));
    option("--output-dir", request.dir.display().to_string());
    shell_line(words)
}
