//! From a row of logits, which may come a slice of words at a time, to a candidate token and its confidence.

use std::ops::Range;

use anyhow::Result;

use crate::config::Remasking;
use crate::model::VOCABULARY_PART as PART;
use crate::model::ops::cpu;
use crate::model::ops::gpu::tally::{GRAIN, PART as DEVICE_PART, PartSums};

// a device sums up the same words
const _: () = assert!(PART == DEVICE_PART);

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

/// What is asked of a row.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    /// The token that is never a candidate.
    pub excluded: usize,
    /// Sampling temperature; 0 takes the most likely token.
    pub temperature: f64,
    /// What the confidence is.
    pub remasking: Remasking,
    /// Whether the entropy is wanted.
    pub with_entropy: bool,
}

/// A row of logits, summed up in parts of [`PART`] words: one pass, after which the logits may go.
///
/// The candidate is a sample of `softmax(logits / temperature)`, or the most likely token at temperature 0 (ties: the
/// lowest id), never the token that is excluded. The sample inverts the cumulative distribution at one random number a
/// row, where Gumbel noise would take one a word: the sums of parts, and of [`GRAIN`] words each, lead to a few words whose
/// logits are asked for once more.
///
/// The confidence follows from `p = softmax(logits)`, in which the excluded token keeps its share: `p[token]` for
/// [`Remasking::LowConfidence`] (and `Random`, whose order is drawn elsewhere), the difference of the two largest `p`
/// (the excluded one aside) for `Margin`, and `sum p ln p`, which is highest (0) where the distribution is most certain,
/// for `NegEntropy`.
#[derive(Clone, Debug)]
pub struct Tally {
    rule: Rule,
    parts: Vec<Part>,
    /// For each [`GRAIN`] words of each part, their share of [`Part::tempered`]; none at temperature 0.
    grains: Vec<f32>,
    words: usize,
    /// The largest logit but the excluded one, and its token.
    best: (f32, usize),
    /// The largest but for these two.
    second: f32,
}

/// Sums over a part, relative to its own largest logits.
#[derive(Clone, Copy, Debug)]
struct Part {
    top: f32,
    /// `sum exp(l - top)`.
    total: f64,
    /// `sum (l - top) exp(l - top)`.
    weighted: f64,
    /// The largest logit but the excluded one.
    best: f32,
    /// `sum exp((l - best) / temperature)`, the excluded one aside.
    tempered: f64,
}

impl Tally {
    /// Before the first word.
    pub fn new(rule: Rule) -> Self {
        let (parts, grains) = (Vec::new(), Vec::new());
        Self { rule, parts, grains, words: 0, best: (f32::NEG_INFINITY, 0), second: f32::NEG_INFINITY }
    }

    /// After the last word, of the sums that a device made.
    pub fn of_parts(rule: Rule, words: usize, parts: impl Iterator<Item = PartSums>) -> Self {
        let mut tally = Self { words, ..Self::new(rule) };
        for PartSums { top, total, weighted, best, word, second, tempered } in parts {
            let (total, weighted) = (total as f64, weighted as f64);
            let tempered = if rule.temperature > 0.0 { tempered as f64 } else { 0.0 };
            tally.parts.push(Part { top, total, weighted, best, tempered });
            tally.rank(best, word, second);
        }
        tally
    }

    /// Takes in the largest logit of a part, its word, and the next one.
    #[inline(always)]
    fn rank(&mut self, best: f32, word: usize, next: f32) {
        if best > self.best.0 {
            self.second = greater(self.best.0, next);
            self.best = (best, word);
        } else {
            self.second = greater(self.second, best);
        }
    }

    /// Takes in the logits of the next words: whole parts, until the last.
    pub fn pass(&mut self, logits: &[f32]) {
        pass(self, logits);
    }

    #[inline(always)]
    fn pass_part(&mut self, part: &[f32]) {
        let excluded = self.rule.excluded.checked_sub(self.words).filter(|&at| at < part.len());
        let (before, after) = excluded.map_or((part, &part[..0]), |at| (&part[..at], &part[at + 1..]));
        let best = greater(cpu::max_of(before), cpu::max_of(after));
        let top = excluded.map_or(best, |at| greater(best, part[at]));
        let total = match top == f32::NEG_INFINITY {
            true if part.iter().any(|l| l.is_nan()) => f64::NAN,
            true => 0.0,
            false => cpu::sum_of(part, |l| cpu::exp(l - top)) as f64,
        };
        let wants_entropy = self.rule.with_entropy || self.rule.remasking == Remasking::NegEntropy;
        let weighted = match wants_entropy && top > f32::NEG_INFINITY {
            true => cpu::sum_of(part, |l| self_weighted(l - top)) as f64,
            false => 0.0,
        };
        let tempered = if self.rule.temperature > 0.0 { self.pass_grains(part, excluded, best) } else { 0.0 };
        self.parts.push(Part { top, total, weighted, best, tempered });
        if best > self.best.0 {
            let at = part.iter().enumerate().position(|(j, &l)| l == best && Some(j) != excluded).unwrap_or(0);
            let next = match self.rule.remasking {
                Remasking::Margin => largest_without(part, [at, excluded.unwrap_or(at)]),
                Remasking::LowConfidence | Remasking::Random | Remasking::NegEntropy => f32::NEG_INFINITY,
            };
            self.rank(best, self.words + at, next);
        } else {
            self.second = greater(self.second, best);
        }
        self.words += part.len();
    }

