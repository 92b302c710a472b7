//! The `spg` binary: parses the command line, runs the job and turns its outcome into an exit code.

mod cli;

use std::io::Write as _;
use std::process::ExitCode;

use clap::Parser as _;
use spg::error::{DONE, exit_code};
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
    match text.strip_prefix("error: ") {
        _ if text.is_empty() => {}
        Some(failure) if as_json && tracing::enabled!(Level::ERROR) => tracing::error!("{failure}"),
        None if as_json && tracing::enabled!(Level::INFO) => tracing::info!("{text}"),
        _ => {
            // Not `eprintln!`, which panics when standard error is closed.
            let _ = writeln!(std::io::stderr(), "{text}");
        }
    }
    code.into()
}
