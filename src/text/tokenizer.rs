//! The tokenizer of a model folder.

use std::path::{Path, PathBuf};

use super::added::add_missing;
use super::settings::Settings;
use super::{Result, TextError, declared, vocabulary};
use crate::foreign::guarded;

/// A text that every tokenizer takes, to see whether it works.
const SAMPLE: &str = "Is 12 + 3 = 15?\n Yes.";

/// A model's tokenizer. It adds nothing to what it is given: the chat template writes the special tokens.
#[derive(Clone, Debug)]
pub struct Tokenizer {
    file: PathBuf,
    inner: tokenizers::Tokenizer,
}

impl Tokenizer {
    /// Loads `tokenizer.json` from a model folder, or what `vocab.json` and `merges.txt` stand for, and adds the tokens that only `tokenizer_config.json` names.
    ///
    /// # Errors
    /// If the file is missing, unreadable or not a tokenizer; if the other one does not hold what it should.
    pub fn load(dir: &Path) -> Result<Self> {
        Self::with_settings(dir, &Settings::load(dir)?)
    }

    pub(super) fn with_settings(dir: &Path, settings: &Settings) -> Result<Self> {
        let file = dir.join("tokenizer.json");
        let (file, text) = match super::read(&file)? {
            Some(text) => (file, text),
            None => match vocabulary::tokenizer_json(dir, settings)? {
                Some(text) => (dir.join(vocabulary::VOCABULARY), text),
                None => return Err(TextError::NoTokenizer(file)),
            },
        };
        let invalid = |reason: String| TextError::Invalid { file: file.clone(), reason };
        declared::check(&text).map_err(invalid)?;
        let build = || -> Result<tokenizers::Tokenizer> {
            let foreign = |error: tokenizers::Error| invalid(error.to_string());
            let mut inner = tokenizers::Tokenizer::from_bytes(text).map_err(foreign)?;
            // Settings left in the file by whoever saved it would silently cut or pad prompts.
            inner.with_truncation(None).map_err(foreign)?;
            inner.with_padding(None);
            add_missing(&mut inner, settings)?;
            // Some parts that cannot work are built without a word.
            let ids = inner.encode_fast(SAMPLE, false).map_or(Vec::new(), |encoding| encoding.get_ids().to_vec());
            for n in 0..=ids.len() {
                let _ = inner.decode(&ids[..n], true);
            }
            Ok(inner)
        };
        let inner = guarded(build).unwrap_or_else(|panicked| Err(invalid(panicked.to_string())))?;
        Ok(Self { file, inner })
    }

    /// The ids of a text. Special tokens written in it are parsed, none are added.
    ///
    /// # Errors
    /// If the tokenizer has no way to write a part of the text.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>> {
        let failed = |reason: String| TextError::Encode { text: text.chars().take(60).collect(), reason };
        let encoding = guarded(|| self.inner.encode_fast(text, false))
            .map_err(|panicked| failed(panicked.to_string()))?
            .map_err(|error| failed(error.to_string()))?;
        Ok(encoding.get_ids().to_vec())
    }

    /// The text of some ids without special tokens. Ids that stand for no token are left out: a model's
    /// vocabulary may be padded beyond the tokenizer's, and nothing keeps it from choosing such an id.
    pub fn decode(&self, ids: &[u32]) -> String {
        self.decode_with(ids, true)
    }

    /// As [`Tokenizer::decode`], special tokens included.
    pub fn decode_raw(&self, ids: &[u32]) -> String {
        self.decode_with(ids, false)
    }

    /// What every id adds to the text: pieces that [`Tokenizer::decode_raw`] of all ids consists of. A character of several
    /// ids belongs to the last of them; the others have empty pieces.
    pub fn pieces(&self, ids: &[u32]) -> Vec<String> {
        let text = self.decode_raw(ids);
        let mut start = 0;
        let mut piece = |n: usize| {
            // a decoder may end a text that goes on in another way, such as half a character
            let settled = if n == ids.len() { text.len() } else { common(&text, &self.decode_raw(&ids[..n])) };
            let end = settled.max(start);
            text[std::mem::replace(&mut start, end)..end].to_owned()
        };
        (1..=ids.len()).map(&mut piece).collect()
    }

    fn decode_with(&self, ids: &[u32], skip_special_tokens: bool) -> String {
        let decoded = guarded(|| self.inner.decode(ids, skip_special_tokens).map_err(|error| error.to_string()));
        decoded.unwrap_or_else(|panicked| Err(panicked.to_string())).unwrap_or_else(|error| {
            // What a model writes must never end a run; decoders of language models do not fail.
            tracing::warn!("{} cannot decode {} tokens: {error}", self.file.display(), ids.len());
            String::new()
        })
    }

    /// The id of a token as it is written in the vocabulary, special or not.
    pub fn id(&self, token: &str) -> Option<u32> {
        self.inner.token_to_id(token)
    }

    /// Bytes of the longest token as it is written in the vocabulary, which are no fewer than those of its text; at least 1.
    pub fn longest_token(&self) -> usize {
        self.inner.get_vocab(true).keys().map(String::len).max().unwrap_or(1).max(1)
    }

    /// The token of an id as it is written in the vocabulary.
    pub fn token(&self, id: u32) -> Option<String> {
        self.inner.id_to_token(id)
    }

    /// Checks that an id of the model's configuration, called `name` there, stands for a token. A tokenizer
    /// of another model is found out here instead of by the nonsense it leads to.
    ///
    /// # Errors
    /// [`TextError::MissingId`] if it does not.
    pub fn require_id(&self, id: u32, name: &str) -> Result<()> {
        match self.token(id) {
            Some(_) => Ok(()),
            None => Err(TextError::MissingId { file: self.file.clone(), id, name: name.into() }),
        }
    }
}

