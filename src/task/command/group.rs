//! A child and whatever it starts, as one: where there are process groups, the child leads one of its own.

use std::process::{Child, Command};

/// Puts a child that is to be started into a group of its own. Ctrl-C goes to the whole group in the foreground, but a
/// run that is asked to stop still needs rewards to finish its iteration.
pub(super) fn separate(command: &mut Command) -> &mut Command {
    #[cfg(unix)]
    std::os::unix::process::CommandExt::process_group(command, 0);
    command
}

/// Whether a child has exited, without reaping it: until it is reaped, nobody else gets its id or its group's.
#[cfg(unix)]
pub(super) fn has_exited(child: &mut Child) -> bool {
    // SAFETY: an all-zero siginfo_t is valid, waitid writes to nothing but the one it is given, and it sets its pid.
    unsafe {
        let mut info: libc::siginfo_t = std::mem::zeroed();
        let options = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
        libc::waitid(libc::P_PID, child.id(), &mut info, options) == 0 && info.si_pid() != 0
    }
}

/// Whether a child has exited.
#[cfg(not(unix))]
pub(super) fn has_exited(child: &mut Child) -> bool {
    matches!(child.try_wait(), Ok(Some(_)))
}

/// Kills what is left of a child and its group, reaps the child, and says how it ended. Only for a child that was not
/// waited for yet.
pub(super) fn kill(child: &mut Child) -> String {
    #[cfg(unix)]
    if let Ok(group) = libc::pid_t::try_from(child.id()) {
        // SAFETY: sends a signal, touches no memory. Before the wait below the id cannot have become another group's.
        unsafe { libc::killpg(group, libc::SIGKILL) };
    }
    // A child that has left its group is reached by its own id. An error means that it has exited.
    let _ = child.kill();
    child.wait().map_or_else(|error| error.to_string(), |status| status.to_string())
}
