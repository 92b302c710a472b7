//! Names of precisions, block formats and checkpoints on the command line.

use clap::ValueEnum;
use spg::config::{BlockFormat, Precision, Which};

/// `--dtype`
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum PrecisionName {
    F32,
    Bf16,
    F16,
}

impl From<PrecisionName> for Precision {
    fn from(name: PrecisionName) -> Self {
        match name {
            PrecisionName::F32 => Self::F32,
            PrecisionName::Bf16 => Self::Bf16,
            PrecisionName::F16 => Self::F16,
        }
    }
}

/// `--quantize`
#[derive(Clone, Copy, Debug, ValueEnum)]
#[value(rename_all = "lower")]
pub enum FormatName {
    #[value(name = "q8_0")]
    Q8_0,
    Q6K,
    Q4K,
}

impl From<FormatName> for BlockFormat {
    fn from(name: FormatName) -> Self {
        match name {
            FormatName::Q8_0 => Self::Q8_0,
            FormatName::Q6K => Self::Q6K,
            FormatName::Q4K => Self::Q4K,
        }
    }
}

/// `--which`
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum WhichName {
    Best,
    Last,
}

impl From<WhichName> for Which {
    fn from(name: WhichName) -> Self {
        match name {
            WhichName::Best => Self::Best,
            WhichName::Last => Self::Last,
        }
    }
}
