//! The kernels of accelerators against those of the CPU, with main memory as the device.

use proptest::prelude::*;

use super::host::as_device;
use super::*;
use crate::model::ops::dropout::{Dropout as Bits, Run, Words};
use crate::model::ops::padding::Padding;
use crate::model::ops::rope::{Positions, Tables, Turn};
use crate::model::ops::testing::{assert_close, random};
use crate::model::ops::{attention, bias, rms_norm, swiglu};
use crate::rng::{Key, Purpose};

/// The formats of kernels, and by how much results that are of the size of one may be off in them.
const FORMATS: [(DType, f64); 3] = [(DType::F32, 2e-5), (DType::BF16, 6e-2), (DType::F16, 8e-3)];
const EPS: f64 = 1e-5;

fn wide(x: &Tensor) -> Tensor {
    x.to_dtype(DType::F32).expect("a small tensor")
}

/// `device` on operands in every format, `host` on the same numbers in f32.
#[track_caller]
fn check(
    operands: &[Tensor],
    device: impl Fn(&[Tensor]) -> Result<Vec<Tensor>>,
    host: impl Fn(&[Tensor]) -> Result<Vec<Tensor>>,
) {
    for (dtype, tolerance) in FORMATS {
        let there: Vec<Tensor> = operands.iter().map(|x| x.to_dtype(dtype).unwrap().copy().unwrap()).collect();
        let here: Vec<Tensor> = there.iter().map(|x| wide(x).copy().unwrap()).collect();
        let expected = host(&here).expect("the CPU");
        let found = as_device(|| device(&there)).expect("a kernel");
        assert_eq!(found.len(), expected.len());
        for (found, expected) in found.iter().zip(&expected) {
            assert_eq!(found.dtype(), dtype);
            assert_close(&wide(found), expected, tolerance);
        }
    }
}

#[test]
fn norms_are_those_of_the_cpu() -> Result<()> {
    let operands = [random(1, (7, 37))?, random(2, 37)?, random(3, (7, 37))?];
    let both =
        |x: &[Tensor]| Ok(vec![rms_norm::forward(&x[0], &x[1], EPS)?, rms_norm::backward(&x[0], &x[1], EPS, &x[2])?]);
    check(&operands, both, both);
    Ok(())
}

#[test]
fn biases_are_those_of_the_cpu() -> Result<()> {
    let both = |x: &[Tensor]| Ok(vec![bias::add(x[0].copy()?, &x[1])?]);
    check(&[random(1, (7, 37))?, random(2, 37)?], both, both);
    Ok(())
}

#[test]
fn activations_are_those_of_the_cpu() -> Result<()> {
    let operands = [random(1, (5, 33))?, random(2, (5, 33))?, random(3, (5, 33))?];
    let both = |x: &[Tensor]| {
        let y = swiglu::forward(&x[0], &x[1])?;
        let in_place = swiglu::forward_in_place(x[0].copy()?, &x[1])?;
        let (d_gate, d_up) = swiglu::backward(&x[0], x[1].copy()?, x[2].copy()?)?;
        Ok(vec![y, in_place, d_gate, d_up])
    };
    check(&operands, both, both);
    Ok(())
}

#[test]
fn rotations_are_those_of_the_cpu() -> Result<()> {
    let tables = Tables::new(10_000.0, 8, &Device::Cpu)?;
    let positions = Positions { start: 4, pad: Padding { columns: &[0, 6], uploaded: None }, half: None };
    let both = |x: &[Tensor]| {
        let turned = |turn| tables.rotate(x[0].copy()?, positions, turn);
        Ok(vec![turned(Turn::Forward)?, turned(Turn::Back)?])
    };
    check(&[random(1, (2, 5, 3, 8))?], both, both);
    Ok(())
}

/// With heads that share keys, padding, fewer queries than keys, and rows longer than a warp.
#[test]
fn attention_is_that_of_the_cpu() -> Result<()> {
    let pad = attention::Keys { pad: Padding { columns: &[0, 2], uploaded: None }, seen: None };
    let (q, k) = (random(1, (2, 3, 4, 8))?, random(2, (2, 45, 2, 8))?);
    let operands = [q, k, random(3, (2, 45, 2, 8))?, random(4, (2, 3, 32))?];
    let both = |x: &[Tensor]| {
        let out = attention::forward(&x[0], &x[1], &x[2], pad)?;
        let (dq, dk, dv) = attention::backward(&x[0], &x[1], &x[2], pad, &x[3])?;
        Ok(vec![out, dq, dk, dv])
    };
    check(&operands, both, both);
    Ok(())
}

