//! The completions of a golden step, for objectives with given masks.

use std::num::NonZeroUsize;

use anyhow::{Result, ensure};

use super::golden::Tensors;
use crate::config::{ActivationCheckpointing, Recipe, Scope};
use crate::model::{Decoder, Gradients};
use crate::objective::masking::MaskSample;
use crate::objective::weights::Standing;
use crate::rng::{Key, Purpose};
use crate::signal::Stop;
use crate::train::{MicroBatches, Portion, Prepared, Side, StepLoss, Update, Views};

/// One group of completions.
pub struct Step {
    /// Prompt ids, `[B][P]`.
    pub prompts: Vec<Vec<u32>>,
    /// Canvases, `[B][L]`.
    pub completions: Vec<Vec<u32>>,
    /// Tokens up to and including the first EOS.
    pub lengths: Vec<usize>,
    /// What each earned beside the others.
    pub advantages: Vec<f64>,
}

impl Step {
    /// The completions of a file.
    ///
    /// # Errors
    /// Names a tensor that is missing; tensors that do not belong together.
    pub fn of(tensors: &Tensors, advantages: Vec<f64>) -> Result<Self> {
        let (prompts, completions) = (tensors.ids("prompt_ids")?, tensors.ids("completion_ids")?);
        let real = |row: &Vec<u32>| row.iter().filter(|&&m| m == 1).count();
        let lengths: Vec<usize> = tensors.ids("completion_mask")?.iter().map(real).collect();
        let n = completions.len();
        ensure!(
            prompts.len() == n && lengths.len() == n && advantages.len() == n,
            "prompts, completions, masks and advantages are not of as many completions"
        );
        Ok(Self { prompts, completions, lengths, advantages })
    }

    /// A mask over prompt and completion.
    pub fn sample(&self, c: usize, masked: Vec<bool>, weight: f64) -> MaskSample {
        MaskSample::given(masked, self.prompts[c].len(), self.lengths[c], weight)
    }

    /// A completion under masks; its log-likelihood is a sum over `length` tokens.
    pub fn views(&self, model: &Decoder, c: usize, samples: &[MaskSample], length: usize) -> Views {
        let mask_id = model.ids().mask;
        let (dropout, parts) = (|_| Key::new(0, Purpose::Dropout), std::iter::once(0..length).collect());
        Views::of(&self.prompts[c], &self.completions[c], mask_id, samples, Scope::AllMasked, parts, dropout)
    }

    /// Loss and adapter gradients, `micro_batch` completions at a time.
    ///
    /// # Errors
    /// If the maths fails.
    pub fn gradients_by(
        &self,
        micro_batch: NonZeroUsize,
        model: &Decoder,
        recipe: &Recipe,
        prepare: impl Fn(usize) -> Prepared,
    ) -> Result<(StepLoss, Gradients)> {
        let standing = |(&advantage, &len)| Standing { group: 0, advantage, len };
        let step: Vec<Standing> = self.advantages.iter().zip(&self.lengths).map(standing).collect();
        let passes = MicroBatches { size: micro_batch, checkpointing: ActivationCheckpointing::Off };
        let mut gradients = Gradients::new();
        let (update, stop, all) = (Update::new(recipe, passes), Stop::default(), 0..step.len());
        let (emphases, _) = update.emphases(&step, &update.moved(model, &step, all.clone(), &prepare, &stop)?);
        let portion = Portion { places: all, side: Side::All, emphases: &emphases };
        let found = update.gradients(model, &step, portion, &prepare, &mut gradients, &stop)?;
        Ok((found, gradients))
    }

    /// Loss and adapter gradients, all completions at once.
    ///
    /// # Errors
    /// If the maths fails.
    pub fn gradients(
        &self,
        model: &Decoder,
        recipe: &Recipe,
        prepare: impl Fn(usize) -> Prepared,
    ) -> Result<(StepLoss, Gradients)> {
        let all = NonZeroUsize::new(self.lengths.len()).unwrap_or(NonZeroUsize::MIN);
        self.gradients_by(all, model, recipe, prepare)
    }
}
