//! Drills of many at once: a whole cluster gone silent, slow backends, clients that hang up by the thousand, limits and faults beside ejection.

use std::io::Write as _;
use std::net::{IpAddr, TcpStream};
use std::time::{Duration, Instant};

use isthmus_tests::drill::{self, Load, Pod, failed};
use isthmus_tests::gateway::{ADMIN, Gateway, own_address};
use isthmus_tests::namespace::{self, Network};
use isthmus_tests::{wait, wire, world};
use serde_json::Value;

const SECOND: Duration = Duration::from_secs(1);
const CONNECT: &str = "connectionPool: {tcp: {connectTimeout: 1s}}";
const EJECTION: &str = "outlierDetection: {consecutive5xxErrors: 1, interval: 1s, baseEjectionTime: 60s, maxEjectionPercent: 100}";

fn pod(network: &Network, last: [u8; 2], name: &'static str) -> Pod {
    let ip: IpAddr = [10, 244, last[0], last[1]].into();
    network.add(ip);
    Pod::start(ip, name)
}

/// The endpoints of the drill as the admin tells them.
fn endpoints(gateway: &Gateway) -> Vec<Value> {
    let text = gateway.fetch(ADMIN, "/endpoints").map(|m| m.text()).unwrap_or_default();
    serde_json::from_str(&text).unwrap_or_default()
}

fn ejected(gateway: &Gateway) -> usize {
    endpoints(gateway).iter().filter(|e| e["outlierCheck"] == "FAILED").count()
}

/// A service of one cluster: its endpoints have one port, and stand in one zone.
fn cluster(region: &str, pods: &[&Pod]) -> String {
    let mut text = format!(
        "apiVersion: v1\nkind: Node\nmetadata: {{name: n, labels: {{topology.kubernetes.io/region: {region}, topology.kubernetes.io/zone: z1}}}}\n---\n\
         apiVersion: v1\nkind: Service\nmetadata: {{name: drill, namespace: default}}\nspec: {{ports: [{{name: http, port: 80}}]}}\n---\n"
    );
    for (i, pod) in pods.iter().enumerate() {
        let (ip, port) = (pod.address.ip(), pod.address.port());
        text.push_str(&format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: p{i}, namespace: default}}\nspec: {{nodeName: n}}\nstatus: {{podIP: {ip}, phase: Running}}\n---\n\
             apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\naddressType: IPv4\nmetadata: {{name: drill-{i}, namespace: default, labels: {{kubernetes.io/service-name: drill}}}}\n\
             ports: [{{name: http, port: {port}}}]\nendpoints: [{{addresses: ['{ip}'], nodeName: n, conditions: {{ready: true}}, targetRef: {{kind: Pod, name: p{i}, namespace: default}}}}]\n---\n"
        ));
    }
    text
}

