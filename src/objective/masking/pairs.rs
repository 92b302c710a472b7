//! ESPO's masks (arXiv 2512.03759): `l ~ U{1..L}` of all `L` places of the canvas, those behind the end included, and the
//! complement. The prompt stays clean.

use super::{Canvas, MaskSample, over_completion};
use crate::rng::Key;

/// `pairs` sets, each followed by its complement, with the weights `(L + 1) / l` and `(L + 1) / (L - l)` over the number of
/// masks. An empty complement, which scores nothing, is left out; the others weigh the same.
pub(super) fn draw(canvas: Canvas, pairs: usize, key: Key) -> Vec<MaskSample> {
    let n = canvas.completion_length;
    let mut samples = Vec::with_capacity(2 * pairs);
    for pair in 0..pairs {
        let mut rng = key.sample(pair).rng();
        let size = 1 + rng.below(n);
        let mut set = vec![false; n];
        rng.choose(n, size).into_iter().for_each(|place| set[place] = true);
        for (inside, hidden) in [(true, size), (false, n - size)] {
            if hidden > 0 {
                let masked = over_completion(canvas, |i| set[i] == inside);
                let weight = (n + 1) as f64 / hidden as f64 / (2 * pairs) as f64;
                samples.push(MaskSample::given(masked, canvas.prompt_length, n, weight));
            }
        }
    }
    samples
}

#[cfg(test)]
mod tests {
    use super::super::testing::{CANVAS, hidden, key};
    use super::*;
    use crate::config::Scope;

    #[test]
    fn sets_are_of_every_size_and_complements_fill_the_canvas() {
        let mut sizes = [0usize; 13];
        for completion in 0..600 {
            let samples = draw(CANVAS, 1, key(completion));
            let counts: Vec<usize> = samples.iter().map(|s| s.scored(Scope::AllMasked).len()).collect();
            sizes[counts[0]] += 1;
            assert_eq!(counts.iter().sum::<usize>(), 12, "places behind the end are scored, too");
            if let [set, rest] = &samples[..] {
                assert!(hidden(set).chars().zip(hidden(rest).chars()).all(|(a, b)| a != b));
            }
            for (sample, count) in samples.iter().zip(counts) {
                assert!((sample.weight - 13.0 / count as f64 / 2.0).abs() < 1e-12);
            }
        }
        assert!(sizes[0] == 0 && sizes[1..].iter().all(|&n| (20..90).contains(&n)), "{sizes:?}");
    }

    #[test]
    fn two_pairs_are_drawn_apart_and_averaged() {
        let (one, two) = (draw(CANVAS, 1, key(1)), draw(CANVAS, 2, key(1)));
        assert_eq!(one[0].masked, two[0].masked);
        assert_eq!(one[0].weight, 2.0 * two[0].weight);
        assert_ne!(two[0].masked, two[2].masked);
    }
}
