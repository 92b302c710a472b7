//! How far a long piece of work is, for whoever does it far from the log: what the program's log set up to draw, else a
//! log line now and then. Short work shows nothing.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use indicatif::HumanBytes;

/// Time between two log lines.
pub const LOG_EVERY: Duration = Duration::from_secs(15);

/// What is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Work<'a> {
    /// What it is called.
    pub name: &'a str,
    /// What is counted.
    pub unit: Unit,
    /// How much there is to do, where it is known.
    pub total: Option<u64>,
    /// How much of it was there already.
    pub there: u64,
}

/// What a [`Meter`] counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Bytes of a file, shown with their speed.
    Bytes,
    /// Parts too small to be told one by one: percent are shown.
    Share,
    /// Things of this name, in the plural.
    Things(&'static str),
}

/// Something that shows how far one piece of work is, until it is dropped.
pub trait Meter {
    /// So much is done.
    fn at(&mut self, done: u64);
}

/// Starts to show some work; None: nothing is to be drawn.
pub type Draw = fn(Work<'_>) -> Option<Box<dyn Meter>>;

static DRAW: OnceLock<Draw> = OnceLock::new();

/// Shows work with `draw` from now on. A second call changes nothing.
pub fn draw_with(draw: Draw) {
    let _ = DRAW.set(draw);
}

/// Begins to show how far `work` is.
pub fn start(work: Work<'_>) -> Box<dyn Meter> {
    let drawn = DRAW.get().and_then(|draw| draw(work));
    drawn.unwrap_or_else(|| {
        Box::new(LogLines { name: work.name.to_owned(), pace: Pace::of(work), logged: Instant::now() })
    })
}

/// As [`start`], for `total` things of one kind, such as completions.
pub fn count(name: &str, things: &'static str, total: usize) -> Box<dyn Meter> {
    start(Work { name, unit: Unit::Things(things), total: Some(total as u64), there: 0 })
}

/// How fast some work goes.
#[derive(Debug)]
pub struct Pace {
    unit: Unit,
    total: Option<u64>,
    first: u64,
    started: Instant,
}

impl Pace {
    /// That of work which begins now.
    pub fn of(Work { unit, total, there, .. }: Work<'_>) -> Self {
        Self { unit, total, first: there, started: Instant::now() }
    }

    /// What is done, of how much, how fast or how long it will take, such as `12 of 48 completions, 1m05s left`.
    pub fn text(&self, done: u64) -> String {
        let (seconds, new) = (self.started.elapsed().as_secs_f64().max(1e-3), done.saturating_sub(self.first));
        let left = match self.total.and_then(|total| total.checked_sub(done)).filter(|_| new > 0) {
            Some(rest) if rest > 0 => {
                format!(", {} left", duration(Duration::from_secs_f64(seconds * rest as f64 / new as f64)))
            }
            _ => String::new(),
        };
        let of = |total: Option<String>| total.map(|total| format!(" of {total}")).unwrap_or_default();
        match (self.unit, self.total) {
            (Unit::Bytes, total) => {
                let speed = HumanBytes((new as f64 / seconds) as u64);
                format!("{}{}, {speed}/s", HumanBytes(done), of(total.map(|total| HumanBytes(total).to_string())))
            }
            (Unit::Share, Some(total)) => format!("{} %{left}", 100 * done / total.max(1)),
            (Unit::Share, None) => String::new(),
            (Unit::Things(things), total) => {
                format!("{done}{} {things}{left}", of(total.map(|total| total.to_string())))
            }
        }
    }
}

/// `42s`, `3m07s`, `2h05m`.
pub fn duration(d: Duration) -> String {
    let s = d.as_secs_f64().round() as u64;
    match s {
        0..60 => format!("{s}s"),
        60..3600 => format!("{}m{:02}s", s / 60, s % 60),
        _ => format!("{}h{:02}m", s / 3600, s % 3600 / 60),
    }
}

struct LogLines {
    name: String,
    pace: Pace,
    logged: Instant,
}

impl Meter for LogLines {
    fn at(&mut self, done: u64) {
        if self.logged.elapsed() >= LOG_EVERY {
            self.logged = Instant::now();
            tracing::info!("{}: {}", self.name, self.pace.text(done));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn begun(unit: Unit, total: Option<u64>, there: u64, seconds: u64) -> Pace {
        let mut pace = Pace::of(Work { name: "work", unit, total, there });
        pace.started -= Duration::from_secs(seconds);
        pace
    }

    #[test]
    fn durations_are_short() {
        let text = |s| duration(Duration::from_secs(s));
        assert_eq!([text(42), text(187), text(7_500)], ["42s", "3m07s", "2h05m"]);
    }

    #[test]
    fn the_time_left_is_told_from_what_was_done_since_the_start() {
        let things = begun(Unit::Things("completions"), Some(48), 8, 10);
        assert_eq!(things.text(8), "8 of 48 completions");
        assert_eq!(things.text(18), "18 of 48 completions, 30s left");
        assert_eq!(things.text(48), "48 of 48 completions");
        assert_eq!(begun(Unit::Share, Some(1000), 0, 10).text(250), "25 %, 30s left");
        assert_eq!(begun(Unit::Things("rows"), None, 0, 10).text(7), "7 rows");
    }

    #[test]
    fn a_transfer_shows_its_speed() {
        assert_eq!(begun(Unit::Bytes, Some(4096), 1024, 1).text(3072), "3.00 KiB of 4.00 KiB, 2.00 KiB/s");
        assert_eq!(begun(Unit::Bytes, None, 0, 1).text(2048), "2.00 KiB, 2.00 KiB/s");
    }
}
