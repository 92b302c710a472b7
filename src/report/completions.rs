//! Completions kept as parquet, in the folder `completions/` of a run: those of every phase, in the columns of TRL's
//! `log_completions`, and those of every evaluation; of some of the latter also how they were denoised ([`Replay`]).
//!
//! A file is of one step and written whole, so that a phase that is run again writes the same file again. A resumed run
//! removes those of later steps.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};
use parquet::basic::{Compression, LogicalType, Repetition, Type as Physical};
use parquet::data_type::{BoolType, ByteArray, ByteArrayType, DataType, DoubleType, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::types::Type;

use super::replays::Replay;
use crate::files::{is_unfinished, sync_folder, write_whole};
use crate::task::Reward;

/// Where completions come from, which is what the names of their files begin with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Rollouts for training; the step is the first that is made on them.
    Rollout,
    /// A held-out evaluation; the step is that of the weights.
    Evaluation,
}

/// What the names of files of replays begin with.
const REPLAY: &str = "replay_";

impl Origin {
    const ALL: [Self; 2] = [Self::Rollout, Self::Evaluation];

    fn prefix(self) -> &'static str {
        match self {
            Self::Rollout => "completions_",
            Self::Evaluation => "eval_",
        }
    }
}

/// A column of a table.
#[derive(Clone, Debug, PartialEq)]
pub enum Values {
    /// Whole numbers.
    Whole(Vec<i64>),
    /// Texts.
    Text(Vec<String>),
    /// Numbers, of which some may be missing.
    Number(Vec<Option<f64>>),
    /// Yes or no.
    Flag(Vec<bool>),
}

/// The completions of one step, a row each; the first column is the step.
#[derive(Clone, Debug, PartialEq)]
pub struct CompletionTable {
    origin: Origin,
    pub(super) step: usize,
    pub(super) columns: Vec<(String, Values)>,
}

impl CompletionTable {
    /// A table of `len` completions.
    pub fn new(origin: Origin, step: usize, len: usize) -> Self {
        let columns = vec![("step".to_owned(), Values::Whole(vec![step as i64; len]))];
        Self { origin, step, columns }
    }

    /// With another column, of as many values.
    pub fn with(mut self, name: &str, values: Values) -> Self {
        self.columns.push((name.to_owned(), values));
        self
    }

    /// With a column for every reward function, and their weighted sum; what one did not give to a completion is missing
    /// there.
    pub fn with_rewards<'a>(mut self, rewards: impl ExactSizeIterator<Item = &'a Reward>) -> Self {
        let len = rewards.len();
        let mut places: HashMap<&str, usize> = HashMap::new();
        let mut columns: Vec<(String, Vec<Option<f64>>)> = Vec::new();
        let mut totals = Vec::with_capacity(len);
        for (row, reward) in rewards.enumerate() {
            totals.push(Some(reward.total));
            for (name, value) in &reward.parts {
                let place = *places.entry(name).or_insert_with(|| {
                    columns.push((name.to_string(), vec![None; len]));
                    columns.len() - 1
                });
                columns[place].1[row] = Some(*value);
            }
        }
        self.columns.extend(columns.into_iter().map(|(name, values)| (name, Values::Number(values))));
        self.with("reward", Values::Number(totals))
    }

    fn to_parquet(&self) -> Result<Vec<u8>, ParquetError> {
        let fields = self.columns.iter().map(|(name, values)| Ok(Arc::new(values.field(name)?)));
        let fields = fields.collect::<Result<_, ParquetError>>()?;
        let schema = Arc::new(Type::group_type_builder("completions").with_fields(fields).build()?);
        let properties = Arc::new(WriterProperties::builder().set_compression(Compression::SNAPPY).build());
        let mut file = SerializedFileWriter::new(Vec::new(), schema, properties)?;
        let mut group = file.next_row_group()?;
        self.columns.iter().try_for_each(|(_, values)| values.write(&mut group))?;
        group.close()?;
        file.into_inner()
    }
}

impl Values {
    fn field(&self, name: &str) -> Result<Type, ParquetError> {
        let (physical, repetition, logical) = match self {
            Self::Whole(_) => (Physical::INT64, Repetition::REQUIRED, None),
            Self::Text(_) => (Physical::BYTE_ARRAY, Repetition::REQUIRED, Some(LogicalType::String)),
            Self::Number(_) => (Physical::DOUBLE, Repetition::OPTIONAL, None),
            Self::Flag(_) => (Physical::BOOLEAN, Repetition::REQUIRED, None),
        };
        Type::primitive_type_builder(name, physical).with_repetition(repetition).with_logical_type(logical).build()
    }

