//! Addresses on the web: where a redirect leads, and whom a secret may be sent to.

use std::fmt::Write as _;
use std::net::IpAddr;

use ureq::http::Uri;
use ureq::http::uri::Scheme;

/// An `http` or `https` address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Address {
    https: bool,
    /// In lower case; an IPv6 address in brackets.
    host: String,
    port: u16,
    /// Path and query; starts with `/`.
    rest: String,
}

impl Address {
    /// Reads an absolute address.
    ///
    /// # Errors
    /// Says what is wrong with it; an address with a user name in it is refused.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let uri: Uri = text.parse().map_err(|error| format!("{error}"))?;
        let https = match uri.scheme() {
            Some(scheme) if *scheme == Scheme::HTTPS => true,
            Some(scheme) if *scheme == Scheme::HTTP => false,
            _ => return Err("it does not start with https://".into()),
        };
        let authority = uri.authority().ok_or("it has no host")?;
        if authority.as_str().contains('@') {
            return Err("it holds a user name".into());
        }
        let host = authority.host().to_ascii_lowercase();
        if host.is_empty() {
            return Err("it has no host".into());
        }
        let port = authority.port_u16().unwrap_or(if https { 443 } else { 80 });
        let rest = uri.path_and_query().map_or("/", |rest| rest.as_str()).to_owned();
        let rest = if rest.starts_with('/') { rest } else { format!("/{rest}") };
        Ok(Self { https, host, port, rest })
    }

    /// Where a `Location` header leads from here (RFC 3986, section 5.2).
    ///
    /// # Errors
    /// As [`Address::parse`].
    pub(super) fn join(&self, location: &str) -> Result<Self, String> {
        let path = self.rest.split('?').next().unwrap_or("/");
        let before_path = location.split(['/', '?', '#']).next().unwrap_or_default();
        let absolute = if before_path.contains(':') {
            location.to_owned()
        } else if location.starts_with("//") {
            format!("{}:{location}", self.scheme())
        } else if location.starts_with('/') {
            format!("{}{location}", self.origin())
        } else if location.starts_with('?') {
            format!("{}{path}{location}", self.origin())
        } else {
            let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
            format!("{}{folder}/{location}", self.origin())
        };
        Self::parse(&absolute)
    }

    /// This address with a path below it, of parts that are percent-encoded already.
    pub(super) fn below(&self, path: &str) -> Self {
        let base = self.rest.split('?').next().unwrap_or_default().trim_end_matches('/');
        Self { rest: format!("{base}/{path}"), ..self.clone() }
    }

    /// Whether scheme, host and port are the same.
    pub(super) fn same_origin(&self, other: &Self) -> bool {
        (self.https, &self.host, self.port) == (other.https, &other.host, other.port)
    }

    /// Whether nobody on the way can read what is sent: encrypted, or within this machine.
    pub(super) fn is_private(&self) -> bool {
        self.https || self.is_loopback()
    }

    /// Whether it is on this machine.
    pub(super) fn is_loopback(&self) -> bool {
        let ip = self.host.trim_matches(['[', ']']).parse::<IpAddr>();
        self.host == "localhost" || ip.is_ok_and(|ip| ip.is_loopback())
    }

    /// Whether it is `https`.
    pub(super) fn is_encrypted(&self) -> bool {
        self.https
    }

    fn scheme(&self) -> &'static str {
        if self.https { "https" } else { "http" }
    }

    /// Scheme, host and port.
    pub(super) fn origin(&self) -> String {
        let usual = if self.https { 443 } else { 80 };
        let port = if self.port == usual { String::new() } else { format!(":{}", self.port) };
        format!("{}://{}{port}", self.scheme(), self.host)
    }

    /// The whole address, to be requested. Not for messages: the query of a signed address opens the file.
    pub(super) fn to_request(&self) -> String {
        format!("{}{}", self.origin(), self.rest)
    }

    /// The address without its query, for messages.
    pub(super) fn shown(&self) -> String {
        format!("{}{}", self.origin(), self.rest.split('?').next().unwrap_or_default())
    }
}

/// Percent-encodes one part of a path, a `/` in it too.
pub(super) fn encode(part: &str) -> String {
    let mut text = String::with_capacity(part.len());
    for byte in part.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            text.push(char::from(byte));
        } else {
            let _ = write!(text, "%{byte:02X}");
        }
    }
    text
}

/// Percent-encodes the parts of a path, but not the `/` between them.
pub(super) fn encode_path(path: &str) -> String {
    path.split('/').map(encode).collect::<Vec<_>>().join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_location_may_be_relative() {
        let here = Address::parse("https://Hub.example/a/b?c=d").expect("address");
        for (location, there) in [
            ("/x/y?z", "https://hub.example/x/y?z"),
            ("x", "https://hub.example/a/x"),
            ("?q", "https://hub.example/a/b?q"),
            ("//cdn.example:8443/f", "https://cdn.example:8443/f"),
            ("http://cdn.example/f#part", "http://cdn.example/f"),
            ("x?u=http://y", "https://hub.example/a/x?u=http://y"),
        ] {
            assert_eq!(here.join(location).expect(location).to_request(), there, "{location}");
        }
        for location in ["ftp://cdn.example/f", "file:/etc/passwd", "https://me:pw@cdn.example/", "https://", "/a b"] {
            assert!(here.join(location).is_err(), "{location}");
        }
    }

    #[test]
    fn another_port_or_scheme_is_another_origin() {
        let parse = |text| Address::parse(text).expect("address");
        let hub = parse("http://127.0.0.1:80/x");
        assert!(hub.same_origin(&parse("http://127.0.0.1/y")));
        for other in ["http://127.0.0.1:81/", "https://127.0.0.1:80/", "http://127.0.0.2/", "http://localhost/"] {
            assert!(!hub.same_origin(&parse(other)), "{other}");
        }
    }

    #[test]
    fn plain_http_is_private_within_the_machine_only() {
        let private = |text| Address::parse(text).expect("address").is_private();
        let within = ["https://a.example", "http://localhost:1/", "http://127.3.2.1", "http://[::1]:8/"];
        assert!(within.into_iter().all(private));
        assert!(!["http://a.example", "http://localhost.a.example", "http://10.0.0.1"].into_iter().any(private));
    }

    #[test]
    fn every_part_of_a_path_is_percent_encoded() {
        let hub = Address::parse("https://hub.example/mirror/").expect("address");
        let path = format!("api/{}/{}", encode("refs/convert"), encode_path("a b/ü?#%.txt"));
        assert_eq!(
            hub.below(&path).to_request(),
            "https://hub.example/mirror/api/refs%2Fconvert/a%20b/%C3%BC%3F%23%25.txt"
        );
    }
}
