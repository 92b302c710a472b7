//! JSON as Python writes it: `json.dumps` escapes lone surrogates and writes `NaN` and `Infinity`, none of which is JSON.

use std::borrow::Cow;

use serde_json::Value;

/// Digits of an integer from which on it may not fit 64 bits.
const LONG: usize = 19;
/// Digits of the longest integer that is read; an `f64` ends there, too.
const LONGEST: usize = 308;

/// Reads a text that is JSON, or would be but for what Python may put there: a lone surrogate is read as U+FFFD, and
/// `NaN`, `Infinity` and `-Infinity` as null. An integer that no 64 bits hold is read as text, which keeps its digits.
pub fn parse(text: &str) -> Result<Value, serde_json::Error> {
    let long = text.as_bytes().chunk_by(|a, b| a.is_ascii_digit() && b.is_ascii_digit()).any(|run| run.len() >= LONG);
    if long
        && let Some(mended) = mend(text)
        && let Ok(value) = serde_json::from_str(&mended)
    {
        return Ok(value);
    }
    serde_json::from_str(text).or_else(|error| match mend(text) {
        // The first error is the one that gives the place in the text as it is.
        Some(mended) => serde_json::from_str(&mended).map_err(|_| error),
        None => Err(error),
    })
}

/// Reads one line of a file of JSON lines, as [`parse`] does; an error says what is wrong with it, and in which column.
pub fn parse_line(line: &[u8]) -> Result<Value, String> {
    let text = std::str::from_utf8(line).map_err(|e| format!("not UTF-8 after byte {}", e.valid_up_to()))?;
    parse(text).map_err(|error| {
        // serde_json counts lines too, and every line is its first.
        format!("not JSON: {}", error.to_string().replace(" at line 1 column ", " at column "))
    })
}

/// The text with what serde_json refuses replaced, if there is any of it.
fn mend(text: &str) -> Option<String> {
    let bytes = text.as_bytes();
    let mut mended = String::new();
    let mut copied = 0;
    let mut in_string = false;
    let mut at = 0;
    while at < bytes.len() {
        let rest = &bytes[at..];
        let (length, replacement): (usize, Option<Cow<'_, str>>) = match rest[0] {
            b'-' | b'0'..=b'9' if !in_string => number(&text[at..]),
            b'"' => {
                in_string = !in_string;
                (1, None)
            }
            b'\\' if in_string => match surrogate(rest) {
                Some(0xd800..=0xdbff) if matches!(surrogate(&rest[6..]), Some(0xdc00..=0xdfff)) => (12, None),
                Some(_) => (6, Some(r"\ufffd".into())),
                // The character after the backslash goes with it: it may be a quote.
                None => (2, None),
            },
            _ if in_string => (1, None),
            _ => {
                let word = ["NaN", "Infinity"].into_iter().find(|word| rest.starts_with(word.as_bytes()));
                word.map_or((1, None), |word| (word.len(), Some("null".into())))
            }
        };
        if let Some(replacement) = replacement {
            mended += &text[copied..at];
            mended += &replacement;
            copied = at + length;
        }
        at += length;
    }
    (copied > 0).then(|| mended + &text[copied..])
}

/// The length of the number that a text begins with, and what to write in its place.
fn number(text: &str) -> (usize, Option<Cow<'_, str>>) {
    const INFINITE: &str = "-Infinity";
    if text.starts_with(INFINITE) {
        return (INFINITE.len(), Some("null".into()));
    }
    let length = text.bytes().take_while(|byte| byte.is_ascii_digit() || b"+-.eE".contains(byte)).count();
    let literal = &text[..length];
    let digits = literal.strip_prefix('-').unwrap_or(literal);
    let key = text[length..].trim_start().starts_with(':');
    let integer = !key
        && (LONG..=LONGEST).contains(&digits.len())
        && digits.bytes().all(|byte| byte.is_ascii_digit())
        && !digits.starts_with('0');
    let fits = || literal.parse::<i64>().is_ok() || literal.parse::<u64>().is_ok();
    (length, (integer && !fits()).then(|| format!("\"{literal}\"").into()))
}

/// The code of the surrogate escape that the bytes begin with.
fn surrogate(bytes: &[u8]) -> Option<u16> {
    let digits = bytes.strip_prefix(br"\u")?.get(..4)?;
    if !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    let code = u16::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    (0xd800..=0xdfff).contains(&code).then_some(code)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn lone_surrogates_become_replacement_characters() {
        let read = |text: &str| parse(text).map_err(|error| error.to_string());
        assert_eq!(read(r#""a\ud800b""#), Ok(json!("a\u{fffd}b")));
        assert_eq!(read(r#""\udc00\ud83d\ude00\ud83d""#), Ok(json!("\u{fffd}\u{1f600}\u{fffd}")));
        assert_eq!(read(r#""\ud800\ud83d\ude00""#), Ok(json!("\u{fffd}\u{1f600}")));
        // an escaped backslash is no escape of what follows
        assert_eq!(read(r#""\\ud800\ud800""#), Ok(json!("\\ud800\u{fffd}")));
        assert_eq!(read(r#""\"\ud800""#), Ok(json!("\"\u{fffd}")));
    }

    #[test]
    fn numbers_that_are_none_become_null() {
        assert_eq!(parse(r#"{"a": NaN, "b": [-Infinity, Infinity]}"#).unwrap(), json!({"a": null, "b": [null, null]}));
        assert_eq!(parse(r#"{"a NaN": "Infinity", "b": NaN}"#).unwrap(), json!({"a NaN": "Infinity", "b": null}));
    }

    #[test]
    fn the_digits_of_an_integer_beyond_64_bits_were_rounded() {
        let long = "123456789012345678901234567890";
        assert_eq!(
            parse(&format!(r#"{{"answer": {long}, "b": [-{long}]}}"#)).unwrap(),
            json!({"answer": long, "b": [format!("-{long}")]})
        );
        for text in [
            "18446744073709551615",
            "-9223372036854775808",
            "0.1234567890123456789012345",
            "1e20",
            r#""12345678901234567890123""#,
        ] {
            assert_eq!(parse(text).unwrap(), serde_json::from_str::<Value>(text).unwrap(), "{text}");
        }
        assert_eq!(parse("18446744073709551616").unwrap(), json!("18446744073709551616"));
        assert!(parse("00000000000000000000000001").is_err() && parse(&"9".repeat(400)).is_err());
        assert!(parse(&format!("{{{long}: 1}}")).is_err());
    }

    #[test]
    fn the_rest_stays_an_error() {
        for text in ["", "{", "{'a': 1}", r#""\ud80""#, r#"{"a": NaN"#, r#""a"#, "\"\\", "nan", r#""\"#] {
            assert!(parse(text).is_err(), "{text:?}");
        }
        assert!(parse(&"[".repeat(100_000)).is_err());
        assert!(parse(&"9".repeat(1_000_000)).is_err());
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in r#"("|\\|\\u[dD][89c-f]00|NaN|-?Infinity|[{}\[\],:]|\PC){0,40}"#) {
            let _ = parse(&text);
            let _ = parse(&format!("\"{text}\""));
        }
    }
}
