//! Machines that a gateway probes: one that goes bad gets no traffic, and gets it again when it is well.

use std::net::SocketAddr;
use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use isthmus_tests::backend::{Backend, ok};
use isthmus_tests::gateway::{ADMIN, Gateway, METRICS, own_address};
use isthmus_tests::{binary, wait, wire, world};
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(20);

/// A machine whose `/ready` says what its switch does, and which answers everything else with its name.
fn machine(ip: std::net::IpAddr, name: &'static str) -> (Backend, Arc<AtomicBool>) {
    let well = Arc::new(AtomicBool::new(true));
    let switch = well.clone();
    let backend = Backend::start(ip, move |peer| {
        while let Some(request) = peer.request() {
            if request.start.contains("/ready") && !switch.load(Ordering::Relaxed) {
                peer.write("HTTP/1.1 500 x\r\ncontent-length: 0\r\n\r\n");
            } else {
                peer.write(ok(&request, name));
            }
        }
    });
    (backend, well)
}

fn entry(name: &str, at: SocketAddr) -> String {
    format!(
        "apiVersion: networking.istio.io/v1\nkind: WorkloadEntry\nmetadata: {{name: {name}, namespace: default}}\nspec: {{address: {}, ports: {{http: {}}}, labels: {{app: vm, of: {name}}}}}\n---\n",
        at.ip(),
        at.port()
    )
}

/// Two machines behind one host; both are probed at the same port, so each has an address of its own.
fn objects(first: SocketAddr, second: SocketAddr, probe: &str) -> String {
    let service = "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: vm, namespace: default}\nspec:\n  hosts: [vm.test]\n  resolution: STATIC\n  \
                   ports: [{number: 80, name: http, protocol: HTTP}]\n  workloadSelector: {labels: {app: vm}}\n---\n";
    let group = format!(
        "apiVersion: networking.istio.io/v1\nkind: WorkloadGroup\nmetadata: {{name: vms, namespace: default}}\nspec: {{metadata: {{labels: {{app: vm}}}}, template: {{}}{probe}}}\n"
    );
    world::server("front", 8080, "HTTP")
        + service
        + &world::route("all", "*", "front", "vm.test")
        + &entry("first", first)
        + &entry("second", second)
        + &group
}

fn isthmus(gateway: &Gateway, args: &[&str]) -> Output {
    let admin = format!("http://{}", gateway.at(ADMIN));
    Command::new(binary::isthmus()).args(args).args(["--admin", &admin]).output().expect("the built gateway can be started")
}

/// Status and probe of the endpoint of an entry.
fn endpoint(gateway: &Gateway, name: &str) -> (String, String) {
    let shown = isthmus(gateway, &["get", "endpoints", "-o", "json"]);
    let rows: Value = serde_json::from_slice(&shown.stdout).expect("JSON");
    let row = rows.as_array().and_then(|rows| rows.iter().find(|row| row["workload"] == name)).cloned().unwrap_or_default();
    let text = |key: &str| row[key].as_str().unwrap_or_default().to_owned();
    (text("status"), text("probe"))
}

