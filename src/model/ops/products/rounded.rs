//! Products of matrices rounded to bf16 and summed in f32: what a model in bf16 computes on the CPU.
//!
//! Weights lie in memory as bf16, activations as f32 that are rounded on the way into the product. Machines with
//! AVX-512's BF16 instructions multiply at about twice the rate of f32; on the others the operands are rounded all
//! the same and multiplied in f32, for half the memory of the weights and the same numbers up to the order of sums.

use half::bf16;
use rayon::prelude::*;

#[cfg(target_arch = "x86_64")]
use super::avx512;
use super::operands::{Left, Numbers, Out, Right, Term, Values};
use super::quantised::q8_0_number;
use super::{panels, plain};

/// Numbers of a right-hand side that are widened at once where the processor has no bf16: 4 MiB.
const WIDENED: usize = 1 << 20;
/// Columns that are widened at least: narrower products go through another kernel.
const LEAST_COLUMNS: usize = 128;

/// Whether this machine multiplies bf16. Then a row of a product has the same bits whatever the number of rows, without
/// padding; products are the faster for weights in panels; and they take blocks of Q8_0 as they are.
pub fn is_native() -> bool {
    #[cfg(target_arch = "x86_64")]
    return avx512::is_available();
    #[cfg(not(target_arch = "x86_64"))]
    false
}

