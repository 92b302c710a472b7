//! The structural rules hold for every draw, and the draws have the promised distributions.

use super::*;
use crate::config::{Masks, Scope};
use crate::objective::testing::Golden;
use crate::rng::Purpose;
use proptest::prelude::*;

const KINDS: [ForwardType; 4] =
    [ForwardType::BlockRandom, ForwardType::BlockAll, ForwardType::Random, ForwardType::All];

fn masking(forward_type: ForwardType, num_samples: usize) -> Forward {
    Forward { forward_type, block_length: 8, num_samples, min_t: 0.0, max_t: 1.0, p_mask_prompt: 0.15 }
}

fn canvas(len: usize) -> Canvas {
    Canvas { prompt_length: 10, completion_length: 32, len, begun: 0 }
}

fn key(completion: usize) -> Key {
    Key::new(42, Purpose::Mask).step(3).part(1).prompt(completion)
}

/// A mask against the rules of its kind, without looking at how it was drawn.
fn obeys(masked: &[bool], canvas: Canvas, masking: &Forward, block: Option<usize>) -> bool {
    let completion = &masked[canvas.prompt_length..];
    let (start, end) = match block {
        Some(b) => (b * masking.block_length, canvas.len.min((b + 1) * masking.block_length)),
        None => (0, canvas.len),
    };
    let hidden = completion[start..end].iter().filter(|&&m| m).count();
    let n = end - start;
    let whole = matches!(masking.forward_type, ForwardType::All | ForwardType::BlockAll);
    let least = ((n as f64 * masking.min_t) as usize).max(1);
    let most = ((n as f64 * masking.max_t) as usize).min(n).max(least);
    let before = &masked[..canvas.prompt_length + start];
    masked.len() == canvas.prompt_length + canvas.completion_length
        && completion[end..].iter().all(|&m| m)
        && (if whole { hidden == n } else { (least..=most).contains(&hidden) })
        && (masking.p_mask_prompt > 0.0 || before.iter().all(|&m| !m))
        && (masking.p_mask_prompt < 1.0 || before.iter().all(|&m| m))
}

proptest! {
    #[test]
    fn every_mask_obeys_the_rules(
        seed: u64,
        kind in 0..4usize,
        num_samples in 1..7usize,
        (prompt_length, blocks, block_length) in (0..9usize, 1..5usize, 1..9usize),
        part in 0.0..1.0,
        (a, b) in (0.0..1.0, 0.0..1.0),
        p_mask_prompt in prop::sample::select(vec![0.0, 0.15, 1.0]),
    ) {
        let completion_length = blocks * block_length;
        let len = 1 + (part * completion_length as f64) as usize;
        let canvas = Canvas { prompt_length, completion_length, len, begun: 0 };
        let (min_t, max_t) = (f64::min(a, b), f64::max(a, b));
        let masking = Forward { forward_type: KINDS[kind], block_length, num_samples, min_t, max_t, p_mask_prompt };
        let samples = masking.draw(canvas, Key::new(seed, Purpose::Mask));
        prop_assert_eq!(samples.len(), masking.num_samples());
        for sample in &samples {
            prop_assert!(obeys(&sample.masked, canvas, &masking, sample.block), "{sample:?}");
            let all = sample.scored(Scope::AllMasked);
            let expected: Vec<usize> = (0..len).filter(|i| sample.masked[prompt_length + i]).collect();
            prop_assert_eq!(&all, &expected);
            let inside = |i: &usize| sample.block.is_none_or(|b| i / block_length == b);
            let expected: Vec<usize> = all.into_iter().filter(inside).collect();
            prop_assert!(!expected.is_empty(), "every mask scores something");
            prop_assert_eq!(sample.scored(Scope::Block), expected);
        }
        let used = len.div_ceil(block_length);
        let chosen: Vec<usize> = samples.iter().filter_map(|sample| sample.block).collect();
        prop_assert_eq!(chosen.len(), if kind < 2 { num_samples } else { 0 });
        prop_assert!(chosen.iter().all(|&block| block < used));
        let times = |block| chosen.iter().filter(|&&b| b == block).count();
        if kind < 2 {
            let counts: Vec<usize> = (0..used).map(times).collect();
            prop_assert!(counts.iter().max().unwrap() - counts.iter().min().unwrap() <= 1, "balanced: {counts:?}");
        }
    }

    #[test]
    fn a_sample_depends_neither_on_their_number_nor_on_the_prompt(seed: u64, kind in 0..4usize, len in 1..33usize) {
        let key = Key::new(seed, Purpose::Mask);
        let many = masking(KINDS[kind], 6).draw(canvas(len), key);
        let few = masking(KINDS[kind], 2).draw(canvas(len), key);
        prop_assert_eq!(&few[..], &many[..few.len()]);
        let moved = masking(KINDS[kind], 2).draw(Canvas { prompt_length: 3, ..canvas(len) }, key);
        for (one, other) in few.iter().zip(&moved) {
            let from = one.window.start;
            prop_assert_eq!(&one.masked[10 + from..], &other.masked[3 + from..]);
        }
    }
}

