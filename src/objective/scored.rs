//! The log-probs an objective reads and the gradient it writes.

use std::ops::Range;

/// One masked token that is scored.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ScoredToken {
    /// Index into the completion, `0..len`.
    pub position: usize,
    /// `log pi(x_position | prompt, z)` in nats.
    pub lp: f64,
}

/// The scored tokens of one completion under each of its `M` masks.
///
/// # Shapes
/// `M` lists; list `m` holds the tokens of `V_m`, by ascending position (arXiv 2510.09541, method section).
#[derive(Clone, Debug, PartialEq)]
pub struct ScoredTokens {
    len: usize,
    samples: Vec<Vec<ScoredToken>>,
    weights: Vec<f64>,
    parts: Vec<Range<usize>>,
}

/// `d loss / d lp`, shaped like the [`ScoredTokens`] it belongs to: `[M][|V_m|]`.
pub type LpGradient = Vec<Vec<f64>>;

impl ScoredTokens {
    /// The log-probs of a completion of `len` tokens: the real ones (up to and including the first EOS), or the whole
    /// canvas where masks go over all of it.
    ///
    /// # Panics
    /// In debug builds, if a list is not strictly ascending or leaves `0..len`: a bug of the caller.
    pub fn new(len: usize, samples: Vec<Vec<ScoredToken>>) -> Self {
        debug_assert!(samples.iter().flatten().all(|token| token.position < len), "a position beyond the end");
        debug_assert!(samples.iter().all(|tokens| tokens.is_sorted_by(|a, b| a.position < b.position)), "unsorted");
        let weights = vec![1.0; samples.len()];
        Self { len, samples, weights, parts: std::iter::once(0..len).collect() }
    }

    /// Of a completion whose log-likelihood is a sum over these parts, one after the other, each given those before it, with
    /// places hidden in each of them apart.
    ///
    /// # Panics
    /// In debug builds, if they are not `0..len`: a bug of the caller.
    pub fn in_parts(self, parts: Vec<Range<usize>>) -> Self {
        let ends = parts.iter().scan(0, |end, part| (part.start == std::mem::replace(end, part.end)).then_some(*end));
        debug_assert_eq!(ends.last(), Some(self.len), "{parts:?}");
        Self { parts, ..self }
    }

    /// With what each mask counts in a weighted sum over masks, instead of 1.
    ///
    /// # Panics
    /// In debug builds, if there is not one weight a sample: a bug of the caller.
    pub fn weighted(self, weights: Vec<f64>) -> Self {
        debug_assert_eq!(weights.len(), self.samples.len());
        Self { weights, ..self }
    }

    /// Joins positions (as [`super::masking::MaskSample::scored`] gives them, one list a sample) with the
    /// model's log-probs, taken from `lps` in that order: sample by sample, position by position.
    ///
    /// Returns `None` if `lps` runs out early.
    pub fn from_positions(len: usize, positions: &[Vec<usize>], lps: &mut impl Iterator<Item = f64>) -> Option<Self> {
        let samples = positions.iter().map(|sample| {
            sample.iter().map(|&position| Some(ScoredToken { position, lp: lps.next()? })).collect::<Option<Vec<_>>>()
        });
        Some(Self::new(len, samples.collect::<Option<Vec<_>>>()?))
    }

    /// Number of tokens that the completion's log-likelihood is a sum over.
    pub fn completion_len(&self) -> usize {
        self.len
    }

    /// The lists, one a sample.
    pub fn samples(&self) -> &[Vec<ScoredToken>] {
        &self.samples
    }

    /// The parts that the log-likelihood is a sum over, in order; one if masks go over the whole completion.
    pub fn parts(&self) -> &[Range<usize>] {
        &self.parts
    }

    /// The tokens of one part, as those of a completion of its own.
    pub fn part(&self, part: &Range<usize>) -> Self {
        let inside = |token: &&ScoredToken| part.contains(&token.position);
        let moved = |token: &ScoredToken| ScoredToken { position: token.position - part.start, ..*token };
        let samples = self.samples.iter().map(|sample| sample.iter().filter(inside).map(moved).collect());
        Self::new(part.len(), samples.collect()).weighted(self.weights.clone())
    }

    /// What each mask counts in a weighted sum over masks.
    pub fn weights(&self) -> &[f64] {
        &self.weights
    }

    /// A gradient of zeros in the shape of these tokens.
    pub(super) fn zeros(&self) -> LpGradient {
        self.samples.iter().map(|tokens| vec![0.0; tokens.len()]).collect()
    }

    #[cfg(test)]
    pub(super) fn lp_mut(&mut self, sample: usize, index: usize) -> &mut f64 {
        &mut self.samples[sample][index].lp
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_and_log_probs_are_joined_sample_by_sample() {
        let mut lps = [-1.0, -2.0, -3.0, -4.0].into_iter();
        let tokens = ScoredTokens::from_positions(5, &[vec![0, 4], vec![], vec![2]], &mut lps).unwrap();
        assert_eq!(tokens.samples()[0][1], ScoredToken { position: 4, lp: -2.0 });
        assert!(tokens.samples()[1].is_empty());
        assert_eq!(tokens.samples()[2][0], ScoredToken { position: 2, lp: -3.0 });
        assert_eq!(lps.next(), Some(-4.0), "the next completion's log-probs are left alone");
        assert_eq!(ScoredTokens::from_positions(5, &[vec![0, 1]], &mut [-1.0].into_iter()), None);
    }
}
