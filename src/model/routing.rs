//! Which experts the tokens of a mixture go to, and how much each of them counts.
//!
//! A router's logits become scores in f32, a softmax over all experts or a sigmoid of each. The `k` best experts are chosen,
//! in some families by score plus a bias that keeps experts equally busy, and among the best groups only (arXiv
//! 2412.19437, eqs. 12 to 16); what they count is the score alone, in some families divided by the sum of the chosen ones.
//! Between equals the first one is chosen.

use std::ops::Range;

use rayon::prelude::*;

/// What a router makes of its logits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Score {
    /// `exp(l_m) / sum_i exp(l_i)`.
    Softmax,
    /// `1 / (1 + exp(-l_m))`.
    Sigmoid,
}

/// How experts are chosen and weighted.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Routing {
    /// Experts, `M`.
    pub experts: usize,
    /// Of which every token goes to so many, `k`.
    pub chosen: usize,
    /// What is made of the logits.
    pub score: Score,
    /// Whether the choice, not the weight, is by score plus bias.
    pub biased: bool,
    /// Groups of neighbouring experts; divides `experts`.
    pub groups: usize,
    /// Groups that experts are chosen from: those whose two best sum to the most.
    pub kept_groups: usize,
    /// Whether weights are divided by the sum of the chosen scores.
    pub normalised: bool,
    /// What weights are multiplied with.
    pub scale: f64,
}

/// Keeps a sum of scores from zero (upstream's number).
const LEAST: f32 = 1e-20;

/// Where the `N` tokens of a pass go: `P = N k` pairs of token and expert, sorted by expert, then by token.
#[derive(Clone, Debug)]
pub struct Routes {
    /// The tokens of the pairs, `[P]`.
    pub tokens: Vec<u32>,
    /// What the pairs count, `[P]`.
    pub weights: Vec<f32>,
    /// The first pair of every expert, and `P`: `[M + 1]`.
    starts: Vec<usize>,
    /// All scores, `[N, M]`.
    scores: Vec<f32>,
    /// Every token's pairs, its experts in order, `[N, k]`.
    pairs: Vec<u32>,
}

impl Routes {
    /// The pairs of an expert.
    pub fn of(&self, expert: usize) -> Range<usize> {
        self.starts[expert]..self.starts[expert + 1]
    }

    /// What is held, in bytes.
    #[cfg(test)]
    pub fn bytes(&self) -> usize {
        4 * (self.tokens.len() + self.weights.len() + self.scores.len() + self.pairs.len()) + 8 * self.starts.len()
    }
}

impl Routing {
    /// The best of a softmax over all experts, weighted as it says.
    pub const fn softmax(experts: usize, chosen: usize) -> Self {
        Self {
            experts,
            chosen,
            score: Score::Softmax,
            biased: false,
            groups: 1,
            kept_groups: 1,
            normalised: false,
            scale: 1.0,
        }
    }

    /// Bytes of the routes of so many tokens.
    pub fn bytes(&self, tokens: usize) -> usize {
        size_of::<f32>() * tokens * (self.experts + 3 * self.chosen) + size_of::<usize>() * (self.experts + 1)
    }

    /// Sends tokens to experts.
    ///
    /// # Shapes
    /// `logits` `[N, M]`, `bias` `[M]` if there is one.
    pub fn route(&self, logits: &[f32], bias: Option<&[f32]>) -> Routes {
        let (m, k) = (self.experts, self.chosen);
        let mut scores = logits.to_vec();
        let mut chosen = vec![0u32; logits.len() / m * k];
        scores.par_chunks_exact_mut(m).zip(chosen.par_chunks_exact_mut(k)).for_each(|(scores, chosen)| {
            self.score(scores);
            chosen.copy_from_slice(&self.best(scores, bias));
        });
        let mut starts = vec![0; m + 1];
        chosen.iter().for_each(|&expert| starts[expert as usize + 1] += 1);
        (0..m).for_each(|expert| starts[expert + 1] += starts[expert]);
        let mut next = starts.clone();
        let (mut tokens, mut weights) = (vec![0; chosen.len()], vec![0.0; chosen.len()]);
        let mut pairs = vec![0; chosen.len()];
        for (token, experts) in chosen.chunks_exact(k).enumerate() {
            let scores = &scores[token * m..][..m];
            let factor = self.factor(experts.iter().map(|&expert| scores[expert as usize]));
            for (j, &expert) in experts.iter().enumerate() {
                let pair = next[expert as usize];
                next[expert as usize] += 1;
                (tokens[pair], weights[pair]) = (token as u32, scores[expert as usize] * factor);
                pairs[token * k + j] = pair as u32;
            }
        }
        Routes { tokens, weights, starts, scores, pairs }
    }

