//! Masked diffusion models on any candle device: forward, explicit backward, LoRA, checkpoint files.
//!
//! Training needs no autograd here. The gradient splits in two: the objective turns log-probabilities into their
//! gradients, and [`Decoder::backward`] carries these through the stack, layer by layer, into [`Gradients`].

mod adapted;
mod batch;
mod cache;
mod decoder;
pub mod device;
mod digest;
mod family;
pub mod folder;
mod footprint;
mod frozen;
mod gguf;
mod head;
mod layer;
mod linear;
mod load;
mod lora;
mod merge;
mod names;
pub(crate) mod ops;
mod param;
mod random;
mod room;
mod routing;
mod shape;
mod shards;
mod sight;
pub mod source;
mod stack;
#[cfg(test)]
pub mod testing;
#[cfg(test)]
mod tests;
mod uploaded;
mod weight;
mod weights;
mod window;

pub use batch::{Batch, Pass};
pub use cache::Cache;
pub use decoder::{Decoder, Tape};
pub use digest::{files_digest, weights_digest};
pub use family::Description;
pub use footprint::{Extent, TrainingBytes};
pub use head::{Head, Scored};
pub use load::{Blocks, Weights, write_safetensors};
pub use lora::{ADAPTER_CONFIG, ADAPTER_FILE, AdapterConfig};
pub use merge::Merger;
pub use ops::vocabulary::PART as VOCABULARY_PART;
pub use param::{Gradients, Param};
pub use shape::Shape;
pub use shards::SHARD_BYTES;
pub use sight::{BlockGrid, Sight};
pub use weight::Weight;
pub use weights::WeightFiles;
pub use window::{Place, Predictions, Window};
