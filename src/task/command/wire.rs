//! The two lines of the protocol: a request as it is written, an answer as it is read.

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::{Map, Value, json};

use super::{Answer, Request};

/// The longest answer that is read, bytes.
pub(super) const LONGEST_ANSWER: usize = 1 << 20;

/// A request as one line of JSON in pure ASCII, line feed included: whatever encoding the command's language takes for
/// its standard input under the user's locale, the texts arrive as they are.
pub(super) fn encode(request: &Request<'_>) -> Vec<u8> {
    let json = json!({
        "prompt": request.prompt,
        "completion": request.completion,
        "record": request.record.fields(),
    })
    .to_string();
    let mut line = String::with_capacity(json.len() + 1);
    for c in json.chars() {
        if c.is_ascii() && c != '\x7f' {
            line.push(c);
        } else {
            // Such characters stand inside strings only, where JSON takes them as UTF-16 escapes.
            for unit in c.encode_utf16(&mut [0; 2]) {
                line.push_str(&format!("\\u{unit:04x}"));
            }
        }
    }
    line.push('\n');
    line.into_bytes()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    reward: Value,
    #[serde(default)]
    parts: Map<String, Value>,
}

/// Reads an answer, or says what is wrong with the line.
pub(super) fn decode(line: &[u8]) -> Result<Answer, String> {
    let text = std::str::from_utf8(line).map_err(|_| "it is not UTF-8".to_owned())?.trim();
    if text.is_empty() {
        return Err("it is empty".to_owned());
    }
    serde_json::from_str::<IgnoredAny>(text).map_err(|error| format!("it is not JSON ({error})"))?;
    // Checked apart, because a derived struct takes an array of its fields as well.
    if !text.starts_with('{') {
        return Err("it is not a JSON object".to_owned());
    }
    let raw: Raw = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let reward = finite("`reward`", &raw.reward)?;
    let parts = raw.parts.into_iter().map(|(name, value)| {
        let number = finite(&format!("part `{name}`"), &value)?;
        Ok((name, number))
    });
    Ok(Answer { reward, parts: parts.collect::<Result<_, String>>()? })
}

fn finite(what: &str, value: &Value) -> Result<f64, String> {
    value.as_f64().filter(|number| number.is_finite()).ok_or_else(|| format!("{what} is not a finite number"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::super::Record;
    use super::*;

    fn problem(line: &str) -> String {
        decode(line.as_bytes()).expect_err(line)
    }

    #[test]
    fn an_answer_has_a_reward_and_perhaps_parts() {
        assert_eq!(decode(b"{\"reward\": 2}\r"), Ok(Answer { reward: 2.0, parts: vec![] }));
        let parts = vec![("form".to_owned(), 0.5), ("a b".to_owned(), -1.0)];
        assert_eq!(
            decode(br#"{"parts": {"form": 0.5, "a b": -1}, "reward": -0.5}"#),
            Ok(Answer { reward: -0.5, parts })
        );
    }

    #[test]
    fn whatever_is_not_an_answer_is_refused_with_its_reason() {
        assert_eq!(problem(" "), "it is empty");
        assert_eq!(decode(b"\xff").unwrap_err(), "it is not UTF-8");
        for line in ["hello", "{\"reward\": NaN}", "{\"reward\": 1} {\"reward\": 1}", "{"] {
            assert!(problem(line).starts_with("it is not JSON ("), "{line}: {}", problem(line));
        }
        for line in ["1.0", "[1.0]", "null", "\"{}\""] {
            assert_eq!(problem(line), "it is not a JSON object");
        }
        assert!(problem("{\"reward\": 1e999}").contains("out of range"));
        assert!(problem("{}").contains("missing field `reward`"));
        assert!(problem(r#"{"reward": 1, "reward": 2}"#).contains("duplicate field `reward`"));
        assert!(problem(r#"{"reward": 1, "part": {}}"#).contains("unknown field `part`"));
        for reward in ["null", "\"1\"", "true", "[1]"] {
            assert_eq!(problem(&format!("{{\"reward\": {reward}}}")), "`reward` is not a finite number");
        }
        assert_eq!(problem(r#"{"reward": 1, "parts": {"form": "x"}}"#), "part `form` is not a finite number");
        assert!(problem(r#"{"reward": 1, "parts": null}"#).contains("null"));
    }

    proptest! {
        #[test]
        fn any_text_arrives_as_it_is_in_one_line_of_ascii(
            prompt: String, completion: String, name: String, field: String,
        ) {
            let record = Record::from([(name.as_str(), field)]);
            let line = encode(&Request { prompt: &prompt, completion: &completion, record: &record });
            let (last, body) = line.split_last().unwrap();
            prop_assert_eq!(*last, b'\n');
            prop_assert!(body.iter().all(|byte| (b' '..=b'~').contains(byte)));
            let expected = json!({"prompt": prompt, "completion": completion, "record": record});
            prop_assert_eq!(serde_json::from_slice::<Value>(body).unwrap(), expected);
        }

        #[test]
        fn any_reward_and_any_parts_are_read_in_their_order(
            eighths in any::<i32>(), names in prop::collection::btree_set(any::<String>(), 0..5),
        ) {
            let reward = f64::from(eighths) / 8.0;
            let parts: Vec<_> = names.into_iter().rev().map(|name| (name, -reward)).collect();
            let map: Map<_, _> = parts.iter().map(|(name, part)| (name.clone(), json!(part))).collect();
            let line = json!({"reward": reward, "parts": map}).to_string();
            prop_assert_eq!(decode(line.as_bytes()), Ok(Answer { reward, parts }));
        }
    }
}
