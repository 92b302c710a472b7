//! Rewards from a command of the user's: a program in any language that reads one request a line and answers each with
//! one line.
//!
//! ```text
//! -> {"prompt": "...", "completion": "...", "record": {...}}
//! <- {"reward": 1.5}    or    {"reward": 1.5, "parts": {"format": 0.5, "answer": 1.0}}
//! ```
//!
//! The program is started once and kept; its standard error is logged, its standard input closes when it should end.
//! Nothing of a batch is returned before all of it is known to be answered line by line: rewards that belong to other
//! completions would train the model on noise without anybody noticing.
//!
//! | part | what it holds |
//! |---|---|
//! | `wire` | the two lines |
//! | `pipes` | the threads behind the three pipes |
//! | `quota` | how much of standard error is logged |
//! | `process` | one running program |
//! | `environment` | the variables that it is given |
//! | `group` | the program and whatever it starts, as the system sees them |
//! | `error` | what users get wrong |

mod environment;
mod error;
mod group;
mod pipes;
mod process;
mod quota;
#[cfg(test)]
mod tests;
mod wire;

pub use error::CommandError;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::Record;
use crate::config::VariableName;
use crate::signal::Stop;
use error::beginning;
use pipes::{End, Line};
use process::{FAREWELL, Launch, Process, Reply};

type Result<T, E = CommandError> = std::result::Result<T, E>;

/// How long a batch waits for lines nobody asked for, once it is answered.
const GRACE: Duration = Duration::from_millis(20);
/// How long [`RewardCommand::check`] watches the program, which notices a script that is not there.
const WATCH: Duration = Duration::from_millis(300);

/// One completion to score.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The prompt the model was given.
    pub prompt: &'a str,
    /// What it wrote.
    pub completion: &'a str,
    /// The record behind the prompt.
    pub record: &'a Record,
}

/// What the command thinks of a completion.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// The reward; finite.
    pub reward: f64,
    /// Named numbers to report beside it, in the command's order; finite.
    pub parts: Vec<(String, f64)>,
}

/// A command that scores completions. It is started at the first use and ends with this value.
#[derive(Debug)]
pub struct RewardCommand {
    launch: Launch,
    time_limit: Duration,
    /// Always [`GRACE`], but for a test.
    grace: Duration,
    /// The running program, between batches; taken out during one, so that whatever goes wrong then ends it.
    process: Mutex<Option<Process>>,
}

impl RewardCommand {
    /// A command, as program and arguments, that may take `time_limit` for an answer; the first answer of a process
    /// includes its start. Nothing is started yet.
    pub fn new(command: Vec<String>, time_limit: Duration) -> Self {
        let launch = Launch { command, env: Vec::new(), quota: Arc::default() };
        Self { launch, time_limit, grace: GRACE, process: Mutex::new(None) }
    }

    /// The command with these variables of the environment beside the few that every command gets.
    pub fn with_env(mut self, names: Vec<VariableName>) -> Self {
        self.launch.env = names;
        self
    }

    /// Starts the program, unless it runs, and watches it for a moment. What is started is logged first.
    ///
    /// # Errors
    /// If it cannot be started, ends at once, or prints something before it is asked.
    pub fn check(&self, stop: &Stop) -> Result<()> {
        self.log_start();
        self.watch(WATCH, stop)
    }

    fn log_start(&self) {
        let Launch { command, env, .. } = &self.launch;
        let passed = environment::select(std::env::vars_os(), env);
        let names: Vec<_> = passed.iter().map(|(name, _)| name.to_string_lossy()).collect();
        tracing::info!("starting the reward command {command:?}");
        tracing::debug!("it gets {} of the environment", names.join(", "));
        let missing = environment::missing(&passed, env);
        if !missing.is_empty() {
            tracing::warn!("task.custom.reward_command.env lists {}, which is not set", missing.join(", "));
        }
    }

    fn watch(&self, time: Duration, stop: &Stop) -> Result<()> {
        let mut slot = self.lock();
        let mut process = self.running(slot.take())?;
        match process.wait(time, stop)? {
            Reply::Line(line) => Err(unasked(&line)),
            Reply::Closed => {
                let (status, stderr) = process.post_mortem();
                Err(CommandError::Exited { command: beginning(&self.launch.command.join(" ")), status, stderr })
            }
            Reply::Nothing => {
                *slot = Some(process);
                Ok(())
            }
        }
    }

