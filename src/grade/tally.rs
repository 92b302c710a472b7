//! Counting verdicts.

use serde_json::{Value, json};

use super::Verdict;
use crate::task::Grade;

/// The count of some verdicts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Completions.
    pub completions: usize,
    /// What can be right: the completions, or for Sudoku the empty cells of all puzzles.
    pub items: usize,
    /// Items that are right.
    pub correct: usize,
    /// Completions that are right by the exact grader.
    pub exact: usize,
}

impl Tally {
    /// Counts a verdict.
    pub fn add(&mut self, verdict: &Verdict) {
        let Grade { correct, out_of: items, exact, .. } = verdict.grade;
        *self += Self { completions: 1, items, correct, exact: usize::from(exact) };
    }

    /// Right items over items, 0 to 1; 0 where there are none.
    pub fn accuracy(&self) -> f64 {
        self.correct as f64 / self.items.max(1) as f64
    }

    /// Completions that are right by the exact grader over all completions, 0 to 1; 0 where there are none.
    pub fn exact_share(&self) -> f64 {
        self.exact as f64 / self.completions.max(1) as f64
    }

    /// The counts and the two shares.
    pub fn as_json(&self) -> Value {
        json!({
            "items": self.items,
            "correct": self.correct,
            "accuracy": self.accuracy(),
            "exact": self.exact_share(),
            "completions": self.completions,
        })
    }
}

impl std::ops::AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.completions += other.completions;
        self.items += other.items;
        self.correct += other.correct;
        self.exact += other.exact;
    }
}