    fn write(&self, group: &mut SerializedRowGroupWriter<'_, Vec<u8>>) -> Result<(), ParquetError> {
        match self {
            Self::Whole(values) => write_column::<Int64Type>(group, values, None),
            Self::Text(values) => {
                let bytes: Vec<ByteArray> = values.iter().map(|text| text.as_str().into()).collect();
                write_column::<ByteArrayType>(group, &bytes, None)
            }
            Self::Number(values) => {
                let there: Vec<i16> = values.iter().map(|value| i16::from(value.is_some())).collect();
                write_column::<DoubleType>(group, &values.iter().copied().flatten().collect::<Vec<_>>(), Some(&there))
            }
            Self::Flag(values) => write_column::<BoolType>(group, values, None),
        }
    }
}

fn write_column<T: DataType>(
    group: &mut SerializedRowGroupWriter<'_, Vec<u8>>,
    values: &[T::T],
    there: Option<&[i16]>,
) -> Result<(), ParquetError> {
    let column = group.next_column()?;
    let mut column = column.ok_or_else(|| ParquetError::General("a column without a place".to_owned()))?;
    column.typed::<T>().write_batch(values, there, None)?;
    column.close()
}

/// The folder of a run's completions.
#[derive(Clone, Debug)]
pub struct CompletionFolder(PathBuf);

impl CompletionFolder {
    /// That of a run, there or not.
    pub fn of(run: &Path) -> Self {
        Self(run.join("completions"))
    }

    /// Writes the file of a table's step, in place of one that is there.
    ///
    /// # Errors
    /// Names the file.
    pub fn write(&self, table: &CompletionTable) -> Result<()> {
        let name = format!("{}{:05}.parquet", table.origin.prefix(), table.step);
        self.write_file(&name, || Ok(table.to_parquet()?))
    }

    /// Writes the file of the replays of a step, in place of one that is there.
    ///
    /// # Errors
    /// Names the file.
    pub fn write_replays(&self, step: usize, replays: &[Replay]) -> Result<()> {
        self.write_file(&format!("{REPLAY}{step:05}.json"), || Ok(serde_json::to_vec(replays)?))
    }

    fn write_file(&self, name: &str, content: impl FnOnce() -> Result<Vec<u8>>) -> Result<()> {
        let path = self.0.join(name);
        let write = || -> Result<()> {
            std::fs::create_dir_all(&self.0)?;
            Ok(write_whole(&path, &content()?)?)
        };
        write().with_context(|| format!("cannot write {}", path.display()))
    }

    /// The files of completions of an origin by step, the earliest first.
    pub fn tables(&self, origin: Origin) -> Vec<(usize, PathBuf)> {
        self.files(|name| step_in(name, origin.prefix(), ".parquet"))
    }

    /// The files of replays by step, the earliest first.
    pub fn replays(&self) -> Vec<(usize, PathBuf)> {
        self.files(|name| step_in(name, REPLAY, ".json"))
    }

    fn files(&self, step: impl Fn(&str) -> Option<usize>) -> Vec<(usize, PathBuf)> {
        let entries = std::fs::read_dir(&self.0).into_iter().flatten().flatten();
        let mut found: Vec<_> =
            entries.filter_map(|e| Some((step(&e.file_name().to_string_lossy())?, e.path()))).collect();
        found.sort();
        found
    }

    /// Waits until the files' names are on the disk, as what is in them is.
    ///
    /// # Errors
    /// Names the folder.
    pub fn sync(&self) -> Result<()> {
        match sync_folder(&self.0) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(error).with_context(|| format!("cannot write to {}", self.0.display()))
            }
            _ => Ok(()),
        }
    }

    /// Removes the files of steps after `step`; all without one. What was being written when a run was killed goes, too.
    ///
    /// # Errors
    /// Names the file.
    pub fn cut(&self, step: Option<usize>) -> Result<()> {
        for entry in std::fs::read_dir(&self.0).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            let goes = match step_of(&name) {
                Some(of) => step.is_none_or(|step| of > step),
                None => is_unfinished(&name),
            };
            if goes {
                let path = entry.path();
                std::fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))?;
            }
        }
        Ok(())
    }
}

