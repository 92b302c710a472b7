//! What a model folder says about its tokenizer beside `tokenizer.json`: special tokens and added tokens, found as
//! `transformers` finds them.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};
use tokenizers::AddedToken;

use super::{Result, TextError};

/// The special tokens that have a name in chat templates.
const NAMED: [&str; 7] = ["bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"];
const ADDITIONAL: &str = "additional_special_tokens";
const EXTRA: &str = "extra_special_tokens";
const ADDED: &str = "added_tokens_decoder";

/// The settings of a tokenizer.
#[derive(Clone, Debug, Default)]
pub(super) struct Settings {
    /// `tokenizer_config.json`.
    file: PathBuf,
    /// Its fields, those of `special_tokens_map.json` over them where that file counts.
    fields: Map<String, Value>,
}

impl Settings {
    /// Reads `tokenizer_config.json`, and `special_tokens_map.json` where it counts: its fields win, but once the first
    /// file has `added_tokens_decoder`, as it has today, the second one is a copy that nobody reads.
    ///
    /// # Errors
    /// If a file cannot be read or is not a JSON object.
    pub(super) fn load(dir: &Path) -> Result<Self> {
        let file = dir.join("tokenizer_config.json");
        let mut fields = object(&file)?;
        if fields.get(ADDED).is_none_or(Value::is_null) {
            for (name, value) in object(&dir.join("special_tokens_map.json"))? {
                let value = match (name.as_str(), fields.remove(&name), value) {
                    (ADDITIONAL, Some(Value::Array(mut old)), Value::Array(new)) => {
                        let new: Vec<Value> = new.into_iter().filter(|token| !old.contains(token)).collect();
                        old.extend(new);
                        Value::Array(old)
                    }
                    (_, _, value) => value,
                };
                fields.insert(name, value);
            }
        }
        Ok(Self { file, fields })
    }

    /// `tokenizer_config.json`, for messages.
    pub(super) fn file(&self) -> &Path {
        &self.file
    }

    /// A field.
    pub(super) fn field(&self, name: &str) -> &Value {
        self.fields.get(name).unwrap_or(&Value::Null)
    }

    /// The special tokens by the names that chat templates use, empty ones left out.
    ///
    /// # Errors
    /// A token that is none.
    pub(super) fn special_tokens(&self) -> Result<Vec<(String, AddedToken)>> {
        let named = NAMED.iter().map(|&name| (name.to_owned(), self.field(name)));
        let extra = self.field(EXTRA).as_object().into_iter().flatten().map(|(name, value)| (name.clone(), value));
        let given = named.chain(extra).filter(|(_, value)| !value.is_null());
        let tokens = given.map(|(name, value)| Ok((name.clone(), self.token(&name, value)?)));
        tokens.filter(|token| !matches!(token, Ok((_, token)) if token.content.is_empty())).collect()
    }

    /// The special tokens without a name of their own.
    ///
    /// # Errors
    /// A token that is none.
    pub(super) fn additional_special_tokens(&self) -> Result<Vec<AddedToken>> {
        let listed = |name| self.field(name).as_array().into_iter().flatten().map(move |value| (name, value));
        listed(ADDITIONAL).chain(listed(EXTRA)).map(|(name, value)| self.token(name, value)).collect()
    }

    /// The tokens of `added_tokens_decoder` with their ids, in the order of these.
    ///
    /// # Errors
    /// A token that is none, an id that is no number.
    pub(super) fn added_tokens(&self) -> Result<Vec<(u32, AddedToken)>> {
        let mut tokens = Vec::new();
        for (id, value) in self.field(ADDED).as_object().into_iter().flatten() {
            let number = id.parse().map_err(|_| self.invalid(format!("{ADDED}: {id:?} is not an id")))?;
            tokens.push((number, self.token(ADDED, value)?));
        }
        tokens.sort_by_key(|&(id, _)| id);
        Ok(tokens)
    }

