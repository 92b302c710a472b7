//! Sampling from the most likely tokens only: the smallest set of them that has the probability `top_p`, and of these at
//! most `top_k`.
//!
//! Both are of the tempered distribution without the token that is never chosen. At least the most likely token stays, and
//! ties go to the lowest id. The filter needs whole rows of logits at once, where a [`Tally`](super::candidate::Tally) sees
//! slices.

use super::candidate::{Candidate, Rule};
use crate::config::Remasking;

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
        let (_, token) = sampled(&self.kept(logits, rule), uniform)?;
        Some((logits[token], token))
    }

    /// The candidate whose confidence and entropy are those of the distribution that tokens are sampled from. At temperature
    /// 0 that is the model's, of which the most likely token is taken.
    pub fn candidate(&self, logits: &[f32], rule: Rule, uniform: f64) -> Candidate {
        let broken = Candidate { token: 0, confidence: f64::NAN, entropy: f64::NAN };
        if logits.iter().any(|logit| logit.is_nan()) {
            return broken;
        }
        let greedy = rule.temperature == 0.0;
        let kept = self.kept(logits, Rule { temperature: if greedy { 1.0 } else { rule.temperature }, ..rule });
        let taken = if greedy { kept.first().copied() } else { sampled(&kept, uniform) };
        let Some((weight, token)) = taken else { return broken };
        let total: f64 = kept.iter().map(|(weight, _)| weight).sum();
        let surprise = |&(weight, _): &(f64, usize)| {
            let p = weight / total;
            if p > 0.0 { p * p.ln() } else { 0.0 }
        };
        let certainty = || kept.iter().map(surprise).sum::<f64>();
        let confidence = match rule.remasking {
            Remasking::LowConfidence | Remasking::Random => weight / total,
            Remasking::Margin => (kept[0].0 - kept.get(1).map_or(0.0, |second| second.0)) / total,
            Remasking::NegEntropy => certainty(),
        };
        Candidate { token: token as u32, confidence, entropy: if rule.with_entropy { -certainty() } else { 0.0 } }
    }

    /// The tokens that can be sampled with their weights, the two most likely ones first.
    fn kept(&self, logits: &[f32], rule: Rule) -> Vec<(f64, usize)> {
        let allowed = || logits.iter().enumerate().filter(|&(token, _)| token != rule.excluded);
        let best = allowed().map(|(_, &logit)| logit).fold(f32::NEG_INFINITY, f32::max);
        if best == f32::NEG_INFINITY {
            return Vec::new();
        }
        let weight = |logit: f32| ((f64::from(logit) - f64::from(best)) / rule.temperature).exp();
        let mut all: Vec<(f64, usize)> = allowed().map(|(token, &logit)| (weight(logit), token)).collect();
        let wanted = self.top_p * all.iter().map(|(weight, _)| weight).sum::<f64>();
        let most = self.top_k.unwrap_or(usize::MAX).min(all.len());
        let order = |a: &(f64, usize), b: &(f64, usize)| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1));
        if !self.acts() {
            // in order as far as anybody asks
            let second = 1.min(all.len() - 1);
            all.select_nth_unstable_by(second, order);
            all[..=second].sort_unstable_by(order);
            return all;
        }
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

/// The weight and token that a sample falls on.
fn sampled(kept: &[(f64, usize)], uniform: f64) -> Option<(f64, usize)> {
    let mut left = uniform * kept.iter().map(|(weight, _)| weight).sum::<f64>();
    let found = kept.iter().find(|(weight, _)| {
        left -= weight;
        left < 0.0
    });
    found.or(kept.last()).copied()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
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
        assert_eq!(of(0.99, None), [2, 0, 4, 3]);
        assert_eq!(of(1.0, None)[..2], [2, 0]);
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

    /// Dream's `sample_tokens`: probabilities of what is left after temperature and top-p.
    #[test]
    fn confidences_are_those_of_the_distribution_that_is_sampled_from() {
        let logits: Vec<f32> = [0.3f32, 9.0, 0.5, 0.05, 0.15].iter().map(|p| p.ln()).collect();
        let filter = Filter { top_p: 0.7, top_k: None }; // 0.625 and 0.375
        let of = |remasking, temperature, uniform| {
            filter.candidate(&logits, Rule { remasking, with_entropy: true, ..rule(temperature) }, uniform)
        };
        let close = |a: f64, b: f64| assert!((a - b).abs() < 1e-6, "{a} is not {b}");
        let Candidate { token, confidence, entropy } = of(Remasking::LowConfidence, 1.0, 0.9);
        close(confidence, 0.375);
        close(entropy, -(0.625f64 * 0.625f64.ln() + 0.375 * 0.375f64.ln()));
        assert_eq!(token, 0);
        close(of(Remasking::Margin, 1.0, 0.0).confidence, 0.25);
        close(of(Remasking::NegEntropy, 1.0, 0.0).confidence, -entropy);
        assert_eq!((of(Remasking::Margin, 0.0, 0.99).token, of(Remasking::Margin, 1.0, 0.99).token), (2, 0));
        let all = Filter { top_p: 1.0, top_k: None }.candidate(&logits, rule(1.0), 0.0);
        close(all.confidence, 0.5);
        assert!(filter.candidate(&[f32::NAN, 1.0], rule(1.0), 0.5).confidence.is_nan());
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
