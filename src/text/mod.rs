//! From text to tokens and back: the tokenizer, the chat template, and prompts of bounded length.

mod chat;
mod error;
mod prompt;
mod tokenizer;

pub use chat::{ChatTemplate, Message};
pub use error::TextError;
pub use prompt::{Prompt, PromptEncoder, TooLong};
pub use tokenizer::{Tokenizer, completion_length};

type Result<T, E = TextError> = std::result::Result<T, E>;
