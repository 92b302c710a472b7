//! Rotary position embedding, half-split layout (`rotate_half`), tables and rotation in f32. Some families turn the first
//! numbers of a head only.
//!
//! Positions count from a row's first real token: a left-padded row is rotated exactly as it would be
//! without the padding. Attention only sees differences of positions, so this is the published model up to
//! rounding, and it makes a row's numbers independent of the padding, bit for bit.

use std::sync::{Arc, PoisonError, RwLock};

use candle_core::{DType, Device, Result, Tensor};

use super::padding::Padding;
use super::{cpu, gpu};

/// The positions that f32 counts exactly: beyond them neighbours would have the same angles.
pub const MOST_POSITIONS: usize = 1 << 24;

/// Cosines and sines of the positions that have been asked for. A model may allow for a million of which a run uses a
/// thousand.
#[derive(Clone, Debug)]
pub struct Tables {
    /// `theta^(-2i/E')`, of `E'` numbers of a head that are turned.
    inverse: Arc<[f32]>,
    device: Device,
    table: Arc<RwLock<Table>>,
}

/// Cosines and sines, f32 `[positions, E'/2]`.
#[derive(Clone, Debug)]
struct Table {
    cos: Tensor,
    sin: Tensor,
}

/// Where the rows of a window stand.
#[derive(Clone, Copy, Debug)]
pub struct Positions<'a> {
    /// Index of the window's first column in the padded row.
    pub start: usize,
    /// Padding columns at the left of every batch row; in a pair, of both of its halves.
    pub pad: Padding<'a>,
    /// Columns of a half, in a batch of pairs, whose halves have the same positions.
    pub half: Option<usize>,
}

impl Positions<'_> {
    fn of(&self, row: usize, column: usize) -> usize {
        let column = self.start + column;
        let in_half = self.half.filter(|&half| column >= half).map_or(column, |half| column - half);
        in_half.saturating_sub(self.pad.columns[row])
    }
}

/// Direction of the rotation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// As in the forward pass.
    Forward,
    /// The transpose, for gradients.
    Back,
}

cpu::wide! {
    /// All heads of one position, `width` numbers each.
    fn turn_heads(x: &mut [f32], width: usize, cos: &[f32], sin: &[f32], sign: f32) {
        let half = cos.len();
        for x in x.chunks_exact_mut(width) {
            let (low, high) = x[..2 * half].split_at_mut(half);
            for ((low, high), (&c, &s)) in low.iter_mut().zip(high).zip(cos.iter().zip(sin)) {
                let s = s * sign;
                (*low, *high) = (*low * c - *high * s, *high * c + *low * s);
            }
        }
    }
}

impl Tables {
    /// Angles `position * theta^(-2i/E')` for the first `rotated` numbers of a head, computed in f32 as the reference does;
    /// none yet.
    pub fn new(theta: f64, rotated: usize, device: &Device) -> Result<Self> {
        let half = rotated / 2;
        let inverse: Arc<[f32]> =
            (0..half).map(|i| 1.0 / (theta as f32).powf((2 * i) as f32 / rotated as f32)).collect();
        let table = Arc::new(RwLock::new(table(&inverse, 0, device)?));
        Ok(Self { inverse, device: device.clone(), table })
    }

    /// Bytes of the tables for the first `positions` of heads of which `rotated` numbers are turned.
    pub fn bytes(positions: usize, rotated: usize) -> usize {
        rounded(positions) * rotated * DType::F32.size_in_bytes()
    }

    fn half(&self) -> usize {
        self.inverse.len()
    }

    /// The tables, made longer if they do not have this many positions.
    fn of(&self, positions: usize) -> Result<Table> {
        let there = self.table.read().unwrap_or_else(PoisonError::into_inner).clone();
        if there.cos.dim(0)? >= positions {
            return Ok(there);
        }
        let longer = table(&self.inverse, rounded(positions), &self.device)?;
        let mut there = self.table.write().unwrap_or_else(PoisonError::into_inner);
        if there.cos.dim(0)? < positions {
            *there = longer.clone();
        }
        Ok(longer)
    }

