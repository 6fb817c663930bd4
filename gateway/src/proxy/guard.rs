//! The first look at an HTTP/1 request head, before any codec reads it: is there one way only to read it?
//!
//! Whatever could let one request become two is refused here (contract/envoy.md 8.3, and stricter on purpose: see
//! `docs/differences.md`): bare line feeds, folded lines, both lengths at once, repeated lengths, any transfer coding but
//! `chunked` alone. So are heads that are too large, and requests that name no host. The scan is pure and reads each byte once.

use isthmus_core::failure::Failure;

/// The longest head, in bytes (6.6).
pub(crate) const LONGEST_HEAD: usize = 60 * 1024;

/// The most header fields (6.6).
pub(crate) const MOST_FIELDS: usize = 100;

/// What the head says about the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Facts {
    /// Bytes of the head, its empty line included.
    pub(crate) length: usize,
    /// The version is 1.0.
    pub(crate) http10: bool,
    /// The client asks that the connection be closed, or, in 1.0, does not ask that it be kept.
    pub(crate) close: bool,
    /// A body follows.
    pub(crate) body: bool,
    /// It comes in chunks.
    pub(crate) chunked: bool,
    /// The method is HEAD.
    pub(crate) head: bool,
    /// The connection is to become a tunnel after the answer.
    pub(crate) upgrade: bool,
}

/// The methods that exist; others are refused (8.3).
const METHODS: [&[u8]; 33] = [
    b"GET",
    b"HEAD",
    b"POST",
    b"PUT",
    b"DELETE",
    b"CONNECT",
    b"OPTIONS",
    b"TRACE",
    b"PATCH",
    b"ACL",
    b"BIND",
    b"CHECKOUT",
    b"COPY",
    b"LINK",
    b"LOCK",
    b"M-SEARCH",
    b"MERGE",
    b"MKACTIVITY",
    b"MKCALENDAR",
    b"MKCOL",
    b"MOVE",
    b"NOTIFY",
    b"PROPFIND",
    b"PROPPATCH",
    b"PURGE",
    b"REBIND",
    b"REPORT",
    b"SEARCH",
    b"SOURCE",
    b"SUBSCRIBE",
    b"UNBIND",
    b"UNLINK",
    b"UNSUBSCRIBE",
];

/// Looks for the end of a head, over several arrivals of bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Scan {
    seen: usize,
    line: usize,
    lines: usize,
}

impl Scan {
    /// True before the first byte of a request line.
    pub(crate) fn is_fresh(&self) -> bool {
        self.seen == 0
    }
    /// Looks at all bytes that have arrived; `bytes` begins with the head. `None`: more are needed.
    pub(crate) fn more(&mut self, bytes: &[u8]) -> Result<Option<Facts>, Failure> {
        // Half of an empty line, which is passed over once it is whole.
        if bytes == b"\r" {
            return Ok(None);
        }
        // Nothing that begins otherwise can become a request line: a TLS client, for one, need not wait.
        if bytes.first().is_some_and(|b| !is_token(*b)) {
            return Err(Failure::BadRequest);
        }
        while let Some(at) = bytes[self.seen..].iter().position(|b| *b == b'\n').map(|p| p + self.seen) {
            self.seen = at + 1;
            if at == self.line || bytes[at - 1] != b'\r' {
                return Err(Failure::BadRequest);
            }
            if at + 1 > LONGEST_HEAD {
                return Err(Failure::HeadersTooLarge);
            }
            if at - 1 == self.line {
                return facts(&bytes[..at + 1]).map(Some);
            }
            self.line = at + 1;
            self.lines += 1;
            if self.lines > MOST_FIELDS + 1 {
                return Err(Failure::HeadersTooLarge);
            }
        }
        self.seen = bytes.len();
        if bytes.len() > LONGEST_HEAD { Err(Failure::HeadersTooLarge) } else { Ok(None) }
    }
}

/// True where what begins so is HTTP, if perhaps a wrong one. What is not gets no answer.
pub(crate) fn is_http(bytes: &[u8]) -> bool {
    let line = bytes.split(|b| *b == b'\n').next().unwrap_or_default();
    line.len() == bytes.len() || line.split(|b| *b == b' ').any(|word| word.starts_with(b"HTTP/"))
}

