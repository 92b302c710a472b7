//! From `[task.<name>.data]` to records, split and checked.

use std::collections::HashSet;

use super::data::{HubDataset, Origin, Source};
use super::splits::Splits;
use super::{Problem, Record, Result, TaskError};
use crate::config::{DataTable, SourceTable};
use crate::rng::{Key, Purpose};

/// Whether a task takes a record of its data; an error for one that is not of its kind.
pub type Accept<'a> = dyn Fn(&Record) -> Result<bool> + 'a;

/// Loads the records of a table, whose keys have the names `keys`.
///
/// Test records are those of a source of their own, which is read only if `with_test`, or the last of the training
/// records; validation records likewise, or drawn from the training records that are left.
///
/// # Errors
/// Data that cannot be had, a record that `accept` refuses (with its file and place), and sizes that leave nothing.
pub fn load(table: &DataTable, keys: &Keys, with_test: bool, accept: &Accept<'_>) -> Result<Splits> {
    let read = |source: &Option<SourceTable>, key: &'static str| -> Result<Vec<Record>> {
        source.as_ref().map_or(Ok(Vec::new()), |source| records(source, key, accept))
    };
    let mut train = read(&table.train, keys.train)?;
    let held_out = if table.test.is_none() { table.test_size.unwrap_or(0) } else { 0 };
    let drawn = if table.validation.is_none() { table.validation_size.unwrap_or(0) } else { 0 };
    if held_out.saturating_add(drawn) >= train.len() {
        let message = format!(
            "{drawn} records for validation and {held_out} for the test leave none of {} to train on: lower {} or {}",
            train.len(),
            keys.validation_size,
            keys.test_size
        );
        return Err(TaskError::Config(vec![Problem::new(keys.train, message)]));
    }
    let mut test = train.split_off(train.len() - held_out);
    let mut validation = draw(&mut train, drawn, table.data_seed);
    validation.extend(read(&table.validation, keys.validation)?);
    if with_test {
        test.extend(read(&table.test, keys.test)?);
    }
    Ok(Splits { train, validation, test })
}

/// The full names of a table's keys, for messages.
#[derive(Clone, Copy, Debug)]
pub struct Keys {
    train: &'static str,
    validation: &'static str,
    test: &'static str,
    validation_size: &'static str,
    test_size: &'static str,
}

/// The [`Keys`] of a task's table.
macro_rules! keys {
    ($task:literal) => {
        $crate::task::load::Keys::new([
            concat!("task.", $task, ".data.train"),
            concat!("task.", $task, ".data.validation"),
            concat!("task.", $task, ".data.test"),
            concat!("task.", $task, ".data.validation_size"),
            concat!("task.", $task, ".data.test_size"),
        ])
    };
}
pub(super) use keys;

impl Keys {
    /// Names in the order of the fields.
    pub const fn new([train, validation, test, validation_size, test_size]: [&'static str; 5]) -> Self {
        Self { train, validation, test, validation_size, test_size }
    }
}

fn records(source: &SourceTable, key: &str, accept: &Accept<'_>) -> Result<Vec<Record>> {
    let loaded = Source { origin: origin(source), columns: source.columns.clone() }.load(key)?;
    let total = loaded.len();
    let mut records = Vec::with_capacity(total);
    for record in loaded {
        if accept(&record).map_err(|reason| record.located(reason))? {
            records.push(record);
        }
    }
    if records.len() < total {
        tracing::info!(
            "{key}: {} of {total} records are not of the kind asked for and left out",
            total - records.len()
        );
    }
    Ok(records)
}

fn origin(source: &SourceTable) -> Origin {
    let Some(dataset) = &source.dataset else { return Origin::Files(source.path.as_slice().to_vec()) };
    let or_default = |text: &Option<String>, default: &str| text.clone().unwrap_or_else(|| default.to_owned());
    Origin::Hub(HubDataset {
        dataset: dataset.clone(),
        name: or_default(&source.name, "default"),
        split: or_default(&source.split, "train"),
        revision: source.revision.clone(),
        files: source.files.clone(),
    })
}

/// Takes `n` random records out; both lists keep their order.
fn draw(records: &mut Vec<Record>, n: usize, seed: u64) -> Vec<Record> {
    let drawn: HashSet<usize> = Key::new(seed, Purpose::Split).rng().choose(records.len(), n).into_iter().collect();
    let mut place = 0;
    records
        .extract_if(.., |_| {
            place += 1;
            drawn.contains(&(place - 1))
        })
        .collect()
}