    /// Rotates every head of `x`, in its memory where kernels serve it, which nobody else may share.
    ///
    /// # Shapes
    /// `x` `[B, W, heads, E]` contiguous, `positions.pad` of length `B`; returns the same shape.
    pub fn rotate(&self, x: Tensor, positions: Positions<'_>, turn: Turn) -> Result<Tensor> {
        let table = self.of(positions.start + x.dim(1)?)?;
        if gpu::serves(&x) {
            return self.rotate_on_device(&table, x, positions, turn);
        }
        if !cpu::serves(&x) {
            return self.rotate_composed(&table, &x, positions, turn);
        }
        self.rotate_fused(&table, &x, positions, turn)?;
        Ok(x)
    }

    fn rotate_fused(&self, table: &Table, x: &Tensor, positions: Positions<'_>, turn: Turn) -> Result<()> {
        let (_, w, heads, e) = x.dims4()?;
        let (cos, sin) = (cpu::View::new(&table.cos)?, cpu::View::new(&table.sin)?);
        let (cos, sin): (&[f32], &[f32]) = (&cos, &sin);
        let (half, sign) = (self.half(), if turn == Turn::Forward { 1.0f32 } else { -1.0 });
        cpu::modify(x, |xs| {
            cpu::for_rows(xs, heads * e, |first, rows| {
                for (i, row) in rows.chunks_exact_mut(heads * e).enumerate() {
                    let at = first + i;
                    let p = positions.of(at / w, at % w) * half;
                    turn_heads(row, e, &cos[p..][..half], &sin[p..][..half], sign);
                }
            });
        })
    }

    fn rotate_on_device(&self, table: &Table, x: Tensor, positions: Positions<'_>, turn: Turn) -> Result<Tensor> {
        let ((b, w, heads, e), half) = (x.dims4()?, self.half());
        let (pad, total) = (positions.pad.on(x.device())?, b * w * heads * half);
        let kernel = gpu::named("rotate", &[x.dtype()])?;
        let launch = gpu::Launch::new(&kernel, total).output(&x).input(&table.cos).input(&table.sin).input(&pad);
        let launch = launch.size(total)?.size(w)?.size(heads)?.size(half)?.size(positions.start)?;
        // without halves no column reaches the second one
        let launch = launch.size(positions.half.unwrap_or(u32::MAX as usize))?.size(e)?;
        launch.number(if turn == Turn::Forward { 1.0 } else { -1.0 }).run()?;
        Ok(x)
    }

    fn rotate_composed(&self, table: &Table, x: &Tensor, positions: Positions<'_>, turn: Turn) -> Result<Tensor> {
        let (b, w, _, e) = x.dims4()?;
        let ids: Vec<u32> = (0..b * w).map(|i| positions.of(i / w, i % w) as u32).collect();
        let ids = Tensor::from_vec(ids, b * w, x.device())?;
        let half = self.half();
        let at = |table: &Tensor| table.index_select(&ids, 0)?.reshape((b, w, 1, half));
        let (cos, sin) = (at(&table.cos)?, at(&table.sin)?);
        let sin = if turn == Turn::Forward { sin } else { sin.neg()? };
        let wide = x.to_dtype(DType::F32)?;
        let (lo, hi) = (wide.narrow(3, 0, half)?, wide.narrow(3, half, half)?);
        let new_lo = (lo.broadcast_mul(&cos)? - hi.broadcast_mul(&sin)?)?;
        let new_hi = (hi.broadcast_mul(&cos)? + lo.broadcast_mul(&sin)?)?;
        let rest = wide.narrow(3, 2 * half, e - 2 * half)?;
        Tensor::cat(&[new_lo, new_hi, rest], 3)?.to_dtype(x.dtype())
    }
}

/// Positions are added in powers of two.
fn rounded(positions: usize) -> usize {
    positions.next_power_of_two()
}

