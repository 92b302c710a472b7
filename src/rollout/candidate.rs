//! From one row of logits to a candidate token and its confidence.

use crate::config::Remasking;
use crate::model::ops::cpu;

/// Elements summed in f32 before the sum goes on in f64, and the grain of the search for a sampled token.
const PART: usize = 1024;

/// A token that may be committed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Candidate {
    /// The token.
    pub token: u32,
    /// What candidates are ranked by, from the distribution without temperature; NaN when the logits are not finite.
    pub confidence: f64,
    /// Entropy of the distribution without temperature in nats, if it was asked for; else zero.
    pub entropy: f64,
}

/// A sample of `softmax(logits / temperature)`, or the most likely token at temperature 0 (ties: the lowest id),
/// never the token `excluded`.
///
/// The sample inverts the cumulative distribution at `uniform` in `[0, 1)`: one random number a row, where
/// Gumbel noise would take one a word. Sums run in parts of [`PART`] words, so the word is found by walking the
/// parts' sums and then one part.
///
/// The confidence follows from `p = softmax(logits)`, in which `excluded` keeps its share:
/// `p[token]` for [`Remasking::LowConfidence`] (and `Random`, whose order is drawn elsewhere), the difference of the two
/// largest `p` (`excluded` aside) for `Margin`, and `sum p ln p`, which is highest (0) where the distribution is most
/// certain, for `NegEntropy`.
pub fn candidate(
    logits: &[f32],
    excluded: usize,
    temperature: f64,
    uniform: f64,
    remasking: Remasking,
    with_entropy: bool,
) -> Candidate {
    let (before, after) = (&logits[..excluded], &logits[excluded + 1..]);
    cpu::simd(|| {
        let best = greater(cpu::max_of(before), cpu::max_of(after));
        let top = greater(best, logits[excluded]);
        let (mut total, mut weighted) = (0f64, 0f64);
        for part in logits.chunks(PART) {
            total += cpu::sum_of(part.len(), |j| cpu::exp(part[j] - top)) as f64;
            if with_entropy || remasking == Remasking::NegEntropy {
                weighted += cpu::sum_of(part.len(), |j| self_weighted(part[j] - top)) as f64;
            }
        }
        // nothing equals `best` when all logits are NaN; the confidence is then NaN too
        let first = || logits.iter().enumerate().position(|(i, &l)| l == best && i != excluded).unwrap_or(0);
        let token = if temperature == 0.0 { first() } else { sample(logits, excluded, best, temperature, uniform) };
        let probability = |logit: f32| ((logit - top) as f64).exp() / total;
        let confidence = match remasking {
            Remasking::LowConfidence | Remasking::Random => probability(logits[token]),
            Remasking::Margin => probability(best) - probability(largest_without(logits, [first(), excluded])),
            // sum p (l - top - ln total)
            Remasking::NegEntropy => weighted / total - total.ln(),
        };
        let entropy = if with_entropy { total.ln() - weighted / total } else { 0.0 };
        Candidate { token: token as u32, confidence, entropy }
    })
}

/// `x e^x`; zero where the exponential is, also at minus infinity.
#[inline(always)]
fn self_weighted(x: f32) -> f32 {
    let e = cpu::exp(x);
    if e == 0.0 { 0.0 } else { x * e }
}

/// The largest element but for those at two places.
#[inline(always)]
fn largest_without(logits: &[f32], places: [usize; 2]) -> f32 {
    let (low, high) = (places[0].min(places[1]), places[0].max(places[1]));
    let between = logits.get(low + 1..high).map_or(f32::NEG_INFINITY, cpu::max_of);
    greater(greater(cpu::max_of(&logits[..low]), between), cpu::max_of(&logits[high + 1..]))
}

#[inline(always)]
fn greater(a: f32, b: f32) -> f32 {
    if b > a { b } else { a }
}

