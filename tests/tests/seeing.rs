//! What a running gateway shows: metrics, admin pages, and the commands that ask it.

use std::process::{Command, Output};

use isthmus_tests::backend::Backend;
use isthmus_tests::binary;
use isthmus_tests::gateway::{ADMIN, Gateway, METRICS, own_address};
use isthmus_tests::wire::{self, Client};
use isthmus_tests::{wait, world};
use serde_json::{Value, json};

/// A gateway with one backend, and one rule that is refused.
fn start() -> (Backend, Gateway) {
    let ip = own_address();
    let backend = Backend::named(ip, "one");
    let wrong = world::routes("wrong", "wrong.test", &["front"], "  http:\n  - rout: []\n");
    let gateway = Gateway::start(ip, &(world::simple(&[backend.address]) + &wrong));
    (backend, gateway)
}

/// A command that asks the running gateway.
fn isthmus(gateway: &Gateway, args: &[&str]) -> Output {
    let admin = format!("http://{}", gateway.at(ADMIN));
    Command::new(binary::isthmus()).args(args).args(["--admin", &admin]).output().expect("the built gateway can be started")
}

/// The value of the first sample of `name` whose labels hold all of `labels`.
fn sample(text: &str, name: &str, labels: &[&str]) -> Option<f64> {
    let of_name = |l: &&str| l.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' ']));
    let line = text.lines().filter(of_name).find(|l| labels.iter().all(|label| l.contains(label)))?;
    line.rsplit(' ').next()?.parse().ok()
}

#[test]
fn metrics_count_what_was_answered() {
    let (_backend, gateway) = start();
    for _ in 0..3 {
        assert_eq!(wire::ask(gateway.http(), "a.test", "/").map(|m| m.status()), Some(200));
    }
    let mut client = Client::connect(gateway.http());
    client.send("GET / HTTP/1.1\r\n\r\n");
    assert_eq!(client.response("GET").map(|m| m.status()), Some(400));
    let requests = |labels: &[&str]| sample(&gateway.fetch(METRICS, "/stats/prometheus")?.text(), "istio_requests_total", labels);
    let answered =
        ["response_code=\"200\"", "destination_service=\"backend.test\"", "reporter=\"source\"", "response_flags=\"-\"", "request_protocol=\"http\""];
    assert!(wait::holds(wire::PATIENCE, || requests(&answered) == Some(3.0)), "{:?}", requests(&answered));
    let page = gateway.fetch(METRICS, "/metrics").map(|m| m.text()).unwrap_or_default();
    assert_eq!(sample(&page, "istio_request_duration_milliseconds_count", &answered), Some(3.0));
    assert_eq!(sample(&page, "istio_response_bytes_sum", &answered), Some(9.0));
    let ours: Vec<_> = page.lines().filter(|l| l.starts_with("# TYPE isthmus_")).collect();
    for what in ["snapshot", "problems", "endpoints", "propagation"] {
        assert!(ours.iter().any(|l| l.contains(what)), "no metric of ours tells of {what}: {ours:?}");
    }
    for (n, line) in page.lines().filter(|l| !l.starts_with('#')).enumerate() {
        assert!(line.rsplit_once(' ').is_some_and(|(name, v)| !name.is_empty() && v.parse::<f64>().is_ok()), "line {n} is no sample: {line}");
    }
}

#[test]
fn admin_pages_are_json() {
    let (backend, gateway) = start();
    let page = |path: &str| -> Value {
        let text = gateway.fetch(ADMIN, path).map(|m| m.text()).unwrap_or_default();
        serde_json::from_str(&text).unwrap_or(Value::String(format!("no JSON: {text}")))
    };
    assert_eq!(page("/config")["listeners"][0]["virtualHosts"][0]["domains"][0], "*");
    assert_eq!(page("/endpoints")[0]["endpoint"], backend.address.to_string());
    let cluster = &page("/clusters?format=json")["cluster_statuses"][0];
    let (host, most) = (&cluster["host_statuses"][0], u32::MAX);
    assert_eq!(cluster["name"], "outbound|80||backend.test");
    let limits = json!([{"max_connections": most, "max_pending_requests": most, "max_requests": most, "max_retries": most}]);
    assert_eq!(cluster["circuit_breakers"]["thresholds"], limits);
    let address = json!({"socket_address": {"address": backend.address.ip().to_string(), "port_value": backend.address.port()}});
    assert_eq!((&host["address"], &host["weight"], &host["health_status"]), (&address, &1.into(), &json!({"eds_health_status": "HEALTHY"})));
    assert_eq!(wire::ask(gateway.http(), "a.test", "/").map(|m| m.status()), Some(200));
    let stats = page("/clusters?format=json")["cluster_statuses"][0]["host_statuses"][0]["stats"].clone();
    let [success, active] = [json!({"name": "rq_success", "value": "1"}), json!({"name": "rq_active", "type": "GAUGE"})];
    assert!(stats.as_array().is_some_and(|all| all.contains(&success) && all.contains(&active)), "what is 0 is left out: {stats:#}");
    assert_eq!(gateway.fetch(ADMIN, "/clusters?format=xml").map(|m| m.status()), Some(400));
    let problem = &page("/problems")[0];
    assert_eq!(
        (&problem["severity"], &problem["path"], &problem["name"]),
        (&"error".into(), &"spec.http[0].rout".into(), &"wrong".into()),
        "{problem}"
    );
    assert_eq!(gateway.fetch(ADMIN, "/no/such/page").map(|m| m.status()), Some(404));
}

