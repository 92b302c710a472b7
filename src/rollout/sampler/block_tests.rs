//! Block-causal models: the cache of finished blocks changes no token, the grid is the model's.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use candle_core::{DType, Device};

use super::tests::prompts;
use super::*;
use crate::config::{CacheKind, Commit, ModelFacts, Remasking};
use crate::model::ops::gpu::host::as_device;
use crate::model::testing::folder_of;
use crate::model::{Description, Weights};

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/golden").join(name)
}

/// Blocks of four from the beginning of a row, and from the answer on; the former of a mixture of experts, too.
fn models() -> [Decoder; 3] {
    let four = NonZeroUsize::new(4);
    let made = folder_of("llada2").expect("a folder");
    [(golden("sdar"), None), (golden("a2d_qwen3"), four), (made, four)].map(|(folder, block_size)| {
        let facts = ModelFacts { block_size, ..ModelFacts::default() };
        let description = Description::read_with(&folder, &facts).expect("fixture");
        Decoder::load_described(description, &folder, DType::F32, &Device::Cpu, Weights::Frozen).expect("fixture")
    })
}

fn run(model: &Decoder, decoding: &Decoding, prompts: &[Prompt], batch: usize) -> Vec<Decoded> {
    let sampler = Sampler { model, decoding, pass: Pass::BASE, stop: &Stop::default() };
    sampler.complete(prompts, batch, |_| ()).expect("decode")
}

fn canvases(decoded: Vec<Decoded>) -> Vec<Vec<u32>> {
    decoded.into_iter().map(|d| d.canvas).collect()
}

fn variants() -> Vec<Decoding> {
    let greedy = Decoding::greedy_by_block(16, 4, 2);
    let threshold = Commit::Threshold(0.02.try_into().expect("in range"));
    vec![
        greedy.clone(),
        Decoding { temperature: 0.9, ..greedy.clone() },
        Decoding { temperature: 0.9, steps_per_block: 4, early_stop: true, ..greedy.clone() },
        Decoding { temperature: 0.9, remasking: Remasking::Random, ..greedy.clone() },
        Decoding { temperature: 0.9, commit: threshold, ..greedy.clone() },
        Decoding { temperature: 0.7, cfg_scale: 1.5, ..greedy },
    ]
}

#[test]
fn the_cache_of_finished_blocks_changes_no_token() {
    // some prompts twice: their canvases are one until they part
    let mut prompts = prompts(&[9, 4, 13, 8, 5, 4]);
    prompts[5].ids = prompts[1].ids.clone();
    for model in models() {
        for decoding in variants() {
            let plain = run(&model, &decoding, &prompts, 6);
            let cached = Decoding { cache: CacheKind::Blocks, ..decoding.clone() };
            for batch in [1, 2, 6] {
                let found = run(&model, &cached, &prompts, batch);
                for (a, b) in plain.iter().zip(&found) {
                    assert_eq!((&a.canvas, a.steps), (&b.canvas, b.steps), "{cached:?} in batches of {batch}");
                }
            }
            assert!(cached.is_reference() || cached.commit != Commit::Schedule);
        }
    }
}

#[test]
fn accelerators_decode_the_same_blocks() {
    let prompts = prompts(&[9, 4, 13, 8]);
    for model in models() {
        let decoding = Decoding { cache: CacheKind::Blocks, ..Decoding::greedy_by_block(16, 4, 2) };
        let host = canvases(run(&model, &decoding, &prompts, 4));
        assert_eq!(canvases(as_device(|| run(&model, &decoding, &prompts, 4))), host);
    }
}

/// What stands behind a block is not there for it, and the first block of a row holds the end of its prompt.
#[test]
fn a_block_is_decoded_as_if_the_canvas_ended_with_it() {
    let prompts = prompts(&[6, 8]);
    let [sdar, answer, _] = models();
    let tokens = |model: &Decoder, canvas: usize| {
        canvases(run(model, &Decoding::greedy_by_block(canvas, 4, 4), &prompts[..1], 1)).remove(0)
    };
    // blocks of the row end after 2, 6, 10 tokens of the answer to a prompt of six, those of the answer after 4, 8, 12
    for (model, ends) in [(&sdar, [2, 6, 10]), (&answer, [4, 8, 12])] {
        let whole = tokens(model, 12);
        for end in ends {
            assert_eq!(tokens(model, end), whole[..end], "{end}");
        }
    }
    let of = |model: &Decoder| {
        let sampler =
            Sampler { model, decoding: &Decoding::greedy_by_block(12, 4, 4), pass: Pass::BASE, stop: &Stop::default() };
        prompts.iter().map(|prompt| sampler.grid(prompt).blocks()).collect::<Vec<_>>()
    };
    assert_eq!((of(&sdar), of(&answer)), (vec![4, 3], vec![3, 3]));
}

#[test]
fn other_blocks_and_approximate_caches_are_refused_by_the_key() {
    let [sdar, ..] = models();
    let prompts = prompts(&[8]);
    let refused = |model: &Decoder, decoding: Decoding| {
        let sampler = Sampler { model, decoding: &decoding, pass: Pass::BASE, stop: &Stop::default() };
        format!("{:#}", sampler.complete(&prompts, 1, |_| ()).expect_err("refused"))
    };
    let text = refused(&sdar, Decoding::greedy_by_block(16, 8, 4));
    assert!(text.contains("block_length is 8") && text.contains("set block_length = 4"), "{text}");
    for cache in [CacheKind::Prefix, CacheKind::Dual] {
        let text = refused(&sdar, Decoding { cache, ..Decoding::greedy_by_block(16, 4, 4) });
        assert!(text.contains("rollout.cache") && text.contains("block-causal"), "{text}");
    }
    let llada = super::tests::model();
    let text = refused(&llada, Decoding { cache: CacheKind::Blocks, ..Decoding::greedy_by_block(16, 4, 4) });
    assert!(text.contains("rollout.cache = \"blocks\" is for block-causal models"), "{text}");
}