#[test]
fn a_cluster_that_falls_silent_with_its_source_moves_to_the_other() {
    namespace::inside("a_cluster_that_falls_silent_with_its_source_moves_to_the_other", |network| {
        let near = [pod(network, [1, 1], "near"), pod(network, [1, 2], "near")];
        let far = [pod(network, [2, 1], "far"), pod(network, [2, 2], "far")];
        near.iter().chain(&far).for_each(Pod::close_each);
        let host = "drill.default.svc.cluster.local";
        let rules = format!(
            "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{name: drill, namespace: default}}\nspec:\n  host: {host}\n  trafficPolicy: \
             {{{CONNECT}, loadBalancer: {{localityLbSetting: {{enabled: true}}}}, {EJECTION}}}\n---\n"
        );
        let world = world::server("front", 8080, "HTTP")
            + &rules
            + &world::routes("all", "*", &["front"], &format!("  http:\n  - timeout: 5s\n    route:\n    - destination: {{host: {host}}}\n"));
        let clusters = tempfile::tempdir().expect("there is a place for temporary files");
        let folder = |name: &str| clusters.path().join(name);
        for (name, text) in [("one", world + &cluster("r9", &[&far[0], &far[1]])), ("two", cluster("r1", &[&near[0], &near[1]]))] {
            std::fs::create_dir(folder(name)).expect("a temporary folder can be written");
            std::fs::write(folder(name).join("objects.yaml"), text).expect("a temporary folder can be written");
        }
        let from = format!("path: {}}}, {{name: cluster2, path: {}", folder("one").display(), folder("two").display());
        let gateway = Gateway::reading(own_address(), &from, "");
        assert!(wait::holds(20 * SECOND, || gateway.ready()), "{}", gateway.log());
        let load = Load::start(gateway.http(), 8);
        load.runs(200);
        assert!(load.samples().iter().all(|s| s.by == "near"), "the region that we stand in serves: {:?}", load.samples().first());
        std::fs::rename(folder("two"), folder("gone")).expect("a folder can be moved");
        near.iter().for_each(|p| network.silence(p.address.ip()));
        let event = Instant::now();
        assert!(wait::holds(20 * SECOND, || load.samples().iter().filter(|s| s.sent > event && s.by == "far").count() >= 300), "{}", gateway.log());
        let known = endpoints(&gateway).len();
        let samples = load.stop();
        let lost: Vec<_> = failed(&samples).into_iter().filter(|s| s.sent > event).collect();
        let moved = samples.iter().filter(|s| s.sent > event && s.took >= Duration::from_millis(900)).map(|s| s.sent + s.took).max();
        let moved = moved.map_or(Duration::ZERO, |t| t.saturating_duration_since(event));
        namespace::measured(&format!("{} of {} failed ({} sent after), moved within {moved:?}", failed(&samples).len(), samples.len(), lost.len()));
        assert!(lost.is_empty(), "{lost:?}");
        // Two endpoints to find out about, each within connectTimeout + 1 s.
        assert!(moved <= 6 * SECOND, "{moved:?}");
        assert_eq!(known, 4, "what a lost source told is still known");
    });
}

#[test]
fn a_slow_backend_gets_less_and_fails_nothing() {
    namespace::inside("a_slow_backend_gets_less_and_fails_nothing", |network| {
        let pods = [pod(network, [1, 1], "a"), pod(network, [1, 2], "b"), pod(network, [1, 3], "c")];
        let all: Vec<_> = pods.iter().map(|p| (p.address, "r1/z1")).collect();
        let gateway = Gateway::start(own_address(), &drill::world(&all, &format!("{{{CONNECT}}}"), ""));
        pods[0].slow(Duration::from_millis(400));
        let load = Load::start(gateway.http(), 8);
        load.runs(800);
        let samples = load.stop();
        let slow = samples.iter().filter(|s| s.by == "a").count();
        namespace::measured(&format!("{slow} of {} went to the slow one of three", samples.len()));
        assert!(failed(&samples).is_empty(), "{:?}", failed(&samples));
        assert!(slow > 0 && slow * 5 < samples.len(), "least load: {slow} of {}", samples.len());
    });
}

/// What the process holds: open files, resident memory in kB.
fn held(gateway: &Gateway) -> (usize, usize) {
    let files = std::fs::read_dir(format!("/proc/{}/fd", gateway.pid())).map_or(0, Iterator::count);
    let status = std::fs::read_to_string(format!("/proc/{}/status", gateway.pid())).unwrap_or_default();
    let resident = status.lines().find_map(|l| l.strip_prefix("VmRSS:")).and_then(|l| l.split_whitespace().next()?.parse().ok());
    (files, resident.unwrap_or_default())
}

