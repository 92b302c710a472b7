//! Ways to save work: where they must not change a token, and what they count.

use candle_core::{DType, Device};

use super::tests::{decode, fast_variants, model, prompts, variants};
use super::*;
use crate::config::{CacheKind, Commit, Remasking};
use crate::model::Weights;
use crate::rng::{Key, Purpose};
use crate::rollout::{Agreement, Choice};

fn run(model: &Decoder, decoding: &Decoding, prompts: &[Prompt], batch: usize) -> Vec<Decoded> {
    Sampler { model, decoding, pass: Pass::BASE, stop: &Stop::default() }
        .complete(prompts, batch, |_| ())
        .expect("decode")
}

/// The golden model with this change of its `config.json`, and random weights where these do not fit then.
fn changed(key: &str, value: u32) -> Decoder {
    let golden = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/golden/gqa_small");
    let dir = tempfile::tempdir().expect("a folder");
    let text = std::fs::read_to_string(golden.join("config.json")).expect("fixture");
    let mut config: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    config[key] = value.into();
    std::fs::write(dir.path().join("config.json"), config.to_string()).expect("write");
    if key == "n_layers" {
        return Decoder::random(dir.path(), 3, DType::F32, &Device::Cpu, Weights::Trainable).expect("a model");
    }
    std::fs::copy(golden.join("model.safetensors"), dir.path().join("model.safetensors")).expect("copy");
    Decoder::load(dir.path(), DType::F32, &Device::Cpu, Weights::Frozen).expect("a model")
}

#[test]
fn a_cache_that_is_refreshed_at_every_step_changes_no_token() {
    let model = model();
    let prompts = prompts(&[9, 4, 13]);
    for decoding in variants() {
        let exact = run(&model, &decoding, &prompts, 3);
        for cache in [CacheKind::Prefix, CacheKind::Dual] {
            let decoding = Decoding { cache, cache_refresh_steps: 1, ..decoding.clone() };
            assert_eq!(run(&model, &decoding, &prompts, 3), exact, "{decoding:?}");
        }
    }
}

/// Keys and values of the only layer depend on their own column alone, so that none is ever stale.
#[test]
fn every_cache_is_exact_for_a_model_of_one_layer_and_not_for_two() {
    let prompts = prompts(&[9, 4, 13]);
    for (model, same) in [(changed("n_layers", 1), true), (model(), false)] {
        for cache in [CacheKind::Prefix, CacheKind::Dual] {
            let cached = |d: Decoding| {
                decode(&model, &Decoding { cache, ..d.clone() }, &prompts, 3) == decode(&model, &d, &prompts, 3)
            };
            let decoding = variants();
            let equal = decoding.into_iter().map(cached).filter(|&equal| equal).count();
            assert_eq!(equal == variants().len(), same, "{cache:?}: {equal} are equal");
        }
    }
}

#[test]
fn one_token_at_a_time_is_the_same_by_every_rule() {
    let model = model();
    let prompts = prompts(&[9, 4]);
    let schedule = Decoding { temperature: 0.7, ..Decoding::greedy(16, 8, 16).expect("one a step") };
    let expected = run(&model, &schedule, &prompts, 2);
    for commit in [
        Commit::Threshold(1.0.try_into().expect("in range")),
        Commit::Factor(1e-9.try_into().expect("in range")),
        Commit::EntropyBound(0.0.try_into().expect("in range")),
    ] {
        assert_eq!(run(&model, &Decoding { commit, ..schedule.clone() }, &prompts, 2), expected, "{commit:?}");
    }
}

#[test]
fn a_block_at_a_time_is_the_same_by_every_rule() {
    let model = model();
    let prompts = prompts(&[9, 4]);
    let schedule = Decoding::greedy(16, 8, 2).expect("one step a block");
    let expected = decode(&model, &schedule, &prompts, 2);
    for commit in [
        Commit::Threshold(0.0.try_into().expect("in range")),
        Commit::Factor(1e9.try_into().expect("in range")),
        Commit::EntropyBound(1e9.try_into().expect("in range")),
    ] {
        assert_eq!(decode(&model, &Decoding { commit, ..schedule.clone() }, &prompts, 2), expected, "{commit:?}");
    }
}

