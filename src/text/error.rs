//! What can go wrong between text and tokens.

use std::path::PathBuf;

/// An error of the tokenizer or the chat template.
#[derive(Debug, thiserror::Error)]
pub enum TextError {
    /// The model folder has no tokenizer.
    #[error("{} does not exist: a model folder needs its tokenizer.json, or vocab.json and merges.txt", .0.display())]
    NoTokenizer(PathBuf),
    /// A file exists but cannot be read.
    #[error("{} cannot be read: {reason}", .file.display())]
    Read {
        /// The file.
        file: PathBuf,
        /// The operating system's message.
        reason: std::io::Error,
    },
    /// A file does not hold what it should.
    #[error("{} is not valid: {reason}", .file.display())]
    Invalid {
        /// The file.
        file: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// An id the model relies on stands for no token.
    #[error("{} has no token {id}, which is the model's {name}", .file.display())]
    MissingId {
        /// The tokenizer's file.
        file: PathBuf,
        /// The id.
        id: u32,
        /// What the model calls it.
        name: String,
    },
    /// A conversation, and nothing that says how the model reads one.
    #[error("the model has no chat template: give it one prompt, without a system message and earlier turns")]
    NoChatTemplate,
    /// A text could not be tokenized.
    #[error("the text {text:?} cannot be tokenized: {reason}")]
    Encode {
        /// The beginning of the text.
        text: String,
        /// The tokenizer's message.
        reason: String,
    },
    /// The chat template refused a conversation.
    #[error("the chat template of {} fails: {reason}", .file.display())]
    Chat {
        /// The file that holds the template.
        file: PathBuf,
        /// The template's message.
        reason: String,
    },
}
