//! `{% generation %}`: a tag of `transformers` around what the assistant says, for losses over such tokens alone. What
//! is inside is rendered as ever.

/// The source with the tags replaced by those of a block that does nothing but end the life of what is set in it, as
/// the tag does. Text, comments, expressions and raw blocks that look like the tag stay.
pub(super) fn without_tags(source: &str) -> String {
    let mut out = String::with_capacity(source.len());
    let mut rest = source;
    let mut raw = false;
    while let Some(at) = rest.find('{') {
        let (before, found) = rest.split_at(at);
        out += before;
        let end = match found.as_bytes().get(1) {
            Some(b'#') if !raw => found.find("#}").map(|end| end + 2),
            Some(b'{') if !raw => end_of(found, "}}"),
            Some(b'%') if raw => found.find("%}").map(|end| end + 2),
            Some(b'%') => end_of(found, "%}"),
            _ => Some(1),
        };
        let Some(end) = end else {
            // never closed: the engine says where
            return out + found;
        };
        let (tag, after) = found.split_at(end);
        rest = after;
        match name(tag) {
            Some("raw") => raw = true,
            Some("endraw") => raw = false,
            Some("generation") if !raw => {
                out += &tag.replacen("generation", "with", 1);
                continue;
            }
            Some("endgeneration") if !raw => {
                out += &tag.replacen("endgeneration", "endwith", 1);
                continue;
            }
            _ => {}
        }
        out += tag;
    }
    out + rest
}

/// Where a tag or an expression is over: strings in it may hold what would end it.
fn end_of(text: &str, close: &str) -> Option<usize> {
    let mut quote = None;
    let mut escaped = false;
    for (i, c) in text.char_indices().skip(2) {
        match quote {
            Some(_) if escaped => escaped = false,
            Some(_) if c == '\\' => escaped = true,
            Some(q) if c == q => quote = None,
            Some(_) => {}
            None if c == '"' || c == '\'' => quote = Some(c),
            None if text[i..].starts_with(close) => return Some(i + close.len()),
            None => {}
        }
    }
    None
}

/// What stands in a tag, if it is a single name: `{%- generation %}`.
fn name(tag: &str) -> Option<&str> {
    let inside = tag.strip_prefix("{%")?.strip_suffix("%}")?;
    let inside = inside.strip_prefix(['-', '+']).unwrap_or(inside);
    Some(inside.strip_suffix(['-', '+']).unwrap_or(inside).trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_tags_are_replaced() {
        for (source, expected) in [
            ("a{% generation %}b{% endgeneration %}c", "a{% with %}b{% endwith %}c"),
            ("{%-generation-%}b{%+ endgeneration -%}", "{%-with-%}b{%+ endwith -%}"),
            ("{{ '{% generation %}' }}{# {% generation %} #}", "{{ '{% generation %}' }}{# {% generation %} #}"),
            (
                "{% raw %}{% generation %}{{{% endraw %}{% generation %}",
                "{% raw %}{% generation %}{{{% endraw %}{% with %}",
            ),
            (
                r#"{% set x = "\"%}{% generation %}" %}{% generation %}"#,
                r#"{% set x = "\"%}{% generation %}" %}{% with %}"#,
            ),
            ("{% if generation %}{% generation x %}", "{% if generation %}{% generation x %}"),
            ("é{ {% generation %}{", "é{ {% with %}{"),
            ("{{ {'a': {}} }}{% generation", "{{ {'a': {}} }}{% generation"),
        ] {
            assert_eq!(without_tags(source), expected, "{source}");
        }
    }
}
