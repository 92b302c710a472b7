//! The closed choices and bounded numbers of a configuration.
//!
//! Ranges are checked while parsing, so that an error points at the value in the file.

use std::num::NonZeroUsize;

use serde::{Deserialize, Serialize};

/// A number with a range; the range is part of the type so that parsing a bad value fails at its place.
macro_rules! bounded {
    ($(#[$doc:meta])* $name:ident, $text:literal, $ok:expr) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, PartialOrd, Serialize, Deserialize)]
        #[serde(try_from = "f64", into = "f64")]
        pub struct $name(f64);

        impl $name {
            /// The number.
            pub fn get(self) -> f64 {
                self.0
            }
        }

        impl TryFrom<f64> for $name {
            type Error = String;
            fn try_from(value: f64) -> Result<Self, String> {
                let ok: fn(f64) -> bool = $ok;
                if ok(value) { Ok(Self(value)) } else { Err(format!("{value} is out of range: expected {}", $text)) }
            }
        }

        impl From<$name> for f64 {
            fn from(value: $name) -> f64 {
                value.0
            }
        }

        impl std::str::FromStr for $name {
            type Err = String;
            fn from_str(text: &str) -> Result<Self, String> {
                text.parse::<f64>().map_err(|_| concat!("expected ", $text).to_owned())?.try_into()
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

bounded!(
    /// A number in `[0, 1]`.
    Fraction, "a number from 0 to 1", |x| (0.0..=1.0).contains(&x)
);

impl Fraction {
    /// Nothing.
    pub const ZERO: Self = Self(0.0);
    /// All.
    pub const ONE: Self = Self(1.0);
}

bounded!(
    /// A number in `[0, 1)`.
    ProperFraction, "a number from 0 to below 1", |x| (0.0..1.0).contains(&x)
);
bounded!(
    /// A finite number above zero.
    Positive, "a finite number above 0", |x| x > 0.0 && x.is_finite()
);
bounded!(
    /// A finite number, zero or above.
    NonNegative, "a finite number, 0 or above", |x| x >= 0.0 && x.is_finite()
);
bounded!(
    /// A weight of a reward, whose sums stay finite.
    Weight, "a number from -1e6 to 1e6", |x| x.abs() <= 1e6
);
bounded!(
    /// A reward that a completion can have.
    RewardValue, "a number from -1e9 to 1e9", |x| x.abs() <= super::LARGEST_REWARD
);
bounded!(
    /// A Rényi order: finite and at least one.
    RenyiOrder, "a finite number, 1 or above", |x| x >= 1.0 && x.is_finite()
);

/// A benchmark whose completions can be graded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Benchmark {
    /// Word problems; the answer is a number.
    Gsm8k,
    /// Competition problems; the answer is a LaTeX text.
    Math,
    /// Reach a target with some numbers.
    Countdown,
    /// 4x4 Sudoku, graded by the cell.
    Sudoku,
}

/// A part of a task's records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Split {
    /// What a run learns from.
    Train,
    /// What a run is watched on and checkpoints are compared on.
    #[default]
    Validation,
    /// What final figures are taken on, once.
    Test,
}

impl Split {
    /// All splits.
    pub const ALL: [Self; 3] = [Self::Train, Self::Validation, Self::Test];

    /// The name in a configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Validation => "validation",
            Self::Test => "test",
        }
    }
}

/// A built-in function that a completion can be rewarded by in training.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RewardFunction {
    /// Tags that stand exactly once, less what follows them.
    Xmlcount,
    /// The text begins with the two blocks, each on one line.
    SoftFormat,
    /// The text is the two blocks, one line each, and nothing more.
    StrictFormat,
    /// The answer is digits only.
    Int,
    /// The answer is the reference answer, letter by letter.
    Correctness,
    /// The last box is equivalent to the reference answer.
    MathCorrectness,
    /// There is an answer block, and a box in it.
    MathFormat,
    /// The answer is an expression that reaches the target.
    Countdown,
    /// The fraction of a Sudoku's empty cells that are right.
    Sudoku,
}

