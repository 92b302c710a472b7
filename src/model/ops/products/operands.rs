//! What the kernels of the CPU multiply: matrices as they lie in main memory.

use half::bf16;

use super::panels::{self, Line};
use super::quantised::{Q8_0_BYTES, Q8_0_NUMBERS};

/// Numbers as they lie in memory.
#[derive(Clone, Copy)]
pub enum Values<'a> {
    /// To be rounded.
    F32(&'a [f32]),
    /// As they are.
    Bf16(&'a [bf16]),
    /// Blocks of Q8_0 along a row, to be unpacked and rounded.
    Q8_0(&'a [u8]),
}

/// A left-hand side `[n, k]`, its rows (or, transposed, its columns) `stride` numbers apart.
#[derive(Clone, Copy)]
pub struct Left<'a> {
    /// The numbers.
    pub values: &'a [f32],
    /// Distance of rows in memory.
    pub stride: usize,
    /// Whether they lie as `[k, n]`.
    pub transposed: bool,
}

impl<'a> Left<'a> {
    /// The part from `start` of `k` on.
    pub fn from(self, start: usize) -> Self {
        let skipped = if self.transposed { start * self.stride } else { start };
        Self { values: &self.values[skipped..], ..self }
    }

    /// Distances in memory of rows and of columns.
    pub fn strides(self) -> (isize, isize) {
        if self.transposed { (1, self.stride as isize) } else { (self.stride as isize, 1) }
    }

    /// Whether there are `n` rows of `k` numbers.
    pub fn holds(self, n: usize, k: usize) -> bool {
        let (rows, width) = if self.transposed { (k, n) } else { (n, k) };
        width <= self.stride && (rows == 0 || (rows - 1) * self.stride + width <= self.values.len())
    }
}

/// Where a product goes, rows `stride` numbers apart.
#[derive(Clone, Copy)]
pub struct Out {
    /// The first number.
    pub start: *mut f32,
    /// Distance of rows.
    pub stride: usize,
    /// Whether it is added to what is there.
    pub accumulate: bool,
}

/// How a right-hand side lies in memory.
#[derive(Clone, Copy)]
pub enum Numbers<'a> {
    /// Row after row.
    Rows(Values<'a>),
    /// In panels of [`PANEL`](panels::PANEL) rows.
    Panels(&'a [Line]),
}

/// A right-hand side `[k, m]`, contiguous.
#[derive(Clone, Copy)]
pub struct Right<'a> {
    /// The numbers.
    pub numbers: Numbers<'a>,
    /// Whether they lie as `[m, k]`.
    pub transposed: bool,
}

impl Right<'_> {
    /// Whether it is `[k, m]`.
    pub fn holds(&self, k: usize, m: usize) -> bool {
        let (rows, width) = if self.transposed { (m, k) } else { (k, m) };
        match self.numbers {
            Numbers::Rows(Values::F32(x)) => x.len() == rows * width,
            Numbers::Rows(Values::Bf16(x)) => x.len() == rows * width,
            Numbers::Rows(Values::Q8_0(x)) => {
                width.is_multiple_of(Q8_0_NUMBERS) && x.len() == rows * width / Q8_0_NUMBERS * Q8_0_BYTES
            }
            Numbers::Panels(lines) => lines.len() == panels::lines(rows, width),
        }
    }
}

/// A product of a sum, `scale * a b`.
#[derive(Clone, Copy)]
pub struct Term<'a> {
    /// Columns of `a` and rows of `b`.
    pub k: usize,
    /// The left-hand side, `[n, k]`.
    pub a: Left<'a>,
    /// The right-hand side, `[k, m]`.
    pub b: Right<'a>,
    /// Factor.
    pub scale: f32,
}

impl Term<'_> {
    /// Whether the operands hold the numbers of an `[n, m]` product that is not empty.
    pub fn fits(&self, n: usize, m: usize) -> bool {
        self.k > 0 && self.a.holds(n, self.k) && self.b.holds(self.k, m)
    }
}
