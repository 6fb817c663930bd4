//! Byte streams on TCP listeners: waiting for an endpoint, limits while connecting, and ejection by connections that fail in a row.

use std::net::{IpAddr, SocketAddr, TcpListener};
use std::time::{Duration, Instant};

use isthmus_tests::backend::Backend;
use isthmus_tests::gateway::{ADMIN, Gateway, HTTP, own_address};
use isthmus_tests::wire::{Client, PATIENCE};
use isthmus_tests::{namespace, wait, world};

/// One TCP server in front of `endpoints`; `rule` is the DestinationRule's metadata beyond its name, and its spec beyond its host.
fn streams(endpoints: &[SocketAddr], (metadata, spec): (&str, &str)) -> String {
    world::server("front", HTTP, "TCP")
        + &world::service("backend.test", "TCP", endpoints)
        + &world::routes("all", "*", &["front"], "  tcp:\n  - route: [{destination: {host: backend.test}}]\n")
        + &format!(
            "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{name: rule, namespace: default{metadata}}}\n\
             spec: {{host: backend.test{spec}}}\n---\n"
        )
}

fn stat(gateway: &Gateway, name: &str) -> Option<u64> {
    let page = gateway.fetch(ADMIN, "/stats?filter=backend.test")?.text();
    page.lines().find_map(|line| line.rsplit_once(&format!("{name}: "))?.1.parse().ok())
}

/// Answers what it hears.
fn echo(ip: IpAddr) -> Backend {
    Backend::start(ip, |peer| {
        while peer.read() {
            let heard = peer.take();
            peer.write(heard);
        }
    })
}

fn flags(gateway: &Gateway) -> Vec<String> {
    gateway.access_log().iter().filter_map(|line| line["response_flags"].as_str().map(str::to_owned)).collect()
}

#[test]
fn a_stream_waits_for_an_endpoint_where_the_rule_asks_for_it() {
    let ip = own_address();
    let backend = echo(ip);
    let waits = (", annotations: {isthmus.io/endpoint-wait: 20s}", "");
    let gateway = Gateway::start(ip, &streams(&[], waits));
    let mut client = Client::connect(gateway.http());
    client.send("hello");
    assert!(!client.closes(Duration::from_millis(300)), "it waits");
    gateway.change(&streams(&[backend.address], waits));
    assert_eq!(client.bytes(5), b"hello");
    drop(client);
    assert!(wait::holds(PATIENCE, || flags(&gateway) == ["-"]), "{:?}", flags(&gateway));

    for (annotation, least) in [("", 0), (", annotations: {isthmus.io/endpoint-wait: 400ms}", 400)] {
        let gateway = Gateway::start(own_address(), &streams(&[], (annotation, "")));
        let begun = Instant::now();
        let mut client = Client::connect(gateway.http());
        assert!(client.closes(PATIENCE), "nobody comes");
        assert!(begun.elapsed() >= Duration::from_millis(least), "{:?}", begun.elapsed());
        assert!(wait::holds(PATIENCE, || flags(&gateway) == ["UH"]), "{:?}", flags(&gateway));
        assert_eq!(stat(&gateway, "upstream_cx_none_healthy"), Some(1));
    }
}

#[test]
fn a_connection_that_is_made_starts_the_count_of_failures_anew_d40() {
    let ip = own_address();
    let address = TcpListener::bind((ip, 0)).and_then(|l| l.local_addr()).expect("a loopback address has free ports");
    let rule = "outlierDetection: {consecutive5xxErrors: 2, baseEjectionTime: 60s, maxEjectionPercent: 100}";
    let gateway = Gateway::start(ip, &streams(&[address], ("", &format!(", trafficPolicy: {{{rule}}}"))));
    let connects = || {
        let mut client = Client::connect(gateway.http());
        client.send("hello");
        client.bytes(5) == b"hello"
    };
    for n in 1..=3 {
        assert!(!connects(), "nobody listens");
        let listener = TcpListener::bind(address).expect("the port is free again");
        let peer = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("the gateway connects");
            drop(listener);
            std::io::copy(&mut stream.try_clone().expect("a socket can be shared"), &mut stream)
        });
        assert!(connects(), "somebody does, time {n}");
        assert!(peer.join().is_ok());
    }
    assert_eq!(stat(&gateway, "ejections_detected_consecutive_5xx"), Some(0), "never two in a row");
    assert!(!connects() && !connects());
    assert!(wait::holds(PATIENCE, || stat(&gateway, "ejections_enforced_consecutive_5xx") == Some(1)));
    assert!(!connects());
    let log = || flags(&gateway).iter().filter(|f| *f == "UH").count();
    assert!(wait::holds(PATIENCE, || log() == 1), "{:?}", flags(&gateway));
    for (name, count) in
        [("upstream_cx_connect_fail", 5), ("upstream_rq_pending_failure_eject", 5), ("upstream_rq_total", 3), ("upstream_cx_total", 8)]
    {
        assert_eq!(stat(&gateway, name), Some(count), "{name}");
    }
}

#[test]
fn streams_that_connect_are_limited_and_end_in_time_1_3() {
    namespace::inside("streams_that_connect_are_limited_and_end_in_time_1_3", |network| {
        let silent: IpAddr = [10, 244, 9, 1].into();
        network.add(silent);
        let address = SocketAddr::new(silent, 9000);
        network.silence(silent);
        let pool = ", trafficPolicy: {connectionPool: {tcp: {connectTimeout: 5s}, http: {http1MaxPendingRequests: 1}}}";
        let gateway = Gateway::start(own_address(), &streams(&[address], ("", pool)));
        let begun = Instant::now();
        let mut first = Client::connect(gateway.http());
        assert!(wait::holds(PATIENCE, || stat(&gateway, "upstream_rq_pending_active") == Some(1)));
        assert_eq!(stat(&gateway, "upstream_rq_active"), Some(0), "who connects is not active yet");
        assert!(Client::connect(gateway.http()).closes(Duration::from_secs(4)), "there is no room for a second");
        assert!(first.closes(PATIENCE) && begun.elapsed() >= Duration::from_secs(5), "{:?}", begun.elapsed());
        assert!(wait::holds(PATIENCE, || flags(&gateway) == ["UO", "UF,URX"]), "{:?}", flags(&gateway));
        for (name, count) in [
            ("upstream_cx_connect_timeout", 1),
            ("upstream_cx_connect_fail", 1),
            ("upstream_rq_pending_overflow", 1),
            ("upstream_rq_pending_active", 0),
            ("upstream_rq_active", 0),
            ("upstream_cx_active", 0),
        ] {
            assert_eq!(stat(&gateway, name), Some(count), "{name}");
        }
    });
}
