//! `{% generation %}`: a tag of `transformers` around what the assistant says, for losses over such tokens alone. What
//! is inside is rendered as ever.

use crate::jinja::{Piece, name, pieces};

/// The source with the tags replaced by those of a block that does nothing but end the life of what is set in it, as
/// the tag does. Text, comments, expressions and raw blocks that look like the tag stay.
pub(super) fn without_tags(source: &str) -> String {
    let mut out = String::with_capacity(source.len());
    for piece in pieces(source) {
        match piece {
            Piece::Tag(tag) if name(tag) == Some("generation") => out += &tag.replacen("generation", "with", 1),
            Piece::Tag(tag) if name(tag) == Some("endgeneration") => {
                out += &tag.replacen("endgeneration", "endwith", 1)
            }
            Piece::Tag(text) | Piece::Text(text) => out += text,
        }
    }
    out
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
