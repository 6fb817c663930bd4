//! Limits under a storm: clients that hang up at any moment leave nothing behind, and no count is ever beyond its limit.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use isthmus_tests::backend::{Backend, ok};
use isthmus_tests::gateway::{ADMIN, Gateway, own_address};
use isthmus_tests::wire::{self, Client};
use isthmus_tests::{wait, world};

/// How many clients come, and how many at once.
const CLIENTS: usize = 1000;
const AT_ONCE: usize = 16;

/// One HTTP server; `pool` is the connectionPool of its only backend.
fn limited(endpoints: &[std::net::SocketAddr], pool: &str) -> String {
    let rule = format!(
        "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{name: limits, namespace: default}}\n\
         spec: {{host: backend.test, trafficPolicy: {{connectionPool: {pool}}}}}\n---\n"
    );
    world::simple(endpoints) + &rule
}

/// Numbers by chance, the same in every run.
fn chance(seed: u64, below: u64) -> u64 {
    let mut x = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (x ^ (x >> 31)) % below
}

/// What the backend's counts are, by Envoy's names.
fn stats(gateway: &Gateway) -> BTreeMap<String, u64> {
    let page = gateway.fetch(ADMIN, "/stats?filter=backend.test").map(|m| m.text()).unwrap_or_default();
    let of = |line: &str| {
        let (name, value) = line.rsplit_once(": ")?;
        Some((name.rsplit_once("backend.test.")?.1.to_owned(), value.trim().parse().ok()?))
    };
    page.lines().filter_map(of).collect()
}

fn storm(pool: &str, most: &[(&str, u64)]) {
    let ip = own_address();
    let served = AtomicU64::new(0);
    let backend = Backend::start(ip, move |peer| {
        while let Some(request) = peer.request() {
            // An answer takes a moment of its own, so that others wait meanwhile.
            std::thread::park_timeout(Duration::from_micros(chance(served.fetch_add(1, Ordering::Relaxed), 2000)));
            if !peer.write(ok(&request, "x")) {
                return;
            }
        }
    });
    let gateway = Gateway::start(ip, &limited(&[backend.address], pool));
    let (next, over) = (AtomicUsize::new(0), AtomicBool::new(false));
    let answered: Vec<u16> = std::thread::scope(|s| {
        let watch = s.spawn(|| {
            while !over.load(Ordering::SeqCst) {
                let now = stats(&gateway);
                for (name, limit) in most {
                    assert!(now.get(*name).is_some_and(|used| used <= limit), "{name}: {now:?}");
                }
            }
        });
        let clients: Vec<_> = (0..AT_ONCE)
            .map(|_| {
                s.spawn(|| {
                    let mut answered = Vec::new();
                    loop {
                        let n = next.fetch_add(1, Ordering::SeqCst);
                        if n >= CLIENTS {
                            return answered;
                        }
                        let mut client = Client::connect(gateway.http());
                        let whole = "POST / HTTP/1.1\r\nhost: a.test\r\ncontent-length: 5\r\n\r\nhello";
                        let kind = chance(n as u64, 4);
                        let cut = if kind == 0 { chance(n as u64 + 7, whole.len() as u64) as usize } else { whole.len() };
                        client.send(&whole[..cut]);
                        match kind {
                            // It leaves in mid-request, or after a moment, or stays for its answer.
                            0 => {}
                            1 => std::thread::park_timeout(Duration::from_micros(chance(n as u64 + 3, 3000))),
                            _ => answered.extend(client.response("POST").map(|m| m.status())),
                        }
                    }
                })
            })
            .collect();
        let answered = clients.into_iter().flat_map(|c| c.join().expect("no client panics")).collect();
        over.store(true, Ordering::SeqCst);
        watch.join().expect("no count is beyond its limit");
        answered
    });
    let ok = answered.iter().filter(|status| **status == 200).count();
    assert!(ok > 0 && answered.iter().all(|status| [200, 503].contains(status)), "{pool}: {ok} of {}", answered.len());
    let idle = |now: &BTreeMap<String, u64>| {
        let zero =
            ["upstream_rq_active", "upstream_rq_pending_active", "circuit_breakers.default.rq_pending_open", "circuit_breakers.default.rq_open"];
        zero.iter().all(|name| now.get(*name) == Some(&0))
    };
    assert!(wait::holds(Duration::from_secs(10), || idle(&stats(&gateway))), "{pool}: {:?}", stats(&gateway));
    for n in 0..20 {
        let got = wire::ask(gateway.http(), "a.test", "/after").map(|m| m.status());
        assert_eq!(got, Some(200), "request {n} after the storm, {pool}: {:?}", stats(&gateway));
    }
}

#[test]
fn one_connection_and_one_in_line() {
    storm(
        "{tcp: {maxConnections: 1}, http: {http1MaxPendingRequests: 1}}",
        &[("upstream_cx_active", 1), ("upstream_rq_active", 1), ("upstream_rq_pending_active", 1)],
    );
}

#[test]
fn every_limit_at_once_and_connections_that_carry_three_requests() {
    storm(
        "{tcp: {maxConnections: 2}, http: {http1MaxPendingRequests: 3, http2MaxRequests: 1, maxRetries: 1, maxRequestsPerConnection: 3}}",
        &[("upstream_cx_active", 2), ("upstream_rq_active", 1), ("upstream_rq_pending_active", 3)],
    );
}

/// A limit that comes, is lowered and goes again while requests run: idle connections from before are not in the way, and nothing is stuck.
#[test]
fn limits_change_while_requests_run() {
    let ip = own_address();
    let backends = [Backend::named(ip, "one"), Backend::named(ip, "two")];
    let endpoints = [backends[0].address, backends[1].address];
    let pool = |n: u64| limited(&endpoints, &format!("{{tcp: {{maxConnections: {n}}}, http: {{http1MaxPendingRequests: 64}}}}"));
    let gateway = Gateway::start(ip, &world::simple(&endpoints));
    let (over, answered) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|s| {
        let clients: Vec<_> = (0..4)
            .map(|_| {
                s.spawn(|| {
                    let mut client = Client::connect(gateway.http());
                    while !over.load(Ordering::SeqCst) {
                        client.send("GET / HTTP/1.1\r\nhost: a.test\r\n\r\n");
                        assert_eq!(client.response("GET").map(|m| m.status()), Some(200));
                        answered.fetch_add(1, Ordering::SeqCst);
                    }
                })
            })
            .collect();
        for limit in [1, 3, 1, 0, 1] {
            gateway.change(&if limit == 0 { world::simple(&endpoints) } else { pool(limit) });
            let in_force = |now: &BTreeMap<String, u64>| match now.get("circuit_breakers.default.remaining_cx") {
                Some(left) => now.get("upstream_cx_active").is_some_and(|open| open + left == limit),
                None => limit == 0 && now.contains_key("upstream_cx_active"),
            };
            assert!(wait::holds(Duration::from_secs(10), || in_force(&stats(&gateway))), "{limit}: {:?}", stats(&gateway));
            let before = answered.load(Ordering::SeqCst);
            let on = || answered.load(Ordering::SeqCst) > before + 50;
            assert!(wait::holds(Duration::from_secs(10), on), "stuck at a limit of {limit}: {:?}", stats(&gateway));
        }
        over.store(true, Ordering::SeqCst);
        for client in clients {
            client.join().expect("every request is answered 200");
        }
    });
}
