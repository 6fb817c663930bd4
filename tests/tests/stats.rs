//! What people grep for: Envoy's names on the admin port, ejections and limits as they happen, each value exact.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, TcpStream};
use std::process::Command;
use std::time::Duration;

use isthmus_tests::backend::{Backend, ok};
use isthmus_tests::gateway::{ADMIN, Gateway, HTTP, METRICS, own_address};
use isthmus_tests::wire::Client;
use isthmus_tests::{binary, wait, wire, world};

const PATIENCE: Duration = Duration::from_secs(20);

/// Answers every request with the status that its path names, `/500`; `/slow` has no answer.
fn scripted(ip: IpAddr) -> Backend {
    Backend::start(ip, |peer| {
        while let Some(request) = peer.request() {
            let path = request.start.split(' ').nth(1).unwrap_or_default().to_owned();
            match path.trim_start_matches('/').parse::<u16>() {
                Ok(status) => peer.write(format!("HTTP/1.1 {status} Said\r\ncontent-length: 0\r\n\r\n")),
                Err(_) if path == "/slow" => true,
                Err(_) => peer.write(ok(&request, "ok")),
            };
        }
    })
}

/// A DestinationRule for `backend.test`.
fn policy(text: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{name: policy, namespace: default}}\nspec:\n  host: backend.test\n  \
         trafficPolicy: {text}\n---\n"
    )
}

/// What `curl -s localhost:15000/PATH` prints.
fn page(gateway: &Gateway, path: &str) -> String {
    gateway.fetch(ADMIN, path).map(|m| m.text()).unwrap_or_default()
}

/// The lines of `/stats?filter=FILTER`, without `cluster.BACKEND.`.
fn stats(gateway: &Gateway, filter: &str) -> Vec<String> {
    let prefix = "cluster.outbound|80||backend.test.";
    page(gateway, &format!("/stats?filter={filter}")).lines().map(|l| l.strip_prefix(prefix).unwrap_or(l).to_owned()).collect()
}

fn status(gateway: &Gateway, path: &str) -> Option<u16> {
    wire::ask(gateway.http(), "a.test", path).map(|m| m.status())
}

fn command(gateway: &Gateway, args: &[&str]) -> String {
    let admin = format!("http://{}", gateway.at(ADMIN));
    let run = Command::new(binary::isthmus()).args(args).args(["--admin", &admin]).output().expect("the built gateway can be started");
    String::from_utf8_lossy(&run.stdout).into_owned()
}

