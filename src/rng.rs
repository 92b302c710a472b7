//! Keyed randomness: every random number of a run is a pure function of where it is used.
//!
//! A [`Key`] names a place (run seed, purpose, step, prompt, sample, part) and seeds a ChaCha8 generator
//! with exactly those numbers, so the draws depend neither on the batch split nor on what was drawn before,
//! and a resumed run needs no generator state. The conversions from bits to numbers are our own because
//! the distributions of `rand` are not promised to stay the same between versions.

use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

/// What a random stream is used for. The numbers are part of the reproducibility contract: never reuse one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Purpose {
    /// Splitting a generated data set into training and held-out parts.
    Split = 1,
    /// Generating the records of a task.
    Record = 2,
    /// Writing the demonstrations of supervised fine-tuning.
    Demonstration = 3,
    /// The order in which prompts are visited.
    PromptOrder = 4,
    /// Sampling tokens of training completions.
    Rollout = 5,
    /// Sampling tokens of evaluation completions.
    EvalRollout = 6,
    /// Masks of the likelihood bounds.
    Mask = 7,
    /// Dropout inside the adapters.
    Dropout = 8,
    /// Initial values of adapters.
    AdapterInit = 9,
    /// Initial values of a model trained from scratch.
    ModelInit = 10,
}

/// The place a stream of random numbers belongs to.
///
/// Unused fields stay zero; two different keys give independent streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    seed: u64,
    purpose: Purpose,
    step: u64,
    prompt: u32,
    sample: u32,
    part: u32,
}

impl Key {
    /// A key with everything but the run seed and the purpose at zero.
    pub fn new(seed: u64, purpose: Purpose) -> Self {
        Self { seed, purpose, step: 0, prompt: 0, sample: 0, part: 0 }
    }

    /// The training step (or data epoch) the stream belongs to.
    pub fn step(self, step: u64) -> Self {
        Self { step, ..self }
    }

    /// The prompt (or record) within the step.
    pub fn prompt(self, prompt: usize) -> Self {
        Self { prompt: prompt as u32, ..self }
    }

    /// The completion of the prompt, or the Monte-Carlo sample.
    pub fn sample(self, sample: usize) -> Self {
        Self { sample: sample as u32, ..self }
    }

    /// A further subdivision, such as a module or an inner update.
    pub fn part(self, part: usize) -> Self {
        Self { part: part as u32, ..self }
    }

    /// The generator at the start of this key's stream.
    pub fn rng(self) -> Rng {
        self.stream(0)
    }

    /// One of 2^64 parallel streams of this key, for instance one a denoising step.
    pub fn stream(self, stream: u64) -> Rng {
        let mut seed = [0u8; 32];
        seed.chunks_exact_mut(4).zip(self.words()).for_each(|(bytes, word)| bytes.copy_from_slice(&word.to_le_bytes()));
        let mut rng = ChaCha8Rng::from_seed(seed);
        rng.set_stream(stream);
        Rng(rng)
    }

    /// ChaCha's key: the fields one after the other, those of 64 bits with the lower half first.
    pub fn words(self) -> [u32; 8] {
        let halves = |field: u64| (field as u32, (field >> 32) as u32);
        let ((seed, seed_high), (step, step_high)) = (halves(self.seed), halves(self.step));
        [seed, seed_high, self.purpose as u32, step, step_high, self.prompt, self.sample, self.part]
    }
}

/// A keyed generator with the few distributions this project needs.
#[derive(Clone, Debug)]
pub struct Rng(ChaCha8Rng);

impl Rng {
    /// Uniform in `[0, 1)` with 24 random bits.
    pub fn uniform_f32(&mut self) -> f32 {
        (self.0.next_u32() >> 8) as f32 * (1.0 / 16_777_216.0)
    }

    /// Uniform in `[0, 1)` with 53 random bits.
    pub fn uniform_f64(&mut self) -> f64 {
        (self.0.next_u64() >> 11) as f64 * (1.0 / 9_007_199_254_740_992.0)
    }

    /// Passes over `n` 32-bit words, as if [`Rng::uniform_f32`] had been called `n` times.
    #[cfg(test)]
    pub(crate) fn skip_u32(&mut self, n: u64) {
        let at = self.0.get_word_pos();
        self.0.set_word_pos(at + n as u128);
    }

