//! Where the records of a task come from: files, or a dataset of the hub.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use serde_json::{Map, Value};

use super::{DataError, Result, read};
use crate::hub::{Files, Found, HubRepo, Kind, Place};
use crate::task::Record;

/// The branch on which the hub keeps every public dataset as parquet, one folder a subset and split.
const PARQUET_BRANCH: &str = "refs/convert/parquet";

/// Where records come from, and what their columns are called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// The files.
    pub origin: Origin,
    /// Column of the files for a field of the record, by field. A column that is named here is no longer found under
    /// its own name; all others stay, but for one with the name of such a field.
    pub columns: BTreeMap<String, String>,
}

/// Where files come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Files on this machine, read in this order.
    Files(Vec<PathBuf>),
    /// A dataset of the hub.
    Hub(HubDataset),
}

/// A dataset of the hub, or a part of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HubDataset {
    /// `owner/name`.
    pub dataset: String,
    /// The subset ("config" on the hub); `default` where a dataset has but one.
    pub name: String,
    /// The split, such as `train`.
    pub split: String,
    /// Branch, tag or commit. Without one it is the hub's parquet branch, or with `files`, `main`.
    pub revision: Option<String>,
    /// Files of the repository, read in this order instead of the name and the split.
    pub files: Vec<String>,
}

impl Source {
    /// Reads all records, at least one, each with its [place](Record::place); a dataset of the hub is downloaded if it is
    /// not in the cache. `key` is the source's key in the configuration, such as `task.gsm8k.train`, for messages; they
    /// expect keys `path` and `columns` below it.
    ///
    /// # Errors
    /// Files that cannot be read, had or found, that lack a column, and a source without a record.
    pub fn load(&self, key: &str) -> Result<Vec<Record>> {
        let files = match &self.origin {
            Origin::Files(paths) => paths.iter().map(|path| (path.display().to_string(), path.clone())).collect(),
            Origin::Hub(dataset) => dataset.fetch(key, Place::from_env())?,
        };
        self.read(key, files)
    }

    /// Reads files, each with the name to call it by.
    pub(super) fn read(&self, key: &str, files: Vec<(String, PathBuf)>) -> Result<Vec<Record>> {
        let mut loaded = Vec::new();
        for (name, path) in &files {
            for row in read(path)? {
                let place = format!("{name}, {}", row.place);
                loaded.push(self.rename(key, &place, row.record)?.read_at(&place));
            }
        }
        if loaded.is_empty() {
            let names: Vec<String> = files.into_iter().map(|(name, _)| name).collect();
            return Err(DataError::Empty { key: key.into(), files: names.join(", ") });
        }
        Ok(loaded)
    }

    fn rename(&self, key: &str, place: &str, record: Record) -> Result<Record> {
        if self.columns.is_empty() {
            return Ok(record);
        }
        for (field, column) in &self.columns {
            if !record.fields().contains_key(column) {
                let present: Vec<&str> = record.fields().keys().map(String::as_str).collect();
                return Err(DataError::Column {
                    place: place.into(),
                    key: key.into(),
                    field: field.clone(),
                    column: column.clone(),
                    present: present.join(", "),
                });
            }
        }
        let mut fields: Map<String, Value> = Map::new();
        for (name, value) in record.fields() {
            let mut taken = self.columns.contains_key(name);
            for (field, _) in self.columns.iter().filter(|(_, column)| *column == name) {
                fields.insert(field.clone(), value.clone());
                taken = true;
            }
            if !taken {
                fields.insert(name.clone(), value.clone());
            }
        }
        Ok(Record::from(fields))
    }
}