#[test]
fn golden_masks_obey_the_rules() {
    for golden in Golden::all() {
        for case in &golden.cases {
            let Masks::Forward(masks) = case.table.recipe().masks else {
                panic!("SPG's masks are of its forward process")
            };
            let mut masking = Forward::new(&masks, NonZeroUsize::new(golden.block_length).unwrap());
            masking.p_mask_prompt = if case.perturbed { 0.15 } else { 0.0 };
            for (samples, &len) in case.masked.iter().zip(&golden.lengths) {
                let (prompt_length, completion_length) = (golden.prompt_length, golden.completion_length);
                let canvas = Canvas { prompt_length, completion_length, len, begun: 0 };
                assert_eq!(samples.len(), masking.num_samples());
                for masked in samples {
                    let blocks: Vec<Option<usize>> = match masking.forward_type {
                        ForwardType::Random | ForwardType::All => vec![None],
                        _ => (0..len.div_ceil(golden.block_length)).map(Some).collect(),
                    };
                    assert!(blocks.iter().any(|&b| obeys(masked, canvas, &masking, b)), "{:?} {masked:?}", case.table);
                }
            }
        }
    }
}

#[test]
fn the_key_decides_every_bit() {
    for kind in KINDS {
        let draw = |key| masking(kind, 4).draw(canvas(20), key);
        assert_eq!(draw(key(0)), draw(key(0)));
        for other in [key(1), key(0).step(4), key(0).part(2)] {
            assert_ne!(draw(key(0)), draw(other), "{kind:?}");
        }
        // what the caller left in the sample field does not matter
        assert_eq!(draw(key(0)), draw(key(0).sample(7)));
    }
}

#[test]
fn samples_of_a_completion_differ() {
    let samples = masking(ForwardType::Random, 2).draw(canvas(32), key(0));
    assert_ne!(samples[0].masked, samples[1].masked);
}

#[test]
fn a_range_that_rounds_to_nothing_still_hides_one_token() {
    let masking = Forward { min_t: 0.0, max_t: 0.1, ..masking(ForwardType::BlockRandom, 1) };
    for completion in 0..50 {
        let sample = &masking.draw(canvas(3), key(completion))[0];
        assert_eq!(sample.scored(Scope::Block).len(), 1);
    }
}

/// Pearson's statistic of `counts` against the uniform distribution.
fn chi_square(counts: &[usize]) -> f64 {
    let expected = counts.iter().sum::<usize>() as f64 / counts.len() as f64;
    counts.iter().map(|&c| (c as f64 - expected).powi(2) / expected).sum()
}

/// The values that the statistic exceeds with probability 0.001, by degrees of freedom.
fn critical(degrees: usize) -> f64 {
    [0.0, 10.83, 13.82, 16.27, 18.47, 20.52, 22.46, 24.32, 26.12][degrees]
}

fn assert_uniform(what: &str, counts: &[usize]) {
    assert!(chi_square(counts) < critical(counts.len() - 1), "{what}: {counts:?}");
}

