//! Bodies, early answers, retries and failures.

use super::*;

#[tokio::test]
async fn bodies_go_both_ways_in_either_framing() {
    let (address, mut connections) = backend().await;
    let gateway = gateway(address, "http", "");
    let mut client = Peer::connect(gateway.address).await;
    client.say("POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 5\r\n\r\nhel").await;
    let mut far = next(&mut connections).await;
    let head = far.head().await;
    assert!(head.contains("content-length: 5\r\n") && !head.contains("chunked"), "{head}");
    far.hear("hel").await;
    client.say("lo").await;
    far.hear("lo").await;
    far.say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n").await;
    let head = client.head().await;
    assert!(head.contains("transfer-encoding: chunked\r\n"), "{head}");
    client.hear("3\r\nabc\r\n").await;
    far.say("0\r\nx-trailer: 1\r\n\r\n").await;
    client.hear("0\r\n\r\n").await;
    client.say("POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n").await;
    let head = far.head().await;
    assert!(head.contains("transfer-encoding: chunked\r\n"), "{head}");
    far.hear("3\r\nabc\r\n0\r\n\r\n").await;
    far.say("HTTP/1.1 200 OK\r\n\r\nuntil close").await;
    assert!(client.head().await.contains("chunked"));
    client.hear("until close\r\n").await;
    drop(far);
    client.hear("0\r\n\r\n").await;
}

#[tokio::test]
async fn an_early_answer_arrives_while_the_body_still_comes() {
    let (address, mut connections) = backend().await;
    let gateway = gateway(address, "http", "");
    let mut client = Peer::connect(gateway.address).await;
    client.say("POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 100000000\r\n\r\n").await;
    let mut far = next(&mut connections).await;
    far.head().await;
    far.say("HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\n\r\nbig").await;
    // The endpoint reads nothing more, and the client goes on sending.
    let answer = async {
        client.head().await;
        client.hear("big").await;
    };
    answer.await;
    let chunk = "x".repeat(1 << 16);
    for _ in 0..64 {
        if client.stream.write_all(chunk.as_bytes()).await.is_err() {
            break;
        }
    }
    client.rest().await;
}

#[tokio::test]
async fn an_answer_is_heard_from_an_endpoint_that_stops_reading() {
    let (address, mut connections) = backend().await;
    let gateway = gateway(address, "http", "");
    let client = Peer::connect(gateway.address).await;
    let (mut read, mut write) = client.stream.into_split();
    let sent = tokio::spawn(async move {
        let _ = write.write_all(b"POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 100000000\r\n\r\n").await;
        let chunk = vec![b'x'; 1 << 16];
        while write.write_all(&chunk).await.is_ok() {}
    });
    let mut far = next(&mut connections).await;
    far.head().await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    far.say("HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\n\r\nbig").await;
    let mut answer = Vec::new();
    let _ = timeout(LONG, read.read_to_end(&mut answer)).await.expect("an answer");
    assert!(String::from_utf8_lossy(&answer).contains("big"));
    sent.await.unwrap();
}

#[tokio::test]
async fn a_malformed_body_is_never_a_second_request() {
    let (address, mut connections) = backend().await;
    let gateway = gateway(address, "http", "");
    let mut client = Peer::connect(gateway.address).await;
    client
        .say("POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n1;\r\nx\r\nZZ\r\nGET /evil HTTP/1.1\r\nHost: a.test\r\n\r\n")
        .await;
    let answer = client.rest().await;
    assert!(answer.starts_with("HTTP/1.1 400 ") && answer.matches("HTTP/1.1").count() == 1, "{answer}");
    let mut far = next(&mut connections).await;
    let seen = far.rest().await;
    assert!(!seen.contains("evil") && !seen.contains("0\r\n\r\n"), "{seen}");
}

#[tokio::test]
async fn a_status_is_retried_with_the_body_kept() {
    let (address, mut connections) = backend().await;
    let gateway = gateway(address, "http", "    retries: {attempts: 2, retryOn: '503'}");
    let mut client = Peer::connect(gateway.address).await;
    client.say("POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n").await;
    let mut far = next(&mut connections).await;
    for turn in ["1", "2", "3"] {
        let head = far.head().await;
        assert!(head.contains(&format!("x-envoy-attempt-count: {turn}\r\n")), "{head}");
        far.hear("3\r\nabc\r\n").await;
        far.hear("0\r\n\r\n").await;
        if turn == "3" {
            far.say("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndone").await;
            break;
        }
        far.say("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 4\r\n\r\nfail").await;
        far = next(&mut connections).await;
    }
    assert!(client.head().await.starts_with("HTTP/1.1 200 "));
    client.hear("done").await;
}