/// Bytes with which both texts begin, in whole characters.
fn common(a: &str, b: &str) -> usize {
    a.chars().zip(b.chars()).take_while(|(a, b)| a == b).map(|(a, _)| a.len_utf8()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const EOS: u32 = 1;
    const UNKNOWN: u32 = 2;
    const MASK: u32 = 63;

    fn tiny() -> Tokenizer {
        Tokenizer::load(&Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/sudoku-tiny")).unwrap()
    }

    #[test]
    fn the_tiny_tokenizer_has_64_ids_and_its_special_tokens_in_place() {
        let tokenizer = tiny();
        assert!((0..64).all(|id| tokenizer.token(id).is_some()));
        assert_eq!(tokenizer.token(64), None);
        let specials = ["<|pad|>", "<|endoftext|>", "<|unk|>", "<|mdm_mask|>"].map(|token| tokenizer.id(token));
        assert_eq!(specials, [Some(0), Some(EOS), Some(UNKNOWN), Some(MASK)]);
    }

    #[test]
    fn every_character_is_a_token() {
        let tokenizer = tiny();
        for (text, length) in [("0204032001400402", 16), ("<answer>1234432121433412</answer>", 33)] {
            let ids = tokenizer.encode(text).unwrap();
            assert_eq!(ids.len(), length);
            assert_eq!(tokenizer.decode(&ids), text);
        }
        assert_eq!(tokenizer.encode("aa").unwrap().len(), 2);
    }

    #[test]
    fn special_tokens_are_parsed_and_only_the_raw_text_shows_them() {
        let tokenizer = tiny();
        let text = "12<|endoftext|><|mdm_mask|>3<|pad|>";
        let ids = tokenizer.encode(text).unwrap();
        assert_eq!(ids.len(), 6);
        assert_eq!((ids[2], ids[3], ids[5]), (EOS, MASK, 0));
        assert_eq!(tokenizer.decode(&ids), "123");
        assert_eq!(tokenizer.decode_raw(&ids), text);
    }

    #[test]
    fn unknown_characters_are_marked_one_by_one() {
        let ids = tiny().encode("1éÉ2").unwrap();
        assert_eq!((ids.len(), ids[1], ids[2]), (4, UNKNOWN, UNKNOWN));
    }

    /// As byte-level vocabularies have them: a token a byte.
    #[test]
    fn a_character_of_several_ids_is_the_piece_of_the_last() {
        let json = serde_json::json!({
            "version": "1.0", "added_tokens": [], "decoder": {"type": "ByteFallback"},
            "model": {"type": "BPE", "byte_fallback": true, "unk_token": null, "merges": [],
                "vocab": {"<0xF0>": 0, "<0x9F>": 1, "<0x98>": 2, "<0x80>": 3, "a": 4, "b": 5}},
        });
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("tokenizer.json"), json.to_string()).unwrap();
        let tokenizer = Tokenizer::load(dir.path()).unwrap();
        assert_eq!(tokenizer.pieces(&[4, 0, 1, 2, 3, 5]), ["a", "", "", "", "😀", "b"]);
        let torn = tokenizer.pieces(&[4, 0, 1]);
        assert_eq!((torn[0].as_str(), torn.concat()), ("a", tokenizer.decode_raw(&[4, 0, 1])));
    }

    #[test]
    fn ids_without_a_token_are_left_out() {
        let tokenizer = tiny();
        let one = tokenizer.encode("1").unwrap()[0];
        assert_eq!(tokenizer.decode_raw(&[one, 64, u32::MAX, one]), "11");
        assert_eq!(tokenizer.decode(&[64]), "");
    }

    proptest! {
        #[test]
        fn encoding_and_decoding_is_a_round_trip(text in r"[0-9a-z \n<>/|.,:?!+*=()'_;{}\\-]{0,80}") {
            let tokenizer = tiny();
            let ids = tokenizer.encode(&text).unwrap();
            prop_assert_eq!(tokenizer.decode_raw(&ids), text);
            prop_assert!(!ids.contains(&UNKNOWN));
        }

        #[test]
        fn decoding_takes_any_ids(ids in prop::collection::vec(0u32..200, 0..40)) {
            let tokenizer = tiny();
            let known = ids.iter().filter_map(|&id| tokenizer.token(id)).collect::<String>();
            prop_assert_eq!(tokenizer.decode_raw(&ids), known);
        }

        #[test]
        fn pieces_join_to_the_text(ids in prop::collection::vec(0u32..70, 0..40)) {
            let tokenizer = tiny();
            let pieces = tokenizer.pieces(&ids);
            prop_assert_eq!(pieces.len(), ids.len());
            prop_assert_eq!(pieces.concat(), tokenizer.decode_raw(&ids));
        }
    }

    #[test]
    fn a_required_id_without_a_token_names_file_and_id() {
        let tokenizer = tiny();
        assert!(tokenizer.require_id(MASK, "mask_token_id").is_ok());
        let message = tokenizer.require_id(126_336, "mask_token_id").unwrap_err().to_string();
        assert!(
            message.ends_with("tokenizer.json has no token 126336, which is the model's mask_token_id"),
            "{message}"
        );
    }

    #[test]
    fn parts_that_cannot_work_panicked() {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/sudoku-tiny/tokenizer.json");
        let whole: serde_json::Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
        let strip = |start: usize| serde_json::json!({"type": "Strip", "content": "1", "start": start, "stop": 9});
        for (part, value) in [
            ("pre_tokenizer", serde_json::json!({"type": "FixedLength", "length": 0})),
            ("decoder", serde_json::json!({"type": "X"})),
            ("decoder", strip(1_000)),
            ("normalizer", serde_json::json!({"type": "Precompiled", "precompiled_charsmap": "BAAAAAAAAAAA"})),
            ("normalizer", serde_json::json!({"type": "Precompiled", "precompiled_charsmap": "CAAAAP////////////8="})),
        ] {
            let mut json = whole.clone();
            json[part] = value.clone();
            let dir = tempfile::tempdir().unwrap();
            std::fs::write(dir.path().join("tokenizer.json"), json.to_string()).unwrap();
            let error = Tokenizer::load(dir.path()).expect_err(part).to_string();
            assert!(error.contains("tokenizer.json is not valid"), "{value}: {error}");
        }
    }

    #[test]
    fn a_missing_and_a_broken_file_are_told_apart() {
        let dir = tempfile::tempdir().unwrap();
        let load = || Tokenizer::load(dir.path()).unwrap_err();
        assert!(matches!(load(), TextError::NoTokenizer(_)));
        std::fs::write(dir.path().join("tokenizer.json"), "{").unwrap();
        assert!(matches!(load(), TextError::Invalid { .. }));
    }

    /// The number of tokens of a text by the tiny tokenizer beside such a configuration.
    fn tokens_beside(config: serde_json::Value, text: &str) -> usize {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/sudoku-tiny/tokenizer.json");
        let dir = tempfile::tempdir().unwrap();
        std::fs::copy(file, dir.path().join("tokenizer.json")).unwrap();
        std::fs::write(dir.path().join("tokenizer_config.json"), config.to_string()).unwrap();
        Tokenizer::load(dir.path()).unwrap().encode(text).unwrap().len()
    }

    /// The numbers are those of `AutoTokenizer`.
    #[test]
    fn tokens_of_tokenizer_config_json_were_split_into_characters() {
        let text = "1<|turn|>2 ab 3";
        assert_eq!(tokens_beside(serde_json::json!({}), text), 15);
        let added = |fields: &str| {
            let token = format!(r#"{{"content": "<|turn|>", "special": true, {fields} "lstrip": false}}"#);
            serde_json::json!({"added_tokens_decoder": {"64": serde_json::from_str::<serde_json::Value>(&token).unwrap()}})
        };
        assert_eq!(tokens_beside(added(""), text), 8);
        assert_eq!(tokens_beside(added(r#""rstrip": true,"#), "1<|turn|>  2"), 3);
        assert_eq!(tokens_beside(serde_json::json!({"bos_token": "<|turn|>"}), text), 8);
        assert_eq!(tokens_beside(serde_json::json!({"additional_special_tokens": ["<|turn|>", "ab"]}), text), 7);
    }

    #[test]
    fn truncation_and_padding_left_in_the_file_are_ignored() {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/sudoku-tiny/tokenizer.json");
        let mut json: serde_json::Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
        json["truncation"] =
            serde_json::json!({"direction": "Right", "max_length": 2, "strategy": "LongestFirst", "stride": 0});
        json["padding"] = serde_json::json!({"strategy": {"Fixed": 9}, "direction": "Right",
            "pad_to_multiple_of": null, "pad_id": 0, "pad_type_id": 0, "pad_token": "<|pad|>"});
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("tokenizer.json"), json.to_string()).unwrap();
        assert_eq!(Tokenizer::load(dir.path()).unwrap().encode("1234").unwrap().len(), 4);
    }
}
