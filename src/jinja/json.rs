//! `tojson` as `transformers` defines it: Python's `json.dumps` with `ensure_ascii=False`, nothing escaped for HTML.

use std::fmt::Write as _;

use minijinja::value::{Kwargs, Rest, ValueKind, ValueOrKwargs, from_args};
use minijinja::{Error, ErrorKind, State, Value};

use super::{number, sizes};

const ARGUMENTS: [&str; 4] = ["ensure_ascii", "indent", "separators", "sort_keys"];

/// The filter, with the arguments of `transformers`: `ensure_ascii`, `indent`, `separators`, `sort_keys`. Its work is
/// charged while it is done: a small value may hold the same list a million times.
pub fn tojson(state: &State<'_, '_>, value: &Value, args: Rest<ValueOrKwargs>) -> Result<String, Error> {
    let args = args.into_values();
    let (positional, kwargs) = from_args::<(&[Value], Kwargs)>(&args)?;
    if positional.len() > ARGUMENTS.len() {
        return Err(Error::from(ErrorKind::TooManyArguments));
    }
    let mut given = [const { None }; ARGUMENTS.len()];
    for (i, name) in ARGUMENTS.into_iter().enumerate() {
        let named = if kwargs.has(name) { Some(kwargs.get(name)?) } else { None };
        given[i] = positional.get(i).cloned().or(named).filter(|value: &Value| !value.is_none());
    }
    let [ensure_ascii, indent, separators, sort_keys] = given;
    let indent = indent.map(|value| indentation(&value)).transpose()?;
    kwargs.assert_all_used()?;
    let (item, key) = match separators {
        Some(pair) => two_texts(&pair)?,
        None if indent.is_some() => (",".to_owned(), ": ".to_owned()),
        None => (", ".to_owned(), ": ".to_owned()),
    };
    let is_true = |value: Option<Value>| value.is_some_and(|value| value.is_true());
    let (ensure_ascii, sort_keys) = (is_true(ensure_ascii), is_true(sort_keys));
    let mut writer =
        Writer { state, out: String::new(), charged: 0, ensure_ascii, indent, item, key, sort_keys, depth: 0 };
    writer.value(value)?;
    Ok(writer.out)
}

/// Python's `indent`: so many spaces, or a text.
fn indentation(value: &Value) -> Result<String, Error> {
    if let Some(text) = value.as_str() {
        return Ok(text.to_owned());
    }
    let spaces = match value.kind() {
        ValueKind::Bool => i64::from(value.is_true()),
        _ => value.as_i64().ok_or_else(|| refused("indent is neither a number nor a text"))?,
    };
    Ok(" ".repeat(spaces.clamp(0, 64) as usize))
}

fn two_texts(pair: &Value) -> Result<(String, String), Error> {
    let wrong = || refused("separators are not two texts");
    let texts: Vec<Value> = pair.try_iter().map_err(|_| wrong())?.collect();
    match texts.as_slice() {
        [item, key] => Ok((item.as_str().ok_or_else(wrong)?.to_owned(), key.as_str().ok_or_else(wrong)?.to_owned())),
        _ => Err(wrong()),
    }
}

fn refused(what: impl Into<std::borrow::Cow<'static, str>>) -> Error {
    Error::new(ErrorKind::BadSerialization, what)
}

struct Writer<'a> {
    state: &'a State<'a, 'a>,
    out: String,
    /// Bytes that are paid for.
    charged: usize,
    ensure_ascii: bool,
    indent: Option<String>,
    item: String,
    key: String,
    sort_keys: bool,
    depth: usize,
}

/// Bytes that one step pays for.
const BYTES_A_STEP: usize = 64;

