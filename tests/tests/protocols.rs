//! The protocols of either side: HTTP/1.0, HTTP/1.1, HTTP/2 with prior knowledge, gRPC, websocket, 100-continue, the PROXY header.

use std::time::Duration;

use bytes::Bytes;
use isthmus_tests::backend::{Backend, ok};
use isthmus_tests::gateway::{Gateway, own_address};
use isthmus_tests::http2::{self, Server, Whole};
use isthmus_tests::wire::{self, Client, find};
use isthmus_tests::world;

/// A world whose only service speaks `protocol`.
fn speaking(protocol: &str, address: std::net::SocketAddr) -> String {
    world::server("front", 8080, "HTTP") + &world::service("backend.test", protocol, &[address]) + &world::route("all", "*", "front", "backend.test")
}

#[tokio::test(flavor = "multi_thread")]
async fn h2_clients_reach_an_h1_backend() {
    let ip = own_address();
    let backend = Backend::named(ip, "one");
    let gateway = Gateway::start(ip, &world::simple(&[backend.address]));
    let client = http2::connect(gateway.http()).await;
    let asks: Vec<_> = (0..20)
        .map(|n| {
            let client = client.clone();
            tokio::spawn(async move { http2::ask(&client, http2::get("a.test", &format!("/{n}")), &[]).await })
        })
        .collect();
    for ask in asks {
        let got = ask.await.expect("no task panics").expect("each stream is answered");
        assert_eq!((got.status, &got.body[..]), (200, &b"one"[..]));
        assert_eq!(got.fields.get("server").map(http::HeaderValue::as_bytes), Some(&b"isthmus"[..]));
    }
    let asked = backend.requests().expect("h2 becomes whole h1 requests");
    assert_eq!(asked.len(), 20);
    assert!(asked.iter().all(|m| m.all("host") == ["a.test"] && m.field("x-request-id").is_some()), "{asked:?}");
}

/// An h2 request whose body ends in an empty DATA frame: the chunk terminator is written once, and the connection stays usable.
#[tokio::test(flavor = "multi_thread")]
async fn h2_body_ended_by_an_empty_frame() {
    let ip = own_address();
    let backend = Backend::named(ip, "one");
    let gateway = Gateway::start(ip, &world::simple(&[backend.address]));
    let client = http2::connect(gateway.http()).await;
    for frames in [&[&b"hello"[..], b""][..], &[b""], &[b"hel", b"lo", b""], &[b"hello"], &[]] {
        let got = http2::ask(&client, http2::post("a.test", "/", "text/plain"), frames).await.expect("it is answered");
        assert_eq!(got.status, 200, "{frames:?}");
    }
    let asked = backend.requests().expect("no terminator is written twice");
    let bodies: Vec<_> = asked.iter().map(|m| m.text()).collect();
    assert_eq!(bodies, ["hello", "", "hello", "hello", ""]);
}

