//! Products in f32, by the `gemm` crate.

use super::operands::{Numbers, Out, Term, Values};

/// `out (+)= term`, whose right-hand side lies row after row in f32.
///
/// # Safety
/// `out` is valid for writes of `n` rows of `m` numbers, which are initialised when it accumulates.
///
/// # Panics
/// If the operands do not hold the numbers of their sizes, or those of the right-hand side are not f32.
pub unsafe fn multiply(out: Out, [n, m]: [usize; 2], term: &Term<'_>) {
    assert!(term.fits(n, m));
    let Term { k, a, b, scale } = *term;
    let Numbers::Rows(Values::F32(values)) = b.numbers else { panic!("a product in f32 with numbers that are not") };
    let (a_row, a_column) = a.strides();
    let (b_row, b_column) = if b.transposed { (1, k as isize) } else { (m as isize, 1) };
    // SAFETY: the caller's for `out`; the operands hold `n * k` and `k * m` numbers in these strides.
    unsafe {
        gemm::gemm(
            n,
            m,
            k,
            out.start,
            1,
            out.stride as isize,
            out.accumulate,
            a.values.as_ptr(),
            a_column,
            a_row,
            values.as_ptr(),
            b_column,
            b_row,
            1.0,
            scale,
            false,
            false,
            false,
            gemm::Parallelism::Rayon(0),
        );
    }
}
