//! Signals: which of them stop a run, how soon, and what it leaves.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::{adapter, metrics, spg, start, succeed, train, wait_for};

fn kill(child: &Child, signal: &str) {
    let status = Command::new("kill").args([signal, &child.id().to_string()]).status().expect("kill");
    assert!(status.success());
}

/// Sends a signal once the metrics are there, which is when the first evaluation begins.
fn signalled(mut child: Child, run: &Path, signal: &str) -> (Option<i32>, Duration) {
    wait_for(&run.join("metrics.jsonl"), &mut child);
    kill(&child, signal);
    let asked = Instant::now();
    (child.wait().expect("a child").code(), asked.elapsed())
}

/// The command with hangups as a terminal has them: whoever runs the tests may have them ignored, as `nohup` does.
fn with_hangups(mut command: Command) -> Command {
    use std::os::unix::process::CommandExt as _;
    // SAFETY: the closure makes one system call and touches no memory of the parent.
    unsafe {
        command.pre_exec(|| match libc::signal(libc::SIGHUP, libc::SIG_DFL) {
            libc::SIG_ERR => Err(std::io::Error::last_os_error()),
            _ => Ok(()),
        })
    };
    command
}

#[test]
fn a_hangup_or_a_warning_killed_a_run_and_an_evaluation_was_finished_first() {
    let dir = tempfile::tempdir().expect("a folder");
    // a first evaluation of a minute and more
    let long = ["--set", "eval.limit=0", "--set", "eval.num_samples=40", "--set", "eval.temperatures=[0.9]"];
    for signal in ["-HUP", "-USR1", "-USR2", "-TERM", "-INT"] {
        let run = dir.path().join(signal);
        let (code, took) = signalled(start(with_hangups(train(&run, &long))), &run, signal);
        assert_eq!(code, Some(75), "{signal}");
        assert!(took < Duration::from_secs(20), "{signal}: {took:?}");
        assert!(run.join("checkpoint-0/trainer_state.json").is_file(), "{signal}");
    }
}

#[test]
fn a_hangup_that_was_ignored_at_the_start_stays_ignored() {
    let dir = tempfile::tempdir().expect("a folder");
    let (run, whole) = (dir.path().join("run"), dir.path().join("whole"));
    let plain = train(&run, &["--max-steps", "2"]);
    let mut command = Command::new("sh");
    command.args(["-c", "trap '' HUP; exec \"$0\" \"$@\""]).arg(plain.get_program()).args(plain.get_args());
    command.current_dir(env!("CARGO_MANIFEST_DIR")).stdout(Stdio::null()).stderr(Stdio::null());
    let (code, _) = signalled(command.spawn().expect("sh"), &run, "-HUP");
    assert_eq!(code, Some(0));
    succeed(train(&whole, &["--max-steps", "2"]));
    assert_eq!(adapter(&run, 2), adapter(&whole, 2));
}

#[test]
fn the_table_of_a_resumed_run_begins_with_its_start() {
    let dir = tempfile::tempdir().expect("a folder");
    let run = dir.path().join("run");
    succeed(train(&run, &["--max-steps", "2"]));
    let output = succeed(train(&run, &["--resume", "--set", "eval.temperatures=[0.9, 0.0]"]));
    let table = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(table.lines().filter(|line| line.starts_with("start")).count(), 2, "{table}");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("train.max_steps 2 -> 6"), "{said}");
    assert_eq!(metrics(&run).len(), 1 + 2 + 1 + 2 + 1 + 2 + 1);
    succeed(spg(&["eval", "--ckpt", run.join("checkpoint-6").to_str().expect("UTF-8"), "--limit", "1"]));
}
