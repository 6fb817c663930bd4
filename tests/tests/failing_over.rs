//! Where traffic goes when something is down, as the commands tell it of the users' own clusters: the rows locality, ambient and
//! circuit-breaker of `tests/input/README.md`, and the page `docs/failing-over.md`, whose every command is run.

use std::fmt::Write as _;
use std::path::Path;
use std::process::{Command, Output};

use isthmus_tests::{binary, project};
use serde_json::Value;

/// Node and service of each cluster's pods: cluster1 to cluster3 are us-central1 to us-central3.
const NODES: [&str; 3] = ["192.168.229.137", "192.168.229.140", "192.168.229.143"];
/// Namespace, name, port, pods in each cluster.
const SERVICES: [(&str, &str, u16, u8); 4] =
    [("istio", "productpage", 9080, 1), ("istio", "reviews", 9080, 2), ("default", "httpbin", 8000, 1), ("sample", "helloworld", 5000, 1)];

/// The users' three clusters with their routes and one rule of theirs. Of the services in `gone` (cluster, name) no pod is left.
fn world(rule: &str, gone: &[(usize, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("there is a place for temporary files");
    let input = project::root().join("tests/input");
    let write = |path: &str, text: &str| std::fs::write(folder.path().join(path), text).expect("a temporary folder can be written");
    let mut clusters = String::new();
    for (i, node) in NODES.iter().enumerate() {
        let name = format!("cluster{}", i + 1);
        std::fs::create_dir_all(folder.path().join(&name)).expect("a temporary folder can be written");
        std::fs::copy(input.join("topology").join(&name).join("nodes.yaml"), folder.path().join(&name).join("nodes.yaml")).expect("nodes");
        let pods = SERVICES.iter().map(|of| service(*of, i + 1, node, gone)).collect::<String>();
        write(&format!("{name}/services.yaml"), &pods);
        clusters.push_str(&format!("- {{name: {name}, path: {name}}}\n"));
    }
    std::fs::create_dir_all(folder.path().join("rules")).expect("a temporary folder can be written");
    for (from, to) in [("companion/routes.yaml", "rules/routes.yaml"), (rule, "rules/rule.yaml")] {
        std::fs::copy(input.join(from), folder.path().join(to)).expect("an example");
    }
    write(
        "isthmus.yaml",
        &format!(
            "gateway: {{cluster: cluster1, namespace: istio-system, locality: us-central1/z1/sz01, labels: {{istio: ingressgateway}}}}\n\
             clusters:\n{clusters}config: {{cluster: cluster1, files: [rules/]}}\n"
        ),
    );
    folder
}

/// A Service with its pods on the cluster's node.
fn service((namespace, name, port, count): (&str, &str, u16, u8), cluster: usize, node: &str, gone: &[(usize, &str)]) -> String {
    let left = if gone.contains(&(cluster, name)) { 0 } else { count };
    let third = SERVICES.iter().position(|s| s.1 == name).unwrap_or_default();
    let mut text = format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: {namespace}}}\n\
         spec: {{selector: {{app: {name}}}, ports: [{{name: http, port: {port}}}]}}\n---\n"
    );
    let mut endpoints = Vec::new();
    for pod in 1..=left {
        let ip = format!("10.{cluster}.{third}.{pod}");
        let _ = write!(
            text,
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}-{pod}, namespace: {namespace}, labels: {{app: {name}, version: v1}}}}\n\
             spec: {{nodeName: {node}}}\nstatus: {{podIP: {ip}}}\n---\n"
        );
        let target = format!("targetRef: {{kind: Pod, name: {name}-{pod}, namespace: {namespace}}}");
        endpoints.push(format!("{{addresses: [{ip}], conditions: {{ready: true}}, nodeName: {node}, {target}}}"));
    }
    let meta = format!("{{name: {name}-x, namespace: {namespace}, labels: {{kubernetes.io/service-name: {name}}}}}");
    let slice = format!("apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\naddressType: IPv4\nmetadata: {meta}\n");
    text + &slice + &format!("ports: [{{name: http, port: {port}}}]\nendpoints: [{}]\n---\n", endpoints.join(", "))
}

fn isthmus(folder: &Path, args: &[&str]) -> Output {
    Command::new(binary::isthmus()).args(args).current_dir(folder).output().expect("the built gateway can be started")
}

