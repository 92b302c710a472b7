//! Named weights and the gradients that are collected for them.

use std::collections::BTreeMap;

use candle_core::{DType, Result, Tensor, Var};

use super::ops::{cpu, gpu};

/// A weight of the model. Trainable ones live in a [`Var`] that the optimiser writes in place;
/// the maths sees `value`, which shares the storage but records no graph.
#[derive(Clone, Debug)]
pub struct Param {
    name: String,
    value: Tensor,
    var: Option<Var>,
}

impl Param {
    /// A weight that never changes and gets no gradient.
    pub fn frozen(name: impl Into<String>, value: Tensor) -> Self {
        Self { name: name.into(), value, var: None }
    }

    /// A weight to train, starting from `value`.
    pub fn trainable(name: impl Into<String>, value: &Tensor) -> Result<Self> {
        let var = Var::from_tensor(value)?;
        Ok(Self { name: name.into(), value: var.as_detached_tensor(), var: Some(var) })
    }

    /// The weight as it is now, never to change; the same storage only if it is frozen already.
    pub fn frozen_copy(&self) -> Result<Self> {
        Ok(match self.var {
            Some(_) => Self::frozen(self.name.clone(), self.value.copy()?),
            None => self.clone(),
        })
    }

    /// The checkpoint's name of the weight.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The current value.
    pub fn value(&self) -> &Tensor {
        &self.value
    }

    /// Bytes it takes.
    pub fn bytes(&self) -> usize {
        self.value.elem_count() * self.value.dtype().size_in_bytes()
    }

    /// The variable behind a trainable weight.
    pub fn var(&self) -> Option<&Var> {
        self.var.as_ref()
    }

    /// Whether gradients are wanted.
    pub fn is_trainable(&self) -> bool {
        self.var.is_some()
    }
}

/// Sums of gradients by parameter name, in f32.
#[derive(Debug, Default)]
pub struct Gradients(BTreeMap<String, Tensor>);

impl Gradients {
    /// Nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds `gradient`, which nobody else may hold, to what is there under `name`, in the same memory.
    pub fn add(&mut self, name: &str, gradient: Tensor) -> Result<()> {
        let gradient = gradient.to_dtype(DType::F32)?.contiguous()?;
        match self.0.get_mut(name) {
            Some(sum) if cpu::serves(sum) => cpu::add_in_place(sum, &gradient)?,
            Some(sum) if gpu::serves(sum) => gpu::add(sum, &gradient)?,
            Some(sum) => *sum = (&*sum + gradient)?,
            None => {
                self.0.insert(name.to_owned(), gradient);
            }
        }
        Ok(())
    }

    /// Adds all of `others`, which nobody else may hold.
    ///
    /// # Errors
    /// Whatever the tensor library reports.
    pub fn append(&mut self, others: Self) -> anyhow::Result<()> {
        others.0.into_iter().try_for_each(|(name, gradient)| Ok(self.add(&name, gradient)?))
    }

    /// All of it, times a factor.
    ///
    /// # Errors
    /// Whatever the tensor library reports.
    pub fn times(self, factor: f64) -> Result<Self> {
        self.0.into_iter().map(|(name, gradient)| Ok((name, (gradient * factor)?))).collect::<Result<_>>().map(Self)
    }

    /// The sums, by name.
    pub fn by_name(&self) -> &BTreeMap<String, Tensor> {
        &self.0
    }

    /// Whether nothing was added.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
