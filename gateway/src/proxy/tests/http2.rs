//! HTTP/2 on either side.

use bytes::Bytes;
use http::{HeaderMap, Request, Response};

use super::*;

/// A client that speaks HTTP/2 with prior knowledge.
async fn client(address: SocketAddr) -> h2::client::SendRequest<Bytes> {
    let stream = TcpStream::connect(address).await.unwrap();
    let (send, driver) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(driver);
    send.ready().await.unwrap()
}

fn request(method: &str, path: &str) -> Request<()> {
    Request::builder().method(method).uri(format!("http://a.test{path}")).body(()).unwrap()
}

async fn collect(body: &mut h2::RecvStream) -> (String, Option<HeaderMap>) {
    let mut text = Vec::new();
    while let Some(bytes) = body.data().await {
        text.extend_from_slice(&bytes.unwrap());
    }
    (String::from_utf8(text).unwrap(), body.trailers().await.unwrap())
}

/// A backend that echoes bodies over HTTP/2, with trailers, and counts its connections.
async fn echo2() -> (SocketAddr, Arc<std::sync::atomic::AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let count = Arc::<std::sync::atomic::AtomicUsize>::default();
    let counted = count.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            counted.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            tokio::spawn(async move {
                let mut connection = h2::server::handshake(stream).await.unwrap();
                while let Some(Ok((request, mut respond))) = connection.accept().await {
                    tokio::spawn(async move {
                        let (parts, mut body) = request.into_parts();
                        let response = Response::builder().header("x-path", parts.uri.path()).body(()).unwrap();
                        let mut send = respond.send_response(response, false).unwrap();
                        while let Some(Ok(bytes)) = body.data().await {
                            body.flow_control().release_capacity(bytes.len()).unwrap();
                            send.send_data(bytes, false).unwrap();
                        }
                        let mut trailers = HeaderMap::new();
                        trailers.insert("grpc-status", "0".parse().unwrap());
                        send.send_trailers(trailers).unwrap();
                    });
                }
            });
        }
    });
    (address, count)
}

#[tokio::test]
async fn streams_are_duplex_and_trailers_arrive() {
    let (address, _) = echo2().await;
    let gateway = gateway(address, "grpc", "");
    let mut client = client(gateway.address).await;
    let (response, mut send) = client.send_request(request("POST", "/s/m"), false).unwrap();
    let response = timeout(LONG, response).await.unwrap().unwrap();
    assert_eq!(
        (response.status().as_u16(), &response.headers()["x-path"], &response.headers()["server"]),
        (200, &"/s/m".parse().unwrap(), &"isthmus".parse().unwrap())
    );
    let mut body = response.into_body();
    for word in ["one", "two"] {
        send.send_data(Bytes::from(word), false).unwrap();
        assert_eq!(timeout(LONG, body.data()).await.unwrap().unwrap().unwrap(), word);
        body.flow_control().release_capacity(3).unwrap();
    }
    send.send_data(Bytes::new(), true).unwrap();
    let (rest, trailers) = timeout(LONG, collect(&mut body)).await.unwrap();
    assert_eq!((rest.as_str(), trailers.unwrap()["grpc-status"].as_bytes()), ("", &b"0"[..]));
}

#[tokio::test]
async fn many_requests_share_one_connection_to_the_endpoint() {
    let (address, connections) = echo2().await;
    let gateway = gateway(address, "http2", "");
    let client = client(gateway.address).await;
    let all: Vec<_> = (0..50)
        .map(|i| {
            let (response, _) = client.clone().send_request(request("GET", &format!("/{i}")), true).unwrap();
            tokio::spawn(async move { response.await.unwrap().headers()["x-path"].to_str().unwrap().to_owned() })
        })
        .collect();
    for (i, path) in all.into_iter().enumerate() {
        assert_eq!(path.await.unwrap(), format!("/{i}"));
    }
    assert_eq!(connections.load(std::sync::atomic::Ordering::Relaxed), 1);
}

