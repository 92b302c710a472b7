//! Tasks: records, the prompt of a record, the training reward and the grade of a completion.
//!
//! A task is one variant of [`Task`] and one implementation of the private trait `Rules`; adding one
//! means a file (or folder) beside `sudoku`, a variant, and its arm in `from_config` and `rules`.
//!
//! `gsm8k`, `math` and `countdown` score completions so far, from the fields of a record: each has a `Reference` that is
//! read from one, with `grade` and `reward`. Their data and prompts are not here yet.

pub mod command;
pub mod countdown;
mod error;
pub mod grading;
pub mod gsm8k;
pub mod math;
mod order;
mod record;
mod score;
pub mod sudoku;
pub mod tags;
mod template;

pub use error::{Problem, TaskError};
pub use order::{PromptOrder, record_at};
pub use record::Record;
pub use score::{Grade, Reward};

use crate::config::TaskTable;
use crate::rng::Rng;

type Result<T, E = TaskError> = std::result::Result<T, E>;

/// What every task can do. `Task` forwards to it, so that a new task is listed in one `match` only.
trait Rules {
    fn name(&self) -> &'static str;
    fn train_records(&self) -> &[Record];
    fn eval_records(&self) -> &[Record];
    fn prompt(&self, record: &Record) -> Result<String>;
    fn reward(&self, record: &Record, completion: &str) -> Reward;
    fn grade(&self, record: &Record, completion: &str) -> Grade;
    fn demonstration(&self, record: &Record, rng: &mut Rng) -> Result<String>;
}

/// A task with its data loaded and its templates compiled.
#[derive(Clone, Debug)]
pub enum Task {
    /// 4x4 Sudoku, generated from a seed.
    Sudoku(sudoku::Sudoku),
}

impl Task {
    /// Builds the task of a configuration.
    ///
    /// # Errors
    /// [`TaskError::Config`] with every problem of the table, each naming its key.
    pub fn from_config(table: &TaskTable) -> Result<Self> {
        match table {
            TaskTable::Sudoku(table) => sudoku::Sudoku::from_config(table).map(Task::Sudoku),
        }
    }

    fn rules(&self) -> &dyn Rules {
        match self {
            Task::Sudoku(task) => task,
        }
    }

    /// The name of the task's table in the configuration.
    pub fn name(&self) -> &'static str {
        self.rules().name()
    }

    /// The records to train on; never empty.
    pub fn train_records(&self) -> &[Record] {
        self.rules().train_records()
    }

    /// The held-out records; never empty, and the first few of them are as varied as the whole.
    pub fn eval_records(&self) -> &[Record] {
        self.rules().eval_records()
    }

    /// The user's turn of the conversation that asks for a record's answer.
    ///
    /// # Errors
    /// If the record is not one of this task's, or the template fails on it.
    pub fn prompt(&self, record: &Record) -> Result<String> {
        self.rules().prompt(record)
    }

    /// The training reward of a completion, cut after its first end-of-sequence token and with special
    /// tokens removed.
    pub fn reward(&self, record: &Record, completion: &str) -> Reward {
        self.rules().reward(record, completion)
    }

    /// The evaluation grade of a completion, given as decoded, special tokens included: graders take
    /// end tokens as the end of an answer that is not closed.
    pub fn grade(&self, record: &Record, completion: &str) -> Grade {
        self.rules().grade(record, completion)
    }

    /// A completion to imitate in supervised fine-tuning.
    ///
    /// # Errors
    /// As for [`Task::prompt`].
    pub fn demonstration(&self, record: &Record, rng: &mut Rng) -> Result<String> {
        self.rules().demonstration(record, rng)
    }
}
