//! Servers on this machine: one that answers as a test scripts it, and on top of it a hub with its store of large files.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sha2::{Digest as _, Sha256};

/// A request as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) method: String,
    pub(super) path: String,
    pub(super) authorization: Option<String>,
    pub(super) range: Option<u64>,
}

/// What to answer.
#[derive(Clone, Debug)]
pub(super) struct Reply {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    /// Without a length the end of the connection is the end of the body.
    length: Option<usize>,
    /// Bytes of the body that are sent.
    sent: usize,
    /// Nothing more comes, and the connection stays.
    silent: bool,
}

impl Reply {
    pub(super) fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        let body = body.into();
        Self { status, headers: vec![], length: Some(body.len()), sent: body.len(), body, silent: false }
    }

    pub(super) fn header(mut self, name: &str, value: impl ToString) -> Self {
        self.headers.push((name.to_owned(), value.to_string()));
        self
    }

    pub(super) fn cut_after(mut self, sent: usize) -> Self {
        self.sent = sent.min(self.sent);
        self
    }

    pub(super) fn without_length(mut self) -> Self {
        self.length = None;
        self
    }

    pub(super) fn then_silent(mut self) -> Self {
        self.silent = true;
        self
    }

    fn write(&self, mut stream: &TcpStream, head: bool) -> std::io::Result<()> {
        if self.status > 0 {
            write!(stream, "HTTP/1.1 {} X\r\nConnection: close\r\n", self.status)?;
            for (name, value) in &self.headers {
                write!(stream, "{name}: {value}\r\n")?;
            }
            if let Some(length) = self.length {
                write!(stream, "Content-Length: {length}\r\n")?;
            }
            stream.write_all(b"\r\n")?;
            if !head {
                stream.write_all(&self.body[..self.sent])?;
            }
            stream.flush()?;
        }
        if self.silent {
            std::thread::sleep(Duration::from_secs(2));
        }
        stream.shutdown(Shutdown::Write)
    }
}

/// A server and what it was asked.
pub(super) struct Server {
    pub(super) address: String,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Server {
    pub(super) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Serves each connection by a thread; `answer` gets the request and how many came before it.
pub(super) fn serve(answer: impl Fn(&Seen, usize) -> Reply + Send + Sync + 'static) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = format!("http://{}", listener.local_addr().expect("address"));
    let seen = Arc::new(Mutex::new(Vec::new()));
    let (log, answer) = (seen.clone(), Arc::new(answer));
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let (log, answer) = (log.clone(), answer.clone());
            std::thread::spawn(move || {
                let Some(request) = read(&stream) else { return };
                let before = {
                    let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
                    log.push(request.clone());
                    log.len() - 1
                };
                let _ = answer(&request, before).write(&stream, request.method == "HEAD");
            });
        }
    });
    Server { address, seen }
}

fn read(stream: &TcpStream) -> Option<Seen> {
    let mut lines = BufReader::new(stream).lines().map_while(Result::ok);
    let first = lines.next()?;
    let mut words = first.split(' ').map(str::to_owned);
    let (method, path) = (words.next()?, words.next()?);
    let mut seen = Seen { method, path, authorization: None, range: None };
    for line in lines.take_while(|line| !line.is_empty()) {
        let (name, value) = line.split_once(": ").unwrap_or_default();
        match name.to_ascii_lowercase().as_str() {
            "authorization" => seen.authorization = Some(value.to_owned()),
            "range" => seen.range = value.strip_prefix("bytes=").and_then(|v| v.strip_suffix('-')?.parse().ok()),
            _ => {}
        }
    }
    Some(seen)
}

/// The SHA-256 of bytes, in hexadecimal.
pub(super) fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Answers a request for the bytes of a file, or its rest.
pub(super) fn bytes(body: &[u8], request: &Seen) -> Reply {
    match request.range.map(|from| from as usize) {
        None => Reply::new(200, body),
        Some(from) if from < body.len() => Reply::new(206, &body[from..])
            .header("Content-Range", format!("bytes {from}-{}/{}", body.len() - 1, body.len())),
        Some(_) => Reply::new(416, "").header("Content-Range", format!("bytes */{}", body.len())),
    }
}

/// A hub with one repository `o/n`, model and dataset alike, at one commit. Files that end in `.safetensors` or
/// `.parquet` are in a store on another port.
pub(super) struct Hub {
    pub(super) hub: Server,
    pub(super) store: Server,
}

/// Answers instead of the hub or the store, where it wants to.
pub(super) type Fault = dyn Fn(&Seen, usize) -> Option<Reply> + Send + Sync;

pub(super) const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

impl Hub {
    pub(super) fn new(files: &[(&str, &[u8])]) -> Self {
        Self::with_faults(files, Box::new(|_, _| None), Box::new(|_, _| None))
    }

    pub(super) fn with_faults(files: &[(&str, &[u8])], in_hub: Box<Fault>, in_store: Box<Fault>) -> Self {
        let files: BTreeMap<String, Vec<u8>> =
            files.iter().map(|(name, body)| ((*name).to_owned(), body.to_vec())).collect();
        let stored = files.clone();
        let store = serve(move |request, before| {
            in_store(request, before).unwrap_or_else(|| {
                let name = request.path.trim_start_matches("/store/").split('?').next().unwrap_or_default();
                match (&request.authorization, stored.get(name)) {
                    // As S3 answers who brings a signed address and a token.
                    (Some(_), _) => Reply::new(400, "Only one auth mechanism allowed"),
                    (None, Some(body)) => bytes(body, request).header("ETag", "\"of-the-store\""),
                    (None, None) => Reply::new(404, ""),
                }
            })
        });
        let store_address = store.address.clone();
        let hub = serve(move |request, before| {
            in_hub(request, before).unwrap_or_else(|| answer(request, &files, &store_address))
        });
        Self { hub, store }
    }
}

fn answer(request: &Seen, files: &BTreeMap<String, Vec<u8>>, store: &str) -> Reply {
    let path = request.path.trim_start_matches("/datasets");
    if path.starts_with("/api/") {
        let siblings: Vec<_> = files.keys().map(|name| serde_json::json!({ "rfilename": name })).collect();
        return Reply::new(200, serde_json::json!({ "sha": COMMIT, "siblings": siblings }).to_string());
    }
    let name = path.strip_prefix(&format!("/o/n/resolve/{COMMIT}/")).unwrap_or_default();
    let cached = path.strip_prefix("/cache/").unwrap_or_default();
    let Some(body) = files.get(name).or_else(|| files.get(cached)) else {
        return Reply::new(404, "").header("X-Error-Code", "EntryNotFound");
    };
    if cached.is_empty() && (name.ends_with(".safetensors") || name.ends_with(".parquet")) {
        return Reply::new(302, "Found")
            .header("Location", format!("{store}/store/{name}?signature=secret"))
            .header("X-Linked-ETag", format!("\"{}\"", sha256(body)))
            .header("X-Linked-Size", body.len())
            .header("X-Repo-Commit", COMMIT);
    }
    // Small files are redirected within the hub, and have a weak etag there.
    if cached.is_empty() {
        return Reply::new(307, "").header("Location", format!("/cache/{name}")).header("X-Repo-Commit", COMMIT);
    }
    bytes(body, request).header("ETag", format!("W/\"small-{}\"", body.len())).header("X-Repo-Commit", COMMIT)
}
