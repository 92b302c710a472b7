//! What a `tokenizer.json` declares, looked at before the library builds it: what would take memory without bounds, or
//! give other tokens every time.

use serde::Deserialize;
use serde_json::Value;

/// How much longer its normalizer, or its decoder, may make a text.
const MOST_GROWTH: usize = 256;

#[derive(Deserialize)]
struct Declared {
    #[serde(default)]
    normalizer: Value,
    #[serde(default)]
    decoder: Value,
    #[serde(default)]
    model: Model,
}

#[derive(Default, Deserialize)]
struct Model {
    #[serde(default)]
    dropout: Value,
}

/// Checks the text of a file; what it does not know is left to the library.
///
/// # Errors
/// Says what is wrong.
pub(super) fn check(text: &str) -> Result<(), String> {
    let declared: Declared = serde_json::from_str(text).map_err(|error| error.to_string())?;
    if declared.model.dropout.as_f64().is_some_and(|dropout| dropout != 0.0) {
        return Err(format!(
            "model.dropout is {}, which gives a text other tokens every time: set it to null",
            declared.model.dropout
        ));
    }
    for (part, value) in [("normalizer", &declared.normalizer), ("decoder", &declared.decoder)] {
        let mut growth = 1;
        look_at(value, &mut growth)?;
        if growth > MOST_GROWTH {
            return Err(format!(
                "its {part} makes a text up to {growth} times as long, and at most {MOST_GROWTH} is read"
            ));
        }
    }
    Ok(())
}

/// Checks a part and those in it, and multiplies `growth` by how much longer they make a text.
fn look_at(part: &Value, growth: &mut usize) -> Result<(), String> {
    match part["type"].as_str() {
        Some("Replace") => *growth = growth.saturating_mul(growth_of(&part["pattern"], &part["content"])),
        Some("Prepend") => *growth = growth.saturating_mul(1 + part["prepend"].as_str().map_or(0, str::len)),
        Some("Precompiled") => precompiled(&part["precompiled_charsmap"])?,
        _ => {}
    }
    for list in ["normalizers", "decoders"] {
        for part in part[list].as_array().into_iter().flatten() {
            look_at(part, growth)?;
        }
    }
    Ok(())
}

/// How much longer replacing makes a text: by what comes in for what goes out, or, where nothing need go out, for
/// nothing at every place.
fn growth_of(pattern: &Value, content: &Value) -> usize {
    let content = content.as_str().map_or(0, str::len);
    match (pattern["String"].as_str(), pattern["Regex"].as_str()) {
        (Some(out), _) if !out.is_empty() => content.div_ceil(out.len()).max(1),
        (_, Some(regex)) if fancy_regex::Regex::new(regex).is_ok_and(|r| r.is_match("").is_ok_and(|empty| !empty)) => {
            content.max(1)
        }
        _ => 1 + content,
    }
}

/// The map starts with the number of bytes of its trie, for which the library makes room before it reads them.
fn precompiled(map: &Value) -> Result<(), String> {
    let Some(text) = map.as_str() else { return Ok(()) };
    let bytes = text.trim_end_matches('=').len() * 3 / 4;
    let declared = first_number(text).unwrap_or(0) as usize;
    match declared.checked_add(4) {
        Some(needed) if needed <= bytes && declared > 0 => Ok(()),
        _ => Err(format!("its precompiled_charsmap has {bytes} bytes and declares a trie of {declared}")),
    }
}

/// The first four bytes of a base64 text, the lowest first.
fn first_number(text: &str) -> Option<u32> {
    let mut bits = 0u64;
    for digit in text.bytes().chain(std::iter::repeat(b'A')).take(6) {
        let value = match digit {
            b'A'..=b'Z' => digit - b'A',
            b'a'..=b'z' => digit - b'a' + 26,
            b'0'..=b'9' => digit - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        bits = bits << 6 | u64::from(value);
    }
    Some(((bits >> 4) as u32).swap_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn refused(file: Value) -> String {
        check(&file.to_string()).expect_err("refused")
    }

    #[test]
    fn a_map_that_declares_8_gb_was_made_room_for() {
        let map = |text: &str| json!({"normalizer": {"type": "Precompiled", "precompiled_charsmap": text}});
        assert!(refused(map("/////w==")).contains("declares a trie of 4294967295"));
        assert!(refused(map("")).contains("has 0 bytes"));
        assert!(refused(map("AQAAAA==")).contains("has 4 bytes and declares a trie of 1"));
        assert_eq!(check(&map("BAAAAAAAAAAA").to_string()), Ok(()));
        let nested = json!({"normalizer": {"type": "Sequence", "normalizers": [{"type": "Precompiled", "precompiled_charsmap": ""}]}});
        assert!(refused(nested).contains("precompiled_charsmap"));
    }

    #[test]
    fn replacements_of_replacements_took_2_gb() {
        let replace = |from: Value, to: &str| json!({"type": "Replace", "pattern": from, "content": to});
        let sequence = |parts: Vec<Value>| json!({"normalizer": {"type": "Sequence", "normalizers": parts}});
        let doubled = vec![replace(json!({"String": "a"}), "aa"); 30];
        assert!(refused(sequence(doubled.clone())).contains("1073741824 times as long"));
        assert!(refused(json!({"decoder": {"type": "Sequence", "decoders": doubled}})).contains("its decoder"));
        assert!(refused(sequence(vec![replace(json!({"Regex": "x*"}), &"a".repeat(300))])).contains("301 times"));
        // as published tokenizers have them
        let usual = vec![
            json!({"type": "Prepend", "prepend": "▁"}),
            replace(json!({"String": " "}), "▁"),
            replace(json!({"Regex": " {2,}"}), "▁"),
            json!({"type": "NFC"}),
        ];
        assert_eq!(check(&sequence(usual).to_string()), Ok(()));
    }

    #[test]
    fn merges_that_are_left_out_at_random_gave_other_tokens_every_time() {
        assert!(refused(json!({"model": {"dropout": 0.1}})).contains("model.dropout is 0.1"));
        for none in [json!({}), json!({"model": {"dropout": null}}), json!({"model": {"dropout": 0.0}})] {
            assert_eq!(check(&none.to_string()), Ok(()));
        }
    }
}
