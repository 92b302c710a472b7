//! Sampling from the most likely tokens only: the smallest set of them that has the probability `top_p`, and of these at
//! most `top_k`.
//!
//! Both are of the tempered distribution without the token that is never chosen. At least the most likely token stays, and
//! ties go to the lowest id. The filter needs whole rows of logits at once, where a [`Tally`](super::candidate::Tally) sees
//! slices.

use super::candidate::Rule;

/// Which tokens can be sampled.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Filter {
    /// Probability of the set; 1: all tokens.
    pub top_p: f64,
    /// The most tokens of the set, if there is a limit.
    pub top_k: Option<usize>,
}

/// Tokens that are looked at first; more if they do not have the probability that is wanted.
const FEW: usize = 256;

impl Filter {
    /// Whether it leaves anything out.
    pub fn acts(&self) -> bool {
        self.top_p < 1.0 || self.top_k.is_some()
    }

    /// The token that a sample at `uniform` in `[0, 1)` falls on, with its logit; none if no token can be sampled.
    pub fn sample(&self, logits: &[f32], rule: Rule, uniform: f64) -> Option<(f32, usize)> {
        let kept = self.kept(logits, rule);
        let total: f64 = kept.iter().map(|(weight, _)| weight).sum();
        let mut left = uniform * total;
        let found = kept.iter().find(|(weight, _)| {
            left -= weight;
            left < 0.0
        });
        found.or(kept.last()).map(|&(_, token)| (logits[token], token))
    }

    /// The tokens that can be sampled with their weights, the most likely one first.
    fn kept(&self, logits: &[f32], rule: Rule) -> Vec<(f64, usize)> {
        let allowed = || logits.iter().enumerate().filter(|&(token, _)| token != rule.excluded);
        let best = allowed().map(|(_, &logit)| logit).fold(f32::NEG_INFINITY, f32::max);
        if best == f32::NEG_INFINITY {
            return Vec::new();
        }
        let weight = |logit: f32| (f64::from(logit - best) / rule.temperature).exp();
        let mut all: Vec<(f64, usize)> = allowed().map(|(token, &logit)| (weight(logit), token)).collect();
        let wanted = self.top_p * all.iter().map(|(weight, _)| weight).sum::<f64>();
        let most = self.top_k.unwrap_or(usize::MAX).min(all.len());
        let order = |a: &(f64, usize), b: &(f64, usize)| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1));
        let mut looked_at = FEW.min(most);
        loop {
            if looked_at < all.len() {
                all.select_nth_unstable_by(looked_at, order);
            }
            let (mut sum, first) = (0.0, &mut all[..looked_at]);
            first.sort_unstable_by(order);
            let enough = first.iter().position(|(weight, _)| {
                sum += weight;
                sum >= wanted
            });
            let end = match enough {
                Some(last) => last + 1,
                None if looked_at == most => most,
                None => {
                    looked_at = (8 * looked_at).min(most);
                    continue;
                }
            };
            all.truncate(end);
            return all;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::config::Remasking;
    use crate::rng::{Key, Purpose};

    fn rule(temperature: f64) -> Rule {
        Rule { excluded: 1, temperature, remasking: Remasking::LowConfidence, with_entropy: false }
    }

    fn tokens(filter: Filter, logits: &[f32], temperature: f64) -> Vec<usize> {
        filter.kept(logits, rule(temperature)).into_iter().map(|(_, token)| token).collect()
    }

    #[test]
    fn the_set_is_the_smallest_that_has_the_probability() {
        // of the tokens but the second: 0.5, 0.3, 0.15, 0.05
        let logits: Vec<f32> = [0.3f32, 9.0, 0.5, 0.05, 0.15].iter().map(|p| p.ln()).collect();
        let of = |top_p, top_k| tokens(Filter { top_p, top_k }, &logits, 1.0);
        assert_eq!(of(0.5, None), [2]);
        assert_eq!(of(0.51, None), [2, 0]);
        assert_eq!(of(0.949, None), [2, 0, 4]);
        assert_eq!(of(1.0, None), [2, 0, 4, 3]);
        assert_eq!(of(0.0, None), [2], "the most likely one stays");
        assert_eq!(of(0.9, Some(2)), [2, 0]);
        assert_eq!(of(1.0, Some(3)), [2, 0, 4]);
        // a temperature below 1 sharpens before anything is left out
        assert_eq!(tokens(Filter { top_p: 0.6, top_k: None }, &logits, 1.0), [2, 0]);
        assert_eq!(tokens(Filter { top_p: 0.6, top_k: None }, &logits, 0.5), [2]);
        assert!(Filter { top_p: 0.9, top_k: None }.acts() && !Filter { top_p: 1.0, top_k: None }.acts());
    }

    #[test]
    fn samples_have_the_probabilities_of_what_is_left() {
        let logits: Vec<f32> = [0.3f32, 9.0, 0.5, 0.05, 0.15].iter().map(|p| p.ln()).collect();
        let filter = Filter { top_p: 0.7, top_k: None };
        let mut rng = Key::new(1, Purpose::Rollout).rng();
        let n = 20_000;
        let drawn: Vec<usize> =
            (0..n).filter_map(|_| Some(filter.sample(&logits, rule(1.0), rng.uniform_f64())?.1)).collect();
        let share = |token: usize| drawn.iter().filter(|&&t| t == token).count() as f64 / n as f64;
        assert!((share(2) - 0.625).abs() < 0.015 && (share(0) - 0.375).abs() < 0.015, "{} {}", share(2), share(0));
        assert_eq!(filter.sample(&[f32::NEG_INFINITY, 1.0], rule(1.0), 0.5), None);
    }

    proptest! {
        #[test]
        fn long_rows_give_what_sorting_them_gives(seed: u64, top_p in 0.0f64..1.0, top_k in prop::option::of(1usize..3000)) {
            let mut rng = Key::new(seed, Purpose::Rollout).rng();
            let logits: Vec<f32> = (0..2000).map(|_| 0.3 * rng.normal() as f32).collect();
            let mut sorted: Vec<(f64, usize)> = logits.iter().enumerate().filter(|(i, _)| *i != 1).map(|(i, &l)| (l as f64, i)).collect();
            sorted.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
            let total: f64 = sorted.iter().map(|(l, _)| (l / 0.8).exp()).sum();
            let mut sum = 0.0;
            let enough = sorted.iter().position(|(l, _)| { sum += (l / 0.8).exp(); sum >= top_p * total }).map_or(1999, |i| i + 1);
            let found = tokens(Filter { top_p, top_k }, &logits, 0.8);
            let expected = enough.min(top_k.unwrap_or(usize::MAX));
            // sums in another order may differ by a token at the edge
            prop_assert!(found.len().abs_diff(expected) <= 1, "{} {}", found.len(), expected);
            prop_assert!(found.iter().zip(&sorted).all(|(token, (_, other))| token == other));
        }
    }
}
