//! From the text of a record to the ids of a prompt, no longer than the model is given room for.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::settings::Settings;
use super::{ChatTemplate, Message, Result, TextError, Tokenizer};

/// What happens to a prompt that is too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TooLong {
    /// It is skipped, and whoever asked for it counts it.
    Skip,
    /// Its last tokens are kept. With a chat template it loses its header that way.
    Truncate,
}

/// An encoded prompt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Prompt {
    /// The whole prompt.
    Whole(Vec<u32>),
    /// The last tokens of a prompt that has `full_length` of them.
    Truncated {
        /// The ids kept.
        ids: Vec<u32>,
        /// The number of tokens before the cut, at least.
        full_length: usize,
    },
    /// A prompt that is too long and must be left out.
    Skipped {
        /// The number of its tokens, at least.
        full_length: usize,
    },
}

impl Prompt {
    /// The ids to give to the model, unless the prompt was skipped.
    pub fn ids(&self) -> Option<&[u32]> {
        match self {
            Prompt::Whole(ids) | Prompt::Truncated { ids, .. } => Some(ids),
            Prompt::Skipped { .. } => None,
        }
    }
}

/// Encodes prompts as one turn of the user, ready for the model's answer.
#[derive(Clone, Debug)]
pub struct PromptEncoder {
    tokenizer: Tokenizer,
    chat: Option<ChatTemplate>,
    max_prompt_length: usize,
    too_long: TooLong,
    /// Bytes of the vocabulary's longest token.
    longest_token: usize,
}

/// Bytes that are encoded in any case. (Encoding takes more than a hundred times the memory of the text.)
const ALWAYS: usize = 256 << 10;

impl PromptEncoder {
    /// Loads the tokenizer and, if there is one, the chat template of a model folder.
    ///
    /// # Errors
    /// If one of them cannot be loaded.
    pub fn load(dir: &Path, max_prompt_length: NonZeroUsize, too_long: TooLong) -> Result<Self> {
        let settings = Settings::load(dir)?;
        let chat = ChatTemplate::with_settings(dir, &settings)?;
        if chat.is_none() {
            tracing::info!("{} has no chat template: the model is given prompts as they are", dir.display());
        }
        let tokenizer = Tokenizer::with_settings(dir, &settings)?;
        Ok(Self {
            longest_token: tokenizer.longest_token(),
            tokenizer,
            chat,
            max_prompt_length: max_prompt_length.get(),
            too_long,
        })
    }

    /// The encoder with variables that the chat template is given beside the conversation.
    pub fn with_variables(self, variables: BTreeMap<String, serde_json::Value>) -> Self {
        Self { chat: self.chat.map(|chat| chat.with_variables(variables)), ..self }
    }

    /// The tokenizer, to decode completions with.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// The text the model is given for a prompt: rendered by the chat template, or as it is without one.
    ///
    /// # Errors
    /// If the chat template fails.
    pub fn render(&self, prompt: &str) -> Result<String> {
        self.render_turns(&[Message::user(prompt)])
    }

    /// The text the model is given for a conversation: rendered by the chat template; without one, a single turn of the user
    /// as it is.
    ///
    /// # Errors
    /// If the chat template fails, or there is none for what is more than one turn of the user.
    pub fn render_turns(&self, turns: &[Message]) -> Result<String> {
        match (&self.chat, turns) {
            (Some(chat), _) => chat.render(turns, true),
            (None, [Message { role, content }]) if role == "user" => Ok(content.clone()),
            (None, _) => Err(TextError::NoChatTemplate),
        }
    }

    /// Encodes a prompt.
    ///
    /// # Errors
    /// If the chat template or the tokenizer fails.
    pub fn encode(&self, prompt: &str) -> Result<Prompt> {
        self.encode_turns(&[Message::user(prompt)])
    }

