//! What is trained and how an update is made: the session, the optimiser, and what a checkpoint holds of them.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use candle_core::{DType, Device, Tensor};
use sha2::{Digest as _, Sha256};

use super::policy::keeps_snapshot;
use crate::config::RunConfig;
use crate::files::hex;
use crate::model::{ADAPTER_FILE, Gradients, WeightFiles, folder};
use crate::optim::{AdamW, AdamWParams, Schedule, clip, is_finite};
use crate::report::Row;
use crate::session::Session;

/// A session whose model has something to train, and its optimiser.
pub struct Trainer {
    /// Model, tokenizer, task.
    pub session: Session,
    /// AdamW over everything trainable.
    pub optimizer: AdamW,
    schedule: Schedule,
    max_grad_norm: f64,
    base_model: String,
    updates_per_phase: usize,
    keeps_snapshot: bool,
    snapshot: Option<Snapshot>,
}

/// What is trained and its optimiser's state at the beginning of a phase, in main memory: what is left if the phase is
/// dropped half-way, or turns out to have broken the weights.
struct Snapshot {
    step: usize,
    weights: BTreeMap<String, Tensor>,
    optimizer: BTreeMap<String, Tensor>,
}

impl Trainer {
    /// An optimiser over the session's trainable weights.
    ///
    /// # Errors
    /// If there are none.
    pub fn new(config: &RunConfig, session: Session) -> Result<Self> {
        let table = config.train();
        let optimizer = AdamW::new(session.model.trainable(), AdamWParams::from(table))?;
        Ok(Self {
            session,
            optimizer,
            schedule: Schedule::new(table),
            max_grad_norm: table.max_grad_norm.get(),
            base_model: config.model().name_or_path.clone(),
            updates_per_phase: config.updates_per_phase(),
            keeps_snapshot: keeps_snapshot(config),
            snapshot: None,
        })
    }

    /// Clips, steps, and notes gradient norm and learning rate in `row`; `step` counts updates from 0.
    ///
    /// No gradients at all (every group of completions agreed) are zero gradients: the moments decay, as they would
    /// have if the completions had been run through the model for nothing.
    ///
    /// The state that the first update of a phase starts from is kept, once its gradients are known to be numbers, if any
    /// is ([`keeps_snapshot`]).
    ///
    /// # Errors
    /// A gradient that is missing or not finite, and an update to weights that are not; then nothing has changed.
    pub fn update(&mut self, step: usize, gradients: &Gradients, row: &mut Row) -> Result<()> {
        let zeros: BTreeMap<String, Tensor>;
        let gradients = if gradients.is_empty() {
            let vars = self.session.model.trainable().into_iter();
            zeros = vars
                .map(|(name, v)| Ok((name, v.zeros_like()?.to_dtype(DType::F32)?.detach())))
                .collect::<Result<_>>()?;
            &zeros
        } else {
            gradients.by_name()
        };
        let clip = clip(gradients, self.max_grad_norm)?;
        if step.is_multiple_of(self.updates_per_phase) && self.keeps_snapshot {
            // one at a time: the old one goes before the new one is made
            self.snapshot = None;
            self.snapshot = Some(self.take_snapshot(step)?);
        }
        let lr = self.schedule.learning_rate(step);
        self.optimizer.step(gradients, lr, clip.scale)?;
        row.set("grad_norm", clip.norm).set("learning_rate", lr);
        Ok(())
    }

    /// Writes the trained weights: a PEFT folder, or a model folder with config and tokenizer.
    ///
    /// # Errors
    /// Names the file.
    pub fn save_weights(&self, dir: &Path) -> Result<()> {
        if !self.trains_all() {
            return self.session.model.save_adapter(dir, &self.base_model, self.session.model_commit.as_deref());
        }
        folder::complete(&self.session.model_dir, dir)?;
        self.session.model.save(dir)
    }

    fn take_snapshot(&self, step: usize) -> Result<Snapshot> {
        let weights = self.session.model.trainable().into_iter().map(|(name, var)| (name, var.as_detached_tensor()));
        let copied = |(name, tensor): (String, Tensor)| -> Result<(String, Tensor)> {
            Ok((name, if tensor.device().is_cpu() { tensor.copy()? } else { tensor.to_device(&Device::Cpu)? }))
        };
        Ok(Snapshot {
            step,
            weights: weights.map(copied).collect::<Result<_>>()?,
            optimizer: self.optimizer.state_tensors()?.into_iter().map(copied).collect::<Result<_>>()?,
        })
    }

