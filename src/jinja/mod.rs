//! Templates that render as Python's Jinja renders them, for the prompts of tasks and for the chat templates of models.
//!
//! The engine differs from it in some places where a prompt would silently be another one; these are mended here.

mod compiled;
mod json;
mod newlines;
mod number;
mod sizes;
mod tags;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::ValueKind;
use minijinja::{Environment, Error, Output, State, Value};

pub use compiled::{Compiled, Failure};
pub use newlines::normalised;
pub use tags::{Piece, name, pieces};

/// An engine in which a line that holds only a block leaves no empty line behind, and text has Python's methods.
///
/// # Errors
/// If the engine refuses its own syntax.
pub fn engine() -> Result<Environment<'static>, Error> {
    let mut env = Environment::new();
    env.set_syntax(SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build()?);
    env.set_unknown_method_callback(sizes::method);
    env.add_test("iterable", is_iterable);
    env.add_test("sequence", is_sequence);
    env.add_filter("tojson", json::tojson);
    env.add_filter("escape", escape);
    env.add_filter("e", escape);
    env.add_filter("format", sizes::format);
    env.add_filter("pprint", sizes::pprint);
    // Python's Jinja has no such function, and what it prints has no bounds.
    env.remove_global("debug");
    env.set_formatter(print);
    Ok(env)
}

/// Writes a value that stands in `{{ }}`, numbers as Python writes them.
///
/// # Errors
/// If it cannot be written.
pub fn print(out: &mut Output<'_>, state: &mut State<'_, '_>, value: &Value) -> Result<(), Error> {
    sizes::charge(state, value)?;
    match number::as_python(value) {
        Some(text) => Ok(out.write_str(&text)?),
        None => minijinja::escape_formatter(out, state, value),
    }
}

/// Whether Python's `iter` takes it: the engine would let a loop over none pass.
fn is_iterable(value: &Value) -> bool {
    !value.is_none() && value.try_iter().is_ok()
}

/// Whether Python finds a length and items in it: in text and mappings, too.
fn is_sequence(value: &Value) -> bool {
    use ValueKind::{Bytes, Map, Seq, String, Undefined};
    matches!(value.kind(), Undefined | String | Bytes | Seq | Map)
}

/// HTML escapes with the numbers that Python's Jinja writes for quotes.
fn escape(value: &Value) -> Value {
    if value.is_safe() {
        return value.clone();
    }
    let text = value.to_string().replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    Value::from_safe_string(text.replace('\'', "&#39;").replace('"', "&#34;"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use minijinja::context;

    /// What `template` gives, or the error's text.
    fn render(template: &str) -> Result<String, String> {
        let env = engine().map_err(|e| e.to_string())?;
        let context = context! { nothing => (), text => "a", list => vec![1, 2], map => context! { a => 1 } };
        env.render_str(template, context).map_err(|e| e.to_string())
    }

    #[test]
    fn none_was_taken_for_something_to_loop_over() {
        let tests = |name: &str| {
            let all = ["nothing", "text", "list", "map", "7", "missing"].map(|v| format!("{{{{ {v} is {name} }}}}"));
            render(&all.join(" "))
        };
        assert_eq!(tests("iterable").as_deref(), Ok("False True True True False True"));
        // Python's Jinja calls a text and a mapping sequences, as they have a length and items
        assert_eq!(tests("sequence").as_deref(), Ok("False True True True False True"));
        assert_eq!(tests("mapping").as_deref(), Ok("False False False True False False"));
        assert_eq!(tests("none").as_deref(), Ok("True False False False False False"));
    }

    #[test]
    fn large_and_small_numbers_were_not_those_of_python() {
        assert_eq!(
            render("{{ 1e16 }} {{ 1e-5 }} {{ 2.5 }} {{ 3 }} {{ 1e300 * 1e300 }}").as_deref(),
            Ok("1e+16 1e-05 2.5 3 inf")
        );
    }

    #[test]
    fn quotes_were_escaped_in_other_words() {
        assert_eq!(render(r#"{{ "<'&\"" | e }}{{ text | escape | e }}"#).as_deref(), Ok("&lt;&#39;&amp;&#34;a"));
    }

    #[test]
    fn block_lines_vanish_and_text_has_pythons_methods() {
        assert_eq!(
            render("{% if true %}\n  {% set x = ' b ' %}\n{{ x.strip().upper() }}\n{% endif %}\n").as_deref(),
            Ok("B\n")
        );
    }
}
