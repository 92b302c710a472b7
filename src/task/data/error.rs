//! What can go wrong with a task's data.

use std::path::{Path, PathBuf};

/// An error with a file of records, or with a dataset of the hub.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DataError {
    /// A name that does not say what the file holds.
    #[error("{}: the name of a data file ends in {known}", file.display())]
    Extension {
        /// The file.
        file: PathBuf,
        /// The endings that would do.
        known: &'static str,
    },
    /// The operating system refuses.
    #[error("cannot {action} {}: {reason}", file.display())]
    Io {
        /// The file.
        file: PathBuf,
        /// What was tried, such as `read`.
        action: &'static str,
        /// The system's message.
        reason: String,
    },
    /// The file as a whole is not what its name says.
    #[error("{}: {reason}", file.display())]
    File {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// One row cannot be read or written.
    #[error("{}, {place}: {reason}", file.display())]
    Row {
        /// The file.
        file: PathBuf,
        /// Where in it, such as `line 3`.
        place: String,
        /// What is wrong with the row.
        reason: String,
    },
    /// A column that is to become a field is not there.
    #[error("{place}: no column `{column}`, which {key}.columns names for the field `{field}` (there are: {present})")]
    Column {
        /// The file and the place of the first row without it.
        place: String,
        /// The key of the source in the configuration.
        key: String,
        /// The field of the record.
        field: String,
        /// The column.
        column: String,
        /// The columns there are, separated by commas.
        present: String,
    },
    /// Files without a single record.
    #[error("{key}: no records in {files}")]
    Empty {
        /// The key of the source in the configuration.
        key: String,
        /// The files, separated by commas.
        files: String,
    },
    /// A dataset without the subset or the split that is asked for.
    #[error("{key}: the dataset {dataset} has no `{wanted}` on its branch {revision} (there are: {present})")]
    Split {
        /// The key of the source in the configuration.
        key: String,
        /// The dataset.
        dataset: String,
        /// The revision that was looked at.
        revision: String,
        /// The name and the split, as a folder.
        wanted: String,
        /// The folders there are, separated by commas.
        present: String,
    },
    /// A dataset that the hub does not give, or that is not in the cache.
    #[error("cannot get the dataset {dataset} ({part}): {reason}; to work offline, {remedy}")]
    Hub {
        /// The dataset.
        dataset: String,
        /// Which part of it was asked for.
        part: String,
        /// What failed.
        reason: String,
        /// Which files to get by hand, and what to do with them.
        remedy: String,
    },
    /// A file that would be written over.
    #[error("{} exists already: remove it, or choose another name", .0.display())]
    Exists(PathBuf),
}

impl DataError {
    pub(super) fn io(file: &Path, action: &'static str, error: &std::io::Error) -> Self {
        Self::Io { file: file.to_owned(), action, reason: error.to_string() }
    }

    pub(super) fn file(file: &Path, reason: impl Into<String>) -> Self {
        Self::File { file: file.to_owned(), reason: reason.into() }
    }

    pub(super) fn row(file: &Path, place: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Row { file: file.to_owned(), place: place.into(), reason: reason.into() }
    }
}