#[test]
fn rows_that_are_done_with_a_block_take_no_more_steps() {
    let model = model();
    let mut seen = Vec::new();
    for decoding in fast_variants().into_iter().filter(|d| d.commit != Commit::Schedule) {
        let decoded = run(&model, &decoding, &prompts(&[9, 4, 13, 6]), 4);
        for d in &decoded {
            assert!((2..=16).contains(&d.steps), "{decoding:?}: {} steps", d.steps);
            assert!(decoding.early_stop || d.trace.len() == 16);
        }
        seen.push(decoded.iter().map(|d| d.steps).collect::<Vec<_>>());
    }
    assert!(seen.iter().any(|steps| steps.iter().any(|s| s != &steps[0])), "rows of a batch must differ: {seen:?}");
}

#[test]
fn completions_of_one_prompt_share_passes_and_nothing_else() {
    let model = model();
    let key = Key::new(8, Purpose::Rollout);
    let ids = prompts(&[7]).remove(0).ids;
    let group: Vec<Prompt> = (0..4).map(|i| Prompt { ids: ids.clone(), key: key.sample(i) }).collect();
    let group = [group, prompts(&[4, 7])].concat();
    for decoding in variants().into_iter().chain(fast_variants()) {
        let (together, alone) = (run(&model, &decoding, &group, 6), run(&model, &decoding, &group, 1));
        for (a, b) in together.iter().zip(&alone) {
            assert_eq!((&a.canvas, a.steps, a.trace.len()), (&b.canvas, b.steps, b.trace.len()), "{decoding:?}");
            for (a, b) in a.trace.iter().zip(&b.trace) {
                assert_eq!((a.position, a.uniform, a.step), (b.position, b.uniform, b.step), "{decoding:?}");
                // rounded in other places when other rows are encoded beside
                assert!((a.confidence - b.confidence).abs() < 1e-4, "{decoding:?}: {a:?} {b:?}");
            }
        }
    }
}

#[test]
fn an_early_stop_changes_nothing_up_to_the_end_and_costs_no_more_steps() {
    // the token that stands most often in the middle of completions plays EOS
    let plain = model();
    let prompts = prompts(&[9, 4, 13, 6, 11, 5]);
    let decoding = Decoding { temperature: 0.9, ..Decoding::greedy(32, 8, 16).expect("32 / 8, 16 / 4") };
    let tokens: Vec<u32> = run(&plain, &decoding, &prompts, 6).iter().flat_map(|d| d.canvas[4..24].to_vec()).collect();
    let count = |id: u32| tokens.iter().filter(|&&t| t == id).count();
    let eos = tokens.iter().copied().max_by_key(|&id| (count(id), id)).expect("tokens");
    let model = changed("eos_token_id", eos);
    let of = |d: Decoding, canvas: usize| {
        let schedule = Decoding::greedy(canvas, 8, canvas / 2).expect("even");
        Decoding { canvas, steps_per_block: schedule.steps_per_block, ..d }
    };
    let mut stopped = 0;
    for decoding in variants().into_iter().chain(fast_variants()).map(|d| of(d, 32)) {
        let full = run(&model, &Decoding { early_stop: false, ..decoding.clone() }, &prompts, 6);
        for batch in [1, 4, 6] {
            let early = run(&model, &Decoding { early_stop: true, ..decoding.clone() }, &prompts, batch);
            for (full, early) in full.iter().zip(&early) {
                let end = model.ids().length(&full.canvas);
                assert_eq!(early.canvas[..end], full.canvas[..end], "{decoding:?}");
                let decoded = end.next_multiple_of(decoding.block_length);
                assert_eq!(early.canvas[..decoded], full.canvas[..decoded], "a block is finished");
                assert!(early.canvas[decoded..].iter().all(|&id| id == eos));
                let places =
                    |trace: &[Choice]| trace.iter().map(|c| (c.position, c.uniform, c.step)).collect::<Vec<_>>();
                assert_eq!(places(&early.trace), places(&full.trace[..decoded]), "what is filled was not decoded");
                // fewer rows at once round in other places
                let apart = |(a, b): (&Choice, &Choice)| (a.confidence - b.confidence).abs();
                assert!(early.trace.iter().zip(&full.trace).map(apart).all(|apart| apart < 1e-5));
                assert!(early.steps <= full.steps && (decoded == 32) == (early.steps == full.steps));
                stopped += usize::from(decoded < 32);
            }
        }
    }
    assert!(stopped > 20, "{stopped}");
}

