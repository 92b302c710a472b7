//! A record's completions and what they are worth.

use serde::{Deserialize, Serialize};

use crate::task::{Grade, Record, Reward};

/// A record with its completions.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// Place of the record in its split, from 0.
    pub doc_id: usize,
    /// The record.
    pub record: Record,
    /// What the model was given, special tokens included.
    pub prompt: String,
    /// The completions; never empty.
    pub responses: Vec<Response>,
}

/// One completion.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Response {
    /// The whole canvas as text, special tokens included.
    pub text: String,
    /// What was rewarded: the text up to its end, without special tokens.
    pub completion: String,
    /// What is right of it.
    pub grade: Grade,
    /// What it would earn in training.
    pub reward: Reward,
    /// Tokens up to and including the first EOS.
    pub length: usize,
    /// Tokens before the first EOS.
    pub effective_tokens: usize,
    /// Denoising steps it took.
    pub decoding_steps: usize,
}

impl Sample {
    /// The sum of a number over the completions.
    pub fn sum(&self, number: impl Fn(&Response) -> f64) -> f64 {
        self.responses.iter().map(number).sum()
    }

    /// Completions whose whole answer is right by the exact grader.
    pub fn exact(&self) -> usize {
        self.responses.iter().filter(|r| r.grade.exact).count()
    }

    /// Completions whose whole answer is right.
    pub fn solved(&self) -> usize {
        self.responses.iter().filter(|r| r.grade.solved()).count()
    }
}
