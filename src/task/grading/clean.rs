//! The one clean-up of an answer before the exact graders read it: of many ways to write the same, one.
//!
//! Spaces of every kind are one space, dashes are a minus, `½` is `\frac{1}{2}`, `x²` and `x^{2}` are `x^2`, `\sqrt 3` is
//! `\sqrt{3}`, `\dfrac12` is `\frac{1}{2}`; type faces, sizes and delimiters that only change the looks are gone; words are
//! `\text{..}`. A sign of money is `\$`, `€`, `£` and so on. What carries a meaning stays: `x^12` is not `x^{12}`.

mod characters;
pub(super) mod tree;

pub(crate) use characters::has_one_character_fraction;

use super::arithmetic;
use characters::spelled;
use tree::{parse, print, tidy};

/// Rounds after which a text that still changes is given up; one or two are the rule.
const MAX_ROUNDS: usize = 8;

/// The clean text, which cleaning again does not change. `None` for a text that is longer than
/// [`arithmetic::MAX_LENGTH`], and for one whose braces do not balance or nest too deeply.
pub(crate) fn clean(text: &str) -> Option<String> {
    if text.len() > arithmetic::MAX_LENGTH {
        return None;
    }
    let mut text = text.to_owned();
    for _ in 0..MAX_ROUNDS {
        let next = once(&text)?;
        if next == text {
            return Some(text);
        }
        text = next;
    }
    None
}

fn once(text: &str) -> Option<String> {
    let text = with_dollars_told_apart(&without_bold(&without_bold(&spelled(text), "***"), "**"));
    Some(print(&tidy(parse(&text)?)))
}

/// Cuts the asterisks of `**18**`. Those of `2**3` are not bold type: bold begins a word and ends one.
fn without_bold(text: &str, mark: &str) -> String {
    let begins = |before: &str| before.chars().next_back().is_none_or(|c| c.is_whitespace() || "([{$:=".contains(c));
    let ends = |after: &str| after.chars().next().is_none_or(|c| c.is_whitespace() || ".,;:!?)]}$%".contains(c));
    let edge = |c: Option<char>| c.is_none_or(|c| c.is_whitespace() || c == '*');
    let (mut out, mut rest) = (String::new(), text);
    while let Some((before, after)) = rest.split_once(mark) {
        out += before;
        let inner = after.split_once(mark).filter(|(inner, tail)| {
            begins(&out) && ends(tail) && !edge(inner.chars().next()) && !edge(inner.chars().next_back())
        });
        rest = match inner {
            Some((inner, tail)) => {
                out += inner;
                tail
            }
            None => {
                out += mark;
                after
            }
        };
    }
    out + rest
}

/// Dollar signs in pairs stand around mathematics and go; an odd one is money and becomes `\$`.
fn with_dollars_told_apart(text: &str) -> String {
    let mut pieces = vec![String::new()];
    let mut escaped = false;
    for c in text.chars() {
        match pieces.last_mut() {
            Some(last) if c != '$' || escaped => last.push(c),
            _ => pieces.push(String::new()),
        }
        escaped = c == '\\' && !escaped;
    }
    pieces.join(if pieces.len() % 2 == 1 { "" } else { r"\$" })
}

#[cfg(test)]
mod tests;
