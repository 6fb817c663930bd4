//! HTTP/1 as bytes: a client that sends exactly what it is given, and a strict reader that says how many whole messages some bytes are.
//!
//! The reader shares no code with the gateway on purpose: it judges what the gateway forwards, so it accepts only what no two readers can
//! understand differently (CRLF, one framing, no folding).

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// How long a test waits for bytes that must come.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// One whole message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Request line or status line, without its end.
    pub start: String,
    /// Fields in order, names in lower case.
    pub fields: Vec<(String, String)>,
    /// Body without its chunk framing.
    pub body: Vec<u8>,
}

impl Message {
    /// The values of one field, in order.
    pub fn all(&self, name: &str) -> Vec<&str> {
        self.fields.iter().filter(|(n, _)| n == name).map(|(_, v)| v.as_str()).collect()
    }

    /// The first value of one field.
    pub fn field(&self, name: &str) -> Option<&str> {
        self.all(name).first().copied()
    }

    /// The status of a response; 0 for anything else.
    pub fn status(&self) -> u16 {
        let mut words = self.start.split(' ');
        let version = words.next().unwrap_or_default();
        if !version.starts_with("HTTP/") {
            return 0;
        }
        words.next().and_then(|s| s.parse().ok()).unwrap_or_default()
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// What some bytes begin with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Parsed {
    /// A whole message and how many bytes it took.
    Whole(Message, usize),
    /// The beginning of one.
    Partial,
    /// Nothing that every reader understands alike.
    Broken(String),
}

/// How a body ends where neither length nor chunks say so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unframed {
    /// It has none: a request, the answer to HEAD, 1xx, 204 and 304.
    Empty,
    /// It ends with the connection, which is still open.
    Open,
    /// It ends with the connection, which has ended.
    Closed,
}

/// Reads one request from the beginning of `bytes`.
pub fn request(bytes: &[u8]) -> Parsed {
    message(bytes, Unframed::Empty, false)
}

/// Reads one response to a request of `method` from the beginning of `bytes`.
pub fn response(bytes: &[u8], method: &str, closed: bool) -> Parsed {
    let status = bytes.get(9..12).and_then(|s| std::str::from_utf8(s).ok()).and_then(|s| s.parse::<u16>().ok()).unwrap_or_default();
    let bodiless = method == "HEAD" || status < 200 || status == 204 || status == 304;
    let unframed = match (bodiless, closed) {
        (true, _) => Unframed::Empty,
        (false, true) => Unframed::Closed,
        (false, false) => Unframed::Open,
    };
    message(bytes, unframed, bodiless)
}

/// All whole requests in `bytes`, and what is left: nothing, a beginning, or what no reader should get.
pub fn requests(mut bytes: &[u8]) -> (Vec<Message>, Parsed) {
    let mut whole = Vec::new();
    loop {
        if bytes.is_empty() {
            return (whole, Parsed::Partial);
        }
        match request(bytes) {
            Parsed::Whole(message, used) => {
                whole.push(message);
                bytes = &bytes[used..];
            }
            rest @ (Parsed::Partial | Parsed::Broken(_)) => return (whole, rest),
        }
    }
}

fn message(bytes: &[u8], unframed: Unframed, bodiless: bool) -> Parsed {
    let Some(end) = find(bytes, b"\r\n\r\n") else { return Parsed::Partial };
    let Ok(head) = std::str::from_utf8(&bytes[..end]) else { return Parsed::Broken("head is not UTF-8".into()) };
    let mut lines = head.split("\r\n");
    let start = lines.next().unwrap_or_default().to_owned();
    if !start.contains(' ') || !start.contains("HTTP/1.") {
        return Parsed::Broken(format!("first line {start:?}"));
    }
    let mut fields = Vec::new();
    for line in lines {
        let Some((name, value)) = line.split_once(':') else { return Parsed::Broken(format!("no colon in {line:?}")) };
        if name.is_empty() || name.contains([' ', '\t']) || line.contains(['\n', '\r', '\0']) {
            return Parsed::Broken(format!("field {line:?}"));
        }
        fields.push((name.to_ascii_lowercase(), value.trim_matches([' ', '\t']).to_owned()));
    }
    let mut message = Message { start, fields, body: Vec::new() };
    let rest = &bytes[end + 4..];
    if bodiless {
        return Parsed::Whole(message, end + 4);
    }
    match (message.all("content-length").as_slice(), message.all("transfer-encoding").as_slice()) {
        ([], []) => match unframed {
            Unframed::Empty => Parsed::Whole(message, end + 4),
            Unframed::Open => Parsed::Partial,
            Unframed::Closed => {
                message.body = rest.to_vec();
                Parsed::Whole(message, bytes.len())
            }
        },
        ([length], []) => {
            if length.is_empty() || !length.bytes().all(|b| b.is_ascii_digit()) {
                return Parsed::Broken(format!("content-length {length:?}"));
            }
            let Ok(length) = length.parse::<usize>() else { return Parsed::Broken(format!("content-length {length:?}")) };
            match rest.get(..length) {
                Some(body) => {
                    message.body = body.to_vec();
                    Parsed::Whole(message, end + 4 + length)
                }
                None => Parsed::Partial,
            }
        }
        ([], ["chunked"]) => match chunks(rest) {
            Ok(Some((body, used))) => {
                message.body = body;
                Parsed::Whole(message, end + 4 + used)
            }
            Ok(None) => Parsed::Partial,
            Err(why) => Parsed::Broken(why),
        },
        (lengths, codings) => Parsed::Broken(format!("content-length {lengths:?} with transfer-encoding {codings:?}")),
    }
}