fn table(inverse: &[f32], positions: usize, device: &Device) -> Result<Table> {
    let angles: Vec<f32> = (0..positions).flat_map(|p| inverse.iter().map(move |f| p as f32 * f)).collect();
    let table = |f: fn(f32) -> f32| {
        Tensor::from_vec(angles.iter().map(|&a| f(a)).collect::<Vec<_>>(), (positions, inverse.len()), device)
    };
    Ok(Table { cos: table(f32::cos)?, sin: table(f32::sin)? })
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;

    fn tables() -> Result<Tables> {
        Tables::new(10_000.0, 8, &Device::Cpu)
    }

    #[test]
    fn fused_equals_composed() -> Result<()> {
        let (t, x) = (tables()?, random(1, (2, 5, 3, 8))?);
        let positions = Positions { start: 4, pad: Padding { columns: &[0, 6], uploaded: None }, half: None };
        for turn in [Turn::Forward, Turn::Back] {
            let composed = t.rotate_composed(&t.of(9)?, &x, positions, turn)?;
            assert_close(&t.rotate(x.copy()?, positions, turn)?, &composed, 1e-6);
        }
        Ok(())
    }

    #[test]
    fn the_rest_of_a_head_is_not_turned() -> Result<()> {
        let (t, x) = (Tables::new(10_000.0, 8, &Device::Cpu)?, random(1, (2, 5, 3, 12))?);
        let positions = Positions { start: 4, pad: Padding { columns: &[0, 6], uploaded: None }, half: None };
        let (turned, composed) = (t.rotate(x.copy()?, positions, Turn::Forward)?, t.of(9)?);
        assert_close(&turned, &t.rotate_composed(&composed, &x, positions, Turn::Forward)?, 1e-6);
        assert_close(&turned.narrow(3, 8, 4)?, &x.narrow(3, 8, 4)?, 1e-9);
        let part = x.narrow(3, 0, 8)?.force_contiguous()?;
        assert_close(&turned.narrow(3, 0, 8)?, &t.rotate(part, positions, Turn::Forward)?, 1e-9);
        Ok(())
    }

    #[test]
    fn tables_for_all_positions_of_a_model_took_all_memory() -> Result<()> {
        let t = tables()?;
        let rows = |start| -> Result<Vec<f32>> {
            let x = random(1, (1, 5, 3, 8))?;
            t.rotate(x, Positions { start, pad: Padding { columns: &[0], uploaded: None }, half: None }, Turn::Forward)?
                .flatten_all()?
                .to_vec1()
        };
        let first = rows(3)?;
        assert_eq!(t.of(0)?.cos.dims(), [8, 4]);
        rows(1_000)?;
        assert_eq!(t.of(0)?.cos.dims(), [1_024, 4]);
        assert!(first == rows(3)?);
        assert_eq!(Tables::bytes(1_000, 8), 1_024 * (4 + 4) * 4);
        Ok(())
    }

    #[test]
    fn turning_back_undoes_the_rotation() -> Result<()> {
        let (t, x) = (tables()?, random(1, (2, 5, 3, 8))?);
        let positions = Positions { start: 1, pad: Padding { columns: &[0, 2], uploaded: None }, half: None };
        let there = t.rotate(x.copy()?, positions, Turn::Forward)?;
        assert_close(&t.rotate(there, positions, Turn::Back)?, &x, 1e-5);
        Ok(())
    }

    #[test]
    fn first_components_turn_by_the_position() -> Result<()> {
        // the first pair has frequency 1: (1, 0) at position p becomes (cos p, sin p)
        let x = Tensor::from_vec(vec![1f32, 0., 0., 0., 0., 0., 0., 0.], (1, 1, 1, 8), &Device::Cpu)?;
        let y = tables()?
            .rotate(
                x,
                Positions { start: 5, pad: Padding { columns: &[2], uploaded: None }, half: None },
                Turn::Forward,
            )?
            .flatten_all()?;
        let y: Vec<f32> = y.to_vec1()?;
        assert!((y[0] - 3f32.cos()).abs() < 1e-6 && (y[4] - 3f32.sin()).abs() < 1e-6);
        Ok(())
    }
}
