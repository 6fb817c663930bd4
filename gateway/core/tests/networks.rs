//! Several networks and what each sees of the others: `golden/networks/NAME.in.yaml` says which endpoints and gateways there are, in
//! clusters of their own, and `from` which networks to look from; `NAME.out.yaml` the endpoints by priority and locality, and what
//! is left out.

#[path = "../../../tests/golden.rs"]
mod runner;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;

use isthmus_config::bootstrap::Bootstrap;
use isthmus_core::analyze::{analyze, code};
use isthmus_core::balance::Slot;
use isthmus_core::balance::locality::arrange;
use isthmus_core::compile::Compiler;
use isthmus_core::model::{Changes, World};
use isthmus_discovery::{Registry, Settings, offline};
use serde_yaml::Value;

#[derive(serde::Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Case {
    /// Where we stand: region/zone/subzone.
    #[serde(default)]
    locality: String,
    /// Networks to look from; "-" is none.
    from: Vec<String>,
    /// Whether we speak mutual TLS; else the ways as the product goes them today.
    #[serde(default = "yes")]
    mutual_tls: bool,
    /// `cluster network address [port=N] [service port=N]`: a Service of type LoadBalancer.
    gateways: Vec<String>,
    /// `cluster network address locality [key=value…] [plain] [unhealthy]`: a pod of the service `web.app`, port 80.
    endpoints: Vec<String>,
    /// Further objects of the config cluster, the first one that is named.
    #[serde(default)]
    objects: String,
    /// MeshConfig.
    #[serde(default)]
    mesh: Value,
}

fn yes() -> bool {
    true
}

const ROUTES: &str = "---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: gw, namespace: app}
spec: {selector: {istio: ingressgateway}, servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ['*']}]}
";

#[test]
fn networks_see_each_other() {
    runner::golden("networks", |text| {
        let case: Case = serde_yaml::from_str(text).expect("a case");
        case.from.iter().map(|network| seen(&case, network)).collect()
    });
}

fn seen(case: &Case, network: &str) -> String {
    let folder = tempfile::tempdir().expect("a folder");
    let mut registry = read(case, network, folder.path());
    let mut world: World = (*registry.world().0).clone();
    world.gateway = isthmus_core::model::GatewayIdentity { mutual_tls: case.mutual_tls, ..(*world.gateway).clone() }.into();
    let mut compiler = Compiler::new(0);
    compiler.compile(&world, &Changes::everything()).publish_views();
    let mut out = format!("from {network}:\n");
    for slot in compiler.slots() {
        show(&slot, &mut out);
    }
    let found = analyze(&world, &compiler, isthmus_config::problem::Severity::Error).problems;
    for problem in registry.problems().iter().chain(found.iter().filter(|p| p.code == code::OTHER_NETWORK)) {
        let object = problem.object.as_ref().map(ToString::to_string).unwrap_or_default();
        writeln!(out, "  # {} {object}: {}", problem.code, problem.message).expect("writing");
    }
    out
}

fn show(slot: &Slot, out: &mut String) {
    let view = slot.view.load();
    let endpoints: Vec<_> = view.members.iter().map(|m| &*m.endpoint).collect();
    writeln!(out, "  {}:", slot.key).expect("writing");
    for group in arrange(&view.line.setting, &view.line.stand, &endpoints).groups {
        let members = group.members.iter().map(|i| {
            let member = &view.members[*i as usize];
            let health = if member.is_eligible() { "" } else { " passed over" };
            format!("{} w{}{health}", member.address(), member.endpoint.weight)
        });
        let members: Vec<String> = members.collect();
        writeln!(out, "  - P{} {} w{}: {}", group.priority, group.locality, group.weight, members.join(", ")).expect("writing");
    }
}

