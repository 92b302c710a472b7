//! A canvas that is drawn while it is filled.

use std::io::{IsTerminal as _, Write as _};

use anyhow::Result;

use crate::error::Usage;
use crate::terminal::{is_dumb, shown};
use crate::text::Tokenizer;

/// Stands for a token that is not decoded yet.
const MASKED: char = '░';

/// The lines of the terminal that the canvas takes, on standard error.
pub struct Screen {
    terminal: console::Term,
    /// Lines of what was drawn last.
    lines: usize,
}

impl Screen {
    /// Takes the terminal.
    ///
    /// # Errors
    /// If standard error is none that can be drawn on.
    pub fn open() -> Result<Self> {
        if !std::io::stderr().is_terminal() || is_dumb() {
            return Err(
                Usage("--watch draws on a terminal, and standard error is none that can be drawn on".into()).into()
            );
        }
        Ok(Self { terminal: console::Term::stderr(), lines: 0 })
    }

    /// Draws a canvas in the place of the last one. A terminal that refuses is left alone: the completion is printed anyway.
    pub fn draw(&mut self, tokenizer: &Tokenizer, canvas: &[u32], mask: u32) {
        let (rows, columns) = self.terminal.size();
        let lines = folded(&text(tokenizer, canvas, mask), columns.into());
        // what does not fit cannot be drawn over
        let first = lines.len().saturating_sub(usize::from(rows).saturating_sub(1));
        self.clear();
        let _ = self.terminal.write_all((lines[first..].join("\n") + "\n").as_bytes());
        self.lines = lines.len() - first;
    }

    /// Takes what was drawn off the screen.
    pub fn clear(&mut self) {
        let _ = self.terminal.clear_last_lines(std::mem::take(&mut self.lines));
    }
}

/// The canvas as text, what is not decoded as shades.
fn text(tokenizer: &Tokenizer, canvas: &[u32], mask: u32) -> String {
    let runs = canvas.chunk_by(|a, b| (*a == mask) == (*b == mask));
    let run = |run: &[u32]| match run[0] == mask {
        true => MASKED.to_string().repeat(run.len()),
        false => shown(&tokenizer.decode(run)).replace('\t', " "),
    };
    runs.map(run).collect()
}

/// Lines of at most `width` columns.
fn folded(text: &str, width: usize) -> Vec<String> {
    let mut lines = Vec::new();
    for line in text.split('\n') {
        let mut rest = line;
        loop {
            let fits = console::truncate_str(rest, width.max(2), "").len();
            lines.push(rest[..fits].to_owned());
            rest = &rest[fits..];
            if rest.is_empty() || fits == 0 {
                break;
            }
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn masks_are_shades_and_text_is_text() {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/sudoku-tiny");
        let tokenizer = Tokenizer::load(&dir).unwrap();
        let digits = tokenizer.encode("12").unwrap();
        let mask = 9999;
        assert_eq!(text(&tokenizer, &[digits[0], mask, mask, digits[1]], mask), "1░░2");
    }

    #[test]
    fn lines_fit_the_terminal() {
        assert_eq!(folded("abcdef\n\nxy", 4), ["abcd", "ef", "", "xy"]);
        assert_eq!(folded("漢字漢字", 5), ["漢字", "漢字"]);
    }
}
