//! `[algorithm.rloo]`: REINFORCE with a leave-one-out baseline (arXiv 2402.14740) on the ELBO of the whole canvas: no ratio,
//! no clip, no penalty, so one update on every set of completions.

use std::num::NonZeroUsize;

use serde::{Deserialize, Serialize};

use super::count;
use crate::config::{AdvantageKind, Aggregation, Link, Masks, Recipe, Surrogate};

/// `[algorithm.rloo]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RlooTable {
    /// Completions per prompt, g.
    pub num_generations: NonZeroUsize,
    /// Optimiser updates on the same completions, mu.
    pub num_iterations: NonZeroUsize,
    /// Masks per completion, M: random sets and their complements.
    pub num_t: NonZeroUsize,
}

impl Default for RlooTable {
    fn default() -> Self {
        Self { num_generations: count(6), num_iterations: count(1), num_t: count(2) }
    }
}

impl RlooTable {
    /// The likelihood of whole completions, raised by what each earned above the others.
    pub fn recipe(&self) -> Recipe {
        Recipe {
            surrogate: Surrogate::Sequence,
            masks: Masks::Pairs { num_t: self.num_t },
            link: Link::LINEAR,
            advantage: AdvantageKind::LeaveOneOut,
            aggregation: Aggregation::Completions,
            num_generations: self.num_generations,
            num_iterations: self.num_iterations,
        }
    }
}