impl Writer<'_> {
    /// Pays for a step, for what has been written, and for `more` bytes.
    fn charge(&mut self, more: usize) -> Result<(), Error> {
        let bytes = (self.out.len() - self.charged).saturating_add(more);
        self.charged = self.out.len() + more;
        self.state.consume_fuel(1 + (bytes / BYTES_A_STEP) as u64)
    }

    fn value(&mut self, value: &Value) -> Result<(), Error> {
        self.charge(0)?;
        match value.kind() {
            ValueKind::String => self.text(value.as_str().unwrap_or_default()),
            ValueKind::None | ValueKind::Bool | ValueKind::Number => self.out += &scalar(value),
            ValueKind::Seq | ValueKind::Iterable => {
                let items: Vec<Value> = value.try_iter()?.collect();
                self.list('[', ']', &items, Self::value)?;
            }
            ValueKind::Map => {
                let mut keys: Vec<Value> = value.try_iter()?.collect();
                if self.sort_keys {
                    keys.sort();
                }
                self.list('{', '}', &keys, |writer, key| {
                    match key.kind() {
                        ValueKind::String => writer.text(key.as_str().unwrap_or_default()),
                        ValueKind::None | ValueKind::Bool | ValueKind::Number => writer.text(&scalar(key)),
                        kind => return Err(refused(format!("a {kind} cannot be a key of JSON"))),
                    }
                    writer.out += &writer.key.clone();
                    writer.value(&value.get_item(key)?)
                })?;
            }
            kind => return Err(refused(format!("a value that is {kind} has no JSON"))),
        }
        Ok(())
    }

    fn list(
        &mut self,
        open: char,
        close: char,
        items: &[Value],
        each: impl Fn(&mut Self, &Value) -> Result<(), Error>,
    ) -> Result<(), Error> {
        self.out.push(open);
        self.depth += 1;
        if self.depth > sizes::DEEPEST_PRINTED {
            return Err(sizes::too_deep());
        }
        for (i, item) in items.iter().enumerate() {
            if i > 0 {
                self.out += &self.item.clone();
            }
            self.line_break()?;
            each(self, item)?;
        }
        self.depth -= 1;
        if !items.is_empty() {
            self.line_break()?;
        }
        self.out.push(close);
        Ok(())
    }

    fn line_break(&mut self) -> Result<(), Error> {
        if let Some(indent) = self.indent.clone() {
            self.charge(indent.len().saturating_mul(self.depth))?;
            self.out.push('\n');
            self.out += &indent.repeat(self.depth);
        }
        Ok(())
    }

    fn text(&mut self, text: &str) {
        self.out.push('"');
        for c in text.chars() {
            match c {
                '"' => self.out += "\\\"",
                '\\' => self.out += "\\\\",
                '\n' => self.out += "\\n",
                '\r' => self.out += "\\r",
                '\t' => self.out += "\\t",
                '\u{8}' => self.out += "\\b",
                '\u{c}' => self.out += "\\f",
                c if c < ' ' || (self.ensure_ascii && c > '~') => {
                    for unit in c.encode_utf16(&mut [0; 2]) {
                        let _ = write!(self.out, "\\u{unit:04x}");
                    }
                }
                c => self.out.push(c),
            }
        }
        self.out.push('"');
    }
}

/// None, a truth value or a number as Python's `json` writes it.
fn scalar(value: &Value) -> String {
    match value.kind() {
        ValueKind::None => "null".into(),
        ValueKind::Bool => if value.is_true() { "true" } else { "false" }.into(),
        _ if value.is_integer() => value.to_string(),
        _ => match f64::try_from(value.clone()) {
            Ok(number) if number.is_nan() => "NaN".into(),
            Ok(number) if number.is_infinite() => if number > 0.0 { "Infinity" } else { "-Infinity" }.into(),
            _ => number::as_python(value).unwrap_or_else(|| value.to_string()),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::super::engine;

    fn render(template: &str) -> String {
        engine().unwrap().render_str(template, ()).unwrap_or_else(|error| error.to_string())
    }

    /// The expected texts are those of Python's `json.dumps`.
    #[test]
    fn json_was_escaped_for_html() {
        assert_eq!(render(r#"{{ "<a href='x'>&é\"\\\n\t</a>" | tojson }}"#), r#""<a href='x'>&é\"\\\n\t</a>""#);
        assert_eq!(
            render("{{ {'b': [1, 2.0, none, true], 'a': {}} | tojson }}"),
            r#"{"b": [1, 2.0, null, true], "a": {}}"#
        );
        assert_eq!(
            render("{{ '\x01\x7f\u{e9}😀' | tojson(ensure_ascii=true) }}"),
            r#""\u0001\u007f\u00e9\ud83d\ude00""#
        );
        assert_eq!(
            render("{{ [1e16, 1e-5, 0.1, 123456789.0, 1e22, 3] | tojson }}"),
            "[1e+16, 1e-05, 0.1, 123456789.0, 1e+22, 3]"
        );
    }

    #[test]
    fn the_arguments_are_those_of_transformers() {
        let value = "{'b': [1, {}], 'a': 'x', 'c': []}";
        assert_eq!(
            render(&format!("{{{{ {value} | tojson(indent=2) }}}}")),
            "{\n  \"b\": [\n    1,\n    {}\n  ],\n  \"a\": \"x\",\n  \"c\": []\n}"
        );
        assert_eq!(
            render(&format!("{{{{ {value} | tojson(separators=(',', ':'), sort_keys=true) }}}}")),
            r#"{"a":"x","b":[1,{}],"c":[]}"#
        );
        assert_eq!(
            render(&format!("{{{{ {value} | tojson(false, 0) }}}}")),
            "{\n\"b\": [\n1,\n{}\n],\n\"a\": \"x\",\n\"c\": []\n}"
        );
        assert_eq!(render("{{ {1: 2, none: 3, true: 4} | tojson(indent='--') }}").lines().nth(1), Some("--\"1\": 4,"));
    }

    #[test]
    fn what_has_no_json_is_refused() {
        assert!(render("{{ missing | tojson }}").contains("undefined"));
        assert!(render("{{ 1 | tojson(separators=',') }}").contains("separators"));
        assert!(render("{{ 1 | tojson(colour=1) }}").contains("colour"));
    }
}