    /// Goes back to the beginning of the last phase whose updates were begun, and returns its step; nothing if none was,
    /// or no copy is kept.
    ///
    /// # Errors
    /// Whatever the tensor library reports.
    pub fn rewind(&mut self) -> Result<Option<usize>> {
        let Some(Snapshot { step, weights, optimizer }) = self.snapshot.take() else { return Ok(None) };
        for (name, var) in self.session.model.trainable() {
            let saved = weights.get(&name).with_context(|| format!("{name} was not kept"))?;
            var.set(&saved.to_device(var.device())?)?;
        }
        self.optimizer.load_state(step as u64, optimizer)?;
        Ok(Some(step))
    }

    /// Updates made, those of a phase that is not over included.
    pub fn step(&self) -> usize {
        self.optimizer.step_count() as usize
    }

    /// Folder or hub id of the base model.
    pub fn base_model(&self) -> &str {
        &self.base_model
    }

    /// Whether all weights of the model are trained, and not adapters.
    pub fn trains_all(&self) -> bool {
        self.session.model.params().iter().any(|p| p.is_trainable())
    }

    /// Reads trained weights into the variables.
    ///
    /// # Errors
    /// Names tensors that are missing, mis-shaped or not finite.
    pub fn load_weights(&mut self, dir: &Path) -> Result<()> {
        let files =
            if self.trains_all() { WeightFiles::open(dir)? } else { WeightFiles::open_file(&dir.join(ADAPTER_FILE))? };
        let vars = self.session.model.trainable();
        let shapes = vars.iter().map(|(name, var)| (name.clone(), var.dims().to_vec())).collect();
        files.check(&shapes).context("was [lora] or [model] changed since the checkpoint was written?")?;
        for (name, var) in vars {
            let weights = files.load(&name, var.dtype(), var.device())?;
            ensure!(is_finite(&weights)?, "{name} in {} is infinite or not a number", dir.display());
            var.set(&weights)?;
        }
        Ok(())
    }

    /// Takes over the first process's weights and optimiser's state, after `step` updates.
    ///
    /// # Errors
    /// A communication that failed, or whatever the tensor library reports.
    pub fn follow_first(&mut self, step: usize) -> Result<()> {
        let world = self.session.world.clone();
        if world.is_solo() {
            return Ok(());
        }
        let told = |tensor: &Tensor| -> Result<Tensor> {
            // wider numbers than f32 are none of what is trained
            let mut values = tensor.flatten_all()?.to_dtype(DType::F32)?.to_device(&Device::Cpu)?.to_vec1::<f32>()?;
            world.broadcast(&mut values)?;
            Ok(Tensor::from_vec(values, tensor.dims(), tensor.device())?.to_dtype(tensor.dtype())?)
        };
        for var in self.session.model.trainable().values() {
            var.set(&told(var)?)?;
        }
        let state = self.optimizer.state_tensors()?;
        let state = state.into_iter().map(|(name, tensor)| Ok((name, told(&tensor)?))).collect::<Result<_>>()?;
        self.optimizer.load_state(step as u64, state)?;
        Ok(())
    }

    /// A digest of what is trained: the same in all processes, or something is wrong.
    ///
    /// # Errors
    /// Whatever the tensor library reports.
    pub fn digest(&self) -> Result<String> {
        let mut digest = Sha256::new();
        for var in self.session.model.trainable().values() {
            let values = var.flatten_all()?.to_dtype(DType::F32)?.to_device(&Device::Cpu)?.to_vec1::<f32>()?;
            values.iter().for_each(|value| digest.update(value.to_le_bytes()));
        }
        Ok(hex(&digest.finalize()))
    }

    /// Reads the optimiser's state, after `step` updates.
    ///
    /// # Errors
    /// Names tensors that are missing, mis-shaped or not finite.
    pub fn load_optimizer(&mut self, files: &WeightFiles, step: usize) -> Result<()> {
        let device = self.session.model.device();
        let names: Vec<String> = files.names().map(str::to_owned).collect();
        let load = |name: String| -> Result<(String, Tensor)> {
            let tensor = files.load(&name, DType::F32, device)?;
            ensure!(is_finite(&tensor)?, "{name} of the optimiser's state is infinite or not a number");
            Ok((name, tensor))
        };
        let state: Result<BTreeMap<String, Tensor>> = names.into_iter().map(load).collect();
        self.optimizer.load_state(step as u64, state?)?;
        Ok(())
    }
}
