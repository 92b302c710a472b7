//! JSON as Python writes it: `json.dumps` escapes lone surrogates and writes `NaN` and `Infinity`, none of which is JSON.
//! What is read is read [exactly](exact).

use serde_json::Value;

use super::exact;

/// Reads a text that is JSON, or would be but for what Python may put there: a lone surrogate is read as U+FFFD, and
/// `NaN`, `Infinity` and `-Infinity` as null. Integers of more than 64 bits become text, their digits.
///
/// # Errors
/// Any other text; a number beyond the f64; an object that has a key twice.
pub fn parse(text: &str) -> Result<Value, serde_json::Error> {
    exact::parse(text).or_else(|error| match mend(text).filter(|_| !error.is_data()) {
        // The first error is the one that gives the place in the text as it is.
        Some(mended) => exact::parse(&mended).map_err(|mended| if mended.is_data() { mended } else { error }),
        None => Err(error),
    })
}

/// What is wrong with a text that [`parse`] refuses.
pub fn reason(error: &serde_json::Error) -> String {
    // A repeated key is JSON, though nothing to be read.
    if error.is_data() { error.to_string() } else { format!("not JSON: {error}") }
}

/// The longest line that is read: nobody's record is so long, and every part of a program would copy it.
const LONGEST_LINE: usize = 32 << 20;

/// Reads one line of a file of JSON lines, as [`parse`] does; an error says what is wrong with it, and in which column.
///
/// # Errors
/// As [`parse`], and bytes that are not UTF-8; a line of more than 32 MiB.
pub fn parse_line(line: &[u8]) -> Result<Value, String> {
    if line.len() > LONGEST_LINE {
        return Err(format!("it has {} MiB: lines of at most {} MiB are read", line.len() >> 20, LONGEST_LINE >> 20));
    }
    let text = std::str::from_utf8(line).map_err(|e| format!("not UTF-8 after byte {}", e.valid_up_to()))?;
    parse(text).map_err(|error| {
        // serde_json counts lines too, and every line is its first.
        reason(&error).replace(" at line 1 column ", " at column ")
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
        let (length, replacement) = match rest[0] {
            b'"' => {
                in_string = !in_string;
                (1, None)
            }
            b'\\' if in_string => match surrogate(rest) {
                Some(0xd800..=0xdbff) if matches!(surrogate(&rest[6..]), Some(0xdc00..=0xdfff)) => (12, None),
                Some(_) => (6, Some(r"\ufffd")),
                // The character after the backslash goes with it: it may be a quote.
                None => (2, None),
            },
            _ if in_string => (1, None),
            _ => {
                let word = ["NaN", "Infinity", "-Infinity"].into_iter().find(|word| rest.starts_with(word.as_bytes()));
                word.map_or((1, None), |word| (word.len(), Some("null")))
            }
        };
        if let Some(replacement) = replacement {
            mended += &text[copied..at];
            mended += replacement;
            copied = at + length;
        }
        at += length;
    }
    (copied > 0).then(|| mended + &text[copied..])
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
    fn a_line_of_200_megabytes_was_read() {
        let line = format!("\"{}\"", "a".repeat(LONGEST_LINE));
        assert_eq!(parse_line(line.as_bytes()).unwrap_err(), "it has 32 MiB: lines of at most 32 MiB are read");
        assert!(parse_line(&line.as_bytes()[2..]).is_err_and(|error| error.starts_with("not JSON")));
    }

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
    fn a_mended_text_is_read_exactly_too() {
        let text = r#"{"a": NaN, "b": 9007199254740993, "c": 123456789012345678901}"#;
        assert_eq!(parse(text).unwrap(), json!({"a": null, "b": 9007199254740993u64, "c": "123456789012345678901"}));
        for text in [r#"{"a": NaN, "a": 1}"#, r#"{"a": 1, "a": "\ud800"}"#] {
            assert_eq!(
                parse_line(text.as_bytes()).unwrap_err().split(" at ").next(),
                Some("an object has the key `a` twice")
            );
        }
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
