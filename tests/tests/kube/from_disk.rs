//! A start with every API server down: log, metric, `get clusters` and readiness say that the world is from disk, and all four take
//! it back when the API servers return.

use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use isthmus_tests::gateway::{ADMIN, Gateway, METRICS, STATUS, own_address};
use isthmus_tests::kube::{istio, namespace, remote_secret, servers, slice};
use isthmus_tests::{binary, wait};
use serde_json::{Value, json};

use super::Reached;

const PATIENCE: Duration = Duration::from_secs(60);
const NS: &str = "from-disk";
const CLUSTERS: [&str; 2] = ["cluster1", "cluster2"];

/// What the four places say of a cluster: read from disk, or not.
#[derive(Debug, PartialEq, Eq)]
struct Said {
    metric: Option<String>,
    row: (Value, Value),
    table: String,
    ready: bool,
}

fn isthmus(gateway: &Gateway, words: &[&str]) -> Output {
    let admin = format!("http://{}", gateway.at(ADMIN));
    Command::new(binary::isthmus()).args(words).args(["--admin", &admin]).output().expect("the built gateway can be started")
}

/// Checks a file over what the gateway knows: nothing is wrong with it, and this is said of each cluster.
fn check(gateway: &Gateway, file: &Path, said: &str) {
    let checked = isthmus(gateway, &["check", &file.display().to_string()]);
    let (text, told) = (String::from_utf8_lossy(&checked.stdout), String::from_utf8_lossy(&checked.stderr));
    assert_eq!(checked.status.code(), Some(0), "{text} {told}");
    assert!(text.contains("1 route, 1 backend"), "{text} {told}");
    assert!(CLUSTERS.iter().all(|cluster| told.contains(&format!("cluster {cluster}: {said}"))), "{said}: {told}");
}

fn said(gateway: &Gateway, cluster: &str) -> Said {
    let page = |port, path| gateway.fetch(port, path).map(|m| m.text()).unwrap_or_default();
    let series = format!("isthmus_cluster_from_disk{{cluster=\"{cluster}\"}} ");
    let metric = page(METRICS, "/stats/prometheus").lines().find_map(|line| line.strip_prefix(&series).map(str::to_owned));
    let rows: Value = serde_json::from_str(&page(ADMIN, "/remote-clusters")).unwrap_or_default();
    let row = rows.as_array().into_iter().flatten().find(|row| row["name"] == cluster).cloned().unwrap_or_default();
    let table = String::from_utf8_lossy(&isthmus(gateway, &["get", "clusters", "-o", "wide"]).stdout).into_owned();
    let cells = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let from = table.lines().map(cells).find(|cells| cells.first().is_some_and(|name| name == cluster)).and_then(|cells| cells.get(6).cloned());
    let ready =
        page(STATUS, "/healthz/ready").lines().any(|line| line.starts_with(&format!("cluster {cluster} is")) && line.contains("served from disk"));
    Said { metric, row: (row["status"].clone(), row["fromDisk"].clone()), table: from.unwrap_or_default(), ready }
}

fn disk() -> Said {
    Said { metric: Some("1".into()), row: ("stale".into(), true.into()), table: "disk".into(), ready: true }
}

fn source() -> Said {
    Said { metric: Some("0".into()), row: ("synced".into(), false.into()), table: "source".into(), ready: false }
}