/// Empty lines before a request line, which are passed over.
pub(crate) fn blank(bytes: &[u8]) -> usize {
    let mut count = 0;
    while bytes[count..].starts_with(b"\r\n") {
        count += 2;
    }
    count
}

fn facts(head: &[u8]) -> Result<Facts, Failure> {
    let mut lines = head.split(|b| *b == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    let line = lines.next().unwrap_or_default();
    let mut words = line.split(|b| *b == b' ');
    let (Some(method), Some(target), Some(version), None) = (words.next(), words.next(), words.next(), words.next()) else {
        return Err(Failure::BadRequest);
    };
    let http10 = match version {
        b"HTTP/1.1" => false,
        b"HTTP/1.0" => true,
        _ => return Err(Failure::BadRequest),
    };
    if !METHODS.contains(&method) || target.is_empty() || target.iter().any(|b| !(0x21..0x7f).contains(b)) {
        return Err(Failure::BadRequest);
    }
    let mut seen = Seen::default();
    for line in lines.take_while(|line| !line.is_empty()) {
        seen.field(line)?;
    }
    if seen.chunked && (seen.length.is_some() || http10) {
        return Err(Failure::BadRequest);
    }
    if !seen.host {
        return Err(Failure::MissingHost);
    }
    // No route matches a request for a tunnel (6.6).
    if method == b"CONNECT" {
        return Err(Failure::NoRoute);
    }
    Ok(Facts {
        length: head.len(),
        http10,
        close: if http10 { !seen.keep } else { seen.close } || seen.close,
        body: seen.chunked || seen.length.is_some_and(|n| n > 0),
        chunked: seen.chunked,
        head: method == b"HEAD",
        upgrade: seen.upgrade && seen.connection_upgrade && !http10 && method == b"GET" && !seen.chunked && seen.length.unwrap_or(0) == 0,
    })
}

#[derive(Default)]
struct Seen {
    host: bool,
    length: Option<u64>,
    chunked: bool,
    close: bool,
    keep: bool,
    upgrade: bool,
    connection_upgrade: bool,
}

impl Seen {
    fn field(&mut self, line: &[u8]) -> Result<(), Failure> {
        let colon = line.iter().position(|b| *b == b':').ok_or(Failure::BadRequest)?;
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        if name.is_empty() || !name.iter().copied().all(is_token) {
            return Err(Failure::BadRequest);
        }
        if value.iter().any(|b| (*b < 0x20 && *b != b'\t') || *b == 0x7f) {
            return Err(Failure::BadRequest);
        }
        let is = |wanted: &[u8]| name.eq_ignore_ascii_case(wanted);
        let lists = |wanted: &[u8]| value.split(|b| *b == b',').any(|item| item.trim_ascii().eq_ignore_ascii_case(wanted));
        match name.len() {
            4 if is(b"host") => self.host = true,
            7 if is(b"upgrade") => self.upgrade |= lists(b"websocket"),
            10 if is(b"connection") => {
                self.close |= lists(b"close");
                self.keep |= lists(b"keep-alive");
                self.connection_upgrade |= lists(b"upgrade");
            }
            14 if is(b"content-length") => {
                if self.length.is_some() || value.is_empty() || value.len() > 18 || !value.iter().all(u8::is_ascii_digit) {
                    return Err(Failure::BadRequest);
                }
                self.length = Some(value.iter().fold(0, |n, b| n * 10 + u64::from(b - b'0')));
            }
            17 if is(b"transfer-encoding") => {
                if self.chunked || !value.eq_ignore_ascii_case(b"chunked") {
                    return Err(Failure::BadRequest);
                }
                self.chunked = true;
            }
            _ => {}
        }
        Ok(())
    }
}

fn is_token(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn scan(head: &str) -> Result<Option<Facts>, Failure> {
        Scan::default().more(head.as_bytes())
    }

    #[test]
    fn one_way_to_read_a_head_8_3() {
        for (head, want) in [
            ("GET / HTTP/1.1\nHost: a\n\n", Failure::BadRequest),
            ("GET / HTTP/1.1\r\nHost: a\n\r\n", Failure::BadRequest),
            ("GET / HTTP/1.1\r\nHost: a\r\n x: y\r\n\r\n", Failure::BadRequest),
            ("GET / HTTP/1.1\r\nHost: a\r\nX : y\r\n\r\n", Failure::BadRequest),
            ("GET / HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n", Failure::BadRequest),
            ("GET / HTTP/1.1\r\nHost: a\r\nX: a\rb\r\n\r\n", Failure::BadRequest),
            ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n", Failure::BadRequest),
            ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\n", Failure::BadRequest),
            ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3, 3\r\n\r\n", Failure::BadRequest),
            ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +3\r\n\r\n", Failure::BadRequest),
            ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n\r\n", Failure::BadRequest),
            ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", Failure::BadRequest),
            ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity\r\n\r\n", Failure::BadRequest),
            ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n", Failure::BadRequest),
            ("POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", Failure::BadRequest),
            ("GET /  HTTP/1.1\r\nHost: a\r\n\r\n", Failure::BadRequest),
            ("GET / HTTP/1.2\r\nHost: a\r\n\r\n", Failure::BadRequest),
            ("GET /\r\n\r\n", Failure::BadRequest),
            ("FROB / HTTP/1.1\r\nHost: a\r\n\r\n", Failure::BadRequest),
            ("get / HTTP/1.1\r\nHost: a\r\n\r\n", Failure::BadRequest),
            ("GET /ä HTTP/1.1\r\nHost: a\r\n\r\n", Failure::BadRequest),
            ("GET / HTTP/1.1\r\n\r\n", Failure::MissingHost),
            ("GET / HTTP/1.0\r\n\r\n", Failure::MissingHost),
            ("\x16\x03\x01", Failure::BadRequest),
            ("CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n", Failure::NoRoute),
        ] {
            assert_eq!(scan(head), Err(want), "{head:?}");
        }
    }

    #[test]
    fn heads_have_limits_6_6() {
        let fields = |n: usize| format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "x: y\r\n".repeat(n - 1));
        assert!(scan(&fields(100)).unwrap().is_some());
        assert_eq!(scan(&fields(101)), Err(Failure::HeadersTooLarge));
        assert_eq!(scan(&format!("GET / HTTP/1.1\r\nHost: a\r\nx: {}", "y".repeat(LONGEST_HEAD))), Err(Failure::HeadersTooLarge));
        assert_eq!(scan(&format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "y".repeat(LONGEST_HEAD))), Err(Failure::HeadersTooLarge));
    }

    #[test]
    fn what_a_head_says() {
        let facts = |head| scan(head).unwrap().unwrap();
        let plain = facts("GET / HTTP/1.1\r\nHost: a\r\n\r\nrest");
        assert_eq!((plain.length, plain.http10, plain.close, plain.body), (27, false, false, false));
        assert!(facts("GET / HTTP/1.1\r\nHost: a\r\nConnection: x, Close\r\n\r\n").close);
        assert!(facts("GET / HTTP/1.0\r\nHost: a\r\n\r\n").close);
        assert!(!facts("GET / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n").close);
        assert!(facts("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n").body);
        assert!(!facts("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n").body);
        assert!(facts("GET / HTTP/1.1\r\nHost: a\r\nUpgrade: WebSocket\r\nConnection: Upgrade\r\n\r\n").upgrade);
        assert!(!facts("POST / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n").upgrade);
        assert!(!facts("GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nContent-Length: 1\r\n\r\n").upgrade);
        assert!(!facts("GET / HTTP/1.1\r\nHost: a\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n").upgrade);
        assert_eq!(blank(b"\r\n\r\nGET"), 4);
    }

    proptest! {
        #[test]
        fn it_does_not_matter_how_the_bytes_arrive(head in "(GET|PUT) /[a-z]{0,5} HTTP/1.1\r\n(Host|x|Content-Length): [a-z0-9]{0,3}(\r\n|\n)(y: z\r\n)?\r\n", cut in 0usize..60) {
            let whole = Scan::default().more(head.as_bytes());
            let mut scan = Scan::default();
            let cut = cut.min(head.len());
            let parts = scan.more(&head.as_bytes()[..cut]).and_then(|first| first.map_or_else(|| scan.more(head.as_bytes()), |f| Ok(Some(f))));
            prop_assert_eq!(whole, parts);
        }

        #[test]
        fn any_bytes_are_scanned_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(Some(facts)) = Scan::default().more(&bytes) {
                prop_assert!(facts.length <= bytes.len());
            }
        }
    }
}