    /// The sum of a part's weights, after those of its grains.
    #[inline(always)]
    fn pass_grains(&mut self, part: &[f32], excluded: Option<usize>, best: f32) -> f64 {
        let weight = self.weight(best);
        let mut tempered = 0.0;
        for (i, grain) in part.chunks(GRAIN).enumerate() {
            let aside = excluded.and_then(|at| at.checked_sub(i * GRAIN)).filter(|&at| at < grain.len());
            let sum = match aside {
                _ if best == f32::NEG_INFINITY => 0.0,
                Some(at) => cpu::sum_of(&grain[..at], &weight) + cpu::sum_of(&grain[at + 1..], &weight),
                None => cpu::sum_of(grain, &weight),
            };
            self.grains.push(sum);
            tempered += sum as f64;
        }
        tempered
    }

    /// The weight of a logit in the tempered distribution, relative to that of `best`.
    fn weight(&self, best: f32) -> impl Fn(f32) -> f32 + use<> {
        let inverse = (1.0 / self.rule.temperature) as f32;
        move |l| cpu::exp((l - best) * inverse)
    }

    /// The candidate, cut from its distribution at `uniform` in `[0, 1)`; `logits_of` gives the logits of some words
    /// again.
    ///
    /// # Errors
    /// Those of `logits_of`.
    pub fn settle(self, uniform: f64, logits_of: impl FnOnce(Range<usize>) -> Result<Vec<f32>>) -> Result<Candidate> {
        let chosen = match self.choose_part(uniform) {
            None => None,
            Some(cut) => {
                let grains = self.grains.iter().skip(cut.chosen * (PART / GRAIN)).take(PART / GRAIN);
                match self.choose_grain(cut, grains.copied()) {
                    None => None,
                    Some(cut) => Some(self.choose_word(cut, &logits_of(self.words_of(cut))?)),
                }
            }
        };
        Ok(self.settled(chosen))
    }

    /// The candidate, if this logit and token were chosen; without, the most likely one.
    pub fn settled(&self, chosen: Option<(f32, usize)>) -> Candidate {
        let top = self.parts.iter().fold(f32::NEG_INFINITY, |top, part| greater(top, part.top));
        let (mut total, mut weighted) = (0f64, 0f64);
        for part in &self.parts {
            let shift = (part.top - top) as f64;
            // a part without probability, which must not turn the sum into NaN
            if shift == f64::NEG_INFINITY && part.total == 0.0 {
                continue;
            }
            total += part.total * shift.exp();
            weighted += (part.weighted + shift * part.total) * shift.exp();
        }
        let (logit, token) = chosen.unwrap_or(self.best);
        let probability = |logit: f32| ((logit - top) as f64).exp() / total;
        let confidence = match self.rule.remasking {
            Remasking::LowConfidence | Remasking::Random => probability(logit),
            Remasking::Margin => probability(self.best.0) - probability(self.second),
            // sum p (l - top - ln total)
            Remasking::NegEntropy => weighted / total - total.ln(),
        };
        let entropy = if self.rule.with_entropy { total.ln() - weighted / total } else { 0.0 };
        Candidate { token: token as u32, confidence, entropy }
    }

    /// The part in which a sample of the tempered distribution falls; none if the most likely token is to be taken.
    pub fn choose_part(&self, uniform: f64) -> Option<Cut> {
        if self.rule.temperature == 0.0 {
            return None;
        }
        let factor = |part: &Part| ((part.best - self.best.0) as f64 / self.rule.temperature).exp();
        let share = |part: &Part| if part.tempered == 0.0 { 0.0 } else { part.tempered * factor(part) };
        let mut left = uniform * self.parts.iter().map(share).sum::<f64>();
        let chosen = cut(&mut left, self.parts.iter().map(share))?;
        Some(Cut { chosen, left: left / factor(&self.parts[chosen]) })
    }

    /// The grain of the chosen part, by the sums of its grains.
    pub fn choose_grain(&self, part: Cut, grains: impl Iterator<Item = f32>) -> Option<Cut> {
        let mut left = part.left;
        let grain = cut(&mut left, grains.map(f64::from))?;
        Some(Cut { chosen: part.chosen * (PART / GRAIN) + grain, left })
    }

    /// The words of a grain.
    pub fn words_of(&self, grain: Cut) -> Range<usize> {
        let first = grain.chosen * GRAIN;
        first..(first + GRAIN).min(self.words)
    }

    /// The word of the chosen grain with its logit, by the logits of its words.
    pub fn choose_word(&self, grain: Cut, logits: &[f32]) -> (f32, usize) {
        let (first, mut left) = (grain.chosen * GRAIN, grain.left);
        let weight = self.weight(self.parts[first / PART].best);
        let weights = logits.iter().enumerate().map(|(j, &logit)| match first + j == self.rule.excluded {
            true => 0.0,
            false => weight(logit) as f64,
        });
        let word = cut(&mut left, weights);
        word.map_or(self.best, |j| (logits[j], first + j))
    }
}

