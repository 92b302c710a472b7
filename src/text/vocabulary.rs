//! The tokenizer of a folder that has `vocab.json` and `merges.txt` instead of `tokenizer.json`, as Dream's and some of
//! Qwen's have: byte-level BPE, put together as `transformers` converts `Qwen2Tokenizer`.

use std::path::Path;

use serde_json::{Map, Value, json};

use super::settings::Settings;
use super::{Result, TextError, read};

/// The entries of the vocabulary.
pub(super) const VOCABULARY: &str = "vocab.json";
/// What is merged, in order.
pub(super) const MERGES: &str = "merges.txt";
/// Tokens that were added to them.
const ADDED: &str = "added_tokens.json";

/// The classes of tokenizers that split texts alike.
const CLASSES: [&str; 3] = ["Qwen2Tokenizer", "Qwen2TokenizerFast", "DreamTokenizer"];

/// How they split a text before anything is merged: contractions, words with what stands before them, digits one by one,
/// other signs, ends of lines, spaces.
const SPLIT: &str =
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// The text of the `tokenizer.json` that the files of a folder stand for; none if they are not there.
///
/// # Errors
/// Files that are not valid; a class of tokenizers that may split texts otherwise.
pub(super) fn tokenizer_json(dir: &Path, settings: &Settings) -> Result<Option<String>> {
    let (vocabulary, merges) = (dir.join(VOCABULARY), dir.join(MERGES));
    let (Some(entries), Some(text)) = (read(&vocabulary)?, read(&merges)?) else { return Ok(None) };
    let class = settings.field("tokenizer_class");
    if !CLASSES.iter().any(|known| class == known) {
        return Err(TextError::Invalid {
            file: settings.file().into(),
            reason: format!(
                "tokenizer_class is {class}: from {VOCABULARY} and {MERGES} alone only the tokenizers {} are made; save \
                 the tokenizer with transformers' fast class, which writes a tokenizer.json",
                CLASSES.join(", ")
            ),
        });
    }
    let entries: Map<String, Value> = serde_json::from_str(&entries)
        .map_err(|error| TextError::Invalid { file: vocabulary, reason: error.to_string() })?;
    // the first line of the file says its version
    let merges: Vec<&str> = text.lines().filter(|line| !line.is_empty() && !line.starts_with("#version")).collect();
    let mut added: Vec<(String, u64)> = match read(&dir.join(ADDED))? {
        Some(text) => {
            let list: Map<String, Value> = serde_json::from_str(&text)
                .map_err(|error| TextError::Invalid { file: dir.join(ADDED), reason: error.to_string() })?;
            list.into_iter().filter_map(|(token, id)| Some((token, id.as_u64()?))).collect()
        }
        None => Vec::new(),
    };
    added.sort_by_key(|(_, id)| *id);
    let added = added.into_iter().map(|(content, id)| {
        json!({
            "id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false,
            "special": content.starts_with("<|") && content.ends_with("|>"),
        })
    });
    let bytes = json!({ "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false, "use_regex": false });
    let split = json!({ "type": "Split", "pattern": { "Regex": SPLIT }, "behavior": "Isolated", "invert": false });
    let whole = json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": added.collect::<Vec<_>>(),
        "normalizer": { "type": "NFC" },
        "pre_tokenizer": { "type": "Sequence", "pretokenizers": [split, bytes] },
        "post_processor": bytes,
        "decoder": bytes,
        "model": {
            "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": "", "end_of_word_suffix": "",
            "fuse_unk": false, "byte_fallback": false, "vocab": entries, "merges": merges,
        },
    });
    Ok(Some(whole.to_string()))
}

#[cfg(test)]
mod tests {
    use super::super::Tokenizer;
    use super::*;

    /// A vocabulary of the bytes of ASCII, as byte-level BPE writes them, and a few merges.
    fn folder(class: &str) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let written = |byte: u8| match byte {
            b'!'..=b'~' => char::from(byte),
            other => char::from_u32(256 + u32::from(other)).unwrap(), // of the first 33 bytes
        };
        let mut entries = Map::new();
        for byte in 0..=b'~' {
            entries.insert(written(byte).to_string(), u64::from(byte).into());
        }
        for (i, merged) in ["Ġa", "ab", "12", "Ġab"].iter().enumerate() {
            entries.insert((*merged).to_owned(), (127 + i).into());
        }
        std::fs::write(dir.path().join(VOCABULARY), Value::from(entries).to_string()).unwrap();
        std::fs::write(dir.path().join(MERGES), "#version: 0.2\nĠ a\na b\n1 2\nĠa b\n").unwrap();
        std::fs::write(dir.path().join(ADDED), r#"{"<|mask|>": 132, "<|im_end|>": 131}"#).unwrap();
        let config = json!({ "tokenizer_class": class });
        std::fs::write(dir.path().join("tokenizer_config.json"), config.to_string()).unwrap();
        dir
    }

    #[test]
    fn a_folder_without_tokenizer_json_has_the_tokenizer_of_its_two_files() {
        let tokenizer = Tokenizer::load(folder("Qwen2Tokenizer").path()).unwrap();
        assert_eq!(tokenizer.encode("ab ab").unwrap(), [128, 130]);
        // digits stand alone, whatever could be merged
        assert_eq!(tokenizer.encode("12").unwrap(), [u32::from(b'1'), u32::from(b'2')]);
        let ids = tokenizer.encode("a<|im_end|><|mask|>").unwrap();
        assert_eq!(ids, [u32::from(b'a'), 131, 132]);
        assert_eq!(tokenizer.decode_raw(&ids), "a<|im_end|><|mask|>");
        assert_eq!(tokenizer.decode(&ids), "a");
        assert_eq!(tokenizer.decode(&tokenizer.encode("a\n b  1!").unwrap()), "a\n b  1!");
    }

    #[test]
    fn other_classes_of_tokenizers_are_refused_by_name() {
        let error = Tokenizer::load(folder("GPT2Tokenizer").path()).unwrap_err().to_string();
        assert!(
            error.contains("tokenizer_class is \"GPT2Tokenizer\"") && error.contains("tokenizer_config"),
            "{error}"
        );
        let dir = folder("Qwen2Tokenizer");
        std::fs::write(dir.path().join(VOCABULARY), "[]").unwrap();
        assert!(Tokenizer::load(dir.path()).unwrap_err().to_string().contains(VOCABULARY));
        std::fs::remove_file(dir.path().join(MERGES)).unwrap();
        let error = Tokenizer::load(dir.path()).unwrap_err().to_string();
        assert!(error.contains("needs its tokenizer.json, or vocab.json and merges.txt"), "{error}");
    }
}
