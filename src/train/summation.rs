//! How the gradients of the parts of a step are added up, within a process and over all of them.
//!
//! One sum an update, of one flat buffer with the gradients in the order of their names. It follows the meeting at which
//! the processes tell each other the figures of the update, so that all of them are there.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::ops::Range;

use anyhow::{Context, Result};
use candle_core::{DType, Device, Tensor};

use crate::config::GradientSum;
use crate::model::{Decoder, Gradients};
use crate::world::{Partial, World, partial_sums};

/// Adds up gradients.
#[derive(Clone, Debug, Default)]
pub struct Summation {
    world: World,
    order: GradientSum,
}

/// The sums of one process.
pub enum Own {
    /// Of its whole share.
    Running(Gradients),
    /// Of the largest nodes of the tree in it.
    Tree(Vec<Partial<Gradients>>),
}

impl Summation {
    /// Of the processes of a world, in an order.
    pub fn new(world: &World, order: GradientSum) -> Self {
        Self { world: world.clone(), order }
    }

    /// How many gradients of everything that is trained are held at once, by a process that has `parts` parts.
    pub fn buffers(order: GradientSum, parts: usize, processes: usize) -> usize {
        // the flat buffer and what MPI adds up in, or what is split of it
        let shared = if processes > 1 { 2 } else { 1 };
        match order {
            GradientSum::Running => shared,
            // a sum waits at every level while the next one is made
            GradientSum::Tree => (parts.max(1).next_power_of_two().ilog2() as usize + 1).max(shared),
        }
    }

    /// The bytes that a process sends in an update, for gradients of `bytes`: around a ring, in which every byte is
    /// passed on but for one part; or up and down a tree.
    pub fn traffic(order: GradientSum, bytes: usize, processes: usize) -> f64 {
        let n = processes as f64;
        bytes as f64
            * match order {
                GradientSum::Running => 2.0 * (n - 1.0) / n,
                GradientSum::Tree => 2.0 * n.log2().ceil(),
            }
    }

    /// The processes.
    pub fn world(&self) -> &World {
        &self.world
    }

    /// How many of the smallest pieces of a step make a part that may be computed in one go, where `most` fit into a
    /// micro-batch: a tree needs parts that do not depend on who computes them.
    pub fn part(&self, most: NonZeroUsize) -> usize {
        match self.order {
            GradientSum::Running => 1,
            GradientSum::Tree => most.get(),
        }
    }

    /// Adds up the gradients of this process's share of `parts` parts; `gradient` adds those of some of them.
    ///
    /// # Errors
    /// Those of `gradient`.
    pub fn own(
        &self,
        parts: usize,
        mut gradient: impl FnMut(Range<usize>, &mut Gradients) -> Result<()>,
    ) -> Result<Own> {
        let share = self.world.share(parts);
        match self.order {
            GradientSum::Running => {
                let mut sum = Gradients::new();
                gradient(share, &mut sum)?;
                Ok(Own::Running(sum))
            }
            GradientSum::Tree => {
                let mut leaf = |part: usize| {
                    let mut own = Gradients::new();
                    gradient(part..part + 1, &mut own)?;
                    Ok((!own.is_empty()).then_some(own))
                };
                let mut add = |left: &mut Gradients, right: Gradients| left.append(right);
                Ok(Own::Tree(partial_sums(parts, &share, &mut leaf, &mut add)?))
            }
        }
    }

    /// The sum over all processes, on each of them. `is_there` says which parts have a gradient.
    ///
    /// # Errors
    /// A communication that failed, or whatever the tensor library reports.
    pub fn all(&self, model: &Decoder, parts: usize, own: Own, is_there: &[bool]) -> Result<Gradients> {
        let layout = Layout::of(model);
        match own {
            Own::Running(own) if self.world.is_solo() => Ok(own),
            Own::Running(_) if !is_there.contains(&true) => Ok(Gradients::new()),
            Own::Running(own) => {
                let device = model.device();
                if !device.is_cpu() {
                    let flat = layout.flat_on_device(&own, device)?;
                    if let Some(sum) = self.world.sum_on_device(&flat)? {
                        return layout.split_on_device(&sum);
                    }
                }
                let mut flat = layout.flat(&own)?;
                drop(own);
                self.world.sum(&mut flat)?;
                layout.split(flat, device)
            }
            Own::Tree(mut nodes) if self.world.is_solo() => {
                Ok(nodes.pop().and_then(|root| root.sum).unwrap_or_default())
            }
            Own::Tree(nodes) => {
                let flat = |node: Partial<Gradients>| -> Result<Partial<Vec<f32>>> {
                    Ok(Partial { node: node.node, sum: node.sum.map(|own| layout.flat(&own)).transpose()? })
                };
                let nodes = nodes.into_iter().map(flat).collect::<Result<_>>()?;
                let sum = self.world.sum_tree(parts, nodes, |part| is_there[part], layout.len())?;
                sum.map_or(Ok(Gradients::new()), |flat| layout.split(flat, model.device()))
            }
        }
    }
}

/// The flat buffer: everything that is trained, in the order of names.
struct Layout(BTreeMap<String, Vec<usize>>);

impl Layout {
    fn of(model: &Decoder) -> Self {
        Self(model.trainable().into_iter().map(|(name, var)| (name, var.dims().to_vec())).collect())
    }

    fn len(&self) -> usize {
        self.0.values().map(|shape| shape.iter().product::<usize>()).sum()
    }

    /// What has no gradient is zero.
    fn flat(&self, gradients: &Gradients) -> Result<Vec<f32>> {
        let mut flat = Vec::with_capacity(self.len());
        for (name, shape) in &self.0 {
            match gradients.by_name().get(name) {
                Some(gradient) => flat.extend(gradient.flatten_all()?.to_device(&Device::Cpu)?.to_vec1::<f32>()?),
                None => flat.resize(flat.len() + shape.iter().product::<usize>(), 0.0),
            }
        }
        Ok(flat)
    }

    fn split(&self, flat: Vec<f32>, device: &Device) -> Result<Gradients> {
        let mut rest = &flat[..];
        let mut gradients = Gradients::new();
        for (name, shape) in &self.0 {
            let n = shape.iter().product();
            let (own, after) = rest.split_at_checked(n).context("a sum of gradients is too short")?;
            gradients.add(name, Tensor::from_slice(own, shape.as_slice(), device)?)?;
            rest = after;
        }
        Ok(gradients)
    }

    fn flat_on_device(&self, gradients: &Gradients, device: &Device) -> Result<Tensor> {
        let one = |(name, shape): (&String, &Vec<usize>)| match gradients.by_name().get(name) {
            Some(gradient) => gradient.flatten_all(),
            None => Tensor::zeros(shape.iter().product::<usize>(), DType::F32, device),
        };
        Ok(Tensor::cat(&self.0.iter().map(one).collect::<candle_core::Result<Vec<_>>>()?, 0)?)
    }

    fn split_on_device(&self, flat: &Tensor) -> Result<Gradients> {
        let mut gradients = Gradients::new();
        let mut start = 0;
        for (name, shape) in &self.0 {
            let n = shape.iter().product();
            gradients.add(name, flat.narrow(0, start, n)?.copy()?.reshape(shape.as_slice())?)?;
            start += n;
        }
        Ok(gradients)
    }
}
