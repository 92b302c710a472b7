//! A linear layer with a frozen or trainable weight and an optional LoRA adapter.
//!
//! `y = x W^T + b + scale * drop(x) A^T B^T`, most layers without `b`. The gradient of a frozen weight is never formed.

use candle_core::{DType, Result, Tensor};

use super::batch::Span;
use super::ops::bias;
use super::ops::cpu;
use super::ops::dropout::{Dropout, Run, Words};
use super::ops::gpu;
use super::ops::products::{Product, add_product, added_on_device, least_rows, sum_of_products};
use super::param::{Gradients, Param};
use super::weight::{Part, Weight};

/// The low-rank update of one linear layer; `a` `[R, in]` and `b` `[out, R]` are f32 and trainable, but in models that only
/// sample.
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
    /// Whether its products may be in TF32 where the weight has 16 bits.
    pub tf32: bool,
    /// Index of the module within the model: its dropout stream.
    pub module: u64,
}

/// A linear layer.
#[derive(Clone, Debug)]
pub struct Linear {
    /// The weight, `[out, in]`.
    pub weight: Weight,
    /// Added to every row of the output, `[out]`.
    pub bias: Option<Param>,
    /// The adapter, if this layer is a LoRA target.
    pub adapter: Option<Adapter>,
}

/// What the backward pass of an adapter needs besides the input.
#[derive(Clone, Debug)]
pub struct Low {
    /// `drop(x) A^T`, `[N, R]`.
    projected: Tensor,
    /// What was kept of the input; nothing without dropout.
    dropout: Option<Mask>,
}

/// Dropout of a layer's input.
#[derive(Clone, Debug)]
enum Mask {
    /// Drawn on the host.
    Bits(Dropout),
    /// Drawn by the accelerator whenever it is asked for.
    Keyed(gpu::dropout::Dropout),
}

#[cfg(test)]
impl Low {
    /// What is held, in bytes.
    pub(super) fn bytes(&self) -> usize {
        let projected = self.projected.elem_count() * self.projected.dtype().size_in_bytes();
        let bits = |mask: &Mask| if let Mask::Bits(dropout) = mask { dropout.bytes() } else { 0 };
        projected + self.dropout.as_ref().map_or(0, bits)
    }
}

/// That of a layer, if it has an adapter.
pub type Projected = Option<Low>;

impl Linear {
    /// A layer without bias and adapter.
    pub fn new(weight: Weight) -> Self {
        Self { weight, bias: None, adapter: None }
    }

    /// `y` with the bias, in its memory, which nobody else may share.
    fn biased(&self, y: Tensor) -> Result<Tensor> {
        match &self.bias {
            Some(b) => bias::add(y, b.value()),
            None => Ok(y),
        }
    }

    /// The name of the layer in the checkpoint.
    pub fn path(&self) -> &str {
        let name = self.weight.name();
        name.strip_suffix(".weight").unwrap_or(name)
    }

    /// Weight and bias.
    pub fn parts(&self) -> impl Iterator<Item = Part<'_>> {
        [Part::Matrix(&self.weight)].into_iter().chain(self.bias.iter().map(Part::Vector))
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
        let Some(adapter) = self.active(span) else {
            return Ok((self.biased(sum_of_products(start, &[frozen])?)?, None));
        };
        let low = adapter.project(x, &self.weight, span)?;
        let y = sum_of_products(start, &[frozen, adapter.update(x, &low, &self.weight)])?;
        Ok((self.biased(y)?, Some(low)))
    }

    /// As [`Linear::forward`] without a start, where `x W^T` is there, in memory that nobody else shares.
    ///
    /// # Shapes
    /// `base` `[N, out]`.
    pub fn forward_beside(&self, base: Tensor, x: &Tensor, span: &Span<'_>) -> Result<(Tensor, Projected)> {
        let Some(adapter) = self.active(span) else { return Ok((self.biased(base)?, None)) };
        let low = adapter.project(x, &self.weight, span)?;
        let y = added(base, adapter.update(x, &low, &self.weight))?;
        Ok((self.biased(y)?, Some(low)))
    }

    /// The projection alone that [`Linear::forward`] returns beside its output.
    ///
    /// # Shapes
    /// `x` `[N, in]`.
    pub fn project(&self, x: &Tensor, span: &Span<'_>) -> Result<Projected> {
        self.active(span).map(|adapter| adapter.project(x, &self.weight, span)).transpose()
    }

    /// Adds the gradients of trainable parts to `gradients` and returns that of the input, if wanted.
    ///
    /// # Shapes
    /// `x` `[N, in]` (only read when [`Linear::needs_input`]), `dy` `[N, out]`; returns `[N, in]`.
    pub fn backward(
        &self,
        x: Option<&Tensor>,
        low: &Projected,
        dy: &Tensor,
        span: &Span<'_>,
        want_dx: bool,
        gradients: &mut Gradients,
    ) -> Result<Option<Tensor>> {
        if let (true, Some(x)) = (self.weight.is_trainable(), x) {
            gradients.add(self.weight.name(), sum_of_products(None, &[Product::gradient(dy, x)])?)?;
        }
        if let Some(b) = self.bias.as_ref().filter(|b| b.is_trainable()) {
            gradients.add(b.name(), bias::gradient(dy)?)?;
        }
        let frozen = Product::backward(dy, &self.weight);
        let (Some(adapter), Some(Low { projected, dropout }), Some(x)) = (self.active(span), low, x) else {
            return if want_dx { sum_of_products(None, &[frozen]).map(Some) } else { Ok(None) };
        };
        let like =
            |product: Product<'_>| sum_of_products(None, &[product.like(&self.weight).fast(adapter.may_round(dy))]);
        let dy32 = gpu::cast(dy, DType::F32)?;
        gradients.add(adapter.b.name(), like(Product::gradient(&dy32, projected).scaled(adapter.scale))?)?;
        let d_projected = like(Product::backward(&dy32, adapter.b.value()).scaled(adapter.scale))?; // [N, R]
        gradients
            .add(adapter.a.name(), like(Product::gradient(&d_projected, &adapter.input(x, dropout.as_ref())?))?)?;
        if !want_dx {
            return Ok(None);
        }
        let through = Product::backward(&d_projected, adapter.a.value()).like(&self.weight).fast(adapter.may_round(dy));
        match dropout {
            None => sum_of_products(None, &[frozen, through]).map(Some),
            Some(Mask::Keyed(dropout)) => {
                let dx = sum_of_products(None, &[frozen])?;
                dropout.add(&dx, &sum_of_products(None, &[through])?)?;
                Ok(Some(dx))
            }
            Some(Mask::Bits(dropout)) => {
                let through = dropout.apply_in_place(sum_of_products(None, &[through])?)?.to_dtype(dy.dtype())?;
                added(through, frozen).map(Some)
            }
        }
    }
}

