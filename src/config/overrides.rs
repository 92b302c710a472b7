//! Changes of single keys from the command line: `--set a.b=v` and the flags that are short for one.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use toml::{Table, Value};

use super::{ConfigError, DeviceSpec, Order, Remasking, Split};

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
    /// What `spg eval` changes in `[eval]`.
    pub eval: EvalOverrides,
}

/// What the command line changes in `[eval]`. An empty list leaves the file's.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct EvalOverrides {
    /// `--split`: `eval.split`.
    pub split: Option<Split>,
    /// `--limit`: `eval.limit`.
    pub limit: Option<usize>,
    /// `--batch-size`: `eval.batch_size`.
    pub batch_size: Option<usize>,
    /// `--samples`: `eval.num_samples`.
    pub num_samples: Option<usize>,
    /// `--temperature`, repeated: `eval.temperatures`.
    pub temperatures: Vec<f64>,
    /// `--max-completion-length`, repeated: `eval.max_completion_length`.
    pub max_completion_length: Vec<usize>,
    /// `--block-length`, repeated: `eval.block_length`.
    pub block_length: Vec<usize>,
    /// `--remasking`, repeated: `eval.remasking`.
    pub remasking: Vec<Remasking>,
    /// `--order`, repeated: `eval.order`.
    pub order: Vec<Order>,
}

/// One `a.b=v`. A part `*` between the dots is the one table that is there, such as the algorithm's.
#[derive(Clone, Debug, PartialEq)]
pub struct Assignment {
    /// The argument as the user wrote it.
    origin: String,
    path: Vec<String>,
    value: Value,
}

/// The tables that hold one table, whose name is a choice: `algorithm=d1` is `[algorithm.d1]`.
const CHOICES: [&str; 2] = ["algorithm", "task"];

/// What stands for the name of the one table of a table.
const THE_ONE: &str = "*";

impl FromStr for Assignment {
    type Err = String;

    /// The value is read as TOML where it is TOML, else as a string, so that
    /// `model.name_or_path=examples/sudoku-tiny` needs no quotes within quotes. A `revision` is a string even where it
    /// looks like a number: a commit may well begin with seven digits, or be `1234e56`.
    fn from_str(text: &str) -> Result<Self, String> {
        let (key, value) = text.split_once('=').ok_or("expected KEY=VALUE, such as train.max_steps=100")?;
        let path: Vec<String> = key.trim().split('.').map(str::to_owned).collect();
        let plain = |part: &String| {
            !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
        };
        let named = |(i, part): (usize, &String)| plain(part) || (part == THE_ONE && 0 < i && i + 1 < path.len());
        if !path.iter().enumerate().all(named) {
            return Err(format!(
                "`{}` is not a key: expected names joined by dots, such as train.max_steps",
                key.trim()
            ));
        }
        let text_only = path.last().is_some_and(|name| name == "revision");
        let parsed = value.parse().ok().filter(|parsed: &Value| !text_only || parsed.is_str());
        let value = parsed.unwrap_or_else(|| Value::String(value.to_owned()));
        Ok(Self { origin: format!("--set {text}"), path, value })
    }
}

impl fmt::Display for Assignment {
    /// `a.b=v` with the value as TOML: the same assignment, whatever its user wrote.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.key(), self.value)
    }
}

impl Assignment {
    /// The key as a user writes it.
    pub fn key(&self) -> String {
        self.path.join(".")
    }

    /// The names that the key consists of.
    pub fn path(&self) -> &[String] {
        &self.path
    }

    /// The value.
    pub fn value(&self) -> &Value {
        &self.value
    }

    /// Whether both change the same key, or may: `*` is any name.
    pub fn is_of_key_of(&self, other: &Self) -> bool {
        is_of(&self.path, other.path.iter().map(String::as_str))
    }

    /// That of a text to a key, names joined by dots.
    pub(super) fn text(key: &str, value: &str) -> Self {
        let path = key.split('.').map(str::to_owned).collect();
        Self { origin: format!("{key} = {value}"), path, value: Value::String(value.to_owned()) }
    }

    /// The assignment as another option than `--set` has it.
    pub(super) fn of(self, flag: &str) -> Self {
        let origin = format!("{flag} {self}");
        Self { origin, ..self }
    }
}

fn is_of<'a>(path: &[String], mut other: impl Iterator<Item = &'a str>) -> bool {
    let same = |(a, b): (&String, &str)| a == b || a == THE_ONE || b == THE_ONE;
    let equal = path.iter().all(|a| other.next().is_some_and(|b| same((a, b))));
    equal && other.next().is_none()
}

/// One key to change and the argument that asks for it.
#[derive(Clone, Debug)]
pub(super) struct Edit {
    path: Vec<String>,
    value: Value,
    pub(super) origin: String,
}

