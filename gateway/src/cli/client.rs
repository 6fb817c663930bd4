//! A small HTTP/1.1 client: what `try`, `demo` and questions to an admin port need, and nothing more.

use std::fmt::Write as _;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};

/// How long connecting may take.
const CONNECT: Duration = Duration::from_secs(5);
/// How long nothing may come.
const SILENCE: Duration = Duration::from_secs(60);
/// Bodies larger than this are refused.
const MAX_BODY: u64 = 256 << 20;

/// What is asked.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    /// The method.
    pub(crate) method: String,
    /// Path and query.
    pub(crate) target: String,
    /// The authority.
    pub(crate) host: String,
    /// Further headers.
    pub(crate) headers: Vec<(String, String)>,
    /// The body; empty for none.
    pub(crate) body: Vec<u8>,
}

/// What came back.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    /// The status.
    pub(crate) status: u16,
    /// The headers.
    pub(crate) headers: HeaderMap,
    /// The body.
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// A header's value, where it is text.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

/// One connection, used as long as the other side keeps it.
#[derive(Debug)]
pub(crate) struct Client {
    address: SocketAddr,
    connection: Option<BufReader<TcpStream>>,
}

impl Client {
    /// A client of `address`; connects with the first request.
    pub(crate) fn new(address: SocketAddr) -> Self {
        Self { address, connection: None }
    }
    /// Sends a request and reads the whole answer. One that finds its kept connection closed is sent again on a new one.
    pub(crate) fn send(&mut self, request: &Request) -> io::Result<Answer> {
        if let Some(kept) = self.connection.take()
            && let Ok(answer) = self.exchange(kept, request)
        {
            return Ok(answer);
        }
        let stream = TcpStream::connect_timeout(&self.address, CONNECT)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(SILENCE))?;
        self.exchange(BufReader::new(stream), request)
    }
    fn exchange(&mut self, mut connection: BufReader<TcpStream>, request: &Request) -> io::Result<Answer> {
        let mut head = format!("{} {} HTTP/1.1\r\nhost: {}\r\n", request.method, request.target, request.host);
        for (name, value) in &request.headers {
            // A String takes every write.
            let _ = write!(head, "{name}: {value}\r\n");
        }
        if !request.body.is_empty() {
            let _ = write!(head, "content-length: {}\r\n", request.body.len());
        }
        head.push_str("\r\n");
        let mut bytes = head.into_bytes();
        bytes.extend_from_slice(&request.body);
        connection.get_mut().write_all(&bytes)?;
        loop {
            let (status, headers) = read_head(&mut connection)?;
            if (100..200).contains(&status) && status != 101 {
                continue;
            }
            let bare = request.method == "HEAD" || status == 204 || status == 304 || status == 101;
            let (body, keeps) = if bare { (Vec::new(), status != 101) } else { read_body(&mut connection, &headers)? };
            let close = headers.get("connection").is_some_and(|v| v.as_bytes().eq_ignore_ascii_case(b"close"));
            if keeps && !close {
                self.connection = Some(connection);
            }
            return Ok(Answer { status, headers, body });
        }
    }
}

fn broken(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_owned())
}

fn line(connection: &mut impl BufRead) -> io::Result<String> {
    let mut line = String::new();
    connection.take(64 * 1024).read_line(&mut line)?;
    match line.strip_suffix('\n') {
        Some(text) => Ok(text.trim_end_matches('\r').to_owned()),
        None if line.is_empty() => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the connection closed before an answer")),
        None => Err(broken("a line without end")),
    }
}

fn read_head(connection: &mut impl BufRead) -> io::Result<(u16, HeaderMap)> {
    let first = line(connection)?;
    let status = first.strip_prefix("HTTP/1.").and_then(|l| l.get(2..5)).and_then(|s| s.parse().ok()).ok_or_else(|| broken("no HTTP/1 answer"))?;
    let mut headers = HeaderMap::new();
    loop {
        let field = line(connection)?;
        if field.is_empty() {
            return Ok((status, headers));
        }
        let (name, value) = field.split_once(':').ok_or_else(|| broken("a header without colon"))?;
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value.trim())) {
            headers.append(name, value);
        }
    }
}

/// The body, and whether the connection can be used on.
fn read_body(connection: &mut impl BufRead, headers: &HeaderMap) -> io::Result<(Vec<u8>, bool)> {
    let mut body = Vec::new();
    if headers.get("transfer-encoding").is_some_and(|v| v.as_bytes().eq_ignore_ascii_case(b"chunked")) {
        loop {
            let size = line(connection)?;
            let size = u64::from_str_radix(size.split(';').next().unwrap_or_default().trim(), 16).map_err(|_| broken("a chunk without size"))?;
            if size == 0 {
                while !line(connection)?.is_empty() {}
                return Ok((body, true));
            }
            if body.len() as u64 + size > MAX_BODY {
                return Err(broken("a body too large"));
            }
            connection.by_ref().take(size).read_to_end(&mut body)?;
            line(connection)?;
        }
    }
    match headers.get("content-length").map(|v| v.to_str().ok().and_then(|v| v.parse::<u64>().ok())) {
        Some(Some(length)) if length <= MAX_BODY => {
            connection.by_ref().take(length).read_to_end(&mut body)?;
            if (body.len() as u64) < length {
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the connection closed within a body"));
            }
            Ok((body, true))
        }
        Some(_) => Err(broken("a content-length that is none")),
        None => {
            connection.by_ref().take(MAX_BODY).read_to_end(&mut body)?;
            Ok((body, false))
        }
    }
}