impl RewardFunction {
    /// The name in a configuration and in the metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Xmlcount => "xmlcount",
            Self::SoftFormat => "soft_format",
            Self::StrictFormat => "strict_format",
            Self::Int => "int",
            Self::Correctness => "correctness",
            Self::MathCorrectness => "math_correctness",
            Self::MathFormat => "math_format",
            Self::Countdown => "countdown",
            Self::Sudoku => "sudoku",
        }
    }
}

/// How the tokens to commit are chosen within a block.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Remasking {
    /// Commit the candidates with the highest probability.
    #[default]
    LowConfidence,
    /// Commit uniformly random positions.
    Random,
    /// Commit the candidates where the most probable token is furthest ahead of the second.
    Margin,
    /// Commit the candidates whose distribution has the least entropy.
    NegEntropy,
}

impl Remasking {
    /// The value as it is written in a file.
    pub fn name(self) -> &'static str {
        match self {
            Self::LowConfidence => "low_confidence",
            Self::Random => "random",
            Self::Margin => "margin",
            Self::NegEntropy => "neg_entropy",
        }
    }

    /// Whether the choice depends on the logits alone: with greedy tokens every completion of a prompt is the same.
    pub fn is_deterministic(self) -> bool {
        self != Self::Random
    }
}

/// The order in which an evaluation fills a canvas.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// Block after block, from left to right.
    #[default]
    Block,
    /// One block: the whole canvas.
    Canvas,
}

impl Order {
    /// The value as it is written in a file.
    pub fn name(self) -> &'static str {
        match self {
            Self::Block => "block",
            Self::Canvas => "canvas",
        }
    }
}

/// How completions are masked to estimate their likelihood (arXiv 2510.09541, "block-wise masking").
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ForwardType {
    /// A random block partly masked, everything after it masked.
    #[default]
    BlockRandom,
    /// A random block and everything after it masked.
    BlockAll,
    /// Random tokens of the whole completion masked.
    Random,
    /// Every completion token masked.
    All,
    /// Of block-causal models: random tokens of every block masked, each block predicted from its own clean past.
    EveryBlock,
}

/// The surrogate pushed down for completions with a negative advantage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NegativeEstimator {
    /// `mix_weight * EUBO + (1 - mix_weight) * ELBO`.
    #[default]
    Mix,
    /// The Rényi upper bound alone.
    Eubo,
    /// The lower bound, as for positive advantages.
    Elbo,
    /// Nothing: negative completions are ignored.
    Zero,
}

/// Which masked tokens a bound scores.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// All masked tokens up to the end of the completion (the released code).
    #[default]
    AllMasked,
    /// Only the masked tokens of the chosen block (the paper's text).
    Block,
}

/// Learning-rate schedule after the warm-up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LrSchedulerType {
    /// The full rate throughout.
    #[default]
    Constant,
    /// Straight down, to zero right after the last update.
    Linear,
    /// Half a cosine down, to zero right after the last update.
    Cosine,
}

/// Which linear layers get adapters: a preset or a list of names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "RawTargets")]
#[serde(untagged)]
pub enum TargetModules {
    /// A named preset.
    Preset(TargetPreset),
    /// Leaf names of linear layers, such as `q_proj`; not empty, no name twice.
    Names(Vec<String>),
}

/// Presets of [`TargetModules`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TargetPreset {
    /// What the published target list matches in LLaDA: q, k, v and up projections.
    Paper,
    /// All linears of a block that can have adapters.
    AllLinear,
}

/// What a user may write for [`TargetModules`], before the names are looked at.
#[derive(Deserialize)]
#[serde(untagged, expecting = "expected \"paper\", \"all-linear\" or a list of layer names such as [\"q_proj\"]")]
enum RawTargets {
    One(String),
    Many(Vec<String>),
}

impl TryFrom<RawTargets> for TargetModules {
    type Error = String;

    fn try_from(raw: RawTargets) -> Result<Self, String> {
        let names = match raw {
            RawTargets::One(name) => {
                return match name.as_str() {
                    "paper" => Ok(Self::Preset(TargetPreset::Paper)),
                    "all-linear" => Ok(Self::Preset(TargetPreset::AllLinear)),
                    _ => {
                        Err(format!("unknown preset `{name}`: expected `paper`, `all-linear` or a list of layer names"))
                    }
                };
            }
            RawTargets::Many(names) => names,
        };
        if names.is_empty() {
            return Err("no layer is named: expected at least one, or the preset `paper` or `all-linear`".into());
        }
        for (i, name) in names.iter().enumerate() {
            if name.trim().is_empty() {
                return Err("an empty layer name: remove it".into());
            }
            if names[..i].contains(name) {
                return Err(format!("`{name}` is listed twice: remove one"));
            }
        }
        Ok(Self::Names(names))
    }
}

