//! The parts of the task, from `[task.gsm8k]`.

use minijinja::context;

use super::{Reference, final_answer, reasoning};
use crate::config::{Benchmark, Gsm8kTable};
use crate::task::demonstration::Demonstrator;
use crate::task::grader::Grader;
use crate::task::load::{self, keys};
use crate::task::prompt::PromptWriter;
use crate::task::rewards::Rewards;
use crate::task::template::{Template, compile_all};
use crate::task::{Record, Result, Task};

/// The task of a table.
///
/// # Errors
/// Data that cannot be loaded, and templates that cannot be used.
pub fn task(table: &Gsm8kTable, with_test: bool) -> Result<Task> {
    let accept = |record: &Record| {
        record.text("question")?;
        // Demonstrations need the worked answer, rewards only its number.
        Reference::from_record(record)?;
        Ok(true)
    };
    let splits = load::load(&table.data, &keys!("gsm8k"), with_test, &accept)?;
    let asked = splits.sample();
    let shown = context! { reasoning => "9 * 2 = 18", final_answer => "18", ..asked.clone() };
    let prompt = table.prompt_template.as_deref().unwrap_or(include_str!("prompt.jinja"));
    let demonstration = table.demonstration_template.as_deref().unwrap_or(include_str!("demonstration.jinja"));
    let [prompt, demonstration] = compile_all([
        Template::compile("task.gsm8k.prompt_template", prompt, &asked, &["question"]),
        Template::compile("task.gsm8k.demonstration_template", demonstration, &shown, &[]),
    ])?;
    Ok(Task {
        name: "gsm8k",
        splits,
        prompt: PromptWriter::new(prompt),
        rewards: Rewards::new(&table.rewards),
        grader: Grader::Benchmark(Benchmark::Gsm8k),
        demonstrator: Demonstrator::Gsm8k(demonstration),
    })
}

/// What a demonstration is given beside the fields of a record: the steps of its worked answer, and the number.
///
/// # Errors
/// If the record has no worked answer.
pub fn worked(record: &Record) -> Result<(String, String)> {
    let answer = match record.optional_answer("answer")? {
        Some(answer) => answer,
        None => record.text("answer")?.into(),
    };
    Ok((reasoning(&answer).to_owned(), final_answer(&answer).to_owned()))
}
