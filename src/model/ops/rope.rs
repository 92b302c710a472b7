//! Rotary position embedding, half-split layout (`rotate_half`), tables and rotation in f32.
//!
//! Positions count from a row's first real token: a left-padded row is rotated exactly as it would be
//! without the padding. Attention only sees differences of positions, so this is the published model up to
//! rounding, and it makes a row's numbers independent of the padding, bit for bit.

use candle_core::{DType, Device, Result, Tensor};

use super::cpu;

/// Cosines and sines of all positions, f32 `[positions, E/2]`.
#[derive(Clone, Debug)]
pub struct Tables {
    cos: Tensor,
    sin: Tensor,
    half: usize,
}

/// Where the rows of a window stand.
#[derive(Clone, Copy, Debug)]
pub struct Positions<'a> {
    /// Index of the window's first column in the padded row.
    pub start: usize,
    /// Padding columns at the left of every batch row.
    pub pad: &'a [usize],
}

impl Positions<'_> {
    fn of(&self, row: usize, column: usize) -> usize {
        (self.start + column).saturating_sub(self.pad[row])
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
    /// All heads of one position.
    fn turn_heads(x: &mut [f32], cos: &[f32], sin: &[f32], sign: f32) {
        let half = cos.len();
        for x in x.chunks_exact_mut(2 * half) {
            let (low, high) = x.split_at_mut(half);
            for ((low, high), (&c, &s)) in low.iter_mut().zip(high).zip(cos.iter().zip(sin)) {
                let s = s * sign;
                (*low, *high) = (*low * c - *high * s, *high * c + *low * s);
            }
        }
    }
}

impl Tables {
    /// Angles `position * theta^(-2i/E)`, computed in f32 as the reference does.
    pub fn new(theta: f64, head_dim: usize, positions: usize, device: &Device) -> Result<Self> {
        let half = head_dim / 2;
        let inverse: Vec<f32> =
            (0..half).map(|i| 1.0 / (theta as f32).powf((2 * i) as f32 / head_dim as f32)).collect();
        let angles: Vec<f32> = (0..positions).flat_map(|p| inverse.iter().map(move |f| p as f32 * f)).collect();
        let table = |f: fn(f32) -> f32| {
            Tensor::from_vec(angles.iter().map(|&a| f(a)).collect::<Vec<_>>(), (positions, half), device)
        };
        Ok(Self { cos: table(f32::cos)?, sin: table(f32::sin)?, half })
    }

    /// Rotates every head of `x`; on the CPU in its memory, which nobody else may share.
    ///
    /// # Shapes
    /// `x` `[B, W, heads, E]` contiguous, `positions.pad` of length `B`; returns the same shape.
    pub fn rotate(&self, x: Tensor, positions: Positions<'_>, turn: Turn) -> Result<Tensor> {
        if !cpu::serves(&x) {
            return self.rotate_composed(&x, positions, turn);
        }
        self.rotate_fused(&x, positions, turn)?;
        Ok(x)
    }

    fn rotate_fused(&self, x: &Tensor, positions: Positions<'_>, turn: Turn) -> Result<()> {
        let (_, w, heads, e) = x.dims4()?;
        let (cos, sin) = (cpu::View::new(&self.cos)?, cpu::View::new(&self.sin)?);
        let (cos, sin): (&[f32], &[f32]) = (&cos, &sin);
        let (half, sign) = (self.half, if turn == Turn::Forward { 1.0f32 } else { -1.0 });
        cpu::modify(x, |xs| {
            cpu::for_rows(xs, heads * e, |first, rows| {
                for (i, row) in rows.chunks_exact_mut(heads * e).enumerate() {
                    let at = first + i;
                    let p = positions.of(at / w, at % w) * half;
                    turn_heads(row, &cos[p..][..half], &sin[p..][..half], sign);
                }
            });
        })
    }

    fn rotate_composed(&self, x: &Tensor, positions: Positions<'_>, turn: Turn) -> Result<Tensor> {
        let (b, w, _, _) = x.dims4()?;
        let ids: Vec<u32> = (0..b * w).map(|i| positions.of(i / w, i % w) as u32).collect();
        let ids = Tensor::from_vec(ids, b * w, x.device())?;
        let at = |table: &Tensor| table.index_select(&ids, 0)?.reshape((b, w, 1, self.half));
        let (cos, sin) = (at(&self.cos)?, at(&self.sin)?);
        let sin = if turn == Turn::Forward { sin } else { sin.neg()? };
        let wide = x.to_dtype(DType::F32)?;
        let (lo, hi) = (wide.narrow(3, 0, self.half)?, wide.narrow(3, self.half, self.half)?);
        let new_lo = (lo.broadcast_mul(&cos)? - hi.broadcast_mul(&sin)?)?;
        let new_hi = (hi.broadcast_mul(&cos)? + lo.broadcast_mul(&sin)?)?;
        Tensor::cat(&[new_lo, new_hi], 3)?.to_dtype(x.dtype())
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;

    fn tables() -> Result<Tables> {
        Tables::new(10_000.0, 8, 32, &Device::Cpu)
    }

    #[test]
    fn fused_equals_composed() -> Result<()> {
        let (t, x) = (tables()?, random(1, (2, 5, 3, 8))?);
        let positions = Positions { start: 4, pad: &[0, 6] };
        for turn in [Turn::Forward, Turn::Back] {
            assert_close(&t.rotate(x.copy()?, positions, turn)?, &t.rotate_composed(&x, positions, turn)?, 1e-6);
        }
        Ok(())
    }

    #[test]
    fn turning_back_undoes_the_rotation() -> Result<()> {
        let (t, x) = (tables()?, random(1, (2, 5, 3, 8))?);
        let positions = Positions { start: 1, pad: &[0, 2] };
        let there = t.rotate(x.copy()?, positions, Turn::Forward)?;
        assert_close(&t.rotate(there, positions, Turn::Back)?, &x, 1e-5);
        Ok(())
    }

    #[test]
    fn first_components_turn_by_the_position() -> Result<()> {
        // the first pair has frequency 1: (1, 0) at position p becomes (cos p, sin p)
        let x = Tensor::from_vec(vec![1f32, 0., 0., 0., 0., 0., 0., 0.], (1, 1, 1, 8), &Device::Cpu)?;
        let y = tables()?.rotate(x, Positions { start: 5, pad: &[2] }, Turn::Forward)?.flatten_all()?;
        let y: Vec<f32> = y.to_vec1()?;
        assert!((y[0] - 3f32.cos()).abs() < 1e-6 && (y[4] - 3f32.sin()).abs() < 1e-6);
        Ok(())
    }
}
