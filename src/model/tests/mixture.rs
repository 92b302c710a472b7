//! Mixtures of experts against plain loops: one token and one expert at a time, in f64, with nothing of the decoder's code.

use std::collections::BTreeMap;

use serde_json::Value;

use super::*;
use crate::model::testing::{config_of, write_model};

/// A model as its files have it.
struct Plain {
    config: serde_json::Map<String, Value>,
    tensors: BTreeMap<String, (Vec<usize>, Vec<f64>)>,
}

type Rows = Vec<Vec<f64>>;

impl Plain {
    fn load(dir: &std::path::Path) -> Result<Self> {
        let config = serde_json::from_str(&std::fs::read_to_string(dir.join("config.json"))?)?;
        let mut tensors = BTreeMap::new();
        for (name, tensor) in candle_core::safetensors::load(dir.join("model.safetensors"), &Device::Cpu)? {
            let numbers = tensor.to_dtype(DType::F64)?.flatten_all()?.to_vec1()?;
            tensors.insert(name, (tensor.dims().to_vec(), numbers));
        }
        Ok(Self { config, tensors })
    }

    fn size(&self, key: &str) -> usize {
        self.config[key].as_u64().expect("a size") as usize
    }

    fn number(&self, key: &str) -> f64 {
        self.config[key].as_f64().expect("a number")
    }

    fn vector(&self, name: &str) -> &[f64] {
        &self.tensors[name].1
    }

    /// `W x`.
    fn times(&self, name: &str, x: &[f64]) -> Vec<f64> {
        let (dims, numbers) = &self.tensors[&format!("{name}.weight")];
        assert_eq!(dims[1], x.len(), "{name}");
        numbers.chunks(dims[1]).map(|row| row.iter().zip(x).map(|(w, x)| w * x).sum()).collect()
    }

    fn norm(&self, name: &str, x: &[f64]) -> Vec<f64> {
        let mean = x.iter().map(|x| x * x).sum::<f64>() / x.len() as f64;
        let r = 1.0 / (mean + self.number("rms_norm_eps")).sqrt();
        x.iter().zip(self.vector(&format!("{name}.weight"))).map(|(x, w)| x * r * w).collect()
    }

    /// A head at a position, its first `rotated` numbers turned.
    fn turned(&self, mut head: Vec<f64>, position: usize, rotated: usize) -> Vec<f64> {
        let half = rotated / 2;
        for i in 0..half {
            let angle = position as f64 * self.number("rope_theta").powf(-2.0 * i as f64 / rotated as f64);
            let (a, b) = (head[i], head[i + half]);
            (head[i], head[i + half]) = (a * angle.cos() - b * angle.sin(), b * angle.cos() + a * angle.sin());
        }
        head
    }

    fn mlp(&self, path: &str, x: &[f64]) -> Vec<f64> {
        let (gate, up) = (self.times(&format!("{path}.gate_proj"), x), self.times(&format!("{path}.up_proj"), x));
        let activated: Vec<f64> = gate.iter().zip(up).map(|(g, u)| g / (1.0 + (-g).exp()) * u).collect();
        self.times(&format!("{path}.down_proj"), &activated)
    }

    /// The experts of a token with what they count.
    fn routes(&self, path: &str, x: &[f64]) -> Vec<(usize, f64)> {
        let logits = self.times(&format!("{path}.gate"), x);
        let k = self.size("num_experts_per_tok");
        let by = |values: &[f64]| {
            let mut order: Vec<usize> = (0..values.len()).collect();
            order.sort_by(|&a, &b| values[b].total_cmp(&values[a]));
            order
        };
        if self.config["architectures"][0] == "LLaDAMoEModelLM" {
            let sum: f64 = logits.iter().map(|l| l.exp()).sum();
            return by(&logits).into_iter().take(k).map(|expert| (expert, logits[expert].exp() / sum)).collect();
        }
        let scores: Vec<f64> = logits.iter().map(|l| 1.0 / (1.0 + (-l).exp())).collect();
        let bias = self.vector(&format!("{path}.gate.expert_bias"));
        let mut choice: Vec<f64> = scores.iter().zip(bias).map(|(s, b)| s + b).collect();
        let width = choice.len() / self.size("n_group");
        let best_two = |group: &[f64]| by(group).into_iter().take(2).map(|i| group[i]).sum::<f64>();
        let sums: Vec<f64> = choice.chunks(width).map(best_two).collect();
        for &group in &by(&sums)[self.size("topk_group")..] {
            choice[group * width..(group + 1) * width].fill(f64::NEG_INFINITY);
        }
        let chosen: Vec<usize> = by(&choice).into_iter().take(k).collect();
        let sum: f64 = chosen.iter().map(|&expert| scores[expert]).sum();
        let scale = self.number("routed_scaling_factor");
        chosen.into_iter().map(|expert| (expert, scores[expert] / sum * scale)).collect()
    }