    /// Encodes a conversation. A text that cannot fit, since it has more bytes than the longest tokens, is not encoded, or
    /// its end alone.
    ///
    /// # Errors
    /// As [`PromptEncoder::render_turns`], or if the tokenizer fails.
    pub fn encode_turns(&self, turns: &[Message]) -> Result<Prompt> {
        let text = self.render_turns(turns)?;
        let most = (self.max_prompt_length * self.longest_token).max(ALWAYS);
        let fewest = text.len().div_ceil(self.longest_token);
        let (text, at_least) = match text.len() > most {
            false => (text.as_str(), 0),
            true if self.too_long == TooLong::Skip => return Ok(Prompt::Skipped { full_length: fewest }),
            // twice as much, so that how it begins has no part in what is kept
            true => (&text[text.ceil_char_boundary(text.len().saturating_sub(2 * most))..], fewest),
        };
        let mut ids = self.tokenizer.encode(text)?;
        let full_length = ids.len().max(at_least);
        if full_length <= self.max_prompt_length {
            return Ok(Prompt::Whole(ids));
        }
        Ok(match self.too_long {
            TooLong::Skip => Prompt::Skipped { full_length },
            TooLong::Truncate => {
                ids.drain(..ids.len().saturating_sub(self.max_prompt_length));
                Prompt::Truncated { ids, full_length }
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    fn tiny() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/sudoku-tiny")
    }

    fn encode(dir: &Path, limit: usize, too_long: TooLong, text: &str) -> (Prompt, Option<String>) {
        let encoder = PromptEncoder::load(dir, limit.try_into().unwrap(), too_long).unwrap();
        let prompt = encoder.encode(text).unwrap();
        let text = prompt.ids().map(|ids| encoder.tokenizer().decode_raw(ids));
        (prompt, text)
    }

    #[test]
    fn without_a_chat_template_the_text_is_used_as_it_is() {
        let (prompt, text) = encode(&tiny(), 16, TooLong::Skip, " 0204032001400 2");
        assert!(matches!(prompt, Prompt::Whole(_)));
        assert_eq!(text.as_deref(), Some(" 0204032001400 2"));
    }

    #[test]
    fn a_prompt_too_long_is_skipped_or_keeps_its_last_tokens() {
        let (prompt, _) = encode(&tiny(), 4, TooLong::Skip, "12345");
        assert_eq!(prompt, Prompt::Skipped { full_length: 5 });
        let (prompt, text) = encode(&tiny(), 4, TooLong::Truncate, "12345");
        assert!(matches!(prompt, Prompt::Truncated { full_length: 5, .. }));
        assert_eq!(text.as_deref(), Some("2345"));
        assert!(matches!(encode(&tiny(), 5, TooLong::Skip, "12345").0, Prompt::Whole(_)));
    }

    #[test]
    fn a_prompt_of_megabytes_was_encoded_before_it_was_skipped() {
        let text = "1234".repeat(ALWAYS) + "321";
        let (prompt, _) = encode(&tiny(), 4, TooLong::Skip, &text);
        assert!(matches!(prompt, Prompt::Skipped { full_length } if full_length > 4), "{prompt:?}");
        let (prompt, kept) = encode(&tiny(), 4, TooLong::Truncate, &text);
        assert!(matches!(prompt, Prompt::Truncated { full_length, .. } if full_length > 2 * ALWAYS / 16), "{prompt:?}");
        assert_eq!(kept.as_deref(), Some("4321"));
        // what may fit is looked at
        let (prompt, _) = encode(&tiny(), text.len(), TooLong::Skip, &text);
        assert!(matches!(prompt, Prompt::Whole(ids) if ids.len() == text.len()));
    }

    #[test]
    fn the_chat_template_is_applied_and_its_special_tokens_parsed() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::copy(tiny().join("tokenizer.json"), dir.path().join("tokenizer.json")).unwrap();
        let template = "<|pad|>{{ messages[0].role }}:{{ messages[0].content }}<|endoftext|>\
                        {% if add_generation_prompt %}a:{% endif %}";
        std::fs::write(dir.path().join("chat_template.jinja"), template).unwrap();
        let (prompt, text) = encode(dir.path(), 100, TooLong::Skip, "12");
        assert_eq!(text.as_deref(), Some("<|pad|>user:12<|endoftext|>a:"));
        assert_eq!(prompt.ids().map(<[u32]>::len), Some(11));
    }
}