fn json(folder: &Path, args: &[&str]) -> Value {
    let all = [args, &["--config", "isthmus.yaml", "-o", "json"]].concat();
    let run = isthmus(folder, &all);
    let told = serde_json::from_slice(&run.stdout);
    assert!(told.is_ok(), "{all:?}: {told:?}: {}", String::from_utf8_lossy(&run.stderr));
    told.unwrap_or_default()
}

/// Percent of traffic by cluster, as `explain` tells it, seen from a region.
fn shares(folder: &Path, host: &str, region: u8) -> [u32; 3] {
    let (url, from) = (format!("http://{host}.example.com/"), format!("us-central{region}/z{region}/sz0{region}"));
    let told = json(folder, &["explain", &url, "--from", &from]);
    let endpoints = told["destinations"][0]["endpoints"].as_array().cloned().unwrap_or_default();
    ["cluster1", "cluster2", "cluster3"].map(|cluster| {
        let of = endpoints.iter().filter(|e| e["cluster"] == cluster).map(|e| e["odds"].as_f64().unwrap_or_default());
        (of.sum::<f64>() * 100.0).round() as u32
    })
}

#[test]
fn failover_goes_home_then_where_the_rule_leads_then_elsewhere() {
    let whole = world("locality/reviews-failover.yaml", &[]);
    let from = |folder: &tempfile::TempDir| [1, 2, 3].map(|region| shares(folder.path(), "reviews", region));
    assert_eq!(from(&whole), [[100, 0, 0], [0, 100, 0], [0, 0, 100]], "home");
    let scaled = world("locality/reviews-failover.yaml", &[(1, "reviews")]);
    assert_eq!(from(&scaled)[0], [0, 100, 0], "the second region when home is scaled to zero");
    let scaled = world("locality/reviews-failover.yaml", &[(2, "reviews")]);
    assert_eq!(from(&scaled)[1], [100, 0, 0], "from us-central2 it leads to us-central1");
    let scaled = world("locality/reviews-failover.yaml", &[(3, "reviews")]);
    assert_eq!(from(&scaled)[2], [100, 0, 0], "and from us-central3");
    let scaled = world("locality/reviews-failover.yaml", &[(1, "reviews"), (2, "reviews")]);
    assert_eq!(from(&scaled), [[0, 0, 100]; 3], "the last one takes everything");
}

#[test]
fn a_cluster_that_goes_is_told_before_it_does() {
    let whole = world("locality/reviews-failover.yaml", &[]);
    let told = json(whole.path(), &["whatif", "--down", "cluster=cluster1"]);
    let finding = told["findings"].as_array().and_then(|f| f.iter().find(|f| f["host"].as_str().is_some_and(|h| h.starts_with("reviews"))).cloned());
    let finding = finding.expect("reviews loses endpoints");
    assert_eq!((&finding["then"][0]["cluster"], finding["then"][0]["share"].as_f64()), (&"cluster2".into(), Some(1.0)), "{finding:#}");
    assert_eq!(finding["outcome"], "moved", "{finding:#}");
    let run = isthmus(whole.path(), &["whatif", "--down", "cluster=cluster1", "--config", "isthmus.yaml"]);
    assert_eq!(run.status.code(), Some(0), "every service has pods elsewhere");
    let all = ["whatif", "--down", "region=us-central1", "--down", "cluster=cluster2", "--down", "zone=z3", "--config", "isthmus.yaml"];
    assert_eq!(isthmus(whole.path(), &all).status.code(), Some(79), "nobody is left");
    let told = String::from_utf8_lossy(&isthmus(whole.path(), &all).stdout).into_owned();
    assert!(told.contains("nobody: 503 UH"), "{told}");
    assert_eq!(isthmus(whole.path(), &["whatif", "--down", "rack=7", "--config", "isthmus.yaml"]).status.code(), Some(64));
}

