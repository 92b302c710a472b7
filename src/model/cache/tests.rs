//! Cached passes against whole ones, bit for bit where they must agree.

use std::path::PathBuf;

use candle_core::{DType, Device};

use super::*;
use crate::model::Weights;
use crate::rng::{Key, Purpose};

/// Prompts of different lengths, so that there is padding; a block of four in the middle of nine.
const LENGTHS: [usize; 3] = [9, 5, 8];
const COLUMNS: usize = 14;
const BLOCK: Range<usize> = 8..12;

fn model(name: &str) -> Decoder {
    model_in(name, DType::F32)
}

fn model_in(name: &str, dtype: DType) -> Decoder {
    let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/golden").join(name);
    let mut model = Decoder::load(&dir, dtype, &Device::Cpu, Weights::Frozen).expect("fixture");
    model.load_adapter(&dir).expect("fixture");
    model
}

fn batch(seed: u64) -> Batch {
    let mut rng = Key::new(seed, Purpose::Record).rng();
    let mut rows: Vec<Vec<u32>> =
        LENGTHS.iter().map(|&n| (0..n + 5).map(|_| rng.below(120) as u32).collect()).collect();
    // what is not in the block is the same whatever the seed
    for (i, row) in rows.iter_mut().enumerate() {
        let block = row.len() - COLUMNS + BLOCK.start.min(row.len())..row.len() - COLUMNS + BLOCK.end;
        for (j, id) in row.iter_mut().enumerate().filter(|(j, _)| !block.contains(j)) {
            *id = (i * 31 + j * 7) as u32 % 120;
        }
    }
    Batch::left_padded(&rows, 1)
}

fn bits(x: &Tensor) -> Vec<u32> {
    let values: Vec<f32> = x.flatten_all().and_then(|x| x.to_vec1()).expect("f32");
    values.into_iter().map(f32::to_bits).collect()
}

/// What is fed and how much is kept: prefix cache, dual cache.
fn caches() -> [(Range<usize>, usize); 2] {
    [(BLOCK.start..COLUMNS, BLOCK.start), (BLOCK, COLUMNS)]
}

#[test]
fn unchanged_tokens_have_the_bits_of_the_whole_pass() -> Result<()> {
    for name in ["gqa_small", "mha_small"] {
        let (model, batch) = (model(name), batch(1));
        let plain = bits(&model.hidden(&batch, BLOCK, Pass::INFERENCE)?);
        for (fed, columns) in caches() {
            let (hidden, cache) = model.hidden_keeping(&batch, BLOCK, Pass::INFERENCE, columns)?;
            assert_eq!(bits(&hidden), plain, "keeping changes nothing");
            let again = model.hidden_cached(&batch, fed.clone(), BLOCK, Pass::INFERENCE, &cache)?;
            assert_eq!(bits(&again), plain, "{name}: {fed:?} fed");
            // places of the block in any order have the bits they have among all
            let places = [(2, BLOCK.start + 3), (0, BLOCK.start + 1), (0, BLOCK.start + 2)];
            let width = plain.len() / (LENGTHS.len() * BLOCK.len());
            let row = |(b, column): (usize, usize)| &plain[(b * BLOCK.len() + column - BLOCK.start) * width..][..width];
            let expected = places.map(row).concat();
            let window = || Window::of(places.to_vec());
            let (hidden, cache) = model.hidden_keeping(&batch, window(), Pass::INFERENCE, columns)?;
            assert_eq!(bits(&hidden), expected, "{name}: places");
            let again = model.hidden_cached(&batch, fed.clone(), window(), Pass::INFERENCE, &cache)?;
            assert_eq!(bits(&again), expected, "{name}: places, {fed:?} fed");
        }
    }
    Ok(())
}

/// Doubles go through candle's operations, as everything does on an accelerator.
#[test]
fn other_precisions_cache_alike() -> Result<()> {
    for dtype in [DType::BF16, DType::F64] {
        caches_alike(&model_in("gqa_small", dtype))?;
    }
    Ok(())
}

fn caches_alike(model: &Decoder) -> Result<()> {
    let batch = batch(1);
    let values = |x: &Tensor| x.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>();
    let plain = values(&model.hidden(&batch, BLOCK, Pass::INFERENCE)?)?;
    for (fed, columns) in caches() {
        let (_, cache) = model.hidden_keeping(&batch, BLOCK, Pass::INFERENCE, columns)?;
        let again = values(&model.hidden_cached(&batch, fed, BLOCK, Pass::INFERENCE, &cache)?)?;
        let worst = plain.iter().zip(&again).map(|(a, b)| (a - b).abs() / (1.0 + a.abs())).fold(0.0, f32::max);
        assert!(worst < 0.02, "{:?}: {worst}", model.dtype());
    }
    Ok(())
}