/// Where a sample falls among parts or grains, and what is left to go in it.
#[derive(Clone, Copy, Debug)]
pub struct Cut {
    chosen: usize,
    left: f64,
}

impl Cut {
    /// The number of the part, or of the grain.
    pub fn chosen(self) -> usize {
        self.chosen
    }
}

/// The first whose share reaches beyond `left`, which is what the ones before leave of it; the last with a share if
/// rounding leaves a sliver behind all of them.
fn cut(left: &mut f64, shares: impl Iterator<Item = f64>) -> Option<usize> {
    let mut last = None;
    for (i, share) in shares.enumerate() {
        if *left < share {
            return Some(i);
        }
        *left -= share;
        last = if share > 0.0 { Some(i) } else { last };
    }
    *left = f64::INFINITY;
    last
}

cpu::wide! {
    /// [`Tally::pass`]
    fn pass(tally: &mut Tally, logits: &[f32]) {
        for part in logits.chunks(PART) {
            tally.pass_part(part);
        }
    }
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::rng::{Key, Purpose};

    /// The candidate of a row, given whole or in slices.
    fn settle(rule: Rule, slices: &[&[f32]], uniform: f64) -> Candidate {
        let mut tally = Tally::new(rule);
        slices.iter().for_each(|slice| tally.pass(slice));
        let logits = slices.concat();
        tally.settle(uniform, |words| Ok(logits[words].to_vec())).expect("logits are there")
    }

    fn candidate(logits: &[f32], excluded: usize, temperature: f64, uniform: f64) -> Candidate {
        settle(rule(excluded, temperature, Remasking::LowConfidence, false), &[logits], uniform)
    }

    fn rule(excluded: usize, temperature: f64, remasking: Remasking, with_entropy: bool) -> Rule {
        Rule { excluded, temperature, remasking, with_entropy }
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
            let of = |remasking| settle(rule(excluded, temperature, remasking, true), &[&logits], uniform);
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
            let cut = logits.len().min(PART);
            let sliced = settle(rule(excluded, temperature, Remasking::Margin, true), &[&logits[..cut], &logits[cut..]], uniform);
            prop_assert_eq!(sliced, of(Remasking::Margin), "slices change nothing");
        }
    }

    proptest! {
        #[test]
        fn a_sample_inverts_the_cumulative_distribution(
            logits in prop::collection::vec(-9f32..3.0, 2..2500),
            excluded in any::<prop::sample::Index>(),
            temperature in 0.1..2.0f64,
            uniform in 0f64..1.0,
        ) {
            let excluded = excluded.index(logits.len());
            let token = candidate(&logits, excluded, temperature, uniform).token as usize;
            let weight = |i: usize| if i == excluded { 0.0 } else { (logits[i] as f64 / temperature).exp() };
            let up_to = |end: usize| (0..end).map(weight).sum::<f64>() / (0..logits.len()).map(weight).sum::<f64>();
            prop_assert!(token != excluded);
            prop_assert!(up_to(token) < uniform + 1e-5 && uniform < up_to(token + 1) + 1e-5, "{} at {}", token, uniform);
        }
    }

    #[test]
    fn the_most_certain_distribution_ranks_first() {
        let (certain, torn, open) = ([9.0, 0.0, 0.0, 0.0], [9.0, 9.0, 0.0, 0.0], [9.0, 8.0, 8.0, 0.0]);
        let by = |remasking, logits: &[f32]| settle(rule(3, 0.0, remasking, false), &[logits], 0.0).confidence;
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
            let of = |logits: &[f32], t, u| settle(rule(2, t, remasking, false), &[logits], u).confidence;
            assert!(of(&[1.0, f32::NAN, 0.0], 0.0, 0.0).is_nan());
            assert!(of(&[1.0, f32::INFINITY, 0.0], 0.0, 0.0).is_nan());
            assert!(of(&[f32::NAN; 3], 0.9, 0.3).is_nan());
        }
    }

    #[test]
    fn a_sliver_behind_all_shares_goes_to_the_last_of_them() {
        let shares = [0.25, 0.0, 0.5, 0.0];
        for (left, expected) in [(0.0, Some(0)), (0.25, Some(2)), (0.74, Some(2)), (0.76, Some(2)), (f64::NAN, Some(2))]
        {
            assert_eq!(cut(&mut left.clone(), shares.into_iter()), expected, "{left}");
        }
        assert_eq!(cut(&mut 0.5, [0.0, f64::NAN].into_iter()), None);
    }

    #[test]
    fn extreme_draws_stay_in_the_vocabulary() {
        for uniform in [0.0, 0.5, 1.0 - f64::EPSILON / 2.0] {
            let c = candidate(&[0.0, -1000.0, 0.0, 0.0], 3, 0.01, uniform);
            assert!([0, 2].contains(&c.token), "{uniform}: {c:?}");
        }
    }
}
