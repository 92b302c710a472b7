//! The bar of a piece of work that is done far from here, such as a download, among the other bars.

use std::time::Instant;

use indicatif::{ProgressBar, ProgressStyle};

use super::progress::{self, WORTH_A_BAR};
use crate::meter::{Meter, Pace, Work};

/// Some work on its way.
struct Drawn {
    name: String,
    total: u64,
    pace: Pace,
    started: Instant,
    bar: Option<ProgressBar>,
}

/// Starts the bar of some work; none where no bars are drawn.
pub(super) fn draw(work: Work<'_>) -> Option<Box<dyn Meter>> {
    progress::are_allowed().then(|| {
        Box::new(Drawn {
            name: work.name.to_owned(),
            total: work.total.unwrap_or(0),
            pace: Pace::of(work),
            started: Instant::now(),
            bar: None,
        }) as Box<dyn Meter>
    })
}

impl Meter for Drawn {
    fn at(&mut self, done: u64) {
        if self.bar.is_none() && self.started.elapsed() >= WORTH_A_BAR {
            self.bar = progress::show(|| {
                // the message gives way on a narrow terminal
                let style = ProgressStyle::with_template("{bar:16} {wide_msg}");
                ProgressBar::new(self.total).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
            });
        }
        if let Some(bar) = &self.bar {
            bar.set_position(done);
            bar.set_message(format!("{}  {}", self.pace.text(done), self.name));
        }
    }
}

impl Drop for Drawn {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            progress::hide(bar);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::meter::Unit;

    #[test]
    fn no_bar_is_drawn_where_none_is_allowed() {
        assert!(draw(Work { name: "a", unit: Unit::Bytes, total: Some(1), there: 0 }).is_none());
    }
}
