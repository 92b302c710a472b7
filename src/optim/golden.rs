//! Tests: one clipped AdamW update of an adapter against PyTorch's numbers.

use super::*;
use candle_core::{Device, Var};
use std::path::Path;

#[test]
fn the_first_golden_update_is_reproduced() {
    for name in ["gqa_small", "mha_small"] {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/golden").join(name);
        let load = |file: &str| candle_core::safetensors::load(folder.join(file), &Device::Cpu).unwrap();
        let train: serde_json::Value =
            serde_json::from_str(&std::fs::read_to_string(folder.join("train.json")).unwrap()).unwrap();
        let hyper = &train["hyper"];
        let number = |value: &serde_json::Value| value.as_f64().unwrap();

        let adapter = load("adapter_model.safetensors");
        let (mut loss, mut updated) = (load("loss.safetensors"), load("train.safetensors"));
        let gradients: Named =
            adapter.keys().map(|k| (k.clone(), loss.remove(&format!("0.grad.{k}")).unwrap())).collect();
        let vars: BTreeMap<String, Var> =
            adapter.iter().map(|(name, tensor)| (name.clone(), Var::from_tensor(tensor).unwrap())).collect();

        let clip = clip(&gradients, number(&hyper["max_grad_norm"])).unwrap();
        let golden_norm = number(&train["updates"][0]["grad_norm"]);
        assert!((clip.norm - golden_norm).abs() < 1e-6 * golden_norm, "{} {golden_norm}", clip.norm);

        let params = AdamWParams {
            beta1: number(&hyper["betas"][0]),
            beta2: number(&hyper["betas"][1]),
            eps: number(&hyper["eps"]),
            weight_decay: number(&hyper["weight_decay"]),
        };
        let mut adamw = AdamW::new(vars.clone(), params).unwrap();
        adamw.step(&gradients, number(&hyper["lr"]), clip.scale).unwrap();
        for (key, var) in &vars {
            let golden = updated.remove(&format!("1.{key}")).unwrap();
            let difference = (var.as_tensor() - golden).unwrap().abs().unwrap().flatten_all().unwrap();
            let largest = difference.max(0).unwrap().to_scalar::<f32>().unwrap();
            assert!(largest < 1e-6, "{name} {key}: {largest}");
        }
    }
}
