//! The arithmetic of one step, twice: with tensor operations for every device, and in place on CPU slices, where
//! allocating the intermediate tensors would cost more than the sums. A test holds the two together.

use candle_core::{CpuStorage, DType, Device, InplaceOp2, InplaceOp3, Layout, Result, Tensor};
use rayon::prelude::*;

use super::{AdamWParams, Slot};
use crate::model::ops::cpu::{View, slice, slice_mut};
use crate::optim::finite::residue;

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

/// The scalars as the CPU uses them, and what becomes of one element.
#[derive(Clone, Copy)]
struct Scalars {
    scale: f32,
    first: f32,
    beta2: f32,
    second: f32,
    keep: f32,
    step_size: f32,
    eps: f32,
    inverse_root: f32,
}

impl From<&Coefficients> for Scalars {
    fn from(c: &Coefficients) -> Self {
        Self {
            scale: c.gradient_scale as f32,
            first: (1.0 - c.beta1) as f32,
            beta2: c.beta2 as f32,
            second: (1.0 - c.beta2) as f32,
            keep: c.keep as f32,
            step_size: c.step_size as f32,
            eps: c.eps as f32,
            inverse_root: (1.0 / c.root_correction) as f32,
        }
    }
}

impl Scalars {
    fn first_moment(&self, m: f32, g: f32) -> f32 {
        m + (g * self.scale - m) * self.first
    }

    fn second_moment(&self, v: f32, g: f32) -> f32 {
        let g = g * self.scale;
        v * self.beta2 + g * g * self.second
    }

    fn weight(&self, p: f32, m: f32, v: f32) -> f32 {
        p * self.keep - m / (v.sqrt() * self.inverse_root + self.eps) * self.step_size
    }
}

/// The largest number of a dtype, as f32.
fn largest(dtype: DType) -> f32 {
    match dtype {
        DType::F16 => half::f16::MAX.to_f32(),
        DType::BF16 => half::bf16::MAX.to_f32(),
        _ => f32::MAX,
    }
}

impl Slot {
    /// Whether [`Slot::update`] would leave numbers that are finite, in the weights' own dtype too.
    pub(super) fn stays_finite(&self, gradient: &Tensor, c: &Coefficients) -> Result<bool> {
        match gradient.device() {
            Device::Cpu => self.stays_finite_in_slices(gradient, c),
            _ => self.stays_finite_in_tensors(gradient, c),
        }
    }

    fn stays_finite_in_slices(&self, gradient: &Tensor, c: &Coefficients) -> Result<bool> {
        let gradient = gradient.contiguous()?;
        let weights = self.master.as_ref().unwrap_or(self.var.as_tensor());
        let (g, m) = (View::new(&gradient)?, View::new(&self.exp_avg)?);
        let (v, p) = (View::new(&self.exp_avg_sq)?, View::new(weights)?);
        let (s, largest) = (Scalars::from(c), largest(self.var.dtype()));
        let chunks = g.par_chunks(CHUNK).zip(m.par_chunks(CHUNK)).zip(v.par_chunks(CHUNK).zip(p.par_chunks(CHUNK)));
        let finite = |((&g, &m), (&v, &p)): ((&f32, &f32), (&f32, &f32))| {
            let (m, v) = (s.first_moment(m, g), s.second_moment(v, g));
            m.is_finite() && v.is_finite() && s.weight(p, m, v).abs() <= largest
        };
        Ok(chunks.all(|((g, m), (v, p))| g.iter().zip(m).zip(v.iter().zip(p)).all(finite)))
    }

    pub(super) fn stays_finite_in_tensors(&self, gradient: &Tensor, c: &Coefficients) -> Result<bool> {
        let (exp_avg, exp_avg_sq, weights) = self.next(gradient, c)?;
        let weights = weights.to_dtype(self.var.dtype())?;
        let all = (residue(&exp_avg)? + residue(&exp_avg_sq)?)? + residue(&weights)?;
        Ok(all?.to_scalar::<f32>()?.is_finite())
    }

    pub(super) fn update(&mut self, gradient: &Tensor, c: &Coefficients) -> Result<()> {
        match gradient.device() {
            Device::Cpu => self.update_slices(gradient, c),
            _ => self.update_tensors(gradient, c),
        }
    }

    /// With tensor operations.
    pub(super) fn update_tensors(&mut self, gradient: &Tensor, c: &Coefficients) -> Result<()> {
        let (exp_avg, exp_avg_sq, weights) = self.next(gradient, c)?;
        self.var.set(&weights.to_dtype(self.var.dtype())?)?;
        self.master = self.master.is_some().then_some(weights);
        (self.exp_avg, self.exp_avg_sq) = (exp_avg, exp_avg_sq);
        Ok(())
    }

    /// Both moments and the f32 weights after a step, by tensor operations.
    fn next(&self, gradient: &Tensor, c: &Coefficients) -> Result<(Tensor, Tensor, Tensor)> {
        let gradient = (gradient.detach() * c.gradient_scale)?;
        let exp_avg = (&self.exp_avg + ((&gradient - &self.exp_avg)? * (1.0 - c.beta1))?)?;
        let exp_avg_sq = ((&self.exp_avg_sq * c.beta2)? + (gradient.sqr()? * (1.0 - c.beta2))?)?;
        let root = exp_avg_sq.sqrt()?.affine(1.0 / c.root_correction, c.eps)?;
        let weights = match &self.master {
            Some(master) => master.clone(),
            None => self.var.as_detached_tensor(),
        };
        let weights = ((weights * c.keep)? - ((&exp_avg / root)? * c.step_size)?)?;
        Ok((exp_avg, exp_avg_sq, weights))
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
        let scalars = Scalars::from(self.0);
        for_each(slice_mut(m, m_layout)?, slice(g, g_layout)?, |m, g| *m = scalars.first_moment(*m, g));
        Ok(())
    }
}

impl InplaceOp2 for SecondMoment<'_> {
    fn name(&self) -> &'static str {
        "adamw-second-moment"
    }

    fn cpu_fwd(&self, v: &mut CpuStorage, v_layout: &Layout, g: &CpuStorage, g_layout: &Layout) -> Result<()> {
        let scalars = Scalars::from(self.0);
        for_each(slice_mut(v, v_layout)?, slice(g, g_layout)?, |v, g| *v = scalars.second_moment(*v, g));
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
        let scalars = Scalars::from(self.0);
        let (m, v) = (slice(m, m_layout)?, slice(v, v_layout)?);
        let weights = slice_mut(weights, weights_layout)?;
        weights.par_chunks_mut(CHUNK).zip(m.par_chunks(CHUNK).zip(v.par_chunks(CHUNK))).for_each(|(p, (m, v))| {
            for (p, (m, v)) in p.iter_mut().zip(m.iter().zip(v)) {
                *p = scalars.weight(*p, *m, *v);
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
