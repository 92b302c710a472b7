//! What a number may be a number of: measures, money, things that are counted.
//!
//! Only what is in the lists counts. Words that no list has may make another number of it (`3 tenths`, `3 squared`) or
//! say that it is not all of the answer (`3 or more`).

mod lists;
mod phrase;

pub(super) use phrase::{Unit, phrase};

use lists::{CODES, MONEY};

/// A clean text without its unit, and the unit: a currency in front, words, a sign or a degree behind. A text with two
/// currencies is not taken apart.
pub(super) fn split(text: &str) -> (String, Option<Unit>) {
    let (front, rest) = match without_currency(text) {
        Some((name, rest)) => (Unit::money(name), rest),
        None => (None, text.to_owned()),
    };
    let behind = ends(&rest).find_map(|at| Some((rest[..at].trim_end(), phrase(&rest[at..])?)));
    let behind = behind.filter(|(value, _)| !value.is_empty());
    match (front, behind) {
        (None, None) => (rest, None),
        (Some(front), None) => (rest, Some(front)),
        (None, Some((value, unit))) => (value.to_owned(), unit.named()),
        (Some(front), Some((value, unit))) => match front.with(unit) {
            Some(unit) => (value.to_owned(), Some(unit)),
            None => (text.to_owned(), None),
        },
    }
}

/// The name of the currency in front of a number and the number with its sign, which may stand on either side of it.
fn without_currency(text: &str) -> Option<(&str, String)> {
    let (sign, rest) = match text.strip_prefix(['-', '+']) {
        Some(rest) => (&text[..1], rest.trim_start()),
        None => ("", text),
    };
    let number =
        |rest: &str| rest.starts_with(|c: char| c.is_ascii_digit() || "-+.".contains(c)) || rest.starts_with(r"\frac");
    let symbol = || MONEY.iter().find_map(|(symbol, name)| Some((*name, rest.strip_prefix(symbol)?.trim_start())));
    let code = || {
        let length = rest.find(|c: char| !c.is_ascii_alphabetic()).filter(|&length| length > 0)?;
        let (code, rest) = rest.split_at(length);
        let name = CODES.iter().find(|known| **known == code)?;
        Some((*name, rest.strip_prefix('.').unwrap_or(rest).trim_start()))
    };
    let (name, rest) =
        symbol().filter(|(_, rest)| !rest.is_empty()).or_else(|| code().filter(|(_, rest)| number(rest)))?;
    Some((name, format!("{sign}{rest}")))
}

/// Where a unit may begin: at words, at signs, at `\text{..}`, outside of all brackets.
fn ends(text: &str) -> impl Iterator<Item = usize> {
    let mut found = Vec::new();
    let mut depth = 0usize;
    let mut before = ' ';
    let mut at = 0;
    while let Some(c) = text[at..].chars().next() {
        let rest = &text[at..];
        let mut length = c.len_utf8();
        let mut begins = false;
        match c {
            '\\' if rest.starts_with(r"\text{") => {
                begins = true;
                length = rest.find('}').map_or(rest.len(), |end| end + 1);
            }
            '\\' => {
                let word = rest[1..].bytes().take_while(u8::is_ascii_alphabetic).count();
                begins = rest.starts_with(r"\$");
                length = 1 + word.max(rest[1..].chars().next().map_or(0, char::len_utf8));
            }
            '^' if rest.starts_with(r"^\circ") => {
                begins = true;
                length = r"^\circ".len();
            }
            '{' | '(' | '[' => depth += 1,
            '}' | ')' | ']' => depth = depth.saturating_sub(1),
            _ if c.is_alphabetic() => begins = !before.is_alphabetic(),
            _ => begins = c == '/' || lists::sign(rest).is_some(),
        }
        if begins && depth == 0 {
            found.push(at);
        }
        before = c;
        at += length;
    }
    found.into_iter()
}
