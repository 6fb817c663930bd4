//! Limits as people meet them: the users' own circuit breaker, and limits that come, change and go while requests run.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};

use isthmus_tests::backend::{Backend, ok};
use isthmus_tests::gateway::{ADMIN, Gateway, own_address};
use isthmus_tests::http2::{Server, Whole, connect, get};
use isthmus_tests::wire::{Client, PATIENCE};
use isthmus_tests::{http2, project, wait, world};

/// A door that holds requests at their backend.
#[derive(Debug, Default)]
struct Door(Mutex<bool>, Condvar);

impl Door {
    fn open(&self) {
        *self.0.lock().expect("nobody panics at the door") = true;
        self.1.notify_all();
    }
    fn pass(&self) {
        let opened = self.1.wait_while(self.0.lock().expect("nobody panics at the door"), |open| !*open);
        drop(opened.expect("nobody panics at the door"));
    }
}

/// A backend whose answers wait at a door.
fn held(ip: IpAddr) -> (Backend, Arc<Door>) {
    let door = Arc::new(Door::default());
    let behind = door.clone();
    let backend = Backend::start(ip, move |peer| {
        while let Some(request) = peer.request() {
            behind.pass();
            peer.write(ok(&request, "x"));
        }
    });
    (backend, door)
}

fn sent(gateway: &Gateway, host: &str) -> Client {
    let mut client = Client::connect(gateway.http());
    client.send(format!("GET / HTTP/1.1\r\nhost: {host}\r\n\r\n"));
    client
}

/// What a backend's counts are, by Envoy's names.
fn stats(gateway: &Gateway, backend: &str) -> BTreeMap<String, u64> {
    let page = gateway.fetch(ADMIN, "/stats").map(|m| m.text()).unwrap_or_default();
    let start = format!("cluster.{backend}.");
    let of = |line: &str| {
        let (name, value) = line.strip_prefix(&start)?.rsplit_once(": ")?;
        Some((name.to_owned(), value.trim().parse().ok()?))
    };
    page.lines().filter_map(of).collect()
}

/// Waits until a backend's counts are these.
fn until(gateway: &Gateway, backend: &str, counts: &[(&str, u64)]) {
    let hold = |now: &BTreeMap<String, u64>| counts.iter().all(|(name, value)| now.get(*name) == Some(value));
    let now = || stats(gateway, backend);
    assert!(wait::holds(PATIENCE, || hold(&now())), "{counts:?} of {backend}: {:?}", now());
}

fn refused(client: &mut Client) {
    let answer = client.response("GET").expect("an answer");
    assert_eq!((answer.status(), answer.field("x-envoy-overloaded"), answer.text().len()), (503, Some("true"), 81), "{answer:?}");
}

