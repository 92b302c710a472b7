//! Foreign text inside pictures and pages: nothing in it is read as markup, and nothing changes how the rest reads.

use crate::terminal::{shown, shown_in_line};

/// Text of an element or a quoted attribute; controls, which XML has no way to write, as Rust writes them.
pub fn escaped_line(text: &str) -> String {
    escaped(&shown_in_line(text))
}

/// As [`escaped_line`], with its line breaks and tabs.
pub fn escaped_text(text: &str) -> String {
    escaped(&shown(text))
}

fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out += "&amp;",
            '<' => out += "&lt;",
            '>' => out += "&gt;",
            '"' => out += "&quot;",
            '\'' => out += "&#39;",
            '\u{fffe}' | '\u{ffff}' => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}
