//! From text to tokens and back: the tokenizer, the chat template, and prompts of bounded length.

mod added;
mod added_tokens;
mod chat;
mod declared;
mod error;
mod ids;
mod prompt;
mod settings;
mod tokenizer;
mod vocabulary;

use std::path::Path;

pub use added_tokens::AddedTokens;
pub use chat::{ChatTemplate, Message, TEMPLATES_FOLDER};
pub use error::TextError;
pub use ids::SpecialIds;
pub use prompt::{Prompt, PromptEncoder, TooLong};
pub use tokenizer::Tokenizer;

type Result<T, E = TextError> = std::result::Result<T, E>;

/// The text of a file, or `None` if there is no such file.
fn read(file: &Path) -> Result<Option<String>> {
    let text = crate::files::read_optional(file).and_then(|bytes| {
        bytes.map(String::from_utf8).transpose().map_err(|_| std::io::Error::other("it is not UTF-8"))
    });
    text.map_err(|reason| TextError::Read { file: file.into(), reason })
}
