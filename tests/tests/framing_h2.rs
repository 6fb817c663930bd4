//! What an HTTP/2 request may become on an HTTP/1.1 backend: nothing that a field's bytes could add. Frames are written by hand, since a client
//! library would refuse to send them.

use std::time::Duration;

use isthmus_tests::backend::Backend;
use isthmus_tests::gateway::{Gateway, own_address};
use isthmus_tests::wire::{self, Client};
use isthmus_tests::{wait, world};

/// Fields as a client that lies writes them.
type Fields = Vec<(&'static str, &'static [u8])>;

/// One frame on stream 1.
fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a short payload").to_be_bytes();
    [&length[1..], &[kind, flags, 0, 0, 0, u8::from(kind != 4)], payload].concat()
}

/// A string of HPACK, not compressed, of fewer than 127 bytes.
fn string(text: &[u8]) -> Vec<u8> {
    let length = u8::try_from(text.len()).expect("a short string");
    assert!(length < 127, "one byte tells the length");
    [&[length], text].concat()
}

/// Preface, SETTINGS, and one request with these fields, each a literal that is not indexed.
fn request(fields: &[(&str, &[u8])], body: Option<&[u8]>) -> Vec<u8> {
    let block: Vec<u8> = fields.iter().flat_map(|(n, v)| [vec![0], string(n.as_bytes()), string(v)].concat()).collect();
    let end = u8::from(body.is_none());
    let data = body.map(|b| frame(0, 1, b)).unwrap_or_default();
    [&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], &frame(4, 0, &[]), &frame(1, 4 | end, &block), &data].concat()
}

fn get() -> Fields {
    vec![(":method", b"GET"), (":scheme", b"http"), (":authority", b"frame.test"), (":path", b"/row")]
}

/// A GET with one field more.
fn with(name: &'static str, value: &'static [u8]) -> Fields {
    [get(), vec![(name, value)]].concat()
}

/// A GET with one of its own fields said otherwise.
fn but(name: &'static str, value: &'static [u8]) -> Fields {
    get().into_iter().map(|(n, v)| if n == name { (n, value) } else { (n, v) }).collect()
}

/// Name, fields, body, and whether a backend may get it, once.
type Row = (&'static str, Fields, Option<&'static [u8]>, bool);

fn rows() -> Vec<Row> {
    vec![
        ("plain", get(), None, true),
        ("with a body", get(), Some(b"hello"), true),
        ("cookies apart", [with("cookie", b"a=b"), vec![("cookie", &b"c=d"[..])]].concat(), None, true),
        ("te: trailers", with("te", b"trailers"), None, true),
        ("line end in a value", with("x", b"a\r\ntransfer-encoding: chunked"), None, false),
        ("line feed in a value", with("x", b"a\ny: z"), None, false),
        ("carriage return in a value", with("x", b"a\ry"), None, false),
        ("NUL in a value", with("x", b"a\0b"), None, false),
        ("line end in a name", with("x\r\ny", b"z"), None, false),
        ("colon in a name", with("transfer-encoding: chunked\r\nx", b"z"), None, false),
        ("space in a name", with("x y", b"z"), None, false),
        ("capitals in a name", with("X-Y", b"z"), None, false),
        ("empty name", with("", b"z"), None, false),
        ("transfer-encoding", with("transfer-encoding", b"chunked"), Some(b"0\r\n\r\nGET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n"), false),
        ("connection", with("connection", b"close"), None, false),
        ("keep-alive", with("keep-alive", b"timeout=5"), None, false),
        ("upgrade", with("upgrade", b"websocket"), None, false),
        ("te: chunked", with("te", b"chunked"), None, false),
        ("line end in the path", but(":path", b"/row HTTP/1.1\r\nhost: a\r\n\r\nGET /smuggled"), None, false),
        ("space in the path", but(":path", b"/row HTTP/1.1"), None, false),
        ("empty path", but(":path", b""), None, false),
        ("path without a slash", but(":path", b"row"), None, false),
        ("line end in the method", but(":method", b"GET /x HTTP/1.1\r\nx: y\r\n\r\nGET"), None, false),
        ("space in the method", but(":method", b"GET /x"), None, false),
        ("line end in the authority", but(":authority", b"frame.test\r\nx: y"), None, false),
        ("space in the authority", but(":authority", b"frame.test x"), None, false),
        ("path said twice", with(":path", b"/other"), None, false),
        ("path behind a field", [with("x", b"y"), vec![(":path", &b"/other"[..])]].concat(), None, false),
        ("unknown pseudo field", with(":row", b"x"), None, false),
        ("length that is not kept", with("content-length", b"2"), Some(b"hello"), false),
        ("length without a body", with("content-length", b"5"), None, false),
        ("length twice", [with("content-length", b"5"), vec![("content-length", &b"2"[..])]].concat(), Some(b"hello"), false),
        ("another Host", with("host", b"other.test"), None, true),
    ]
}

#[test]
fn fields_of_h2_stay_fields() {
    let ip = own_address();
    let backend = Backend::named(ip, "row");
    let gateway = Gateway::start(ip, &world::simple(&[backend.address]));
    let mut wrong = Vec::new();
    for (name, fields, body, served) in rows() {
        backend.forget();
        let mut client = Client::connect(gateway.http());
        client.send(request(&fields, body));
        let came = || backend.requests().map(|r| r.len());
        // What is refused ends in a frame that says so, or in a close; what is served reaches the backend.
        let settled = || came() != Ok(0);
        let _came = wait::holds(Duration::from_millis(if served { 3_000 } else { 150 }), settled);
        match backend.requests() {
            Err(why) => wrong.push(format!("{name}: {why}")),
            Ok(got) if got.len() != usize::from(served) => wrong.push(format!("{name}: {} requests at the backend: {got:?}", got.len())),
            Ok(got) => {
                let clean =
                    got.iter().all(|m| m.all("host") == ["frame.test"] && m.start == "GET /row HTTP/1.1" && m.field("x-request-id").is_some());
                if !clean {
                    wrong.push(format!("{name}: {got:?}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{} rows:\n{}", wrong.len(), wrong.join("\n"));
    assert_eq!(wire::ask(gateway.http(), "frame.test", "/after").map(|m| m.status()), Some(200), "it still serves");
}