    /// Scores completions: one answer for each request, in their order. A program that ends or takes too long is
    /// started again and asked once more.
    ///
    /// # Errors
    /// If the program cannot be started, fails twice on the same request, or breaks the protocol. The program is then
    /// ended; the next call starts another one. [`CommandError::Interrupted`] within a second after `stop` asks for it,
    /// whatever the program is doing; it is ended.
    pub fn score(&self, requests: &[Request<'_>], stop: &Stop) -> Result<Vec<Answer>> {
        if requests.is_empty() {
            return Ok(Vec::new());
        }
        let mut slot = self.lock();
        let mut process = self.running(slot.take())?;
        let mut answers = Vec::with_capacity(requests.len());
        for (i, request) in requests.iter().enumerate() {
            answers.push(self.ask(&mut process, i + 1, request, stop)?);
        }
        settle(&process, self.grace, stop)?;
        *slot = Some(process);
        Ok(answers)
    }

    /// The program that ran before, if it still runs, or a new one.
    fn running(&self, before: Option<Process>) -> Result<Process> {
        if let Some(mut process) = before {
            match process.pending() {
                Reply::Line(line) => return Err(unasked(&line)),
                Reply::Nothing if !process.has_exited() => return Ok(process),
                Reply::Nothing | Reply::Closed => {}
            }
            tracing::debug!("the reward command has ended since it was last asked; it is started again");
        }
        Process::start(&self.launch)
    }

    /// The answer to request number `number` of a batch, counted from 1.
    fn ask(&self, process: &mut Process, number: usize, request: &Request<'_>, stop: &Stop) -> Result<Answer> {
        let failure = match self.try_ask(process, number, request, stop) {
            Err(error @ (CommandError::Died { .. } | CommandError::Late { .. })) => error,
            settled => return settled,
        };
        let reason = match failure {
            CommandError::Died { status, .. } => format!("ended ({status})"),
            _ => format!("gave no answer within {} s", self.time_limit.as_secs_f64()),
        };
        tracing::warn!(
            "the reward command {reason} at request {number} of a batch; it is started again and asked once more"
        );
        // Before the next one starts: they may want the same file, port or memory.
        process.end(FAREWELL);
        *process = Process::start(&self.launch)?;
        self.try_ask(process, number, request, stop)
    }

    fn try_ask(&self, process: &mut Process, number: usize, request: &Request<'_>, stop: &Stop) -> Result<Answer> {
        if let Reply::Line(line) = process.pending() {
            return Err(unasked(&line));
        }
        let start = Instant::now();
        match process.ask(wire::encode(request), self.time_limit, stop)? {
            Reply::Line(line) => {
                let answer = read(&line, number)?;
                if !line.rest.is_empty() {
                    return Err(CommandError::Unasked { line: shown(&line.rest) });
                }
                // A second line later than the next request would pass for its answer. A quick command that runs ahead
                // like that shows at the end of the batch; a slow one may not, and can spare a moment here.
                settle(process, GRACE.min(start.elapsed() / 20), stop)?;
                Ok(answer)
            }
            Reply::Nothing => Err(CommandError::Late {
                request: number,
                completion: beginning(request.completion),
                limit: self.time_limit,
            }),
            Reply::Closed => {
                let (status, stderr) = process.post_mortem();
                let completion = beginning(request.completion);
                Err(CommandError::Died { request: number, completion, status, stderr })
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Process>> {
        // A batch that panicked has taken its program with it, so what is there is sound.
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Waits for a line nobody asked for; an end of the program is none of our business while nothing is asked.
fn settle(process: &Process, time: Duration, stop: &Stop) -> Result<()> {
    match process.wait(time, stop)? {
        Reply::Line(line) => Err(unasked(&line)),
        Reply::Nothing | Reply::Closed => Ok(()),
    }
}

fn read(line: &Line, request: usize) -> Result<Answer> {
    let answer = match line.end {
        End::TooLong => Err(format!("it is longer than {} MiB", wire::LONGEST_ANSWER >> 20)),
        End::LineFeed | End::Eof => wire::decode(&line.bytes),
    };
    answer.map_err(|reason| CommandError::BadAnswer { request, line: shown(&line.bytes), reason })
}

fn unasked(line: &Line) -> CommandError {
    CommandError::Unasked { line: shown(&line.bytes) }
}

fn shown(bytes: &[u8]) -> String {
    beginning(&String::from_utf8_lossy(bytes))
}
