//! Counting verdicts.

use serde_json::{Value, json};

use super::Verdict;

/// The count of some verdicts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Completions.
    pub completions: usize,
    /// What can be right: the completions, or for Sudoku the empty cells of all puzzles.
    pub items: usize,
    /// Items that are right.
    pub correct: usize,
}

impl Tally {
    /// Counts a verdict.
    pub fn add(&mut self, verdict: &Verdict) {
        *self += Self { completions: 1, items: verdict.grade.out_of, correct: verdict.grade.correct };
    }

    /// Right items over items, 0 to 1; 0 where there are none.
    pub fn accuracy(&self) -> f64 {
        self.correct as f64 / self.items.max(1) as f64
    }

    /// The counts and the accuracy.
    pub fn as_json(&self) -> Value {
        json!({
            "items": self.items,
            "correct": self.correct,
            "accuracy": self.accuracy(),
            "completions": self.completions,
        })
    }
}

impl std::ops::AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.completions += other.completions;
        self.items += other.items;
        self.correct += other.correct;
    }
}