    /// What follows the second norm.
    fn feed_forward(&self, layer: usize, x: &[f64]) -> Vec<f64> {
        let path = format!("model.layers.{layer}.mlp");
        if !self.tensors.contains_key(&format!("{path}.gate.weight")) {
            return self.mlp(&path, x);
        }
        let mut y = vec![0.0; x.len()];
        for (expert, weight) in self.routes(&path, x) {
            let out = self.mlp(&format!("{path}.experts.{expert}"), x);
            y.iter_mut().zip(out).for_each(|(y, out)| *y += weight * out);
        }
        if self.tensors.contains_key(&format!("{path}.shared_experts.up_proj.weight")) {
            let out = self.mlp(&format!("{path}.shared_experts"), x);
            y.iter_mut().zip(out).for_each(|(y, out)| *y += out);
        }
        y
    }

    /// Queries, keys and values of a token.
    fn projected(&self, layer: &str, x: &[f64]) -> [Vec<f64>; 3] {
        let (heads, kv_heads) = (self.size("num_attention_heads"), self.size("num_key_value_heads"));
        if !self.tensors.contains_key(&format!("{layer}.attention.query_key_value.weight")) {
            return ["q", "k", "v"].map(|name| self.times(&format!("{layer}.self_attn.{name}_proj"), x));
        }
        let all = self.times(&format!("{layer}.attention.query_key_value"), x);
        let head = all.len() / (heads + 2 * kv_heads);
        let (q, kv) = all.split_at(heads * head);
        let (k, v) = kv.split_at(kv_heads * head);
        [q.to_vec(), k.to_vec(), v.to_vec()]
    }

    /// Logits of all places of a row.
    fn logits(&self, row: &[u32]) -> Rows {
        let (heads, kv_heads) = (self.size("num_attention_heads"), self.size("num_key_value_heads"));
        let fused = self.config["architectures"][0] == "LLaDA2MoeModelLM";
        let embedding = if fused { "model.word_embeddings" } else { "model.embed_tokens" };
        let width = self.size("hidden_size");
        let table = self.vector(&format!("{embedding}.weight"));
        let mut x: Rows = row.iter().map(|&id| table[id as usize * width..][..width].to_vec()).collect();
        for i in 0..self.size("num_hidden_layers") {
            let layer = format!("model.layers.{i}");
            let names = match fused {
                true => ["attention.query_layernorm", "attention.key_layernorm", "attention.dense"],
                false => ["self_attn.q_norm", "self_attn.k_norm", "self_attn.o_proj"],
            };
            let [q_norm, k_norm, o] = names.map(|name| format!("{layer}.{name}"));
            let projected: Vec<[Vec<f64>; 3]> =
                x.iter().map(|x| self.projected(&layer, &self.norm(&format!("{layer}.input_layernorm"), x))).collect();
            let head = projected[0][0].len() / heads;
            let rotated = (head as f64 * self.number("partial_rotary_factor")) as usize;
            let of = |token: usize, which: usize, h: usize| projected[token][which][h * head..][..head].to_vec();
            let attended = |token: usize| -> Vec<f64> {
                let of_head = |h: usize| {
                    let q = self.turned(self.norm(&q_norm, &of(token, 0, h)), token, rotated);
                    let group = h / (heads / kv_heads);
                    let seen = |key: &usize| !fused || key / self.size("block_size") <= token / self.size("block_size");
                    let keys: Vec<usize> = (0..row.len()).filter(seen).collect();
                    let score = |&key: &usize| {
                        let k = self.turned(self.norm(&k_norm, &of(key, 1, group)), key, rotated);
                        (q.iter().zip(k).map(|(q, k)| q * k).sum::<f64>() / (head as f64).sqrt()).exp()
                    };
                    let scores: Vec<f64> = keys.iter().map(score).collect();
                    let sum: f64 = scores.iter().sum();
                    let mut out = vec![0.0; head];
                    for (key, score) in keys.iter().zip(&scores) {
                        let v = of(*key, 2, group);
                        out.iter_mut().zip(v).for_each(|(out, v)| *out += score / sum * v);
                    }
                    out
                };
                (0..heads).flat_map(of_head).collect()
            };
            let added = |x: &[f64], y: Vec<f64>| -> Vec<f64> { x.iter().zip(y).map(|(x, y)| x + y).collect() };
            let mid: Rows = x.iter().enumerate().map(|(token, x)| added(x, self.times(&o, &attended(token)))).collect();
            let fed = |mid: &Vec<f64>| {
                let h = self.norm(&format!("{layer}.post_attention_layernorm"), mid);
                added(mid, self.feed_forward(i, &h))
            };
            x = mid.iter().map(fed).collect();
        }
        x.iter().map(|x| self.times("lm_head", &self.norm("model.norm", x))).collect()
    }
}