/// The step of a file of completions or replays, by its name.
fn step_of(name: &str) -> Option<usize> {
    let table = Origin::ALL.iter().find_map(|origin| step_in(name, origin.prefix(), ".parquet"));
    table.or_else(|| step_in(name, REPLAY, ".json"))
}

fn step_in(name: &str, prefix: &str, ending: &str) -> Option<usize> {
    name.strip_prefix(prefix)?.strip_suffix(ending)?.parse().ok()
}

#[cfg(test)]
pub(crate) mod tests {
    use parquet::file::reader::{FileReader as _, SerializedFileReader};

    use super::*;

    /// The rows of a file: names and values as text.
    pub(crate) fn rows(path: &Path) -> Vec<Vec<(String, String)>> {
        let reader = SerializedFileReader::new(std::fs::File::open(path).expect("a file")).expect("parquet");
        let rows = reader.get_row_iter(None).expect("rows").map(|row| row.expect("a row"));
        rows.map(|row| {
            let columns = row.get_column_iter();
            columns.map(|(name, value)| (name.clone(), value.to_string().trim_matches('"').to_owned())).collect()
        })
        .collect()
    }

    /// The names of the files of completions of a run, in order.
    pub(crate) fn names(run: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(CompletionFolder::of(run).0).into_iter().flatten().flatten();
        let mut names: Vec<String> = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    fn table(step: usize) -> CompletionTable {
        let rewards = [Reward::of([("format", 0.5)]), Reward::of([("command/near \"it\"", -1.0), ("format", 0.25)])];
        CompletionTable::new(Origin::Rollout, step, 2)
            .with("prompt", Values::Text(vec!["ä?".to_owned(), String::new()]))
            .with_rewards(rewards.iter())
            .with("solved", Values::Flag(vec![true, false]))
    }

    #[test]
    fn a_table_is_read_back_and_a_reward_that_was_not_given_is_missing() {
        let dir = tempfile::tempdir().expect("a folder");
        let folder = CompletionFolder::of(dir.path());
        folder.write(&table(7)).expect("written");
        folder.write(&table(7)).expect("written again");
        folder.sync().expect("written");
        assert_eq!(names(dir.path()), ["completions_00007.parquet"]);
        let found = rows(&dir.path().join("completions/completions_00007.parquet"));
        let expected = [
            ["step 7", "prompt ä?", "format 0.5", "command/near \"it\" null", "reward 0.5", "solved true"],
            ["step 7", "prompt ", "format 0.25", "command/near \"it\" -1E0", "reward -7.5E-1", "solved false"],
        ];
        let shown = |row: &Vec<(String, String)>| -> Vec<String> {
            row.iter().map(|(name, value)| format!("{name} {value}")).collect()
        };
        assert_eq!(found.iter().map(shown).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn later_steps_are_cut_and_files_of_others_are_left() {
        let dir = tempfile::tempdir().expect("a folder");
        let folder = CompletionFolder::of(dir.path());
        folder.cut(Some(3)).and_then(|()| folder.sync()).expect("there is no folder yet");
        for step in [3, 4, 123_456] {
            folder.write(&table(step)).expect("written");
            folder.write(&CompletionTable { origin: Origin::Evaluation, ..table(step) }).expect("written");
            folder.write_replays(step, &[]).expect("written");
        }
        for name in ["notes.txt", "completions_best.parquet", ".spg-1-2.tmp"] {
            std::fs::write(folder.0.join(name), "x").expect("written");
        }
        let mine = ["completions_best.parquet", "notes.txt"];
        folder.cut(Some(3)).expect("cut");
        let kept = ["completions_00003.parquet", "eval_00003.parquet", "replay_00003.json"];
        let left = [kept[0], mine[0], kept[1], mine[1], kept[2]];
        assert_eq!(names(dir.path()), left);
        let of = |files: Vec<(usize, PathBuf)>| files.into_iter().map(|(step, _)| step).collect::<Vec<_>>();
        let by_origin = Origin::ALL.map(|origin| of(folder.tables(origin)));
        assert_eq!((by_origin, of(folder.replays())), ([vec![3], vec![3]], vec![3]));
        folder.cut(None).expect("cut");
        assert_eq!(names(dir.path()), mine);
    }
}
