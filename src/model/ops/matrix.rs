//! Small single-threaded matrix products on strided slices, for kernels that are parallel over heads.

use std::marker::PhantomData;

/// A strided f32 matrix to read.
#[derive(Clone, Copy)]
pub struct Matrix<'a> {
    data: *const f32,
    rows: usize,
    cols: usize,
    row_stride: usize,
    col_stride: usize,
    alive: PhantomData<&'a [f32]>,
}

/// A row-major f32 matrix to write.
pub struct MatrixMut<'a> {
    data: *mut f32,
    rows: usize,
    cols: usize,
    row_stride: usize,
    alive: PhantomData<&'a mut [f32]>,
}

/// Elements a row-major matrix spans.
fn span(rows: usize, cols: usize, row_stride: usize) -> usize {
    if rows == 0 { 0 } else { (rows - 1) * row_stride + cols }
}

impl<'a> Matrix<'a> {
    /// The rows of `data`, `row_stride` elements apart.
    ///
    /// # Panics
    /// If `data` is too short.
    pub fn rows(data: &'a [f32], rows: usize, cols: usize, row_stride: usize) -> Self {
        assert!(data.len() >= span(rows, cols, row_stride));
        Self { data: data.as_ptr(), rows, cols, row_stride, col_stride: 1, alive: PhantomData }
    }

    /// The transpose, without moving anything.
    pub fn t(self) -> Self {
        Self { rows: self.cols, cols: self.rows, row_stride: self.col_stride, col_stride: self.row_stride, ..self }
    }

    /// Number of rows.
    pub fn row_count(&self) -> usize {
        self.rows
    }
}

impl<'a> MatrixMut<'a> {
    /// The rows of `data`, `row_stride` elements apart.
    ///
    /// # Panics
    /// If `data` is too short.
    pub fn rows(data: &'a mut [f32], rows: usize, cols: usize, row_stride: usize) -> Self {
        assert!(data.len() >= span(rows, cols, row_stride));
        Self { data: data.as_mut_ptr(), rows, cols, row_stride, alive: PhantomData }
    }

    /// As [`MatrixMut::rows`], for a part of a buffer that other threads write elsewhere.
    ///
    /// # Safety
    /// `data` must be valid for writes of the matrix's elements, and nobody else may touch these for `'a`.
    pub unsafe fn from_raw(data: *mut f32, rows: usize, cols: usize, row_stride: usize) -> Self {
        Self { data, rows, cols, row_stride, alive: PhantomData }
    }
}

/// `out = scale * a b`, or `out += scale * a b` when `accumulate`.
///
/// # Panics
/// If the sizes do not fit.
pub fn multiply(out: &mut MatrixMut<'_>, a: Matrix<'_>, b: Matrix<'_>, scale: f32, accumulate: bool) {
    assert!(a.cols == b.rows && out.rows == a.rows && out.cols == b.cols);
    // SAFETY: the constructors checked that the slices hold these rows, columns and strides; `out` is borrowed
    // mutably, so it overlaps neither operand.
    unsafe {
        gemm::gemm(
            a.rows,
            b.cols,
            a.cols,
            out.data,
            1,
            out.row_stride as isize,
            accumulate,
            a.data,
            a.col_stride as isize,
            a.row_stride as isize,
            b.data,
            b.col_stride as isize,
            b.row_stride as isize,
            1.0,
            scale,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_of_transposes_and_accumulation() {
        let a = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]; // [2, 3]
        let b = [1.0, 0.0, 0.0, 1.0, 1.0, 1.0]; // [2, 3], used transposed
        let mut out = [10.0; 6]; // [2, 2] with a row stride of 3
        let mut c = MatrixMut::rows(&mut out, 2, 2, 3);
        multiply(&mut c, Matrix::rows(&a, 2, 3, 3), Matrix::rows(&b, 2, 3, 3).t(), 2.0, false);
        multiply(&mut c, Matrix::rows(&a, 2, 3, 3), Matrix::rows(&b, 2, 3, 3).t(), 1.0, true);
        assert_eq!(out, [3.0, 18.0, 10.0, 12.0, 45.0, 10.0]);
    }
}
