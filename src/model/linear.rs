//! A linear layer with a frozen or trainable weight and an optional LoRA adapter.
//!
//! `y = x W^T + scale * drop(x) A^T B^T`. The gradient of a frozen weight is never formed.

use std::ops::Range;

use candle_core::{DType, Result, Tensor};

use super::batch::Span;
use super::ops::products::{Product, sum_of_products};
use super::param::{Gradients, Param};
use super::weight::Weight;
use crate::rng::Key;

/// The low-rank update of one linear layer; `a` `[R, in]` and `b` `[out, R]` are f32 and trainable.
#[derive(Clone, Debug)]
pub struct Adapter {
    /// Down-projection `[R, in]`.
    pub a: Param,
    /// Up-projection `[out, R]`.
    pub b: Param,
    /// `alpha / R`.
    pub scale: f64,
    /// Probability of dropping an input while training.
    pub dropout: f64,
    /// Index of the module within the model: its dropout stream.
    pub module: u64,
}

/// A linear layer.
#[derive(Clone, Debug)]
pub struct Linear {
    /// The weight, `[out, in]`.
    pub weight: Weight,
    /// The adapter, if this layer is a LoRA target.
    pub adapter: Option<Adapter>,
}

/// What the backward pass needs besides the input: `drop(x) A^T`, `[N, R]`.
pub type Projected = Option<Tensor>;

impl Linear {
    /// A layer without adapter.
    pub fn new(weight: Weight) -> Self {
        Self { weight, adapter: None }
    }

    /// Whether [`Linear::backward`] needs the input.
    pub fn needs_input(&self, span: &Span<'_>) -> bool {
        self.weight.is_trainable() || self.active(span).is_some()
    }

    fn active(&self, span: &Span<'_>) -> Option<&Adapter> {
        self.adapter.as_ref().filter(|_| span.pass.adapters)
    }

    /// `start + y`.
    ///
    /// # Shapes
    /// `start` `[N, out]` or nothing, `x` `[N, in]`; returns `[N, out]` and the projection to keep.
    pub fn forward(&self, start: Option<&Tensor>, x: &Tensor, span: &Span<'_>) -> Result<(Tensor, Projected)> {
        let frozen = Product::forward(x, &self.weight);
        let Some(adapter) = self.active(span) else { return Ok((sum_of_products(start, &[frozen])?, None)) };
        let input = adapter.dropped(x, span)?;
        let down = Product::forward(&input, adapter.a.value()).like(&self.weight);
        let projected = sum_of_products(None, &[down])?; // [N, R]
        let update = Product::forward(&projected, adapter.b.value()).like(&self.weight).scaled(adapter.scale);
        Ok((sum_of_products(start, &[frozen, update])?, Some(projected)))
    }

    /// The projection alone that [`Linear::forward`] returns beside its output.
    ///
    /// # Shapes
    /// `x` `[N, in]`; returns `[N, R]`, or nothing without an adapter.
    pub fn project(&self, x: &Tensor, span: &Span<'_>) -> Result<Projected> {
        let Some(adapter) = self.active(span) else { return Ok(None) };
        let input = adapter.dropped(x, span)?;
        sum_of_products(None, &[Product::forward(&input, adapter.a.value())]).map(Some)
    }

    /// Adds the gradients of trainable parts to `gradients` and returns that of the input, if wanted.
    ///
    /// # Shapes
    /// `x` `[N, in]` (only read when [`Linear::needs_input`]), `dy` `[N, out]`; returns `[N, in]`.
    pub fn backward(
        &self,
        x: Option<&Tensor>,
        projected: &Projected,
        dy: &Tensor,
        span: &Span<'_>,
        want_dx: bool,
        gradients: &mut Gradients,
    ) -> Result<Option<Tensor>> {
        if let (true, Some(x)) = (self.weight.is_trainable(), x) {
            gradients.add(self.weight.name(), sum_of_products(None, &[Product::gradient(dy, x)])?)?;
        }
        let frozen = Product::backward(dy, &self.weight);
        let (Some(adapter), Some(projected), Some(x)) = (self.active(span), projected, x) else {
            return if want_dx { sum_of_products(None, &[frozen]).map(Some) } else { Ok(None) };
        };
        let like = |product: Product<'_>| sum_of_products(None, &[product.like(&self.weight)]);
        let dy32 = dy.to_dtype(DType::F32)?;
        gradients.add(adapter.b.name(), like(Product::gradient(&dy32, projected).scaled(adapter.scale))?)?;
        let d_projected = like(Product::backward(&dy32, adapter.b.value()).scaled(adapter.scale))?; // [N, R]
        gradients.add(adapter.a.name(), like(Product::gradient(&d_projected, &adapter.dropped(x, span)?))?)?;
        if !want_dx {
            return Ok(None);
        }
        let through = Product::backward(&d_projected, adapter.a.value()).like(&self.weight);
        match adapter.mask(x, span)? {
            None => sum_of_products(None, &[frozen, through]).map(Some),
            Some(mask) => {
                let through = (sum_of_products(None, &[through])? * mask)?.to_dtype(dy.dtype())?;
                sum_of_products(Some(&through), &[frozen]).map(Some)
            }
        }
    }
}

impl Adapter {
    /// The input in f32, with dropout applied.
    fn dropped(&self, x: &Tensor, span: &Span<'_>) -> Result<Tensor> {
        let x32 = x.to_dtype(DType::F32)?;
        match self.mask(x, span)? {
            Some(mask) => x32 * mask,
            None => Ok(x32),
        }
    }

    /// 0 where an input is dropped, `1 / (1 - p)` elsewhere; `[N, in]`. Drawn anew each time it is needed.
    fn mask(&self, x: &Tensor, span: &Span<'_>) -> Result<Option<Tensor>> {
        let Some(keys) = span.pass.dropout.filter(|_| self.dropout > 0.0) else { return Ok(None) };
        let (n, width) = x.dims2()?;
        let keep = (1.0 / (1.0 - self.dropout)) as f32;
        let mut mask = Vec::with_capacity(n * width);
        for (row, columns) in span.runs() {
            self.extend_run(&mut mask, &keys[row], columns, span.pad[row], width, keep);
        }
        Ok(Some(Tensor::from_vec(mask, (n, width), x.device())?))
    }

    /// The mask of some columns of a sequence, counted from its first real token so that padding changes nothing.
    fn extend_run(&self, mask: &mut Vec<f32>, key: &Key, columns: Range<usize>, pad: usize, width: usize, keep: f32) {
        let real = pad.clamp(columns.start, columns.end);
        mask.resize(mask.len() + (real - columns.start) * width, 0.0);
        let mut rng = key.stream(self.module);
        rng.skip_u32(real.saturating_sub(pad) as u64 * width as u64);
        let p = self.dropout as f32;
        mask.extend((0..(columns.end - real) * width).map(|_| if rng.uniform_f32() < p { 0.0 } else { keep }));
    }
}
