//! The sampler as a whole, on a golden model: independence of the batch, options, refusals.

use std::path::PathBuf;

use candle_core::{DType, Device};

use super::*;
use crate::config::{CacheKind, Commit, Confidence, Remasking};
use crate::model::Weights;
use crate::model::ops::gpu::host::as_device;
use crate::rng::{Key, Purpose};
use crate::rollout::filter::Filter;

pub(super) fn model() -> Decoder {
    let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/golden/gqa_small");
    Decoder::load(&dir, DType::F32, &Device::Cpu, Weights::Frozen).expect("fixture")
}

pub(super) fn prompts(lengths: &[usize]) -> Vec<Prompt> {
    let ids = |i: usize, n: usize| (0..n).map(|j| ((i * 31 + j * 7) % 150) as u32).collect();
    let key = Key::new(5, Purpose::Rollout);
    lengths.iter().enumerate().map(|(i, &n)| Prompt { ids: ids(i, n), key: key.prompt(i) }).collect()
}

pub(super) fn decode(model: &Decoder, decoding: &Decoding, prompts: &[Prompt], batch: usize) -> Vec<Vec<u32>> {
    let decoded = Sampler { model, decoding, pass: Pass::BASE, stop: &Stop::default() }
        .complete(prompts, batch, |_| ())
        .expect("decode");
    decoded.into_iter().map(|d| d.canvas).collect()
}

/// Greedy first.
pub(super) fn variants() -> Vec<Decoding> {
    let greedy = Decoding::greedy(16, 8, 6).expect("16 / 8, 6 / 2");
    vec![
        greedy.clone(),
        Decoding { temperature: 0.9, ..greedy.clone() },
        Decoding { temperature: 1.3, remasking: Remasking::Random, ..greedy.clone() },
        Decoding { temperature: 0.7, cfg_scale: 1.5, ..greedy.clone() },
        Decoding { temperature: 0.6, remasking: Remasking::Margin, ..greedy.clone() },
        Decoding { temperature: 0.9, remasking: Remasking::NegEntropy, ..greedy.clone() },
        Decoding { temperature: 0.9, filter: Filter { top_p: 0.6, top_k: Some(9) }, cfg_scale: 0.5, ..greedy.clone() },
        Decoding { ranking_temperature: 0.1, ..greedy },
        dream(),
    ]
}

/// Dream's own sampler, as published but for the canvas.
fn dream() -> Decoding {
    Decoding {
        temperature: 0.2,
        filter: Filter { top_p: 0.95, top_k: None },
        remasking: Remasking::NegEntropy,
        confidence: Confidence::Sampled,
        commit: Commit::Timeline,
        ..Decoding::greedy(16, 16, 5).expect("one block")
    }
}

/// Every way to save work, alone and together.
pub(super) fn fast_variants() -> Vec<Decoding> {
    let sampled = Decoding { temperature: 0.8, ..Decoding::greedy(16, 8, 8).expect("16 / 8, 8 / 2") };
    let threshold = Commit::Threshold(0.03.try_into().expect("in range"));
    let factor = Commit::Factor(2.0.try_into().expect("in range"));
    let bound = Commit::EntropyBound(9.0.try_into().expect("in range"));
    let (prefix, dual) = (CacheKind::Prefix, CacheKind::Dual);
    vec![
        Decoding { cache: prefix, ..sampled.clone() },
        Decoding { cache: dual, ..sampled.clone() },
        Decoding { cache: dual, cache_refresh_steps: 3, ..sampled.clone() },
        Decoding { cache: prefix, remasking: Remasking::Random, ..sampled.clone() },
        Decoding { cache: dual, cfg_scale: 1.5, ..sampled.clone() },
        Decoding { cache: prefix, cfg_scale: 0.5, commit: threshold, ..sampled.clone() },
        Decoding { commit: threshold, ..sampled.clone() },
        Decoding { commit: factor, ..sampled.clone() },
        Decoding { commit: bound, remasking: Remasking::NegEntropy, ..sampled.clone() },
        Decoding { commit: threshold, cache: dual, cfg_scale: 1.5, ..sampled.clone() },
        Decoding { commit: bound, cache: dual, early_stop: true, ..sampled.clone() },
        Decoding { early_stop: true, ..sampled },
    ]
}

#[test]
fn a_completion_does_not_depend_on_its_batch_whatever_the_prompt_lengths() {
    let model = model();
    let prompts = prompts(&[9, 4, 13, 6, 4]);
    for decoding in variants().into_iter().chain(fast_variants()) {
        let alone = decode(&model, &decoding, &prompts, 1);
        for batch in [2, 3, 5] {
            assert_eq!(decode(&model, &decoding, &prompts, batch), alone, "{decoding:?} in batches of {batch}");
        }
        let reversed: Vec<Prompt> = prompts.iter().rev().cloned().collect();
        let mut reversed = decode(&model, &decoding, &reversed, 5);
        reversed.reverse();
        assert_eq!(reversed, alone);
    }
}

#[test]
fn every_place_is_filled_and_never_with_the_mask() {
    let model = model();
    for decoding in variants().into_iter().chain(fast_variants()) {
        for canvas in decode(&model, &decoding, &prompts(&[5, 7]), 2) {
            assert_eq!(canvas.len(), 16);
            assert!(canvas.iter().all(|&id| id != model.ids().mask && id < 160), "{canvas:?}");
        }
    }
}

