//! Logits of a model with an adapter that somebody else wrote.

use std::path::Path;

use anyhow::{Result, ensure};

use super::Item;
use super::golden::Golden;
use super::logits;
use crate::model::Pass;

/// Every logit of the model with the adapter of a folder, beside `logits.safetensors` there.
///
/// # Errors
/// An adapter that is refused or does not fit; a folder without the logits.
pub fn check(model: &Golden, adapter: &Path) -> Result<Item> {
    ensure!(
        adapter.join(logits::FILE).is_file(),
        "{} has no {} with input_ids and logits to compare with",
        adapter.display(),
        logits::FILE
    );
    let mut adapted = model.base()?;
    adapted.load_adapter(adapter)?;
    let expected = Golden::open(adapter, &model.device)?;
    logits::compare(&adapted, &expected, "adapter.logits", Pass::INFERENCE)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use candle_core::Device;

    use super::*;

    /// What is refused, and the key it is refused by.
    const REFUSED: [(&str, &str); 5] = [
        ("alora", "alora_invocation_tokens = [20,21] "),
        ("dora", "use_dora = true "),
        ("olora", "init_lora_weights = \"olora\" "),
        ("pissa", "init_lora_weights = \"pissa\" "),
        ("unknown_key", "scaling_of_tomorrow = 3.0 "),
    ];

    #[test]
    fn adapters_of_peft_gave_other_numbers_without_a_word() -> Result<()> {
        let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
        let model = Golden::open(&fixtures.join("golden/gqa_small"), &Device::Cpu)?;
        let adapters = Golden::open(&fixtures.join("adapters"), &Device::Cpu)?;
        let index: BTreeMap<String, String> = adapters.json("index")?;
        assert_eq!(index.len(), 16);
        for (name, verdict) in &index {
            let found = check(&model, &fixtures.join("adapters").join(name));
            match REFUSED.iter().find(|(refused, _)| refused == name) {
                None => {
                    let item = found?;
                    assert!(item.holds() && item.tolerance == 1e-4 && verdict == "equal", "{name}: {item:?}");
                }
                Some((_, key)) => {
                    let text = format!("{:#}", found.expect_err("another kind of adapter"));
                    assert!(
                        text.contains(key) && text.contains("adapter_config.json") && verdict == "refused",
                        "{text}"
                    );
                }
            }
        }
        Ok(())
    }
}