/// A content-length that the DATA frames do not keep never reaches a backend as a whole request.
#[tokio::test(flavor = "multi_thread")]
async fn h2_body_of_another_length() {
    let ip = own_address();
    let backend = Backend::named(ip, "one");
    let gateway = Gateway::start(ip, &world::simple(&[backend.address]));
    for (length, body) in [("2", &b"hello"[..]), ("9", b"hello"), ("0", b"hello")] {
        let client = http2::connect(gateway.http()).await;
        let mut request = http2::post("a.test", "/", "text/plain");
        request.headers_mut().insert("content-length", http::HeaderValue::from_static(length));
        let got = http2::ask(&client, request, &[body]).await.map(|w| w.status);
        assert!(!matches!(got, Ok(200)), "length {length} for {body:?} is answered {got:?}");
    }
    let asked = backend.requests().expect("nothing but requests comes");
    assert!(asked.iter().all(|m| m.text() != "hello" && m.text() != "he"), "{asked:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn port_protocol_decides_what_a_backend_is_spoken_to_in() {
    for protocol in ["HTTP2", "GRPC"] {
        let ip = own_address();
        let server = Server::start(ip, |asked| Whole { status: 200, body: format!("saw {}", asked.path).into(), ..Whole::default() }).await;
        let gateway = Gateway::start(ip, &speaking(protocol, server.address));
        let got = wire::ask(gateway.http(), "a.test", "/over/h2").expect("an h1 client is answered");
        assert_eq!((got.status(), got.text().as_str()), (200, "saw /over/h2"), "{protocol}");
        let client = http2::connect(gateway.http()).await;
        let got = http2::ask(&client, http2::post("a.test", "/body", "text/plain"), &[b"hel", b"lo"]).await.expect("an h2 client is answered");
        assert_eq!((got.status, &got.body[..]), (200, &b"saw /body"[..]), "{protocol}");
        let asked = server.asked();
        assert_eq!(asked.last().map(|w| w.body.clone()), Some(Bytes::from_static(b"hello")), "{protocol}");
        assert!(asked.iter().all(|w| !w.fields.contains_key("connection") && !w.fields.contains_key("transfer-encoding")), "{asked:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn grpc_trailers_pass() {
    let ip = own_address();
    let server = Server::start(ip, |asked| {
        let grpc = http2::fields(&[("content-type", "application/grpc")]);
        match asked.path.as_str() {
            "/s/only" => {
                Whole { status: 200, fields: http2::fields(&[("content-type", "application/grpc"), ("grpc-status", "5")]), ..Whole::default() }
            }
            _ => Whole {
                status: 200,
                fields: grpc,
                body: asked.body.clone(),
                trailers: Some(http2::fields(&[("grpc-status", "0"), ("grpc-message", "fine")])),
                ..Whole::default()
            },
        }
    })
    .await;
    let gateway = Gateway::start(ip, &speaking("GRPC", server.address));
    let client = http2::connect(gateway.http()).await;
    let message = b"\0\0\0\0\x02hi";
    let got = http2::ask(&client, http2::post("a.test", "/s/call", "application/grpc"), &[message]).await.expect("a call is answered");
    assert_eq!((got.status, &got.body[..]), (200, &message[..]));
    let trailers = got.trailers.expect("trailers pass");
    assert_eq!(
        (trailers.get("grpc-status"), trailers.get("grpc-message")),
        (Some(&"0".parse().expect("valid")), Some(&"fine".parse().expect("valid")))
    );
    let got = http2::ask(&client, http2::post("a.test", "/s/only", "application/grpc"), &[message]).await.expect("a call is answered");
    assert_eq!(got.fields.get("grpc-status").or_else(|| got.trailers.as_ref()?.get("grpc-status")), Some(&"5".parse().expect("valid")));
    assert!(server.asked().iter().all(|w| w.fields.get("te").is_none_or(|te| te == "trailers")));
}

/// What the gateway itself answers to a gRPC call is a gRPC status, not HTTP's.
#[tokio::test(flavor = "multi_thread")]
async fn grpc_calls_get_grpc_answers_from_the_gateway() {
    let ip = own_address();
    let nobody = Backend::named(ip, "gone").address;
    let world = world::server("front", 8080, "HTTP")
        + &world::service("backend.test", "GRPC", &[nobody])
        + &world::route("all", "a.test", "front", "backend.test");
    let gateway = Gateway::start(ip, &world);
    let client = http2::connect(gateway.http()).await;
    for (host, status) in [("a.test", "14"), ("other.test", "12")] {
        let got = http2::ask(&client, http2::post(host, "/s/call", "application/grpc"), &[b"\0\0\0\0\0"]).await.expect("a call is answered");
        let told = got.fields.get("grpc-status").or_else(|| got.trailers.as_ref()?.get("grpc-status")).cloned();
        assert_eq!((got.status, told), (200, Some(status.parse().expect("valid"))), "{host}");
    }
}

/// A backend that speaks websocket's first lines, then echoes; it sends its first bytes together with the 101.
fn websocket(ip: std::net::IpAddr) -> Backend {
    Backend::start(ip, |peer| {
        let Some(head) = peer.head() else { return };
        if !head.to_ascii_lowercase().contains("upgrade: websocket") {
            peer.write("HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n");
            return;
        }
        peer.write("HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-accept: x\r\n\r\nearly");
        loop {
            let bytes = peer.take();
            if !bytes.is_empty() && !peer.write(&bytes) || !peer.read() {
                return;
            }
        }
    })
}

#[test]
fn websocket_tunnels_with_early_bytes_of_the_backend() {
    let ip = own_address();
    let backend = websocket(ip);
    let gateway = Gateway::start(ip, &world::simple(&[backend.address]));
    // Many times: the answer may be read before the request's end is.
    for n in 0..50 {
        let mut client = Client::connect(gateway.http());
        client.send("GET /ws HTTP/1.1\r\nhost: a.test\r\nconnection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: eA==\r\n\r\n");
        let answer = client.response("GET").expect("the switch is answered");
        assert_eq!((answer.status(), answer.field("upgrade")), (101, Some("websocket")), "{n}");
        assert_eq!(client.bytes(5), b"early", "{n}");
        for text in ["ping", "\0\r\n\r\nGET / HTTP/1.1\r\n\r\n"] {
            client.send(text);
            assert_eq!(client.bytes(text.len()), text.as_bytes(), "{n}");
        }
        client.finish();
        assert!(client.closes(Duration::from_secs(5)), "{n}: the tunnel ends with the client");
    }
}

#[test]
fn refused_upgrade_is_an_ordinary_answer() {
    let ip = own_address();
    let backend = Backend::named(ip, "no");
    let gateway = Gateway::start(ip, &world::simple(&[backend.address]));
    let mut client = Client::connect(gateway.http());
    client.send("GET /ws HTTP/1.1\r\nhost: a.test\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\n");
    assert_eq!(client.response("GET").map(|m| m.status()), Some(200));
    assert_eq!(wire::ask(gateway.http(), "a.test", "/").map(|m| m.text()).as_deref(), Some("no"));
}

#[test]
fn http_1_0_is_served_and_never_gets_chunks() {
    let ip = own_address();
    let backend = Backend::start(ip, |peer| {
        while let Some(request) = peer.request() {
            if request.start.contains("/chunks") {
                peer.write("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n");
            } else {
                peer.write(ok(&request, "hello"));
            }
        }
    });
    let gateway = Gateway::start(ip, &world::simple(&[backend.address]));
    for (path, body) in [("/chunks", "hello world"), ("/length", "hello")] {
        let mut client = Client::connect(gateway.http());
        client.send(format!("GET {path} HTTP/1.0\r\nhost: a.test\r\n\r\n"));
        assert!(client.closes(Duration::from_secs(5)), "{path}: an HTTP/1.0 connection ends");
        let came = String::from_utf8_lossy(client.rest()).into_owned();
        let answer = client.response("GET").expect("HTTP/1.0 is answered");
        assert_eq!((answer.status(), answer.text().as_str()), (200, body), "{came}");
        assert!(answer.all("transfer-encoding").is_empty(), "{came}");
    }
    let mut client = Client::connect(gateway.http());
    for _ in 0..2 {
        client.send("GET /length HTTP/1.0\r\nhost: a.test\r\nconnection: keep-alive\r\n\r\n");
        let answer = client.response("GET").expect("keep-alive is honoured");
        assert_eq!((answer.text().as_str(), answer.field("connection").map(str::to_ascii_lowercase).as_deref()), ("hello", Some("keep-alive")));
    }
    let asked = backend.requests().expect("nothing but requests comes");
    assert!(asked.iter().all(|m| m.start.ends_with("HTTP/1.1")), "{asked:?}");
}

#[test]
fn the_backend_answers_100_continue() {
    let ip = own_address();
    let backend = Backend::start(ip, |peer| {
        let Some(head) = peer.head() else { return };
        assert!(head.to_ascii_lowercase().contains("expect: 100-continue"), "{head}");
        if head.contains("/refused") {
            peer.write("HTTP/1.1 417 Expectation Failed\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
            return;
        }
        peer.write("HTTP/1.1 100 Continue\r\n\r\n");
        let mut body = peer.take();
        while body.len() < 5 && peer.read() {
            body.extend(peer.take());
        }
        peer.write(format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len()).into_bytes());
        peer.write(&body);
    });
    let gateway = Gateway::start(ip, &world::simple(&[backend.address]));
    let mut client = Client::connect(gateway.http());
    client.send("POST / HTTP/1.1\r\nhost: a.test\r\nexpect: 100-continue\r\ncontent-length: 5\r\n\r\n");
    assert_eq!(client.any_response("POST").map(|m| m.status()), Some(100), "the backend's 100 comes before the body is sent");
    client.send("hello");
    assert_eq!(client.response("POST").map(|m| (m.status(), m.text())), Some((200, "hello".into())));
    let mut client = Client::connect(gateway.http());
    client.send("POST /refused HTTP/1.1\r\nhost: a.test\r\nexpect: 100-continue\r\ncontent-length: 5\r\n\r\n");
    assert_eq!(client.any_response("POST").map(|m| m.status()), Some(417), "a final answer instead of 100 passes");
}

#[test]
fn proxy_header_gives_the_client_its_address() {
    let ip = own_address();
    let backend = Backend::named(ip, "one");
    let gateway = Gateway::with(ip, &world::simple(&[backend.address]), "mesh: {defaultConfig: {gatewayTopology: {proxyProtocol: {}}}}\n");
    let two = |family: u8, addresses: &[u8]| {
        let length = u16::try_from(addresses.len()).expect("short").to_be_bytes();
        [&b"\r\n\r\n\0\r\nQUIT\n\x21"[..], &[family], &length, addresses].concat()
    };
    let far = |last| std::net::Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, last).octets();
    let six = [&far(7)[..], &far(1), &[0x13, 0x88, 0, 80]].concat();
    let rows: [(&str, Vec<u8>, &str); 4] = [
        ("v1", b"PROXY TCP4 203.0.113.7 192.0.2.1 5000 80\r\n".to_vec(), "203.0.113.7"),
        ("v1 over IPv6", b"PROXY TCP6 2001:db8::7 2001:db8::1 5000 80\r\n".to_vec(), "2001:db8::7"),
        ("v2", two(0x11, &[203, 0, 113, 8, 192, 0, 2, 1, 0x13, 0x88, 0, 80]), "203.0.113.8"),
        ("v2 over IPv6", two(0x21, &six), "2001:db8::7"),
    ];
    for (name, header, address) in rows {
        backend.forget();
        let mut client = Client::connect(gateway.http());
        // In two pieces, as a network may cut it.
        client.send(&header[..7]);
        client.send(&header[7..]);
        client.send("GET / HTTP/1.1\r\nhost: a.test\r\n\r\n");
        assert_eq!(client.response("GET").map(|m| m.status()), Some(200), "{name}");
        let asked = backend.requests().expect("nothing but requests comes");
        assert_eq!(asked[0].field("x-forwarded-for"), Some(address), "{name}");
    }
    for wrong in ["GET / HTTP/1.1\r\nhost: a.test\r\n\r\n", "PROXY TCP4 nonsense\r\nGET / HTTP/1.1\r\nhost: a.test\r\n\r\n"] {
        backend.forget();
        let mut client = Client::connect(gateway.http());
        client.send(wrong);
        assert!(client.closes(Duration::from_secs(10)) && client.rest().is_empty(), "without its header a connection is closed: {wrong:?}");
        assert!(find(&backend.received().concat(), b"GET").is_none());
    }
}