#[test]
fn an_ejection_and_its_end_are_told_everywhere_2_6() {
    let ip = own_address();
    let (good, bad) = (Backend::named(ip, "good"), Backend::answering(ip, "HTTP/1.1 500 Bad\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"));
    let rule = policy(
        "{loadBalancer: {simple: ROUND_ROBIN}, outlierDetection: {consecutive5xxErrors: 2, interval: 1s, baseEjectionTime: 6s, maxEjectionPercent: 50}}",
    );
    let no_retries = world::routes("all", "*", &["front"], "  http:\n  - retries: {attempts: 0}\n    route: [{destination: {host: backend.test}}]\n");
    let service = world::service("backend.test", "HTTP", &[good.address, bad.address]);
    let gateway = Gateway::start(ip, &(world::server("front", HTTP, "HTTP") + &service + &no_retries + &rule));

    assert_eq!(stats(&gateway, "ejections_active"), ["outlier_detection.ejections_active: 0"]);
    let answers: Vec<u16> = (0..12).filter_map(|_| status(&gateway, "/")).collect();
    assert_eq!((answers.len(), answers.iter().filter(|s| **s == 500).count()), (12, 2), "two errors and out: {answers:?}");

    let want = [
        "outlier_detection.ejections_active: 1",
        "outlier_detection.ejections_consecutive_5xx: 1",
        "outlier_detection.ejections_detected_consecutive_5xx: 1",
        "outlier_detection.ejections_detected_consecutive_gateway_failure: 0",
        "outlier_detection.ejections_detected_consecutive_local_origin_failure: 0",
        "outlier_detection.ejections_enforced_consecutive_5xx: 1",
        "outlier_detection.ejections_enforced_consecutive_gateway_failure: 0",
        "outlier_detection.ejections_enforced_consecutive_local_origin_failure: 0",
        "outlier_detection.ejections_enforced_total: 1",
        "outlier_detection.ejections_overflow: 0",
        "outlier_detection.ejections_total: 1",
    ];
    assert_eq!(stats(&gateway, "outlier"), want);
    assert_eq!(stats(&gateway, "membership_(total|healthy)"), ["membership_healthy: 1", "membership_total: 2"]);
    let clusters = page(&gateway, "/clusters");
    let says = |backend: &Backend, what: &str| clusters.contains(&format!("outbound|80||backend.test::{}::{what}\n", backend.address));
    for (backend, what) in [
        (&bad, "health_flags::/failed_outlier_check"),
        (&bad, "rq_error::2"),
        (&bad, "rq_total::2"),
        (&good, "health_flags::healthy"),
        (&good, "rq_success::10"),
        (&good, "rq_error::0"),
        (&good, "weight::1"),
        (&good, "priority::0"),
    ] {
        assert!(says(backend, what), "{} {what}: {clusters}", backend.address);
    }
    assert!(clusters.contains("outbound|80||backend.test::default_priority::max_connections::4294967295\n"), "{clusters}");

    let metrics = gateway.fetch(METRICS, "/stats/prometheus").map(|m| m.text()).unwrap_or_default();
    for line in [
        "isthmus_ejected_endpoints{backend=\"outbound|80||backend.test\"} 1",
        "isthmus_ejections_total{backend=\"outbound|80||backend.test\",cause=\"consecutive_5xx\"} 1",
        "envoy_cluster_outlier_detection_ejections_active{cluster_name=\"outbound|80||backend.test\"} 1",
        "envoy_cluster_upstream_rq{cluster_name=\"outbound|80||backend.test\",envoy_response_code=\"500\"} 2",
        "envoy_cluster_upstream_rq_xx{cluster_name=\"outbound|80||backend.test\",envoy_response_code_class=\"2\"} 10",
    ] {
        assert!(metrics.lines().any(|l| l == line), "{line} in {metrics}");
    }
    let rows: serde_json::Value = serde_json::from_str(&command(&gateway, &["get", "endpoints", "-o", "json"])).unwrap_or_default();
    let row = rows.as_array().into_iter().flatten().find(|r| r["endpoint"] == bad.address.to_string()).cloned().unwrap_or_default();
    assert_eq!(
        (&row["outlierCheck"], &row["ejections"], &row["ejection"]["cause"]),
        (&"FAILED".into(), &1.into(), &"consecutive_5xx".into()),
        "{row}"
    );
    let seconds = |when: &str| row["ejection"][when].as_str().and_then(|t| t.get(17..19)?.parse::<i32>().ok());
    let lasts = seconds("until").zip(seconds("since")).map(|(until, since)| (until - since).rem_euclid(60));
    assert_eq!(lasts, Some(6), "{row}");
    let table = command(&gateway, &["get", "endpoints", "-o", "wide"]);
    assert!(table.lines().any(|l| l.contains("FAILED") && l.contains("consecutive_5xx")), "{table}");

    assert!(wait::holds(PATIENCE, || stats(&gateway, "ejections_active") == ["outlier_detection.ejections_active: 0"]));
    assert!(page(&gateway, "/clusters").contains(&format!("::{}::health_flags::healthy\n", bad.address)));
    let log = gateway.log();
    let told = |what: &str, more: &str| log.lines().any(|l| l.contains(what) && l.contains(&format!("endpoint={}", bad.address)) && l.contains(more));
    assert!(told("endpoint ejected", "cause=\"consecutive_5xx\" times=1 lasts=6s until="), "{log}");
    assert!(told("endpoint back after its ejection", "because=\"its time is over\""), "{log}");
}

#[test]
fn ejections_beyond_the_cap_are_counted_and_a_policy_that_goes_lets_back_2_3() {
    let ip = own_address();
    let backends: Vec<Backend> = (0..4).map(|_| scripted(ip)).collect();
    let rule = |most| {
        let detection = format!("{{consecutive5xxErrors: 1, interval: 1s, baseEjectionTime: 3m, maxEjectionPercent: {most}}}");
        policy(&format!("{{loadBalancer: {{simple: ROUND_ROBIN}}, outlierDetection: {detection}}}"))
    };
    let plain = world::simple(&backends.iter().map(|b| b.address).collect::<Vec<_>>());
    let gateway = Gateway::start(ip, &(plain.clone() + &rule(50)));
    for _ in 0..8 {
        assert_eq!(status(&gateway, "/500"), Some(500));
    }
    let want = [
        "outlier_detection.ejections_active: 2",
        "outlier_detection.ejections_detected_consecutive_5xx: 8",
        "outlier_detection.ejections_enforced_total: 2",
        "outlier_detection.ejections_overflow: 6",
    ];
    assert_eq!(stats(&gateway, "outlier.*(active|enforced_total|overflow|detected_consecutive_5xx)$"), want);
    gateway.change(&plain);
    let back = || gateway.log().matches("because=\"outlier detection is off\"").count() == 2;
    assert!(wait::holds(PATIENCE, back), "{}", gateway.log());
    assert!(!page(&gateway, "/clusters").contains("failed_outlier_check"));
}

