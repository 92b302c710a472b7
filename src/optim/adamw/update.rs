//! The arithmetic of one step, twice: with tensor operations for every device, and in place on CPU slices, where
//! allocating the intermediate tensors would cost more than the sums. A test holds the two together.

use candle_core::{CpuStorage, Device, InplaceOp2, InplaceOp3, Layout, Result, Tensor};
use rayon::prelude::*;

use super::{AdamWParams, Slot};
use crate::model::ops::cpu::{slice, slice_mut};

/// Elements a thread takes at once.
const CHUNK: usize = 1 << 14;

/// The scalars of one step.
#[derive(Clone, Copy, Debug)]
pub(super) struct Coefficients {
    gradient_scale: f64,
    beta1: f64,
    beta2: f64,
    eps: f64,
    /// `1 - lr wd`
    keep: f64,
    /// `lr / (1 - beta1^s)`
    step_size: f64,
    /// `sqrt(1 - beta2^s)`
    root_correction: f64,
}

impl Coefficients {
    pub(super) fn new(params: &AdamWParams, step: u64, lr: f64, gradient_scale: f64) -> Self {
        let &AdamWParams { beta1, beta2, eps, weight_decay } = params;
        let step = step as f64;
        Self {
            gradient_scale,
            beta1,
            beta2,
            eps,
            keep: 1.0 - lr * weight_decay,
            step_size: lr / (1.0 - beta1.powf(step)),
            root_correction: (1.0 - beta2.powf(step)).sqrt(),
        }
    }
}

impl Slot {
    pub(super) fn update(&mut self, gradient: &Tensor, c: &Coefficients) -> Result<()> {
        match gradient.device() {
            Device::Cpu => self.update_slices(gradient, c),
            _ => self.update_tensors(gradient, c),
        }
    }

    /// With tensor operations.
    pub(super) fn update_tensors(&mut self, gradient: &Tensor, c: &Coefficients) -> Result<()> {
        let gradient = (gradient.detach() * c.gradient_scale)?;
        self.exp_avg = (&self.exp_avg + ((&gradient - &self.exp_avg)? * (1.0 - c.beta1))?)?;
        self.exp_avg_sq = ((&self.exp_avg_sq * c.beta2)? + (gradient.sqr()? * (1.0 - c.beta2))?)?;
        let root = self.exp_avg_sq.sqrt()?.affine(1.0 / c.root_correction, c.eps)?;
        let weights = match &self.master {
            Some(master) => master.clone(),
            None => self.var.as_detached_tensor(),
        };
        let weights = ((weights * c.keep)? - ((&self.exp_avg / root)? * c.step_size)?)?;
        self.var.set(&weights.to_dtype(self.var.dtype())?)?;
        self.master = self.master.is_some().then_some(weights);
        Ok(())
    }

    /// In place, on the CPU.
    fn update_slices(&mut self, gradient: &Tensor, c: &Coefficients) -> Result<()> {
        let gradient = gradient.contiguous()?;
        self.exp_avg.inplace_op2(&gradient, &FirstMoment(c))?;
        self.exp_avg_sq.inplace_op2(&gradient, &SecondMoment(c))?;
        let weights = self.master.as_ref().unwrap_or(self.var.as_tensor());
        weights.inplace_op3(&self.exp_avg, &self.exp_avg_sq, &Weights(c))?;
        match &self.master {
            Some(master) => self.var.set(&master.to_dtype(self.var.dtype())?),
            None => Ok(()),
        }
    }
}

struct FirstMoment<'a>(&'a Coefficients);
struct SecondMoment<'a>(&'a Coefficients);
struct Weights<'a>(&'a Coefficients);

impl InplaceOp2 for FirstMoment<'_> {
    fn name(&self) -> &'static str {
        "adamw-first-moment"
    }

    fn cpu_fwd(&self, m: &mut CpuStorage, m_layout: &Layout, g: &CpuStorage, g_layout: &Layout) -> Result<()> {
        let (scale, rest) = (self.0.gradient_scale as f32, (1.0 - self.0.beta1) as f32);
        for_each(slice_mut(m, m_layout)?, slice(g, g_layout)?, |m, g| *m += (g * scale - *m) * rest);
        Ok(())
    }
}

impl InplaceOp2 for SecondMoment<'_> {
    fn name(&self) -> &'static str {
        "adamw-second-moment"
    }

    fn cpu_fwd(&self, v: &mut CpuStorage, v_layout: &Layout, g: &CpuStorage, g_layout: &Layout) -> Result<()> {
        let (scale, beta2) = (self.0.gradient_scale as f32, self.0.beta2 as f32);
        let rest = (1.0 - self.0.beta2) as f32;
        for_each(slice_mut(v, v_layout)?, slice(g, g_layout)?, |v, g| {
            let g = g * scale;
            *v = *v * beta2 + g * g * rest;
        });
        Ok(())
    }
}

impl InplaceOp3 for Weights<'_> {
    fn name(&self) -> &'static str {
        "adamw-weights"
    }

    fn cpu_fwd(
        &self,
        weights: &mut CpuStorage,
        weights_layout: &Layout,
        m: &CpuStorage,
        m_layout: &Layout,
        v: &CpuStorage,
        v_layout: &Layout,
    ) -> Result<()> {
        let (keep, step_size, eps) = (self.0.keep as f32, self.0.step_size as f32, self.0.eps as f32);
        let inverse_root = (1.0 / self.0.root_correction) as f32;
        let (m, v) = (slice(m, m_layout)?, slice(v, v_layout)?);
        let weights = slice_mut(weights, weights_layout)?;
        weights.par_chunks_mut(CHUNK).zip(m.par_chunks(CHUNK).zip(v.par_chunks(CHUNK))).for_each(|(p, (m, v))| {
            for (p, (m, v)) in p.iter_mut().zip(m.iter().zip(v)) {
                *p = *p * keep - m / (v.sqrt() * inverse_root + eps) * step_size;
            }
        });
        Ok(())
    }
}

fn for_each(target: &mut [f32], source: &[f32], update: impl Fn(&mut f32, f32) + Sync) {
    target.par_chunks_mut(CHUNK).zip(source.par_chunks(CHUNK)).for_each(|(target, source)| {
        target.iter_mut().zip(source).for_each(|(target, &source)| update(target, source));
    });
}
