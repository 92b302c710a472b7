//! The `spg` binary: parses the command line, runs the job and turns its outcome into an exit code.

mod cli;

use std::io::Write as _;
use std::process::ExitCode;

use clap::Parser as _;
use spg::error::{DONE, INTERRUPTED, STOPPED, exit_code};
use tracing::Level;

fn main() -> ExitCode {
    spg::runtime::prepare();
    // clap prints help and usage errors itself, and exits with 0 or 2.
    let cli = cli::Cli::parse();
    let as_json = cli.logs_json();
    let (code, text) = spg::runtime::on_pool(|| match cli.run() {
        Ok(()) => (DONE, String::new()),
        Err((error, text)) => (exit_code(&error), text),
    });
    let is_stop = [STOPPED, INTERRUPTED].contains(&code);
    match text.strip_prefix("error: ").unwrap_or(&text) {
        "" => {}
        told if as_json && is_stop && tracing::enabled!(Level::WARN) => tracing::warn!("{told}"),
        told if as_json && !is_stop && tracing::enabled!(Level::ERROR) => tracing::error!("{told}"),
        _ => {
            // Not `eprintln!`, which panics when standard error is closed.
            let _ = writeln!(std::io::stderr(), "{text}");
        }
    }
    code.into()
}