/// The largest difference between the two.
fn off(model: &Decoder, plain: &Plain) -> Result<f64> {
    let rows = rows(&[13, 6]);
    let batch = Batch::left_padded(&rows, 1);
    let mut most = 0.0f64;
    for (i, row) in rows.iter().enumerate() {
        let places: Vec<Place> = (13 - row.len()..13).map(|column| (i, column)).collect();
        let logits = model.head().logits(&model.hidden(&batch, Window::of(places), Pass::INFERENCE)?)?;
        for (found, expected) in logits.to_vec2::<f32>()?.iter().flatten().zip(plain.logits(row).concat()) {
            most = most.max((f64::from(*found) - expected).abs());
        }
    }
    Ok(most)
}

#[test]
fn logits_are_those_of_plain_loops() -> Result<()> {
    for name in ["llada_moe", "llada2"] {
        let off = off(&base(name)?, &Plain::load(&golden(name))?)?;
        assert!(off < 1e-4, "{name} is off by {off}");
    }
    Ok(())
}

#[test]
fn other_mixtures_are_followed_too() -> Result<()> {
    // layers without experts, groups that do not matter, one expert a token, none for all tokens
    let of = |name: &str, changes: &[(&str, Value)]| {
        let mut config = config_of(name);
        config.extend(changes.iter().map(|(key, value)| ((*key).to_owned(), value.clone())));
        config
    };
    let configs = [
        of("llada_moe", &[("moe_layer_freq", serde_json::json!([0, 0, 1])), ("num_key_value_heads", Value::Null)]),
        of("llada_moe", &[("num_experts_per_tok", 1.into()), ("num_key_value_heads", 4.into())]),
        of("llada2", &[("n_group", 1.into()), ("topk_group", 1.into()), ("num_shared_experts", 0.into())]),
        of("llada2", &[("first_k_dense_replace", 3.into()), ("partial_rotary_factor", 1.0.into())]),
        of("llada2", &[("first_k_dense_replace", 0.into()), ("num_shared_experts", 2.into())]),
    ];
    for mut config in configs {
        let dir = tempfile::tempdir()?;
        write_model(dir.path(), &config)?;
        if config["num_key_value_heads"].is_null() {
            config.insert("num_key_value_heads".into(), config["num_attention_heads"].clone());
        }
        let plain = Plain { config, ..Plain::load(dir.path())? };
        let model = Decoder::load(dir.path(), DType::F32, &Device::Cpu, Weights::Frozen)?;
        let off = off(&model, &plain)?;
        assert!(off < 1e-4, "{:?} is off by {off}", plain.config);
    }
    Ok(())
}

