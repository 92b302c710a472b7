//! Log lines on standard error, as text for people or JSON for machines.
//!
//! `RUST_LOG` decides what is shown where it is set; `NO_COLOR` and a standard error that is no terminal turn colour
//! off, as does `TERM=dumb`, which has no bars either. A progress bar is lifted while a line is written. What a line quotes
//! can be foreign: its control characters are escaped.

use std::fmt;
use std::io::{self, IsTerminal as _, Write};
use std::time::Instant;

use tracing::field::Field;
use tracing::{Level, Metadata, Subscriber};
use tracing_subscriber::field::MakeExt as _;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::{Writer, debug_fn};
use tracing_subscriber::fmt::time::FormatTime;
use tracing_subscriber::layer::{Context, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer};

use super::{progress, work};
use crate::terminal;

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// One line of text an event.
    #[default]
    Text,
    /// One JSON object an event.
    Json,
}

/// How much is logged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Verbosity {
    /// Errors and warnings; no progress bar.
    Quiet,
    /// What a run does.
    #[default]
    Normal,
    /// Details of this program.
    Debug,
    /// Everything this program and its libraries have to say.
    Trace,
}

impl Verbosity {
    /// How much a process says that is not the first: what the first does, all do.
    fn of_another(self) -> Self {
        if self == Self::Normal { Self::Quiet } else { self }
    }

    fn directives(self) -> &'static str {
        match self {
            Self::Quiet => "warn",
            Self::Normal => "warn,spg=info",
            Self::Debug => "info,spg=debug",
            Self::Trace => "debug,spg=trace",
        }
    }
}

/// Starts logging. A second call changes nothing, so that tests may call it freely. `rank` is the number of this process
/// among several: the first says what a run does, the others what goes wrong, with their number.
///
/// # Errors
/// If `RUST_LOG` is set and is not a list of filter directives.
pub fn init_log(format: LogFormat, verbosity: Verbosity, rank: Option<usize>) -> Result<(), crate::error::Usage> {
    let other = rank.filter(|&rank| rank > 0);
    let verbosity = if other.is_some() { verbosity.of_another() } else { verbosity };

    let filter = match std::env::var("RUST_LOG") {
        Ok(text) if !text.trim().is_empty() => EnvFilter::try_new(&text).map_err(|e| {
            crate::error::Usage(format!("RUST_LOG = {text:?}: {e}: expected directives such as info or spg=debug"))
        })?,
        _ => EnvFilter::new(verbosity.directives()),
    };
    let drawn = io::stderr().is_terminal() && !terminal::is_dumb();
    let colour = drawn && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
    let writer = AroundBars { json: format == LogFormat::Json, rank: other };
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(writer).with_ansi(colour);
    // Only a second call can fail.
    let _ = match format {
        LogFormat::Text => builder
            .with_target(false)
            .with_timer(Elapsed { start: Instant::now(), rank: other })
            .fmt_fields(debug_fn(field).delimited(" "))
            .finish()
            .with(NoSecrets)
            .try_init(),
        LogFormat::Json => builder.json().flatten_event(true).finish().with(NoSecrets).try_init(),
    };
    let bars = format == LogFormat::Text && verbosity != Verbosity::Quiet && drawn;
    progress::allow_bars(bars);
    crate::meter::draw_with(work::draw);
    Ok(())
}

/// A field of an event: the message as it is, others by name.
fn field(writer: &mut Writer<'_>, field: &Field, value: &dyn fmt::Debug) -> fmt::Result {
    let text = format!("{value:?}");
    match field.name() {
        "message" => writer.write_str(&terminal::shown(&text)),
        name if name.starts_with("log.") => Ok(()),
        name => write!(writer, "{name}={}", terminal::shown_in_line(&text)),
    }
}

/// Leaves out the inmost lines of the libraries that talk to the hub, whatever `RUST_LOG` asks for: they hold what is
/// sent byte by byte, the user's token too.
struct NoSecrets;

impl<S: Subscriber> Layer<S> for NoSecrets {
    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        let talks = ["ureq", "rustls"].iter().any(|library| metadata.target().starts_with(library));
        !talks || *metadata.level() <= Level::INFO
    }
}

/// Seconds since the start: what one asks of a training log. (JSON lines carry the date.) Before them the number of a
/// process that is not the first.
struct Elapsed {
    start: Instant,
    rank: Option<usize>,
}

impl FormatTime for Elapsed {
    fn format_time(&self, w: &mut Writer<'_>) -> fmt::Result {
        if let Some(rank) = self.rank {
            write!(w, "process {rank} ")?;
        }
        write!(w, "{:8.1}s", self.start.elapsed().as_secs_f64())
    }
}

/// Writes each line to standard error while the bars are lifted.
#[derive(Clone, Copy)]
struct AroundBars {
    json: bool,
    rank: Option<usize>,
}

impl<'a> MakeWriter<'a> for AroundBars {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        *self
    }
}

impl Write for AroundBars {
    /// A log line that cannot be written is dropped: a run must not end because its terminal has gone.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let escaped = self.json.then(|| {
            let line = terminal::shown_json(&String::from_utf8_lossy(line)).into_owned();
            match self.rank {
                Some(rank) => line.replacen('{', &format!("{{\"rank\":{rank},"), 1),
                None => line,
            }
        });
        progress::suspend(|| {
            let _ = io::stderr().lock().write_all(escaped.as_deref().map_or(line, str::as_bytes));
        });
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
