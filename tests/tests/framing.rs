//! What one connection's bytes may become: the framing matrix, client's side. A request that two readers could end at different places is
//! answered 400 or closed, and one request never becomes two.
//!
//! Expected values are Envoy's (contract/envoy.md 6.6 and 8.3), and our differences: bare LF, obs-fold and any Transfer-Encoding but chunked are
//! answered 400; HTTP/1.0 is served and never gets chunks.

use std::time::Duration;

use isthmus_tests::backend::Backend;
use isthmus_tests::gateway::{Gateway, own_address};
use isthmus_tests::wire::{self, Client};
use isthmus_tests::{wait, world};

/// What must come of a row's bytes.
#[derive(Debug, Clone, Copy)]
enum Want {
    /// This many answers of 200, and as many requests at the backend.
    Served(usize),
    /// Answered by the gateway itself; nothing at the backend.
    Answered(u16),
    /// Answered with this status and closed; nothing whole at the backend.
    Refused(u16),
    /// Answered 400 or just closed; nothing whole at the backend.
    Cut,
    /// Refused or served, but never more than this many requests at the backend.
    Safe(usize),
}
use Want::{Answered, Cut, Refused, Safe, Served};

/// Name, bytes, what must come of them.
type Row = (&'static str, Vec<u8>, Want);

/// A POST with these header lines (each with its end) and body.
fn post(lines: &str, body: &str) -> Vec<u8> {
    format!("POST /row HTTP/1.1\r\nhost: frame.test\r\n{lines}\r\n{body}").into_bytes()
}

/// A GET with these header lines.
fn get(lines: &str) -> Vec<u8> {
    format!("GET /row HTTP/1.1\r\nhost: frame.test\r\n{lines}\r\n").into_bytes()
}

/// A chunked POST with this body.
fn chunked(body: &str) -> Vec<u8> {
    post("transfer-encoding: chunked\r\n", body)
}

const SMUGGLED: &str = "GET /smuggled HTTP/1.1\r\nhost: frame.test\r\n\r\n";

fn lengths() -> Vec<Row> {
    vec![
        ("length", post("content-length: 5\r\n", "hello"), Served(1)),
        ("length 0", post("content-length: 0\r\n", ""), Served(1)),
        ("neither length nor chunks", post("", ""), Served(1)),
        ("GET with a body", get("content-length: 5\r\n").into_iter().chain(*b"hello").collect(), Served(1)),
        ("length twice, equal", post("content-length: 5\r\ncontent-length: 5\r\n", "hello"), Refused(400)),
        ("length twice, different", post("content-length: 5\r\ncontent-length: 0\r\n", "hello"), Refused(400)),
        ("length list, equal", post("content-length: 5, 5\r\n", "hello"), Refused(400)),
        ("length list, different", post("content-length: 0, 5\r\n", "hello"), Refused(400)),
        ("length with sign", post("content-length: +5\r\n", "hello"), Refused(400)),
        ("negative length", post("content-length: -5\r\n", "hello"), Refused(400)),
        ("length with a word", post("content-length: 5x\r\n", "hello"), Refused(400)),
        ("hexadecimal length", post("content-length: 0x5\r\n", "hello"), Refused(400)),
        ("length with a gap", post("content-length: 5 5\r\n", "hello"), Refused(400)),
        ("length with a point", post("content-length: 5.0\r\n", "hello"), Refused(400)),
        ("empty length", post("content-length:\r\n", "hello"), Refused(400)),
        ("length over 64 bits", post("content-length: 18446744073709551621\r\n", "hello"), Refused(400)),
        ("length over 63 bits", post("content-length: 99999999999999999999999\r\n", "hello"), Refused(400)),
        ("length named by Connection", post("connection: content-length\r\ncontent-length: 47\r\n", SMUGGLED), Safe(1)),
    ]
}

fn codings() -> Vec<Row> {
    let twice = |one: &str, two: &str| post(&format!("transfer-encoding: {one}\r\ntransfer-encoding: {two}\r\n"), "0\r\n\r\n");
    let coded = |coding: &str| post(&format!("transfer-encoding: {coding}\r\n"), "0\r\n\r\n");
    vec![
        ("chunks", chunked("5\r\nhello\r\n0\r\n\r\n"), Served(1)),
        ("Chunked in capitals", coded("CHUNKED"), Served(1)),
        ("length and chunks", post("content-length: 5\r\ntransfer-encoding: chunked\r\n", "0\r\n\r\n"), Refused(400)),
        ("chunks and length", post("transfer-encoding: chunked\r\ncontent-length: 5\r\n", "0\r\n\r\n"), Refused(400)),
        ("chunks and length, smuggling", post("transfer-encoding: chunked\r\ncontent-length: 4\r\n", &format!("0\r\n\r\n{SMUGGLED}")), Refused(400)),
        ("gzip", coded("gzip"), Refused(400)),
        ("identity", coded("identity"), Refused(400)),
        ("gzip, chunked", coded("gzip, chunked"), Refused(400)),
        ("chunked, gzip", coded("chunked, gzip"), Refused(400)),
        ("chunked, chunked", coded("chunked, chunked"), Refused(400)),
        ("chunked, identity", coded("chunked, identity"), Refused(400)),
        ("almost chunked", coded("xchunked"), Refused(400)),
        ("chunked in quotes", coded("\"chunked\""), Refused(400)),
        ("chunked with a parameter", coded("chunked;q=1"), Refused(400)),
        ("chunked behind a vertical tab", coded("\u{b}chunked"), Refused(400)),
        ("no coding", coded(""), Refused(400)),
        ("two codings, equal", twice("chunked", "chunked"), Refused(400)),
        ("two codings, different", twice("chunked", "identity"), Refused(400)),
        ("two codings, chunked last", twice("identity", "chunked"), Refused(400)),
        ("space before the colon", post("transfer-encoding : chunked\r\n", "0\r\n\r\n"), Refused(400)),
        ("GET with gzip and a length", get("transfer-encoding: gzip\r\ncontent-length: 0\r\n"), Refused(400)),
    ]
}

fn chunks() -> Vec<Row> {
    vec![
        ("chunk extension", chunked("5;a=b\r\nhello\r\n0\r\n\r\n"), Served(1)),
        ("leading zeros", chunked("0005\r\nhello\r\n000\r\n\r\n"), Served(1)),
        ("trailers", chunked("5\r\nhello\r\n0\r\nx-sum: 1\r\ncontent-length: 9\r\n\r\n"), Served(1)),
        ("trailer, then a request", chunked(&format!("0\r\nx: y\r\n\r\n{SMUGGLED}")), Served(2)),
        ("size is a word", chunked("xyz\r\nhello\r\n0\r\n\r\n"), Cut),
        ("size with a sign", chunked("+5\r\nhello\r\n0\r\n\r\n"), Cut),
        ("negative size", chunked("-5\r\nhello\r\n0\r\n\r\n"), Cut),
        ("size with 0x", chunked("0x5\r\nhello\r\n0\r\n\r\n"), Cut),
        ("empty size", chunked("\r\nhello\r\n0\r\n\r\n"), Cut),
        ("size over 64 bits", chunked("10000000000000005\r\nhello\r\n0\r\n\r\n"), Cut),
        ("size over 128 bits", chunked(&format!("1{}5\r\nhello\r\n0\r\n\r\n", "0".repeat(32))), Cut),
        ("chunk longer than its size", chunked("3\r\nhello\r\n0\r\n\r\n"), Cut),
        ("chunk without its end", chunked(&format!("5\r\nhello0\r\n\r\n{SMUGGLED}")), Cut),
        ("size ended by a bare LF", chunked("5\nhello\r\n0\r\n\r\n"), Cut),
        ("chunk ended by a bare LF", chunked("5\r\nhello\n0\r\n\r\n"), Cut),
        ("size ended by a bare CR", chunked("5\rhello\r\n0\r\n\r\n"), Cut),
        ("bare LF in an extension", chunked(&format!("5;\nxx\r\nhello\r\n0\r\n\r\n{SMUGGLED}")), Cut),
        ("space before the size", chunked(" 5\r\nhello\r\n0\r\n\r\n"), Safe(1)),
        ("space after the size", chunked("5 \r\nhello\r\n0\r\n\r\n"), Safe(1)),
    ]
}

fn lines() -> Vec<Row> {
    let raw = |text: &str| text.as_bytes().to_vec();
    vec![
        ("bare LF everywhere", raw("GET /row HTTP/1.1\nhost: frame.test\n\n"), Refused(400)),
        ("bare LF after the request line", raw("GET /row HTTP/1.1\nhost: frame.test\r\n\r\n"), Refused(400)),
        ("bare LF after a field", raw("GET /row HTTP/1.1\r\nhost: frame.test\nx: y\r\n\r\n"), Refused(400)),
        ("bare LF hides a coding", post("x: y\ntransfer-encoding: chunked\r\ncontent-length: 5\r\n", "0\r\n\r\n"), Refused(400)),
        ("bare CR in a value", get("x: a\rb\r\n"), Refused(400)),
        ("bare CR hides a coding", post("x: y\rtransfer-encoding: chunked\r\ncontent-length: 5\r\n", "hello"), Refused(400)),
        ("folded line", get("x: a\r\n b\r\n"), Refused(400)),
        ("folded by a tab", get("x: a\r\n\tb\r\n"), Refused(400)),
        ("folded coding", post("transfer-encoding:\r\n chunked\r\n", "0\r\n\r\n"), Refused(400)),
        ("folded first line", raw("GET /row HTTP/1.1\r\n x: y\r\nhost: frame.test\r\n\r\n"), Refused(400)),
        ("NUL in a value", get("x: a\0b\r\n"), Refused(400)),
        ("NUL in a name", get("x\0y: a\r\n"), Refused(400)),
        ("space before a colon", get("x : y\r\n"), Refused(400)),
        ("tab before a colon", get("content-length\t: 5\r\n"), Refused(400)),
        ("no colon", get("x\r\n"), Refused(400)),
        ("no name", get(": y\r\n"), Refused(400)),
        ("bracket in a name", get("x(y: z\r\n"), Refused(400)),
        ("bytes over 127 in a name", get("x\u{e9}: z\r\n"), Refused(400)),
        ("empty line before the request", raw("\r\nGET /row HTTP/1.1\r\nhost: frame.test\r\n\r\n"), Safe(1)),
        ("TLS on a plain port", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n".to_vec(), Cut),
        ("no HTTP at all", raw("SSH-2.0-OpenSSH_9.2\r\n\r\n"), Cut),
    ]
}

fn starts() -> Vec<Row> {
    let start = |line: &str| format!("{line}\r\nhost: frame.test\r\n\r\n").into_bytes();
    vec![
        ("OPTIONS", start("OPTIONS /row HTTP/1.1"), Served(1)),
        ("HEAD", start("HEAD /row HTTP/1.1"), Served(1)),
        ("PATCH", start("PATCH /row HTTP/1.1"), Served(1)),
        ("DELETE", start("DELETE /row HTTP/1.1"), Served(1)),
        ("method in lower case", start("get /row HTTP/1.1"), Refused(400)),
        ("unknown method", start("FROB /row HTTP/1.1"), Refused(400)),
        ("no method", start(" /row HTTP/1.1"), Refused(400)),
        ("method with a colon", start("GET: /row HTTP/1.1"), Refused(400)),
        ("CONNECT", b"CONNECT frame.test:80 HTTP/1.1\r\nhost: frame.test:80\r\n\r\n".to_vec(), Answered(404)),
        ("OPTIONS *", start("OPTIONS * HTTP/1.1"), Answered(404)),
        ("whole URL", start("GET http://frame.test/row HTTP/1.1"), Served(1)),
        ("target without a slash", start("GET row HTTP/1.1"), Refused(400)),
        ("target with a fragment", start("GET /row#x HTTP/1.1"), Refused(400)),
        ("target with a gap", start("GET /a b HTTP/1.1"), Refused(400)),
        ("two gaps before the target", start("GET  /row HTTP/1.1"), Safe(1)),
        ("tab before the target", start("GET\t/row HTTP/1.1"), Refused(400)),
        ("bytes over 127 in the target", start("GET /r\u{f6}w HTTP/1.1"), Refused(400)),
        ("control byte in the target", start("GET /r\u{1}w HTTP/1.1"), Refused(400)),
        ("no target", start("GET HTTP/1.1"), Refused(400)),
        ("HTTP/0.9", b"GET /row\r\n\r\n".to_vec(), Cut),
        ("HTTP/2.0 in words", start("GET /row HTTP/2.0"), Cut),
        ("version with more digits", start("GET /row HTTP/1.10"), Cut),
        ("version in lower case", start("GET /row http/1.1"), Cut),
        ("another protocol", start("GET /row ICAP/1.1"), Cut),
        ("HTTP/1.0", start("GET /row HTTP/1.0"), Served(1)),
        ("HTTP/1.0 with a length", b"POST /row HTTP/1.0\r\nhost: frame.test\r\ncontent-length: 5\r\n\r\nhello".to_vec(), Served(1)),
        ("HTTP/1.0 with chunks", b"POST /row HTTP/1.0\r\nhost: frame.test\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n".to_vec(), Refused(400)),
        ("no Host", b"GET /row HTTP/1.1\r\n\r\n".to_vec(), Refused(400)),
        ("Host twice, equal", get("host: frame.test\r\n"), Safe(1)),
        ("Host twice, different", get("host: other.test\r\n"), Safe(1)),
        ("Host with a gap", b"GET /row HTTP/1.1\r\nhost: a b\r\n\r\n".to_vec(), Safe(1)),
        ("Host with a path", b"GET /row HTTP/1.1\r\nhost: a/b\r\n\r\n".to_vec(), Safe(1)),
    ]
}

fn several() -> Vec<Row> {
    let two = |first: Vec<u8>| first.into_iter().chain(SMUGGLED.bytes()).collect::<Vec<u8>>();
    let big = |count: usize, size: usize| (0..count).map(|i| format!("x-{i}: {}\r\n", "v".repeat(size))).collect::<String>();
    vec![
        ("two requests", two(get("")), Served(2)),
        ("length, then a request", two(post("content-length: 5\r\n", "hello")), Served(2)),
        ("chunks, then a request", two(chunked("5\r\nhello\r\n0\r\n\r\n")), Served(2)),
        ("length 0, then a request", two(post("content-length: 0\r\n", "")), Served(2)),
        ("HEAD, then a request", two(b"HEAD /row HTTP/1.1\r\nhost: frame.test\r\n\r\n".to_vec()), Served(2)),
        ("refused, then a request", two(post("content-length: x\r\n", "")), Refused(400)),
        ("Connection: close, then a request", two(get("connection: close\r\n")), Safe(1)),
        ("early bytes after a refused upgrade", two(get("connection: upgrade\r\nupgrade: websocket\r\n")), Safe(2)),
        ("early bytes after h2c", two(get("connection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABk\r\n")), Safe(2)),
        ("upgrade with a body", post("connection: upgrade\r\nupgrade: websocket\r\ncontent-length: 5\r\n", "hello"), Safe(1)),
        ("upgrade with chunks", two(post("connection: upgrade\r\nupgrade: websocket\r\ntransfer-encoding: chunked\r\n", "0\r\n\r\n")), Safe(2)),
        ("h2c is served as it is", get("connection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABk\r\n"), Served(1)),
        ("head just under the limit", get(&big(50, 1000)), Served(1)),
        ("head over 60 KiB", get(&big(64, 1000)), Refused(431)),
        ("one field over 60 KiB", get(&big(1, 62_000)), Refused(431)),
        ("over 100 fields", get(&big(110, 1)), Refused(431)),
        ("target over 60 KiB", format!("GET /{} HTTP/1.1\r\nhost: frame.test\r\n\r\n", "r".repeat(62_000)).into_bytes(), Refused(431)),
    ]
}

/// The methods of the requests that a row's bytes hold, as a strict reader finds them.
fn methods(bytes: &[u8]) -> Vec<String> {
    let (whole, _) = wire::requests(bytes);
    whole.iter().map(|m| m.start.split(' ').next().unwrap_or_default().to_owned()).collect()
}

/// Plays one row; what is wrong with what came of it.
fn check(gateway: &Gateway, backend: &Backend, bytes: &[u8], want: Want) -> Result<(), String> {
    backend.forget();
    let mut client = Client::connect(gateway.http());
    client.send(bytes);
    let methods = methods(bytes);
    let method = |n: usize| methods.get(n).map_or("GET", String::as_str);
    let closes = |client: &mut Client| client.closes(Duration::from_secs(5)).then_some(()).ok_or("the connection stays open");
    let most = match want {
        Served(count) => {
            for n in 0..count {
                let answer = client.response(method(n)).ok_or_else(|| format!("no answer {n}; came {:?}", String::from_utf8_lossy(client.rest())))?;
                if answer.status() != 200 {
                    return Err(format!("answer {n} is {}", answer.start));
                }
                if bytes.windows(8).any(|w| w == b"HTTP/1.0") && !answer.all("transfer-encoding").is_empty() {
                    return Err("chunks for HTTP/1.0".into());
                }
            }
            let came = backend.requests()?.len();
            if came != count {
                return Err(format!("{came} requests at the backend"));
            }
            count
        }
        Answered(status) | Refused(status) => {
            let answer = client.response(method(0)).ok_or("closed without an answer")?;
            if answer.status() != status {
                return Err(format!("answer is {}", answer.start));
            }
            if matches!(want, Refused(_)) {
                closes(&mut client)?;
            }
            0
        }
        Cut => {
            closes(&mut client)?;
            match client.response("GET").map(|m| m.status()) {
                None | Some(400) => 0,
                Some(status) => return Err(format!("answered {status}")),
            }
        }
        Safe(most) => {
            let _answer = client.response(method(0));
            most
        }
    };
    let few = wait::stays(Duration::from_millis(60), || backend.requests().is_ok_and(|r| r.len() <= most));
    let came = backend.requests()?;
    if !few {
        return Err(format!("{} requests at the backend: {:?}", came.len(), came.iter().map(|m| &m.start).collect::<Vec<_>>()));
    }
    let alien: Vec<_> = came.iter().filter(|m| m.field("x-request-id").is_none() || m.all("host").len() != 1).map(|m| &m.start).collect();
    if alien.is_empty() { Ok(()) } else { Err(format!("requests that the gateway did not make: {alien:?}")) }
}

/// Plays a table; all its rows are told, not only the first that fails.
fn play(rows: &[Row]) {
    let ip = own_address();
    let backend = Backend::named(ip, "row");
    let gateway = Gateway::start(ip, &world::simple(&[backend.address]));
    let wrong: Vec<String> = rows
        .iter()
        .filter_map(|(name, bytes, want)| check(&gateway, &backend, bytes, *want).err().map(|why| format!("{name}: expected {want:?}: {why}")))
        .collect();
    assert!(wrong.is_empty(), "{} of {} rows:\n{}", wrong.len(), rows.len(), wrong.join("\n"));
    assert_eq!(wire::ask(gateway.http(), "frame.test", "/after").map(|m| m.status()), Some(200), "it still serves");
}

#[test]
fn content_length() {
    play(&lengths());
}

#[test]
fn transfer_encoding() {
    play(&codings());
}

#[test]
fn chunk_framing() {
    play(&chunks());
}

#[test]
fn line_framing() {
    play(&lines());
}

#[test]
fn request_lines_and_hosts() {
    play(&starts());
}

#[test]
fn several_on_one_connection_and_sizes() {
    play(&several());
}
