//! The two lines of the protocol: a request as it is written, an answer as it is read.

use std::fmt;

use serde::Deserialize;
use serde::de::{Error as _, IgnoredAny, MapAccess, Visitor};
use serde_json::{Value, json};

use super::error::beginning;
use super::{Answer, Request};
use crate::config::LARGEST_REWARD;
use crate::terminal::shown_in_line;

/// The longest answer that is read, bytes.
pub(super) const LONGEST_ANSWER: usize = 1 << 20;
/// The most parts of an answer: each is a column of the metrics.
const MOST_PARTS: usize = 64;
/// The longest name of a part, characters.
const LONGEST_NAME: usize = 64;
/// The largest part: sums of millions of them stay finite, and it is a number in f32, which readers of metrics use.
const LARGEST_PART: f64 = 1e30;

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
    parts: Parts,
}

/// Parts in their order, none twice. (A map of serde_json's would keep the last of two and say nothing.)
#[derive(Default)]
struct Parts(Vec<(String, Value)>);

impl<'de> Deserialize<'de> for Parts {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Named;
        impl<'de> Visitor<'de> for Named {
            type Value = Parts;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of named parts")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Parts, A::Error> {
                let mut parts: Vec<(String, Value)> = Vec::new();
                while let Some((name, value)) = map.next_entry::<String, Value>()? {
                    name_problem(&name).map_or(Ok(()), |problem| Err(A::Error::custom(problem)))?;
                    if parts.iter().any(|(known, _)| *known == name) {
                        return Err(A::Error::custom(format!("part `{name}` is there twice")));
                    }
                    if parts.len() == MOST_PARTS {
                        return Err(A::Error::custom(format!(
                            "more than {MOST_PARTS} parts (`{name}` is one too many): each is a column of the metrics"
                        )));
                    }
                    parts.push((name, value));
                }
                Ok(Parts(parts))
            }
        }
        deserializer.deserialize_map(Named)
    }
}

/// What is wrong with the name of a part.
fn name_problem(name: &str) -> Option<String> {
    if name.is_empty() {
        return Some("a part has no name".to_owned());
    }
    if name.chars().count() > LONGEST_NAME {
        return Some(format!("the name of part `{}` is longer than {LONGEST_NAME} characters", beginning(name)));
    }
    let shown = shown_in_line(name);
    (shown != name).then(|| format!("the name of part `{shown}` holds control characters"))
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
    let reward = number("`reward`", &raw.reward, LARGEST_REWARD)?;
    let parts = raw.parts.0.into_iter().map(|(name, value)| {
        let number = number(&format!("part `{name}`"), &value, LARGEST_PART)?;
        Ok((name, number))
    });
    Ok(Answer { reward, parts: parts.collect::<Result<_, String>>()? })
}

/// A number that means over a run can be taken of.
fn number(what: &str, value: &Value, largest: f64) -> Result<f64, String> {
    let number = value.as_f64().filter(|number| number.is_finite());
    let number = number.ok_or_else(|| format!("{what} is not a finite number"))?;
    if number.abs() > largest {
        return Err(format!("{what} is {number:e}, and the largest is {largest:e} (below zero as above): scale it"));
    }
    Ok(number)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use serde_json::Map;

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
        assert!(problem(r#"{"reward": 1, "parts": [1]}"#).contains("expected an object of named parts"));
    }

    #[test]
    fn a_reward_whose_sums_would_overflow_is_refused() {
        assert_eq!(decode(br#"{"reward": -1e9, "parts": {"ns": 1e30}}"#).unwrap().reward, -1e9);
        for reward in ["1e308", "-1e308", "1e300", "1.0000001e9"] {
            let problem = problem(&format!(r#"{{"reward": {reward}}}"#));
            let number: f64 = reward.parse().unwrap();
            assert_eq!(
                problem,
                format!("`reward` is {number:e}, and the largest is 1e9 (below zero as above): scale it")
            );
        }
        assert!(
            problem(r#"{"reward": 1, "parts": {"a": 1e31}}"#).starts_with("part `a` is 1e31, and the largest is 1e30")
        );
    }

    #[test]
    fn parts_are_few_and_their_names_are_names() {
        let answer = |names: &[String]| {
            let parts: Vec<String> = names.iter().map(|name| format!("{}: 0.5", json!(name))).collect();
            decode(format!(r#"{{"reward": 1, "parts": {{{}}}}}"#, parts.join(", ")).as_bytes())
        };
        let names = |n: usize| (0..n).map(|i| format!("p{i}")).collect::<Vec<_>>();
        assert_eq!(answer(&names(MOST_PARTS)).unwrap().parts.len(), MOST_PARTS);
        let many = answer(&names(20_000)).unwrap_err();
        assert!(many.starts_with("more than 64 parts (`p64` is one too many)"), "{many}");
        let wrong = |name: &str| answer(&[name.to_owned()]).unwrap_err();
        assert!(wrong("").starts_with("a part has no name"));
        assert!(wrong("a\u{1b}[2J\n").starts_with("the name of part `a\\u{1b}[2J\\n` holds control characters"));
        assert!(wrong(&"é".repeat(65)).contains("is longer than 64 characters"));
        assert_eq!(answer(&["é".repeat(64)]).unwrap().parts.len(), 1);
        assert!(answer(&["a".into(), "b".into(), "a".into()]).unwrap_err().starts_with("part `a` is there twice"));
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
            eighths in any::<i32>(), names in prop::collection::btree_set("[ -~é]{1,64}", 0..5),
        ) {
            let reward = f64::from(eighths) / 8.0;
            let parts: Vec<_> = names.into_iter().rev().map(|name| (name, -reward)).collect();
            let map: Map<_, _> = parts.iter().map(|(name, part)| (name.clone(), json!(part))).collect();
            let line = json!({"reward": reward, "parts": map}).to_string();
            prop_assert_eq!(decode(line.as_bytes()), Ok(Answer { reward, parts }));
        }
    }
}