    /// Gradient of the logits, from that of the weights.
    ///
    /// With `w_j = c s_j / S`, `S` the sum of the chosen scores: `ds_j = c / S (dw_j - sum_i dw_i s_i / S)`, or `c dw_j`
    /// where weights are not divided; then through sigmoid or softmax. Which experts are chosen has no gradient.
    ///
    /// # Shapes
    /// `d_weights` `[P]`; returns `[N, M]`.
    pub fn gradient(&self, routes: &Routes, d_weights: &[f32]) -> Vec<f32> {
        let (m, k) = (self.experts, self.chosen);
        let expert_of = |pair: usize| routes.starts.partition_point(|&start| start <= pair) - 1;
        let mut d_logits = vec![0.0; routes.scores.len()];
        let tokens = d_logits.par_chunks_exact_mut(m).zip(routes.scores.par_chunks_exact(m));
        tokens.zip(routes.pairs.par_chunks_exact(k)).for_each(|((d_logits, scores), pairs)| {
            let chosen: Vec<(usize, f32)> =
                pairs.iter().map(|&pair| (expert_of(pair as usize), d_weights[pair as usize])).collect();
            let factor = self.factor(chosen.iter().map(|&(expert, _)| scores[expert]));
            let along: f32 = chosen.iter().map(|&(expert, dw)| dw * scores[expert]).sum();
            let mean = if self.normalised { along * factor / self.scale as f32 } else { 0.0 };
            for &(expert, dw) in &chosen {
                d_logits[expert] = factor * (dw - mean);
            }
            match self.score {
                Score::Sigmoid => d_logits.iter_mut().zip(scores).for_each(|(d, &s)| *d *= s * (1.0 - s)),
                Score::Softmax => {
                    let along: f32 = chosen.iter().map(|&(expert, _)| d_logits[expert] * scores[expert]).sum();
                    d_logits.iter_mut().zip(scores).for_each(|(d, &s)| *d = s * (*d - along));
                }
            }
        });
        d_logits
    }

    /// Logits to scores.
    fn score(&self, logits: &mut [f32]) {
        match self.score {
            Score::Sigmoid => logits.iter_mut().for_each(|l| *l = 1.0 / (1.0 + (-*l).exp())),
            Score::Softmax => {
                let top = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                logits.iter_mut().for_each(|l| *l = (*l - top).exp());
                let sum: f32 = logits.iter().sum();
                logits.iter_mut().for_each(|l| *l /= sum);
            }
        }
    }

    /// What the chosen scores are multiplied with.
    fn factor(&self, chosen: impl Iterator<Item = f32>) -> f32 {
        let divisor = if self.normalised { chosen.sum::<f32>() + LEAST } else { 1.0 };
        self.scale as f32 / divisor
    }

    /// The chosen experts of a token, in order.
    fn best(&self, scores: &[f32], bias: Option<&[f32]>) -> Vec<u32> {
        let choice: Vec<f32> = match bias {
            Some(bias) => scores.iter().zip(bias).map(|(s, b)| s + b).collect(),
            None => scores.to_vec(),
        };
        let width = self.experts / self.groups;
        let kept: Vec<usize> = match self.groups == self.kept_groups {
            true => (0..self.groups).collect(),
            false => {
                let sums = choice.chunks_exact(width).map(|group| {
                    let two = first(&(0..width).collect::<Vec<_>>(), 2, |i| group[i]);
                    two.into_iter().map(|i| group[i]).sum::<f32>()
                });
                let sums: Vec<f32> = sums.collect();
                first(&(0..self.groups).collect::<Vec<_>>(), self.kept_groups, |group| sums[group])
            }
        };
        let open: Vec<usize> = kept.into_iter().flat_map(|group| group * width..(group + 1) * width).collect();
        first(&open, self.chosen, |expert| choice[expert]).into_iter().map(|expert| expert as u32).collect()
    }
}

