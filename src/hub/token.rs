//! The user's token: a secret that no message and no log line holds.

use std::fmt;

/// A token of the hub.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl Token {
    /// A token as a variable or a file holds it, with white space and line breaks around or in it. None: it is empty.
    pub fn new(text: &str) -> Option<Self> {
        let text: String = text.chars().filter(|c| !matches!(c, '\r' | '\n')).collect();
        let text = text.trim();
        (!text.is_empty()).then(|| Self(text.to_owned()))
    }

    /// The value of the `Authorization` header; None: it has characters that no header may have.
    pub(super) fn header(&self) -> Option<ureq::http::HeaderValue> {
        let plain = self.0.bytes().all(|b| b.is_ascii_graphic());
        let mut value = ureq::http::HeaderValue::from_str(&format!("Bearer {}", self.0)).ok().filter(|_| plain)?;
        value.set_sensitive(true);
        Some(value)
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_with_a_line_break_is_trimmed_and_never_shown() {
        let token = Token::new(" hf_SECRET\r\n").expect("token");
        assert_eq!(token, Token("hf_SECRET".into()));
        assert!(!format!("{token:?} {:?}", token.header()).contains("SECRET"));
        assert_eq!(Token::new(" \n"), None);
        assert_eq!(Token::new("hf a").expect("token").header(), None);
    }
}