/// The scores of a device keep 24 bits: rounded to bf16 and scaled in it, as they once were, one of 20 was off by 0.06.
#[test]
fn scores_are_not_rounded_to_the_working_dtype() -> Result<()> {
    let narrow = |x: Tensor| x.to_dtype(DType::BF16);
    let (q, k) = (narrow((random(1, (1, 64, 1, 16))? * 3.0)?)?, narrow((random(2, (1, 64, 1, 16))? * 3.0)?)?);
    let v = narrow(Tensor::eye(64, DType::F32, &Device::Cpu)?.narrow(1, 0, 16)?.reshape((1, 64, 1, 16))?)?;
    let pad = attention::Keys { pad: Padding { columns: &[0], uploaded: None }, seen: None };
    let exact = attention::forward(&wide(&q), &wide(&k), &wide(&v), pad)?;
    let found = as_device(|| attention::forward(&q, &k, &v, pad))?;
    // what is left is the rounding of probabilities
    assert_close(&wide(&found), &exact, 2.5e-3);
    Ok(())
}

#[test]
fn dimensions_are_swapped_in_units_of_16_and_of_2_bytes() -> Result<()> {
    for width in [8, 3] {
        for dtype in [DType::F32, DType::BF16] {
            let x = random(1, (2, 5, 3, width))?.to_dtype(dtype)?;
            let found = as_device(|| swapped(&x))?;
            assert_eq!(
                wide(&found).flatten_all()?.to_vec1::<f32>()?,
                wide(&x.transpose(1, 2)?.contiguous()?).flatten_all()?.to_vec1::<f32>()?
            );
        }
    }
    Ok(())
}

#[test]
fn products_are_those_of_the_cpu_whatever_is_transposed() -> Result<()> {
    for (batch, turn_a, turn_b) in [(1, false, false), (1, true, false), (3, false, true), (3, true, true)] {
        let shape = |rows: usize, columns: usize, turned: bool| {
            if turned { (batch, columns, rows) } else { (batch, rows, columns) }
        };
        let (a, b) = (random(1, shape(4, 5, turn_a))?, random(2, shape(5, 6, turn_b))?);
        let sum = random(3, (batch, 4, 6))?;
        let turned = |x: &Tensor, turn: bool| if turn { x.t() } else { Ok(x.clone()) };
        let expected = ((turned(&a, turn_a)?.contiguous()?.matmul(&turned(&b, turn_b)?.contiguous()?)? * 0.5)? + &sum)?;
        let (a, b) = (Operand { x: &a, transposed: turn_a }, Operand { x: &b, transposed: turn_b });
        let found = as_device(|| product(Some(sum.copy()?), a, b, 0.5, DType::F32, false))?;
        assert_close(&found, &expected, 1e-5);
        let alone = as_device(|| product(None, a, b, 0.5, DType::F32, false))?;
        assert_close(&(alone + sum)?, &expected, 1e-5);
    }
    let (a, b) = (random(1, (4, 5))?, random(2, (4, 6))?);
    let refused = as_device(|| product(None, Operand::plain(&a), Operand::plain(&b), 1.0, DType::F32, false));
    assert!(refused.is_err());
    Ok(())
}

/// Every row of the batch has a key, and every element of a row the word of its place, as on the CPU.
fn rows(keys: &[Key], places: &[(usize, Option<u32>)]) -> Result<dropout::Rows> {
    let words: Vec<u32> = keys.iter().flat_map(|key| key.words()).collect();
    let row_of: Vec<u32> = places.iter().map(|&(row, _)| row as u32).collect();
    let column_of: Vec<u32> = places.iter().map(|&(_, column)| column.unwrap_or(dropout::PADDING)).collect();
    Ok(dropout::Rows {
        keys: upload(&words, (keys.len(), 8), &Device::Cpu)?,
        row_of: upload(&row_of, places.len(), &Device::Cpu)?,
        column_of: upload(&column_of, places.len(), &Device::Cpu)?,
    })
}

