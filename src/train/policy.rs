//! What a run trains, adapters or all weights, and the reference that a penalty for moving away is measured from.

use anyhow::Result;

use super::adapters;
use crate::config::{Command, RunConfig, Trainable};
use crate::model::{Decoder, Weights};
use crate::session::{Origin, Session};
use crate::world::World;

/// Opens a run's session with what `train.trainable` says to train in its model.
///
/// # Errors
/// Those of [`Session::open`]; adapters that do not fit.
pub fn open(config: &RunConfig, world: &World) -> Result<Session> {
    let origin = match (config.model().random_init, config.train().trainable) {
        (true, _) => Origin::Random(config.run().seed),
        (false, Trainable::All) => Origin::Checkpoint(Weights::Trainable),
        (false, Trainable::Adapters) => Origin::Checkpoint(Weights::Frozen),
    };
    let mut session = Session::open(config, origin, world)?;
    if let Some(lora) = config.lora() {
        adapters::attach(config, lora, &mut session)?;
    }
    Ok(session)
}

/// The base model, for objectives that make the policy pay for leaving it: with adapters to start from (`lora.init_from`)
/// that is not the policy that a run begins with.
#[derive(Debug)]
pub enum Reference {
    /// The trained model without its adapters.
    Off,
    /// A copy, as no weight of the trained model stays what it was.
    Kept(Box<Decoder>),
}

impl Reference {
    /// The reference of a run whose model is still the base model: no checkpoint has been read into it yet.
    ///
    /// # Errors
    /// A device without memory left.
    pub fn of(config: &RunConfig, model: &Decoder) -> Result<Self> {
        Ok(match keeps_base(config) {
            true => Self::Kept(Box::new(model.frozen_copy()?)),
            false => Self::Off,
        })
    }

    /// The model that, without adapters, is the reference.
    pub fn model<'a>(&'a self, trained: &'a Decoder) -> &'a Decoder {
        match self {
            Self::Off => trained,
            Self::Kept(base) => base,
        }
    }
}

/// Whether the state from which a phase starts is kept until it is over. All weights are a large copy: only if a phase has
/// several updates, in the middle of which it may have to be dropped.
pub fn keeps_snapshot(config: &RunConfig) -> bool {
    config.train().trainable == Trainable::Adapters || config.updates_per_phase() > 1
}

/// Whether a run keeps a copy of the base model: where all weights are trained, and leaving it costs something.
pub fn keeps_base(config: &RunConfig) -> bool {
    let pays = |algorithm: &crate::config::AlgorithmTable| algorithm.recipe().link.kl.is_some();
    config.command() == Command::Train
        && config.train().trainable == Trainable::All
        && config.algorithm().is_ok_and(pays)
}
