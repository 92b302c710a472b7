//! What is trained and how an update is made: the session, the optimiser, and what a checkpoint holds of them.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};
use candle_core::{DType, Tensor};

use crate::config::RunConfig;
use crate::files::is_there;
use crate::model::{ADAPTER_FILE, Gradients, WeightFiles};
use crate::optim::{AdamW, AdamWParams, Schedule, clip};
use crate::report::Row;
use crate::session::Session;

/// Files that make a folder with trained weights a model of its own.
const MODEL_FILES: [&str; 6] = [
    "config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "chat_template.jinja",
    "generation_config.json",
];

/// A session whose model has something to train, and its optimiser.
pub struct Trainer {
    /// Model, tokenizer, task.
    pub session: Session,
    /// AdamW over everything trainable.
    pub optimizer: AdamW,
    schedule: Schedule,
    max_grad_norm: f64,
    base_model: String,
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
        })
    }

    /// Clips, steps, and notes gradient norm and learning rate in `row`; `step` counts updates from 0.
    ///
    /// No gradients at all (every group of completions agreed) are zero gradients: the moments decay, as they would
    /// have if the completions had been run through the model for nothing.
    ///
    /// # Errors
    /// A gradient that is missing or not finite.
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
        for name in MODEL_FILES {
            let from = self.session.model_dir.join(name);
            if is_there(&from).with_context(|| format!("cannot copy {}", from.display()))? {
                std::fs::copy(&from, dir.join(name)).with_context(|| format!("cannot copy {}", from.display()))?;
            }
        }
        self.session.model.save(dir)
    }

    fn trains_all(&self) -> bool {
        self.session.model.params().iter().any(|p| p.is_trainable())
    }

    /// Reads trained weights into the variables.
    ///
    /// # Errors
    /// Names tensors that are missing or mis-shaped.
    pub fn load_weights(&mut self, dir: &Path) -> Result<()> {
        let files =
            if self.trains_all() { WeightFiles::open(dir)? } else { WeightFiles::open_file(&dir.join(ADAPTER_FILE))? };
        let vars = self.session.model.trainable();
        let shapes = vars.iter().map(|(name, var)| (name.clone(), var.dims().to_vec())).collect();
        files.check(&shapes).context("was [lora] or [model] changed since the checkpoint was written?")?;
        for (name, var) in vars {
            var.set(&files.load(&name, var.dtype(), var.device())?)?;
        }
        Ok(())
    }

    /// Reads the optimiser's state, after `step` updates.
    ///
    /// # Errors
    /// Names tensors that are missing or mis-shaped.
    pub fn load_optimizer(&mut self, files: &WeightFiles, step: usize) -> Result<()> {
        let device = self.session.model.device();
        let names: Vec<String> = files.names().map(str::to_owned).collect();
        let state: Result<BTreeMap<String, Tensor>> =
            names.into_iter().map(|n| Ok((n.clone(), files.load(&n, DType::F32, device)?))).collect();
        self.optimizer.load_state(step as u64, state?)?;
        Ok(())
    }
}
