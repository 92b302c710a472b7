//! One running command: started with its pipes served, asked line by line, ended with everything it started.

use std::io;
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, TryRecvError};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::environment;
use super::error::{CommandError, beginning};
use super::group::Program;
use super::pipes::{self, Line, Messages, wait_until};
use super::quota::Quota;
use super::wire::LONGEST_ANSWER;
use crate::config::VariableName;
use crate::signal::{Interrupted, Stop};

/// Time to end for a command whose standard input was closed, before it is killed.
pub(super) const FAREWELL: Duration = Duration::from_millis(200);
/// Time to end for a command that closed its standard output, before that is all that is known of its end.
const DYING: Duration = Duration::from_millis(500);
/// How often a wait looks whether someone asked to stop.
const LOOK: Duration = Duration::from_millis(100);

/// What is started.
#[derive(Debug)]
pub(super) struct Launch {
    /// The program and its arguments.
    pub command: Vec<String>,
    /// Variables that it gets beside those that every program gets.
    pub env: Vec<VariableName>,
    /// What may still be logged of its standard error, however often it is started.
    pub quota: Arc<Mutex<Quota>>,
}

/// What comes back.
#[derive(Debug)]
pub(super) enum Reply {
    /// A line.
    Line(Line),
    /// Nothing in the given time.
    Nothing,
    /// Nothing, and nothing can come any more.
    Closed,
}

/// A running command. It is ended on drop: its standard input is closed, and if that is not enough it is killed.
#[derive(Debug)]
pub(super) struct Process {
    program: Program,
    /// `None` once the command was told to end.
    requests: Option<Sender<Vec<u8>>>,
    answers: Receiver<Line>,
    messages: Messages,
    /// How it ended, once it was waited for.
    status: Option<String>,
}

impl Process {
    /// Starts a command.
    pub fn start(launch: &Launch) -> Result<Self, CommandError> {
        let (name, arguments) = launch.command.split_first().ok_or(CommandError::Empty)?;
        let refused = |error: io::Error| CommandError::NotStarted { program: name.clone(), reason: advice(&error) };
        let mut command = Command::new(name);
        command.args(arguments).env_clear().envs(environment::select(std::env::vars_os(), &launch.env));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut program = Program::start(&mut command).map_err(refused)?;
        match serve(&mut program, launch) {
            Ok((requests, answers, messages)) => {
                Ok(Self { program, requests: Some(requests), answers, messages, status: None })
            }
            Err(error) => {
                program.kill();
                Err(refused(error))
            }
        }
    }

    /// Writes a line and waits for the next one, both within the time limit.
    pub fn ask(&self, line: Vec<u8>, limit: Duration, stop: &Stop) -> Result<Reply, Interrupted> {
        if let Some(requests) = &self.requests {
            // Fails only if the command has closed its standard input; it may have answered all the same.
            let _ = requests.send(line);
        }
        self.wait(limit, stop)
    }

    /// Waits for a line nobody need have asked for.
    ///
    /// # Errors
    /// Soon after someone asked to stop.
    pub fn wait(&self, limit: Duration, stop: &Stop) -> Result<Reply, Interrupted> {
        let start = Instant::now();
        loop {
            stop.check()?;
            let left = limit.saturating_sub(start.elapsed());
            match self.answers.recv_timeout(left.min(LOOK)) {
                Ok(line) => return Ok(Reply::Line(line)),
                Err(RecvTimeoutError::Disconnected) => return Ok(Reply::Closed),
                Err(RecvTimeoutError::Timeout) if left <= LOOK => return Ok(Reply::Nothing),
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
    }

    /// What has come already.
    pub fn pending(&self) -> Reply {
        match self.answers.try_recv() {
            Ok(line) => Reply::Line(line),
            Err(TryRecvError::Empty) => Reply::Nothing,
            Err(TryRecvError::Disconnected) => Reply::Closed,
        }
    }

    /// Whether the command has exited; it stays there to be waited for.
    pub fn has_exited(&mut self) -> bool {
        self.program.has_exited()
    }

    /// How a command ended that has closed its standard output, and the last lines of its standard error.
    pub fn post_mortem(&mut self) -> (String, Vec<String>) {
        if !wait_until(DYING, || self.program.has_exited()) {
            self.end(FAREWELL);
            self.status = Some("it closed its standard output but did not exit".to_owned());
        }
        (self.end(FAREWELL), self.messages.last())
    }

    /// Ends the command and all it has started, and says how it ended. It has `farewell` to end by itself.
    pub fn end(&mut self, farewell: Duration) -> String {
        if let Some(status) = &self.status {
            return status.clone();
        }
        self.requests = None;
        wait_until(farewell, || self.program.has_exited());
        let status = self.program.kill();
        // This process may be about to exit, and the log with it.
        self.messages.settle();
        self.status.insert(status).clone()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end(FAREWELL);
    }
}

/// Starts the threads of the three pipes.
fn serve(program: &mut Program, launch: &Launch) -> io::Result<(Sender<Vec<u8>>, Receiver<Line>, Messages)> {
    let missing = || io::Error::other("a pipe is missing");
    let child = program.child();
    let requests = pipes::write(child.stdin.take().ok_or_else(missing)?)?;
    let answers = pipes::lines(child.stdout.take().ok_or_else(missing)?, LONGEST_ANSWER)?;
    let name = beginning(&launch.command.join(" "));
    let messages = Messages::log(child.stderr.take().ok_or_else(missing)?, name, Arc::clone(&launch.quota))?;
    Ok((requests, answers, messages))
}

/// The system's message about a program that does not start, with what to do about it.
fn advice(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => {
            format!("{error}; it must be on the PATH or a path from the working directory, such as ./reward.sh")
        }
        io::ErrorKind::PermissionDenied => {
            format!("{error}; make it executable (chmod +x) or put its interpreter first")
        }
        // A script without a #! line.
        #[cfg(unix)]
        _ if error.raw_os_error() == Some(libc::ENOEXEC) => format!("{error}; put its interpreter first"),
        _ => error.to_string(),
    }
}
