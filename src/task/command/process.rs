//! One running command: started with its pipes served, asked line by line, ended with everything it started.

use std::io;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, TryRecvError};
use std::time::Duration;

use super::error::{CommandError, beginning};
use super::group;
use super::pipes::{self, Line, Messages, wait_until};
use super::wire::LONGEST_ANSWER;

/// Time to end for a command whose standard input was closed, before it is killed.
pub(super) const FAREWELL: Duration = Duration::from_millis(200);
/// Time to end for a command that closed its standard output, before that is all that is known of its end.
const DYING: Duration = Duration::from_millis(500);

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
    child: Child,
    /// `None` once the command was told to end.
    requests: Option<Sender<Vec<u8>>>,
    answers: Receiver<Line>,
    messages: Messages,
    /// How it ended, once it was waited for.
    status: Option<String>,
}

impl Process {
    /// Starts a command.
    pub fn start(command: &[String]) -> Result<Self, CommandError> {
        let (program, arguments) = command.split_first().ok_or(CommandError::Empty)?;
        let refused = |error: io::Error| CommandError::NotStarted { program: program.clone(), reason: advice(&error) };
        let mut child = group::separate(&mut Command::new(program))
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(refused)?;
        match serve(&mut child, beginning(&command.join(" "))) {
            Ok((requests, answers, messages)) => {
                Ok(Self { child, requests: Some(requests), answers, messages, status: None })
            }
            Err(error) => {
                group::kill(&mut child);
                Err(refused(error))
            }
        }
    }

    /// Writes a line and waits for the next one, both within the time limit.
    pub fn ask(&self, line: Vec<u8>, limit: Duration) -> Reply {
        if let Some(requests) = &self.requests {
            // Fails only if the command has closed its standard input; it may have answered all the same.
            let _ = requests.send(line);
        }
        self.wait(limit)
    }

    /// Waits for a line nobody need have asked for.
    pub fn wait(&self, limit: Duration) -> Reply {
        match self.answers.recv_timeout(limit) {
            Ok(line) => Reply::Line(line),
            Err(RecvTimeoutError::Timeout) => Reply::Nothing,
            Err(RecvTimeoutError::Disconnected) => Reply::Closed,
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
        group::has_exited(&mut self.child)
    }

    /// How a command ended that has closed its standard output, and the last lines of its standard error.
    pub fn post_mortem(&mut self) -> (String, Vec<String>) {
        if !wait_until(DYING, || group::has_exited(&mut self.child)) {
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
        wait_until(farewell, || group::has_exited(&mut self.child));
        let status = group::kill(&mut self.child);
        self.status.insert(status).clone()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end(FAREWELL);
    }
}

/// Starts the threads of the three pipes.
fn serve(child: &mut Child, name: String) -> io::Result<(Sender<Vec<u8>>, Receiver<Line>, Messages)> {
    let missing = || io::Error::other("a pipe is missing");
    let requests = pipes::write(child.stdin.take().ok_or_else(missing)?)?;
    let answers = pipes::lines(child.stdout.take().ok_or_else(missing)?, LONGEST_ANSWER)?;
    let messages = Messages::log(child.stderr.take().ok_or_else(missing)?, name)?;
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
