//! Limits on the wire: who waits, in which order, what is closed to make room, and what is refused.

use isthmus_core::balance::Slot;
use isthmus_core::balance::breaker::Usages;
use isthmus_core::snapshot::{Action, Front};
use tokio::time::sleep;

use super::*;

/// Routes everything to `backends` under `policy`, the connectionPool of a DestinationRule, and `rule`.
fn limited(backends: &[SocketAddr], protocol: &str, policy: &str, rule: &str) -> Gateway {
    routed("*", backends, protocol, policy, rule)
}

fn slot(gateway: &Gateway) -> Arc<Slot> {
    let snapshot = gateway.engine.published.pin().snapshot.clone();
    let destinations = match &snapshot.listeners[0].front {
        Front::Http(http) => match &http.virtual_hosts[0].routes.iter().next().expect("a route").action {
            Action::Forward(forward) => &forward.destinations,
            Action::Redirect(_) | Action::Direct(_) => panic!("it forwards"),
        },
        Front::Tcp(tcp) => &tcp.destinations,
        Front::Closed(why) => panic!("{why}"),
    };
    destinations.list[0].slot.clone().unwrap()
}

fn usage(gateway: &Gateway) -> Usages {
    slot(gateway).usage()
}

/// Waits until the counts are as they should be.
async fn until(gateway: &Gateway, about: &str, holds: impl Fn(&Usages) -> bool) {
    let seen = async {
        while !holds(&usage(gateway)) {
            sleep(Duration::from_millis(2)).await;
        }
    };
    assert!(timeout(LONG, seen).await.is_ok(), "{about}: {:?}", usage(gateway));
}

async fn ask(gateway: &Gateway, path: &str) -> Peer {
    let mut client = Peer::connect(gateway.address).await;
    client.say(&format!("GET {path} HTTP/1.1\r\nhost: a.test\r\n\r\n")).await;
    client
}

fn answer(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}

