//! How completions came about, token by token: files of replays, in the folder of a run's completions.
//!
//! A file holds the first held-out completions of one evaluation at every setting, as a JSON list of [`Replay`].

use serde::{Deserialize, Serialize};

use crate::config::Remasking;

/// Completions kept so of every setting of an evaluation.
pub const REPLAYS: usize = 4;

/// A completion and the order in which its tokens were committed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Replay {
    /// The setting of the evaluation, such as `t0.9`.
    pub setting: String,
    /// What the confidence of a commit is.
    pub remasking: Remasking,
    /// What the model was given, special tokens included.
    pub prompt: String,
    /// What it would earn in training.
    pub reward: Option<f64>,
    /// Tokens up to and including the first EOS.
    pub length: usize,
    /// The text of every token of the canvas: joined, the whole of it.
    pub pieces: Vec<String>,
    /// The commits, in their order; tokens behind an early stop have none.
    pub commits: Vec<Commit>,
}

/// A token was committed; in JSON a list of three numbers.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Commit(
    /// The token's position in the canvas.
    pub usize,
    /// The denoising step, from 0.
    pub usize,
    /// What it was ranked by, to four digits.
    pub f64,
);

impl Commit {
    /// A commit at a position and a step.
    pub fn new(position: usize, step: usize, confidence: f64) -> Self {
        Self(position, step, (confidence * 1e4).round() / 1e4)
    }
}
