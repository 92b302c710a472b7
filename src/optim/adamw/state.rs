//! Saving and restoring the optimiser's state.

use candle_core::{DType, Tensor};

use super::{AdamW, Slot};
use crate::optim::{Named, OptimError, Result};

const EXP_AVG: &str = "exp_avg";
const EXP_AVG_SQ: &str = "exp_avg_sq";
const MASTER: &str = "master";

impl Slot {
    fn tensors(&self) -> impl Iterator<Item = (&'static str, &Tensor)> {
        let master = self.master.iter().map(|master| (MASTER, master));
        [(EXP_AVG, &self.exp_avg), (EXP_AVG_SQ, &self.exp_avg_sq)].into_iter().chain(master)
    }
}

impl AdamW {
    /// The state as f32 tensors `<name>.exp_avg`, `<name>.exp_avg_sq` and, for a parameter that is not f32,
    /// `<name>.master`. They share the optimiser's memory, so that saving it needs none: the next step changes them.
    /// [`AdamW::step_count`] belongs to it.
    ///
    /// # Errors
    /// Whatever the tensor library reports.
    pub fn state_tensors(&self) -> Result<Named> {
        let tensors = self.slots.iter().flat_map(|(name, slot)| slot.tensors().map(move |part| (name, part)));
        tensors.map(|(name, (part, tensor))| Ok((format!("{name}.{part}"), tensor.detach()))).collect()
    }

    /// Restores what [`AdamW::state_tensors`] and [`AdamW::step_count`] gave. Parameters with a master copy are set
    /// to its rounding; f32 parameters are the caller's to restore. The tensors are taken over, not copied, and steps
    /// write into them: nobody else may hold them.
    ///
    /// # Errors
    /// [`OptimError::BadState`] lists every missing, extra and mis-shaped tensor; then nothing has changed.
    pub fn load_state(&mut self, step: u64, mut state: Named) -> Result<()> {
        self.check_state(&state)?;
        for (name, slot) in &mut self.slots {
            let device = slot.var.device();
            let mut load = |part: &str| -> Result<Tensor> {
                let key = format!("{name}.{part}");
                let tensor =
                    state.remove(&key).ok_or_else(|| OptimError::BadState(vec![format!("missing `{key}`")]))?;
                Ok(tensor.to_device(device)?.contiguous()?.detach())
            };
            let (exp_avg, exp_avg_sq) = (load(EXP_AVG)?, load(EXP_AVG_SQ)?);
            let master = slot.master.is_some().then(|| load(MASTER)).transpose()?;
            if let Some(master) = &master {
                slot.var.set(&master.to_dtype(slot.var.dtype())?)?;
            }
            (slot.exp_avg, slot.exp_avg_sq, slot.master) = (exp_avg, exp_avg_sq, master);
        }
        self.step = step;
        Ok(())
    }

    fn check_state(&self, state: &Named) -> Result<()> {
        let mut expected = std::collections::BTreeSet::new();
        let mut problems = Vec::new();
        for (name, slot) in &self.slots {
            for (part, own) in slot.tensors() {
                let key = format!("{name}.{part}");
                match state.get(&key) {
                    None => problems.push(format!("missing `{key}`")),
                    Some(saved) if saved.shape() != own.shape() || saved.dtype() != DType::F32 => {
                        let (is, shape) = (saved.dtype(), saved.dims());
                        problems.push(format!("`{key}` is {is:?} {shape:?}, expected F32 {:?}", own.dims()));
                    }
                    Some(_) => {}
                }
                expected.insert(key);
            }
        }
        problems.extend(state.keys().filter(|key| !expected.contains(*key)).map(|key| format!("extra `{key}`")));
        if problems.is_empty() { Ok(()) } else { Err(OptimError::BadState(problems)) }
    }
}
