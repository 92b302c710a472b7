//! From one row of logits to a candidate token and its confidence.

use crate::model::ops::cpu;

/// Elements summed in f32 before the sum goes on in f64, and the grain of the search for a sampled token.
const PART: usize = 1024;

/// A token that may be committed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Candidate {
    /// The token.
    pub token: u32,
    /// `softmax(logits)[token]`, without temperature; NaN when the logits are not finite.
    pub confidence: f64,
}

/// A sample of `softmax(logits / temperature)`, or the most likely token at temperature 0 (ties: the lowest id),
/// never the token `excluded`.
///
/// The sample inverts the cumulative distribution at `uniform` in `[0, 1)`: one random number a row, where
/// Gumbel noise would take one a word. Sums run in parts of [`PART`] words, so the word is found by walking the
/// parts' sums and then one part.
pub fn candidate(logits: &[f32], excluded: usize, temperature: f64, uniform: f64) -> Candidate {
    let (before, after) = (&logits[..excluded], &logits[excluded + 1..]);
    cpu::simd(|| {
        let best = greater(cpu::max_of(before), cpu::max_of(after));
        let top = greater(best, logits[excluded]);
        let total: f64 =
            logits.chunks(PART).map(|part| cpu::sum_of(part.len(), |j| cpu::exp(part[j] - top)) as f64).sum();
        let token = if temperature == 0.0 {
            // nothing equals `best` when all logits are NaN; the confidence is then NaN too
            logits.iter().enumerate().position(|(i, &l)| l == best && i != excluded).unwrap_or(0)
        } else {
            sample(logits, excluded, best, temperature, uniform)
        };
        Candidate { token: token as u32, confidence: ((logits[token] - top) as f64).exp() / total }
    })
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
    use super::*;
    use crate::rng::{Key, Purpose};

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
        assert!(candidate(&[1.0, f32::NAN, 0.0], 2, 0.0, 0.0).confidence.is_nan());
        assert!(candidate(&[f32::NAN; 3], 2, 0.9, 0.3).confidence.is_nan());
    }

    #[test]
    fn extreme_draws_stay_in_the_vocabulary() {
        for uniform in [0.0, 0.5, 1.0 - f64::EPSILON / 2.0] {
            let c = candidate(&[0.0, -1000.0, 0.0, 0.0], 3, 0.01, uniform);
            assert!([0, 2].contains(&c.token), "{uniform}: {c:?}");
        }
    }
}