    /// The next words of the stream, those whose upper 24 bits [`Rng::uniform_f32`] takes one by one.
    pub fn fill_u32(&mut self, words: &mut [u32]) {
        /// Words of four blocks, which ChaCha computes together.
        const AT_ONCE: usize = 64;
        let mut bytes = [0u8; 4 * AT_ONCE];
        for words in words.chunks_mut(AT_ONCE) {
            let bytes = &mut bytes[..4 * words.len()];
            self.0.fill_bytes(bytes);
            let (each, _) = bytes.as_chunks::<4>();
            words.iter_mut().zip(each).for_each(|(word, &bytes)| *word = u32::from_le_bytes(bytes));
        }
    }

    /// True with probability `p`.
    pub fn bernoulli(&mut self, p: f64) -> bool {
        self.uniform_f64() < p
    }

    /// Uniform in `0..n`, without bias (values that would tilt the remainder are drawn again).
    ///
    /// # Panics
    /// If `n` is zero: an empty range is a bug of the caller.
    pub fn below(&mut self, n: usize) -> usize {
        assert!(n > 0, "below(0)");
        let n = n as u64;
        let rejected = u64::MAX - (u64::MAX % n + 1) % n;
        loop {
            let bits = self.0.next_u64();
            if bits <= rejected {
                return (bits % n) as usize;
            }
        }
    }

    /// Standard normal by the Box-Muller transform (one of the pair is used).
    pub fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.uniform_f64()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.uniform_f64()).cos()
    }

    /// Fisher-Yates shuffle.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            items.swap(i, self.below(i + 1));
        }
    }

    /// `k` distinct values of `0..n`, in random order.
    ///
    /// # Panics
    /// If `k > n`.
    pub fn choose(&mut self, n: usize, k: usize) -> Vec<usize> {
        assert!(k <= n, "cannot choose {k} of {n}");
        let mut all: Vec<usize> = (0..n).collect();
        for i in 0..k {
            all.swap(i, i + self.below(n - i));
        }
        all.truncate(k);
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_of_the_key_changes_the_stream() {
        let base = Key::new(1, Purpose::Mask);
        let first = |k: Key| k.rng().uniform_f64();
        let others = [
            Key::new(2, Purpose::Mask),
            Key::new(1, Purpose::Rollout),
            base.step(1),
            base.prompt(1),
            base.sample(1),
            base.part(1),
        ];
        for other in others {
            assert_ne!(first(base), first(other), "{other:?}");
        }
        assert_ne!(first(base), base.stream(1).uniform_f64());
        assert_eq!(first(base), first(Key::new(1, Purpose::Mask)));
    }

    #[test]
    fn the_bits_never_change_between_versions() {
        let mut rng = Key::new(42, Purpose::Rollout).step(3).prompt(2).sample(1).rng();
        let drawn = [rng.below(1000), rng.below(1000), rng.below(1000)];
        assert_eq!(drawn, [562, 109, 368]);
    }

    #[test]
    fn words_taken_together_are_those_taken_one_by_one() {
        let (mut one, mut many) = (Key::new(42, Purpose::ModelInit).rng(), Key::new(42, Purpose::ModelInit).rng());
        for n in [1, 3, 64, 200] {
            let mut words = vec![0; n];
            many.fill_u32(&mut words);
            for word in words {
                assert_eq!((word >> 8) as f32 / 16_777_216.0, one.uniform_f32());
            }
        }
    }

    #[test]
    fn below_and_choose_are_uniform() {
        let mut rng = Key::new(7, Purpose::Mask).rng();
        let mut counts = [0usize; 5];
        for _ in 0..50_000 {
            counts[rng.below(5)] += 1;
        }
        // chi-square with 4 degrees of freedom, p = 0.001
        let chi: f64 = counts.iter().map(|&c| (c as f64 - 10_000.0).powi(2) / 10_000.0).sum();
        assert!(chi < 18.47, "{counts:?}");
        let mut picked = rng.choose(6, 6);
        picked.sort_unstable();
        assert_eq!(picked, [0, 1, 2, 3, 4, 5]);
    }

    #[test]
    fn normal_has_zero_mean_and_unit_variance() {
        let mut rng = Key::new(7, Purpose::ModelInit).rng();
        let n = 40_000;
        let draws: Vec<f64> = (0..n).map(|_| rng.normal()).collect();
        let mean = draws.iter().sum::<f64>() / n as f64;
        let var = draws.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n as f64;
        assert!(mean.abs() < 0.02 && (var - 1.0).abs() < 0.03, "mean {mean} var {var}");
    }
}
