//! What can go wrong between this machine and the hub, and which of it passes by itself.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ureq::Timeout;

use super::address::Address;
use super::refusal::Refusal;

/// A request or a transfer that failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// No connection.
    #[error("{host} cannot be reached: {reason}")]
    Unreachable { host: String, reason: String },
    /// A connection that fell silent.
    #[error("{url}: no answer within the time-out")]
    Silent { url: String },
    /// A connection that broke or was cut.
    #[error("{url}: {reason}")]
    Broken { url: String, reason: String },
    /// An answer that is an error.
    #[error(transparent)]
    Refused(Box<Refusal>),
    /// An answer that no hub should give; the text says what is wrong with it.
    #[error("{0}")]
    Wrong(String),
    /// The cache cannot be written.
    #[error("cannot {action} {}: {error}", path.display())]
    Disk { action: &'static str, path: PathBuf, error: io::Error },
}

impl Failure {
    pub(super) fn disk(action: &'static str, path: &Path, error: io::Error) -> Self {
        Self::Disk { action, path: path.to_owned(), error }
    }

    pub(super) fn broken(at: &Address, reason: impl Into<String>) -> Self {
        Self::Broken { url: at.shown(), reason: reason.into() }
    }

    /// What became of a request to `to`.
    pub(super) fn of_request(to: &Address, error: ureq::Error) -> Self {
        use io::ErrorKind as Kind;
        let unreachable = match &error {
            ureq::Error::HostNotFound | ureq::Error::ConnectionFailed => true,
            ureq::Error::Timeout(Timeout::Resolve | Timeout::Connect) => true,
            ureq::Error::Io(error) => matches!(
                error.kind(),
                Kind::ConnectionRefused
                    | Kind::HostUnreachable
                    | Kind::NetworkUnreachable
                    | Kind::NetworkDown
                    | Kind::AddrNotAvailable
            ),
            _ => false,
        };
        let reason = match &error {
            ureq::Error::Timeout(Timeout::Connect) => "no connection within the time-out".to_owned(),
            ureq::Error::Timeout(Timeout::Resolve) => "its name is not resolved within the time-out".to_owned(),
            ureq::Error::Io(error) if error.kind() == Kind::UnexpectedEof => {
                "the connection was closed early".to_owned()
            }
            ureq::Error::Io(error) => error.to_string(),
            other => other.to_string(),
        };
        match error {
            ureq::Error::Timeout(_) if !unreachable => Self::Silent { url: to.shown() },
            _ if unreachable => Self::Unreachable { host: to.origin(), reason },
            ureq::Error::Io(_) | ureq::Error::Protocol(_) | ureq::Error::BodyStalled => Self::broken(to, reason),
            _ => Self::Wrong(format!("{}: {reason}", to.shown())),
        }
    }

    /// Whether the same request may well succeed in a moment.
    pub(super) fn may_pass(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Silent { .. } | Self::Broken { .. } => true,
            Self::Refused(refusal) => matches!(refusal.status, 408 | 429 | 500 | 502 | 503 | 504),
            Self::Wrong(_) | Self::Disk { .. } => false,
        }
    }

    /// How long the other side asks to be left alone.
    pub(super) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Refused(refusal) => refusal.retry_after,
            _ => None,
        }
    }
}