    /// A token is a string, or an object that also says how to find it.
    fn token(&self, name: &str, value: &Value) -> Result<AddedToken> {
        let flag = |key: &str| value[key].as_bool();
        let (content, special) = match (value.as_str(), value["content"].as_str()) {
            (Some(content), _) => (content, true),
            (None, Some(content)) => (content, flag("special").unwrap_or(name != ADDED)),
            (None, None) => {
                return Err(
                    self.invalid(format!("{name}: {value} is neither a token nor an object with its `content`"))
                );
            }
        };
        let token = AddedToken::from(content, special)
            .single_word(flag("single_word").unwrap_or(false))
            .lstrip(flag("lstrip").unwrap_or(false))
            .rstrip(flag("rstrip").unwrap_or(false));
        Ok(match flag("normalized") {
            Some(normalized) => token.normalized(normalized),
            None => token,
        })
    }

    fn invalid(&self, reason: String) -> TextError {
        TextError::Invalid { file: self.file.clone(), reason }
    }
}

/// The fields of a JSON object in a file; none if there is no such file.
fn object(file: &Path) -> Result<Map<String, Value>> {
    match super::read(file)? {
        Some(text) => serde_json::from_str(&text)
            .map_err(|error| TextError::Invalid { file: file.into(), reason: error.to_string() }),
        None => Ok(Map::new()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn settings(config: &Value, map: &Value) -> Settings {
        let dir = tempfile::tempdir().unwrap();
        for (name, value) in [("tokenizer_config.json", config), ("special_tokens_map.json", map)] {
            if !value.is_null() {
                std::fs::write(dir.path().join(name), value.to_string()).unwrap();
            }
        }
        Settings::load(dir.path()).unwrap()
    }

    fn named(settings: &Settings) -> Vec<(String, String)> {
        settings.special_tokens().unwrap().into_iter().map(|(name, token)| (name, token.content)).collect()
    }

    /// The expected tokens are those of `AutoTokenizer`.
    #[test]
    fn special_tokens_map_json_was_not_read() {
        let map = json!({"bos_token": {"content": "<s>", "lstrip": false}, "eos_token": "</s>",
            "additional_special_tokens": ["<b>", "<c>"]});
        let pairs = |pairs: &[(&str, &str)]| -> Vec<(String, String)> {
            pairs.iter().map(|&(a, b)| (a.to_owned(), b.to_owned())).collect()
        };
        assert_eq!(named(&settings(&Value::Null, &map)), pairs(&[("bos_token", "<s>"), ("eos_token", "</s>")]));
        // it wins over the other file ..
        let config = json!({"eos_token": "<eos>", "pad_token": "<pad>", "additional_special_tokens": ["<a>", "<b>"]});
        let both = settings(&config, &map);
        assert_eq!(named(&both), pairs(&[("bos_token", "<s>"), ("eos_token", "</s>"), ("pad_token", "<pad>")]));
        let more: Vec<String> = both.additional_special_tokens().unwrap().into_iter().map(|t| t.content).collect();
        assert_eq!(more, ["<a>", "<b>", "<c>"]);
        // .. unless that one knows the added tokens itself
        let config = json!({"eos_token": "<eos>", "added_tokens_decoder": {}});
        assert_eq!(named(&settings(&config, &map)), pairs(&[("eos_token", "<eos>")]));
    }

    #[test]
    fn tokens_of_a_models_own_names_are_found_and_others_are_not() {
        let config = json!({"eos_token": null, "bos_token": "", "image_token": "<i>", "add_bos_token": true,
            "extra_special_tokens": {"boi_token": "<boi>"}});
        assert_eq!(named(&settings(&config, &Value::Null)), [("boi_token".to_owned(), "<boi>".to_owned())]);
        let error = settings(&json!({"bos_token": 5}), &Value::Null).special_tokens().unwrap_err().to_string();
        assert!(error.contains("tokenizer_config.json is not valid: bos_token: 5 is neither a token"), "{error}");
        let error = settings(&json!({"added_tokens_decoder": {"x": "<a>"}}), &Value::Null).added_tokens().unwrap_err();
        assert!(error.to_string().contains("\"x\" is not an id"), "{error}");
    }
}
