//! Finding `\boxed{..}`.

/// What the evaluation of MATH and Countdown reads where a completion has no box at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unboxed {
    /// The first closed `<answer>`, the whole text where there is none.
    Answer,
    /// The whole text. The published evaluation means to read the answer, but does not get to it, and its verdicts
    /// depend on that.
    WholeText,
}

/// What a text has for its last box.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LastBox<'a> {
    /// There is no box.
    Absent,
    /// It is never closed, whatever boxes came before it.
    Open,
    /// What it holds.
    Content(&'a str),
}

/// The last box: `\boxed{..}` with balanced braces, or `\fbox{..}` where there is no `\boxed`.
///
/// Where the text has `\boxed` followed by a space anywhere, the box is what follows the last such place up to a `$`
/// or the end, as in `$\boxed 5$`. A box with something else in front of its brace is taken as it is written.
pub fn last(text: &str) -> LastBox<'_> {
    const SPACED: &str = r"\boxed ";
    if let Some(at) = text.rfind(SPACED) {
        let rest = &text[at + SPACED.len()..];
        return LastBox::Content(rest.split_once('$').map_or(rest, |(content, _)| content));
    }
    let last_of = |tag: &'static str| text.rfind(tag).map(|at| (&text[at..], tag));
    let Some((written, tag)) = last_of(r"\boxed").or_else(|| last_of(r"\fbox")) else { return LastBox::Absent };
    let Some(written) = to_closing_brace(written) else { return LastBox::Open };
    let content = written[tag.len()..].strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
    LastBox::Content(content.unwrap_or(written))
}

impl<'a> LastBox<'a> {
    /// What it holds, if it is there and closed.
    pub fn content(self) -> Option<&'a str> {
        match self {
            LastBox::Content(content) => Some(content),
            LastBox::Absent | LastBox::Open => None,
        }
    }
}

/// The text up to the brace that closes as many as were opened. Escaped braces count too, as in the reference.
fn to_closing_brace(text: &str) -> Option<&str> {
    let mut open = 0i64;
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'{' => open += 1,
            b'}' => {
                open -= 1;
                if open == 0 {
                    return Some(&text[..=at]);
                }
            }
            _ => {}
        }
    }
    None
}

/// The contents of all `\boxed{..}` that end on the line they begin on, each up to its first `}`, from left to right.
pub fn on_one_line(text: &str) -> impl Iterator<Item = &str> {
    const OPEN: &str = r"\boxed{";
    let mut rest = text;
    std::iter::from_fn(move || {
        loop {
            rest = &rest[rest.find(OPEN)? + OPEN.len()..];
            let end = rest.find(['}', '\n'])?;
            let content = &rest[..end];
            let closed = rest[end..].starts_with('}');
            // What is not closed on this line cannot be closed by another box of this line either.
            rest = &rest[end + 1..];
            if closed {
                return Some(content);
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holds(text: &str, content: &str) {
        assert_eq!(last(text), LastBox::Content(content), "{text}");
    }

    #[test]
    fn the_last_box_counts_and_its_braces_balance() {
        holds(r"\boxed{1} then \boxed{\frac{2}{3}}.", r"\frac{2}{3}");
        holds(r"\boxed{ 4 }", " 4 ");
        holds(r"\boxed{}", "");
        holds(r"\boxed{\boxed{5}}", "5");
        assert_eq!(last("no box, boxed{5}"), LastBox::Absent);
    }

    #[test]
    fn a_last_box_may_stay_open() {
        for text in [
            r"\boxed{1} and \boxed{2",
            r"\boxed{1} and \boxed",
            r"\boxed5}",
            r"\boxed{\frac{1}{2}",
            r"\boxed}{",
            r"\fbox",
        ] {
            assert_eq!(last(text), LastBox::Open, "{text}");
        }
    }

    #[test]
    fn other_ways_to_write_a_box() {
        holds(r"\fbox{7}", "7");
        holds(r"\boxed{6} \fbox{7}", "6");
        holds(r"so $\boxed 8$, done", "8");
        holds(r"\boxed 8 and \boxed{9}", r"8 and \boxed{9}");
        holds("\\boxed\n{9}.", "\\boxed\n{9}");
    }

    #[test]
    fn boxes_of_one_line_end_at_the_first_brace() {
        let found = |text| on_one_line(text).collect::<Vec<_>>();
        assert_eq!(found(r"\boxed{1}\boxed{\frac{2}{3}}"), ["1", r"\frac{2"]);
        assert_eq!(found("\\boxed{1\n}\\boxed{2}"), ["2"]);
        assert_eq!(found("\\boxed{1\\boxed{2\n\\boxed{3}"), ["3"]);
        assert_eq!(found(r"\boxed{\boxed{2}}"), [r"\boxed{2"]);
        assert!(found(r"\boxed{1").is_empty());
    }
}
