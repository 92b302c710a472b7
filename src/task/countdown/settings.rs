//! The parts of the task, from `[task.countdown]`.

use std::num::NonZeroUsize;

use minijinja::context;

use super::expression;
use super::problems::{Exhausted, ProblemMaker};
use super::{numbers, target};
use crate::config::{Benchmark, CountdownGenerateTable, CountdownTable, Split};
use crate::rng::Rng;
use crate::task::demonstration::Demonstrator;
use crate::task::grader::Grader;
use crate::task::load::{self, keys};
use crate::task::prompt::PromptWriter;
use crate::task::rewards::Rewards;
use crate::task::splits::Splits;
use crate::task::template::{Template, compile_all};
use crate::task::{Problem, Record, Result, Task, TaskError};

/// The task of a table.
///
/// # Errors
/// Data that cannot be loaded or made, and templates that cannot be used.
pub fn task(table: &CountdownTable, with_test: bool) -> Result<Task> {
    let asked = context! { numbers => [3, 7, 2], target => 17 };
    let solved = context! { expression => "7*2+3", ..asked.clone() };
    let prompt = table.prompt_template.as_deref().unwrap_or(include_str!("prompt.jinja"));
    let demonstration = &table.demonstration_template;
    let [prompt, demonstration] = compile_all([
        Template::compile("task.countdown.prompt_template", prompt, &asked, &["numbers", "target"]),
        Template::compile("task.countdown.demonstration_template", demonstration, &solved, &["expression"]),
    ])?;
    Ok(Task {
        name: "countdown",
        splits: splits(table, with_test)?,
        prompt: PromptWriter::new(prompt),
        rewards: Rewards::new(&table.rewards),
        grader: Grader::Benchmark(Benchmark::Countdown),
        demonstrator: Demonstrator::Countdown(demonstration, LazySolver { solve: table.demonstration_solve.get() }),
    })
}

fn splits(table: &CountdownTable, with_test: bool) -> Result<Splits> {
    let count = table.num_numbers.get();
    if let Some(generate) = &table.generate {
        return generated(generate, count);
    }
    let accept = |record: &Record| {
        target(record)?;
        Ok(numbers(record)?.len() == count)
    };
    let splits = load::load(&table.data, &keys!("countdown"), with_test, &accept)?;
    let negative = |record: &&Record| numbers(record).is_ok_and(|numbers| numbers.iter().any(|&n| n < 0));
    let never = splits.train.iter().filter(negative).count();
    if never > 0 {
        tracing::warn!(
            "{never} of {} training problems of task.countdown have negative numbers: the published reward knows no signs \
             and gives at most 0.1 for them; the exact verdict reads signs",
            splits.train.len()
        );
    }
    Ok(splits)
}

/// Problems of the table's seed; none is in two splits.
fn generated(table: &CountdownGenerateTable, num_numbers: usize) -> Result<Splits> {
    let size = |wanted: NonZeroUsize, split, key| made(table, num_numbers, split, wanted.get(), key);
    Ok(Splits {
        train: size(table.train_size, Split::Train, "task.countdown.generate.train_size")?,
        validation: size(table.validation_size, Split::Validation, "task.countdown.generate.validation_size")?,
        test: size(table.test_size, Split::Test, "task.countdown.generate.test_size")?,
    })
}

/// The first problems of a split, whatever size the table gives it; `size_key` is what to lower if there are too few.
///
/// # Errors
/// If so many are not found.
pub fn made(
    table: &CountdownGenerateTable,
    num_numbers: usize,
    split: Split,
    wanted: usize,
    size_key: &'static str,
) -> Result<Vec<Record>> {
    let maker = ProblemMaker {
        seed: table.data_seed,
        count: num_numbers,
        range: as_i64(table.min_number.get())..=as_i64(table.max_number.get()),
        max_target: as_i64(table.max_target.get()),
    };
    maker.records(split, wanted).map_err(|Exhausted { available }| {
        let message = format!(
            "only {available} different problems were found for this split, not {wanted}: lower the size, or raise the \
             largest number or target"
        );
        TaskError::Config(vec![Problem::new(size_key, message)])
    })
}

fn as_i64(n: usize) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

/// Writes expressions for demonstrations: one that reaches the target, or, now and then, any. A model that imitates it
/// earns some reward from the start and has something left to learn.
#[derive(Clone, Copy, Debug)]
pub struct LazySolver {
    solve: f64,
}

impl LazySolver {
    /// An expression for a record.
    ///
    /// # Errors
    /// If the record is not one of this task's, or its target cannot be reached.
    pub fn expression(self, record: &Record, rng: &mut Rng) -> Result<String> {
        let (numbers, target) = (numbers(record)?, target(record)?);
        let found = match rng.bernoulli(self.solve) {
            true => expression::solve(&numbers, target),
            false => expression::random(&numbers, rng).map(|(expression, _)| expression),
        };
        found.ok_or_else(|| TaskError::NoDemonstration {
            reason: format!("no expression over {numbers:?} that reaches {target} is found"),
        })
    }
}