/// The device a user asks for. Whether this build and machine have it is found out when it is opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum DeviceSpec {
    /// The accelerator this build was made for, when there is one; else the CPU.
    #[default]
    Auto,
    /// The CPU.
    Cpu,
    /// The CUDA device with this ordinal; without one the first, or of several processes of a machine each its own.
    Cuda(Option<usize>),
    /// Apple's GPU.
    Metal,
}

impl std::str::FromStr for DeviceSpec {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let unknown = || format!("unknown device `{text}`: expected auto, cpu, cuda, cuda:N (such as cuda:0) or metal");
        match text {
            "auto" => Ok(Self::Auto),
            "cpu" => Ok(Self::Cpu),
            "cuda" => Ok(Self::Cuda(None)),
            "metal" => Ok(Self::Metal),
            _ => {
                let ordinal = text.strip_prefix("cuda:").ok_or_else(unknown)?;
                // `usize::from_str` would take "+1" as well.
                let plain = ordinal.bytes().all(|b| b.is_ascii_digit());
                ordinal.parse().ok().filter(|_| plain).map(|n| Self::Cuda(Some(n))).ok_or_else(unknown)
            }
        }
    }
}

impl TryFrom<String> for DeviceSpec {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<DeviceSpec> for String {
    fn from(device: DeviceSpec) -> String {
        device.to_string()
    }
}

impl std::fmt::Display for DeviceSpec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(None) => f.write_str("cuda"),
            Self::Cuda(Some(ordinal)) => write!(f, "cuda:{ordinal}"),
            Self::Metal => f.write_str("metal"),
        }
    }
}

/// Which parameters are trained.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Trainable {
    /// The LoRA adapters.
    #[default]
    Adapters,
    /// Every weight of the model.
    All,
}

/// Which activations a training pass keeps for its backward, and which it computes a second time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "RawCheckpointing", into = "RawCheckpointing")]
pub enum ActivationCheckpointing {
    /// Those of all layers: nothing is computed twice.
    #[default]
    Off,
    /// The input of every so many layers; the layers from there on are run again when the backward comes to them.
    Every(NonZeroUsize),
}

/// How [`ActivationCheckpointing`] is written: a word or a number of layers.
#[derive(Serialize, Deserialize)]
#[serde(untagged, expecting = "expected \"off\", \"every-layer\" or a whole number of layers above 0")]
enum RawCheckpointing {
    Word(String),
    Layers(NonZeroUsize),
}

const EVERY_LAYER: &str = "every-layer";

impl TryFrom<RawCheckpointing> for ActivationCheckpointing {
    type Error = String;

    fn try_from(raw: RawCheckpointing) -> Result<Self, String> {
        match raw {
            RawCheckpointing::Word(word) => word.parse(),
            RawCheckpointing::Layers(layers) => Ok(Self::Every(layers)),
        }
    }
}

impl From<ActivationCheckpointing> for RawCheckpointing {
    fn from(value: ActivationCheckpointing) -> Self {
        match value {
            ActivationCheckpointing::Every(layers) if layers != NonZeroUsize::MIN => Self::Layers(layers),
            word => Self::Word(word.to_string()),
        }
    }
}

impl std::str::FromStr for ActivationCheckpointing {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "off" => Ok(Self::Off),
            EVERY_LAYER => Ok(Self::Every(NonZeroUsize::MIN)),
            number => number.parse().map(Self::Every).map_err(|_| {
                format!("`{text}` is unknown: expected off, {EVERY_LAYER} or a whole number of layers above 0")
            }),
        }
    }
}

impl std::fmt::Display for ActivationCheckpointing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Off => f.write_str("off"),
            Self::Every(NonZeroUsize::MIN) => f.write_str(EVERY_LAYER),
            Self::Every(layers) => write!(f, "{layers}"),
        }
    }
}
