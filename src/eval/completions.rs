//! The completions of an evaluation as a table.

use super::{Outcome, Response, Sample};
use crate::report::{CompletionTable, Origin, Values};

/// All completions of an evaluation at `step`, setting after setting and record after record.
pub fn completion_table(step: usize, outcomes: &[Outcome]) -> CompletionTable {
    let all: Vec<(&Outcome, &Sample, &Response)> = outcomes
        .iter()
        .flat_map(|outcome| outcome.samples.iter().map(move |sample| (outcome, sample)))
        .flat_map(|(outcome, sample)| sample.responses.iter().map(move |response| (outcome, sample, response)))
        .collect();
    let texts = |text: fn(&(&Outcome, &Sample, &Response)) -> String| Values::Text(all.iter().map(text).collect());
    let counts = |count: fn(&Response) -> usize| Values::Whole(all.iter().map(|(_, _, r)| count(r) as i64).collect());
    CompletionTable::new(Origin::Evaluation, step, all.len())
        .with("setting", texts(|(outcome, _, _)| outcome.evaluation.label().to_owned()))
        .with("prompt", texts(|(_, sample, _)| sample.prompt.clone()))
        .with("completion", texts(|(_, _, response)| response.completion.clone()))
        .with_rewards(all.iter().map(|(_, _, response)| &response.reward))
        .with("correct", counts(|response| response.grade.correct))
        .with("out_of", counts(|response| response.grade.out_of))
        .with("solved", Values::Flag(all.iter().map(|(_, _, response)| response.grade.solved()).collect()))
}
