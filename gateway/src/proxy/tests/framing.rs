//! Heads and framing on HTTP/1.

use super::*;

const GET: &str = "GET /x?y HTTP/1.1\r\nHost: a.test\r\n\r\n";

#[tokio::test]
async fn requests_follow_one_another_on_both_connections() {
    let (address, mut connections) = backend().await;
    let gateway = gateway(address, "http", "");
    let mut client = Peer::connect(gateway.address).await;
    client.say(GET).await;
    let mut far = next(&mut connections).await;
    for turn in 0..3 {
        let head = far.head().await;
        assert!(head.starts_with("GET /x?y HTTP/1.1\r\nhost: a.test\r\n"), "{head}");
        assert!(head.contains("x-forwarded-proto: http\r\n") && head.contains("x-envoy-attempt-count: 1\r\n"), "{head}");
        far.say("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nServer: x\r\nKeep-Alive: 1\r\n\r\nhi").await;
        let head = client.head().await;
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n") && head.contains("content-length: 2\r\n"), "{head}");
        assert!(head.contains("server: isthmus\r\n") && head.contains("date: ") && !head.contains("keep-alive"), "{head}");
        client.hear("hi").await;
        if turn < 2 {
            client.say(GET).await;
        }
    }
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let (address, mut connections) = backend().await;
    let gateway = gateway(address, "http", "");
    let mut client = Peer::connect(gateway.address).await;
    client.say(&format!("POST /1 HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n{GET}{GET}")).await;
    let mut far = next(&mut connections).await;
    assert!(far.head().await.starts_with("POST /1 "));
    far.hear("1\r\nx\r\n0\r\n\r\n").await;
    far.say("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n1").await;
    for turn in ["2", "3"] {
        far.head().await;
        far.say(&format!("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n{turn}")).await;
    }
    for turn in ["1", "2", "3"] {
        client.hear(&format!("\r\n\r\n{turn}")).await;
    }
}

#[tokio::test]
async fn wrong_heads_are_answered_and_closed() {
    let (address, _connections) = backend().await;
    let gateway = gateway(address, "http", "");
    for (head, status) in [
        ("GET / HTTP/1.1\r\n\r\n", "400"),
        ("GET / HTTP/1.1\r\nHost: a.test\r\nHost: b.test\r\n\r\n", "400"),
        ("GET / HTTP/1.1\nHost: a.test\n\n", "400"),
        ("GET /#f HTTP/1.1\r\nHost: a.test\r\n\r\n", "400"),
        ("GET x HTTP/1.1\r\nHost: a.test\r\n\r\n", "400"),
        ("\x16\x03\x01", "400"),
        ("CONNECT a:1 HTTP/1.1\r\nHost: a.test\r\n\r\n", "404"),
        ("OPTIONS * HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n", "404"),
        ("GET / HTTP/1.1\r\nHost: other\r\nConnection: close\r\n\r\n", "404"),
    ] {
        let mut client = Peer::connect(gateway.address).await;
        client.say(head).await;
        let answer = client.rest().await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{head:?}: {answer}");
        assert!(answer.contains("connection: close\r\n") && answer.contains("server: isthmus\r\n"), "{head:?}: {answer}");
        assert_eq!(answer.matches("HTTP/1.1").count(), 1, "{answer}");
    }
    let mut client = Peer::connect(gateway.address).await;
    client.say(&format!("GET / HTTP/1.1\r\nHost: a.test\r\nx: {}\r\n\r\n", "y".repeat(70_000))).await;
    assert!(client.rest().await.starts_with("HTTP/1.1 431 "));
}

#[tokio::test]
async fn empty_lines_between_requests_are_passed_over() {
    let (address, mut connections) = backend().await;
    let gateway = gateway(address, "http", "");
    let mut client = Peer::connect(gateway.address).await;
    let mut far = None;
    for piece in ["\r\n\r\n", "\r"] {
        client.say(piece).await;
        tokio::time::sleep(Duration::from_millis(20)).await;
        client.say(&format!("{}{GET}", if piece == "\r" { "\n" } else { "" })).await;
        let far = match &mut far {
            Some(far) => far,
            None => far.insert(next(&mut connections).await),
        };
        assert!(far.head().await.starts_with("GET /x?y "));
        far.say("HTTP/1.1 204 No Content\r\n\r\n").await;
        assert!(client.head().await.starts_with("HTTP/1.1 204 "));
    }
}

