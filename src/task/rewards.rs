//! Training rewards: named functions and their weights.

use std::borrow::Cow;

use super::command::{Request, RewardCommand};
use super::{Record, Result, Reward, TaskError, countdown, gsm8k, math, sudoku};
use crate::config::{LARGEST_REWARD, RewardFunction, RewardWeights};
use crate::signal::Stop;

/// A completion to be rewarded.
#[derive(Clone, Copy, Debug)]
pub struct Attempt<'a> {
    /// What was asked.
    pub record: &'a Record,
    /// The user's turn that asked it.
    pub prompt: &'a str,
    /// The answer up to its first end-of-sequence token, without special tokens.
    pub completion: &'a str,
}

/// The reward functions of a task.
#[derive(Debug)]
pub struct Rewards {
    functions: Vec<(RewardFunction, f64)>,
    command: Option<(RewardCommand, f64)>,
}

impl Rewards {
    /// Functions with their weights; those of weight 0 are left out.
    pub fn new(weights: &RewardWeights) -> Self {
        let weights = weights.iter().map(|(&function, weight)| (function, weight.get()));
        Self { functions: weights.filter(|&(_, weight)| weight != 0.0).collect(), command: None }
    }

    /// With the reward of a command beside them.
    pub fn with_command(self, command: RewardCommand, weight: f64) -> Self {
        Self { command: Some((command, weight)), ..self }
    }

    /// Whether nothing is rewarded: every weight is 0, and there is no command.
    pub fn are_none(&self) -> bool {
        self.functions.is_empty() && self.command.is_none()
    }

    /// Starts the command, if there is one.
    ///
    /// # Errors
    /// If it does not start, or `stop` asks to leave.
    pub fn start(&self, stop: &Stop) -> Result<()> {
        Ok(self.command.as_ref().map_or(Ok(()), |(command, _)| command.check(stop))?)
    }

    /// Checks that every function can read a record, so that none fails in the middle of a run.
    ///
    /// # Errors
    /// Names the field that is missing or wrong.
    pub fn check(&self, record: &Record) -> Result<()> {
        self.functions.iter().try_for_each(|&(function, _)| value(function, record, "").map(drop))
    }

    /// What completions earn: the parts are the functions' own values, the total is their weighted sum. The reward of
    /// a command is the part `command`, and a part of it `command/<name>`, which is not added again.
    ///
    /// # Errors
    /// A record that a function cannot read, whatever the command does wrong, a request to stop before it has answered
    /// all, and a total beyond [`LARGEST_REWARD`].
    pub fn score(&self, attempts: &[Attempt<'_>], stop: &Stop) -> Result<Vec<Reward>> {
        let mut rewards: Vec<Reward> = attempts.iter().map(|attempt| self.built_in(attempt)).collect::<Result<_>>()?;
        if let Some((command, weight)) = &self.command {
            let requests: Vec<Request<'_>> = attempts.iter().map(Request::from).collect();
            for (reward, answer) in rewards.iter_mut().zip(command.score(&requests, stop)?) {
                reward.total += weight * answer.reward;
                reward.parts.push((Cow::Borrowed("command"), answer.reward));
                let parts = answer.parts.into_iter().map(|(name, value)| (format!("command/{name}").into(), value));
                reward.parts.extend(parts);
            }
        }
        match rewards.iter().find(|reward| reward.total.is_nan() || reward.total.abs() > LARGEST_REWARD) {
            Some(reward) => Err(TaskError::TooLarge { total: format!("{:e}", reward.total) }),
            None => Ok(rewards),
        }
    }

    fn built_in(&self, attempt: &Attempt<'_>) -> Result<Reward> {
        let mut reward = Reward::default();
        for &(function, weight) in &self.functions {
            let value = value(function, attempt.record, attempt.completion);
            let value = value.map_err(|error| attempt.record.located(error))?;
            reward.total += weight * value;
            reward.parts.push((Cow::Borrowed(function.name()), value));
        }
        Ok(reward)
    }
}

impl<'a> From<&Attempt<'a>> for Request<'a> {
    fn from(attempt: &Attempt<'a>) -> Self {
        Self { prompt: attempt.prompt, completion: attempt.completion, record: attempt.record }
    }
}

/// What one function gives for a completion.
fn value(function: RewardFunction, record: &Record, completion: &str) -> Result<f64> {
    Ok(match function {
        RewardFunction::Xmlcount => gsm8k::xmlcount(completion),
        RewardFunction::SoftFormat => gsm8k::soft_format(completion),
        RewardFunction::StrictFormat => gsm8k::strict_format(completion),
        RewardFunction::Int => gsm8k::int(completion),
        RewardFunction::Correctness => match gsm8k::Reference::from_record(record)?.answer {
            Some(answer) => gsm8k::correctness(completion, &answer),
            None => 0.0,
        },
        RewardFunction::MathCorrectness => math::correctness(completion, &math::Reference::from_record(record)?.boxed),
        RewardFunction::MathFormat => math::format(completion),
        RewardFunction::Countdown => countdown::Reference::from_record(record)?.countdown(completion),
        RewardFunction::Sudoku => {
            let (puzzle, solution) = sudoku::cells(record)?;
            sudoku::reward(puzzle, solution, completion).total
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_weight_that_makes_a_reward_too_large_is_named() {
        let rewards = |weight: f64| {
            let weights = RewardWeights::from([(RewardFunction::Correctness, weight.try_into().unwrap())]);
            let (mut rewards, record) = (Rewards::new(&weights), Record::from([("answer", "#### 1".to_owned())]));
            // The configuration takes no weight beyond 1e6; with a command's reward beside it that is too much.
            rewards.functions[0].1 *= 1e4;
            rewards
                .score(&[Attempt { record: &record, prompt: "", completion: "<answer>1</answer>" }], &Stop::default())
        };
        assert_eq!(rewards(1.0).unwrap()[0].total, 2e4);
        assert_eq!(rewards(1e6), Err(TaskError::TooLarge { total: "2e10".into() }));
        let text = rewards(-1e6).unwrap_err().to_string();
        assert!(text.contains("-2e10") && text.contains("1e9") && text.contains("reward_command.weight"), "{text}");
    }
}
