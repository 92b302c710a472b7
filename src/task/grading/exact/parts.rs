//! The parts of a clean answer: its frame, its name, its brackets, its items.

/// Cuts what may stand around an answer: a last point, quotation marks and the like, parentheses or `\text{..}` around
/// all of it.
pub(super) fn without_frame(mut text: &str) -> &str {
    // What is inside is shorter, so this ends; each round but the last cuts something.
    loop {
        let inner = text.trim();
        // an ellipsis says that more digits follow
        let inner = inner.strip_suffix('.').filter(|rest| !rest.ends_with('.')).unwrap_or(inner).trim_end();
        let inner = ["\"", "'", "`", "*", "__", "_"].iter().fold(inner, |inner, mark| {
            let content = inner.strip_prefix(mark).and_then(|rest| rest.strip_suffix(mark));
            content.filter(|content| !content.contains(mark)).unwrap_or(inner)
        });
        let words = inner.strip_prefix(r"\text{").and_then(|rest| rest.strip_suffix('}'));
        let inner = words.filter(|content| !content.contains(['{', '}'])).unwrap_or(inner);
        let inner = match brackets(inner) {
            Some(("(", content, ")")) if items(content).is_none() && !content.trim().is_empty() => content,
            _ => inner,
        };
        if inner.len() == text.len() {
            return text;
        }
        text = inner;
    }
}

/// Cuts the name of `x = 5`, `x_1 = 5`, `\theta = 5`, `f(2) = 5`, `x \in [1, 2]`, and an equals sign without a name.
pub(super) fn without_name(text: &str) -> (Option<String>, &str) {
    let member = || {
        let letter = |rest: &str| rest.starts_with(|c: char| c.is_ascii_alphabetic());
        let (at, sign) = text.match_indices(r"\in").find(|(at, sign)| !letter(&text[at + sign.len()..]))?;
        Some((&text[..at], &text[at + sign.len()..]))
    };
    let equation = text.split_once('=').or_else(member);
    let Some((name, value)) = equation else { return (None, text) };
    let (name, value) = (name.trim(), value.trim());
    if value.is_empty() {
        return (None, text);
    }
    if name.is_empty() {
        return (None, value);
    }
    let words = name.strip_prefix(r"\text{").and_then(|rest| rest.strip_suffix('}')).unwrap_or(name);
    let quotient = name.contains(r"\frac") || name.contains(r"\sqrt");
    let named = !quotient
        && words.starts_with(|c: char| c.is_ascii_alphabetic() || c == '\\')
        && words.len() <= 12
        && words.chars().all(|c| c.is_ascii_alphanumeric() || r"\_(){} '".contains(c));
    if named { (Some(words.replace(' ', "")), value) } else { (None, text) }
}

/// A text that is enclosed in brackets as a whole: the one that opens, the content, the one that closes.
pub(super) fn brackets(text: &str) -> Option<(&str, &str, &str)> {
    let opens = ["(", "[", r"\{"].into_iter().find(|open| text.starts_with(open))?;
    let closes = [")", "]", r"\}"].into_iter().find(|close| text.ends_with(close))?;
    let content = text.strip_prefix(opens)?.strip_suffix(closes)?;
    let mut depth = 0i32;
    for c in content.chars() {
        match c {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth -= 1,
            _ => {}
        }
        if depth < 0 {
            return None;
        }
    }
    (depth == 0).then_some((opens, content, closes))
}

/// What stands between the commas that no bracket encloses; `None` if there is no such comma.
pub(super) fn items(text: &str) -> Option<Vec<&str>> {
    let mut items = Vec::new();
    let (mut depth, mut start) = (0i32, 0);
    for (at, c) in text.char_indices() {
        match c {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth -= 1,
            ',' if depth == 0 => {
                items.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    items.push(&text[start..]);
    (items.len() > 1).then_some(items)
}