impl HubDataset {
    /// The dataset's files on this machine, each with its name on the hub.
    pub(super) fn fetch(&self, key: &str, place: anyhow::Result<Place>) -> Result<Vec<(String, PathBuf)>> {
        let failed = |error: &anyhow::Error| self.failed(key, &format!("{error:#}"));
        let repo = place.and_then(|place| HubRepo::at(place, Kind::Dataset, &self.dataset, self.revision()));
        let repo = repo.map_err(|error| failed(&error))?;
        let names = if self.files.is_empty() {
            match repo.list().map_err(|error| failed(&error))? {
                Files::All(names) => self.parquet_files(key, names)?,
                Files::Cached(names) => self.cached_parquet_files(key, &repo, names)?,
            }
        } else {
            self.files.clone()
        };
        let (mut files, mut missing) = (Vec::new(), Vec::new());
        for name in names {
            match repo.get(&name).map_err(|error| failed(&error))? {
                Found::Here(path) => files.push((format!("{}/{name}", self.dataset), path)),
                Found::NotCached { .. } => missing.push(name),
                Found::Absent => {
                    return Err(self.failed(key, &format!("it has no file {name} at {}", self.revision())));
                }
            }
        }
        if !missing.is_empty() {
            return Err(failed(&repo.missing(&missing)));
        }
        if let Some(commit) = repo.commit().map_err(|error| failed(&error))? {
            tracing::info!("the dataset {} is of commit {commit}", self.dataset);
        }
        Ok(files)
    }

    fn revision(&self) -> &str {
        self.revision.as_deref().unwrap_or(if self.files.is_empty() { PARQUET_BRANCH } else { "main" })
    }

    /// The folder of the subset and split on the parquet branch.
    fn folder(&self) -> String {
        format!("{}/{}", self.name, self.split)
    }

    /// Those of a repository's files that hold the split, in order.
    pub(super) fn parquet_files(&self, key: &str, all: Vec<String>) -> Result<Vec<String>> {
        let wanted = self.folder();
        let folders: BTreeSet<String> = all.iter().filter_map(|file| folder_of(file)).map(str::to_owned).collect();
        if !folders.contains(&wanted) {
            return Err(DataError::Split {
                key: key.into(),
                dataset: self.dataset.clone(),
                revision: self.revision().into(),
                wanted,
                present: folders.into_iter().collect::<Vec<_>>().join(", "),
            });
        }
        let mut files: Vec<String> = all.into_iter().filter(|file| folder_of(file) == Some(&wanted)).collect();
        files.sort();
        Ok(files)
    }

    /// As [`HubDataset::parquet_files`], where nobody knows which files the repository has: those in the cache if
    /// their names say that they are all.
    fn cached_parquet_files(&self, key: &str, repo: &HubRepo, cached: Vec<String>) -> Result<Vec<String>> {
        let wanted = self.folder();
        let names: Vec<String> = cached.into_iter().filter(|file| folder_of(file) == Some(&wanted)).collect();
        if names.is_empty() {
            return Err(self.failed(key, &format!("{:#}", repo.missing(&[format!("{wanted}/*.parquet")]))));
        }
        if is_whole(&names) {
            return Ok(names);
        }
        let reason = format!(
            "the cache has {} of it and does not know whether there are more: run once with the network, or if they \
             are all, set {key}.files = {names:?} and {key}.revision = {:?} instead of name and split",
            names.join(", "),
            self.revision()
        );
        Err(self.failed(key, &reason))
    }

    fn failed(&self, key: &str, reason: &str) -> DataError {
        let (part, files) = if self.files.is_empty() {
            (format!("{}, split {}", self.name, self.split), format!("{}/*.parquet", self.folder()))
        } else {
            (self.files.join(", "), self.files.join(", "))
        };
        let remedy = format!("download {files} of its revision {} and name the files in {key}.path", self.revision());
        DataError::Hub { dataset: self.dataset.clone(), part, reason: reason.into(), remedy }
    }
}

/// The folder of a parquet file.
fn folder_of(file: &str) -> Option<&str> {
    file.rsplit_once('/').filter(|_| file.ends_with(".parquet")).map(|(folder, _)| folder)
}

/// Whether files are called `..-00000-of-00002.parquet` and so on, and none of these is missing.
fn is_whole(names: &[String]) -> bool {
    let number = |name: &str| {
        let (rest, total) = name.strip_suffix(".parquet")?.rsplit_once("-of-")?;
        let (base, index) = rest.rsplit_once('-')?;
        Some((base.to_owned(), index.parse::<usize>().ok()?, total.parse::<usize>().ok()?))
    };
    let Some(numbers) = names.iter().map(|name| number(name)).collect::<Option<BTreeSet<_>>>() else { return false };
    let Some((base, _, total)) = numbers.first().cloned() else { return false };
    numbers.into_iter().eq((0..total).map(|index| (base.clone(), index, total)))
}