/// The row circuit-breaker/productpage of `tests/input/README.md`.
#[test]
fn the_whole_service_and_its_subset_have_limits_of_their_own() {
    let ip = own_address();
    let (backend, door) = held(ip);
    let input = |path: &str| std::fs::read_to_string(project::root().join("tests/input").join(path)).expect("an example can be read");
    let meta = "namespace: istio, labels: {app: productpage, version: v1}";
    let pods = format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: productpage, {meta}}}\nspec: {{selector: {{app: productpage}}, ports: [{{name: http, port: 9080}}]}}\n---\n\
         apiVersion: v1\nkind: Pod\nmetadata: {{name: productpage-v1-0, {meta}}}\nstatus: {{podIP: {ip}}}\n---\n\
         apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\naddressType: IPv4\n\
         metadata: {{name: productpage-1, namespace: istio, labels: {{kubernetes.io/service-name: productpage}}}}\nports: [{{name: http, port: {}}}]\n\
         endpoints: [{{addresses: [{ip}], conditions: {{ready: true}}, targetRef: {{kind: Pod, name: productpage-v1-0, namespace: istio}}}}]\n---\n",
        backend.address.port()
    );
    let subset = "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: v1, namespace: istio}\nspec:\n  hosts: [v1.example.com]\n  \
                  gateways: [istio-system/guide]\n  http: [{route: [{destination: {host: productpage, subset: v1}}]}]\n---\n";
    let routes = input("companion/routes.yaml").replace("number: 80\n", "number: 8080\n");
    let gateway = Gateway::start(ip, &[&pods, subset, &routes, "\n---\n", &input("circuit-breaker/productpage.yaml")].concat());
    let backends = [
        ("bookinfo.example.com", "outbound|9080||productpage.istio.svc.cluster.local"),
        ("v1.example.com", "outbound|9080|v1|productpage.istio.svc.cluster.local"),
    ];
    let mut accepted = Vec::new();
    for (host, name) in backends {
        accepted.push(sent(&gateway, host));
        until(&gateway, name, &[("upstream_rq_active", 1), ("upstream_cx_active", 1)]);
        accepted.push(sent(&gateway, host));
        until(&gateway, name, &[("upstream_rq_pending_active", 1)]);
    }
    for (host, name) in backends {
        // Ten parallel callers: two are in, eight are refused at once.
        (0..8).map(|_| sent(&gateway, host)).collect::<Vec<_>>().iter_mut().for_each(refused);
        until(&gateway, name, &[("upstream_rq_pending_overflow", 8), ("upstream_cx_overflow", 1), ("upstream_rq_active", 1)]);
    }
    door.open();
    assert!(accepted.iter_mut().all(|client| client.response("GET").is_some_and(|answer| answer.status() == 200)), "who was in is answered");
    for (_, name) in backends {
        let end = [("upstream_rq_200", 2), ("upstream_rq_503", 8), ("upstream_cx_max_requests", 2), ("upstream_rq_active", 0)];
        until(&gateway, name, &end);
        until(&gateway, name, &[("outlier_detection.ejections_enforced_total", 0), ("upstream_cx_active", 0)]);
    }
    let overflow = |line: &serde_json::Value| line["response_flags"] == "UO" && line["response_code"] == 503;
    let told = || gateway.access_log().iter().filter(|line| overflow(line)).count();
    assert!(wait::holds(PATIENCE, || told() == 16), "{:?}", gateway.access_log());
}

const NAME: &str = "outbound|80||backend.test";

/// `simple`, with `pool` as the connectionPool of its only backend.
fn pooled(simple: &str, pool: &str) -> String {
    format!(
        "{simple}apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{name: limits, namespace: default}}\n\
         spec: {{host: backend.test, trafficPolicy: {{connectionPool: {pool}}}}}\n---\n"
    )
}

/// Limits that nobody asked for when the requests began count them all the same; changed up and down, they are exact at once.
#[test]
fn limits_that_come_find_what_runs() {
    let ip = own_address();
    let (backend, door) = held(ip);
    let free = world::simple(&[backend.address]);
    let gateway = Gateway::start(ip, &free);
    let mut running: Vec<Client> = (0..2).map(|_| sent(&gateway, "a.test")).collect();
    until(&gateway, NAME, &[("upstream_rq_active", 2), ("upstream_cx_active", 2), ("circuit_breakers.default.rq_open", 0)]);

    gateway.change(&pooled(&free, "{http: {http2MaxRequests: 2}}"));
    until(&gateway, NAME, &[("circuit_breakers.default.rq_open", 1), ("circuit_breakers.default.remaining_rq", 0)]);
    refused(&mut sent(&gateway, "a.test"));
    until(&gateway, NAME, &[("upstream_cx_total", 2)]);
    gateway.change(&pooled(&free, "{http: {http2MaxRequests: 3}}"));
    until(&gateway, NAME, &[("circuit_breakers.default.remaining_rq", 1)]);
    running.push(sent(&gateway, "a.test"));
    until(&gateway, NAME, &[("upstream_rq_active", 3), ("circuit_breakers.default.rq_open", 1), ("upstream_rq_active_overflow", 1)]);

    gateway.change(&pooled(&free, "{tcp: {maxConnections: 2}, http: {http1MaxPendingRequests: 1}}"));
    until(&gateway, NAME, &[("circuit_breakers.default.cx_open", 1), ("upstream_cx_active", 3)]);
    let mut waits = sent(&gateway, "a.test");
    until(&gateway, NAME, &[("upstream_rq_pending_active", 1), ("upstream_cx_overflow", 1)]);
    refused(&mut sent(&gateway, "a.test"));
    gateway.change(&pooled(&free, "{tcp: {maxConnections: 4}, http: {http1MaxPendingRequests: 1}}"));
    until(&gateway, NAME, &[("upstream_rq_pending_active", 0), ("upstream_cx_active", 4), ("upstream_rq_active", 4)]);
    gateway.change(&pooled(&free, "{tcp: {maxConnections: 1}, http: {http1MaxPendingRequests: 9}}"));
    until(&gateway, NAME, &[("circuit_breakers.default.remaining_cx", 0)]);

    let mut late = sent(&gateway, "a.test");
    until(&gateway, NAME, &[("upstream_rq_pending_active", 1)]);
    door.open();
    for client in running.iter_mut().chain([&mut waits, &mut late]) {
        assert_eq!(client.response("GET").map(|answer| answer.status()), Some(200));
    }
    until(&gateway, NAME, &[("upstream_rq_active", 0), ("upstream_rq_pending_active", 0), ("upstream_cx_active", 1)]);
    gateway.change(&free);
    until(&gateway, NAME, &[("upstream_cx_active", 0), ("upstream_rq_active", 0)]);
    until(&gateway, NAME, &[("upstream_rq_pending_overflow", 1), ("upstream_rq_completed", 7)]);
}

