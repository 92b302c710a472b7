//! The ids of tokens that were added to a vocabulary, without loading the tokenizer.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;

use super::settings::Settings;
use super::{Result, TextError};

/// What a mask is called where nobody says it.
const MASK: &str = "<|mask|>";

/// Added tokens by their text.
#[derive(Clone, Debug, Default)]
pub struct AddedTokens {
    ids: BTreeMap<String, u32>,
    /// The text of the mask, if the tokenizer's settings name it.
    mask: Option<String>,
}

impl AddedTokens {
    /// Reads `tokenizer.json`, `added_tokens.json` and `tokenizer_config.json` of a model folder, as far as they are there;
    /// what a later file says counts.
    ///
    /// # Errors
    /// Names the file that cannot be read or does not hold what it should.
    pub fn read(dir: &Path) -> Result<Self> {
        let settings = Settings::load(dir)?;
        let mut ids = BTreeMap::new();
        let (whole, listed) = (object(dir, "tokenizer.json")?, object(dir, "added_tokens.json")?);
        for token in whole["added_tokens"].as_array().into_iter().flatten() {
            if let (Some(text), Some(id)) = (token["content"].as_str(), id(&token["id"])) {
                ids.insert(text.to_owned(), id);
            }
        }
        let listed = listed.as_object().into_iter().flatten();
        ids.extend(listed.filter_map(|(text, value)| Some((text.clone(), id(value)?))));
        ids.extend(settings.added_tokens()?.into_iter().map(|(id, token)| (token.content, id)));
        let named = settings.special_tokens()?.into_iter().find(|(name, _)| name == "mask_token");
        Ok(Self { ids, mask: named.map(|(_, token)| token.content) })
    }

    /// The id of a token, if it was added.
    pub fn id(&self, token: &str) -> Option<u32> {
        self.ids.get(token).copied()
    }

    /// The id of the mask: of the token that the settings name, else of the one that is `called` so, `<|mask|>` by default.
    pub fn mask(&self, called: Option<&str>) -> Option<u32> {
        self.id(self.mask.as_deref().or(called).unwrap_or(MASK))
    }
}

fn object(dir: &Path, name: &str) -> Result<Value> {
    let file = dir.join(name);
    match super::read(&file)? {
        Some(text) => {
            serde_json::from_str(&text).map_err(|error| TextError::Invalid { file, reason: error.to_string() })
        }
        None => Ok(Value::Null),
    }
}

fn id(value: &Value) -> Option<u32> {
    value.as_u64().and_then(|id| u32::try_from(id).ok())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(files: &[(&str, Value)]) -> AddedTokens {
        let dir = tempfile::tempdir().unwrap();
        for (name, value) in files {
            std::fs::write(dir.path().join(name), value.to_string()).unwrap();
        }
        AddedTokens::read(dir.path()).unwrap()
    }

    #[test]
    fn a_mask_is_found_in_whichever_file_has_it() {
        let whole = ("tokenizer.json", json!({"added_tokens": [{"id": 9, "content": "<|mask|>"}, {"id": 1}]}));
        let listed = ("added_tokens.json", json!({"<|mask|>": 8, "<|im_end|>": 7}));
        let settings = ("tokenizer_config.json", json!({"added_tokens_decoder": {"6": {"content": "<|mask|>"}}}));
        assert_eq!(read(&[]).mask(None), None);
        assert_eq!(read(std::slice::from_ref(&whole)).mask(None), Some(9));
        assert_eq!(read(&[whole.clone(), listed.clone()]).mask(None), Some(8));
        let all = read(&[whole, listed.clone(), settings]);
        assert_eq!((all.mask(None), all.id("<|im_end|>"), all.id("no")), (Some(6), Some(7), None));
        let named = ("tokenizer_config.json", json!({"mask_token": "[M]"}));
        assert_eq!(read(&[listed.clone(), named.clone()]).mask(None), None, "the settings name another");
        let listed = ("added_tokens.json", json!({"<|mask|>": 8, "[M]": 5}));
        assert_eq!(read(&[listed, named]).mask(None), Some(5));
    }
}