fn agreement(model: &Decoder, decoding: &Decoding, prompts: &[Prompt], decoded: &[Decoded], batch: usize) -> Agreement {
    Sampler { model, decoding, pass: Pass::BASE, stop: &Stop::default() }
        .agreement(prompts, decoded, batch)
        .expect("replay")
}

#[test]
fn exact_completions_agree_with_themselves_in_every_token() {
    let model = model();
    let prompts = prompts(&[9, 4, 13, 6, 4]);
    for decoding in variants() {
        let exact = run(&model, &decoding, &prompts, 5);
        for batch in [1, 3] {
            let found = agreement(&model, &decoding, &prompts, &exact, batch);
            assert_eq!(found.agreed, found.tokens, "{decoding:?}");
            assert_eq!(found.fraction(), 1.0);
        }
    }
}

#[test]
fn a_token_that_the_model_would_not_choose_is_counted() {
    let model = model();
    let prompts = prompts(&[9, 4]);
    let decoding = Decoding::greedy(16, 16, 16).expect("one block");
    let mut decoded = run(&model, &decoding, &prompts, 2);
    assert!(decoded.iter().all(|d| !model.ids().ended(&d.canvas)), "nothing ends early here");
    // the last token to be chosen: no other depends on it
    let Choice { position, .. } = decoded[1].trace[15];
    decoded[1].canvas[position] = (decoded[1].canvas[position] + 1) % 100 + 2;
    assert_eq!(agreement(&model, &decoding, &prompts, &decoded, 2), Agreement { agreed: 31, tokens: 32 });
    // tokens behind the end do not count
    decoded[0].canvas[3] = model.ids().fill();
    assert_eq!(agreement(&model, &decoding, &prompts, &decoded, 2).tokens, 4 + 16);
}

#[test]
fn hasty_completions_agree_less() {
    let model = model();
    let prompts = prompts(&[9, 4, 13, 6]);
    let hasty = Commit::Threshold(0.0.try_into().expect("in range"));
    let decoding = Decoding { temperature: 0.9, commit: hasty, ..Decoding::greedy(16, 8, 16).expect("16 / 8") };
    let decoded = run(&model, &decoding, &prompts, 4);
    let found = agreement(&model, &decoding, &prompts, &decoded, 4);
    assert!(found.agreed > 0 && found.fraction() < 0.95, "{found:?}");
    // at the pace at which they were decoded there is nothing to object
    let pace = Decoding { steps_per_block: 1, ..decoding };
    assert_eq!(agreement(&model, &pace, &prompts, &decoded, 4).fraction(), 1.0);
}

#[test]
fn random_places_need_the_schedule() {
    let threshold = Commit::Threshold(0.9.try_into().expect("in range"));
    let bound = Commit::EntropyBound(0.1.try_into().expect("in range"));
    for remasking in [Remasking::LowConfidence, Remasking::Margin, Remasking::NegEntropy, Remasking::Random] {
        assert!(Commit::Schedule.suits(remasking));
        assert_eq!(threshold.suits(remasking), remasking == Remasking::LowConfidence);
        assert_eq!(bound.suits(remasking), remasking != Remasking::Random);
    }
}