#[tokio::test]
async fn an_absolute_target_names_the_authority_8_2() {
    let (address, mut connections) = backend().await;
    let gateway = gateway(address, "http", "");
    let mut client = Peer::connect(gateway.address).await;
    client.say(&format!("POST http://a.test/abs?q HTTP/1.1\r\nHost: b.test\r\nContent-Length: 2\r\n\r\nhi{GET}")).await;
    let mut far = next(&mut connections).await;
    let head = far.head().await;
    assert!(head.starts_with("POST /abs?q HTTP/1.1\r\nhost: a.test\r\n"), "{head}");
    far.hear("hi").await;
    far.say("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
    assert!(far.head().await.starts_with("GET /x?y "));
}

#[tokio::test]
async fn a_client_of_http_1_0_never_gets_chunks() {
    let (address, mut connections) = backend().await;
    let gateway = gateway(address, "http", "");
    let mut client = Peer::connect(gateway.address).await;
    client.say("GET / HTTP/1.0\r\nHost: a.test\r\nConnection: keep-alive\r\n\r\n").await;
    let mut far = next(&mut connections).await;
    far.head().await;
    far.say("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi").await;
    let head = client.head().await;
    assert!(head.starts_with("HTTP/1.0 200 OK\r\n") && head.contains("connection: keep-alive\r\n"), "{head}");
    client.hear("hi").await;
    client.say("GET / HTTP/1.0\r\nHost: a.test\r\nConnection: keep-alive\r\n\r\n").await;
    far.head().await;
    far.say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n2\r\ncd\r\n0\r\n\r\n").await;
    let head = client.head().await;
    assert!(head.contains("connection: close\r\n") && !head.contains("chunked"), "{head}");
    assert_eq!(client.rest().await, "abcd");
}

#[tokio::test]
async fn answers_without_a_body_end_with_their_head() {
    let (address, mut connections) = backend().await;
    let gateway = gateway(address, "http", "");
    let mut client = Peer::connect(gateway.address).await;
    client.say("HEAD / HTTP/1.1\r\nHost: a.test\r\n\r\n").await;
    let mut far = next(&mut connections).await;
    far.head().await;
    far.say("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n").await;
    assert!(client.head().await.contains("content-length: 5\r\n"));
    for status in ["204 No Content", "304 Not Modified"] {
        client.say(GET).await;
        far.head().await;
        far.say(&format!("HTTP/1.1 {status}\r\nX: y\r\n\r\n")).await;
        let head = client.head().await;
        assert!(head.starts_with(&format!("HTTP/1.1 {status}\r\n")) && !head.contains("content-length") && !head.contains("chunked"), "{head}");
    }
    client.say("HEAD / HTTP/1.1\r\nHost: other\r\n\r\n").await;
    assert!(client.head().await.starts_with("HTTP/1.1 404 "));
    client.say(GET).await;
    far.head().await;
}

#[tokio::test]
async fn an_endpoint_that_does_not_speak_http_is_a_502() {
    for said in [
        "nonsense\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n",
    ] {
        let (address, mut connections) = backend().await;
        let gateway = gateway(address, "http", "");
        let mut client = Peer::connect(gateway.address).await;
        client.say(GET).await;
        let mut far = next(&mut connections).await;
        far.head().await;
        far.say(said).await;
        let head = client.head().await;
        assert!(head.starts_with("HTTP/1.1 502 "), "{said:?}: {head}");
        client.hear("reset reason: protocol error").await;
        assert_eq!(far.rest().await, "", "never used again");
    }
}

#[tokio::test]
async fn bytes_after_an_answer_end_the_connection_to_the_endpoint() {
    let (address, mut connections) = backend().await;
    let gateway = gateway(address, "http", "");
    for (method, said) in
        [("GET", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\nHTTP/1.1 200 evil"), ("HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")]
    {
        let mut client = Peer::connect(gateway.address).await;
        client.say(&GET.replace("GET", method)).await;
        let mut far = next(&mut connections).await;
        far.head().await;
        far.say(said).await;
        client.head().await;
        client.say(GET).await;
        let mut other = next(&mut connections).await;
        other.head().await;
        other.say("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngood").await;
        assert!(client.head().await.contains("content-length: 4\r\n"), "{method}");
        client.hear("good").await;
        other.say("HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n").await;
        assert_eq!(far.rest().await, "");
    }
}

#[tokio::test]
async fn an_idle_connection_that_closed_is_not_used() {
    let (address, mut connections) = backend().await;
    let gateway = gateway(address, "http", "");
    let mut client = Peer::connect(gateway.address).await;
    client.say(GET).await;
    let mut far = next(&mut connections).await;
    far.head().await;
    far.say("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
    client.head().await;
    drop(far);
    tokio::time::sleep(Duration::from_millis(50)).await;
    client.say(GET).await;
    let mut far = next(&mut connections).await;
    far.head().await;
    far.say("HTTP/1.1 204 No Content\r\n\r\n").await;
    assert!(client.head().await.starts_with("HTTP/1.1 204 "));
    assert!(gateway.engine.upstream.idle() <= 1);
}

#[tokio::test(start_paused = true)]
async fn a_head_has_a_minute_from_its_first_byte() {
    let (address, _connections) = backend().await;
    let gateway = gateway(address, "http", "");
    let mut client = Peer::connect(gateway.address).await;
    client.say("GET / HTTP/1.1\r\nHost").await;
    let begun = tokio::time::Instant::now();
    let mut answer = String::new();
    client.stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 408 ") && answer.ends_with("request header timeout"), "{answer}");
    assert!((60..65).contains(&begun.elapsed().as_secs()), "{:?}", begun.elapsed());
}