/// `out (+)= sum of terms`.
///
/// # Safety
/// `out` is valid for writes of `n` rows of `m` numbers, which are initialised when it accumulates.
///
/// # Panics
/// If the operands do not hold the numbers of their sizes.
pub unsafe fn multiply(out: Out, sizes: [usize; 2], terms: &[Term<'_>]) {
    #[cfg(target_arch = "x86_64")]
    if avx512::is_available() {
        // SAFETY: the caller's, and the instructions are there.
        return unsafe { avx512::multiply(out, sizes, terms) };
    }
    // SAFETY: the caller's.
    unsafe { multiply_widened(out, sizes, terms) }
}

/// [`multiply`] in f32, on any machine: columns of right-hand sides are widened a few at a time.
///
/// # Safety
/// As for [`multiply`].
unsafe fn multiply_widened(out: Out, [n, m]: [usize; 2], terms: &[Term<'_>]) {
    for (i, term) in terms.iter().enumerate() {
        assert!(term.fits(n, m));
        let Term { k, a, b, scale } = *term;
        let rounded: Vec<f32> = a.values.par_iter().map(|&x| round(x)).collect();
        let width = (WIDENED / k).max(LEAST_COLUMNS).min(m);
        // the last part takes what is left over, so that none is narrow
        let parts = (m / width.max(1)).max(1);
        for part in 0..parts {
            let start = part * width;
            let columns = if part + 1 == parts { m - start } else { width };
            let widened = widen(b, [k, m], start, columns);
            let b = Right { numbers: Numbers::Rows(Values::F32(&widened)), transposed: b.transposed };
            let term = Term { k, a: Left { values: &rounded, ..a }, b, scale };
            let out = Out { start: out.start.wrapping_add(start), accumulate: out.accumulate || i > 0, ..out };
            // SAFETY: the caller's for `out`, of which these are some columns.
            unsafe { plain::multiply(out, [n, columns], &term) };
        }
    }
}

/// Some columns of `b`, rounded to bf16, in f32: `[columns, k]` if `b` is transposed, else `[k, columns]`.
fn widen(b: Right<'_>, [k, m]: [usize; 2], start: usize, columns: usize) -> Vec<f32> {
    let mut widened = vec![0f32; k * columns];
    if widened.is_empty() {
        return widened;
    }
    let (width, stride, offset) = if b.transposed { (k, k, start * k) } else { (columns, m, start) };
    widened.par_chunks_mut(width).enumerate().for_each(|(row, to)| {
        let at = offset + row * stride;
        match b.numbers {
            Numbers::Rows(Values::F32(x)) => to.iter_mut().zip(&x[at..]).for_each(|(to, &x)| *to = round(x)),
            Numbers::Rows(Values::Bf16(x)) => to.iter_mut().zip(&x[at..]).for_each(|(to, x)| *to = x.to_f32()),
            Numbers::Rows(Values::Q8_0(x)) => {
                to.iter_mut().enumerate().for_each(|(i, to)| *to = round(q8_0_number(x, at + i)));
            }
            Numbers::Panels(lines) => {
                let (row, column) = (at / stride, at % stride);
                let number = |i| panels::number(lines, stride, row, column + i).to_f32();
                to.iter_mut().enumerate().for_each(|(i, to)| *to = number(i));
            }
        }
    });
    widened
}

fn round(x: f32) -> f32 {
    bf16::from_f32(x).to_f32()
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Tensor};
    use half::f16;
    use proptest::prelude::*;

    use super::super::panels::Panels;
    use super::super::quantised::Q8_0_NUMBERS;
    use super::*;
    use crate::rng::{Key, Purpose};

    /// How the right-hand side is stored.
    #[derive(Clone, Copy, Debug)]
    enum Stored {
        F32,
        Bf16,
        Panels,
        Q8_0,
    }

    type Multiply = unsafe fn(Out, [usize; 2], &[Term<'_>]);

    /// The kernels this machine can run.
    fn kernels() -> Vec<Multiply> {
        #[cfg(target_arch = "x86_64")]
        if avx512::is_available() {
            return vec![multiply_widened, avx512::multiply];
        }
        vec![multiply_widened]
    }

    fn numbers(part: usize, count: usize) -> Vec<f32> {
        let mut rng = Key::new(1, Purpose::ModelInit).part(part).rng();
        (0..count).map(|_| rng.normal() as f32).collect()
    }

    /// Blocks of Q8_0 that are close to some numbers.
    fn blocks(values: &[f32]) -> Vec<u8> {
        let block = |values: &[f32]| {
            let factor = f16::from_f32(values.iter().fold(0f32, |top, x| top.max(x.abs())) / 127.0);
            let number = |&x: &f32| (x / factor.to_f32()).round().clamp(-127.0, 127.0) as i8 as u8;
            let numbers: Vec<u8> = values.iter().map(number).collect();
            [factor.to_le_bytes().as_slice(), &numbers].concat()
        };
        values.chunks_exact(Q8_0_NUMBERS).flat_map(block).collect()
    }

    /// `scale * a b + start` in f64, from rounded operands.
    fn plain([n, k, m]: [usize; 3], a: Left<'_>, b: &[f32], b_transposed: bool, scale: f32, start: &[f32]) -> Vec<f64> {
        let a_at =
            |i: usize, j: usize| round(a.values[if a.transposed { j * a.stride + i } else { i * a.stride + j }]) as f64;
        let b_at = |j: usize, l: usize| round(b[if b_transposed { l * k + j } else { j * m + l }]) as f64;
        let element = |i: usize, l: usize| (0..k).map(|j| a_at(i, j) * b_at(j, l)).sum::<f64>();
        (0..n * m).map(|at| element(at / m, at % m) * scale as f64 + start[at] as f64).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn every_kernel_is_the_plain_product_of_rounded_numbers(
            n in 1usize..40,
            k in prop_oneof![1usize..80, 1000usize..1100, 2040usize..2060],
            m in 1usize..100,
            a_transposed: bool,
            b_transposed: bool,
            stored in prop_oneof![Just(Stored::F32), Just(Stored::Bf16), Just(Stored::Panels), Just(Stored::Q8_0)],
            accumulate: bool,
        ) {
            // rows of blocks are whole blocks
            let whole = |x: usize| if matches!(stored, Stored::Q8_0) { x.next_multiple_of(Q8_0_NUMBERS) } else { x };
            let (k, m) = if b_transposed { (whole(k), m) } else { (k, whole(m)) };
            let (rows, width) = if a_transposed { (k, n) } else { (n, k) };
            let (stride, skipped) = (width + 3, 2);
            let (a, mut b, start) = (numbers(1, rows * stride + skipped), numbers(2, k * m), numbers(3, n * m));
            let blocks = blocks(&b);
            if matches!(stored, Stored::Q8_0) {
                b.iter_mut().enumerate().for_each(|(at, x)| *x = q8_0_number(&blocks, at));
            }
            let bf16s: Vec<bf16> = b.iter().map(|&x| bf16::from_f32(x)).collect();
            let panels = Panels::of(&Tensor::from_slice(&b, if b_transposed { (m, k) } else { (k, m) }, &Device::Cpu)?)?;
            let left = Left { values: &a[skipped..], stride, transposed: a_transposed };
            let numbers = match stored {
                Stored::F32 => Numbers::Rows(Values::F32(&b)),
                Stored::Bf16 => Numbers::Rows(Values::Bf16(&bf16s)),
                Stored::Panels => Numbers::Panels(panels.lines()),
                Stored::Q8_0 => Numbers::Rows(Values::Q8_0(&blocks)),
            };
            let right = Right { numbers, transposed: b_transposed };
            let zeros = vec![0f32; n * m];
            let expected = plain([n, k, m], left, &b, b_transposed, 0.5, if accumulate { &start } else { &zeros });
            for kernel in kernels() {
                let mut out = start.clone();
                let to = Out { start: out.as_mut_ptr(), stride: m, accumulate };
                // SAFETY: `out` holds `n * m` numbers, and the kernel is one of this machine.
                unsafe { kernel(to, [n, m], &[Term { k, a: left, b: right, scale: 0.5 }]) };
                for (found, expected) in out.iter().zip(&expected) {
                    prop_assert!((*found as f64 - expected).abs() < 2e-4, "{} is not {}", found, expected);
                }
            }
        }
    }
}
