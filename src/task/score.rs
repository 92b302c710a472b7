//! What a completion earns: the training reward and the evaluation grade.

use std::borrow::Cow;
use std::collections::HashMap;

use serde::{Deserialize, Serialize};

/// The training reward of a completion.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Reward {
    /// The weighted sum of the parts: what the policy gradient sees.
    pub total: f64,
    /// The named reward functions and what each of them gave, without its weight.
    pub parts: Vec<(Cow<'static, str>, f64)>,
}

impl Reward {
    /// The sum of named parts.
    pub fn of<const N: usize>(parts: [(&'static str, f64); N]) -> Self {
        let total = parts.iter().map(|(_, value)| value).sum();
        Self { total, parts: parts.map(|(name, value)| (Cow::Borrowed(name), value)).to_vec() }
    }
}

/// Every part of some rewards with its mean over the completions that have it, in the order of appearance.
pub fn mean_parts<'a>(rewards: impl Iterator<Item = &'a Reward>) -> Vec<(&'a str, f64)> {
    let mut places: HashMap<&str, usize> = HashMap::new();
    let mut sums: Vec<(&str, f64, f64)> = Vec::new();
    for (name, value) in rewards.flat_map(|reward| &reward.parts) {
        let place = *places.entry(name).or_insert_with(|| {
            sums.push((name, 0.0, 0.0));
            sums.len() - 1
        });
        let (_, sum, n) = &mut sums[place];
        (*sum, *n) = (*sum + value, *n + 1.0);
    }
    sums.into_iter().map(|(name, sum, n)| (name, sum / n)).collect()
}

/// The evaluation grade of a completion. The accuracy of a set is the sum of `correct` over the sum of
/// `out_of`, so tasks with partial credit (Sudoku counts cells) and without (1 of 1) read the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grade {
    /// The answer found in the completion, if there is one.
    pub answer: Option<String>,
    /// Units of the answer that are right.
    pub correct: usize,
    /// Units asked for.
    pub out_of: usize,
    /// Whether the exact grader takes the whole answer for right too. It stands beside the rules that `correct` and
    /// `out_of` follow: it reads only an answer that the completion declares, in a box or a closed `<answer>`, and
    /// compares numbers exactly. Where there are no such rules, for a task graded by its reward, it is
    /// [`Grade::solved`].
    pub exact: bool,
}

impl Grade {
    /// Whether the whole answer is right.
    pub fn solved(&self) -> bool {
        self.answer.is_some() && self.correct == self.out_of
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn means_are_over_the_completions_that_have_the_part() {
        let rewards = [Reward::of([("b", 1.0), ("a", 2.0)]), Reward::of([("a", 4.0)]), Reward::of([("c", -0.5)])];
        assert_eq!(mean_parts(rewards.iter()), [("b", 1.0), ("a", 3.0), ("c", -0.5)]);
    }

    #[test]
    fn a_hundred_thousand_names_take_no_longer_than_as_many_values() {
        let parts = |from: usize| (from..from + 1000).map(|i| (format!("part {i}").into(), 1.0)).collect();
        let rewards: Vec<Reward> = (0..100).map(|i| Reward { total: 0.0, parts: parts(1000 * i) }).collect();
        let start = std::time::Instant::now();
        assert_eq!(mean_parts(rewards.iter()).len(), 100_000);
        // looked for one by one they take ten seconds and more
        assert!(start.elapsed().as_secs_f64() < 3.0, "{:?}", start.elapsed());
    }
}