#[test]
fn a_mixture_has_adapters_where_peft_finds_them_and_on_no_expert() -> Result<()> {
    let all = |name: &str, preset| -> Result<(Decoder, Value)> {
        let mut model = base(name)?;
        let table = LoraTable { target_modules: Some(TargetModules::Preset(preset)), ..lora_table(0.0) };
        model.attach_lora(&table, 5)?;
        let dir = tempfile::tempdir()?;
        model.save_adapter(dir.path(), "some/base", None)?;
        let config: Value = serde_json::from_str(&std::fs::read_to_string(dir.path().join(ADAPTER_CONFIG))?)?;
        let mut again = base(name)?;
        again.load_adapter(dir.path())?;
        assert_eq!(again.adapters(), model.adapters(), "{name}");
        Ok((model, config["target_modules"].clone()))
    };
    let (model, targets) = all("llada2", TargetPreset::AllLinear)?;
    // two linears of attention and three of an MLP, or of the expert of all tokens, in each of 3 layers
    assert_eq!(model.adapters().len(), 15);
    let shared = ["down", "gate", "up"].map(|part| format!(r"mlp\.shared_experts\.{part}_proj")).join("|");
    let mlp = [r"mlp\.down_proj", r"mlp\.gate_proj", &shared, r"mlp\.up_proj"].join("|");
    let expected = format!(r".*\.layers\.\d+\.(attention\.dense|attention\.query_key_value|{mlp})");
    assert_eq!(targets, expected.as_str());
    let (model, targets) = all("llada_moe", TargetPreset::Paper)?;
    let names: Vec<String> = model.adapters().into_iter().map(|(name, ..)| name).collect();
    assert_eq!((names.len(), names[0].as_str()), (9, "layers.0.self_attn.q_proj"));
    assert_eq!(targets, r".*\.layers\.\d+\.(self_attn\.k_proj|self_attn\.q_proj|self_attn\.v_proj)");
    Ok(())
}

#[test]
fn adapters_of_experts_are_refused_by_name() -> Result<()> {
    let (model, dir) = (adapted("llada2", 0.0)?, tempfile::tempdir()?);
    model.save_adapter(dir.path(), "some/base", None)?;
    let path = dir.path().join(ADAPTER_FILE);
    let mut tensors: BTreeMap<String, Tensor> =
        candle_core::safetensors::load(&path, &Device::Cpu)?.into_iter().collect();
    for (end, dims) in [("A", (3, 48)), ("B", (32, 3))] {
        let name = format!("base_model.model.model.layers.1.mlp.experts.0.gate_proj.lora_{end}.weight");
        tensors.insert(name, super::super::ops::testing::random(1, dims)?);
    }
    write_safetensors(&path, &tensors, &[])?;
    let text = format!("{:#}", base("llada2")?.load_adapter(dir.path()).expect_err("of an expert"));
    assert!(text.contains("experts, where adapters are not implemented"), "{text}");
    Ok(())
}

/// What nothing was routed to is moved by an optimiser like everything else: its gradient is zero, not missing.
#[test]
fn experts_without_tokens_have_a_gradient_of_zero() -> Result<()> {
    let model = Decoder::load(&golden("llada2"), DType::F32, &Device::Cpu, Weights::Trainable)?;
    let (batch, mut gradients) = (Batch::left_padded(&rows(&[2]), 1), Gradients::new());
    let (x, tape) = model.hidden_with_tape(&batch, 0..2, Pass::INFERENCE, ActivationCheckpointing::Off)?;
    model.backward(tape, &batch, Pass::INFERENCE, x, &mut gradients)?;
    let untouched =
        |name: &str| -> Result<bool> { Ok(gradients.by_name()[name].sqr()?.sum_all()?.to_scalar::<f32>()? == 0.0) };
    let experts: Vec<String> = model.trainable().into_keys().filter(|name| name.contains(".experts.")).collect();
    assert_eq!(experts.len(), 2 * 8 * 3);
    let without = experts.iter().map(|name| untouched(name)).collect::<Result<Vec<_>>>()?;
    let count = without.iter().filter(|untouched| **untouched).count();
    // two tokens of three experts each: of a layer's eight at least two have none
    assert!((12..=30).contains(&count), "{count}");
    Ok(())
}
