//! Text that goes to a terminal: nothing in it that the terminal would obey, and lines that fit.
//!
//! Records, completions, file names and the messages of programs are foreign. Everything that is printed or logged as
//! text passes [`shown`] or [`shown_in_line`], whether a terminal stands there or not; JSON passes [`shown_json`].

use std::borrow::Cow;

/// Text in which control characters are written as Rust writes them, such as `\u{1b}` for the escape character and
/// `\r`; line breaks and tabs stay. Controls of the direction of writing, which can make a line read as another one,
/// count as well.
pub fn shown(text: &str) -> Cow<'_, str> {
    escaped(text, |c| is_obeyed(c) && !matches!(c, '\n' | '\t'), |c| c.escape_debug().to_string())
}

/// As [`shown`], for a name in a table or in the middle of a line: line breaks and tabs are escaped, too.
pub fn shown_in_line(text: &str) -> Cow<'_, str> {
    escaped(text, is_obeyed, |c| c.escape_debug().to_string())
}

/// JSON with the controls that its strings may hold as they are (from U+007F on) escaped: the same values.
pub fn shown_json(json: &str) -> Cow<'_, str> {
    escaped(json, |c| is_obeyed(c) && c >= '\u{7f}', |c| format!("\\u{:04x}", u32::from(c)))
}

/// Words as a shell reads them, with blanks between.
pub fn shell_line<T: AsRef<str>>(words: impl IntoIterator<Item = T>) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,+@%".contains(c);
    let quoted = |word: T| match word.as_ref() {
        word if !word.is_empty() && word.chars().all(plain) => word.to_owned(),
        word => format!("'{}'", word.replace('\'', r"'\''")),
    };
    words.into_iter().map(quoted).collect::<Vec<_>>().join(" ")
}

/// Controls of C0 and C1, the separators of lines and paragraphs, and the marks, embeddings, overrides and isolates of
/// bidirectional text.
fn is_obeyed(c: char) -> bool {
    let reorders = matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    c.is_control() || reorders
}

fn escaped(text: &str, wanted: impl Fn(char) -> bool, escape: impl Fn(char) -> String) -> Cow<'_, str> {
    if !text.contains(&wanted) {
        return text.into();
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if wanted(c) {
            out += &escape(c);
        } else {
            out.push(c);
        }
    }
    out.into()
}

/// Whether the terminal takes plain text only: no colour, no bar that is drawn again and again.
pub fn is_dumb() -> bool {
    std::env::var_os("TERM").map_or(cfg!(unix), |term| term == "dumb")
}

/// Columns of the terminal that standard output is (`COLUMNS`, else what it says itself); none if it is no terminal.
pub fn width() -> Option<usize> {
    columns(&console::Term::stdout())
}

/// As [`width`], of standard error.
pub fn log_width() -> Option<usize> {
    columns(&console::Term::stderr())
}

fn columns(terminal: &console::Term) -> Option<usize> {
    if !terminal.is_term() {
        return None;
    }
    let set = std::env::var("COLUMNS").ok().and_then(|columns| columns.trim().parse().ok());
    set.or_else(|| terminal.size_checked().map(|(_, columns)| columns.into())).filter(|&columns| columns > 0)
}

/// What the further lines of a broken line begin with.
const INDENT: &str = "    ";

/// The text with every line longer than `width` broken at spaces; words longer than that stay whole.
pub fn wrapped(text: &str, width: Option<usize>) -> String {
    let Some(width) = width else { return text.to_owned() };
    let mut lines = Vec::new();
    for line in text.split('\n') {
        let mut rest = line.to_owned();
        while let Some(at) = last_break(&rest, width) {
            lines.push(rest[..at].trim_end().to_owned());
            rest = format!("{INDENT}{}", rest[at..].trim_start());
        }
        lines.push(rest);
    }
    lines.join("\n")
}

/// The last space at which a line longer than `width` can be broken, if any can.
fn last_break(line: &str, width: usize) -> Option<usize> {
    let (end, _) = line.char_indices().nth(width)?;
    let first = line.len() - line.trim_start().len();
    let spaces = || line.match_indices(' ').map(|(at, _)| at).filter(|&at| at > first);
    spaces().take_while(|&at| at <= end).last().or_else(|| spaces().next()).filter(|&at| !line[at..].trim().is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_could_drive_the_terminal() {
        let hostile = "\u{1b}[2J\u{9b}1m\u{7}a\rb\u{8}\0\u{7f}\n\tc\u{202e}é😀";
        assert_eq!(shown(hostile), "\\u{1b}[2J\\u{9b}1m\\u{7}a\\rb\\u{8}\\0\\u{7f}\n\tc\\u{202e}é😀");
        assert_eq!(shown_in_line("a\n\tb"), "a\\n\\tb");
        assert!(matches!(shown("as it is\n"), Cow::Borrowed(_)));
    }

    #[test]
    fn json_keeps_its_values() {
        let value = serde_json::json!({"a\u{9b}": "\u{1b}\u{7f}\u{202e}é\n"});
        let text = value.to_string();
        let printed = shown_json(&text);
        assert!(!printed.contains(is_obeyed), "{printed}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&printed).unwrap(), value);
    }

    #[test]
    fn lines_were_broken_in_the_middle_of_numbers() {
        let text = "memory       weights        12345.6 MiB  in blocks, and tables\nshort";
        assert_eq!(wrapped(text, None), text);
        assert_eq!(wrapped(text, Some(32)), "memory       weights\n    12345.6 MiB  in blocks, and\n    tables\nshort");
        assert_eq!(wrapped("  aaaaaaaaaaaa bb cc", Some(6)), "  aaaaaaaaaaaa\n    bb\n    cc");
        assert_eq!(wrapped("ééééé ééééé ", Some(11)), "ééééé ééééé ");
    }
}
