//! UniGRPO's masks (MMaDA, arXiv 2505.15809): over the updates of a phase the ratio rises evenly from a random one, drawn
//! for each completion, to 1. The prompt stays clean; what follows the end is hidden and not scored.

use super::{Canvas, MaskSample, Round, part_of, up_to_the_end};
use crate::rng::Key;

/// The stream of a completion's first update that draws its ratio; the places have streams of their own.
const RATIO_STREAM: u64 = 1;

/// The mask of one update; `key` names the completion alone, since all its updates share the first ratio.
pub(super) fn draw(canvas: Canvas, round: Round, key: Key) -> MaskSample {
    let first = key.sample(0).part(0).stream(RATIO_STREAM).uniform_f64();
    let ratio = ratio(first, round);
    let places = key.sample(0).part(round.inner).rng().choose(canvas.len, part_of(canvas.len, ratio));
    up_to_the_end(canvas, &places, 1.0)
}

/// `t0 + (1 - t0) inner / (mu - 1)`; the random one itself if there is but one update.
fn ratio(first: f64, round: Round) -> f64 {
    let steps = round.of.saturating_sub(1).max(1) as f64;
    first + (1.0 - first) * round.inner as f64 / steps
}

#[cfg(test)]
mod tests {
    use super::super::testing::{CANVAS, hidden, key};
    use super::*;
    use crate::config::Scope;

    #[test]
    fn the_ratio_rises_evenly_to_one() {
        let ratios = [0, 1, 2, 3].map(|inner| ratio(0.4, Round { inner, of: 4 }));
        for (ours, expected) in ratios.iter().zip([0.4, 0.6, 0.8, 1.0]) {
            assert!((ours - expected).abs() < 1e-15, "{ratios:?}");
        }
        assert_eq!(ratio(0.4, Round { inner: 0, of: 1 }), 0.4);
    }

    #[test]
    fn more_is_hidden_in_every_update_and_all_in_the_last() {
        for completion in 0..20 {
            let counts: Vec<usize> = (0..5)
                .map(|inner| {
                    let sample = draw(CANVAS, Round { inner, of: 5 }, key(completion));
                    assert!(hidden(&sample).ends_with("1111"), "what follows the end is hidden");
                    sample.scored(Scope::AllMasked).len()
                })
                .collect();
            assert!(counts.is_sorted() && counts[0] >= 1 && counts[4] == 8, "{counts:?}");
        }
    }
}
