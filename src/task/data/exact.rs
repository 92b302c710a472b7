//! JSON values without silent losses: integers keep their digits, decimals are the nearest f64 (`serde_json` without its
//! `float_roundtrip` may miss it by a bit), and a key that an object has twice is an error.
//!
//! `serde_json` could keep the digits itself (`arbitrary_precision`), but Cargo would turn that on for every crate of the
//! build, where untagged enums and `Value` behave differently with it.

use std::fmt;

use serde::Deserializer;
use serde::de::{self, DeserializeSeed, MapAccess, SeqAccess, Visitor};
use serde_json::{Error, Map, Value};

/// Reads one JSON value. An integer that neither an `i64` nor a `u64` holds becomes text, its digits.
///
/// # Errors
/// Text that is not JSON; a number beyond the f64; and a repeated key, for which [`Error::is_data`] is true.
pub fn parse(text: &str) -> Result<Value, Error> {
    let mut numbers = Numbers { text, at: 0, passed: 0 };
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let value = Reader { numbers: &mut numbers }.deserialize(&mut deserializer)?;
    deserializer.end()?;
    Ok(value)
}

/// Builds a value, with the numbers of the text at hand as they are written.
struct Reader<'n, 't> {
    numbers: &'n mut Numbers<'t>,
}

impl<'de> DeserializeSeed<'de> for Reader<'_, '_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Reader<'_, '_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        self.numbers.passed += 1;
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        self.numbers.passed += 1;
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(match self.numbers.next() {
            Some(written) if written.contains(['.', 'e', 'E']) => written.parse().unwrap_or(value).into(),
            // -0 comes as a f64, too.
            Some(written) => written.parse::<i64>().map_or_else(|_| written.into(), Value::from),
            None => value.into(),
        })
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(Reader { numbers: self.numbers })? {
            list.push(item);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut fields = Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            if fields.contains_key(&key) {
                return Err(de::Error::custom(format!("an object has the key `{key}` twice")));
            }
            let value = entries.next_value_seed(Reader { numbers: self.numbers })?;
            fields.insert(key, value);
        }
        Ok(Value::Object(fields))
    }
}

/// The numbers of a JSON text as they are written, in order. Nothing is looked at before one is asked for: most texts have
/// none that matters.
struct Numbers<'t> {
    text: &'t str,
    /// The byte up to which the text was looked at.
    at: usize,
    /// How many numbers after it nobody asked for.
    passed: usize,
}

impl<'t> Numbers<'t> {
    /// The number that follows those that were passed.
    fn next(&mut self) -> Option<&'t str> {
        for _ in 0..self.passed {
            self.step()?;
        }
        self.passed = 0;
        self.step()
    }

    fn step(&mut self) -> Option<&'t str> {
        let bytes = self.text.as_bytes();
        let mut in_string = false;
        while let Some(byte) = bytes.get(self.at) {
            match byte {
                b'"' => in_string = !in_string,
                // The character after the backslash goes with it: it may be a quote.
                b'\\' => self.at += 1,
                b'-' | b'0'..=b'9' if !in_string => {
                    let rest = &bytes[self.at..];
                    let is_part = |byte: &&u8| matches!(byte, b'-' | b'+' | b'.' | b'e' | b'E' | b'0'..=b'9');
                    let end = self.at + rest.iter().take_while(is_part).count();
                    return self.text.get(std::mem::replace(&mut self.at, end)..end);
                }
                _ => {}
            }
            self.at += 1;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn integers_beyond_64_bits_keep_their_digits() {
        let text = r#"{"-1": "\"2", "a": [3, 4.5, 123456789012345678901234567890], "b": {"c": -18446744073709551616}}"#;
        let expected = json!({
            "-1": "\"2", "a": [3, 4.5, "123456789012345678901234567890"], "b": {"c": "-18446744073709551616"},
        });
        assert_eq!(parse(text).unwrap(), expected);
        assert_eq!(parse("[18446744073709551615, -9223372036854775808]").unwrap(), json!([u64::MAX, i64::MIN]));
        assert_eq!(parse("18446744073709551616").unwrap(), json!("18446744073709551616"));
        assert_eq!(parse("-0").unwrap().to_string(), "0");
        assert_eq!(parse("[-0.0, 1e2, 2.50]").unwrap().to_string(), "[-0.0,100.0,2.5]");
    }

    #[test]
    fn a_number_beyond_the_floats_is_an_error() {
        for text in ["1e400", "[1, -1e400]", &"9".repeat(400)] {
            assert!(parse(text).unwrap_err().to_string().starts_with("number out of range"), "{text}");
        }
    }

    #[test]
    fn of_two_equal_keys_none_wins() {
        let message = |text| parse(text).unwrap_err().to_string();
        assert_eq!(message(r#"{"q": 1, "q": 1}"#), "an object has the key `q` twice at line 1 column 12");
        assert!(
            message("[{\n\"a\": {\"b\": 1, \"\\u0062\": 2}}]").starts_with("an object has the key `b` twice at line 2")
        );
        assert!(parse(r#"[{"q": 1}, {"q": {"q": 2}}]"#).is_ok());
    }

    proptest! {
        #[test]
        fn every_float_comes_back(bits: u64, text in "[1-9]{1,2}[.][0-9]{15,25}(e-?[1-9]{1,2})?") {
            let float = f64::from_bits(bits);
            prop_assume!(float.is_finite());
            prop_assert_eq!(parse(&json!([1, "1", float]).to_string()).unwrap(), json!([1, "1", float]));
            prop_assert_eq!(parse(&text).unwrap(), json!(text.parse::<f64>().unwrap()));
        }

        #[test]
        fn texts_of_serde_json_give_its_values(numbers: Vec<i64>, key: String, text: String) {
            let value = json!({ key.as_str(): numbers, "more": [{ "text": text, "none": null }, true, numbers] });
            prop_assert_eq!(parse(&value.to_string()).unwrap(), value);
        }
    }
}
