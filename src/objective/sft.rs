//! Masked-diffusion fine-tuning on demonstrations.
//!
//! The negative ELBO of LLaDA (arXiv 2502.09992): hide tokens of the completion at a ratio `t`, predict them, and
//! weigh the log-probs by `1 / t`; the prompt stays clean and the EOS padding of the canvas is learnt like any
//! other token, because decoding starts from a full canvas of masks.
//!
//! LLaDA's training code hides every token independently with probability `t ~ U(0, 1]`. That hides `k` tokens with
//! the same probability for every `k` in `0..=L`, at uniform places; given `k`, the weight `1 / t` has the mean
//! `(L + 1) / k` and, at `k = 1`, an infinite variance (which LLaDA caps by a least `t`). So `k` is drawn directly:
//! `k ~ U{1..L}` with `t = k / L`. The masks have the same distribution but for the empty one, which teaches
//! nothing, the expected loss and gradient are the same, and no weight is larger than `L`.

use super::masking::MaskSample;
use crate::rng::Key;

/// The mask of one demonstration.
#[derive(Clone, Debug, PartialEq)]
pub struct SftMask {
    /// What is hidden; every hidden completion token is scored.
    pub mask: MaskSample,
    /// `t = k / L`, in `(0, 1]`.
    pub ratio: f64,
}

/// What one demonstration adds to the loss of its step.
#[derive(Clone, Debug, PartialEq)]
pub struct SftLoss {
    /// Nats per token, divided by the step's demonstrations.
    pub loss: f64,
    /// `d loss / d lp`, one entry a scored token.
    pub d_lp: Vec<f64>,
}

/// Draws the mask of a demonstration: `k ~ U{1..L}` uniformly random tokens of the canvas.
///
/// `key` must name the demonstration: run seed, step and its place within the step.
///
/// # Panics
/// If the canvas is empty: a bug of the caller.
pub fn draw_mask(prompt_length: usize, completion_length: usize, key: Key) -> SftMask {
    let mut rng = key.rng();
    let hidden = 1 + rng.below(completion_length);
    let mut masked = vec![false; prompt_length + completion_length];
    for place in rng.choose(completion_length, hidden) {
        masked[prompt_length + place] = true;
    }
    SftMask { mask: MaskSample::whole(masked, prompt_length), ratio: hidden as f64 / completion_length as f64 }
}

/// `-(1 / L) sum_{i masked} lp_i / t`, averaged over the demonstrations of the step.
///
/// # Shapes
/// `lps`: the log-probs of the hidden tokens, `k = t L` of them, so that the loss is minus their mean.
///
/// `step_demonstrations` counts the whole optimiser step, over every micro-batch.
pub fn sft_loss(lps: &[f64], step_demonstrations: usize) -> SftLoss {
    let slope = -1.0 / (lps.len().max(1) * step_demonstrations) as f64;
    SftLoss { loss: slope * lps.iter().sum::<f64>(), d_lp: vec![slope; lps.len()] }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Scope;
    use crate::rng::Purpose;
    use proptest::prelude::*;

    fn key(step: u64, demonstration: usize) -> Key {
        Key::new(42, Purpose::Mask).step(step).prompt(demonstration)
    }

    #[test]
    fn the_number_hidden_and_their_places_are_uniform() {
        let length = 5;
        let (mut numbers, mut places) = ([0usize; 5], [0usize; 5]);
        for step in 0..5000 {
            let SftMask { mask, ratio } = draw_mask(3, length, key(step, 1));
            let scored = mask.scored(Scope::AllMasked);
            assert_eq!(ratio, scored.len() as f64 / length as f64);
            assert_eq!(mask.masked.len(), 8);
            assert!(mask.masked[..3].iter().all(|&m| !m), "the prompt stays clean");
            numbers[scored.len() - 1] += 1;
            scored.into_iter().for_each(|place| places[place] += 1);
        }
        for counts in [numbers, places] {
            let expected = counts.iter().sum::<usize>() as f64 / 5.0;
            let chi: f64 = counts.iter().map(|&c| (c as f64 - expected).powi(2) / expected).sum();
            assert!(chi < 18.47, "{counts:?}"); // four degrees of freedom, p = 0.001
        }
    }

    #[test]
    fn the_key_decides_every_bit() {
        assert_eq!(draw_mask(4, 32, key(1, 2)), draw_mask(4, 32, key(1, 2)));
        assert_ne!(draw_mask(4, 32, key(1, 2)), draw_mask(4, 32, key(1, 3)));
        assert_ne!(draw_mask(4, 32, key(1, 2)), draw_mask(4, 32, key(2, 2)));
    }

    #[test]
    fn the_expected_loss_is_that_of_independent_masking() {
        // Two tokens whose log-probs depend on whether the other one is hidden. With independent masking
        //   (1/L) E_t[ sum lp / t ] = 1/2 int_0^1 [ t (1-t) (a0 + a1) + t^2 (b0 + b1) ] / t dt = (a0 + a1 + b0 + b1) / 4
        let (alone, both) = ([-1.0, -2.0], [-3.0, -5.0]);
        let integral = -(alone[0] + alone[1] + both[0] + both[1]) / 4.0;
        let draws = 40_000;
        let mut total = 0.0;
        for step in 0..draws {
            let scored = draw_mask(0, 2, key(step, 0)).mask.scored(Scope::AllMasked);
            let table = if scored.len() == 2 { both } else { alone };
            total += sft_loss(&scored.iter().map(|&i| table[i]).collect::<Vec<_>>(), 1).loss;
        }
        assert!((total / draws as f64 - integral).abs() < 0.02, "{} {integral}", total / draws as f64);
    }

    proptest! {
        #[test]
        fn loss_and_gradient_are_the_formula(
            hidden in 1..9usize,
            more in 0..9usize,
            demonstrations in 1..5usize,
            lp in -9.0..0.0,
        ) {
            let length = hidden + more;
            let ratio = hidden as f64 / length as f64;
            let lps: Vec<f64> = (0..hidden).map(|i| lp - i as f64).collect();
            let part = sft_loss(&lps, demonstrations);
            let formula = -lps.iter().map(|lp| lp / ratio).sum::<f64>() / (length * demonstrations) as f64;
            prop_assert!((part.loss - formula).abs() < 1e-12);
            for (i, slope) in part.d_lp.iter().enumerate() {
                let mut shifted = lps.clone();
                shifted[i] += 1e-3;
                let difference = (sft_loss(&shifted, demonstrations).loss - part.loss) / 1e-3;
                prop_assert!((slope - difference).abs() < 1e-9);
            }
        }
    }
}
