//! GDPO's masks (arXiv 2510.08554): the integral over ratios in the ELBO by a fixed Gauss-Legendre rule, so that only the
//! places are random. The prompt stays clean; what follows the end is hidden and not scored.

use super::{Canvas, MaskSample, up_to_the_end};
use crate::rng::Key;

/// Nodes and weights of the rule with `n` nodes on (0, 1); exact for polynomials of degree `2 n - 1`.
///
/// # Panics
/// If `n` is neither 2 nor 3: the configuration allows no other.
fn rule(n: usize) -> Vec<(f64, f64)> {
    match n {
        2 => {
            let away = 0.5 / 3f64.sqrt();
            vec![(0.5 - away, 0.5), (0.5 + away, 0.5)]
        }
        3 => {
            let away = 0.5 * 0.6f64.sqrt();
            vec![(0.5 - away, 5.0 / 18.0), (0.5, 8.0 / 18.0), (0.5 + away, 5.0 / 18.0)]
        }
        n => panic!("no rule of {n} nodes"),
    }
}

/// A mask a node `t` of weight `w`: exactly `round(t len)` random tokens, weighing `w / t`. A node that hides none of a short
/// completion is left out; the last one always hides some.
pub(super) fn draw(canvas: Canvas, nodes: usize, key: Key) -> Vec<MaskSample> {
    let masks = rule(nodes).into_iter().enumerate().filter_map(|(n, (t, w))| {
        let hidden = (t * canvas.len as f64).round() as usize;
        let places = key.sample(n).rng().choose(canvas.len, hidden);
        (hidden > 0).then(|| up_to_the_end(canvas, &places, w / t))
    });
    masks.collect()
}

#[cfg(test)]
mod tests {
    use super::super::testing::{CANVAS, hidden, key};
    use super::*;
    use crate::config::Scope;

    #[test]
    fn the_rules_integrate_polynomials() {
        for n in [2, 3] {
            for degree in 0..2 * n as i32 {
                let sum: f64 = rule(n).iter().map(|(t, w)| w * t.powi(degree)).sum();
                assert!((sum - 1.0 / (degree as f64 + 1.0)).abs() < 1e-15, "{n} nodes, degree {degree}");
            }
        }
    }

    #[test]
    fn every_node_hides_its_share() {
        for completion in 0..20 {
            let samples = draw(CANVAS, 3, key(completion));
            let counts: Vec<usize> = samples.iter().map(|s| s.scored(Scope::AllMasked).len()).collect();
            // round(8 * {0.113, 0.5, 0.887})
            assert_eq!(counts, [1, 4, 7]);
            assert!(samples.iter().all(|s| hidden(s).ends_with("1111")));
            assert!((samples[1].weight - 8.0 / 9.0).abs() < 1e-15);
        }
    }

    #[test]
    fn a_node_that_hid_nothing_of_a_short_completion_weighed_a_token_it_should_not() {
        for (len, counts) in [(1, vec![1, 1]), (3, vec![2, 3]), (5, vec![1, 3, 4])] {
            let samples = draw(Canvas { len, ..CANVAS }, 3, key(0));
            assert_eq!(samples.iter().map(|s| s.scored(Scope::AllMasked).len()).collect::<Vec<_>>(), counts);
        }
    }
}
