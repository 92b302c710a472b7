//! One request to the hub, through all redirects, with bounds on everything.
//!
//! The token is sent to the hub's own scheme, host and port, and only where nobody can listen; a redirect to anywhere
//! else, such as the store of large files, goes without.

use std::io::Read as _;
use std::time::{Duration, Instant};

use ureq::http::header::{AUTHORIZATION, LOCATION, RANGE};
use ureq::http::{HeaderMap, Method, Request};
use ureq::{Agent, Body};

use super::address::Address;
use super::failure::Failure;
use super::place::{Patience, Place};
use super::refusal::Refusal;
use super::token::Token;

const PUBLIC_HUB: &str = "https://huggingface.co";
/// Redirects that are followed.
const HOPS: usize = 8;
/// Bytes read of the body of an error.
const ERROR_BODY: u64 = 64 << 10;

/// Makes requests to one hub.
#[derive(Debug)]
pub(super) struct Client {
    agent: Agent,
    endpoint: Address,
    token: Option<Token>,
    silence: Duration,
}

/// An answer whose body is not read yet.
pub(super) struct Answer {
    /// Its status; of an error only where the caller asked for those.
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    /// Who gave it, after all redirects.
    pub(super) address: Address,
    body: Body,
}

impl Client {
    /// A client of the hub of a place.
    ///
    /// # Errors
    /// An address of the hub or a token that cannot be one.
    pub(super) fn new(place: &Place) -> Result<Self, Failure> {
        let address = place.endpoint.as_deref().unwrap_or(PUBLIC_HUB);
        let endpoint = Address::parse(address).map_err(|reason| {
            Failure::Wrong(format!("HF_ENDPOINT is {address:?}: {reason}; expected an address such as {PUBLIC_HUB}"))
        });
        // An address with a password in it is not repeated.
        let endpoint = endpoint.map_err(|error| match address.contains('@') {
            true => Failure::Wrong("HF_ENDPOINT holds a user name or a password: give a token in HF_TOKEN".into()),
            false => error,
        })?;
        if place.token.as_ref().is_some_and(|token| token.header().is_none()) {
            return Err(Failure::Wrong(
                "the token of HF_TOKEN or of the token file holds characters that no token has: set it again".into(),
            ));
        }
        if place.token.is_some() && !endpoint.is_private() {
            tracing::warn!("{} is not encrypted: the token is not sent to it", endpoint.origin());
        }
        let Patience { silence, .. } = place.patience;
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .user_agent(concat!("spg/", env!("CARGO_PKG_VERSION")))
            // A size and a hash are those of the bytes as they are.
            .accept_encoding("identity")
            .timeout_resolve(Some(silence))
            .timeout_connect(Some(silence))
            .timeout_send_request(Some(silence))
            .timeout_recv_response(Some(silence))
            .timeout_per_read(Some(silence))
            .timeout_per_write(Some(silence));
        // No proxy of the user's reaches a hub on this machine.
        let config = if endpoint.is_loopback() { config.proxy(None) } else { config };
        Ok(Self { agent: config.build().into(), endpoint, token: place.token.clone(), silence })
    }

    /// The hub's address.
    pub(super) fn endpoint(&self) -> &Address {
        &self.endpoint
    }

    /// Makes a request, from byte `from` of the file on if there is one, and follows redirects. `go_on` sees the head
    /// of each and where it leads; where it says no, the redirect is the answer.
    ///
    /// # Errors
    /// No answer; one that is an error, but for 416 to a request for a part; redirects that lead nowhere.
    pub(super) fn send(
        &self,
        method: &Method,
        to: &Address,
        from: Option<u64>,
        go_on: &mut dyn FnMut(&HeaderMap, &Address) -> bool,
    ) -> Result<Answer, Failure> {
        let mut to = to.clone();
        for _ in 0..=HOPS {
            let answer = self.once(method, &to, from)?;
            if !matches!(answer.status, 301 | 302 | 303 | 307 | 308) {
                return self.judge(answer, from.is_some());
            }
            let next = redirect(&to, &answer.headers)?;
            if !go_on(&answer.headers, &next) {
                return Ok(answer);
            }
            to = next;
        }
        Err(Failure::Wrong(format!("{} redirects more than {HOPS} times", to.shown())))
    }