/// Writes a folder for each cluster, and reads them.
fn read(case: &Case, network: &str, folder: &Path) -> Registry {
    let mut texts: BTreeMap<&str, String> = BTreeMap::new();
    let mut order: Vec<&str> = Vec::new();
    for (i, text) in case.endpoints.iter().enumerate() {
        let cluster = text.split(' ').next().expect("a cluster");
        texts.entry(cluster).or_default().push_str(&endpoint(i, text));
        order.push(cluster);
    }
    for (i, text) in case.gateways.iter().enumerate() {
        let cluster = text.split(' ').next().expect("a cluster");
        texts.entry(cluster).or_default().push_str(&gateway(i, text));
        order.push(cluster);
    }
    let mut known = BTreeSet::new();
    order.retain(|cluster| known.insert(*cluster));
    let first = order.first().expect("a cluster");
    let routes = format!("{ROUTES}---\n{}", case.objects);
    texts.entry(first).or_default().push_str(&routes);
    let web = "---\napiVersion: v1\nkind: Service\nmetadata: {name: web, namespace: app}\nspec: {ports: [{name: http, port: 80}]}\n";
    for (cluster, text) in &texts {
        std::fs::create_dir(folder.join(cluster)).expect("a folder");
        std::fs::write(folder.join(cluster).join("objects.yaml"), format!("{text}{web}")).expect("a file");
    }
    let clusters: Vec<String> = order.iter().map(|c| format!("{{name: {c}, path: {c}}}")).collect();
    let network = if network == "-" { "\"\"" } else { network };
    let mut bootstrap =
        format!("gateway: {{cluster: {first}, network: {network}, locality: {:?}}}\nclusters: [{}]\n", case.locality, clusters.join(", "));
    if !case.mesh.is_null() {
        bootstrap += &format!("mesh: {}\n", serde_json::to_string(&case.mesh).expect("MeshConfig"));
    }
    let (bootstrap, warnings) = Bootstrap::parse(&bootstrap, &folder.join("isthmus.yaml")).expect("isthmus.yaml");
    assert!(warnings.is_empty(), "{warnings:?}");
    offline(Settings::load(&bootstrap).expect("settings").0, Vec::new())
}

fn endpoint(i: usize, text: &str) -> String {
    let mut rest = text.split_whitespace().skip(1);
    let mut word = || rest.next().unwrap_or_default();
    let (network, address, locality) = (word(), word(), word());
    let rest: Vec<&str> = rest.collect();
    let mut labels = vec![format!("app: web, topology.istio.io/locality: {locality}")];
    let mut conditions = "";
    if network != "-" {
        labels.push(format!("topology.istio.io/network: {network}"));
    }
    if !rest.contains(&"plain") {
        labels.push("security.istio.io/tlsMode: istio".to_owned());
    }
    for word in rest {
        match word.split_once('=') {
            Some((key, value)) => labels.push(format!("{key}: {value}")),
            None if word == "unhealthy" => conditions = ", conditions: {ready: false, serving: false, terminating: false}",
            None => assert_eq!(word, "plain"),
        }
    }
    format!(
        "---\napiVersion: v1\nkind: Pod\nmetadata: {{name: p{i}, namespace: app, labels: {{{}}}}}\nstatus: {{phase: Running, podIP: {address}}}\n---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\naddressType: IPv4\nmetadata: {{name: s{i}, namespace: app, labels: {{kubernetes.io/service-name: web}}}}\nports: [{{name: http, port: 80}}]\nendpoints: [{{addresses: [{address}], targetRef: {{kind: Pod, name: p{i}}}{conditions}}}]\n",
        labels.join(", ")
    )
}

fn gateway(i: usize, text: &str) -> String {
    let mut rest = text.split_whitespace().skip(1);
    let (network, address) = (rest.next().unwrap_or_default(), rest.next().unwrap_or_default());
    let rest: Vec<&str> = rest.collect();
    let of = |key: &str| rest.iter().find_map(|w| w.strip_prefix(key));
    let label = of("label=").map(|p| format!(", networking.istio.io/gatewayPort: {p:?}")).unwrap_or_default();
    let port = of("port=").unwrap_or("15443");
    let key = if address.parse::<std::net::IpAddr>().is_ok() { "ip" } else { "hostname" };
    format!(
        "---\napiVersion: v1\nkind: Service\nmetadata: {{name: gw{i}, namespace: istio-system, labels: {{topology.istio.io/network: {network}{label}}}}}\nspec: {{type: LoadBalancer, ports: [{{name: tls, port: {port}}}]}}\nstatus: {{loadBalancer: {{ingress: [{{{key}: {address}}}]}}}}\n"
    )
}