const BODY: &str = "upstream connect error or disconnect/reset before headers. reset reason: overflow";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_runs_others_wait_in_order_and_the_rest_is_refused_1_2() {
    let (address, mut connections) = backend().await;
    let gateway = limited(&[address], "HTTP", "{tcp: {maxConnections: 1}, http: {http1MaxPendingRequests: 3}}", "");
    let mut first = ask(&gateway, "/0").await;
    let mut lane = next(&mut connections).await;
    assert!(lane.head().await.starts_with("GET /0 "));
    let mut waiting = Vec::new();
    for n in 1..=3 {
        waiting.push(ask(&gateway, &format!("/{n}")).await);
        until(&gateway, "it waits", |u| u.pending.used == n).await;
    }
    let mut refused = ask(&gateway, "/4").await;
    let head = refused.head().await;
    assert!(head.starts_with("HTTP/1.1 503 ") && head.contains("x-envoy-overloaded: true\r\n") && head.contains("content-length: 81\r\n"), "{head}");
    assert_eq!(refused.hear("overflow").await, BODY);
    lane.say(&answer("0")).await;
    first.head().await;
    for (n, client) in waiting.iter_mut().enumerate() {
        assert!(lane.head().await.starts_with(&format!("GET /{} ", n + 1)), "in order, on the one connection");
        lane.say(&answer("x")).await;
        client.head().await;
    }
    until(&gateway, "nobody waits", |u| u.pending.used == 0).await;
    let now = usage(&gateway);
    assert_eq!((now.connections.used, now.connections.peak, now.connections.taken), (1, 1, 1), "idle and open");
    assert_eq!((now.pending.peak, now.pending.overflow, now.connections.overflow), (3, 1, 3));
    assert!(connections.try_recv().is_err(), "no other connection was opened");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idle_connection_elsewhere_makes_room() {
    let ((one, mut at_one), (two, mut at_two)) = (backend().await, backend().await);
    let gateway = limited(&[one, two], "HTTP", "{tcp: {maxConnections: 1}}", "");
    let mut client = Peer::connect(gateway.address).await;
    let mut held: Option<Peer> = None;
    for turn in 0..6 {
        client.say("GET / HTTP/1.1\r\nhost: a.test\r\n\r\n").await;
        let mut lane = tokio::select! {
            Some(lane) = at_one.recv() => lane,
            Some(lane) = at_two.recv() => lane,
        };
        lane.head().await;
        if let Some(mut before) = held.take() {
            assert_eq!(before.rest().await, "", "closed for turn {turn}");
        }
        lane.say(&answer("x")).await;
        client.hear("\r\n\r\nx").await;
        held = Some(lane);
    }
    until(&gateway, "one is open", |u| u.connections.used == 1).await;
    assert_eq!(usage(&gateway).connections.peak, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_leaves_the_line_is_not_in_the_way() {
    let (address, mut connections) = backend().await;
    let gateway = limited(&[address], "HTTP", "{tcp: {maxConnections: 1}, http: {http1MaxPendingRequests: 1}}", "");
    let mut first = ask(&gateway, "/first").await;
    let mut lane = next(&mut connections).await;
    lane.head().await;
    for _ in 0..10 {
        let leaves = ask(&gateway, "/leaves").await;
        until(&gateway, "it waits", |u| u.pending.used == 1).await;
        drop(leaves);
        until(&gateway, "it has left", |u| u.pending.used == 0).await;
    }
    let mut last = ask(&gateway, "/last").await;
    until(&gateway, "it waits", |u| u.pending.used == 1).await;
    lane.say(&answer("x")).await;
    first.head().await;
    assert!(lane.head().await.starts_with("GET /last "));
    lane.say(&answer("x")).await;
    assert!(last.head().await.starts_with("HTTP/1.1 200 "));
    // One that leaves while it runs gives its connection back by closing it.
    let leaves = ask(&gateway, "/leaves").await;
    lane.head().await;
    drop(leaves);
    until(&gateway, "its connection is closed", |u| u.connections.used == 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_routes_time_runs_in_line_also_for_a_body() {
    let (address, mut connections) = backend().await;
    let gateway = limited(&[address], "HTTP", "{tcp: {maxConnections: 1}}", "    timeout: 1s\n    retries: {attempts: 0}");
    let _first = ask(&gateway, "/0").await;
    let mut lane = next(&mut connections).await;
    lane.head().await;
    let mut client = Peer::connect(gateway.address).await;
    client.say("POST /late HTTP/1.1\r\nhost: a.test\r\ncontent-length: 5\r\n\r\nhello").await;
    assert!(client.head().await.starts_with("HTTP/1.1 504 "), "one time for all");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_that_came_in_line_is_sent_once_without_retries() {
    let (address, mut connections) = backend().await;
    let gateway = limited(&[address], "HTTP", "{tcp: {maxConnections: 1}}", "    retries: {attempts: 0}");
    let mut first = ask(&gateway, "/0").await;
    let mut lane = next(&mut connections).await;
    lane.head().await;
    let mut client = Peer::connect(gateway.address).await;
    client.say("POST /1 HTTP/1.1\r\nhost: a.test\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n").await;
    until(&gateway, "it waits", |u| u.pending.used == 1).await;
    sleep(Duration::from_millis(20)).await;
    lane.say(&answer("x")).await;
    first.head().await;
    assert!(lane.head().await.starts_with("POST /1 "));
    client.say("5\r\nworld\r\n0\r\n\r\n").await;
    let body = lane.hear("0\r\n\r\n").await;
    assert_eq!(body.replace("5\r\n", "").replace("\r\n", ""), "helloworld0");
    lane.say(&answer("x")).await;
    assert!(client.head().await.starts_with("HTTP/1.1 200 "));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_carries_so_many_requests() {
    let (address, mut connections) = backend().await;
    let gateway = limited(&[address], "HTTP", "{http: {maxRequestsPerConnection: 2}}", "");
    let mut client = Peer::connect(gateway.address).await;
    for _ in 0..2 {
        let mut lane = None;
        for _ in 0..2 {
            client.say("GET / HTTP/1.1\r\nhost: a.test\r\n\r\n").await;
            if lane.is_none() {
                lane = Some(next(&mut connections).await);
            }
            let lane = lane.as_mut().unwrap();
            lane.head().await;
            lane.say(&answer("x")).await;
            client.hear("\r\n\r\nx").await;
        }
        assert_eq!(lane.unwrap().rest().await, "", "closed after two");
    }
    assert_eq!(usage(&gateway).connections_served, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_byte_stream_that_does_not_fit_is_closed_d43() {
    let (address, mut connections) = backend().await;
    let gateway = limited(&[address], "TCP", "{tcp: {maxConnections: 1, idleTimeout: 3s}}", "");
    let mut first = Peer::connect(gateway.address).await;
    first.say("hello").await;
    let mut far = next(&mut connections).await;
    far.hear("hello").await;
    assert_eq!(Peer::connect(gateway.address).await.rest().await, "", "closed at once");
    let now = usage(&gateway);
    assert_eq!((now.connections.used, now.connections.overflow, now.pending.overflow), (1, 1, 0));
    assert_eq!(first.rest().await, "", "closed when nothing passed for its idle time");
    until(&gateway, "its place is free", |u| u.connections.used == 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tunnel_keeps_its_place() {
    let (address, mut connections) = backend().await;
    let gateway = limited(&[address], "HTTP", "{tcp: {maxConnections: 1}, http: {http1MaxPendingRequests: 1, http2MaxRequests: 1}}", "");
    let mut client = Peer::connect(gateway.address).await;
    client.say("GET / HTTP/1.1\r\nhost: a.test\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n").await;
    let mut lane = next(&mut connections).await;
    lane.head().await;
    lane.say("HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n").await;
    client.head().await;
    client.say("ping").await;
    lane.hear("ping").await;
    let now = usage(&gateway);
    assert_eq!((now.connections.used, now.requests.used), (1, 1));
    drop((client, lane));
    until(&gateway, "all is back", |u| u.connections.used + u.requests.used == 0).await;
}

type Stream = (http::Request<h2::RecvStream>, h2::server::SendResponse<bytes::Bytes>);

/// A backend of HTTP/2 that hands out its streams, each with the number of its connection.
async fn backend2() -> (SocketAddr, mpsc::Receiver<(usize, Stream)>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (tell, streams) = mpsc::channel(16);
    tokio::spawn(async move {
        let mut accepted = 0;
        while let Ok((stream, _)) = listener.accept().await {
            accepted += 1;
            let tell = tell.clone();
            tokio::spawn(async move {
                let Ok(mut connection) = h2::server::handshake(stream).await else { return };
                while let Some(Ok(stream)) = connection.accept().await {
                    if tell.send((accepted, stream)).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    (address, streams)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_share_the_one_connection_and_wait_for_each_other() {
    let (address, mut streams) = backend2().await;
    let policy = "{tcp: {maxConnections: 1}, http: {http1MaxPendingRequests: 2, maxConcurrentStreams: 1}}";
    let gateway = limited(&[address], "HTTP2", policy, "");
    let mut clients = vec![ask(&gateway, "/0").await];
    let (number, (request, mut respond)) = timeout(LONG, streams.recv()).await.unwrap().unwrap();
    assert_eq!((number, request.uri().path()), (1, "/0"));
    for n in 1..=2 {
        clients.push(ask(&gateway, &format!("/{n}")).await);
        until(&gateway, "it waits", |u| u.pending.used == n).await;
    }
    let mut refused = ask(&gateway, "/3").await;
    assert!(refused.head().await.starts_with("HTTP/1.1 503 "));
    for (n, client) in clients.iter_mut().enumerate() {
        respond.send_response(http::Response::new(()), true).unwrap();
        assert!(client.head().await.starts_with("HTTP/1.1 200 "));
        if n < 2 {
            let (number, (request, next)) = timeout(LONG, streams.recv()).await.unwrap().unwrap();
            assert_eq!((number, request.uri().path()), (1, &*format!("/{}", n + 1)), "in order, on the one connection");
            respond = next;
        }
    }
    let now = usage(&gateway);
    assert_eq!((now.pending.used, now.pending.overflow, now.connections.used, now.connections.peak), (0, 1, 1, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_of_http2_carries_so_many_requests() {
    let (address, mut streams) = backend2().await;
    let gateway = limited(&[address], "HTTP2", "{tcp: {maxConnections: 1}, http: {maxRequestsPerConnection: 2}}", "");
    let mut numbers = Vec::new();
    for n in 0..4 {
        let mut client = ask(&gateway, &format!("/{n}")).await;
        let (number, (_, mut respond)) = timeout(LONG, streams.recv()).await.unwrap().unwrap();
        numbers.push(number);
        respond.send_response(http::Response::new(()), true).unwrap();
        assert!(client.head().await.starts_with("HTTP/1.1 200 "));
    }
    assert_eq!(numbers, [1, 1, 2, 2]);
    until(&gateway, "the second is closed as well", |u| u.connections.used == 0).await;
    let now = usage(&gateway);
    assert_eq!((now.connections.peak, now.connections_served), (1, 2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_endpoint_that_answers_no_ping_is_left() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let gateway = limited(
        &[listener.local_addr().unwrap()],
        "HTTP2",
        "{http: {http2KeepAlive: {interval: 50ms, timeout: 50ms}}}",
        "    retries: {attempts: 0}",
    );
    let mut client = ask(&gateway, "/").await;
    // It shakes hands, and then does nothing more.
    let silent = h2::server::handshake(listener.accept().await.unwrap().0).await.unwrap();
    let head = client.head().await;
    assert!(head.starts_with("HTTP/1.1 503 "), "{head}");
    drop(silent);
    until(&gateway, "it is closed", |u| u.connections.used == 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_to_a_backend_that_is_gone_are_closed() {
    for policy in ["{http: {maxRetries: 9}}", "{tcp: {maxConnections: 4}}"] {
        let (address, mut connections) = backend().await;
        let gateway = limited(&[address], "HTTP", policy, "");
        let mut client = ask(&gateway, "/").await;
        let mut lane = next(&mut connections).await;
        lane.head().await;
        lane.say(&answer("x")).await;
        client.hear("\r\n\r\nx").await;
        until(&gateway, "it is idle", |_| gateway.engine.upstream.idle() == 1).await;
        gateway.engine.upstream.only(&[slot(&gateway)]);
        assert_eq!(usage(&gateway).connections.used, 1, "{policy}: a route sends to it");
        gateway.engine.upstream.only(&[]);
        assert_eq!(usage(&gateway).connections.used, 0, "{policy}: none does");
        assert_eq!(lane.rest().await, "");
    }
}
