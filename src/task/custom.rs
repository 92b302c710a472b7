//! A task that is all in the configuration: data, templates, and rewards by built-in functions or a command.

use std::time::Duration;

use minijinja::{Value, context};

use super::command::RewardCommand;
use super::demonstration::Demonstrator;
use super::grader::Grader;
use super::load::{self, keys};
use super::prompt::PromptWriter;
use super::rewards::Rewards;
use super::template::{Template, compile_all};
use super::{Record, Result, Task};
use crate::config::CustomTable;

/// The task of a table.
///
/// # Errors
/// Data that cannot be loaded, records that a reward function or the grader cannot read, and templates that cannot be
/// used.
pub fn task(table: &CustomTable, with_test: bool) -> Result<Task> {
    let mut rewards = Rewards::new(&table.rewards);
    if let Some(reward) = &table.reward_command {
        let limit = Duration::try_from_secs_f64(reward.time_limit_seconds.get()).unwrap_or(Duration::MAX);
        let command = RewardCommand::new(reward.command.clone(), limit).with_env(reward.env.clone());
        rewards = rewards.with_command(command, reward.weight.get());
    }
    let grader = table.grader.map_or(Grader::Reward(table.solved_reward.get()), Grader::Benchmark);
    let accept = |record: &Record| {
        rewards.check(record)?;
        grader.check(record)?;
        Ok(true)
    };
    let splits = load::load(&table.data, &keys!("custom"), with_test, &accept)?;
    let fields = splits.sample();
    let examples = vec![fields.clone(); table.few_shot.min(splits.train.len())];
    let asked = context! { examples => Value::from(examples), ..fields.clone() };
    let prompt = Template::compile("task.custom.prompt_template", &table.prompt_template, &asked, &[]);
    let demonstration = table.demonstration_template.as_deref();
    let demonstrator = match demonstration {
        None => Demonstrator::None,
        Some(source) => {
            let compiled = Template::compile("task.custom.demonstration_template", source, &fields, &[]);
            let [template] = compile_all([compiled])?;
            Demonstrator::Fields(template)
        }
    };
    let [prompt] = compile_all([prompt])?;
    Ok(Task {
        name: "custom",
        splits,
        prompt: PromptWriter::new(prompt).with_examples(table.few_shot, ""),
        rewards,
        grader,
        demonstrator,
    })
}