#[tokio::test]
async fn a_long_body_is_sent_once() {
    let (address, mut connections) = backend().await;
    let gateway = gateway(address, "http", "    retries: {attempts: 2, retryOn: '503'}");
    let mut client = Peer::connect(gateway.address).await;
    client.say("POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 100001\r\n\r\n").await;
    client.say(&"x".repeat(100_000)).await;
    let mut far = next(&mut connections).await;
    far.head().await;
    client.say("!").await;
    far.hear("!").await;
    far.say("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 4\r\n\r\nfail").await;
    assert!(client.head().await.starts_with("HTTP/1.1 503 "));
    client.hear("fail").await;
}

#[tokio::test]
async fn failures_have_their_statuses_and_bodies_6_6() {
    let refused = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let gateway_to_nobody = gateway(refused, "http", "    retries: {attempts: 0}");
    let mut client = Peer::connect(gateway_to_nobody.address).await;
    client.say("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n").await;
    assert!(client.head().await.starts_with("HTTP/1.1 503 "));
    client.hear("reset reason: remote connection failure").await;

    let (address, mut connections) = backend().await;
    let closing = gateway(address, "http", "    retries: {attempts: 0}");
    let mut client = Peer::connect(closing.address).await;
    client.say("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n").await;
    let mut far = next(&mut connections).await;
    far.head().await;
    drop(far);
    assert!(client.head().await.starts_with("HTTP/1.1 503 "));
    client.hear("reset reason: connection termination").await;

    let hurried = gateway(address, "http", "    retries: {attempts: 0}\n    timeout: 0.3s");
    let mut late = Peer::connect(hurried.address).await;
    late.say("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n").await;
    let mut far = next(&mut connections).await;
    far.head().await;
    assert!(late.head().await.starts_with("HTTP/1.1 504 "));
    late.hear("upstream request timeout").await;
    assert_eq!(far.rest().await, "", "the attempt is dropped");

    client.say("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n").await;
    let mut far = next(&mut connections).await;
    far.head().await;
    far.say("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf").await;
    client.head().await;
    drop(far);
    assert_eq!(client.rest().await, "half", "cut off, never filled up");
}

#[tokio::test]
async fn a_client_that_leaves_ends_its_request() {
    let (address, mut connections) = backend().await;
    let gateway = gateway(address, "http", "");
    let mut client = Peer::connect(gateway.address).await;
    client.say("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n").await;
    let mut far = next(&mut connections).await;
    far.head().await;
    drop(client);
    assert_eq!(far.rest().await, "");
}

#[tokio::test]
async fn informational_answers_and_expectations_pass_through() {
    let (address, mut connections) = backend().await;
    let gateway = gateway(address, "http", "");
    let mut client = Peer::connect(gateway.address).await;
    client.say("POST / HTTP/1.1\r\nHost: a.test\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n").await;
    let mut far = next(&mut connections).await;
    assert!(far.head().await.contains("expect: 100-continue\r\n"));
    far.say("HTTP/1.1 100 Continue\r\n\r\n").await;
    assert_eq!(client.head().await, "HTTP/1.1 100 Continue\r\n\r\n");
    client.say("hi").await;
    far.hear("hi").await;
    far.say("HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
    assert!(client.head().await.starts_with("HTTP/1.1 103 "));
    assert!(client.head().await.starts_with("HTTP/1.1 200 "));
}

#[tokio::test]
async fn mirrors_get_the_request_and_their_answers_go_nowhere() {
    let (address, mut connections) = backend().await;
    let gateway = gateway(address, "http", "    mirror: {host: b.test, port: {number: 80}}");
    let mut client = Peer::connect(gateway.address).await;
    client.say("POST /m HTTP/1.1\r\nHost: a.test\r\nContent-Length: 3\r\n\r\nabc").await;
    for _ in 0..2 {
        let mut far = next(&mut connections).await;
        let head = far.head().await;
        assert!(head.starts_with("POST /m ") && head.contains("host: a.test\r\n") && head.contains("content-length: 3\r\n"), "{head}");
        far.hear("abc").await;
        far.say("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n1").await;
    }
    assert!(client.head().await.starts_with("HTTP/1.1 200 "));
    client.hear("1").await;
    client.say("GET / HTTP/1.1\r\nHost: other\r\nConnection: close\r\n\r\n").await;
    assert_eq!(client.rest().await.matches("HTTP/1.1").count(), 1);
}