#[test]
fn a_start_from_disk_is_said_in_four_places_and_taken_back_in_all_of_them() {
    let servers = servers();
    let [one, two, ..] = &servers.0[..] else { panic!("three API servers") };
    let (folder, state) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
    let reached = [one, two].map(Reached::new);
    one.apply(&namespace(NS));
    two.serve(NS, "shop", &["10.2.0.1"]);
    let secret = remote_secret(NS, "two", &[("cluster2", &reached[1].kubeconfig)]);
    one.apply(&secret);
    let from = format!("kubeconfig: {}", reached[0].file(folder.path()).display());
    let settings = format!("remoteSecrets: {{namespace: {NS}}}\nstate: {}\ngrace: 0s\ndrain: 1s\n", state.path().display());
    let ip = own_address();
    let gateway = Gateway::reading(ip, &from, &settings);
    let both = |gateway: &Gateway, want: &dyn Fn() -> Said| CLUSTERS.iter().all(|cluster| said(gateway, cluster) == want());
    assert!(wait::holds(PATIENCE, || both(&gateway, &source)), "{:?} {}", CLUSTERS.map(|c| said(&gateway, c)), gateway.log());
    let kept = |cluster: &str, kind: &str| state.path().join(cluster).join(format!("{kind}.state"));
    let written = || std::fs::read_to_string(kept("cluster2", "EndpointSlice")).is_ok_and(|t| t.contains("10.2.0.1"));
    let whole = |cluster: &str, count: usize| {
        let files = std::fs::read_dir(state.path().join(cluster)).into_iter().flatten().flatten();
        files.filter(|file| file.path().extension().is_some_and(|e| e == "state")).count() == count
    };
    let all = || written() && whole("cluster1", 12) && whole("cluster2", 6);
    assert!(wait::holds(PATIENCE, all), "{}", gateway.log());
    assert!(!gateway.log().contains("restored from disk"), "{}", gateway.log());
    // A route to a service that only the member has.
    let rules = folder.path().join("rules.yaml");
    let server = json!({"port": {"number": 80, "name": "http", "protocol": "HTTP"}, "hosts": ["*"]});
    let gw = istio("Gateway", NS, "gw", &json!({"selector": {"istio": "ingressgateway"}, "servers": [server]}));
    let route =
        istio("VirtualService", NS, "r", &json!({"hosts": ["a.test"], "gateways": ["gw"], "http": [{"route": [{"destination": {"host": "shop"}}]}]}));
    std::fs::write(&rules, format!("{gw}\n---\n{route}\n")).expect("a file");
    check(&gateway, &rules, "as its API server has it now");
    drop(gateway);

    reached.iter().for_each(|r| r.between.refuse());
    let begun = Instant::now();
    let gateway = Gateway::reading(ip, &from, &settings);
    assert!(wait::holds(PATIENCE, || gateway.ready()), "{}", gateway.log());
    let took = begun.elapsed();
    assert!(took < Duration::from_secs(10), "{took:?} {}", gateway.log());
    let log = |cluster: &str, words: &str| gateway.log().lines().any(|line| line.contains(words) && line.contains(cluster));
    assert!(CLUSTERS.iter().all(|cluster| log(cluster, "restored from disk")), "{}", gateway.log());
    assert!(wait::holds(PATIENCE, || both(&gateway, &disk)), "{:?} {}", CLUSTERS.map(|c| said(&gateway, c)), gateway.log());

    check(&gateway, &rules, "as `state` has kept it, since its API server cannot be read: ");

    reached.iter().for_each(|r| r.between.let_through());
    assert!(wait::holds(PATIENCE, || both(&gateway, &source)), "{:?} {}", CLUSTERS.map(|c| said(&gateway, c)), gateway.log());
    assert!(wait::holds(PATIENCE, || CLUSTERS.iter().all(|cluster| log(cluster, "source is back"))), "{}", gateway.log());
    two.apply(&slice(NS, "shop", &["10.2.0.1", "10.2.0.2"]));
    let rows = || gateway.fetch(ADMIN, "/endpoints").map(|m| m.text()).unwrap_or_default();
    assert!(wait::holds(PATIENCE, || rows().contains("10.2.0.2:8080")), "{}", gateway.log());
    // Lost again, it is stale, and known as it was last.
    reached.iter().for_each(|r| r.between.refuse());
    let stale = |cluster: &&str| said(&gateway, cluster).row == ("stale".into(), false.into());
    assert!(wait::holds(PATIENCE, || CLUSTERS.iter().all(&stale)), "{}", gateway.log());
    check(&gateway, &rules, "stale, as its API server had it at 20");
    one.delete(&secret);
}