#[test]
fn distribute_is_by_the_gateways_region_and_has_no_failover() {
    let whole = world("locality/productpage-distribute.yaml", &[]);
    let from = |folder: &tempfile::TempDir| [1, 2, 3].map(|region| shares(folder.path(), "bookinfo", region));
    assert_eq!(from(&whole), [[0, 0, 100], [90, 0, 10], [10, 10, 80]]);
    let matrix = json(whole.path(), &["get", "backends", "9080||productpage", "--matrix"]);
    let rows = matrix[0]["rows"].as_array().cloned().unwrap_or_default();
    let percent = |row: &Value| {
        row["shares"].as_array().cloned().unwrap_or_default().iter().map(|s| (s.as_f64().unwrap_or(-1.0) * 100.0).round() as u32).collect::<Vec<_>>()
    };
    assert_eq!(rows.iter().map(percent).collect::<Vec<_>>(), [[0, 0, 100], [90, 0, 10], [10, 10, 80]], "the matrix says the same: {matrix:#}");
    let gone = world("locality/productpage-distribute.yaml", &[(3, "productpage")]);
    let told = json(gone.path(), &["explain", "http://bookinfo.example.com/"]);
    assert_eq!((&told["answer"]["status"], &told["answer"]["flags"]), (&503.into(), &"UH".into()), "healthy pods at home: {told:#}");
    let told = json(gone.path(), &["explain", "http://bookinfo.example.com/", "--from", "us-central2/z2/sz02"]);
    assert_eq!(told["answer"], Value::Null, "from us-central2 the rest takes all: {told:#}");
    let run = isthmus(whole.path(), &["whatif", "--down", "region=us-central3", "--config", "isthmus.yaml"]);
    let told = String::from_utf8_lossy(&run.stdout);
    assert!(run.status.code() == Some(79) && told.contains("productpage") && told.contains("nobody: 503 UH"), "{told}");
    let checked = json(whole.path(), &["check"]);
    let problems = checked["problems"].as_array().cloned().unwrap_or_default();
    let warned: Vec<&Value> = problems.iter().filter(|p| p["code"] == "ISM0407").map(|p| &p["line"]).collect();
    assert_eq!(warned, [&Value::from(17), &Value::from(20)], "us-central3 names all three and is well: {problems:#?}");
}

#[test]
fn the_own_cluster_comes_first_by_failover_priority() {
    let whole = world("ambient/helloworld.yaml", &[]);
    assert_eq!(shares(whole.path(), "helloworld", 1), [100, 0, 0]);
    let scaled = world("ambient/helloworld.yaml", &[(1, "helloworld")]);
    assert_eq!(shares(scaled.path(), "helloworld", 1), [0, 50, 50], "the others, alike");
}

#[test]
fn limits_are_told_of_the_whole_service_and_of_each_subset() {
    let whole = world("circuit-breaker/httpbin.yaml", &[]);
    let told = json(whole.path(), &["explain", "http://httpbin.example.com/"]);
    let limit = |field: &str| {
        let limits = told["destinations"][0]["limits"].as_array().cloned().unwrap_or_default();
        limits.iter().find(|l| l["field"] == field).map(|l| l["limit"].clone())
    };
    assert_eq!((limit("maxConnections"), limit("http1MaxPendingRequests")), (Some(1.into()), Some(1.into())), "{told:#}");
    assert_eq!(limit("maxRetries"), Some(Value::Null), "nobody asked for one: {told:#}");
    let run = isthmus(whole.path(), &["explain", "http://httpbin.example.com/", "--config", "isthmus.yaml"]);
    let text = String::from_utf8_lossy(&run.stdout);
    assert!(text.contains("maxConnections 0 of 1 (peak 0), http1MaxPendingRequests 0 of 1 (peak 0)"), "{text}");
    let checked = json(whole.path(), &["check"]);
    let said =
        |words: &str| checked["problems"].as_array().is_some_and(|p| p.iter().any(|p| p["message"].as_str().is_some_and(|m| m.contains(words))));
    assert!(said("ISTIO_MUTUAL presents a workload certificate, and this gateway has none"), "{checked:#}");
}

/// Every `$ isthmus …` block of the page, run in the world that it names. `UPDATE_GOLDEN=1` rewrites them.
#[test]
fn the_page_shows_what_is_printed() {
    let path = project::root().join("docs/failing-over.md");
    let page = std::fs::read_to_string(&path).expect("the page");
    let whole = world("locality/reviews-failover.yaml", &[]);
    let mut blocks = page.split("```console\n");
    let mut fresh = blocks.next().unwrap_or_default().to_owned();
    let mut commands = 0;
    for block in blocks {
        let (shown, rest) = block.split_once("```").expect("a block ends");
        let line = shown.lines().next().unwrap_or_default();
        let args: Vec<&str> = line.strip_prefix("$ isthmus ").expect("a block is a command").split_whitespace().collect();
        let run = isthmus(whole.path(), &args);
        let _ = write!(fresh, "```console\n{line}\n{}```{rest}", String::from_utf8_lossy(&run.stdout));
        commands += 1;
    }
    assert!(commands >= 4, "the page shows commands");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, &fresh).expect("the page can be written");
    } else {
        assert_eq!(page, fresh, "docs/failing-over.md shows something else than is printed");
    }
}