#[test]
fn requests_are_counted_as_envoy_counts_them_1_2() {
    let ip = own_address();
    let backend = scripted(ip);
    let rules = "  http:\n  - match: [{uri: {exact: /slow}}]\n    timeout: 15s\n    retries: {attempts: 1, retryOn: 5xx, perTryTimeout: 0.3s}\n    \
                 route: [{destination: {host: backend.test}}]\n  - match: [{uri: {exact: /503}}]\n    retries: {attempts: 2, retryOn: 5xx}\n    \
                 route: [{destination: {host: backend.test}}]\n  - match: [{uri: {exact: /fault}}]\n    \
                 fault: {abort: {percentage: {value: 100}, httpStatus: 418}}\n    route: [{destination: {host: backend.test}}]\n  \
                 - route: [{destination: {host: backend.test}}]\n";
    let service = world::service("backend.test", "HTTP", &[backend.address]);
    let gateway = Gateway::start(ip, &(world::server("front", HTTP, "HTTP") + &service + &world::routes("all", "*", &["front"], rules)));
    for (path, want) in [("/", 200), ("/404", 404), ("/503", 503), ("/slow", 504), ("/fault", 418), ("/201", 201), ("/301", 301), ("/204", 204)] {
        assert_eq!(status(&gateway, path), Some(want), "{path}");
    }
    let want = [
        "upstream_rq_200: 1",
        "upstream_rq_201: 1",
        "upstream_rq_204: 1",
        "upstream_rq_2xx: 3",
        "upstream_rq_301: 1",
        "upstream_rq_3xx: 1",
        "upstream_rq_404: 1",
        "upstream_rq_4xx: 1",
        "upstream_rq_503: 1",
        "upstream_rq_504: 1",
        "upstream_rq_5xx: 2",
    ];
    assert_eq!(stats(&gateway, "upstream_rq_[0-9]"), want);
    for line in [
        "upstream_rq_completed: 7",
        "upstream_rq_total: 10",
        "upstream_rq_active: 0",
        "upstream_rq_per_try_timeout: 2",
        "upstream_rq_timeout: 0",
        "upstream_rq_retry_limit_exceeded: 2",
        "upstream_rq_retry_success: 0",
    ] {
        let name = line.split(':').next().unwrap_or_default();
        assert_eq!(stats(&gateway, &format!("{name}$")), [line]);
    }
    let json: serde_json::Value = serde_json::from_str(&page(&gateway, "/stats?filter=rq_completed&format=json")).unwrap_or_default();
    assert_eq!(json, serde_json::json!({"stats": [{"name": "cluster.outbound|80||backend.test.upstream_rq_completed", "value": 7}]}));
    assert!(page(&gateway, "/stats?filter=timeout&usedonly").lines().eq(["cluster.outbound|80||backend.test.upstream_rq_per_try_timeout: 2"]));
    assert_eq!(gateway.fetch(ADMIN, "/stats?filter=(").map(|m| m.status()), Some(400));
    assert_eq!(page(&gateway, "/ready"), "LIVE\n");
    assert!(page(&gateway, "/server_info").contains("\"state\":\"LIVE\""));
}

/// Sends a request and returns its client; nothing has come back yet.
fn sent(gateway: &Gateway, path: &str) -> Client {
    let mut client = Client::connect(gateway.http());
    client.send(format!("GET {path} HTTP/1.1\r\nhost: a.test\r\n\r\n"));
    client
}