#[test]
fn only_what_is_asked_for_is_kept() -> Result<()> {
    let (model, batch) = (model("gqa_small"), batch(1));
    for columns in [3, BLOCK.start, COLUMNS] {
        let (_, cache) = model.hidden_keeping(&batch, BLOCK, Pass::INFERENCE, columns)?;
        for KeyValues { k, v } in &cache.0 {
            assert_eq!((k.dim(1)?, v.dims()), (columns, k.dims()));
            let (storage, layout) = k.storage_and_layout();
            let candle_core::Storage::Cpu(storage) = &*storage else { unreachable!("the device is the CPU") };
            assert_eq!(storage.as_slice::<f32>()?.len(), layout.shape().elem_count(), "no more memory than that");
        }
    }
    Ok(())
}

/// Keys and values of the first layer depend on their own column alone: where it is the only one, nothing is stale.
#[test]
fn a_single_layer_makes_every_cache_exact() -> Result<()> {
    let mut model = model("gqa_small");
    let (before, after) = (batch(1), batch(2));
    let changed = |model: &Decoder| -> Result<Vec<(Vec<u32>, Vec<u32>)>> {
        let plain = bits(&model.hidden(&after, BLOCK, Pass::INFERENCE)?);
        let cached = |(fed, columns)| {
            let (_, cache) = model.hidden_keeping(&before, BLOCK, Pass::INFERENCE, columns)?;
            Ok((plain.clone(), bits(&model.hidden_cached(&after, fed, BLOCK, Pass::INFERENCE, &cache)?)))
        };
        caches().into_iter().map(cached).collect()
    };
    assert!(changed(&model)?.iter().all(|(plain, cached)| plain != cached), "two layers must tell");
    model.layers.truncate(1);
    assert!(changed(&model)?.iter().all(|(plain, cached)| plain == cached));
    Ok(())
}

#[test]
fn the_cache_takes_the_new_keys_and_values_of_the_block() -> Result<()> {
    let (model, before, after) = (model("mha_small"), batch(1), batch(2));
    let (_, cache) = model.hidden_keeping(&before, BLOCK, Pass::INFERENCE, COLUMNS)?;
    let first = bits(&model.hidden_cached(&after, BLOCK, BLOCK, Pass::INFERENCE, &cache)?);
    // half of the block against the other half as it is kept: its new tokens, not those of the whole pass
    let half = BLOCK.start..BLOCK.start + 2;
    let part = bits(&model.hidden_cached(&after, half.clone(), half, Pass::INFERENCE, &cache)?);
    let rows = part.len() / LENGTHS.len();
    for (i, row) in part.chunks(rows).enumerate() {
        assert_eq!(row, &first[2 * rows * i..][..rows], "row {i}");
    }
    Ok(())
}

#[test]
fn rows_are_cached_on_their_own() -> Result<()> {
    let (model, before, after) = (model("gqa_small"), batch(1), batch(2));
    for (fed, columns) in caches() {
        let (_, cache) = model.hidden_keeping(&before, BLOCK, Pass::INFERENCE, columns)?;
        let chosen = [2, 0, 2];
        let selected = cache.select(&chosen)?;
        let all = bits(&model.hidden_cached(&after, fed.clone(), BLOCK, Pass::INFERENCE, &cache)?);
        let rows: Vec<&[u32]> =
            chosen.iter().map(|&i| &after.ids[i * COLUMNS + after.pad[i]..][..COLUMNS - after.pad[i]]).collect();
        let some = Batch::left_padded_to(COLUMNS, &rows, 1);
        let some = bits(&model.hidden_cached(&some, fed, BLOCK, Pass::INFERENCE, &selected)?);
        let width = all.len() / LENGTHS.len();
        for (row, i) in some.chunks(width).zip(chosen) {
            assert_eq!(row, &all[i * width..][..width]);
        }
        assert!(cache.select(&[3]).is_err());
    }
    Ok(())
}

#[test]
fn columns_that_leave_a_gap_are_refused() -> Result<()> {
    let (model, batch) = (model("gqa_small"), batch(1));
    let (_, cache) = model.hidden_keeping(&batch, BLOCK, Pass::INFERENCE, 4)?;
    assert!(model.hidden_cached(&batch, 5..COLUMNS, BLOCK, Pass::INFERENCE, &cache).is_err());
    assert!(model.hidden_cached(&batch, 4..COLUMNS, 3..5, Pass::INFERENCE, &cache).is_err());
    Ok(())
}
