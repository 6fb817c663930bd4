//! What a backend's bytes may become: the framing matrix, backend's side. An answer that two readers could end at different places is not
//! passed on, its connection is not used again, and the next request gets its own answer.

use std::time::Duration;

use isthmus_tests::backend::{Backend, ok};
use isthmus_tests::gateway::{Gateway, own_address};
use isthmus_tests::wire::{self, Client};
use isthmus_tests::world;

/// What the client must get.
#[derive(Debug, Clone, Copy)]
enum Want {
    /// This status and this body, whole.
    Whole(u16, &'static str),
    /// One of 502 and 503, from the gateway.
    Failed,
    /// The status, then a connection that is cut before the body has ended; or 502 where nothing was sent yet.
    Broken(u16),
    /// Either of them, or the backend's status with a body that is whole; but one answer only.
    Safe,
}
use Want::{Broken, Failed, Safe, Whole};

/// Name, method, the backend's bytes, whether it closes after them, what the client must get.
type Row = (&'static str, &'static str, Vec<u8>, bool, Want);

fn answer(lines: &str, body: &str) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\n{lines}\r\n{body}").into_bytes()
}

const POISON: &str = "HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\npoison";

fn rows() -> Vec<Row> {
    let chunked = |body: &str| answer("transfer-encoding: chunked\r\n", body);
    let raw = |text: &str| text.as_bytes().to_vec();
    vec![
        ("length", "GET", answer("content-length: 2\r\n", "ok"), false, Whole(200, "ok")),
        ("chunks", "GET", chunked("2\r\nok\r\n0\r\n\r\n"), false, Whole(200, "ok")),
        ("chunks with trailers", "GET", chunked("2\r\nok\r\n0\r\nx: y\r\n\r\n"), false, Whole(200, "ok")),
        ("ends with the connection", "GET", answer("", "until the end"), true, Whole(200, "until the end")),
        ("204", "GET", raw("HTTP/1.1 204 No Content\r\n\r\n"), false, Whole(204, "")),
        ("304 with a length", "GET", raw("HTTP/1.1 304 Not Modified\r\ncontent-length: 9\r\n\r\n"), false, Whole(304, "")),
        ("HEAD with a length", "HEAD", answer("content-length: 9\r\n", ""), false, Whole(200, "")),
        (
            "interim answers",
            "GET",
            raw("HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"),
            false,
            Whole(200, "ok"),
        ),
        ("length and chunks", "GET", answer("content-length: 2\r\ntransfer-encoding: chunked\r\n", "0\r\n\r\n"), false, Failed),
        ("length twice, different", "GET", answer("content-length: 2\r\ncontent-length: 4\r\n", "okay"), false, Failed),
        ("length twice, equal", "GET", answer("content-length: 2\r\ncontent-length: 2\r\n", "ok"), false, Safe),
        ("length list", "GET", answer("content-length: 2, 4\r\n", "okay"), false, Failed),
        ("length is a word", "GET", answer("content-length: two\r\n", "ok"), true, Failed),
        ("negative length", "GET", answer("content-length: -2\r\n", "ok"), true, Failed),
        ("gzip, chunked", "GET", answer("transfer-encoding: gzip, chunked\r\n", "0\r\n\r\n"), true, Safe),
        ("two codings", "GET", answer("transfer-encoding: chunked\r\ntransfer-encoding: identity\r\n", "0\r\n\r\n"), true, Failed),
        ("chunk size is a word", "GET", chunked("zz\r\nok\r\n0\r\n\r\n"), false, Broken(200)),
        ("chunk without its end", "GET", chunked("2\r\nokay\r\n0\r\n\r\n"), false, Broken(200)),
        ("ends within a chunk", "GET", chunked("5\r\nok"), true, Broken(200)),
        ("ends between chunks", "GET", chunked("2\r\nok\r\n"), true, Broken(200)),
        ("ends within the body", "GET", answer("content-length: 9\r\n", "ok"), true, Broken(200)),
        ("ends within the head", "GET", raw("HTTP/1.1 200 OK\r\ncontent-le"), true, Failed),
        ("ends at once", "GET", Vec::new(), true, Failed),
        ("no HTTP", "GET", raw("SSH-2.0-OpenSSH_9.2\r\n\r\n"), true, Failed),
        ("another version", "GET", raw("HTTP/9.9 200 OK\r\ncontent-length: 2\r\n\r\nok"), true, Failed),
        ("status is a word", "GET", raw("HTTP/1.1 abc OK\r\ncontent-length: 2\r\n\r\nok"), true, Failed),
        ("status of two digits", "GET", raw("HTTP/1.1 20 OK\r\ncontent-length: 2\r\n\r\nok"), true, Failed),
        ("NUL in a value", "GET", answer("x: a\0b\r\ncontent-length: 2\r\n", "ok"), true, Failed),
        ("space before a colon", "GET", answer("content-length : 2\r\n", "ok"), true, Safe),
        ("bare LF", "GET", raw("HTTP/1.1 200 OK\ncontent-length: 2\n\nok"), true, Safe),
        ("folded line", "GET", answer("x: a\r\n b\r\ncontent-length: 2\r\n", "ok"), true, Safe),
        ("head over 60 KiB", "GET", answer(&format!("x: {}\r\ncontent-length: 2\r\n", "v".repeat(80_000)), "ok"), true, Safe),
        (
            "switched without being asked",
            "GET",
            raw("HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\nbytes"),
            true,
            Failed,
        ),
        ("two answers to one request", "GET", [answer("content-length: 2\r\n", "ok"), raw(POISON)].concat(), false, Whole(200, "ok")),
        ("two answers, the first in chunks", "GET", [chunked("2\r\nok\r\n0\r\n\r\n"), raw(POISON)].concat(), false, Whole(200, "ok")),
        ("a body after HEAD", "HEAD", [answer("content-length: 69\r\n", ""), raw(POISON)].concat(), false, Whole(200, "")),
        ("a body after 204", "GET", [raw("HTTP/1.1 204 No Content\r\n\r\n"), raw(POISON)].concat(), false, Whole(204, "")),
        ("a body after 304", "GET", [raw("HTTP/1.1 304 Not Modified\r\ncontent-length: 69\r\n\r\n"), raw(POISON)].concat(), false, Whole(304, "")),
        ("flood of 100", "GET", raw(&("HTTP/1.1 100 Continue\r\n\r\n".repeat(20_000) + POISON)), true, Safe),
        ("flood of 103", "GET", raw(&("HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n".repeat(20_000) + POISON)), true, Safe),
    ]
}

