//! The tags and expressions of a template's source, told from the text, comments and raw blocks that look like them.

/// A part of a source; all of them together are the source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    /// Text, a comment, or what stands in a raw block.
    Text(&'a str),
    /// `{% .. %}` or `{{ .. }}`; one that is never closed runs to the end.
    Tag(&'a str),
}

/// The pieces of a source in order.
pub fn pieces(source: &str) -> impl Iterator<Item = Piece<'_>> {
    let mut rest = source;
    let mut raw = false;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let opens = |i: &usize| matches!(rest.as_bytes().get(i + 1), Some(b'%' | b'{' | b'#'));
        let first = rest.match_indices('{').map(|(i, _)| i).find(opens).unwrap_or(rest.len());
        if first > 0 {
            let (text, after) = rest.split_at(first);
            rest = after;
            return Some(Piece::Text(text));
        }
        let (is_tag, end) = match rest.as_bytes()[1] {
            b'#' if !raw => (false, rest.find("#}").map_or(rest.len(), |end| end + 2)),
            b'{' if !raw => (true, end_of(rest, "}}")),
            b'%' if raw => (false, rest.find("%}").map_or(rest.len(), |end| end + 2)),
            b'%' => (true, end_of(rest, "%}")),
            _ => (false, 1),
        };
        let (piece, after) = rest.split_at(end);
        rest = after;
        match name(piece) {
            Some("raw") => raw = true,
            Some("endraw") if raw => {
                raw = false;
                return Some(Piece::Tag(piece));
            }
            _ => {}
        }
        Some(if is_tag { Piece::Tag(piece) } else { Piece::Text(piece) })
    })
}

/// What stands in a tag, if it is a single name: `{%- generation %}`.
pub fn name(tag: &str) -> Option<&str> {
    let inside = tag.strip_prefix("{%")?.strip_suffix("%}")?;
    let inside = inside.strip_prefix(['-', '+']).unwrap_or(inside);
    Some(inside.strip_suffix(['-', '+']).unwrap_or(inside).trim())
}

/// The bytes of a tag that are not in texts: as many operators and brackets it has at most.
pub fn code_bytes(tag: &str) -> usize {
    let mut bytes = 0;
    outside_texts(tag, |_, c| {
        bytes += c.len_utf8();
        false
    });
    bytes
}

/// Where a tag or an expression is over.
fn end_of(text: &str, close: &str) -> usize {
    let mut end = text.len();
    outside_texts(text, |i, _| {
        let is_end = i >= 2 && text[i..].starts_with(close);
        if is_end {
            end = i + close.len();
        }
        is_end
    });
    end
}

/// Shows the characters that do not stand in a text, until one says that it was the last.
fn outside_texts(text: &str, mut is_last: impl FnMut(usize, char) -> bool) {
    let mut quote = None;
    let mut escaped = false;
    for (i, c) in text.char_indices() {
        match quote {
            Some(_) if escaped => escaped = false,
            Some(_) if c == '\\' => escaped = true,
            Some(q) if c == q => quote = None,
            Some(_) => {}
            None if c == '"' || c == '\'' => quote = Some(c),
            None if is_last(i, c) => return,
            None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Piece::{Tag, Text};
    use proptest::prelude::*;

    fn all(source: &str) -> Vec<Piece<'_>> {
        pieces(source).collect()
    }

    #[test]
    fn texts_and_comments_hide_what_looks_like_a_tag() {
        assert_eq!(all("a{{ '}}' }}{# {{ #}b"), [Text("a"), Tag("{{ '}}' }}"), Text("{# {{ #}"), Text("b")]);
        assert_eq!(
            all("{% raw %}{{ x }}{% if %}{%- endraw -%}{{ y }}"),
            [Tag("{% raw %}"), Text("{"), Text("{ x }}"), Text("{% if %}"), Tag("{%- endraw -%}"), Tag("{{ y }}")]
        );
        assert_eq!(all(r#"{{ "\"}}" }}{"#), [Tag(r#"{{ "\"}}" }}"#), Text("{")]);
        assert_eq!(all("é{ {{ open"), [Text("é{ "), Tag("{{ open")]);
    }

    #[test]
    fn texts_are_no_code() {
        assert_eq!(code_bytes("{{ 'a long text' ~ \"and another\" }}"), "{{  ~  }}".len());
    }

    proptest! {
        #[test]
        fn the_pieces_are_the_source(source in r#"(\{\{|\{%|\{#|#\}|%\}|\}\}| raw | endraw |['"\\a é{-]){0,40}"#) {
            let joined: String = pieces(&source).map(|piece| match piece { Text(text) | Tag(text) => text }).collect();
            prop_assert_eq!(joined, source);
        }
    }
}
