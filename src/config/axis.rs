//! One key and the values a sweep gives it: `--grid a.b=v,w`.

use std::str::FromStr;

use super::Assignment;

/// A key with the values to go through, in the order given.
#[derive(Clone, Debug, PartialEq)]
pub struct Axis {
    /// The key as a user writes it.
    pub key: String,
    /// At least one.
    pub values: Vec<Assignment>,
}

impl FromStr for Axis {
    type Err = String;

    /// The values stand between commas, each as for `--set`: TOML, or else a string. Commas inside of TOML's quotes and
    /// brackets belong to their value.
    fn from_str(text: &str) -> Result<Self, String> {
        let (key, values) =
            text.split_once('=').ok_or("expected KEY=VALUE,VALUE, such as train.learning_rate=1e-4,3e-4")?;
        let assignment = |value: &str| -> Result<Assignment, String> {
            let value = value.trim();
            if value.is_empty() {
                return Err("a value is missing: an empty string is written ''".to_owned());
            }
            if value.starts_with(['"', '\'', '[', '{'])
                && let Err(error) = value.parse::<toml::Value>()
            {
                return Err(format!("{value} is not TOML: {}", error.message()));
            }
            Ok(format!("{}={value}", key.trim()).parse::<Assignment>()?.of("--grid"))
        };
        let values = split(values)?.into_iter().map(assignment).collect::<Result<Vec<_>, _>>()?;
        Ok(Self { key: key.trim().to_owned(), values })
    }
}

/// The parts between the commas that stand in no quotes and brackets. A value that does not begin with any of these is a
/// plain word, in which they mean nothing.
fn split(text: &str) -> Result<Vec<&str>, String> {
    let (mut parts, mut start) = (Vec::new(), 0);
    let (mut depth, mut quote, mut escaped) = (0_usize, None, false);
    for (at, c) in text.char_indices() {
        let begins = text[start..at].trim().is_empty();
        match (quote, c) {
            _ if escaped => escaped = false,
            (Some('"'), '\\') => escaped = true,
            (Some(open), c) if c == open => quote = None,
            (Some(_), _) => {}
            (None, '"' | '\'') if begins || depth > 0 => quote = Some(c),
            (None, '[' | '{') if begins || depth > 0 => depth += 1,
            (None, ']' | '}') => depth = depth.saturating_sub(1),
            (None, ',') if depth == 0 => {
                parts.push(&text[start..at]);
                start = at + 1;
            }
            (None, _) => {}
        }
    }
    if quote.is_some() || depth > 0 {
        let what = if quote.is_some() { "quotes" } else { "brackets" };
        return Err(format!("the {what} of {} are not closed", &text[start..].trim()));
    }
    parts.push(&text[start..]);
    Ok(parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(text: &str) -> Vec<String> {
        let axis: Axis = text.parse().unwrap();
        axis.values.iter().map(|a| a.value().to_string()).collect()
    }

    #[test]
    fn values_are_toml_or_words_between_commas() {
        assert_eq!(values("train.learning_rate=1e-3, 3e-4,1"), ["0.001", "0.0003", "1"]);
        assert_eq!(values("model.name_or_path=a/b,it's"), ["\"a/b\"", "\"it's\""]);
        assert_eq!(values("rollout.cache=dual"), ["\"dual\""]);
        assert_eq!(values("model.revision=1234567,1e5"), ["\"1234567\"", "\"1e5\""]);
    }

    #[test]
    fn commas_inside_of_a_value_split_it() {
        assert_eq!(values("eval.temperatures=[0.9, 0.0],[0.0]"), ["[0.9, 0.0]", "[0.0]"]);
        assert_eq!(values(r#"x.y="a,\",b",'c,d"'"#), [r#"'a,",b'"#, r#"'c,d"'"#]);
        let tables = values("algorithm={spg={num_t=1, beta=1.5}},{spg={min_t=0.5}}");
        assert_eq!(tables.len(), 2);
        for table in tables {
            let again: toml::Value = table.parse().unwrap();
            assert!(again["spg"].is_table(), "{table}");
        }
    }

    #[test]
    fn what_is_written_wrongly_is_refused() {
        for (text, part) in [
            ("train.max_steps", "expected KEY=VALUE,VALUE"),
            ("a..b=1", "is not a key"),
            ("a=1,,2", "a value is missing"),
            ("a=", "a value is missing"),
            ("a=[1,2", "brackets of [1,2 are not closed"),
            ("a=1,'b", "quotes of 'b are not closed"),
            ("a=[1 2],3", "[1 2] is not TOML"),
            ("a='b'c,3", "'b'c is not TOML"),
        ] {
            let error = text.parse::<Axis>().unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    #[test]
    fn an_assignment_reads_back_from_what_it_shows() {
        for text in
            ["a.b=1.0", "a=[1, 'x, y']", "a={b={c=1}}", "a=\"q\\\"\\n'\"", "model.revision=1e5", "algorithm.*.num_t=2"]
        {
            let assignment: Assignment = text.parse().unwrap();
            let again: Assignment = assignment.to_string().parse().unwrap();
            assert_eq!((again.path(), again.value()), (assignment.path(), assignment.value()), "{assignment}");
        }
    }
}
