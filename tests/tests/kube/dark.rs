//! A cluster that vanishes without a word: packets to its API server and to its pods are dropped, nothing is refused.

use std::net::{Ipv4Addr, TcpStream};
use std::time::{Duration, Instant};

use isthmus_tests::backend::Backend;
use isthmus_tests::drill::{Load, failed};
use isthmus_tests::gateway::{ADMIN, Gateway, own_address};
use isthmus_tests::kube::{ApiServer, Between, istio, remote_secret, servers, slice};
use isthmus_tests::namespace::{Network, inside};
use isthmus_tests::{wait, wire};
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(60);
const NS: &str = "dark";
const HOST: &str = "drill.test";
const PORT: u16 = 8082;
/// The member's API server, its pod, and ours.
const API: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 2);
const POD: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 3);
const OURS: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 11);

fn serve(server: &ApiServer, backend: &Backend) {
    let mut slice = slice(NS, "shop", &[&backend.address.ip().to_string()]);
    slice["ports"][0]["port"] = json!(backend.address.port());
    server.serve(NS, "shop", &[]);
    server.apply(&slice);
}

/// A connection that stands takes a try's whole time to be given up, a new one the time of connecting.
fn rules() -> [Value; 3] {
    let server = json!({"port": {"number": PORT, "name": "http", "protocol": "HTTP"}, "hosts": [HOST]});
    let retries = json!({"attempts": 3, "perTryTimeout": "1s", "retryOn": "gateway-error,connect-failure,reset"});
    let http = json!([{"route": [{"destination": {"host": "shop"}}], "timeout": "10s", "retries": retries}]);
    let policy = json!({"connectionPool": {"tcp": {"connectTimeout": "0.5s"}},
        "outlierDetection": {"consecutiveGatewayErrors": 2, "interval": "1s", "baseEjectionTime": "120s", "maxEjectionPercent": 100}});
    [
        istio("Gateway", NS, "front", &json!({"selector": {"istio": "ingressgateway"}, "servers": [server]})),
        istio("VirtualService", NS, "all", &json!({"hosts": [HOST], "gateways": ["front"], "http": http})),
        istio("DestinationRule", NS, "shop", &json!({"host": "shop", "trafficPolicy": policy})),
    ]
}

fn answer(gateway: &Gateway) -> String {
    wire::ask(gateway.at(PORT), HOST, "/").map(|m| m.text()).unwrap_or_default()
}

/// The row of the member in `get clusters`.
fn member(gateway: &Gateway) -> Value {
    let rows: Value = gateway.fetch(ADMIN, "/remote-clusters").and_then(|m| serde_json::from_str(&m.text()).ok()).unwrap_or_default();
    rows.as_array().into_iter().flatten().find(|row| row["name"] == "cluster2").cloned().unwrap_or_default()
}

fn is(gateway: &Gateway, status: &str, endpoints: usize) -> bool {
    let row = member(gateway);
    row["status"] == status && row["endpoints"] == endpoints
}

fn serves(gateway: &Gateway) -> bool {
    TcpStream::connect(gateway.at(PORT)).is_ok() && answer(gateway).ends_with("one")
}

#[test]
fn a_member_that_vanishes_with_its_pods_costs_no_request_and_is_told_stale() {
    inside("dark::a_member_that_vanishes_with_its_pods_costs_no_request_and_is_told_stale", play);
}

fn play(network: &Network) {
    [API, POD, OURS].into_iter().for_each(|address| network.add(address.into()));
    let servers = servers();
    let (config, remote) = (&servers.0[0], &servers.0[1]);
    let backends = [Backend::named(OURS.into(), "one"), Backend::named(POD.into(), "two")];
    serve(config, &backends[0]);
    serve(remote, &backends[1]);
    rules().iter().for_each(|rule| config.apply(rule));
    let between = Between::new(API.into(), &remote.address());
    config.apply(&remote_secret(NS, "two", &[("cluster2", &between.kubeconfig(&remote.kubeconfig("admintoken")))]));
    let state = tempfile::tempdir().expect("a folder");
    let (ip, from) = (own_address(), format!("kubeconfig: {}", config.kubeconfig_file().display()));
    let without = format!("remoteSecrets: {{namespace: {NS}}}\nremoteTimeout: 15s\ngrace: 0s\ndrain: 1s\n");
    let with = format!("{without}state: {}\n", state.path().display());
    let gateway = Gateway::reading(ip, &from, &with);
    assert!(wait::holds(PATIENCE, || gateway.ready()), "{}", gateway.log());
    let both = || ["one", "two"].iter().all(|name| wait::holds(Duration::from_secs(2), || answer(&gateway).ends_with(name)));
    assert!(wait::holds(PATIENCE, both), "{}", gateway.log());
    assert!(wait::holds(PATIENCE, || is(&gateway, "synced", 1)), "{} {}", member(&gateway), gateway.log());

    let load = Load::start(gateway.at(PORT), 2);
    let begun = Instant::now();
    network.silence(API.into());
    network.silence(POD.into());
    // Traffic moves to the other cluster at once, long before anybody knows what has become of the member.
    let moved = || (0..20).all(|_| answer(&gateway).ends_with("one"));
    assert!(wait::holds(Duration::from_secs(20), moved), "{}", gateway.log());
    let moved_after = begun.elapsed();
    assert!(wait::holds(Duration::from_secs(45), || member(&gateway)["status"] == "stale"), "{} {}", member(&gateway), gateway.log());
    let stale_after = begun.elapsed();
    let row = member(&gateway);
    assert!(is(&gateway, "stale", 1) && row["reason"].as_str().is_some_and(|r| r.contains("deadline")), "what is known stays: {row}");
    assert!(gateway.ready(), "a member never holds readiness");
    let seen = load.stop();
    assert!(failed(&seen).is_empty(), "{:?} {}", failed(&seen), gateway.log());
    assert!(moved_after < Duration::from_secs(15) && stale_after < Duration::from_secs(45), "{moved_after:?} {stale_after:?}");
    assert!(seen.len() > 100, "{}", seen.len());
    drop(gateway);

    // A gateway that starts now holds on to what disk kept, or to nothing; both are ready and serve.
    let begun = Instant::now();
    let gateway = Gateway::reading(ip, &from, &with);
    assert!(wait::holds(PATIENCE, || serves(&gateway) && gateway.ready()), "{}", gateway.log());
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?} {}", begun.elapsed(), gateway.log());
    assert!(wait::holds(PATIENCE, || is(&gateway, "stale", 1)), "{} {}", member(&gateway), gateway.log());
    drop(gateway);
    let begun = Instant::now();
    let gateway = Gateway::reading(ip, &from, &without);
    assert!(wait::holds(PATIENCE, || serves(&gateway) && gateway.ready()), "{}", gateway.log());
    assert!(begun.elapsed() < Duration::from_secs(35), "{:?} {}", begun.elapsed(), gateway.log());
    assert!(wait::holds(PATIENCE, || is(&gateway, "failed", 0)), "{} {}", member(&gateway), gateway.log());

    network.revive(API.into());
    network.revive(POD.into());
    assert!(wait::holds(PATIENCE, || member(&gateway)["status"] == "synced"), "{} {}", member(&gateway), gateway.log());
    assert!(wait::holds(PATIENCE, || answer(&gateway).ends_with("two")), "{}", gateway.log());
}