#[test]
fn sampling_follows_the_key_and_greedy_decoding_ignores_it() {
    let model = model();
    let first = prompts(&[6]);
    let mut other = first.clone();
    other[0].key = Key::new(6, Purpose::Rollout);
    let variants = variants();
    assert_eq!(decode(&model, &variants[0], &first, 1), decode(&model, &variants[0], &other, 1));
    for decoding in &variants[1..] {
        assert_eq!(decode(&model, decoding, &first, 1), decode(&model, decoding, &first, 1));
        assert_ne!(decode(&model, decoding, &first, 1), decode(&model, decoding, &other, 1));
    }
}

#[test]
fn every_remasking_commits_in_an_order_of_its_own() {
    use Remasking::{LowConfidence, Margin, NegEntropy, Random};
    let model = model();
    let greedy = Decoding::greedy(16, 16, 16).expect("one block");
    let prompts = prompts(&[6, 9, 4]);
    let of = |remasking| decode(&model, &Decoding { remasking, ..greedy.clone() }, &prompts, 3);
    let all = [LowConfidence, Random, Margin, NegEntropy].map(of);
    for (i, one) in all.iter().enumerate() {
        assert!(all[..i].iter().all(|other| other != one), "{i}");
    }
}

#[test]
fn steps_are_counted_not_planned() {
    let model = model();
    let steps = |decoding: Decoding| -> Vec<usize> {
        let sampler = Sampler { model: &model, decoding: &decoding, pass: Pass::BASE, stop: &Stop::default() };
        sampler.complete(&prompts(&[5, 7]), 2, |_| ()).expect("decode").iter().map(|d| d.steps).collect()
    };
    assert_eq!(steps(Decoding::greedy(16, 8, 6).expect("16 / 8, 6 / 2")), [6, 6]);
    // a block of 4 has nothing left to do after 4 of its 6 steps
    assert_eq!(steps(Decoding::greedy(16, 4, 24).expect("16 / 4, 24 / 4")), [16, 16]);
}

#[test]
fn a_canvas_that_does_not_fit_is_refused() {
    let (model, decoding) = (model(), Decoding::greedy(16, 8, 4).expect("16 / 8"));
    let error = Sampler { model: &model, decoding: &decoding, pass: Pass::BASE, stop: &Stop::default() }.complete(
        &prompts(&[250]),
        1,
        |_| (),
    );
    let text = error.expect_err("266 of 256").to_string();
    assert!(text.contains("250 tokens") && text.contains("max_sequence_length 256"), "{text}");
}

/// With every rule and order, guidance and caches: the same tokens for the same random numbers.
#[test]
fn a_device_decodes_what_the_cpu_decodes() {
    let model = model();
    let prompts = prompts(&[5, 9, 7]);
    for decoding in variants().into_iter().chain(fast_variants()) {
        let expected = decode(&model, &decoding, &prompts, 3);
        assert_eq!(as_device(|| decode(&model, &decoding, &prompts, 3)), expected, "{decoding:?}");
    }
}

#[test]
fn progress_is_told_after_every_denoising_step() {
    let model = model();
    let (prompts, decoding) = (prompts(&[5, 7, 6]), Decoding::greedy(16, 8, 4).expect("16 / 8, 4 / 2"));
    let told = |decoding: &Decoding, batch: usize| {
        let mut told = Vec::new();
        Sampler { model: &model, decoding, pass: Pass::BASE, stop: &Stop::default() }
            .complete(&prompts, batch, |headway| told.push(headway))
            .expect("decode");
        told
    };
    let at = |completed, step| Headway { completed, prompts: 3, step, steps: 8 };
    let steps = [at(0, 1), at(0, 2), at(0, 3), at(0, 4), at(2, 4), at(2, 5), at(2, 6), at(2, 7), at(2, 8), at(3, 8)];
    assert_eq!(told(&decoding, 2), steps);
    // what ends before its time counts as if it had not
    let hasty = Decoding { commit: Commit::Threshold(0.0.try_into().expect("in range")), ..decoding };
    let at = |completed, step| Headway { completed, prompts: 3, step, steps: 16 };
    assert_eq!(told(&hasty, 3), [at(0, 1), at(0, 9), at(3, 16)]);
    assert_eq!(at(1, 4).after(6, 9, 3), Headway { completed: 7, prompts: 9, step: 36, steps: 48 });
}

#[test]
fn a_filter_of_one_token_is_greedy_and_a_device_filters_alike() {
    let (model, prompts) = (model(), prompts(&[9, 4]));
    let greedy = Decoding::greedy(16, 8, 6).expect("16 / 8, 6 / 2");
    let of = |top_p, top_k| Decoding { temperature: 0.9, filter: Filter { top_p, top_k }, ..greedy.clone() };
    let expected = decode(&model, &greedy, &prompts, 2);
    assert_eq!(decode(&model, &of(1.0, Some(1)), &prompts, 2), expected);
    assert_eq!(decode(&model, &of(0.0, None), &prompts, 2), expected);
    let some = decode(&model, &of(0.7, Some(20)), &prompts, 2);
    assert_ne!(some, expected);
    assert_eq!(as_device(|| decode(&model, &of(0.7, Some(20)), &prompts, 2)), some);
}
