//! The order in which tensors are made and modules are numbered: random weights, adapters and dropout take their streams
//! from it, so that it belongs to the bits of every seed.

use super::*;

#[test]
fn tensors_are_made_from_the_embedding_up_and_modules_are_numbered_within_their_layer() -> Result<()> {
    let description = Description::read(&golden("gqa_small"))?;
    let mut made = Vec::new();
    let mut model = Decoder::build(description, Weights::Frozen, DType::F32, |tensor| {
        made.push(tensor.name.clone());
        Ok(super::super::gguf::Loaded::Dense(Tensor::zeros(tensor.dims.as_slice(), DType::F32, &Device::Cpu)?))
    })?;
    let leaves = ["attn_norm", "q_proj", "k_proj", "v_proj", "attn_out", "ff_norm", "ff_proj", "up_proj", "ff_out"];
    let layers = made.len().saturating_sub(3) / leaves.len();
    let of_layer = |i: usize| leaves.map(|leaf| format!("model.transformer.blocks.{i}.{leaf}.weight"));
    let mut expected = vec!["model.transformer.wte.weight".to_owned()];
    expected.extend((0..layers).flat_map(of_layer));
    expected.extend(["ln_f", "ff_out"].map(|leaf| format!("model.transformer.{leaf}.weight")));
    assert_eq!(made, expected);

    model.attach_lora(&lora_table(0.0), 1)?;
    let linears: Vec<&str> = leaves.into_iter().filter(|leaf| !leaf.ends_with("_norm")).collect();
    let found: Vec<(String, u64)> = model
        .linears()
        .filter_map(|linear| Some((linear.weight.name().to_owned(), linear.adapter.as_ref()?.module)))
        .collect();
    let module = |i: usize, k: usize| {
        (format!("model.transformer.blocks.{i}.{}.weight", linears[k]), (i * linears.len() + k) as u64)
    };
    let expected: Vec<_> =
        (0..layers).flat_map(|i| (0..linears.len()).map(move |k| (i, k))).map(|(i, k)| module(i, k)).collect();
    assert_eq!(found, expected);
    Ok(())
}