#[test]
fn commands_ask_the_running_gateway() {
    let (backend, gateway) = start();
    let rows: [(&[&str], &[&str]); 6] = [
        (&["get", "listeners"], &["8080"]),
        (&["get", "routes"], &["all.default"]),
        (&["get", "backends", "-o", "json"], &["outbound|80||backend.test"]),
        (&["get", "endpoints"], &["HEALTHY"]),
        (&["get", "clusters"], &["cluster1", "synced"]),
        (&["get", "problems"], &["IST0106", "wrong"]),
    ];
    for (args, says) in rows {
        let run = isthmus(&gateway, args);
        let told = String::from_utf8_lossy(&run.stdout);
        assert!(run.status.success() && says.iter().all(|s| told.contains(s)), "{args:?}: {told}{}", String::from_utf8_lossy(&run.stderr));
    }
    let run = isthmus(&gateway, &["explain", "GET", "http://a.test:8080/x"]);
    let told = String::from_utf8_lossy(&run.stdout);
    assert!(run.status.success() && told.contains("backend.test") && told.contains(&backend.address.to_string()), "{told}");
}

#[test]
fn try_shows_who_answered() {
    let (backend, gateway) = start();
    let url = format!("http://{}/", gateway.http());
    let run = isthmus(&gateway, &["try", &url, "-n", "20", "-c", "3"]);
    let told = String::from_utf8_lossy(&run.stdout);
    let says = ["200", "cluster1", &backend.address.to_string()];
    assert!(run.status.success() && says.iter().all(|s| told.contains(s)), "{told}{}", String::from_utf8_lossy(&run.stderr));
    assert_eq!(backend.requests().expect("nothing but requests comes").len(), 20);
    let answer = wire::ask(gateway.http(), "a.test", "/").expect("it is answered");
    assert!(answer.fields.iter().all(|(n, _)| !n.starts_with("x-isthmus-")), "only a tried request is told: {answer:?}");
}

#[test]
fn what_if_and_from_elsewhere_are_asked_of_the_running_gateway() {
    let (backend, gateway) = start();
    assert_eq!(wire::ask(gateway.http(), "a.test", "/").map(|m| m.status()), Some(200));
    let down = format!("endpoint={}", backend.address.ip());
    let run = isthmus(&gateway, &["whatif", "--down", &down]);
    let told = String::from_utf8_lossy(&run.stdout);
    assert!(run.status.code() == Some(79) && told.contains("backend.test:80") && told.contains("nobody: 503 UH"), "{told}");
    let run = isthmus(&gateway, &["whatif", "--down", "zone=elsewhere"]);
    let told = String::from_utf8_lossy(&run.stdout);
    assert!(run.status.success() && told.contains("takes no endpoint"), "{told}");
    let run = isthmus(&gateway, &["explain", "http://a.test:8080/", "--from", "r9/z9/s9", "-o", "json"]);
    let told: Value = serde_json::from_slice(&run.stdout).unwrap_or_default();
    assert_eq!(told["from"], "r9/z9/s9", "{told:#}");
    let run = isthmus(&gateway, &["get", "backends", "backend.test", "--matrix"]);
    let told = String::from_utf8_lossy(&run.stdout);
    assert!(told.contains("r1 (here)     100 %"), "{told}");
    let run = isthmus(&gateway, &["get", "backends", "backend.test", "-o", "json"]);
    let told: Value = serde_json::from_slice(&run.stdout).unwrap_or_default();
    assert!(told[0]["connectMs"].as_f64().is_some_and(|ms| ms > 0.0), "connecting took a while: {told:#}");
}

#[test]
fn http_over_a_tcp_server_is_a_finding() {
    let ip = own_address();
    let backend = Backend::named(ip, "one");
    let bytes = world::server("bytes", 9000, "TCP")
        + &world::routes("bytes", "*", &["bytes"], "  tcp:\n  - route:\n    - destination: {host: backend.test}\n");
    let gateway = Gateway::start(ip, &(world::simple(&[backend.address]) + &bytes));
    let problems = || String::from_utf8_lossy(&isthmus(&gateway, &["get", "problems", "-o", "json"]).stdout).into_owned();
    assert!(!problems().contains("ISM0402"), "nobody has spoken yet");
    assert_eq!(wire::ask(gateway.at(9000), "a.test", "/").map(|m| m.status()), Some(200));
    let told = problems();
    assert!(told.contains("ISM0402") && told.contains("spec.servers[0].port.protocol") && told.contains("clients speak HTTP on port 9000"), "{told}");
}