#[tokio::test]
async fn an_empty_last_frame_ends_the_chunks_once() {
    let (address, mut connections) = backend().await;
    let gateway = gateway(address, "http", "");
    let mut client = client(gateway.address).await;
    let (response, mut send) = client.send_request(request("POST", "/"), false).unwrap();
    send.send_data(Bytes::from("abc"), false).unwrap();
    send.send_data(Bytes::new(), true).unwrap();
    let mut far = next(&mut connections).await;
    assert!(far.head().await.contains("transfer-encoding: chunked\r\n"));
    far.hear("3\r\nabc\r\n0\r\n\r\n").await;
    far.say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: x\r\nX: 1\r\n\r\n2\r\nhi\r\n0\r\n\r\n").await;
    let response = timeout(LONG, response).await.unwrap().unwrap();
    assert!(!response.headers().contains_key("transfer-encoding") && !response.headers().contains_key("x"));
    assert_eq!(collect(&mut response.into_body()).await.0, "hi");
    let mut crumbled = request("GET", "/2");
    crumbled.headers_mut().append("cookie", "a=1".parse().unwrap());
    crumbled.headers_mut().append("cookie", "b=2".parse().unwrap());
    let (response, _) = client.send_request(crumbled, true).unwrap();
    let head = far.head().await;
    assert!(head.contains("cookie: a=1; b=2\r\n"), "{head}");
    assert!(head.starts_with("GET /2 HTTP/1.1\r\nhost: a.test\r\n"), "{head}");
    far.say("HTTP/1.1 204 No Content\r\n\r\n").await;
    assert_eq!(timeout(LONG, response).await.unwrap().unwrap().status().as_u16(), 204);
}

#[tokio::test]
async fn an_http1_client_reaches_an_http2_endpoint() {
    let (address, _) = echo2().await;
    let gateway = gateway(address, "http2", "");
    let mut client = Peer::connect(gateway.address).await;
    for _ in 0..2 {
        client.say("POST /1 HTTP/1.1\r\nHost: a.test\r\nContent-Length: 3\r\n\r\nabc").await;
        let head = client.head().await;
        assert!(head.contains("transfer-encoding: chunked\r\n") && head.contains("x-path: /1\r\n"), "{head}");
        client.hear("3\r\nabc\r\n0\r\n\r\n").await;
    }
}

#[tokio::test]
async fn a_refused_stream_is_tried_again_and_a_reset_is_told() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let gateway = gateway(listener.local_addr().unwrap(), "http2", "");
    let mut client = client(gateway.address).await;
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let mut connection = h2::server::handshake(stream).await.unwrap();
        let mut turn = 0;
        while let Some(Ok((_, mut respond))) = connection.accept().await {
            turn += 1;
            match turn {
                1 => respond.send_reset(h2::Reason::REFUSED_STREAM),
                2 => drop(respond.send_response(Response::new(()), true)),
                _ => respond.send_reset(h2::Reason::INTERNAL_ERROR),
            }
        }
    });
    let (response, _) = client.send_request(request("GET", "/"), true).unwrap();
    assert_eq!(timeout(LONG, response).await.unwrap().unwrap().status().as_u16(), 200);
    let (response, _) = client.send_request(request("GET", "/"), true).unwrap();
    let response = timeout(LONG, response).await.unwrap().unwrap();
    assert_eq!(response.status().as_u16(), 503);
    assert!(collect(&mut response.into_body()).await.0.ends_with("reset reason: remote reset"));
}

#[tokio::test]
async fn a_client_is_told_to_go_away() {
    let (address, mut connections) = backend().await;
    let gateway = gateway(address, "http", "");
    let stream = TcpStream::connect(gateway.address).await.unwrap();
    let (mut send, driver) = h2::client::handshake(stream).await.unwrap();
    let driver = tokio::spawn(driver);
    let (response, _) = send.send_request(request("GET", "/"), true).unwrap();
    let mut far = next(&mut connections).await;
    far.head().await;
    let listeners = gateway.listeners.clone();
    let drained = tokio::spawn(async move { listeners.drain().await });
    far.say("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
    assert_eq!(timeout(LONG, response).await.unwrap().unwrap().status().as_u16(), 200);
    drop(send);
    timeout(LONG, drained).await.expect("it ends once idle").unwrap();
    timeout(LONG, driver).await.expect("closed").unwrap().unwrap();
}

#[tokio::test]
async fn a_connection_that_goes_away_is_replaced_unnoticed() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let gateway = gateway(listener.local_addr().unwrap(), "http2", "    retries: {attempts: 0}");
    let mut client = client(gateway.address).await;
    let count = Arc::<std::sync::atomic::AtomicUsize>::default();
    let counted = count.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            counted.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            let mut connection = h2::server::handshake(stream).await.unwrap();
            tokio::spawn(async move {
                while let Some(Ok((_, mut respond))) = connection.accept().await {
                    respond.send_response(Response::new(()), true).unwrap();
                    connection.graceful_shutdown();
                }
            });
        }
    });
    let another = async {
        while count.load(std::sync::atomic::Ordering::Relaxed) < 2 {
            let (response, _) = client.send_request(request("GET", "/"), true).unwrap();
            assert_eq!(response.await.unwrap().status().as_u16(), 200);
        }
    };
    timeout(LONG, another).await.expect("another connection takes over");
}
