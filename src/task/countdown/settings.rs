//! The parts of the task, from `[task.countdown]`.

use minijinja::context;

use super::expression;
use super::problems::{Exhausted, ProblemMaker};
use super::{numbers, target};
use crate::config::{Benchmark, CountdownGenerateTable, CountdownTable};
use crate::rng::Rng;
use crate::task::demonstration::Demonstrator;
use crate::task::grader::Grader;
use crate::task::prompt::PromptWriter;
use crate::task::rewards::Rewards;
use crate::task::splits::Splits;
use crate::task::template::Template;
use crate::task::{Problem, Record, Result, Task, TaskError};

const DEFAULT_PROMPT: &str = include_str!("prompt.jinja");

/// The task of a table.
///
/// # Errors
/// [`TaskError::Config`] with every problem of the table; data that cannot be loaded.
pub fn task(table: &CountdownTable) -> Result<Task> {
    let mut problems = Vec::new();
    let mut keep = |result: Result<Template, Problem>| result.map_err(|problem| problems.push(problem)).ok();
    let asked = context! { numbers => [3, 7, 2], target => 17 };
    let source = table.prompt_template.as_deref().unwrap_or(DEFAULT_PROMPT);
    let prompt = keep(Template::compile("task.countdown.prompt_template", source, &asked, &["numbers", "target"]));
    let solved = context! { numbers => [3, 7, 2], target => 17, expression => "7*2+3" };
    let source = &table.demonstration_template;
    let demonstration = keep(Template::compile("task.countdown.demonstration_template", source, &solved, &["expression"]));
    let (true, Some(prompt), Some(demonstration)) = (problems.is_empty(), prompt, demonstration) else {
        return Err(TaskError::Config(problems));
    };
    Ok(Task {
        name: "countdown",
        splits: splits(table)?,
        prompt: PromptWriter::new(prompt),
        rewards: Rewards::new(&table.rewards),
        grader: Grader::Benchmark(Benchmark::Countdown),
        demonstrator: Demonstrator::Countdown(demonstration, LazySolver { solve: table.demonstration_solve.get() }),
    })
}

fn splits(table: &CountdownTable) -> Result<Splits> {
    match &table.generate {
        Some(generate) => generated(generate, table.num_numbers.get()),
        None => unimplemented!(),
    }
}

/// Problems of the table's seed; none is in two splits. Held-out problems come first, so that they stay the same
/// whatever the size of the training set.
fn generated(table: &CountdownGenerateTable, count: usize) -> Result<Splits> {
    let sizes = [table.test_size.get(), table.validation_size.get(), table.train_size.get()];
    let maker = ProblemMaker {
        seed: table.data_seed,
        count,
        range: as_i64(table.min_number.get())..=as_i64(table.max_number.get()),
        max_target: as_i64(table.max_target.get()),
    };
    let wanted = sizes.iter().fold(0usize, |sum, &size| sum.saturating_add(size));
    let mut records = maker.records(wanted).map_err(|Exhausted { available }| {
        let message = format!(
            "{wanted} problems are wanted in all, but only {available} were found: lower train_size, validation_size or \
             test_size, or raise max_number or max_target"
        );
        TaskError::Config(vec![Problem::new("task.countdown.generate", message)])
    })?;
    let train = records.split_off(sizes[0] + sizes[1]);
    let validation = records.split_off(sizes[0]);
    Ok(Splits { train, validation, test: records })
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
