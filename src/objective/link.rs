//! From the likelihood of a term to its loss: a clipped ratio to the policy that sampled, a penalty for leaving the
//! reference. Scalar functions, so that finite differences test them alone.

use crate::config::{Clip, Kl, KlKind};

/// A loss and its slope.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sloped {
    /// The loss.
    pub value: f64,
    /// Its derivative with respect to the current likelihood.
    pub slope: f64,
}

/// Where a ratio was clipped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clipped {
    /// Below `1 - low`, for a negative advantage.
    Low,
    /// Above `1 + high`, for a positive one.
    High,
}

/// `-min(r A, clip(r, 1 - low, 1 + high) A)` with `r = exp((new - old) / tokens)` (PPO, arXiv 1707.06347; per token of a
/// sequence, arXiv 2507.18071), and where it was clipped: there it has no slope.
pub fn ratio(clip: Clip, advantage: f64, tokens: f64, new: f64, old: f64) -> (Sloped, Option<Clipped>) {
    let r = ((new - old) / tokens).exp();
    let clipped = if advantage < 0.0 && r < 1.0 - clip.low {
        Some((Clipped::Low, 1.0 - clip.low))
    } else if advantage > 0.0 && r > 1.0 + clip.high {
        Some((Clipped::High, 1.0 + clip.high))
    } else {
        None
    };
    match clipped {
        Some((side, bound)) => (Sloped { value: -advantage * bound, slope: 0.0 }, Some(side)),
        None => (Sloped { value: -advantage * r, slope: -advantage * r / tokens }, None),
    }
}

/// The weighted estimate of the divergence from the reference (Schulman's k2 and k3); of a sequence, per token: k2 divided
/// by the tokens, k3 of the likelihoods per token.
pub fn penalty(kl: Kl, tokens: f64, new: f64, reference: f64) -> Sloped {
    let away = reference - new;
    let (value, slope) = match kl.kind {
        KlKind::K2 => (away * away / 2.0 / tokens, -away / tokens),
        KlKind::K3 => {
            let away = away / tokens;
            (away.exp_m1() - away, -away.exp_m1() / tokens)
        }
    };
    Sloped { value: kl.weight * value, slope: kl.weight * slope }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const CLIP: Clip = Clip { low: 0.2, high: 0.3 };

    fn difference(f: impl Fn(f64) -> f64, at: f64) -> f64 {
        (f(at + 1e-6) - f(at - 1e-6)) / 2e-6
    }

    #[test]
    fn only_leaving_that_pays_is_clipped() {
        let at = |advantage, ratio: f64| ratio_of(advantage, ratio).1;
        assert_eq!([0.1, 0.9, 1.2, 9.0].map(|r| at(1.0, r)), [None, None, None, Some(Clipped::High)]);
        assert_eq!([0.1, 0.9, 1.2, 9.0].map(|r| at(-1.0, r)), [Some(Clipped::Low), None, None, None]);
        let (loss, _) = ratio_of(2.0, 9.0);
        assert_eq!(loss, Sloped { value: -2.6, slope: 0.0 });
        let (loss, _) = ratio_of(0.0, 9.0);
        assert_eq!((loss.value, loss.slope), (0.0, 0.0));
    }

    fn ratio_of(advantage: f64, r: f64) -> (Sloped, Option<Clipped>) {
        ratio(CLIP, advantage, 1.0, r.ln(), 0.0)
    }

    #[test]
    fn the_policy_that_sampled_has_the_gradient_of_reinforce() {
        let (loss, clipped) = ratio(CLIP, 0.7, 4.0, -9.0, -9.0);
        assert_eq!((loss.value, loss.slope, clipped), (-0.7, -0.7 / 4.0, None));
    }

    #[test]
    fn nothing_is_paid_at_the_reference() {
        for kind in [KlKind::K2, KlKind::K3] {
            let at = penalty(Kl { kind, weight: 0.5 }, 3.0, -2.0, -2.0);
            assert_eq!((at.value, at.slope), (0.0, 0.0));
        }
    }

    #[test]
    fn penalties_are_the_formulas() {
        let (new, reference) = (-9.0f64, -6.0f64);
        let at = |kind, tokens| penalty(Kl { kind, weight: 0.1 }, tokens, new, reference).value;
        assert!((at(KlKind::K2, 4.0) - 0.1 * 4.5 / 4.0).abs() < 1e-15);
        assert!((at(KlKind::K3, 1.0) - 0.1 * (3f64.exp() - 3.0 - 1.0)).abs() < 1e-13);
        assert!((at(KlKind::K3, 4.0) - 0.1 * (0.75f64.exp() - 0.75 - 1.0)).abs() < 1e-13);
    }

    proptest! {
        #[test]
        fn slopes_are_finite_differences(
            advantage in -2.0..2.0,
            (old, moved, reference) in (-5.0..0.0, -1.0..1.0, -5.0..0.0),
            tokens in 1.0..5.0,
            k3: bool,
        ) {
            let kl = Kl { kind: if k3 { KlKind::K3 } else { KlKind::K2 }, weight: 0.3 };
            let new = old + moved;
            let loss = |new| ratio(CLIP, advantage, tokens, new, old).0;
            let r = f64::exp(moved / tokens);
            prop_assume!((r - 0.8).abs() > 1e-4 && (r - 1.3).abs() > 1e-4);
            prop_assert!((loss(new).slope - difference(|x| loss(x).value, new)).abs() < 1e-6);
            let paid = |new| penalty(kl, tokens, new, reference);
            prop_assert!((paid(new).slope - difference(|x| paid(x).value, new)).abs() < 1e-6 * paid(new).slope.abs().max(1.0));
        }
    }
}