impl Adapter {
    /// `drop(x) A^T`, as precisely as products with `weight` are.
    fn project(&self, x: &Tensor, weight: &Weight, span: &Span<'_>) -> Result<Low> {
        let dropout = self.dropout(span)?;
        let input = self.input(x, dropout.as_ref())?;
        let down = Product::forward(&input, self.a.value()).like(weight).fast(self.may_round(x));
        Ok(Low { projected: sum_of_products(None, &[down])?, dropout }) // [N, R]
    }

    /// `scale * low B^T`.
    fn update<'a>(&'a self, x: &Tensor, low: &'a Low, weight: &'a Weight) -> Product<'a> {
        let up = Product::forward(&low.projected, self.b.value()).like(weight);
        up.fast(self.may_round(x)).scaled(self.scale)
    }

    /// Which inputs of this pass are kept; nothing without dropout. Words are counted from a sequence's first real token, so
    /// that padding changes nothing; padding itself is dropped.
    fn dropout(&self, span: &Span<'_>) -> Result<Option<Mask>> {
        let Some(keys) = span.pass.dropout.filter(|_| self.dropout > 0.0) else { return Ok(None) };
        if let Some(rows) = span.keyed_rows() {
            let rows = rows.clone();
            return Ok(Some(Mask::Keyed(gpu::dropout::Dropout { rows, stream: self.module, p: self.dropout })));
        }
        let width = self.a.value().dim(1)?;
        let mut runs = Vec::new();
        for (row, columns) in span.runs() {
            let padding = columns.clone().take_while(|&column| span.drawn_at(row, column).is_none()).count();
            let real = columns.start + padding;
            runs.push(Run { rows: padding, words: None });
            let first = (span.drawn_at(row, real).unwrap_or(0) * width) as u64;
            runs.push(Run {
                rows: columns.end - real,
                words: Some(Words { key: keys[row], stream: self.module, first }),
            });
        }
        Ok(Some(Mask::Bits(Dropout::draw(&runs, width, self.dropout))))
    }

    /// Whether products beside activations like `x` may be in TF32.
    fn may_round(&self, x: &Tensor) -> bool {
        self.tf32 && x.dtype() != DType::F32
    }

    /// The input in the dtype of the adapter, with dropout applied.
    fn input(&self, x: &Tensor, dropout: Option<&Mask>) -> Result<Tensor> {
        match dropout {
            Some(Mask::Bits(dropout)) => dropout.apply(&x.to_dtype(DType::F32)?),
            Some(Mask::Keyed(dropout)) => dropout.apply(x),
            None => gpu::cast(x, self.a.value().dtype()),
        }
    }
}

/// `sum + product`, in the memory of `sum` where kernels serve it, which nobody else may share.
fn added(sum: Tensor, product: Product<'_>) -> Result<Tensor> {
    let (n, m) = sum.dims2()?;
    if gpu::serves(&sum) {
        return added_on_device(sum, product);
    }
    if !cpu::serves(&sum) || n < least_rows(m) {
        return sum_of_products(Some(&sum), &[product]);
    }
    let mut done = Ok(());
    cpu::modify(&sum, |sum| done = add_product(sum, product))?;
    done.map(|()| sum)
}
