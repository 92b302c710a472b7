//! The gated activation `silu(gate) * up`.

use candle_core::{CpuStorage, DType, InplaceOp2, Layout, Result, Tensor};

use super::{cpu, gpu};

/// `y = gate * sigmoid(gate) * up`, element by element.
///
/// # Shapes
/// `gate`, `up` `[N, F]` contiguous; returns `[N, F]`.
pub fn forward(gate: &Tensor, up: &Tensor) -> Result<Tensor> {
    if gpu::serves(gate) {
        let y = gpu::empty(gate.shape(), gate.dtype(), gate.device())?;
        return on_device(gate, up, &y).map(|()| y);
    }
    if !cpu::serves(gate) {
        return gate.silu()? * up;
    }
    let (gs, us) = (cpu::View::new(gate)?, cpu::View::new(up)?);
    let (gs, us): (&[f32], &[f32]) = (&gs, &us);
    let y = cpu::made_of_rows(gs.len(), 1, |first, out| {
        let n = out.len();
        out.copy_from_slice(&gs[first..][..n]);
        activate(out, &us[first..][..n]);
    });
    cpu::tensor(y, gate.shape())
}

cpu::wide! {
    /// `gate = silu(gate) * up`.
    fn activate(gate: &mut [f32], up: &[f32]) {
        for (g, &u) in gate.iter_mut().zip(up) {
            *g = *g * u / (1.0 + cpu::exp(-*g));
        }
    }
}

cpu::wide! {
    /// `up = d_gate` and `dy = d_up`.
    fn gradients(up: &mut [f32], dy: &mut [f32], gate: &[f32]) {
        for ((u, d), &g) in up.iter_mut().zip(dy).zip(gate) {
            let s = 1.0 / (1.0 + cpu::exp(-g));
            (*u, *d) = (*d * *u * s * (1.0 + g * (1.0 - s)), *d * g * s);
        }
    }
}

/// `out = silu(gate) * up`; `out` may be one of the two.
fn on_device(gate: &Tensor, up: &Tensor, out: &Tensor) -> Result<()> {
    let (kernel, n) = (gpu::named("swiglu", &[gate.dtype()])?, gate.elem_count());
    gpu::Launch::new(&kernel, n.div_ceil(2)).input(gate).input(up).output(out).size(n)?.run()
}

/// As [`forward`], in the memory of `gate` where kernels serve it, which nobody else may share.
///
/// # Shapes
/// As [`forward`].
pub fn forward_in_place(gate: Tensor, up: &Tensor) -> Result<Tensor> {
    if gpu::serves(&gate) {
        return on_device(&gate, up, &gate).map(|()| gate);
    }
    if !cpu::serves(&gate) {
        return forward(&gate, up);
    }
    gate.inplace_op2(up, &Activate)?;
    Ok(gate)
}

/// Gradients of [`forward`]: `d_gate = dy up s (1 + gate (1 - s))`, `d_up = dy gate s`, `s = sigmoid(gate)`;
/// in the memory of `up` and `dy` where kernels serve them, which nobody else may share.
///
/// # Shapes
/// All `[N, F]`; returns `(d_gate, d_up)`.
pub fn backward(gate: &Tensor, up: Tensor, dy: Tensor) -> Result<(Tensor, Tensor)> {
    if gpu::serves(gate) {
        let (kernel, n) = (gpu::named("swiglu_backward", &[gate.dtype()])?, gate.elem_count());
        gpu::Launch::new(&kernel, n.div_ceil(2)).input(gate).output(&up).output(&dy).size(n)?.run()?;
        return Ok((up, dy));
    }
    if !cpu::serves(gate) {
        let (g, u, dy32) = (gate.to_dtype(DType::F32)?, up.to_dtype(DType::F32)?, dy.to_dtype(DType::F32)?);
        let s = ((g.neg()?.exp()? + 1.0)?).recip()?;
        let silu = (&g * &s)?;
        let slope = (&s + (&silu - (&silu * &s)?)?)?;
        let d_gate = ((&dy32 * u)? * slope)?.to_dtype(gate.dtype())?;
        return Ok((d_gate, (dy32 * silu)?.to_dtype(up.dtype())?));
    }
    let gs = cpu::View::new(gate)?;
    let gs: &[f32] = &gs;
    cpu::modify_both(&up, &dy, |first, up, dy| gradients(up, dy, &gs[first..]))?;
    Ok((up, dy))
}

/// `gate = silu(gate) * up`, element by element.
struct Activate;

impl InplaceOp2 for Activate {
    fn name(&self) -> &'static str {
        "swiglu"
    }

    fn cpu_fwd(&self, gate: &mut CpuStorage, gate_at: &Layout, up: &CpuStorage, up_at: &Layout) -> Result<()> {
        let up = cpu::slice(up, up_at)?;
        cpu::for_rows(cpu::slice_mut(gate, gate_at)?, 1, |first, gate| activate(gate, &up[first..]));
        Ok(())
    }
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
        let (dg, du) = backward(&wide(&g)?, wide(&u)?, wide(&dy)?)?;
        let y: Vec<Vec<f32>> = forward(&g, &u)?.to_vec2()?;
        let (fg, fu) = backward(&g, u.copy()?, dy)?;
        assert_eq!(forward_in_place(g, &u)?.to_vec2::<f32>()?, y);
        assert_close(&fg, &dg, 1e-5);
        assert_close(&fu, &du, 1e-5);
        Ok(())
    }

    #[test]
    fn gradients_match_finite_differences() -> Result<()> {
        let (g, u, dy) = (random(1, (3, 8))?, random(2, (3, 8))?, random(3, (3, 8))?);
        let (dg, du) = backward(&g, u.copy()?, dy.copy()?)?;
        check_gradient(&g, &dy, |g| forward(g, &u), &dg);
        check_gradient(&u, &dy, |u| forward(&g, u), &du);
        Ok(())
    }
}