#[test]
fn limits_and_what_they_refuse_are_counted_1_2() {
    let ip = own_address();
    let backend = scripted(ip);
    let rule = policy("{connectionPool: {tcp: {maxConnections: 1}, http: {http1MaxPendingRequests: 1}}}");
    let gateway = Gateway::start(ip, &(world::simple(&[backend.address]) + &rule));
    let has = |line: &str| stats(&gateway, &format!("{}$", line.split(':').next().unwrap_or_default())) == [line];

    let running = sent(&gateway, "/slow");
    assert!(wait::holds(PATIENCE, || has("upstream_rq_active: 1") && has("upstream_cx_active: 1")), "{:?}", stats(&gateway, "active"));
    let waiting = sent(&gateway, "/slow");
    assert!(wait::holds(PATIENCE, || has("upstream_rq_pending_active: 1")), "{:?}", stats(&gateway, "pending"));
    assert_eq!((status(&gateway, "/"), status(&gateway, "/")), (Some(503), Some(503)), "no room");
    let want = [
        "circuit_breakers.default.cx_open: 1",
        "circuit_breakers.default.remaining_cx: 0",
        "circuit_breakers.default.remaining_pending: 0",
        "circuit_breakers.default.rq_open: 0",
        "circuit_breakers.default.rq_pending_open: 1",
        "circuit_breakers.default.rq_retry_open: 0",
    ];
    assert_eq!(stats(&gateway, "circuit_breakers"), want);
    let want =
        ["upstream_rq_pending_active: 1", "upstream_rq_pending_failure_eject: 0", "upstream_rq_pending_overflow: 2", "upstream_rq_pending_total: 2"];
    assert_eq!(stats(&gateway, "upstream_rq_pending"), want);
    assert_eq!(
        stats(&gateway, "upstream_rq_(503|completed|total|active$)"),
        ["upstream_rq_503: 2", "upstream_rq_active: 1", "upstream_rq_completed: 2", "upstream_rq_total: 1"]
    );
    let clusters = page(&gateway, "/clusters");
    for line in ["max_connections::1\n", "max_pending_requests::1\n", "max_requests::4294967295\n", "max_retries::4294967295\n"] {
        assert!(clusters.contains(&format!("outbound|80||backend.test::default_priority::{line}")), "{line} in {clusters}");
    }
    let rows: serde_json::Value = serde_json::from_str(&command(&gateway, &["get", "backends", "-o", "json"])).unwrap_or_default();
    let usage = |name: &str| rows[0]["usage"][name].clone();
    assert_eq!(usage("pending"), serde_json::json!({"limit": 1, "used": 1, "peak": 1, "total": 2, "overflow": 2}));
    assert_eq!((&usage("connections")["limit"], &usage("connections")["peak"]), (&1.into(), &1.into()));
    let table = command(&gateway, &["get", "backends", "-o", "wide"]);
    assert!(table.contains("1, peak 1 of 1, 2 over"), "{table}");

    // One after the other, for who leaves while it is handed a connection has not left the line.
    drop(waiting);
    assert!(wait::holds(PATIENCE, || has("upstream_rq_pending_active: 0")), "{:?}", stats(&gateway, "active"));
    drop(running);
    let left = || has("upstream_rq_active: 0") && has("upstream_cx_active: 0");
    assert!(wait::holds(PATIENCE, left), "{:?}", stats(&gateway, "active"));
    assert!(has("upstream_rq_cancelled: 1"), "left in line: {:?}", stats(&gateway, "cancelled"));
    assert_eq!(status(&gateway, "/"), Some(200));
}

#[test]
fn bytes_of_an_open_stream_are_counted_10_2() {
    let ip = own_address();
    let echo = Backend::start(ip, |peer| {
        while peer.read() {
            let bytes = peer.take();
            peer.write(bytes);
        }
    });
    let rules = "  tcp:\n  - route: [{destination: {host: backend.test}}]\n";
    let world = world::server("stream", 9000, "TCP")
        + &world::service("backend.test", "TCP", &[echo.address])
        + &world::routes("all", "*", &["stream"], rules);
    let gateway = Gateway::start(ip, &world);
    let mut stream = TcpStream::connect(gateway.at(9000)).expect("the gateway listens");
    stream.write_all(b"12345").expect("it takes bytes");
    let mut back = [0; 5];
    stream.read_exact(&mut back).expect("and gives them back");
    let count = |name: &str| {
        let text = gateway.fetch(METRICS, "/stats/prometheus").map(|m| m.text()).unwrap_or_default();
        text.lines().find(|l| l.starts_with(name)).and_then(|l| l.rsplit(' ').next()?.parse::<u64>().ok())
    };
    assert!(wait::holds(PATIENCE, || count("istio_tcp_sent_bytes_total{") == Some(5)), "while the stream is open");
    assert_eq!((count("istio_tcp_received_bytes_total{"), count("istio_tcp_connections_closed_total{")), (Some(5), Some(0)));
    drop(stream);
    assert!(wait::holds(PATIENCE, || count("istio_tcp_connections_closed_total{") == Some(1)));
    assert_eq!(count("istio_tcp_sent_bytes_total{"), Some(5), "counted once");
}