impl Overrides {
    /// Whether the command line says itself which program rewards completions.
    pub(super) fn name_reward_command(&self) -> bool {
        const KEY: [&str; 4] = ["task", "custom", "reward_command", "command"];
        let names = |path: &[String]| path.len() <= KEY.len() && path.iter().zip(KEY).all(|(part, key)| part == key);
        self.set.iter().any(|assignment| names(&assignment.path))
    }

    /// All changes in the order in which they apply.
    pub(super) fn edits(&self) -> Result<Vec<Edit>, ConfigError> {
        let set =
            self.set.iter().map(|a| Edit { path: a.path.clone(), value: a.value.clone(), origin: a.origin.clone() });
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
        edits.extend(self.eval.edits()?);
        Ok(edits)
    }
}

impl EvalOverrides {
    fn edits(&self) -> Result<Vec<Edit>, ConfigError> {
        let mut edits = Vec::new();
        let mut flag = |flag: &str, key: &str, shown: &[String], value: Value| {
            let path = vec!["eval".to_owned(), key.to_owned()];
            let origin = format!("{flag} {}", shown.join(&format!(" {flag} ")));
            edits.push(Edit { path, value, origin });
        };
        if let Some(split) = self.split {
            flag("--split", "split", &[split.name().into()], split.name().into());
        }
        for (name, key, number) in [
            ("--limit", "limit", self.limit),
            ("--batch-size", "batch_size", self.batch_size),
            ("--samples", "num_samples", self.num_samples),
        ] {
            if let Some(n) = number {
                flag(name, key, &[n.to_string()], integer(name, n as u64)?);
            }
        }
        if !self.temperatures.is_empty() {
            let shown: Vec<String> = self.temperatures.iter().map(f64::to_string).collect();
            let values = self.temperatures.iter().map(|&t| Value::Float(t)).collect();
            flag("--temperature", "temperatures", &shown, Value::Array(values));
        }
        for (name, key, numbers) in [
            ("--max-completion-length", "max_completion_length", &self.max_completion_length),
            ("--block-length", "block_length", &self.block_length),
        ] {
            if !numbers.is_empty() {
                let shown: Vec<String> = numbers.iter().map(usize::to_string).collect();
                let values = numbers.iter().map(|&n| integer(name, n as u64)).collect::<Result<_, _>>()?;
                flag(name, key, &shown, Value::Array(values));
            }
        }
        let remasking: Vec<&str> = self.remasking.iter().map(|r| r.name()).collect();
        let order: Vec<&str> = self.order.iter().map(|o| o.name()).collect();
        for (name, key, words) in [("--remasking", "remasking", remasking), ("--order", "order", order)] {
            if !words.is_empty() {
                let shown: Vec<String> = words.iter().map(|&word| word.to_owned()).collect();
                flag(name, key, &shown, Value::Array(words.into_iter().map(Value::from).collect()));
            }
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
    /// Whether it is this key that is changed.
    pub(super) fn is_of(&self, key: &str) -> bool {
        is_of(&self.path, key.split('.'))
    }

    /// Puts the value into the table; tables on the way that are missing are created. The name of a table for
    /// [`CHOICES`] leaves that table alone there: as it is, or empty where there is none.
    pub(super) fn apply(&self, table: &mut Table) -> Result<(), ConfigError> {
        let Some((leaf, parents)) = self.path.split_last() else { return Ok(()) };
        let refused = |message| ConfigError::Override { origin: self.origin.clone(), message };
        let mut at = table;
        for (depth, part) in parents.iter().enumerate() {
            let name = match (part.as_str(), at.keys().next()) {
                (THE_ONE, Some(one)) if at.len() == 1 => one.clone(),
                (THE_ONE, _) => {
                    let parent = self.path[..depth].join(".");
                    return Err(refused(format!("`{parent}` has {} keys: `*` stands for the name of one", at.len())));
                }
                (name, _) => name.to_owned(),
            };
            let entry = at.entry(name).or_insert_with(|| Value::Table(Table::new()));
            let kind = entry.type_str();
            let message = format!("`{}` is a value ({kind}), not a table", self.path[..=depth].join("."));
            at = entry.as_table_mut().ok_or_else(|| refused(message))?;
        }
        let value = match &self.value {
            Value::String(name) if parents.is_empty() && CHOICES.contains(&leaf.as_str()) => {
                let there = at.get(leaf).and_then(|table| table.get(name)).cloned();
                let chosen = there.unwrap_or_else(|| Value::Table(Table::new()));
                Value::Table(Table::from_iter([(name.clone(), chosen)]))
            }
            value => value.clone(),
        };
        at.insert(leaf.clone(), value);
        Ok(())
    }
}