/// A URL of plain HTTP, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Url {
    /// True for https.
    pub(crate) tls: bool,
    /// The authority as written.
    pub(crate) authority: String,
    /// Its host.
    pub(crate) host: String,
    /// Its port, else the scheme's.
    pub(crate) port: u16,
    /// Path and query; at least `/`.
    pub(crate) target: String,
}

impl Url {
    /// Reads a URL; one without scheme is plain HTTP.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let wrong = |what: &str| format!("{text:?} is no URL: {what}");
        let (tls, rest) = match text.split_once("://") {
            Some(("http", rest)) => (false, rest),
            Some(("https", rest)) => (true, rest),
            Some((scheme, _)) => return Err(wrong(&format!("expected http or https, found {scheme}"))),
            None => (false, text),
        };
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, target) = rest.split_at(end);
        let target = target.split('#').next().unwrap_or_default();
        let target = if target.starts_with('/') { target.to_owned() } else { format!("/{target}") };
        if !target.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(wrong("a path holds what must be escaped"));
        }
        let bare = |authority: &str| (authority.trim_matches(['[', ']']).to_owned(), if tls { 443 } else { 80 });
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.contains(']') => (host.trim_matches(['[', ']']).to_owned(), port.parse().map_err(|_| wrong("no port"))?),
            _ => bare(authority),
        };
        if host.is_empty() || !host.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(wrong("no host"));
        }
        Ok(Self { tls, authority: authority.to_owned(), host, port, target })
    }
}

/// Asks an admin port; an answer other than 200 is an error with its text.
pub(crate) fn ask(admin: &str, method: &str, target: &str, body: Vec<u8>) -> Result<Vec<u8>, String> {
    asked(admin, method, target, Vec::new(), body)
}

/// Posts JSON to an admin port.
pub(crate) fn ask_json(admin: &str, target: &str, body: Vec<u8>) -> Result<Vec<u8>, String> {
    asked(admin, "POST", target, vec![("content-type".to_owned(), "application/json".to_owned())], body)
}

fn asked(admin: &str, method: &str, target: &str, headers: Vec<(String, String)>, body: Vec<u8>) -> Result<Vec<u8>, String> {
    let url = Url::parse(admin)?;
    let address = (url.host.as_str(), url.port).to_socket_addrs().map_err(|e| format!("{admin}: {e}"))?.next();
    let address = address.ok_or_else(|| format!("{admin}: no address"))?;
    let request = Request { method: method.to_owned(), target: target.to_owned(), host: url.authority, headers, body };
    let answer = Client::new(address).send(&request).map_err(|e| {
        format!("no gateway answers on its admin port {admin}: {e} (is it running? --admin names another, --config compiles from files)")
    })?;
    if answer.status == 200 { Ok(answer.body) } else { Err(String::from_utf8_lossy(&answer.body).trim().to_owned()) }
}

/// A header as the command line has it, `name: value`.
pub(crate) fn header(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once(':').ok_or_else(|| format!("header {text:?}: expected `name: value`"))?;
    let (name, value) = (name.trim(), value.trim());
    HeaderName::try_from(name).map_err(|_| format!("header {text:?}: {name:?} is no header name"))?;
    HeaderValue::try_from(value).map_err(|_| format!("header {text:?}: the value holds what a header cannot"))?;
    Ok((name.to_owned(), value.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_taken_apart() {
        let url = |tls, authority: &str, host: &str, port, target: &str| {
            Ok(Url { tls, authority: authority.into(), host: host.into(), port, target: target.into() })
        };
        assert_eq!(Url::parse("http://shop.example/api?x=1#f"), url(false, "shop.example", "shop.example", 80, "/api?x=1"));
        assert_eq!(Url::parse("shop.example:8080"), url(false, "shop.example:8080", "shop.example", 8080, "/"));
        assert_eq!(Url::parse("https://[::1]:8443?q"), url(true, "[::1]:8443", "::1", 8443, "/?q"));
        for wrong in ["ftp://x/", "http://", "http://x:99999/", "http://a b/"] {
            assert!(Url::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn bodies_end_where_they_say() {
        for (text, body, keeps) in [
            ("content-length: 2\r\n\r\nhi", "hi", true),
            ("transfer-encoding: chunked\r\n\r\n2\r\nhi\r\n3;x\r\nyou\r\n0\r\n\r\n", "hiyou", true),
            ("x: y\r\n\r\nrest", "rest", false),
        ] {
            let text = format!("HTTP/1.1 200 OK\r\n{text}");
            let mut from = text.as_bytes();
            let (status, headers) = read_head(&mut from).expect("a head");
            assert_eq!(status, 200);
            assert_eq!(read_body(&mut from, &headers).expect("a body"), (body.as_bytes().to_vec(), keeps));
        }
        assert!(
            read_head(&mut &b"SSH-2.0\r\n\r\n"[..]).is_err()
                && read_body(&mut &b"x"[..], &HeaderMap::from_iter([(http::header::CONTENT_LENGTH, HeaderValue::from(2))])).is_err()
        );
    }
}
