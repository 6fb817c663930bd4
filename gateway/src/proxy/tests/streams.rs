//! Upgrades, byte streams, and sockets that go.

use super::*;

const UPGRADE: &str = "GET /ws HTTP/1.1\r\nHost: a.test\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\r\n";

/// A tunnel: its client and its backend.
async fn tunnel(gateway: &Gateway, connections: &mut mpsc::Receiver<Peer>) -> (Peer, Peer) {
    let mut client = Peer::connect(gateway.address).await;
    client.say(UPGRADE).await;
    let mut far = next(connections).await;
    far.head().await;
    far.say("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n").await;
    client.head().await;
    (client, far)
}

#[tokio::test]
async fn a_tunnel_loses_no_early_bytes() {
    let (address, mut connections) = backend().await;
    let gateway = gateway(address, "http", "");
    let mut client = Peer::connect(gateway.address).await;
    client.say(&format!("{UPGRADE}early")).await;
    let mut far = next(&mut connections).await;
    let head = far.head().await;
    assert!(head.contains("upgrade: websocket\r\n") && head.contains("connection: upgrade\r\n"), "{head}");
    far.say("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\nfirst").await;
    let head = client.head().await;
    assert!(head.starts_with("HTTP/1.1 101 Switching Protocols\r\n") && head.contains("upgrade: websocket\r\n"), "{head}");
    assert!(!head.contains("content-length") && !head.contains("chunked") && !head.contains("close"), "{head}");
    client.hear("first").await;
    far.hear("early").await;
    client.say("more").await;
    far.hear("more").await;
    far.say("back").await;
    client.hear("back").await;
    client.stream.shutdown().await.unwrap();
    assert_eq!(far.rest().await, "");
    far.say("last").await;
    drop(far);
    assert_eq!(client.rest().await, "last");
}

#[tokio::test]
async fn a_refused_upgrade_is_an_answer_like_others() {
    let (address, mut connections) = backend().await;
    let gateway = gateway(address, "http", "");
    let mut client = Peer::connect(gateway.address).await;
    client.say(UPGRADE).await;
    let mut far = next(&mut connections).await;
    far.head().await;
    far.say("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno").await;
    assert!(client.head().await.starts_with("HTTP/1.1 403 "));
    client.hear("no").await;
    client.say("GET / HTTP/1.1\r\nHost: a.test\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n").await;
    let head = far.head().await;
    assert!(!head.contains("upgrade"), "{head}");
    far.say("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
    assert!(client.head().await.starts_with("HTTP/1.1 200 "));
}

#[tokio::test]
async fn a_socket_that_goes_closes_its_connections_in_order() {
    let (address, mut connections) = backend().await;
    let gateway = gateway(address, "http", "");
    let mut idle = Peer::connect(gateway.address).await;
    idle.say("GET / HTTP/1.1\r\nHost: other\r\n\r\n").await;
    idle.head().await;
    let mut busy = Peer::connect(gateway.address).await;
    busy.say("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n").await;
    let mut far = next(&mut connections).await;
    far.head().await;
    let listeners = gateway.listeners.clone();
    let drained = tokio::spawn(async move { listeners.drain().await });
    assert_eq!(idle.rest().await, "");
    assert!(TcpStream::connect(gateway.address).await.is_err(), "no longer accepting");
    far.say("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi").await;
    let answer = busy.rest().await;
    assert!(answer.contains("connection: close\r\n") && answer.ends_with("hi"), "{answer}");
    timeout(LONG, drained).await.expect("it ends once idle").unwrap();
}

#[tokio::test]
async fn what_does_not_end_is_cut_after_the_drain_time() {
    let (address, mut connections) = backend().await;
    let gateway = gateway(address, "http", "");
    let (mut client, _far) = tunnel(&gateway, &mut connections).await;
    timeout(LONG, gateway.listeners.drain()).await.expect("at most the drain time");
    assert_eq!(client.rest().await, "");
}

#[tokio::test]
async fn a_byte_stream_is_carried_both_ways_and_half_closed() {
    let (address, mut connections) = backend().await;
    let gateway = routed("*", &[address], "TCP", "{}", "");
    let mut client = Peer::connect(gateway.address).await;
    let mut far = next(&mut connections).await;
    far.say("server speaks first").await;
    client.hear("first").await;
    client.say("hello").await;
    client.stream.shutdown().await.unwrap();
    assert_eq!(far.rest().await, "hello");
    far.say("bye").await;
    drop(far);
    assert_eq!(client.rest().await, "bye");
}

#[tokio::test]
async fn what_lasts_lets_go_of_the_world_it_was_routed_in() {
    let (address, mut connections) = backend().await;
    let gateway = gateway(address, "http", "");
    let world = Arc::downgrade(&gateway.engine.published.pin().snapshot);
    let (mut tunnel, mut far) = tunnel(&gateway, &mut connections).await;
    let mut waits = Peer::connect(gateway.address).await;
    waits.say("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n").await;
    let mut slow = next(&mut connections).await;
    slow.head().await;
    drop(gateway.engine.published.publish(&Arc::default()));
    assert!(world.strong_count() > 0, "the young request holds it");
    let gone = async {
        while world.strong_count() > 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(LONG, gone).await.expect("after five seconds nothing does");
    slow.say("HTTP/1.1 204 No Content\r\n\r\n").await;
    assert!(waits.head().await.starts_with("HTTP/1.1 204 "), "and it still ends well");
    far.say("still").await;
    tunnel.hear("still").await;
}