#[test]
fn every_sample_chooses_its_block_uniformly() {
    // 20 tokens use three of the four blocks, so the fourth and fifth sample repeat
    let mut counts = [[0usize; 3]; 5];
    let mut pairs = [0usize; 6];
    for completion in 0..6000 {
        let samples = masking(ForwardType::BlockRandom, 5).draw(canvas(20), key(completion));
        let blocks: Vec<usize> = samples.iter().map(|sample| sample.block.unwrap()).collect();
        for (m, &block) in blocks.iter().enumerate() {
            counts[m][block] += 1;
        }
        let second = blocks[1] - usize::from(blocks[1] > blocks[0]);
        pairs[blocks[0] * 2 + second] += 1;
    }
    for (m, counts) in counts.iter().enumerate() {
        assert_uniform(&format!("block of sample {m}"), counts);
    }
    assert_uniform("ordered pair of blocks", &pairs);
}

#[test]
fn the_number_hidden_and_their_places_are_uniform() {
    for (forward_type, len) in [(ForwardType::BlockRandom, 32), (ForwardType::Random, 8)] {
        let masking = Forward { min_t: 0.3, max_t: 0.8, ..masking(forward_type, 1) };
        let mut numbers = [0usize; 5]; // 2..=6 of 8
        let mut places = [0usize; 8];
        for completion in 0..6000 {
            let sample = &masking.draw(canvas(len), key(completion))[0];
            let scored = sample.scored(Scope::Block);
            numbers[scored.len() - 2] += 1;
            for place in scored {
                places[place % 8] += 1;
            }
        }
        assert_uniform("number", &numbers);
        assert_uniform("place", &places);
    }
}

#[test]
fn what_lies_before_the_block_is_hidden_at_the_given_rate() {
    for kind in KINDS {
        let (mut hidden, mut seen) = ([0usize; 2], [0usize; 2]);
        for completion in 0..3000 {
            for sample in masking(kind, 2).draw(canvas(32), key(completion)) {
                let start = 10 + sample.window.start;
                for (part, tokens) in [&sample.masked[..10], &sample.masked[10..start]].into_iter().enumerate() {
                    hidden[part] += tokens.iter().filter(|&&m| m).count();
                    seen[part] += tokens.len();
                }
            }
        }
        for (hidden, seen) in hidden.into_iter().zip(seen).filter(|&(_, seen)| seen > 0) {
            let deviation = (seen as f64 * 0.15 * 0.85).sqrt();
            assert!((hidden as f64 - seen as f64 * 0.15).abs() < 4.0 * deviation, "{kind:?}: {hidden} of {seen}");
        }
    }
}

/// Of the completion of a block-causal model, whose blocks are counted from the beginning of the row.
#[test]
fn blocks_may_have_begun_in_the_prompt() {
    let canvas = Canvas { begun: 3, ..canvas(14) };
    let drawn = masking(ForwardType::BlockAll, 3).draw(canvas, key(0));
    let mut windows: Vec<(usize, usize)> = drawn.iter().map(|m| (m.window.start, m.window.end)).collect();
    windows.sort_unstable();
    assert_eq!(windows, [(0, 5), (5, 13), (13, 14)]);
}

#[test]
fn every_used_block_has_masks_of_its_own_and_a_past() {
    let canvas = Canvas { begun: 3, ..canvas(14) };
    let drawn = masking(ForwardType::EveryBlock, 4).draw(canvas, key(0));
    assert_eq!(drawn.len(), 4);
    for sample in &drawn {
        let completion = &sample.masked[10..];
        assert!([0..5, 5..13, 13..14].into_iter().all(|block| completion[block].contains(&true)), "{completion:?}");
        assert!(completion[14..].iter().all(|&hidden| hidden) && sample.masked[..10].iter().all(|&hidden| !hidden));
        let past = sample.past.as_ref().expect("a past");
        assert!(past.len() == 42 && past[24..].iter().all(|&hidden| hidden));
        assert_eq!(sample.scored(Scope::AllMasked), sample.scored(Scope::Block));
        assert!(sample.scored(Scope::Block).iter().all(|&i| i < 14));
    }
    assert_ne!(drawn[0].masked, drawn[1].masked);
    let hidden: usize =
        drawn.iter().flat_map(|s| s.past.as_ref()).map(|p| p[..24].iter().filter(|&&h| h).count()).sum();
    assert!(hidden > 0 && hidden < 4 * 12, "{hidden}");
}
