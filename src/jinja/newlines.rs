//! Line breaks of template sources.

use std::borrow::Cow;

/// The source with every line break (`\r\n`, `\r`) as `\n`: so Python's Jinja reads it, whoever edited the file.
pub fn normalised(source: &str) -> Cow<'_, str> {
    if source.contains('\r') { source.replace("\r\n", "\n").replace('\r', "\n").into() } else { source.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_carriage_return_reached_the_prompt() {
        assert_eq!(normalised("a\r\nb\rc\n\r\n"), "a\nb\nc\n\n");
        assert!(matches!(normalised("a\nb"), Cow::Borrowed(_)));
    }
}
