//! Layers of equal shape that have the same input, with their weights one after the other in an accelerator's memory: one
//! product serves them all, and leaves less of the machine idle than one for each.

use candle_core::{Result, Tensor, TensorId};

use super::batch::Span;
use super::linear::{Linear, Projected};
use super::ops::gpu::{self, Operand};
use super::param::Param;
use super::weight::Weight;

/// The weights of some layers.
#[derive(Clone, Debug)]
pub struct Stack {
    all: Tensor, // [layers, out, in]
    /// The views of them that the layers have.
    views: Vec<TensorId>,
}

impl Stack {
    /// Moves the weights of the last of these layers, as many as have one shape, into one buffer of which they become views;
    /// nothing where that is of no use: on the CPU, or for weights that are trained or in blocks.
    pub fn of(linears: &mut [&mut Linear]) -> Result<Option<Self>> {
        let frozen = |linear: &Linear| {
            let param = linear.weight.dense().filter(|param| !param.is_trainable())?;
            let value = param.value();
            (gpu::shares_operands(value.device()) && value.is_contiguous()).then(|| value.clone())
        };
        let Some(last) = linears.last().and_then(|linear| frozen(linear)) else { return Ok(None) };
        let alike = |linear: &Linear| frozen(linear).filter(|value| value.dims() == last.dims());
        let mut values: Vec<Tensor> = linears.iter().rev().map_while(|linear| alike(linear)).collect();
        values.reverse();
        if values.len() < 2 {
            return Ok(None);
        }
        let all = Tensor::stack(&values, 0)?;
        let (mut views, first) = (Vec::new(), linears.len() - values.len());
        drop(values);
        for (i, linear) in linears[first..].iter_mut().enumerate() {
            let view = all.get(i)?;
            views.push(view.id());
            linear.weight = Weight::Dense(Param::frozen(linear.weight.name(), view));
        }
        Ok(Some(Self { all, views }))
    }

    /// The weights of these layers, if they are still the ones that lie here.
    fn find(&self, linears: &[&Linear]) -> Result<Option<Tensor>> {
        let ids: Option<Vec<TensorId>> = linears.iter().map(|l| Some(l.weight.dense()?.value().id())).collect();
        let Some(ids) = ids.filter(|ids| ids.len() > 1) else { return Ok(None) };
        let start = self.views.windows(ids.len()).position(|views| views == ids);
        start.map(|start| self.all.narrow(0, start, ids.len())).transpose()
    }
}

/// What layers make of one input, as [`Linear::forward`] does: those at the end that are stacked by one product.
///
/// # Shapes
/// `x` `[N, in]`; returns `[N, out]` of each layer, and the projection to keep.
pub fn forward_all<const N: usize>(
    stack: Option<&Stack>,
    linears: [&Linear; N],
    x: &Tensor,
    span: &Span<'_>,
) -> Result<[(Tensor, Projected); N]> {
    let mut bases: [Option<Tensor>; N] = std::array::from_fn(|_| None);
    for start in 0..N {
        let found = stack.map(|stack| stack.find(&linears[start..])).transpose()?.flatten();
        if let Some(weights) = found {
            let products = gpu::product(None, Operand::plain(x), Operand::transposed(&weights), 1.0, x.dtype(), false)?;
            for (i, base) in bases[start..].iter_mut().enumerate() {
                *base = Some(products.get(i)?); // [N, out]
            }
            break;
        }
    }
    let mut done = Vec::with_capacity(N);
    for (linear, base) in linears.into_iter().zip(bases) {
        done.push(match base {
            Some(base) => linear.forward_beside(base, x, span)?,
            None => linear.forward(None, x, span)?,
        });
    }
    done.try_into().map_err(|_| candle_core::Error::Msg("a layer has made nothing".into()))
}