/// The `n` items of the largest values, in the order in which they were given.
fn first(items: &[usize], n: usize, value: impl Fn(usize) -> f32) -> Vec<usize> {
    let mut sorted = items.to_vec();
    sorted.sort_by(|&a, &b| value(b).total_cmp(&value(a)));
    sorted.truncate(n);
    sorted.sort_unstable();
    sorted
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ops::testing::random;

    const PLAIN: Routing = Routing::softmax(8, 3);
    const GROUPED: Routing = Routing {
        score: Score::Sigmoid,
        biased: true,
        groups: 4,
        kept_groups: 2,
        normalised: true,
        scale: 2.5,
        ..PLAIN
    };

    fn logits(tokens: usize) -> Vec<f32> {
        random(1, (tokens, 8)).and_then(|x| x.flatten_all()?.to_vec1()).expect("numbers")
    }

    /// Weight of every expert, zero if it is not chosen: `[N, M]`.
    fn dense(routing: Routing, routes: &Routes) -> Vec<f32> {
        let mut all = vec![0.0; routes.scores.len()];
        for expert in 0..routing.experts {
            for pair in routes.of(expert) {
                all[routes.tokens[pair] as usize * routing.experts + expert] = routes.weights[pair];
            }
        }
        all
    }

    #[test]
    fn the_best_experts_are_chosen_and_weighted() {
        let scores = [0.1f32, 0.5, 0.2, 0.9, 0.3, 0.3, 0.0, 0.8].map(|p: f32| p.ln());
        let routes = PLAIN.route(&scores, None);
        let sum = 3.1;
        let expected = [0.0, 0.5, 0.0, 0.9, 0.0, 0.0, 0.0, 0.8].map(|p| p / sum);
        for (found, expected) in dense(PLAIN, &routes).iter().zip(expected) {
            assert!((found - expected).abs() < 1e-6, "{found} is not {expected}");
        }
        assert_eq!(PLAIN.route(&[0.0; 8], None).tokens.len(), 3);
        assert_eq!((0..8).filter(|&e| !PLAIN.route(&[0.0; 8], None).of(e).is_empty()).collect::<Vec<_>>(), [0, 1, 2]);
    }

    #[test]
    fn groups_are_kept_by_their_two_best_and_the_bias_counts_for_the_choice_only() {
        let logit = |s: f32| (s / (1.0 - s)).ln();
        // pairs sum to 0.9, 1.0, 0.7, 0.8; the bias lifts the third to 1.1
        let scores = [0.1f32, 0.8, 0.5, 0.5, 0.3, 0.4, 0.4, 0.4];
        let bias = [0.0, 0.0, 0.0, 0.0, 0.2, 0.2, 0.0, 0.0];
        let routes = GROUPED.route(&scores.map(logit), Some(&bias));
        // of experts 2 to 5: 0.5, 0.5, 0.5, 0.6 with the bias; the first of equals come first
        let sum = 0.5 + 0.5 + 0.4;
        let expected = [0.0, 0.0, 0.5, 0.5, 0.0, 0.4, 0.0, 0.0].map(|s| 2.5 * s / sum);
        for (found, expected) in dense(GROUPED, &routes).iter().zip(expected) {
            assert!((found - expected).abs() < 1e-5, "{found} is not {expected}");
        }
    }

    #[test]
    fn tokens_are_sorted_by_expert_and_routed_one_by_one() {
        let (logits, bias) = (logits(9), [0.3, -0.1, 0.0, 0.2, 0.0, 0.1, -0.2, 0.0]);
        for (routing, bias) in [(PLAIN, None), (GROUPED, Some(&bias[..]))] {
            let all = routing.route(&logits, bias);
            assert_eq!((all.tokens.len(), all.bytes()), (27, routing.bytes(9)));
            for expert in 0..8 {
                assert!(all.tokens[all.of(expert)].is_sorted(), "{routing:?}");
            }
            let alone = logits.chunks(8).flat_map(|logits| dense(routing, &routing.route(logits, bias)));
            assert_eq!(dense(routing, &all), alone.collect::<Vec<_>>());
        }
    }

    #[test]
    fn the_gradient_matches_finite_differences() {
        let logits = logits(5);
        for normalised in [false, true] {
            for routing in [Routing { normalised, ..PLAIN }, Routing { normalised, biased: false, ..GROUPED }] {
                let dy: Vec<f32> = (0..40).map(|i| ((i * 7 % 11) as f32 - 5.0) / 5.0).collect();
                let loss = |logits: &[f32]| -> f64 {
                    let all = dense(routing, &routing.route(logits, None));
                    all.iter().zip(&dy).map(|(&w, &d)| f64::from(w) * f64::from(d)).sum()
                };
                let routes = routing.route(&logits, None);
                let mut d_weights = vec![0.0; routes.tokens.len()];
                for expert in 0..8 {
                    routes.of(expert).for_each(|p| d_weights[p] = dy[routes.tokens[p] as usize * 8 + expert]);
                }
                let gradient = routing.gradient(&routes, &d_weights);
                for i in 0..logits.len() {
                    let step = 1e-3;
                    let at = |by: f32| {
                        let mut moved = logits.clone();
                        moved[i] += by;
                        loss(&moved)
                    };
                    let expected = (at(step) - at(-step)) / f64::from(2.0 * step);
                    let off = (f64::from(gradient[i]) - expected).abs();
                    assert!(off < 2e-3, "{routing:?}, logit {i}: {} is not {expected}", gradient[i]);
                }
            }
        }
    }
}
