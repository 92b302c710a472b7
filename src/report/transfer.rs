//! The bar of a download, drawn for `hub` among the other bars.

use std::time::Instant;

use indicatif::{HumanBytes, ProgressBar, ProgressStyle};

use super::progress;
use crate::hub::Meter;

/// A file on its way.
struct Transfer {
    file: String,
    size: Option<u64>,
    bar: ProgressBar,
    started: Instant,
    /// The bytes that were there when it started.
    first: Option<u64>,
}

/// Starts the bar of a file; none where no bars are drawn.
pub(super) fn draw(file: &str, size: Option<u64>) -> Option<Box<dyn Meter>> {
    let bar = progress::show(|| {
        // The message gives way on a narrow terminal.
        let style = ProgressStyle::with_template("{bar:16} {wide_msg}");
        ProgressBar::new(size.unwrap_or(0)).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
    })?;
    Some(Box::new(Transfer { file: file.to_owned(), size, bar, started: Instant::now(), first: None }))
}

impl Meter for Transfer {
    fn at(&mut self, bytes: u64) {
        let first = *self.first.get_or_insert(bytes);
        let speed = bytes.saturating_sub(first) as f64 / self.started.elapsed().as_secs_f64().max(1e-3);
        let of = self.size.map(|size| format!(" of {}", HumanBytes(size))).unwrap_or_default();
        self.bar.set_position(bytes);
        self.bar.set_message(format!("{}{of}, {}/s  {}", HumanBytes(bytes), HumanBytes(speed as u64), self.file));
    }
}

impl Drop for Transfer {
    fn drop(&mut self) {
        progress::hide(&self.bar);
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn no_bar_is_drawn_where_none_is_allowed() {
        assert!(super::draw("a", Some(1)).is_none());
    }
}
