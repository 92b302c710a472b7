//! The numbers against exact ones, their distribution, and that every way to keep them keeps the same.

use std::f64::consts::TAU as TURN;

use super::*;
use crate::model::Weight;

fn matrix(rows: usize, width: usize) -> Matrix {
    Matrix { key: Key::new(7, Purpose::ModelInit).part(3), rows, width, std: 1.0 }
}

fn drawn(rows: usize, width: usize) -> Vec<f32> {
    matrix(rows, width).rows(0, rows).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

fn sizes(change: impl Fn(&mut serde_json::Value)) -> Description {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/golden/gqa_small/config.json");
    let mut json = serde_json::from_str(&std::fs::read_to_string(golden).unwrap()).unwrap();
    change(&mut json);
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("config.json"), json.to_string()).unwrap();
    Description::read(dir.path()).unwrap()
}

fn numbers(weight: &Weight) -> Vec<f32> {
    let (rows, _) = weight.dims2().unwrap();
    let ids = Tensor::arange(0, rows as u32, &Device::Cpu).unwrap();
    let rows = weight.rows(&ids).unwrap().to_dtype(DType::F32).unwrap();
    rows.flatten_all().unwrap().to_vec1().unwrap()
}

#[test]
fn numbers_are_those_of_box_and_muller() {
    let step = |i: u32| i.wrapping_mul(0x9e37_79b9);
    let edges = [0, 255, 256, u32::MAX, 1 << 29, (1 << 29) - 1, 1 << 30, 3 << 29, 1 << 31, 3 << 30];
    let mut all: Vec<u32> = edges.into_iter().chain((0..100_000).map(step)).collect();
    all.resize(all.len().next_multiple_of(HALF), 0);
    let mut worst = 0f64;
    for (first, second) in all.chunks(HALF).zip(all.chunks(HALF).rev()) {
        let words: Vec<u32> = [first, second].concat();
        let mut numbers = [0.0; WORDS];
        normal(words.as_slice().try_into().unwrap(), 0.5, &mut numbers);
        for i in 0..HALF {
            let u = 1.0 - (words[i] >> 8) as f64 / 16_777_216.0;
            let (distance, angle) = (0.5 * (-2.0 * u.ln()).sqrt(), words[HALF + i] as f64 / 4_294_967_296.0 * TURN);
            worst = worst.max((numbers[i] as f64 - distance * angle.cos()).abs());
            worst = worst.max((numbers[HALF + i] as f64 - distance * angle.sin()).abs());
        }
    }
    assert!(worst < 5e-7, "{worst}");
}

#[test]
fn they_are_normal_and_independent_of_their_twins() {
    let n = 400_000;
    let x: Vec<f64> = drawn(n / 1_000, 1_000).into_iter().map(f64::from).collect();
    let mean_of = |f: &dyn Fn(f64) -> f64| x.iter().map(|&x| f(x)).sum::<f64>() / n as f64;
    // bounds are four standard errors
    let error = 4.0 / (n as f64).sqrt();
    assert!(mean_of(&|x| x).abs() < error);
    assert!((mean_of(&|x| x * x) - 1.0).abs() < error * 2f64.sqrt());
    assert!((mean_of(&|x| x.powi(4)) - 3.0).abs() < error * 96f64.sqrt());
    for (bound, share) in [(0.674_489_75, 0.5), (1.0, 0.682_689_492), (2.0, 0.954_499_736), (3.0, 0.997_300_204)] {
        let found = mean_of(&|x| f64::from(x.abs() < bound));
        assert!((found - share).abs() < error * (share * (1.0 - share)).sqrt(), "{bound}: {found}");
    }
    // of a pair, neither the numbers nor their squares go together; nor do neighbours and rows
    for distance in [1, HALF, 1_000] {
        for f in [|x: f64| x, |x: f64| (x * x - 1.0) / 2f64.sqrt()] {
            let pairs = x.iter().zip(&x[distance..]);
            let together = pairs.map(|(&a, &b)| f(a) * f(b)).sum::<f64>() / (n - distance) as f64;
            assert!(together.abs() < error, "{distance}: {together}");
        }
    }
}

#[test]
fn the_bits_are_the_same_on_every_machine() {
    let x = drawn(2, 130);
    let bits = [0, 63, 64, 129, 130].map(|i| x[i].to_bits());
    assert_eq!(bits, [0xbead_08ee, 0x3eb5_3402, 0x3e91_143f, 0x3eb0_7bae, 0xbe84_5648], "{bits:#x?}");
}

