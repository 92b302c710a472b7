//! Tasks: records, the prompt of a record, the training rewards and the grade of a completion.
//!
//! A [`Task`] is put together from parts that know nothing of each other: records split by name, a prompt template,
//! weighted reward functions, a grader, and whatever writes demonstrations. A benchmark's module (`gsm8k`, `math`,
//! `countdown`, `sudoku`) holds its rules and says which parts make its task; a custom task takes them from the
//! configuration.

pub mod command;
pub mod countdown;
mod custom;
pub mod data;
mod demonstration;
mod error;
mod grader;
pub mod grading;
pub mod gsm8k;
mod load;
pub mod math;
mod order;
mod prompt;
mod record;
mod rewards;
mod score;
mod splits;
pub mod sudoku;
pub mod tags;
mod template;

pub use error::{Problem, TaskError};
pub use order::{PromptOrder, record_at};
pub use record::Record;
pub use rewards::Attempt;
pub use score::{Grade, Reward, mean_parts};

use crate::config::{Split, TaskTable};
use crate::rng::Rng;
use crate::signal::Stop;
use demonstration::Demonstrator;
use grader::Grader;
use prompt::PromptWriter;
use rewards::Rewards;
use splits::Splits;

type Result<T, E = TaskError> = std::result::Result<T, E>;

/// A task with its data loaded and its templates compiled.
#[derive(Debug)]
pub struct Task {
    name: &'static str,
    splits: Splits,
    prompt: PromptWriter,
    rewards: Rewards,
    grader: Grader,
    demonstrator: Demonstrator,
}

impl Task {
    /// Builds the task of a configuration and loads its data; that of the test only if `with_test`, so that nobody
    /// has to download what is not used. [`task_problems`](crate::config::task_problems) finds nothing wrong with the table.
    ///
    /// # Errors
    /// [`TaskError::Config`] with every problem of the table, each naming its key; data that cannot be had or is not
    /// the task's.
    pub fn from_config(table: &TaskTable, with_test: bool) -> Result<Self> {
        match table {
            TaskTable::Gsm8k(table) => gsm8k::task(table, with_test),
            TaskTable::Math(table) => math::task(table, with_test),
            TaskTable::Custom(table) => custom::task(table, with_test),
            TaskTable::Countdown(table) => countdown::task(table, with_test),
            TaskTable::Sudoku(table) => sudoku::task(table, with_test),
        }
    }

    /// The name of the task's table in the configuration.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// The records of a split; never empty, and the first few of them are as varied as the whole.
    ///
    /// # Errors
    /// If the task has none.
    pub fn records(&self, split: Split) -> Result<&[Record]> {
        self.splits.get(split, self.name)
    }

    /// The user's turn of the conversation that asks for a record's answer.
    ///
    /// # Errors
    /// If the record is not one of this task's, or the template fails on it.
    pub fn prompt(&self, record: &Record) -> Result<String> {
        self.prompt.write(record, &self.splits.train)
    }

    /// Whether the reward functions can read the training records, so that none fails in the middle of a run; and whether
    /// there is one.
    ///
    /// # Errors
    /// Names the field that is missing or wrong.
    pub fn check_rewards(&self) -> Result<bool> {
        self.splits.train.first().map_or(Ok(()), |record| self.rewards.check(record))?;
        Ok(!self.rewards.are_none())
    }

    /// Starts the reward command, if there is one, so that a command that cannot be used ends a run at its start.
    ///
    /// # Errors
    /// If it does not start, or `stop` asks to leave.
    pub fn start_rewards(&self, stop: &Stop) -> Result<()> {
        self.rewards.start(stop)
    }

    /// The training rewards of completions. A reward command is left alone once `stop` asks for it.
    ///
    /// # Errors
    /// A record that is not one of this task's, whatever the reward command does wrong, and
    /// [`Interrupted`](crate::signal::Interrupted).
    pub fn rewards(&self, attempts: &[Attempt<'_>], stop: &Stop) -> Result<Vec<Reward>> {
        self.rewards.score(attempts, stop)
    }

    /// The evaluation grade of a completion, given as decoded, special tokens included (graders take end tokens as the
    /// end of an answer that is not closed), and with the training reward it earned.
    ///
    /// # Errors
    /// A record that is not one of this task's.
    pub fn grade(&self, record: &Record, completion: &str, reward: &Reward) -> Result<Grade> {
        self.grader.grade(record, completion, reward).map_err(|error| record.located(error))
    }

    /// A completion to imitate in supervised fine-tuning.
    ///
    /// # Errors
    /// As for [`Task::prompt`], and for a task without demonstrations.
    pub fn demonstration(&self, record: &Record, rng: &mut Rng) -> Result<String> {
        self.demonstrator.write(record, rng).map_err(|error| record.located(error))
    }

    /// Whether [`Task::demonstration`] always gives the same text for a record.
    pub fn has_fixed_demonstrations(&self) -> bool {
        self.demonstrator.is_fixed()
    }
}
