//! A program and whatever it starts, as one process group that ends with this process, however this process ends.
//!
//! The group is led by a watch: a shell that waits at a pipe whose other end only this process holds, and kills its own
//! group once that end is closed. The system closes it after `kill -9`, a second Ctrl-C or the OOM killer as well, so a
//! program that is busy or never reads does not stay behind, and neither do its children.
//!
//! Linux's parent-death signal would reach the program alone and not its children; it is sent when the *thread* that
//! started the program ends; and it needs a fork of this process, weights and all, where a spawn copies nothing.
//!
//! Two things are out of reach: a child that leaves the group for a session of its own, and, where there is no shell,
//! the end of a busy program after a `kill -9` of this process (which is logged).

use std::io;
use std::process::{Child, Command};

/// The shell that watches, and what it does. A program that signals its whole group to clean up must not end the watch.
#[cfg(unix)]
const WATCH: [&str; 4] =
    ["/bin/sh", "-c", "trap '' HUP INT QUIT TERM USR1 USR2 ALRM; read -r _; kill -KILL 0", "spg-reward-watch"];

/// A running program with its group.
#[derive(Debug)]
pub(super) struct Program {
    child: Child,
    /// Leads the group; without it the child does.
    watch: Option<Child>,
}

impl Program {
    /// Starts a program in a group of its own: Ctrl-C goes to the whole group in the foreground, but a run that is asked
    /// to stop may still need rewards.
    ///
    /// # Errors
    /// The system's.
    pub fn start(command: &mut Command) -> io::Result<Self> {
        let mut watch = watch();
        #[cfg(unix)]
        {
            let leader = watch.as_ref().and_then(|watch| libc::pid_t::try_from(watch.id()).ok());
            std::os::unix::process::CommandExt::process_group(command, leader.unwrap_or(0));
        }
        match command.spawn() {
            Ok(child) => Ok(Self { child, watch }),
            Err(error) => {
                end(&mut watch);
                Err(error)
            }
        }
    }

    /// The process of the program itself.
    pub fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    /// Whether the program has exited, without reaping it.
    #[cfg(unix)]
    pub fn has_exited(&mut self) -> bool {
        // SAFETY: an all-zero siginfo_t is valid, waitid writes to nothing but the one it is given, and it sets its pid.
        unsafe {
            let mut info: libc::siginfo_t = std::mem::zeroed();
            let options = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
            libc::waitid(libc::P_PID, self.child.id(), &mut info, options) == 0 && info.si_pid() != 0
        }
    }

    /// Whether the program has exited.
    #[cfg(not(unix))]
    pub fn has_exited(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(Some(_)))
    }

    /// Kills what is left of the program and its group, reaps it, and says how it ended. To be called once.
    pub fn kill(&mut self) -> String {
        #[cfg(unix)]
        if let Ok(group) = libc::pid_t::try_from(self.watch.as_ref().unwrap_or(&self.child).id()) {
            // SAFETY: sends a signal, touches no memory. Until its leader is reaped below nobody else gets the group's id.
            unsafe { libc::killpg(group, libc::SIGKILL) };
        }
        // A program that has left its group is reached by its own id. An error means that it has exited.
        let _ = self.child.kill();
        let status = self.child.wait().map_or_else(|error| error.to_string(), |status| status.to_string());
        end(&mut self.watch);
        status
    }
}

/// Ends a watch.
fn end(watch: &mut Option<Child>) {
    if let Some(mut watch) = watch.take() {
        let _ = watch.kill();
        let _ = watch.wait();
    }
}

/// Starts a watch in a group of its own; its standard input is the pipe.
#[cfg(unix)]
fn watch() -> Option<Child> {
    use std::os::unix::process::CommandExt as _;
    use std::process::Stdio;

    let [shell, arguments @ ..] = WATCH;
    let mut command = Command::new(shell);
    command.args(arguments).env_clear().current_dir("/").process_group(0);
    match command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn() {
        Ok(watch) => Some(watch),
        Err(error) => {
            tracing::warn!(
                "cannot start {shell} ({error}): the reward command may stay behind if this process is killed"
            );
            None
        }
    }
}

#[cfg(not(unix))]
fn watch() -> Option<Child> {
    None
}
