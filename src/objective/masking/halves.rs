//! Coupled masks (DiffuCoder, arXiv 2506.20639): everything, a random set of places, and its complement, so that every
//! token is scored twice. The prompt stays clean; the set is drawn over the whole canvas.

use std::ops::Range;

use super::{Canvas, MaskSample, over_completion};
use crate::rng::Key;

/// Three masks. A place is in the set with a probability `t` that is uniform in `ratios`; the weights are 1/2,
/// `1 / (2 t)` and `1 / (2 (1 - t))`.
pub(super) fn draw(canvas: Canvas, ratios: Range<f64>, key: Key) -> Vec<MaskSample> {
    let mut rng = key.sample(0).rng();
    let t = ratios.start + (ratios.end - ratios.start) * rng.uniform_f64();
    let set: Vec<bool> = (0..canvas.completion_length).map(|_| rng.bernoulli(t)).collect();
    let sample = |hidden: &dyn Fn(usize) -> bool, weight| {
        MaskSample::given(over_completion(canvas, hidden), canvas.prompt_length, canvas.len, weight)
    };
    vec![sample(&|_| true, 0.5), sample(&|i| set[i], 0.5 / t), sample(&|i| !set[i], 0.5 / (1.0 - t))]
}

#[cfg(test)]
mod tests {
    use super::super::testing::{CANVAS, hidden, key};
    use super::*;
    use crate::config::Scope;

    #[test]
    fn set_and_complement_score_every_token_once() {
        for completion in 0..50 {
            let [all, set, rest] = draw(CANVAS, 0.2..0.8, key(completion)).try_into().unwrap();
            assert_eq!(hidden(&all), "111111111111");
            let mut scored = [set.scored(Scope::AllMasked), rest.scored(Scope::AllMasked)].concat();
            scored.sort_unstable();
            assert_eq!(scored, all.scored(Scope::AllMasked));
            assert!(hidden(&set).chars().zip(hidden(&rest).chars()).all(|(a, b)| a != b));
            // 1/w + 1/w' = 2 t + 2 (1 - t)
            assert!((1.0 / set.weight + 1.0 / rest.weight - 2.0).abs() < 1e-12);
            assert!((0.2..0.8).contains(&(0.5 / set.weight)) && all.weight == 0.5);
        }
    }
}
