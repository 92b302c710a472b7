//! How far a download is: what the program's log set up to draw, else a log line now and then.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use indicatif::HumanBytes;

/// Time between two log lines.
const LOG_EVERY: Duration = Duration::from_secs(15);

/// Something that shows how far one download is, until it is dropped.
pub trait Meter {
    /// So many bytes of the file are there.
    fn at(&mut self, bytes: u64);
}

/// Starts to show a download of a file, of a size where it is known; None: nothing is to be drawn.
pub type Draw = fn(&str, Option<u64>) -> Option<Box<dyn Meter>>;

static DRAW: OnceLock<Draw> = OnceLock::new();

/// Shows downloads with `draw` from now on. A second call changes nothing.
pub fn draw_downloads_with(draw: Draw) {
    let _ = DRAW.set(draw);
}

pub(super) fn start(file: &str, size: Option<u64>, there: u64) -> Box<dyn Meter> {
    let of = size.map(|size| format!(" ({})", HumanBytes(size))).unwrap_or_default();
    let rest = if there > 0 { format!(", going on after {}", HumanBytes(there)) } else { String::new() };
    tracing::info!("downloading {file}{of}{rest}");
    let drawn = DRAW.get().and_then(|draw| draw(file, size));
    let now = Instant::now();
    drawn.unwrap_or_else(|| Box::new(LogLines { file: file.to_owned(), size, first: there, started: now, logged: now }))
}

struct LogLines {
    file: String,
    size: Option<u64>,
    first: u64,
    started: Instant,
    logged: Instant,
}

impl Meter for LogLines {
    fn at(&mut self, bytes: u64) {
        if self.logged.elapsed() < LOG_EVERY {
            return;
        }
        self.logged = Instant::now();
        let speed = bytes.saturating_sub(self.first) as f64 / self.started.elapsed().as_secs_f64();
        let of = self.size.map(|size| format!(" of {}", HumanBytes(size))).unwrap_or_default();
        tracing::info!("{}: {}{of}, {}/s", self.file, HumanBytes(bytes), HumanBytes(speed as u64));
    }
}
