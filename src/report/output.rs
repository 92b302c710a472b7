//! Results on standard output, the only thing that goes there.

use std::io::{self, Write as _};

use crate::error::StdoutClosed;
use crate::terminal;

/// Writes `text` and a line break to standard output, control characters in it [escaped](terminal::shown).
///
/// # Errors
/// [`StdoutClosed`] if nobody reads it any more, which ends the program quietly; else the system's error.
/// (`println!` would panic in both cases.)
pub fn print_result(text: &str) -> anyhow::Result<()> {
    print(&terminal::shown(text))
}

/// Writes a JSON value and a line break to standard output, with the same values but nothing a terminal would obey.
///
/// # Errors
/// As for [`print_result`].
pub fn print_json(json: &str) -> anyhow::Result<()> {
    print(&terminal::shown_json(json))
}

fn print(text: &str) -> anyhow::Result<()> {
    let write = || {
        let mut out = io::stdout().lock();
        out.write_all(text.as_bytes())?;
        out.write_all(b"\n")?;
        out.flush()
    };
    super::progress::suspend(write).map_err(|e| match e.kind() {
        io::ErrorKind::BrokenPipe => StdoutClosed.into(),
        _ => anyhow::Error::from(e).context("cannot write to standard output"),
    })
}
