//! What can go wrong with a reward command, as its user reads it.

use std::time::Duration;

use crate::signal::Interrupted;
use crate::terminal::shown_in_line;

/// The key of the program and its arguments.
const COMMAND: &str = "task.custom.reward_command.command";
/// The key of the time an answer may take.
const TIME_LIMIT: &str = "task.custom.reward_command.time_limit_seconds";

/// A reward command failed; the batch it was asked about has no rewards.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// Someone asked to stop before the batch was answered.
    #[error("the reward command was left before it had answered")]
    Interrupted(#[from] Interrupted),
    /// The command names no program.
    #[error("{COMMAND} is empty: give a program and its arguments, such as [\"python3\", \"reward.py\"]")]
    Empty,
    /// The program does not start.
    #[error("{COMMAND}: cannot start `{program}`: {reason}")]
    NotStarted {
        /// The first entry of the command.
        program: String,
        /// The system's message, with advice where there is some.
        reason: String,
    },
    /// The command ended before it was asked anything.
    #[error("{COMMAND}: `{command}` ended before it was asked anything ({status}){}", last_words(.stderr))]
    Exited {
        /// The command, its beginning if it is long.
        command: String,
        /// How it ended.
        status: String,
        /// The last lines of its standard error.
        stderr: Vec<String>,
    },
    /// The command ended while an answer was due, twice on the same request.
    #[error(
        "the reward command ended ({status}) without an answer to request {request} of the batch (completion \
         `{completion}`), and it was asked twice{}", last_words(.stderr)
    )]
    Died {
        /// Number of the request in its batch, from 1.
        request: usize,
        /// The beginning of the completion.
        completion: String,
        /// How it ended the second time.
        status: String,
        /// The last lines of its standard error.
        stderr: Vec<String>,
    },
    /// No answer in time, twice on the same request.
    #[error(
        "the reward command gave no answer to request {request} of the batch (completion `{completion}`) within {} s, \
         and it was asked twice: make it faster or raise {TIME_LIMIT}", .limit.as_secs_f64()
    )]
    Late {
        /// Number of the request in its batch, from 1.
        request: usize,
        /// The beginning of the completion.
        completion: String,
        /// The time an answer may take.
        limit: Duration,
    },
    /// An answer that breaks the protocol.
    #[error(
        "the reward command answered request {request} of the batch with `{line}`: {reason}; an answer is one line \
         such as {{\"reward\": 1.5}} or {{\"reward\": 1.5, \"parts\": {{\"format\": 0.5}}}}"
    )]
    BadAnswer {
        /// Number of the request in its batch, from 1.
        request: usize,
        /// The line, its beginning if it is long.
        line: String,
        /// What is wrong with it.
        reason: String,
    },
    /// More lines than requests; which line answers which request is then anyone's guess.
    #[error(
        "the reward command printed a line nobody asked for: `{line}`; its standard output takes one line for a \
         request and nothing else (messages belong on standard error)"
    )]
    Unasked {
        /// The line, its beginning if it is long.
        line: String,
    },
}

fn last_words(stderr: &[String]) -> String {
    match stderr {
        [] => "; it wrote nothing to standard error".to_owned(),
        lines => format!("; its standard error ends with\n  {}", lines.join("\n  ")),
    }
}

/// A text fit for a message of one line: its first characters, as [`shown_in_line`] shows them.
pub(super) fn beginning(text: &str) -> String {
    const LONGEST: usize = 120;
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}...", shown_in_line(&text[..end])),
        None => shown_in_line(text).into_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_beginning_is_cut_between_characters() {
        assert_eq!(beginning(&"é".repeat(121)), "é".repeat(120) + "...");
        assert_eq!(beginning("a\nb"), "a\\nb");
    }
}
