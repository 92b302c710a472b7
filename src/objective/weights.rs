//! How the losses of a step's completions are put together: all weights follow from the whole step, before any pass, so
//! that no split of it can change them.

use crate::config::Aggregation;

/// A completion of a step, as the weights see it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Standing {
    /// Completions of one prompt are of one group.
    pub group: usize,
    /// What it earned beside its group.
    pub advantage: f64,
    /// Tokens up to and including the first EOS.
    pub len: usize,
}

/// What a completion has at stake in the loss of its step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Stake {
    /// What the likelihood is raised by: the advantage, or what its softmax over the group makes of it.
    pub signal: f64,
    /// Whether all of its group earned the same: there is nothing to learn from any of them.
    pub flat: bool,
    /// Its part in the loss; of a mean over terms, before they are counted.
    part: f64,
    whole: f64,
    mean_of_terms: bool,
}

impl Stake {
    /// `x` times the completion's part in the loss, for one of `terms` terms.
    ///
    /// A product, then a quotient: the order is part of a run's bits.
    pub fn share(&self, x: f64, terms: usize) -> f64 {
        let whole = if self.mean_of_terms { self.whole * terms as f64 } else { self.whole };
        x * self.part / whole
    }
}

/// The stakes of a step; completions of a group stand together.
pub fn stakes(aggregation: &Aggregation, step: &[Standing]) -> Vec<Stake> {
    let step_length: usize = step.iter().map(|c| c.len).sum();
    let groups = || step.chunk_by(|a, b| a.group == b.group);
    let count = groups().count() as f64;
    let mut stakes = Vec::with_capacity(step.len());
    for group in groups() {
        let advantages: Vec<f64> = group.iter().map(|c| c.advantage).collect();
        let flat = advantages.iter().all(|&a| a == 0.0);
        let signals = match aggregation {
            Aggregation::GroupSoftmax { psi } => {
                let (up, down) =
                    (softmax(advantages.iter().map(|a| psi * a)), softmax(advantages.iter().map(|a| -psi * a)));
                up.iter().zip(&down).map(|(up, down)| up - down).collect()
            }
            _ => advantages,
        };
        stakes.extend(group.iter().zip(signals).map(|(c, signal)| {
            let (part, whole, mean_of_terms) = match aggregation {
                Aggregation::Length | Aggregation::StableLength { .. } => (c.len as f64, step_length as f64, false),
                Aggregation::Tokens => (1.0, step_length as f64, false),
                Aggregation::Completions => (1.0, step.len() as f64, true),
                Aggregation::GroupSoftmax { .. } => (1.0, count, false),
            };
            Stake { signal, flat, part, whole, mean_of_terms }
        }));
    }
    stakes
}

/// Weights without gradient (StableDRL): the group size times the softmax over the group of `min(moved, ln cap)`, where
/// `moved` is how far the bound of a completion is above that of the policy that sampled it, nats per token. Completions
/// without a value weigh 1 and are left out of the softmax.
pub fn stable_weights(cap: f64, step: &[Standing], moved: &[Option<f64>]) -> Vec<f64> {
    let mut weights = Vec::with_capacity(step.len());
    for group in step.chunk_by(|a, b| a.group == b.group) {
        let moved = &moved[weights.len()..][..group.len()];
        let known = softmax(moved.iter().flatten().map(|m| m.min(cap.ln())));
        let size = known.len() as f64;
        let mut known = known.into_iter();
        weights.extend(moved.iter().map(|m| m.and_then(|_| known.next()).map_or(1.0, |weight| size * weight)));
    }
    weights
}

fn softmax(values: impl Iterator<Item = f64> + Clone) -> Vec<f64> {
    let largest = values.clone().fold(f64::NEG_INFINITY, f64::max);
    let powers: Vec<f64> = values.map(|x| (x - largest).exp()).collect();
    let sum: f64 = powers.iter().sum();
    powers.into_iter().map(|x| x / sum).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(groups: &[&[(f64, usize)]]) -> Vec<Standing> {
        let group = |(group, of): (usize, &&[(f64, usize)])| {
            of.iter().map(|&(advantage, len)| Standing { group, advantage, len }).collect::<Vec<_>>()
        };
        groups.iter().enumerate().flat_map(group).collect()
    }

    #[test]
    fn shares_of_a_step_add_up_to_one() {
        let step = step(&[&[(1.0, 3), (-1.0, 5)], &[(0.0, 4), (0.0, 8)]]);
        let whole = |aggregation: Aggregation, terms: fn(&Standing) -> usize| {
            let stakes = stakes(&aggregation, &step);
            stakes.iter().zip(&step).map(|(s, c)| terms(c) as f64 * s.share(1.0, terms(c))).sum::<f64>()
        };
        assert!((whole(Aggregation::Length, |_| 1) - 1.0).abs() < 1e-15);
        assert!((whole(Aggregation::Tokens, |c| c.len) - 1.0).abs() < 1e-15);
        assert!((whole(Aggregation::Completions, |c| c.len / 2) - 1.0).abs() < 1e-15);
    }

    #[test]
    fn a_group_that_agrees_is_flat_and_has_no_signal_at_all() {
        let step = step(&[&[(0.0, 3); 3], &[(0.5, 3), (0.0, 3), (-0.5, 3)]]);
        for aggregation in [Aggregation::Tokens, Aggregation::GroupSoftmax { psi: 2.0 }] {
            let stakes = stakes(&aggregation, &step);
            assert_eq!(stakes.iter().map(|s| s.flat).collect::<Vec<_>>(), [true, true, true, false, false, false]);
            assert!(stakes[..3].iter().all(|s| s.signal == 0.0));
        }
    }

    #[test]
    fn the_softmax_runs_over_the_group_and_moves_what_is_average() {
        let of = |advantages: [f64; 3]| {
            let step: Vec<Standing> = advantages.map(|advantage| Standing { group: 0, advantage, len: 2 }).into();
            stakes(&Aggregation::GroupSoftmax { psi: 1.0 }, &step).iter().map(|s| s.signal).collect::<Vec<_>>()
        };
        let (a, b) = (of([2.0, 0.0, -2.0]), of([3.0, 0.0, -3.0]));
        assert!(a[0] > 0.0 && a[2] < 0.0 && (a[0] + a[2]).abs() < 1e-15, "{a:?}");
        assert_ne!(a[0], b[0]);
        assert_ne!(of([2.0, 0.0, -1.0])[1], 0.0, "an advantage of 0 in a group that differs");
    }

    #[test]
    fn what_moved_up_weighs_more_up_to_the_cap() {
        let step = step(&[&[(1.0, 3), (-1.0, 3), (0.5, 3)], &[(0.0, 3), (0.0, 3)]]);
        let of = |moved: [f64; 3]| stable_weights(5.0, &step, &[moved.map(Some).to_vec(), vec![None; 2]].concat());
        assert_eq!(of([0.0; 3]), [1.0; 5]);
        let weights = of([0.5, 0.0, -0.5]);
        assert!(weights[0] > 1.0 && weights[2] < 1.0 && weights[3..] == [1.0, 1.0], "{weights:?}");
        assert!((weights[..3].iter().sum::<f64>() - 3.0).abs() < 1e-12);
        assert_eq!(of([5f64.ln(), 0.0, 0.0]), of([50.0, 0.0, 0.0]));
    }
}
