//! The parts of the task, from `[task.math]`.

use minijinja::context;

use super::Reference;
use crate::config::{Benchmark, MathTable};
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
pub fn task(table: &MathTable, with_test: bool) -> Result<Task> {
    let accept = |record: &Record| {
        record.text("problem")?;
        Reference::from_record(record)?;
        Ok(true)
    };
    let splits = load::load(&table.data, &keys!("math"), with_test, &accept)?;
    let asked = splits.sample();
    let shown = context! { final_answer => "18", ..asked.clone() };
    let prompt = table.prompt_template.as_deref().unwrap_or(include_str!("prompt.jinja"));
    let demonstration = table.demonstration_template.as_deref().unwrap_or(include_str!("demonstration.jinja"));
    let [prompt, demonstration] = compile_all([
        Template::compile("task.math.prompt_template", prompt, &asked, &["problem"]),
        Template::compile("task.math.demonstration_template", demonstration, &shown, &[]),
    ])?;
    Ok(Task {
        name: "math",
        splits,
        prompt: PromptWriter::new(prompt),
        rewards: Rewards::new(&table.rewards),
        grader: Grader::Benchmark(Benchmark::Math),
        demonstrator: Demonstrator::Math(demonstration),
    })
}
