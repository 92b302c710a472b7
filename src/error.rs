//! How failures become exit codes and text.
//!
//! Code that can act on an error returns its own type; the loops return [`anyhow::Error`] with context. These markers
//! anywhere in the chain of causes decide the code: [`ConfigError`] and [`Usage`], [`Stopped`] and [`SweepStopped`],
//! [`Interrupted`], [`StdoutClosed`].

use std::fmt::Write as _;
use std::path::PathBuf;

use crate::config::ConfigError;
use crate::signal::Interrupted;
use crate::terminal;
use crate::world::{Leave, World};

/// Exit code: everything was done.
pub const DONE: u8 = 0;
/// Exit code: something failed.
pub const FAILED: u8 = 1;
/// Exit code: the command line or the configuration is wrong.
pub const USAGE: u8 = 2;
/// Exit code: stopped by a signal, after a good checkpoint (`EX_TEMPFAIL`: run again to go on).
pub const STOPPED: u8 = 75;
/// Exit code: ended by a signal with nothing saved, at once by a second one or where there is nothing to save (128 +
/// SIGINT).
pub const INTERRUPTED: u8 = 130;

/// The user asked for something that cannot be done as asked; the message says what to do instead.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Usage(pub String);

/// A run ended early because of a signal, with everything saved.
#[derive(Debug, thiserror::Error)]
#[error("stopped after step {step}; checkpoint {}: go on with --resume", checkpoint.display())]
pub struct Stopped {
    /// Optimiser updates done.
    pub step: usize,
    /// The folder to go on from.
    pub checkpoint: PathBuf,
}

/// A sweep ended early because of a signal; its runs saved what they had done.
#[derive(Debug, thiserror::Error)]
#[error("stopped; {left} of {of} runs are left: go on with the same command")]
pub struct SweepStopped {
    /// Runs that are not finished.
    pub left: usize,
    /// Runs there are to make.
    pub of: usize,
}

/// Another process of the job failed; what it has to say, it says itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("process {rank} failed")]
pub struct PeerFailed {
    /// Which.
    pub rank: usize,
}

/// Whoever read our standard output has stopped reading (`spg ... | head`): no reason to complain.
#[derive(Debug, thiserror::Error)]
#[error("standard output is closed")]
pub struct StdoutClosed;

/// The exit code that belongs to an error.
pub fn exit_code(error: &anyhow::Error) -> u8 {
    if has::<StdoutClosed>(error) {
        DONE
    } else if has::<Stopped>(error) || has::<SweepStopped>(error) {
        STOPPED
    } else if has::<Interrupted>(error) {
        INTERRUPTED
    } else if has::<Usage>(error) || has::<ConfigError>(error) {
        USAGE
    } else {
        FAILED
    }
}

/// Whether an error of this type is the error, one of its contexts or one of its causes.
pub(crate) fn has<E: std::error::Error + Send + Sync + 'static>(error: &anyhow::Error) -> bool {
    find::<E>(error).is_some()
}

/// The error of this type that is the error, one of its contexts or one of its causes.
pub(crate) fn find<E: std::error::Error + Send + Sync + 'static>(error: &anyhow::Error) -> Option<&E> {
    error.downcast_ref::<E>().or_else(|| error.chain().find_map(|cause| cause.downcast_ref::<E>()))
}

/// The error and its causes as a user reads them, without a final line break; empty when there is nothing to say. What
/// they quote can be foreign: control characters are escaped.
pub fn describe(error: &anyhow::Error) -> String {
    if has::<StdoutClosed>(error) {
        return String::new();
    }
    let stopped = has::<Stopped>(error) || has::<SweepStopped>(error) || has::<Interrupted>(error);
    let mut text = if stopped { String::new() } else { String::from("error: ") };
    let _ = write!(text, "{error}");
    for cause in error.chain().skip(1) {
        let _ = write!(text, "\n  caused by: {cause}");
    }
    terminal::shown(&text).into_owned()
}

/// Ends a command that several processes may have shared: nobody leaves before all know how it ended. An error comes with
/// what this process has to say of it: each failure is told once, by the first process that has it, with its number.
///
/// # Errors
/// That of this process, or that another one failed.
pub fn conclude(world: &World, done: anyhow::Result<()>) -> Result<(), (anyhow::Error, String)> {
    let done = done.and_then(|()| world.gather(()).map(drop));
    let concluded = done.map_err(|error| {
        let text = describe(&error);
        if world.is_solo() {
            return (error, text);
        }
        let stopped = matches!(exit_code(&error), STOPPED | INTERRUPTED);
        let leave = if stopped { Leave::Stopped } else { Leave::Failed { text: text.clone(), numeric: false } };
        let parted = world.part(leave);
        let error = match parted.failure() {
            // it left because it was called
            Some((rank, ..)) if stopped => PeerFailed { rank }.into(),
            _ => error,
        };
        let text = match (parted.speaks(world.rank()), world.is_first()) {
            (true, _) => format!("process {}: {text}", world.rank()),
            (false, true) => describe(&error),
            (false, false) => String::new(),
        };
        (error, text)
    });
    world.farewell();
    concluded
}

#[cfg(test)]
mod tests {
    use anyhow::{Context as _, anyhow};

    use super::*;

    #[test]
    fn a_marker_counts_wherever_it_stands_in_the_chain() {
        assert_eq!(exit_code(&anyhow!("plain")), FAILED);
        assert_eq!(exit_code(&Usage("no".into()).into()), USAGE);
        let deep = anyhow::Error::from(Usage("no".into())).context("outer").context("outermost");
        assert_eq!(exit_code(&deep), USAGE);
        let as_context = Err::<(), _>(anyhow!("cause")).context(Usage("no".into())).context("outer").unwrap_err();
        assert_eq!(exit_code(&as_context), USAGE);
        let config = ConfigError::MissingTable { table: "sft", command: "sft" };
        assert_eq!(exit_code(&anyhow::Error::from(config).context("outer")), USAGE);
        let stopped = Stopped { step: 4, checkpoint: "runs/a/checkpoint-4".into() };
        assert_eq!(exit_code(&stopped.into()), STOPPED);
        assert_eq!(exit_code(&SweepStopped { left: 1, of: 4 }.into()), STOPPED);
        assert_eq!(exit_code(&anyhow::Error::from(Interrupted).context("x was not written")), INTERRUPTED);
        assert_eq!(exit_code(&StdoutClosed.into()), DONE);
    }

    #[test]
    fn the_text_lists_the_causes_in_order() {
        let error = anyhow!("no such file").context("cannot read a.json").context("cannot load the model");
        assert_eq!(
            describe(&error),
            "error: cannot load the model\n  caused by: cannot read a.json\n  caused by: no such file"
        );
        assert_eq!(describe(&StdoutClosed.into()), "");
    }

    #[test]
    fn an_error_that_quotes_a_file_could_drive_the_terminal() {
        let error = anyhow!("a record has \u{1b}[2J").context("line 3:\n  \u{9b}1m");
        assert_eq!(describe(&error), "error: line 3:\n  \\u{9b}1m\n  caused by: a record has \\u{1b}[2J");
    }
}