/// Plays one row on a gateway of its own table; what is wrong with what came of it.
fn check(gateway: &Gateway, method: &str, number: usize, want: Want) -> Result<(), String> {
    let mut client = Client::connect(gateway.http());
    client.send(format!("{method} /bad/{number} HTTP/1.1\r\nhost: frame.test\r\n\r\n"));
    let answer = client.response(method);
    match (want, &answer) {
        (Whole(status, body), Some(got)) if got.status() == status && got.text() == body => {}
        (Broken(_), Some(got)) if got.status() == 502 => {}
        (Failed, Some(got)) if [502, 503].contains(&got.status()) => {}
        (Broken(status), None) if client.closes(Duration::from_secs(5)) => {
            let begun = String::from_utf8_lossy(client.rest()).into_owned();
            if !begun.starts_with(&format!("HTTP/1.1 {status} ")) {
                return Err(format!("closed after {begun:?}"));
            }
        }
        (Safe, _) => {}
        _ => {
            let rest = String::from_utf8_lossy(&client.rest()[..client.rest().len().min(200)]).into_owned();
            return Err(format!("came {:?} {:?}, then {rest:?}", answer.as_ref().map(|m| &m.start), answer.as_ref().map(wire::Message::text)));
        }
    }
    // What follows gets its own answer: on this connection where it is still open, and on another one.
    if answer.is_some_and(|got| got.field("connection") != Some("close")) {
        client.send("GET /next HTTP/1.1\r\nhost: frame.test\r\n\r\n");
        match client.response("GET") {
            Some(got) if got.text() == "good" => {}
            got => return Err(format!("the next request on this connection got {:?}", got.map(|m| m.text()))),
        }
    }
    for _ in 0..3 {
        match wire::ask(gateway.http(), "frame.test", "/next") {
            Some(got) if got.text() == "good" => {}
            got => return Err(format!("the next request got {:?}", got.map(|m| (m.start.clone(), m.text())))),
        }
    }
    Ok(())
}

#[test]
fn answers() {
    let ip = own_address();
    let rows = rows();
    let table: Vec<(Vec<u8>, bool)> = rows.iter().map(|(_, _, bytes, closes, _)| (bytes.clone(), *closes)).collect();
    let backend = Backend::start(ip, move |peer| {
        while let Some(request) = peer.request() {
            let path = request.start.split(' ').nth(1).unwrap_or_default();
            let bad = path.strip_prefix("/bad/").and_then(|n| n.parse::<usize>().ok()).and_then(|n| table.get(n));
            let Some((bytes, closes)) = bad else {
                peer.write(ok(&request, "good"));
                continue;
            };
            if !peer.write(bytes) || *closes {
                return;
            }
        }
    });
    // Without retries, so that each row is one answer.
    let service = world::service("backend.test", "HTTP", &[backend.address]);
    let rules = "  http:\n  - route:\n    - destination: {host: backend.test}\n    retries: {attempts: 0}\n";
    let gateway = Gateway::start(ip, &(world::server("front", 8080, "HTTP") + &service + &world::routes("all", "*", &["front"], rules)));
    let wrong: Vec<String> = rows
        .iter()
        .enumerate()
        .filter_map(|(n, (name, method, _, _, want))| check(&gateway, method, n, *want).err().map(|why| format!("{name}: expected {want:?}: {why}")))
        .collect();
    assert!(wrong.is_empty(), "{} of {} rows:\n{}", wrong.len(), rows.len(), wrong.join("\n"));
}
