//! A gateway that serves while its API servers, or the ways to them, come and go: no request ever pays for it.

use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use isthmus_tests::backend::Backend;
use isthmus_tests::drill::{Load, failed};
use isthmus_tests::gateway::{Gateway, own_address};
use isthmus_tests::kube::{alone, istio, namespace, remote_secret, servers};
use isthmus_tests::{wait, wire};
use serde_json::{Value, json};

use super::Reached;

const PATIENCE: Duration = Duration::from_secs(60);

/// The host that `Load` asks for.
const HOST: &str = "drill.test";

/// A server on `port`, whose requests all go to one ServiceEntry; all of it in one namespace.
fn front(ns: &str, port: u16) -> [Value; 3] {
    let server = json!({"port": {"number": port, "name": "http", "protocol": "HTTP"}, "hosts": [HOST]});
    let route = json!({"hosts": [HOST], "gateways": ["front"], "http": [{"route": [{"destination": {"host": format!("shop.{ns}.test")}}]}]});
    [
        namespace(ns),
        istio("Gateway", ns, "front", &json!({"selector": {"istio": "ingressgateway"}, "servers": [server]})),
        istio("VirtualService", ns, "all", &route),
    ]
}

fn entry(ns: &str, backends: &[SocketAddr]) -> Value {
    let endpoints: Vec<Value> = backends.iter().map(|b| json!({"address": b.ip().to_string(), "ports": {"http": b.port()}})).collect();
    let ports = json!([{"number": 80, "name": "http", "protocol": "HTTP"}]);
    let spec =
        json!({"hosts": [format!("shop.{ns}.test")], "location": "MESH_EXTERNAL", "resolution": "STATIC", "ports": ports, "endpoints": endpoints});
    istio("ServiceEntry", ns, "shop", &spec)
}

/// Starts a gateway and waits until it serves.
fn serving(ip: IpAddr, port: u16, from: &str, settings: &str) -> Gateway {
    let gateway = Gateway::reading(ip, from, settings);
    assert!(wait::holds(PATIENCE, || gateway.ready()), "{}", gateway.log());
    assert!(wait::holds(PATIENCE, || TcpStream::connect(gateway.at(port)).is_ok()), "{}", gateway.log());
    gateway
}

#[test]
fn a_gateway_serves_on_while_its_api_servers_die_and_starts_again_without_them() {
    let mut servers = alone();
    let (ns, port) = ("serving", 8080);
    let (ip, state) = (own_address(), tempfile::tempdir().expect("a folder"));
    let backend = Backend::named(ip, "one");
    let mut objects = front(ns, port).to_vec();
    objects.push(entry(ns, &[backend.address]));
    objects.iter().for_each(|object| servers.0[0].apply(object));
    servers.0[0].apply(&remote_secret(ns, "two", &[("cluster2", &servers.0[1].kubeconfig("admintoken"))]));
    let from = format!("kubeconfig: {}", servers.0[0].kubeconfig_file().display());
    let settings = format!("remoteSecrets: {{namespace: {ns}}}\nstate: {}\ngrace: 0s\ndrain: 1s\n", state.path().display());
    let gateway = serving(ip, port, &from, &settings);
    let listed = || gateway.log().contains("cluster listed cluster=cluster2");
    assert!(wait::holds(PATIENCE, listed), "{}", gateway.log());

    // Under load, both API servers are killed, and the first one comes back.
    let load = Load::start(gateway.at(port), 2);
    servers.0[0].kill();
    servers.0[1].kill();
    assert!(wait::holds(PATIENCE, || gateway.log().matches("source lost").count() >= 2), "{}", gateway.log());
    servers.0[0].start();
    assert!(wait::holds(PATIENCE, || gateway.log().contains("source is back")), "{}", gateway.log());
    let seen = load.stop();
    assert!(failed(&seen).is_empty(), "{:?} {}", failed(&seen), gateway.log());
    assert!(seen.len() > 100, "{}", seen.len());
    drop(gateway);

    servers.0[0].kill();
    let begun = Instant::now();
    let gateway = Gateway::reading(ip, &from, &settings);
    let answers = || TcpStream::connect(gateway.at(port)).is_ok() && wire::ask(gateway.at(port), HOST, "/").is_some_and(|m| m.status() == 200);
    assert!(wait::holds(PATIENCE, answers), "{}", gateway.log());
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?} {}", begun.elapsed(), gateway.log());
    assert!(wait::holds(PATIENCE, || gateway.ready()), "{}", gateway.log());
    assert!(gateway.log().contains("restored from disk"), "{}", gateway.log());
    servers.0[0].start();
    servers.0[1].start();
    assert!(wait::holds(PATIENCE, || gateway.log().contains("source is back")), "{}", gateway.log());
    objects.iter().skip(1).for_each(|object| servers.0[0].delete(object));
}

#[test]
fn watches_that_are_cut_every_second_for_a_minute_cost_no_request_and_hide_no_change() {
    let servers = servers();
    let one = &servers.0[0];
    let (ns, port) = ("cut", 8081);
    let (ip, folder) = (own_address(), tempfile::tempdir().expect("a folder"));
    let backends = [Backend::named(ip, "even"), Backend::named(ip, "odd")];
    let objects = front(ns, port);
    objects.iter().for_each(|object| one.apply(object));
    one.apply(&entry(ns, &[backends[0].address]));
    let reached = Reached::new(one);
    let from = format!("kubeconfig: {}", reached.file(folder.path()).display());
    let gateway = serving(ip, port, &from, &format!("remoteSecrets: {{namespace: {ns}}}\ngrace: 0s\ndrain: 1s\n"));
    let answer = || wire::ask(gateway.at(port), HOST, "/").map(|m| m.text()).unwrap_or_default();
    assert!(wait::holds(PATIENCE, || answer().ends_with("even")), "{}", gateway.log());

    let load = Load::start(gateway.at(port), 2);
    reached.between.cut_every(Duration::from_secs(1));
    let begun = Instant::now();
    let mut changes = 0;
    while begun.elapsed() < Duration::from_secs(60) {
        changes += 1;
        let now = &backends[changes % 2];
        one.apply(&entry(ns, &[now.address]));
        let name = if changes % 2 == 1 { "odd" } else { "even" };
        assert!(wait::holds(Duration::from_secs(10), || answer().ends_with(name)), "change {changes} is not seen: {}", gateway.log());
        // The next one falls at another moment between two cuts.
        std::thread::park_timeout(Duration::from_millis(1300));
    }
    reached.between.cut_every(Duration::ZERO);
    let seen = load.stop();
    assert!(failed(&seen).is_empty(), "{:?} {}", failed(&seen), gateway.log());
    assert!(seen.len() > 200 && changes > 10 && reached.between.cuts() > 100, "{} {changes} {}", seen.len(), reached.between.cuts());
    assert!(!gateway.log().contains("source lost"), "a connection that is cut is opened again before anything is said: {}", gateway.log());
    objects.iter().skip(1).for_each(|object| one.delete(object));
    one.delete(&entry(ns, &[]));
}
