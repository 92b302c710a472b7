//! Changes of single keys from the command line: `--set a.b=v` and the flags that are short for one.

use std::path::PathBuf;
use std::str::FromStr;

use toml::{Table, Value};

use super::{ConfigError, DeviceSpec};

/// What the command line changes in the file. The named flags win over `--set`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Overrides {
    /// `--set`, in the order given; a later one wins.
    pub set: Vec<Assignment>,
    /// `--output-dir`: `run.output_dir`.
    pub output_dir: Option<PathBuf>,
    /// `--seed`: `run.seed`. At most `i64::MAX`, the largest integer TOML can hold.
    pub seed: Option<u64>,
    /// `--max-steps`: `train.max_steps`.
    pub max_steps: Option<usize>,
    /// `--device`: `model.device`.
    pub device: Option<DeviceSpec>,
    /// `--limit`: `eval.limit`.
    pub limit: Option<usize>,
    /// `--temperature`, repeated: `eval.temperatures`; empty leaves the file's.
    pub temperatures: Vec<f64>,
}

/// One `a.b=v`.
#[derive(Clone, Debug, PartialEq)]
pub struct Assignment {
    text: String,
    path: Vec<String>,
    value: Value,
}

impl FromStr for Assignment {
    type Err = String;

    /// The value is read as TOML where it is TOML, else as a string, so that
    /// `model.name_or_path=examples/sudoku-tiny` needs no quotes within quotes.
    fn from_str(text: &str) -> Result<Self, String> {
        let (key, value) = text.split_once('=').ok_or("expected KEY=VALUE, such as train.max_steps=100")?;
        let path: Vec<String> = key.trim().split('.').map(str::to_owned).collect();
        let plain = |part: &String| {
            !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
        };
        if !path.iter().all(plain) {
            return Err(format!(
                "`{}` is not a key: expected names joined by dots, such as train.max_steps",
                key.trim()
            ));
        }
        let value = value.parse().unwrap_or_else(|_| Value::String(value.to_owned()));
        Ok(Self { text: text.to_owned(), path, value })
    }
}

/// One key to change and the argument that asks for it.
#[derive(Clone, Debug)]
pub(super) struct Edit {
    path: Vec<String>,
    value: Value,
    pub(super) origin: String,
}

impl Overrides {
    /// All changes in the order in which they apply.
    pub(super) fn edits(&self) -> Result<Vec<Edit>, ConfigError> {
        let set = self.set.iter().map(|a| Edit {
            path: a.path.clone(),
            value: a.value.clone(),
            origin: format!("--set {}", a.text),
        });
        let mut edits: Vec<Edit> = set.collect();
        let mut flag = |flag: &str, shown: String, key: &str, value: Value| {
            let path = key.split('.').map(str::to_owned).collect();
            edits.push(Edit { path, value, origin: format!("{flag} {shown}") });
        };
        if let Some(dir) = &self.output_dir {
            let text = dir.to_str().ok_or_else(|| ConfigError::Override {
                origin: format!("--output-dir {}", dir.display()),
                message: "the path is not valid UTF-8, which a config file must be: choose another".into(),
            })?;
            flag("--output-dir", text.into(), "run.output_dir", text.into());
        }
        if let Some(seed) = self.seed {
            let value = integer("--seed", seed)?;
            flag("--seed", seed.to_string(), "run.seed", value);
        }
        if let Some(steps) = self.max_steps {
            let value = integer("--max-steps", steps as u64)?;
            flag("--max-steps", steps.to_string(), "train.max_steps", value);
        }
        if let Some(device) = self.device {
            flag("--device", device.to_string(), "model.device", device.to_string().into());
        }
        if let Some(limit) = self.limit {
            let value = integer("--limit", limit as u64)?;
            flag("--limit", limit.to_string(), "eval.limit", value);
        }
        if !self.temperatures.is_empty() {
            let shown: Vec<String> = self.temperatures.iter().map(f64::to_string).collect();
            let value = Value::Array(self.temperatures.iter().map(|&t| Value::Float(t)).collect());
            flag("--temperature", shown.join(" --temperature "), "eval.temperatures", value);
        }
        Ok(edits)
    }
}

fn integer(flag: &str, value: u64) -> Result<Value, ConfigError> {
    i64::try_from(value).map(Value::Integer).map_err(|_| ConfigError::Override {
        origin: format!("{flag} {value}"),
        message: format!("the largest integer of a config file is {}", i64::MAX),
    })
}

impl Edit {
    /// The key as a user writes it.
    pub(super) fn key(&self) -> String {
        self.path.join(".")
    }

    /// Puts the value into the table; tables on the way that are missing are created.
    pub(super) fn apply(&self, table: &mut Table) -> Result<(), ConfigError> {
        let Some((leaf, parents)) = self.path.split_last() else { return Ok(()) };
        let mut at = table;
        for (depth, part) in parents.iter().enumerate() {
            let entry = at.entry(part.clone()).or_insert_with(|| Value::Table(Table::new()));
            let kind = entry.type_str();
            at = entry.as_table_mut().ok_or_else(|| ConfigError::Override {
                origin: self.origin.clone(),
                message: format!("`{}` is a value ({kind}), not a table", self.path[..=depth].join(".")),
            })?;
        }
        at.insert(leaf.clone(), self.value.clone());
        Ok(())
    }
}