#[inline(always)]
fn sample(logits: &[f32], excluded: usize, best: f32, temperature: f64, uniform: f64) -> usize {
    let inverse = (1.0 / temperature) as f32;
    let weight = |l: f32| cpu::exp((l - best) * inverse);
    // the excluded word's weight is taken out of its part, where it may be the largest of all
    let part_weight = |i: usize, part: &[f32]| {
        let inside = excluded.checked_sub(i * PART).filter(|&at| at < part.len());
        match inside {
            Some(at) => {
                let (a, b) = (&part[..at], &part[at + 1..]);
                (cpu::sum_of(a.len(), |j| weight(a[j])) + cpu::sum_of(b.len(), |j| weight(b[j]))) as f64
            }
            None => cpu::sum_of(part.len(), |j| weight(part[j])) as f64,
        }
    };
    let parts: Vec<f64> = logits.chunks(PART).enumerate().map(|(i, part)| part_weight(i, part)).collect();
    let mut left = uniform * parts.iter().sum::<f64>();
    let mut chosen = parts.len() - 1;
    for (i, part) in parts.iter().enumerate() {
        if left < *part {
            chosen = i;
            break;
        }
        left -= part;
    }
    let mut last = None;
    for (j, &l) in logits.iter().skip(chosen * PART).take(PART).enumerate() {
        let (i, w) = (chosen * PART + j, weight(l) as f64);
        if i == excluded || w == 0.0 {
            continue;
        }
        last = Some(i);
        if left < w {
            break;
        }
        left -= w;
    }
    // rounding can leave a sliver of probability behind the last word of the part: that word takes it
    last.unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::rng::{Key, Purpose};

    fn candidate(logits: &[f32], excluded: usize, temperature: f64, uniform: f64) -> Candidate {
        super::candidate(logits, excluded, temperature, uniform, Remasking::LowConfidence, false)
    }

    /// The plain computation in f64: `sum p ln p`, the two best words' difference, and the probability of `token`.
    fn plain(logits: &[f32], excluded: usize, token: usize) -> (f64, f64, f64) {
        let top = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max) as f64;
        let weights: Vec<f64> = logits.iter().map(|&l| (l as f64 - top).exp()).collect();
        let total: f64 = weights.iter().sum();
        let p: Vec<f64> = weights.iter().map(|w| w / total).collect();
        let entropy = p.iter().map(|&p| if p > 0.0 { p * p.ln() } else { 0.0 }).sum();
        let mut ranked: Vec<f64> = p.iter().enumerate().filter(|&(i, _)| i != excluded).map(|(_, &p)| p).collect();
        ranked.sort_by(|a, b| b.total_cmp(a));
        (entropy, ranked[0] - ranked.get(1).copied().unwrap_or(0.0), p[token])
    }

    proptest! {
        #[test]
        fn every_confidence_is_that_of_the_plain_computation(
            mut logits in prop::collection::vec(-12f32..12.0, 2..2500),
            excluded in any::<prop::sample::Index>(),
            scale in 0f32..4.0,
            temperature in prop_oneof![Just(0.0), 0.1..2.0f64],
            uniform in 0f64..1.0,
        ) {
            logits.iter_mut().for_each(|l| *l *= scale);
            let excluded = excluded.index(logits.len());
            let of = |remasking| super::candidate(&logits, excluded, temperature, uniform, remasking, true);
            let by_probability = of(Remasking::LowConfidence);
            let (entropy, margin, probability) = plain(&logits, excluded, by_probability.token as usize);
            let close = |a: f64, b: f64| (a - b).abs() <= 2e-6 * (1.0 + b.abs());
            prop_assert!(close(by_probability.confidence, probability));
            prop_assert!(close(by_probability.entropy, -entropy), "{} {}", by_probability.entropy, -entropy);
            for (remasking, expected) in [(Remasking::Margin, margin), (Remasking::NegEntropy, entropy)] {
                let found = of(remasking);
                prop_assert_eq!(found.token, by_probability.token);
                prop_assert!(close(found.confidence, expected), "{:?}: {} {}", remasking, found.confidence, expected);
            }
        }
    }

    #[test]
    fn the_most_certain_distribution_ranks_first() {
        let (certain, torn, open) = ([9.0, 0.0, 0.0, 0.0], [9.0, 9.0, 0.0, 0.0], [9.0, 8.0, 8.0, 0.0]);
        let by = |remasking, logits: &[f32]| super::candidate(logits, 3, 0.0, 0.0, remasking, false).confidence;
        let entropy = [&certain, &torn, &open].map(|l| by(Remasking::NegEntropy, l));
        assert!(entropy[0] > entropy[1] && entropy[1] > entropy[2] && entropy[0] <= 0.0, "{entropy:?}");
        // two words level leave no margin, whatever they leave to the rest
        let margin = [&certain, &torn, &open].map(|l| by(Remasking::Margin, l));
        assert!(margin[0] > margin[2] && margin[2] > margin[1] && margin[1] == 0.0, "{margin:?}");
        // words that cannot come cost nothing
        assert_eq!(by(Remasking::NegEntropy, &[0.0, f32::NEG_INFINITY, f32::NEG_INFINITY, f32::NEG_INFINITY]), 0.0);
        assert_eq!(by(Remasking::Margin, &[0.0, f32::NEG_INFINITY, f32::NEG_INFINITY, f32::NEG_INFINITY]), 1.0);
    }

    #[test]
    fn greedy_takes_the_first_of_the_largest_and_never_the_mask() {
        let logits = [1.0, 3.0, 3.0, 9.0];
        let c = candidate(&logits, 3, 0.0, 0.5);
        assert_eq!(c.token, 1);
        let total: f64 = logits.iter().map(|l| (*l as f64).exp()).sum();
        assert!((c.confidence - 3f64.exp() / total).abs() < 1e-9, "the mask keeps its share of the probability");
    }

    #[test]
    fn samples_follow_the_tempered_softmax() {
        // 2,500 words span three parts; chi-square over the five heavy words and the rest
        let mut logits = vec![-2.0f32; 2500];
        let heavy = [(3, 5.0), (1023, 5.5), (1024, 6.0), (2047, 5.0), (2499, 6.5)];
        heavy.iter().for_each(|&(i, l)| logits[i] = l);
        logits[7] = 50.0; // the mask
        let temperature = 0.8;
        let weights: Vec<f64> = logits
            .iter()
            .enumerate()
            .map(|(i, l)| if i == 7 { 0.0 } else { (*l as f64 / temperature).exp() })
            .collect();
        let total: f64 = weights.iter().sum();
        let mut rng = Key::new(1, Purpose::Rollout).rng();
        let n = 20_000;
        let mut counts = vec![0usize; logits.len()];
        for _ in 0..n {
            counts[candidate(&logits, 7, temperature, rng.uniform_f64()).token as usize] += 1;
        }
        assert_eq!(counts[7], 0);
        let mut chi = 0.0;
        let (mut rest_seen, mut rest_expected) = (n as f64, n as f64);
        for (i, _) in heavy {
            let expected = n as f64 * weights[i] / total;
            chi += (counts[i] as f64 - expected).powi(2) / expected;
            rest_seen -= counts[i] as f64;
            rest_expected -= expected;
        }
        chi += (rest_seen - rest_expected).powi(2) / rest_expected;
        assert!(chi < 20.5, "chi-square {chi} with 5 degrees of freedom"); // p = 0.001
    }

    #[test]
    fn broken_logits_show_in_the_confidence() {
        use Remasking::{LowConfidence, Margin, NegEntropy, Random};
        for remasking in [LowConfidence, Random, Margin, NegEntropy] {
            let of = |logits: &[f32], t, u| super::candidate(logits, 2, t, u, remasking, false).confidence;
            assert!(of(&[1.0, f32::NAN, 0.0], 0.0, 0.0).is_nan());
            assert!(of(&[1.0, f32::INFINITY, 0.0], 0.0, 0.0).is_nan());
            assert!(of(&[f32::NAN; 3], 0.9, 0.3).is_nan());
        }
    }

    #[test]
    fn extreme_draws_stay_in_the_vocabulary() {
        for uniform in [0.0, 0.5, 1.0 - f64::EPSILON / 2.0] {
            let c = candidate(&[0.0, -1000.0, 0.0, 0.0], 3, 0.01, uniform);
            assert!([0, 2].contains(&c.token), "{uniform}: {c:?}");
        }
    }
}
