//! The arguments of `spg bench`.

use std::num::NonZeroUsize;

use clap::{Args, ValueEnum};
use spg::config::{
    ActivationCheckpointing, BenchModel, BenchRequest, CacheKind, DeviceSpec, LoraTable, ModelFacts, ProperFraction,
    PublishedShape,
};

use super::formats::{FormatName, PrecisionName};

/// Updates that are timed if nothing is asked for.
const UPDATES: usize = 3;

/// Arguments of `spg bench`.
#[derive(Debug, Args)]
pub struct BenchArgs {
    /// A folder in Hugging Face layout, or a hub id
    #[arg(long, value_name = "DIR", required_unless_present = "shape", conflicts_with = "shape")]
    model: Option<String>,
    /// Instead of a folder: a published model's sizes, with random weights
    #[arg(long, value_enum, value_name = "SHAPE")]
    shape: Option<ShapeName>,
    /// Completions decoded together, and completions of an update
    #[arg(long, default_value = "2", value_name = "N")]
    batch: NonZeroUsize,
    /// Tokens of a prompt
    #[arg(long, default_value = "64", value_name = "N")]
    prompt: NonZeroUsize,
    /// Tokens of a completion
    #[arg(long = "gen", default_value = "64", value_name = "N")]
    gen_length: NonZeroUsize,
    /// Denoising steps of a completion
    #[arg(long, default_value = "32", value_name = "N")]
    steps: NonZeroUsize,
    /// Tokens of a block that is decoded
    #[arg(long, default_value = "32", value_name = "N")]
    block: NonZeroUsize,
    /// The id of the mask, where DIR does not say it: model.mask_token_id of configurations
    #[arg(long, conflicts_with = "shape", value_name = "ID")]
    mask_token_id: Option<u32>,
    /// The ids that end a completion, where DIR does not say them: model.end_token_ids of configurations
    #[arg(long, conflicts_with = "shape", value_delimiter = ',', value_name = "IDS")]
    end_token_ids: Option<Vec<u32>>,
    /// Tokens of a block of a block-causal model, where DIR does not say them: model.block_size of configurations
    #[arg(long, conflicts_with = "shape", value_name = "N")]
    block_size: Option<NonZeroUsize>,
    /// What a step reuses of earlier ones, instead of encoding the whole canvas
    #[arg(long, value_enum, default_value_t = CacheName::None, value_name = "CACHE")]
    cache: CacheName,
    /// Rank of the adapters
    #[arg(long, default_value = "128", value_name = "N")]
    rank: NonZeroUsize,
    /// Dropout on the adapters' inputs in updates, from 0 to below 1
    #[arg(long, default_value_t = LoraTable::default().lora_dropout, value_name = "P")]
    dropout: ProperFraction,
    /// Working precision of the frozen weights and activations
    #[arg(long, value_enum, default_value_t = PrecisionName::F32, value_name = "DTYPE")]
    dtype: PrecisionName,
    /// Quantise the frozen weights
    #[arg(long, value_enum, value_name = "FORMAT")]
    quantize: Option<FormatName>,
    /// auto, cpu, cuda, cuda:N or metal
    #[arg(long, default_value_t = DeviceSpec::Auto, value_name = "DEVICE")]
    device: DeviceSpec,
    /// Give the model random weights: DIR needs no more than config.json
    #[arg(long, conflicts_with = "shape")]
    random_init: bool,
    /// Decode with the adapters added to copies of their weights, as rollout.merge_adapters does; adding them is timed
    #[arg(long, conflicts_with = "quantize")]
    merge_adapters: bool,
    /// Time a rollout; without --rollout and --train, both are timed
    #[arg(long)]
    rollout: bool,
    /// Time N optimiser updates, each on two masks a completion
    #[arg(long, value_name = "N")]
    train: Option<usize>,
    /// off, every-layer or N: keep the input of every N-th layer and run the layers again in the backward pass
    #[arg(long, default_value_t = ActivationCheckpointing::Off, value_name = "WHICH")]
    activation_checkpointing: ActivationCheckpointing,
    /// Print JSON instead of text
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum ShapeName {
    /// LLaDA-8B: 32 layers of width 4096, 8.0 billion weights
    #[value(name = "llada-8b")]
    Llada8b,
    /// Qwen3-0.6B made bidirectional: 28 layers of width 1024, 0.6 billion weights
    #[value(name = "a2d-0.6b")]
    A2d06b,
    /// LLaDA-MoE-7B-A1B: 16 layers of width 2048 with 64 experts, 7.4 billion weights
    #[value(name = "llada-moe-7b")]
    LladaMoe7b,
    /// LLaDA2.0-mini: 20 layers of width 2048, 19 of them with 256 experts, 16 billion weights
    #[value(name = "llada2-mini")]
    Llada2Mini,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum CacheName {
    /// Nothing: every step encodes the canvas
    None,
    /// Keys and values of everything before the block, from its first step: an approximation
    Prefix,
    /// Keys and values of everything but the block, from its first step: an approximation
    Dual,
    /// Keys and values of the blocks before it, exactly: of block-causal models
    Blocks,
}

impl From<ShapeName> for PublishedShape {
    fn from(name: ShapeName) -> Self {
        match name {
            ShapeName::Llada8b => Self::Llada8b,
            ShapeName::A2d06b => Self::A2d06b,
            ShapeName::LladaMoe7b => Self::LladaMoe7b,
            ShapeName::Llada2Mini => Self::Llada2Mini,
        }
    }
}

impl BenchArgs {
    /// The request to the library.
    pub fn request(self) -> BenchRequest {
        let both = !self.rollout && self.train.is_none();
        // without a shape there is a model: the parser asks for it
        let name = self.model.unwrap_or_default();
        let facts = ModelFacts {
            mask_token_id: self.mask_token_id,
            end_token_ids: self.end_token_ids,
            block_size: self.block_size,
        };
        BenchRequest {
            model: match (self.shape, self.random_init) {
                (Some(shape), _) => BenchModel::Shape(shape.into()),
                (None, true) => BenchModel::Random(name, facts),
                (None, false) => BenchModel::Checkpoint(name, facts),
            },
            batch: self.batch,
            prompt: self.prompt,
            gen_length: self.gen_length,
            steps: self.steps,
            block: self.block,
            cache: match self.cache {
                CacheName::None => CacheKind::None,
                CacheName::Prefix => CacheKind::Prefix,
                CacheName::Dual => CacheKind::Dual,
                CacheName::Blocks => CacheKind::Blocks,
            },
            rank: self.rank,
            dropout: self.dropout,
            dtype: self.dtype.into(),
            quantize: self.quantize.map(Into::into),
            merge_adapters: self.merge_adapters,
            device: self.device,
            rollout: self.rollout || both,
            activation_checkpointing: self.activation_checkpointing,
            train: self.train.unwrap_or(if both { UPDATES } else { 0 }),
            json: self.json,
        }
    }
}
