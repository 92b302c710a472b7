//! The gated activation `silu(gate) * up`.

use candle_core::{DType, Result, Tensor};

use super::cpu;

/// `y = gate * sigmoid(gate) * up`, element by element.
///
/// # Shapes
/// `gate`, `up` `[N, F]` contiguous; returns `[N, F]`.
pub fn forward(gate: &Tensor, up: &Tensor) -> Result<Tensor> {
    if !cpu::serves(gate) {
        return gate.silu()? * up;
    }
    let (gs, us) = (cpu::View::new(gate)?, cpu::View::new(up)?);
    let (gs, us): (&[f32], &[f32]) = (&gs, &us);
    let mut y = vec![0f32; gs.len()];
    cpu::for_rows(&mut y, 1, |first, out| {
        let (g, u) = (&gs[first..][..out.len()], &us[first..][..out.len()]);
        cpu::simd(|| {
            for i in 0..out.len() {
                out[i] = g[i] * u[i] / (1.0 + cpu::exp(-g[i]));
            }
        })
    });
    cpu::tensor(y, gate.shape())
}

/// Gradients of [`forward`]: `d_gate = dy up s (1 + gate (1 - s))`, `d_up = dy gate s`, `s = sigmoid(gate)`.
///
/// # Shapes
/// All `[N, F]`; returns `(d_gate, d_up)`.
pub fn backward(gate: &Tensor, up: &Tensor, dy: &Tensor) -> Result<(Tensor, Tensor)> {
    if !cpu::serves(gate) {
        let (g, u, dy32) = (gate.to_dtype(DType::F32)?, up.to_dtype(DType::F32)?, dy.to_dtype(DType::F32)?);
        let s = ((g.neg()?.exp()? + 1.0)?).recip()?;
        let silu = (&g * &s)?;
        let slope = (&s + (&silu - (&silu * &s)?)?)?;
        let d_gate = ((&dy32 * u)? * slope)?.to_dtype(gate.dtype())?;
        return Ok((d_gate, (dy32 * silu)?.to_dtype(up.dtype())?));
    }
    let (gs, us, ds) = (cpu::View::new(gate)?, cpu::View::new(up)?, cpu::View::new(dy)?);
    let (gs, us, ds): (&[f32], &[f32], &[f32]) = (&gs, &us, &ds);
    let (mut d_gate, mut d_up) = (vec![0f32; gs.len()], vec![0f32; gs.len()]);
    cpu::for_row_pairs(&mut d_gate, &mut d_up, |first, to_gate, to_up| {
        let n = to_gate.len();
        let (g, u, d, to_up) = (&gs[first..][..n], &us[first..][..n], &ds[first..][..n], &mut to_up[..n]);
        cpu::simd(|| {
            for i in 0..n {
                let s = 1.0 / (1.0 + cpu::exp(-g[i]));
                to_gate[i] = d[i] * u[i] * s * (1.0 + g[i] * (1.0 - s));
                to_up[i] = d[i] * g[i] * s;
            }
        })
    });
    Ok((cpu::tensor(d_gate, gate.shape())?, cpu::tensor(d_up, gate.shape())?))
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;

    #[test]
    fn fused_equals_composed() -> Result<()> {
        let (g, u, dy) = (random(1, (5, 33))?, random(2, (5, 33))?, random(3, (5, 33))?);
        assert_close(&forward(&g, &u)?, &(g.silu()? * &u)?, 1e-6);
        let wide = |t: &Tensor| t.to_dtype(DType::F64);
        let (dg, du) = backward(&wide(&g)?, &wide(&u)?, &wide(&dy)?)?;
        let (fg, fu) = backward(&g, &u, &dy)?;
        assert_close(&fg, &dg, 1e-5);
        assert_close(&fu, &du, 1e-5);
        Ok(())
    }

    #[test]
    fn gradients_match_finite_differences() -> Result<()> {
        let (g, u, dy) = (random(1, (3, 8))?, random(2, (3, 8))?, random(3, (3, 8))?);
        let (dg, du) = backward(&g, &u, &dy)?;
        check_gradient(&g, &dy, |g| forward(g, &u), &dg);
        check_gradient(&u, &dy, |u| forward(&g, u), &du);
        Ok(())
    }
}