#[test]
fn ten_thousand_clients_that_hang_up_leave_nothing_behind() {
    namespace::inside("ten_thousand_clients_that_hang_up_leave_nothing_behind", |network| {
        let pods = [pod(network, [1, 1], "a"), pod(network, [1, 2], "b")];
        pods.iter().for_each(|p| p.slow(Duration::from_millis(60)));
        let all: Vec<_> = pods.iter().map(|p| (p.address, "r1/z1")).collect();
        let limits = "{connectionPool: {tcp: {maxConnections: 40}, http: {http1MaxPendingRequests: 60, maxRetries: 5}}}";
        let gateway = Gateway::start(own_address(), &drill::world(&all, limits, ""));
        let storm = |clients: usize| {
            std::thread::scope(|scope| {
                for thread in 0..20 {
                    let at = gateway.http();
                    scope.spawn(move || (0..clients / 20).for_each(|i| hang_up(at, thread + i)));
                }
            });
        };
        // Half of them for what a storm makes for good: buffers, pools, threads.
        storm(5_000);
        let idle = || endpoints(&gateway).iter().all(|e| e["active"] == 0);
        assert!(wait::holds(20 * SECOND, idle), "no request is left: {:?}", endpoints(&gateway));
        let quiet = || wait::until(20 * SECOND, || Some(held(&gateway)).filter(|h| h.0 < 200));
        let before = quiet().expect("connections end");
        storm(5_000);
        assert!(wait::holds(30 * SECOND, idle), "no request is left: {:?}", endpoints(&gateway));
        let after = quiet().expect("connections end");
        namespace::measured(&format!(
            "files {} then {}, memory {} kB then {} kB, {} requests reached a pod",
            before.0,
            after.0,
            before.1,
            after.1,
            pods[0].hits() + pods[1].hits()
        ));
        assert!(pods[0].hits() + pods[1].hits() > 200, "many were under way");
        assert!(after.1 < before.1 + 32_000, "memory: {before:?} then {after:?} kB");
        let answers: Vec<_> = (0..50).map(|_| wire::ask(gateway.http(), "drill.test", "/").map(|m| m.status())).collect();
        assert!(answers.iter().all(|s| *s == Some(200)), "no permit was lost: {answers:?}");
    });
}

/// One client that goes away: in the request's head, in its body, while it waits, or at once.
fn hang_up(gateway: std::net::SocketAddr, how: usize) {
    let Ok(mut stream) = TcpStream::connect_timeout(&gateway, wire::PATIENCE) else { return };
    let text: &[u8] = match how % 4 {
        0 => b"GET /half HTTP/1.1\r\nhost: drill",
        1 => b"POST /body HTTP/1.1\r\nhost: drill.test\r\ncontent-length: 1000\r\n\r\nabc",
        2 => b"GET /whole HTTP/1.1\r\nhost: drill.test\r\n\r\n",
        _ => b"",
    };
    let _gone_already = stream.write_all(text);
    // Those with a whole request stay until it is under way at a pod, whose answer takes long.
    if how % 4 == 2 {
        std::thread::park_timeout(Duration::from_millis(30 + (how % 40) as u64));
    }
}
#[test]
fn limits_and_faults_never_eject_connect_failures_do() {
    namespace::inside("limits_and_faults_never_eject_connect_failures_do", |network| {
        let [a, b] = [pod(network, [1, 1], "a"), pod(network, [1, 2], "b")];
        let limits = "connectionPool: {tcp: {maxConnections: 1, connectTimeout: 1s}, http: {http1MaxPendingRequests: 1}}";
        let endpoints = [(a.address, "r1/z1"), (b.address, "r1/z1")];
        let gateway = Gateway::start(own_address(), &drill::world(&endpoints, &format!("{{{limits}, {EJECTION}}}"), ""));
        [&a, &b].iter().for_each(|p| p.slow(Duration::from_millis(50)));
        let ejections = || ejected(&gateway);
        let load = Load::start(gateway.http(), 8);
        load.runs(100);
        let overflowed = load.stop().iter().filter(|s| s.status == 503).count();
        assert!(overflowed > 10, "the limit refuses: {overflowed}");
        assert_eq!(ejections(), 0, "overflow is nobody's failure");
        let aborting = drill::world(&endpoints, &format!("{{{EJECTION}}}"), "fault: {abort: {percentage: {value: 100}, httpStatus: 503}}");
        gateway.change(&aborting);
        let faulty = || wire::ask(gateway.http(), "drill.test", "/").is_some_and(|m| m.status() == 503 && m.text().contains("fault"));
        assert!(wait::holds(5 * SECOND, faulty), "the fault is in force");
        assert!((0..20).all(|_| faulty()));
        assert_eq!(ejections(), 0, "a fault of ours is nobody's failure");
        a.kill();
        gateway.change(&drill::world(&endpoints, &format!("{{{CONNECT}, {EJECTION}}}"), ""));
        let meets = || {
            let answer = wire::ask(gateway.http(), "drill.test", "/").map(|m| m.status());
            answer == Some(200) && ejections() == 1
        };
        assert!(wait::holds(10 * SECOND, meets), "a refused connection counts (D-40): {}", gateway.log());
        namespace::measured(&format!("{overflowed} refused by the limit, none of them counted"));
    });
}