proptest! {
    #[test]
    fn dropout_drops_what_the_cpu_drops(
        seed: u64, stream: u64, width in 1usize..70, p in 0.0..0.9,
        places in prop::collection::vec((0usize..3, prop::option::of(0u32..1 << 20)), 1..6),
    ) {
        let keys: Vec<Key> = (0..3).map(|row| Key::new(seed, Purpose::Dropout).step(3).prompt(row)).collect();
        let runs: Vec<Run> = places.iter().map(|&(row, column)| Run {
            rows: 1,
            words: column.map(|c| Words { key: keys[row], stream, first: u64::from(c) * width as u64 }),
        }).collect();
        let x = random(1, (places.len(), width)).unwrap();
        let expected = Bits::draw(&runs, width, p).apply(&x).unwrap();
        let device = dropout::Dropout { rows: rows(&keys, &places).unwrap(), stream, p };
        let numbers = |x: &Tensor| x.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let found = as_device(|| device.apply(&x)).unwrap();
        prop_assert_eq!(numbers(&found), numbers(&expected));
        let sum = Tensor::ones(x.shape(), DType::F32, &Device::Cpu).unwrap();
        as_device(|| device.add(&sum, &x)).unwrap();
        prop_assert_eq!(numbers(&sum), numbers(&(expected + 1.0).unwrap()));
    }
}

/// Words beyond 2^32 of a stream, where counters of blocks carry.
#[test]
fn dropout_counts_words_in_64_bits() -> Result<()> {
    let (key, width) = (Key::new(7, Purpose::Dropout), 4099);
    let column = u32::MAX - 1;
    let run = Run { rows: 1, words: Some(Words { key, stream: 1 << 40, first: u64::from(column) * width as u64 }) };
    let x = Tensor::ones((1, width), DType::F32, &Device::Cpu)?;
    let device = dropout::Dropout { rows: rows(&[key], &[(0, Some(column))])?, stream: 1 << 40, p: 0.5 };
    let expected = Bits::draw(&[run], width, 0.5).apply(&x)?;
    assert_eq!(as_device(|| device.apply(&x))?.to_vec2::<f32>()?, expected.to_vec2::<f32>()?);
    Ok(())
}

#[test]
fn what_a_kernel_cannot_take_is_refused() -> Result<()> {
    let x = random(1, (4, 6))?;
    let error = |launch: Launch<'_>| as_device(|| launch.run()).expect_err("refused").to_string();
    let strided = x.t()?;
    assert!(error(Launch::new("swiglu_f32", 12).input(&strided)).contains("not contiguous"));
    assert!(error(Launch::new("add_f32_f32", usize::MAX / 2).input(&x)).contains("smaller batches"));
    assert!(error(Launch::new("no_such_kernel", 1).input(&x)).contains("no_such_kernel"));
    assert!(Launch::new("add_f32_f32", 1).size(1 << 32).is_err());
    assert!(named("add", &[DType::F64]).is_err());
    Ok(())
}

#[test]
fn launches_and_bytes_are_counted() -> Result<()> {
    let before = traffic();
    let x = upload(&[1f32; 6], (2, 3), &Device::Cpu)?;
    as_device(|| add(&x, &x.copy()?))?;
    assert_eq!(download(&x)?, [2.0; 6]);
    let Traffic { launches, bytes_to_device, uploads, bytes_to_host } = traffic().since(before);
    assert_eq!((launches, bytes_to_device, uploads, bytes_to_host), (1, 24, 1, 24));
    Ok(())
}

/// No compiler of Metal's is here, so a C++ one reads its text, with the words that it lacks.
#[test]
fn the_text_for_metal_is_well_formed() {
    const WORDS: &str = "#include <cmath>
#include <cstring>
#include <sys/types.h>
#define kernel
#define device
#define constant const
#define thread
#define inline
namespace metal {
typedef _Float16 half;
struct bfloat { unsigned short bits; explicit bfloat(float); explicit operator float() const; };
struct uint4 { uint x, y, z, w; };
template <typename T, typename F> T as_type(F);
float simd_sum(float), simd_max(float), simd_min(float), exp(float), rsqrt(float), max(float, float), min(float, float);
uint min(uint, uint);
}
";
    let dir = tempfile::tempdir().expect("a folder");
    std::fs::write(dir.path().join("metal_stdlib"), WORDS).expect("written");
    let text = concat!(include_str!("kernels/metal.h"), include_str!("kernels/kernels.h"));
    let file = dir.path().join("kernels.cpp");
    std::fs::write(&file, text).expect("written");
    let mut compiler = std::process::Command::new("c++");
    compiler.args(["-std=c++17", "-fsyntax-only", "-Wno-attributes", "-Werror=return-type"]);
    let output = compiler.arg("-I").arg(dir.path()).arg(&file).output().expect("a C++ compiler");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
