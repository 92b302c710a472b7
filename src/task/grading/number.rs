//! What counts as a number, read as Python reads it.

/// The value of a text that is a number and nothing else: an optional sign, digits with an optional point, an optional
/// exponent, underscores between digits, white space around; or `inf`, `infinity`, `nan` in any case.
pub fn parse(text: &str) -> Option<f64> {
    let text = text.trim();
    if !text.contains('_') {
        return text.parse().ok();
    }
    without_underscores(text)?.parse().ok()
}

/// Whether Python's `int()` takes the text: an optional sign and digits with underscores between them.
pub fn is_integer(text: &str) -> bool {
    let text = text.trim();
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    let only_digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    only_digits(digits) || without_underscores(digits).is_some_and(|digits| only_digits(&digits))
}

/// The text without its underscores, if each stands between two digits.
fn without_underscores(text: &str) -> Option<String> {
    let digit = |at: Option<usize>| at.and_then(|at| text.as_bytes().get(at)).is_some_and(u8::is_ascii_digit);
    let between = |(at, _): (usize, &str)| digit(at.checked_sub(1)) && digit(at.checked_add(1));
    text.match_indices('_').all(between).then(|| text.replace('_', ""))
}

/// The numbers written in a text, from left to right: a minus right before, digits, a point, more digits. Signs are
/// not told from operators (`7-2` is 7 and -2), and a comma ends a number (`1,000` is 1 and 000).
pub fn written_in(text: &str) -> impl DoubleEndedIterator<Item = f64> {
    literals(text).into_iter().filter_map(|literal| literal.parse().ok())
}

fn literals(text: &str) -> Vec<&str> {
    let bytes = text.as_bytes();
    let digits_end = |from: usize| from + bytes[from..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    let mut found = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let first_digit = at + usize::from(bytes[at] == b'-');
        let mut end = digits_end(first_digit);
        if end == first_digit {
            at += 1;
            continue;
        }
        if bytes.get(end) == Some(&b'.') {
            end = digits_end(end + 1);
        }
        found.push(&text[at..end]);
        at = end;
    }
    found
}

/// The runs of digits in a text, as integers; `None` for one that is too large for any given number.
pub fn digit_runs(text: &str) -> impl Iterator<Item = Option<i64>> {
    text.split(|c: char| !c.is_ascii_digit()).filter(|run| !run.is_empty()).map(|run| run.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_what_python_takes_for_one() {
        let numbers = [
            ("12", 12.0),
            (" -3.50\n", -3.5),
            ("+.5", 0.5),
            ("5.", 5.0),
            ("1e3", 1000.0),
            ("1_000.2_5", 1000.25),
            ("007", 7.0),
            ("Infinity", f64::INFINITY),
        ];
        for (text, value) in numbers {
            assert_eq!(parse(text), Some(value), "{text:?}");
        }
        assert!(parse("nan").is_some_and(f64::is_nan));
        for text in ["", ".", "1,000", "$5", "5%", "--5", "1 2", "0x10", "_1", "1_", "1__0", "1_.5", "1e", "٣", "1\0"]
        {
            assert_eq!(parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn integers_are_what_python_takes_for_one() {
        assert!(["0", "-12", "+7", "1_000", "\t5"].into_iter().all(is_integer));
        assert!(!["", "-", "1.0", "--1", "1_", "x", "²"].into_iter().any(is_integer));
    }

    #[test]
    fn numbers_are_found_in_words() {
        let found = |text| written_in(text).collect::<Vec<_>>();
        assert_eq!(found("-4 of 12.50, then 3."), [-4.0, 12.5, 3.0]);
        assert_eq!(found("1,250 and 7-2"), [1.0, 250.0, 7.0, -2.0]);
        assert_eq!(found("1.2.3"), [1.2, 3.0]);
        assert_eq!(found("--5 -x .5 - 6"), [-5.0, 5.0, 6.0]);
        assert_eq!(found("none - . é"), [0.0; 0]);
    }

    #[test]
    fn digits_of_any_length_are_runs() {
        let long = "9".repeat(1_000_000);
        assert_eq!(
            digit_runs(&format!("3+04*x{long}-1.5")).collect::<Vec<_>>(),
            [3, 4, -1, 1, 5].map(|n| (n >= 0).then_some(n))
        );
        assert_eq!(written_in(&long).next(), Some(f64::INFINITY));
    }
}