#[test]
fn a_machine_that_goes_bad_gets_no_traffic_until_it_is_well_again() {
    let ip = own_address();
    let (first, well) = machine(ip, "first");
    let (second, _) = machine(own_address(), "second");
    // Only the first is asked at this port; nobody listens there at the other address, which fails from the start.
    let probe = format!(", probe: {{periodSeconds: 1, failureThreshold: 2, httpGet: {{path: /ready, port: {}}}}}", first.address.port());
    let gateway = Gateway::start(ip, &objects(first.address, second.address, ""));
    let answers = |count: usize| -> Vec<String> {
        let asked = (0..count).map(|_| wire::ask(gateway.http(), "vm.test", "/").map(|m| format!("{} {}", m.status(), m.text())));
        let mut all: Vec<String> = asked.map(Option::unwrap_or_default).collect();
        all.sort();
        all.dedup();
        all
    };
    assert!(wait::holds(PATIENCE, || answers(8) == ["200 first", "200 second"]), "without a probe both serve: {:?}", answers(8));

    gateway.change(&objects(first.address, second.address, &probe));
    assert!(wait::holds(PATIENCE, || endpoint(&gateway, "second").0 == "UNHEALTHY"), "the second fails its probe: {}", gateway.log());
    assert_eq!(answers(8), ["200 first"]);
    let (status, told) = endpoint(&gateway, "second");
    assert!(status == "UNHEALTHY" && told.starts_with("failed since 20") && told.contains("refused"), "{status} {told}");
    assert_eq!(endpoint(&gateway, "first"), ("HEALTHY".to_owned(), String::new()));

    // Under load one goes bad: with nobody left the gateway says so, and not one request reaches a machine that is known to be ill.
    well.store(false, Ordering::Relaxed);
    assert!(wait::holds(PATIENCE, || answers(4) == ["503 no healthy upstream"]), "{:?} {}", answers(4), gateway.log());
    assert!(endpoint(&gateway, "first").1.contains("answered 500"), "{:?}", endpoint(&gateway, "first"));
    let metrics = gateway.fetch(METRICS, "/stats/prometheus").map(|m| m.text()).unwrap_or_default();
    assert!(metrics.contains("isthmus_probe_failing{cluster=\"cluster1\",namespace=\"default\",entry=\"first\"} 1"), "{metrics}");
    well.store(true, Ordering::Relaxed);
    assert!(wait::holds(PATIENCE, || answers(8) == ["200 first"]), "{:?} {}", answers(8), gateway.log());
    let log = gateway.log();
    assert!(log.contains("probe failed, no traffic until it succeeds") && log.contains("probe succeeded"), "{log}");

    gateway.change(&objects(first.address, second.address, ""));
    assert!(wait::holds(PATIENCE, || answers(8) == ["200 first", "200 second"]), "without a probe both serve again: {:?}", answers(8));
}

/// Ends the load when it is dropped, in whatever way.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn one_bad_machine_of_two_costs_no_request() {
    let ip = own_address();
    let ((first, well), (second, _)) = (machine(ip, "first"), machine(own_address(), "second"));
    // One group each, since the machines listen on different ports.
    let group = |name: &str, port: u16| {
        format!(
            "---\napiVersion: networking.istio.io/v1\nkind: WorkloadGroup\nmetadata: {{name: {name}, namespace: default}}\nspec: {{metadata: {{labels: {{app: vm, of: {name}}}}}, template: {{}}, probe: {{periodSeconds: 1, failureThreshold: 1, httpGet: {{path: /ready, port: {port}}}}}}}\n"
        )
    };
    let text = objects(first.address, second.address, "");
    let gateway = Gateway::start(ip, &(text + &group("first", first.address.port()) + &group("second", second.address.port())));
    let (http, ended) = (gateway.http(), AtomicBool::new(false));
    let wrong = std::thread::scope(|scope| {
        let load = scope.spawn(|| {
            let mut wrong = Vec::new();
            while !ended.load(Ordering::Relaxed) {
                let status = wire::ask(http, "vm.test", "/").map(|m| m.status());
                wrong.extend(Some(status).filter(|s| *s != Some(200)));
            }
            wrong
        });
        let ends = Ends(&ended);
        for round in 0..2 {
            well.store(false, Ordering::Relaxed);
            assert!(wait::holds(PATIENCE, || endpoint(&gateway, "first").0 == "UNHEALTHY"), "round {round}: {}", gateway.log());
            assert_eq!(endpoint(&gateway, "second").0, "HEALTHY");
            well.store(true, Ordering::Relaxed);
            assert!(wait::holds(PATIENCE, || endpoint(&gateway, "first").0 == "HEALTHY"), "round {round}: {}", gateway.log());
        }
        drop(ends);
        load.join().expect("the load ends")
    });
    assert_eq!(wrong, [], "{}", gateway.log());
}
