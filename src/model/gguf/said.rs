//! What a GGUF file says of the model beside its tensors, compared with the model's folder: what both say must be the same,
//! for it changes every number and no tensor shows it.

use std::collections::HashMap;

use candle_core::quantized::gguf_file::Value;

use super::super::shape::Shape;

/// Keys of `architecture` that differ from the shape, each with both values.
pub fn differences(metadata: &HashMap<String, Value>, architecture: &str, shape: &Shape) -> Vec<String> {
    let own = [
        ("block_count", shape.layers as f64),
        ("attention.head_count", shape.heads as f64),
        ("attention.head_count_kv", shape.kv_heads as f64),
        ("attention.layer_norm_rms_epsilon", shape.eps),
        ("rope.freq_base", shape.rope_theta),
        ("rope.dimension_count", shape.rotated as f64),
    ];
    let used = shape.experts.as_ref().map(|mixture| ("expert_used_count", mixture.routing.chosen as f64));
    let said = own.into_iter().chain(used).filter_map(|(key, own)| {
        let key = format!("{architecture}.{key}");
        let value = metadata.get(&key)?;
        // they are kept in f32 there
        let same = number(value).is_some_and(|said| (said - own).abs() <= 1e-6 * own.abs());
        (!same).then(|| format!("{key} is {value:?}, the folder's config.json says {own}"))
    });
    let scaling = format!("{architecture}.rope.scaling.type");
    let scaled = metadata.get(&scaling).filter(|value| value.to_string().is_ok_and(|kind| kind != "none"));
    said.chain(scaled.map(|kind| format!("{scaling} is {kind:?}: no scaling of positions is implemented"))).collect()
}

fn number(value: &Value) -> Option<f64> {
    match *value {
        Value::F32(x) => Some(f64::from(x)),
        Value::F64(x) => Some(x),
        ref whole => whole.to_u64().ok().map(|n| n as f64),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::PublishedShape;
    use crate::model::Description;

    #[test]
    fn what_a_file_says_of_positions_and_heads_was_not_read() {
        let shape = Description::from(PublishedShape::Llada8b).shape;
        let said =
            |key: &str, value: Value| differences(&HashMap::from([(format!("llada.{key}"), value)]), "llada", &shape);
        for (key, same, other) in [
            ("block_count", Value::U32(32), Value::U32(33)),
            ("attention.head_count_kv", Value::U64(32), Value::U32(8)),
            ("rope.freq_base", Value::F32(500_000.0), Value::F32(10_000.0)),
            ("attention.layer_norm_rms_epsilon", Value::F32(1e-5), Value::F32(1e-6)),
            ("rope.scaling.type", Value::String("none".into()), Value::String("yarn".into())),
        ] {
            assert_eq!(said(key, same), Vec::<String>::new(), "{key}");
            let text = said(key, other).join("\n");
            assert!(text.contains(&format!("llada.{key} is ")), "{key}: {text}");
        }
        assert_eq!(said("context_length", Value::U32(1)), Vec::<String>::new());
    }
}