/// A chunked body and the bytes it took; nothing where it has not ended yet.
fn chunks(bytes: &[u8]) -> Result<Option<(Vec<u8>, usize)>, String> {
    let (mut body, mut at) = (Vec::new(), 0);
    loop {
        let Some(line) = find(&bytes[at..], b"\r\n") else { return Ok(None) };
        let text = String::from_utf8_lossy(&bytes[at..at + line]).into_owned();
        let size = text.split(';').next().unwrap_or_default();
        if size.is_empty() || !size.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(format!("chunk size {text:?}"));
        }
        let size = usize::from_str_radix(size, 16).map_err(|_| format!("chunk size {text:?}"))?;
        at += line + 2;
        if size == 0 {
            let Some(end) = find(&bytes[at.saturating_sub(2)..], b"\r\n\r\n") else { return Ok(None) };
            return Ok(Some((body, at - 2 + end + 4)));
        }
        let Some(data) = bytes.get(at..at + size + 2) else { return Ok(None) };
        if &data[size..] != b"\r\n" {
            return Err(format!("chunk of {size} bytes ends in {:?}", &data[size..]));
        }
        body.extend_from_slice(&data[..size]);
        at += size + 2;
    }
}

/// Where `what` begins in `bytes`.
pub fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|w| w == what)
}

/// A connection that sends exactly what it is told.
#[derive(Debug)]
pub struct Client {
    stream: TcpStream,
    got: Vec<u8>,
    closed: bool,
}

impl Client {
    /// Opens a connection.
    pub fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect_timeout(&address, PATIENCE).expect("the gateway accepts connections");
        stream.set_nodelay(true).expect("a socket takes options");
        Self { stream, got: Vec::new(), closed: false }
    }

    /// Sends bytes. An error counts as a close by the other side, which later reads show.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        if self.stream.write_all(bytes.as_ref()).is_err() {
            self.read(Duration::from_millis(1));
        }
    }

    /// Ends our side of the connection.
    pub fn finish(&mut self) {
        let _ended_already = self.stream.shutdown(Shutdown::Write);
    }

    /// The next response to a request of `method`, whole, interim ones left out; nothing where none comes or it is broken off.
    pub fn response(&mut self, method: &str) -> Option<Message> {
        loop {
            let message = self.any_response(method)?;
            if message.status() >= 200 || message.status() == 101 {
                return Some(message);
            }
        }
    }

    /// As `response`, interim ones too.
    pub fn any_response(&mut self, method: &str) -> Option<Message> {
        let end = Instant::now() + PATIENCE;
        loop {
            match response(&self.got, method, self.closed) {
                Parsed::Whole(message, used) => {
                    self.got.drain(..used);
                    return Some(message);
                }
                Parsed::Broken(_) => return None,
                Parsed::Partial if self.closed => return None,
                Parsed::Partial => {
                    let left = end.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        return None;
                    }
                    self.read(left);
                }
            }
        }
    }

    /// `count` bytes that follow; fewer where the connection ends or nothing more comes.
    pub fn bytes(&mut self, count: usize) -> Vec<u8> {
        let end = Instant::now() + PATIENCE;
        while self.got.len() < count && !self.closed && Instant::now() < end {
            self.read(end.saturating_duration_since(Instant::now()));
        }
        let count = count.min(self.got.len());
        self.got.drain(..count).collect()
    }

    /// Whether the other side closes within `limit`; what it sends before is kept.
    pub fn closes(&mut self, limit: Duration) -> bool {
        let end = Instant::now() + limit;
        while !self.closed && Instant::now() < end {
            self.read(end.saturating_duration_since(Instant::now()));
        }
        self.closed
    }

    /// What came and was not taken yet.
    pub fn rest(&self) -> &[u8] {
        &self.got
    }

    fn read(&mut self, limit: Duration) {
        let mut buffer = [0; 65536];
        self.stream.set_read_timeout(Some(limit.max(Duration::from_millis(1)))).expect("a socket takes options");
        match self.stream.read(&mut buffer) {
            Ok(0) => self.closed = true,
            Ok(n) => self.got.extend_from_slice(&buffer[..n]),
            Err(e) => self.closed |= !matches!(e.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut),
        }
    }
}

/// One request on a connection of its own, and its answer.
pub fn ask(address: SocketAddr, host: &str, path: &str) -> Option<Message> {
    let mut client = Client::connect(address);
    client.send(format!("GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n"));
    client.response("GET")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_only_what_every_reader_understands() {
        let rows: [(&str, &[u8], usize, bool); 9] = [
            ("one", b"GET / HTTP/1.1\r\nhost: a\r\n\r\n", 1, false),
            ("two", b"POST / HTTP/1.1\r\ncontent-length: 2\r\n\r\nokGET / HTTP/1.1\r\n\r\n", 2, false),
            ("chunked", b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n2;x\r\nok\r\n0\r\na: b\r\n\r\nGET / HTTP/1.1\r\n\r\n", 2, false),
            ("half", b"POST / HTTP/1.1\r\ncontent-length: 3\r\n\r\nok", 0, false),
            ("half a chunk", b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n5\r\nok", 0, false),
            ("both", b"POST / HTTP/1.1\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", 0, true),
            ("terminator twice", b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n0\r\n\r\n", 1, true),
            ("fold", b"GET / HTTP/1.1\r\na: b\r\n c\r\n\r\n", 0, true),
            ("signed size", b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n+0\r\n\r\n", 0, true),
        ];
        for (name, bytes, whole, broken) in rows {
            let (found, rest) = requests(bytes);
            assert_eq!((found.len(), matches!(rest, Parsed::Broken(_))), (whole, broken), "{name}");
        }
    }
}