#[test]
fn rows_are_made_by_themselves() {
    for (rows, width) in [(1, 1), (40, 33), (300, 128), (9, 1_000)] {
        let whole = matrix(rows, width).dense(DType::F32, &Device::Cpu).unwrap();
        for start in [0, rows / 2, rows - 1] {
            let part = matrix(rows, width).rows(start, rows - start).unwrap();
            let expected = whole.narrow(0, start, rows - start).unwrap();
            assert_eq!(part.to_vec2::<f32>().unwrap(), expected.to_vec2::<f32>().unwrap(), "[{rows}, {width}] {start}");
        }
    }
}

#[test]
fn every_way_to_keep_a_model_keeps_the_same_numbers() -> Result<()> {
    let (cpu, seed) = (Device::Cpu, 5);
    let model = |dtype, weights| Decoder::random_sized(sizes(|_| ()), seed, dtype, &cpu, weights);
    let plain = model(DType::F32, Weights::Trainable)?;
    let other = Decoder::random_sized(sizes(|_| ()), 6, DType::F32, &cpu, Weights::Frozen)?;
    let rounded = [(DType::BF16, bf16::EPSILON.to_f32()), (DType::F16, f16::EPSILON.to_f32())];
    for (a, b) in plain.matrices().iter().zip(model(DType::F32, Weights::Frozen)?.matrices()) {
        assert_eq!(numbers(a), numbers(b), "{}", a.name());
    }
    for (dtype, epsilon) in rounded {
        for (a, b) in plain.matrices().iter().zip(model(dtype, Weights::Frozen)?.matrices()) {
            let close = |(a, b): (&f32, &f32)| (a - b).abs() <= epsilon / 2.0 * a.abs() + 1e-7;
            assert!(numbers(a).iter().zip(&numbers(b)).all(close), "{dtype:?} {}", a.name());
        }
    }
    let quantised = Decoder::random_quantised(sizes(|_| ()), seed, DType::BF16, &cpu, BlockFormat::Q8_0)?;
    for ((a, b), c) in plain.matrices().iter().zip(quantised.matrices()).zip(other.matrices()) {
        let values = a.dense().expect("dense").value();
        let load = |start, len| Ok(values.narrow(0, start, len)?.force_contiguous()?);
        let packed = Quantised::pack(b.dims2()?, load, ggml_dtype(BlockFormat::Q8_0), DType::BF16, &cpu)?;
        assert!(b.is_quantised());
        assert_eq!(numbers(b), packed.unpacked(0, b.dims2()?.0)?.flatten_all()?.to_vec1::<f32>()?, "{}", a.name());
        assert_ne!(numbers(a), numbers(c), "{}", a.name());
    }
    Ok(())
}

#[test]
fn projections_into_the_residual_stream_are_smaller_in_deep_models() -> Result<()> {
    let model =
        Decoder::random_sized(sizes(|json| json["n_layers"] = 8.into()), 1, DType::F32, &Device::Cpu, Weights::Frozen)?;
    for weight in model.matrices() {
        let x = numbers(weight);
        let std = (x.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>() / x.len() as f64).sqrt();
        let into_residual = weight.name().contains("attn_out") || weight.name().contains(".ff_out.weight");
        let into_residual = into_residual && weight.name().contains("blocks");
        let expected = if into_residual { STD / 4.0 } else { STD };
        assert!((std / expected - 1.0).abs() < 4.0 / (2.0 * x.len() as f64).sqrt(), "{} {std}", weight.name());
    }
    assert!(
        model.vectors().iter().all(|norm| norm.value().to_vec1::<f32>().is_ok_and(|x| x.iter().all(|&x| x == 1.0)))
    );
    Ok(())
}

#[test]
fn a_matrix_that_fits_nowhere_is_named() {
    let mut large = sizes(|_| ());
    large.shape.vocabulary = 1 << 44;
    let random = Decoder::random_sized(large, 1, DType::F32, &Device::Cpu, Weights::Frozen);
    let text = format!("{:#}", random.expect_err("too large"));
    assert!(text.contains("the weights alone take") && text.contains("GiB, and there are"), "{text}");
    // what others have taken in the meantime is found out later
    let matrix = Matrix { key: Key::new(1, Purpose::ModelInit), rows: 1 << 44, width: 64, std: 1.0 };
    let text = format!("{:#}", matrix.dense(DType::F32, &Device::Cpu).expect_err("too large"));
    assert!(text.contains("no memory for 1125899906842624 numbers in F32"), "{text}");
    let text =
        Decoder::random_quantised(sizes(|_| ()), 1, DType::F32, &Device::Cpu, BlockFormat::Q4K).expect_err("64 wide");
    assert!(text.to_string().contains("no multiple of 256"), "{text:#}");
}
