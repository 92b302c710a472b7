//! What the tests of the objectives share: token lists, finite differences, the golden numbers.

use super::bounds::Bound;
use super::{ScoredToken, ScoredTokens};
use crate::rng::{Key, Purpose};

/// `(position, lp)` lists as scored tokens.
pub fn tokens(len: usize, samples: &[&[(usize, f64)]]) -> ScoredTokens {
    let token = |&(position, lp): &(usize, f64)| ScoredToken { position, lp };
    ScoredTokens::new(len, samples.iter().map(|sample| sample.iter().map(token).collect()).collect())
}

/// A completion of 1 to 6 tokens under 1 to 4 masks; some masks may score nothing, but not all.
pub fn random_tokens(seed: u64) -> ScoredTokens {
    let mut rng = Key::new(seed, Purpose::Mask).rng();
    let len = 1 + rng.below(6);
    let samples = (0..1 + rng.below(4)).map(|m| {
        let least = usize::from(m == 0);
        let count = least + rng.below(len + 1 - least);
        let mut positions = rng.choose(len, count);
        positions.sort_unstable();
        positions.into_iter().map(|position| ScoredToken { position, lp: -6.0 * rng.uniform_f64() }).collect()
    });
    ScoredTokens::new(len, samples.collect())
}

/// Checks the gradient of `function` at `at` against central differences.
pub fn assert_gradient(at: &ScoredTokens, function: impl Fn(&ScoredTokens) -> Bound) {
    let step = 1e-5;
    let gradient = function(at).d_lp;
    assert_eq!(gradient.len(), at.samples().len());
    for (m, sample) in at.samples().iter().enumerate() {
        assert_eq!(gradient[m].len(), sample.len());
        for (index, &slope) in gradient[m].iter().enumerate() {
            let shifted = |by: f64| {
                let mut tokens = at.clone();
                *tokens.lp_mut(m, index) += by;
                function(&tokens).value
            };
            let difference = (shifted(step) - shifted(-step)) / (2.0 * step);
            assert!((slope - difference).abs() < 1e-8, "{m} {index}: {slope} {difference}");
        }
    }
}

/// `loss.json` and `loss.safetensors` of a fixture folder.
pub struct Golden {
    pub rewards: Vec<f64>,
    pub advantages: Vec<f64>,
    pub lengths: Vec<usize>,
    pub prompt_length: usize,
    pub completion_length: usize,
    pub block_length: usize,
    pub cases: Vec<GoldenCase>,
}

/// One configuration of the objective.
pub struct GoldenCase {
    pub table: crate::config::SpgTable,
    pub perturbed: bool,
    pub loss: f64,
    /// `L_c` of every completion.
    pub bounds: Vec<f64>,
    /// `[B][M][T]`, true where the input is the mask token.
    pub masked: Vec<Vec<Vec<bool>>>,
}

impl Golden {
    pub fn all() -> [Self; 2] {
        ["gqa_small", "mha_small"].map(Self::load)
    }

    fn load(name: &str) -> Self {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/golden").join(name);
        let json = std::fs::read_to_string(folder.join("loss.json")).unwrap();
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        let device = candle_core::Device::Cpu;
        let tensors = candle_core::safetensors::load(folder.join("loss.safetensors"), &device).unwrap();
        let floats = |name: &str| {
            let values = tensors[name].flatten_all().unwrap().to_vec1::<f32>().unwrap();
            values.into_iter().map(f64::from).collect::<Vec<f64>>()
        };
        let size = |value: &serde_json::Value| value.as_u64().unwrap() as usize;
        let cases = json["cases"].as_array().unwrap().iter().enumerate().map(|(k, case)| {
            let masked = tensors[&format!("{k}.masked")].to_vec3::<u8>().unwrap();
            let masked = masked.iter().map(|c| c.iter().map(|m| m.iter().map(|&t| t == 1).collect()).collect());
            let keys = ["negative_estimator", "beta", "mix_weight", "forward_type", "num_t"];
            let table = serde_json::Map::from_iter(keys.map(|key| (key.to_owned(), case[key].clone())));
            GoldenCase {
                table: serde_json::from_value(table.into()).unwrap(),
                perturbed: case["mask_prompt"].as_bool().unwrap(),
                loss: case["loss"].as_f64().unwrap(),
                bounds: floats(&format!("{k}.per_seq_logps")),
                masked: masked.collect(),
            }
        });
        Self {
            rewards: floats("rewards"),
            advantages: floats("advantages"),
            lengths: json["lengths"].as_array().unwrap().iter().map(size).collect(),
            prompt_length: size(&json["prompt_length"]),
            completion_length: size(&json["gen_length"]),
            block_length: size(&json["block_length"]),
            cases: cases.collect(),
        }
    }
}
