//! An answer of the hub that is an error: its own words, and what they mean.

use std::time::Duration;

use serde_json::Value;
use ureq::http::HeaderMap;

use super::names::shown;

/// An answer with an error's status.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    /// The HTTP status.
    pub(super) status: u16,
    /// What the hub calls it, such as `GatedRepo`.
    pub(super) code: String,
    /// The hub's words.
    words: String,
    /// How long to wait before the next request.
    pub(super) retry_after: Option<Duration>,
    /// Who answers.
    host: String,
}

impl std::error::Error for Refusal {}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} answers {}", self.host, self.status)?;
        if let Some(pause) = self.retry_after.filter(|pause| pause.as_secs() > 0) {
            write!(f, " and asks for a pause of {} s", pause.as_secs())?;
        }
        if self.words.is_empty() { Ok(()) } else { write!(f, ": {}", self.words) }
    }
}

/// What a refusal means to the user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    /// The terms of the repository are not accepted yet, by anybody known or by the owner of the token.
    Gated,
    /// The token is none of the hub's.
    BadToken,
    /// No such repository, or a private one.
    NoRepository,
    /// The repository is there, the branch, tag or commit is not.
    NoRevision,
    /// The repository and the commit are there, the file is not.
    NoFile,
    /// Anything else.
    Other,
}

impl Refusal {
    /// Reads the head of an answer, and as much of its body as was read.
    pub(super) fn new(host: String, status: u16, headers: &HeaderMap, body: &[u8]) -> Self {
        let header = |name: &str| headers.get(name).map(|v| shown(&String::from_utf8_lossy(v.as_bytes())));
        let said = || {
            let json: Value = serde_json::from_slice(body).ok()?;
            let error = json.get("error").or_else(|| json.get("message"))?;
            Some(shown(error.as_str()?))
        };
        let words = header("x-error-message").filter(|words| !words.is_empty()).or_else(said).unwrap_or_default();
        let now = chrono::Utc::now().timestamp();
        Self {
            status,
            code: header("x-error-code").unwrap_or_default(),
            words,
            retry_after: header("retry-after")
                .and_then(|value| seconds_or_date(&value, now))
                .or_else(|| header("ratelimit").filter(|_| status == 429).and_then(|value| rate_limit(&value))),
            host,
        }
    }

    /// What it means.
    pub(super) fn meaning(&self) -> Meaning {
        let invalid = self.words.starts_with("Invalid credentials") || self.code == "InvalidToken";
        match (self.code.as_str(), self.status) {
            ("GatedRepo", _) => Meaning::Gated,
            ("RevisionNotFound", _) => Meaning::NoRevision,
            ("EntryNotFound", _) => Meaning::NoFile,
            _ if invalid => Meaning::BadToken,
            // Without a token the hub answers 401 for what is not there too, so as not to tell what is private.
            ("RepoNotFound", _) | (_, 401 | 404) => Meaning::NoRepository,
            (_, 403) => Meaning::Gated,
            _ => Meaning::Other,
        }
    }
}

/// The time that a `Retry-After` header asks for, in seconds or as a date; `now` in seconds since 1970.
fn seconds_or_date(value: &str, now: i64) -> Option<Duration> {
    if let Ok(seconds) = value.trim().parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = chrono::DateTime::parse_from_rfc2822(value.trim()).ok()?;
    Some(Duration::from_secs(u64::try_from(date.timestamp() - now).unwrap_or(0)))
}

/// The seconds until the window ends, `t` of `RateLimit: "api";r=0;t=55`, if nothing remains (`r`) of it.
fn rate_limit(value: &str) -> Option<Duration> {
    let number = |name: &str| {
        let part = value.split(';').find_map(|part| part.trim().strip_prefix(name))?;
        part.strip_prefix('=')?.parse::<u64>().ok()
    };
    (number("r") == Some(0)).then(|| number("t")).flatten().map(Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(status: u16, headers: &[(&'static str, &str)], body: &str) -> Refusal {
        let headers = headers.iter().map(|(name, value)| {
            (ureq::http::HeaderName::from_static(name), ureq::http::HeaderValue::from_str(value).expect("value"))
        });
        Refusal::new("https://hub.example".into(), status, &headers.collect(), body.as_bytes())
    }

    #[test]
    fn the_hubs_own_words_are_kept() {
        let gated = refusal(401, &[("x-error-code", "GatedRepo"), ("x-error-message", "Access is restricted.")], "");
        assert_eq!(gated.to_string(), "https://hub.example answers 401: Access is restricted.");
        assert_eq!(gated.meaning(), Meaning::Gated);
        let json = refusal(404, &[], r#"{"error": "Repository\u001b not found"}"#);
        assert_eq!(json.to_string(), "https://hub.example answers 404: Repository not found");
        assert_eq!(json.meaning(), Meaning::NoRepository);
        assert_eq!(refusal(503, &[], "<html>").to_string(), "https://hub.example answers 503");
        let token = refusal(401, &[("x-error-message", "Invalid credentials in Authorization header")], "");
        assert_eq!(token.meaning(), Meaning::BadToken);
    }

    #[test]
    fn retry_after_is_read_as_seconds_and_as_a_date() {
        let seconds = |n| Some(Duration::from_secs(n));
        assert_eq!(seconds_or_date("7", 0), seconds(7));
        assert_eq!(seconds_or_date("Thu, 01 Jan 1970 00:01:00 GMT", 20), seconds(40));
        assert_eq!(seconds_or_date("Thu, 01 Jan 1970 00:01:00 GMT", 90), seconds(0));
        assert_eq!(seconds_or_date("soon", 0), None);
        assert_eq!(refusal(429, &[("ratelimit", "\"api\";r=0;t=55")], "").retry_after, seconds(55));
        assert_eq!(refusal(429, &[("ratelimit", "\"api\";r=3;t=55")], "").retry_after, None);
    }
}