#[test]
fn connections_that_are_not_made_are_counted_whatever_is_spoken_1_3() {
    for (protocol, server, rules) in [
        ("HTTP", "HTTP", "  http:\n  - retries: {attempts: 0}\n    route: [{destination: {host: backend.test}}]\n"),
        ("HTTP2", "HTTP", "  http:\n  - retries: {attempts: 0}\n    route: [{destination: {host: backend.test}}]\n"),
        ("TCP", "TCP", "  tcp:\n  - route: [{destination: {host: backend.test}}]\n"),
    ] {
        let ip = own_address();
        let nobody = std::net::TcpListener::bind((ip, 0)).and_then(|l| l.local_addr()).expect("a loopback address has free ports");
        let service = world::service("backend.test", protocol, &[nobody]);
        let gateway = Gateway::start(ip, &(world::server("front", HTTP, server) + &service + &world::routes("all", "*", &["front"], rules)));
        for _ in 0..2 {
            assert_eq!(status(&gateway, "/"), (server == "HTTP").then_some(503), "{protocol}");
        }
        let connections = [
            "upstream_cx_active: 0",
            "upstream_cx_connect_fail: 2",
            "upstream_cx_connect_timeout: 0",
            "upstream_cx_destroy: 2",
            "upstream_cx_max_requests: 0",
            "upstream_cx_none_healthy: 0",
            "upstream_cx_overflow: 0",
            "upstream_cx_total: 2",
        ];
        let settled = || stats(&gateway, "upstream_cx") == connections;
        assert!(wait::holds(PATIENCE, settled), "{protocol}: {:?}", stats(&gateway, "upstream_cx"));
        assert_eq!(stats(&gateway, "upstream_rq_total"), ["upstream_rq_total: 0"], "{protocol}");
        if protocol == "HTTP2" {
            let mut client = Client::connect(gateway.http());
            client.send("POST /s/m HTTP/1.1\r\nhost: a.test\r\ncontent-type: application/grpc\r\ncontent-length: 0\r\n\r\n");
            assert_eq!(client.response("POST").map(|m| m.status()), Some(200), "gRPC says it in a header");
            assert_eq!(stats(&gateway, "upstream_rq_(completed|503)"), ["upstream_rq_503: 3", "upstream_rq_completed: 3"]);
        }
        if protocol != "HTTP2" {
            let waited = [
                "upstream_rq_pending_active: 0",
                "upstream_rq_pending_failure_eject: 2",
                "upstream_rq_pending_overflow: 0",
                "upstream_rq_pending_total: 2",
            ];
            assert_eq!(stats(&gateway, "upstream_rq_pending"), waited, "{protocol}");
        }
        if protocol == "HTTP" {
            assert_eq!(stats(&gateway, "upstream_rq_(completed|503)"), ["upstream_rq_503: 2", "upstream_rq_completed: 2"], "{protocol}");
        }
        let clusters = page(&gateway, "/clusters");
        let made = if protocol == "HTTP2" { 3 } else { 2 };
        for line in ["cx_active::0".to_owned(), format!("cx_total::{made}"), format!("cx_connect_fail::{made}")] {
            assert!(clusters.contains(&format!("outbound|80||backend.test::{nobody}::{line}\n")), "{protocol} {line}: {clusters}");
        }
    }
}

#[test]
fn connections_of_an_endpoint_are_counted_while_they_are_there_1_1() {
    let ip = own_address();
    let backend = Backend::named(ip, "one");
    let gateway = Gateway::start(ip, &world::simple(&[backend.address]));
    // On one connection: another may meet another worker, which has connections of its own.
    let mut client = Client::connect(gateway.http());
    for _ in 0..3 {
        client.send("GET / HTTP/1.1\r\nhost: a.test\r\n\r\n");
        assert_eq!(client.response("GET").map(|m| m.status()), Some(200));
    }
    let clusters = page(&gateway, "/clusters");
    for line in ["cx_active::1", "cx_total::1", "rq_total::3", "rq_success::3", "rq_active::0"] {
        assert!(clusters.contains(&format!("outbound|80||backend.test::{}::{line}\n", backend.address)), "{line}: {clusters}");
    }
    // A backend that is gone takes its names along.
    gateway.change(&world::server("front", HTTP, "HTTP"));
    assert!(wait::holds(PATIENCE, || page(&gateway, "/stats").is_empty() && page(&gateway, "/clusters").is_empty()), "{}", page(&gateway, "/stats"));
    let metrics = gateway.fetch(METRICS, "/stats/prometheus").map(|m| m.text()).unwrap_or_default();
    assert!(!metrics.contains("envoy_cluster_") && metrics.contains("istio_requests_total{"), "{metrics}");
}
