//! `[task.<name>.data]`: where the records of a task come from.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Deserializer, Serialize};

/// `[task.<name>.data]`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataTable {
    /// Training records.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub train: Option<SourceTable>,
    /// Validation records; without them some are drawn from the training records.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validation: Option<SourceTable>,
    /// Test records; without them the last of the training records.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub test: Option<SourceTable>,
    /// Training records drawn for validation where that has no source of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validation_size: Option<usize>,
    /// Last training records kept for the test where that has no source of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub test_size: Option<usize>,
    /// Seed of the draw of validation records (apart from the run's seed, so that runs are compared on the same ones).
    #[serde(default)]
    pub data_seed: u64,
}

/// `[task.<name>.data.<split>]`: files of this machine, or a dataset of the hub.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SourceTable {
    /// One file or several: parquet, JSON lines, JSON, CSV or TSV.
    #[serde(skip_serializing_if = "Paths::is_empty")]
    pub path: Paths,
    /// Hub dataset, `owner/name`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dataset: Option<String>,
    /// Configuration of the dataset (`default` where it has only one).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Split of the dataset.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub split: Option<String>,
    /// Branch, tag or commit of the dataset.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    /// Files of the dataset, instead of the hub's own parquet copies of `name` and `split`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<String>,
    /// Field of a record = column of the files, where the two differ.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub columns: BTreeMap<String, String>,
}

/// One path or a list of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "OneOrMany", into = "Vec<PathBuf>")]
pub struct Paths(Vec<PathBuf>);

#[derive(Deserialize)]
#[serde(untagged, expecting = "expected a path or a list of paths")]
enum OneOrMany {
    One(PathBuf),
    Many(Vec<PathBuf>),
}

impl Paths {
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The paths, in order.
    pub fn as_slice(&self) -> &[PathBuf] {
        &self.0
    }
}

impl From<OneOrMany> for Paths {
    fn from(paths: OneOrMany) -> Self {
        match paths {
            OneOrMany::One(path) => Self(vec![path]),
            OneOrMany::Many(paths) => Self(paths),
        }
    }
}

impl From<Paths> for Vec<PathBuf> {
    fn from(paths: Paths) -> Self {
        paths.0
    }
}

impl SourceTable {
    /// A split of a hub dataset.
    pub(super) fn hub(dataset: &str, name: &str, split: &str) -> Self {
        let some = |text: &str| Some(text.to_owned());
        Self { dataset: some(dataset), name: some(name), split: some(split), ..Self::default() }
    }
}

impl DataTable {
    /// What the file says, and `defaults` for what it leaves out: whoever names other training data keeps the rest.
    pub(super) fn over<'de, D: Deserializer<'de>>(deserializer: D, defaults: Self) -> Result<Self, D::Error> {
        let given = Self::deserialize(deserializer)?;
        Ok(Self {
            train: given.train.or(defaults.train),
            // A source and a size exclude each other, so that the default of one must not join the other.
            validation_size: given.validation_size.or(defaults.validation_size.filter(|_| given.validation.is_none())),
            test_size: given.test_size.or(defaults.test_size.filter(|_| given.test.is_none())),
            validation: given.validation.or(defaults.validation.filter(|_| given.validation_size.is_none())),
            test: given.test.or(defaults.test.filter(|_| given.test_size.is_none())),
            data_seed: given.data_seed,
        })
    }
}