/// A connection of HTTP/2 that was there before the limit is found by those that come after it, and counts.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_limit_finds_connections_of_http2_that_were_there_before() {
    let ip = own_address();
    let well = |_: &Whole| Whole { status: 200, body: "x".into(), ..Whole::default() };
    let servers = [Server::start(ip, well).await, Server::start(ip, well).await];
    let addresses = [servers[0].address, servers[1].address];
    let free = world::server("front", 8080, "HTTP")
        + &world::service("backend.test", "HTTP2", &addresses)
        + &world::route("all", "*", "front", "backend.test");
    let gateway = Gateway::start(ip, &free);
    let client = connect(gateway.http()).await;
    for _ in 0..20 {
        assert_eq!(http2::ask(&client, get("a.test", "/"), &[]).await.map(|answer| answer.status).ok(), Some(200));
    }
    until(&gateway, NAME, &[("upstream_cx_active", 2)]);
    gateway.change(&pooled(&free, "{tcp: {maxConnections: 1}}"));
    until(&gateway, NAME, &[("circuit_breakers.default.cx_open", 1), ("upstream_cx_active", 1)]);
    for n in 0..20 {
        let asked = tokio::time::timeout(PATIENCE, http2::ask(&client, get("a.test", "/"), &[])).await;
        assert_eq!(asked.ok().and_then(Result::ok).map(|answer| answer.status), Some(200), "request {n}: {:?}", stats(&gateway, NAME));
    }
    until(&gateway, NAME, &[("upstream_cx_active", 1), ("upstream_cx_total", 2), ("upstream_rq_pending_overflow", 0)]);
}

/// As Envoy does, an endpoint that is ejected keeps no idle connection, which would take the place of one that is of use.
#[test]
fn an_ejected_endpoint_keeps_no_idle_connection() {
    let ip = own_address();
    let left = Arc::new(AtomicBool::new(false));
    let has_left = left.clone();
    let bad = Backend::start(ip, move |peer| {
        while peer.request().is_some() {
            peer.write("HTTP/1.1 500 Bad\r\ncontent-length: 0\r\n\r\n");
        }
        has_left.store(true, Ordering::SeqCst);
    });
    let well = Backend::named(ip, "well");
    for pool in ["{http: {maxRetries: 9}}", "{tcp: {maxConnections: 4}}"] {
        left.store(false, Ordering::SeqCst);
        let rule = format!(
            "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{name: limits, namespace: default}}\nspec: {{host: backend.test, trafficPolicy: \
             {{loadBalancer: {{simple: ROUND_ROBIN}}, connectionPool: {pool}, outlierDetection: {{consecutive5xxErrors: 1, baseEjectionTime: 60s, \
             maxEjectionPercent: 100}}}}}}\n---\n"
        );
        let gateway = Gateway::start(own_address(), &(world::simple(&[bad.address, well.address]) + &rule));
        for _ in 0..2 {
            assert!(sent(&gateway, "a.test").response("GET").is_some());
        }
        until(&gateway, NAME, &[("outlier_detection.ejections_active", 1), ("upstream_cx_active", 1), ("upstream_cx_total", 2)]);
        assert!(wait::holds(PATIENCE, || left.load(Ordering::SeqCst)), "{pool}: it hears that nobody is there");
    }
}