    fn once(&self, method: &Method, to: &Address, from: Option<u64>) -> Result<Answer, Failure> {
        tracing::debug!("{method} {}", to.shown());
        let wrong = |error: &dyn std::fmt::Display| Failure::Wrong(format!("{}: {error}", to.shown()));
        let mut request = Request::builder().method(method.clone()).uri(to.to_request());
        if let Some(value) = self.token.as_ref().filter(|_| self.is_trusted(to)).and_then(Token::header) {
            request = request.header(AUTHORIZATION, value);
        }
        if let Some(from) = from {
            request = request.header(RANGE, format!("bytes={from}-"));
        }
        let request = request.body(()).map_err(|error| wrong(&error))?;
        let response = self.agent.run(request).map_err(|error| Failure::of_request(to, error))?;
        let (head, body) = response.into_parts();
        Ok(Answer { status: head.status.as_u16(), headers: head.headers, address: to.clone(), body })
    }

    /// Whether the token may be sent there.
    pub(super) fn is_trusted(&self, to: &Address) -> bool {
        self.endpoint.same_origin(to) && to.is_private()
    }

    fn judge(&self, answer: Answer, partial: bool) -> Result<Answer, Failure> {
        if (200..300).contains(&answer.status) || (partial && answer.status == 416) {
            let encoding = answer.headers.get("content-encoding").map(|value| value.as_bytes());
            return match encoding {
                None | Some(b"" | b"identity") => Ok(answer),
                Some(_) => {
                    Err(Failure::Wrong(format!("{} compresses what was asked for as it is", answer.address.shown())))
                }
            };
        }
        let (host, status, headers) = (answer.address.origin(), answer.status, answer.headers.clone());
        // What cannot be read of an explanation is left out.
        let body = answer.read(ERROR_BODY, self.silence).unwrap_or_default();
        Err(Failure::Refused(Box::new(Refusal::new(host, status, &headers, &body))))
    }

    /// Gets a body of at most `limit` bytes.
    ///
    /// # Errors
    /// As [`Client::send`], and a body that is longer, breaks off or takes too long.
    pub(super) fn get(&self, to: &Address, limit: u64) -> Result<Vec<u8>, Failure> {
        self.send(&Method::GET, to, None, &mut |_, _| true)?.read(limit, self.silence * 4)
    }
}

/// Where an answer's `Location` leads.
fn redirect(from: &Address, headers: &HeaderMap) -> Result<Address, Failure> {
    let wrong = |what: &str| Failure::Wrong(format!("{} redirects {what}", from.shown()));
    let location = headers.get(LOCATION).ok_or_else(|| wrong("without saying where to"))?;
    let location = location.to_str().map_err(|_| wrong("to an address that cannot be read"))?;
    let next = from.join(location).map_err(|reason| wrong(&format!("to an address that is none: {reason}")))?;
    if next == *from {
        return Err(wrong("to itself"));
    }
    if from.is_encrypted() && !next.is_private() {
        return Err(wrong(&format!("to {}, which is not encrypted", next.origin())));
    }
    Ok(next)
}

impl Answer {
    /// The body, to be read piece by piece.
    pub(super) fn into_reader(self) -> impl std::io::Read {
        self.body.into_reader()
    }

    /// The text of a header.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    fn read(self, limit: u64, time: Duration) -> Result<Vec<u8>, Failure> {
        let started = Instant::now();
        let address = self.address.clone();
        let mut reader = self.into_reader();
        let (mut bytes, mut piece) = (Vec::new(), vec![0; 64 << 10]);
        loop {
            let n = reader.read(&mut piece).map_err(|error| Failure::of_request(&address, error.into()))?;
            if n == 0 {
                return Ok(bytes);
            }
            bytes.extend_from_slice(&piece[..n]);
            if bytes.len() as u64 > limit {
                return Err(Failure::Wrong(format!("{} answers more than {limit} bytes", address.shown())));
            }
            if started.elapsed() > time {
                return Err(Failure::broken(&address, "the answer takes too long"));
            }
        }
    }
}
