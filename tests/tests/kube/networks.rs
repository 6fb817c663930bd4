//! Networks of three API servers and the gateways between them (M-31..M-39): what a label, a load balancer, a node or a deletion
//! changes is seen by a gateway that runs. The namespace of this test is its mesh's system namespace.

use std::collections::BTreeSet;
use std::net::TcpStream;
use std::time::Duration;

use isthmus_tests::backend::Backend;
use isthmus_tests::gateway::{ADMIN, Gateway, own_address};
use isthmus_tests::kube::{ApiServer, istio, namespace, remote_secret, servers, service, slice};
use isthmus_tests::{wait, wire};
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(60);
const NS: &str = "networks";
const PORT: u16 = 8083;
const HOST: &str = "networks.test";

/// Names the network of a cluster, on its system namespace; none for "".
fn label(server: &ApiServer, network: &str) {
    let mut object = namespace(NS);
    if !network.is_empty() {
        object["metadata"]["labels"] = json!({"topology.istio.io/network": network});
    }
    server.apply(&object);
}

/// A service with its slice; its namespace is there.
fn serve(server: &ApiServer, name: &str, addresses: &[&str]) {
    server.apply(&service(NS, name));
    server.apply(&slice(NS, name, addresses));
}

fn page(gateway: &Gateway, path: &str) -> Vec<Value> {
    let text = gateway.fetch(ADMIN, path).map(|m| m.text()).unwrap_or_default();
    serde_json::from_str::<Vec<Value>>(&text).unwrap_or_default()
}

/// Of each endpoint of a host: address, network, status and gateways.
fn endpoints(gateway: &Gateway, host: &str) -> BTreeSet<String> {
    let rows = page(gateway, "/endpoints").into_iter().filter(|row| row["host"] == host);
    let cell = |row: &Value, key: &str| row[key].as_str().unwrap_or_default().to_owned();
    rows.map(|row| ["endpoint", "network", "status", "gateways"].map(|key| cell(&row, key)).join(" ").trim_end().to_owned()).collect()
}

fn becomes(gateway: &Gateway, what: &str, host: &str, want: &[String]) {
    let want: BTreeSet<String> = want.iter().cloned().collect();
    let is_so = wait::holds(PATIENCE, || endpoints(gateway, host) == want);
    assert!(is_so, "{what}: {:#?}, not {want:#?} {}", endpoints(gateway, host), gateway.log());
}

fn answers(gateway: &Gateway) -> BTreeSet<String> {
    (0..20).filter_map(|_| wire::ask(gateway.at(PORT), HOST, "/").map(|m| m.text())).collect()
}

fn told(gateway: &Gateway, code: &str, words: &str) -> bool {
    page(gateway, "/problems").iter().any(|row| row["code"] == code && row["message"].as_str().is_some_and(|m| m.contains(words)))
}

/// The east-west gateway of network n2: at a load balancer, and at external addresses.
fn east_west(external: &[&str]) -> Value {
    json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "east-west", "namespace": NS, "labels": {"topology.istio.io/network": "n2"}},
        "spec": {"type": "LoadBalancer", "externalIPs": external, "ports": [{"name": "tls", "port": 15443}]},
        "status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.2"}]}}})
}

/// A host of two machines, of which the second one is in network n2; slices cannot name the addresses that backends have here.
fn front(backends: &[Backend; 2]) -> [Value; 5] {
    let server = json!({"port": {"number": PORT, "name": "http", "protocol": "HTTP"}, "hosts": [HOST]});
    let route = json!({"hosts": [HOST], "gateways": ["front"], "http": [{"route": [{"destination": {"host": "vm.test"}}]}]});
    let entry = json!({"hosts": ["vm.test"], "location": "MESH_INTERNAL", "resolution": "STATIC", "workloadSelector": {"labels": {"app": "vm"}},
        "ports": [{"number": 80, "name": "http", "protocol": "HTTP"}]});
    let machine = |backend: &Backend, network: &str| {
        let (address, ports) = (backend.address.ip().to_string(), json!({"http": backend.address.port()}));
        json!({"address": address, "ports": ports, "network": network, "labels": {"app": "vm"}})
    };
    [
        istio("Gateway", NS, "front", &json!({"selector": {"istio": "ingressgateway"}, "servers": [server]})),
        istio("VirtualService", NS, "all", &route),
        istio("ServiceEntry", NS, "vm", &entry),
        istio("WorkloadEntry", NS, "vm-one", &machine(&backends[0], "")),
        istio("WorkloadEntry", NS, "vm-two", &machine(&backends[1], "n2")),
    ]
}

#[test]
fn a_network_is_reached_by_its_gateways_or_directly_m31_m39() {
    let servers = servers();
    let [one, two, three] = &servers.0[..] else { panic!("three API servers") };
    let ip = own_address();
    let backends = [Backend::named(ip, "one"), Backend::named(ip, "two")];
    label(one, "n1");
    label(two, "n2");
    label(three, "");
    [(one, "10.1.0.1"), (two, "10.2.0.1")].iter().for_each(|(server, address)| serve(server, "shop", &[address]));
    let objects = front(&backends);
    objects.iter().for_each(|object| one.apply(object));
    let members = [("cluster2", two.kubeconfig("admintoken")), ("cluster3", three.kubeconfig("admintoken"))];
    one.apply(&remote_secret(NS, "members", &[(members[0].0, &members[0].1), (members[1].0, &members[1].1)]));
    let mesh = json!({"rootNamespace": NS, "meshNetworks": {"n4": {"endpoints": [{"fromRegistry": "cluster3"}],
        "gateways": [{"registryServiceName": format!("way.{NS}.svc.cluster.local"), "port": 8443}]}}});
    let settings = format!("remoteSecrets: {{namespace: {NS}}}\nmesh: {mesh}\ngrace: 0s\ndrain: 1s\n");
    let gateway = Gateway::reading(ip, &format!("kubeconfig: {}", one.kubeconfig_file().display()), &settings);
    assert!(wait::holds(PATIENCE, || gateway.ready() && TcpStream::connect(gateway.at(PORT)).is_ok()), "{}", gateway.log());

    // Without any gateway everything is direct (M-36).
    let shop = format!("shop.{NS}.svc.cluster.local");
    let near = "10.1.0.1:8080 n1 HEALTHY".to_owned();
    let at_two = |rest: &str| [near.clone(), format!("10.2.0.1:8080 {rest}")];
    let direct = at_two("n2 HEALTHY");
    becomes(&gateway, "no gateway", &shop, &direct);
    let both = |gateway: &Gateway| answers(gateway).len() == 2;
    assert!(wait::holds(PATIENCE, || both(&gateway)), "{:?}", answers(&gateway));

    // A load balancer makes it a network of its own, which only mutual TLS enters (M-34, M-37).
    two.apply_yaml(&east_west(&[]).to_string());
    let behind = |gateways: &str| at_two(&format!("n2 UNREACHABLE {gateways}"));
    becomes(&gateway, "a load balancer", &shop, &behind("192.0.2.2:15443"));
    assert!(wait::holds(PATIENCE, || told(&gateway, "ISM0404", &format!("endpoints of {shop}, as seen from network n1: 1 in network n2"))));
    let only_own = |gateway: &Gateway| answers(gateway).iter().all(|a| a.ends_with("one"));
    assert!(wait::holds(PATIENCE, || only_own(&gateway)), "{:?}", answers(&gateway));
    two.apply_yaml(&east_west(&["192.0.2.3"]).to_string());
    becomes(&gateway, "external addresses too", &shop, &behind("192.0.2.2:15443, 192.0.2.3:15443"));

    // A machine that has no address is behind them too (S-8).
    let entry = json!({"hosts": ["db.test"], "location": "MESH_INTERNAL", "resolution": "STATIC", "workloadSelector": {"labels": {"app": "db"}},
        "ports": [{"number": 3306, "name": "tcp", "protocol": "TCP"}]});
    let machine = |network: &str| istio("WorkloadEntry", NS, "db", &json!({"network": network, "labels": {"app": "db"}}));
    let entry = istio("ServiceEntry", NS, "db", &entry);
    one.apply(&entry);
    one.apply(&machine("n2"));
    becomes(&gateway, "no address", "db.test", &["-:3306 n2 UNREACHABLE 192.0.2.2:15443, 192.0.2.3:15443".to_owned()]);
    one.apply(&machine("n9"));
    becomes(&gateway, "no address and no gateway", "db.test", &["-:3306 n9 UNREACHABLE".to_owned()]);
    assert!(wait::holds(PATIENCE, || told(&gateway, "ISM0404", "1 in network n9, without an address (S-8)")));

    // The cluster is in our network for a while.
    label(two, "n1");
    becomes(&gateway, "one network", &shop, &at_two("n1 HEALTHY"));
    label(two, "n2");
    becomes(&gateway, "two networks", &shop, &behind("192.0.2.2:15443, 192.0.2.3:15443"));

    // The gateway goes: direct again (M-36).
    two.delete(&east_west(&[]));
    becomes(&gateway, "its gateway is gone", &shop, &direct);
    assert!(wait::holds(PATIENCE, || both(&gateway)), "{:?}", answers(&gateway));
    assert!(wait::holds(PATIENCE, || !told(&gateway, "ISM0404", &shop)));
    by_nodes(&gateway, three);
    objects.iter().chain([&entry, &machine("")]).for_each(|object| one.delete(object));
}

/// Of cluster3 meshNetworks say the network, and a Service of its its gateway: the nodes that it selects.
fn by_nodes(gateway: &Gateway, three: &ApiServer) {
    serve(three, "far", &[]);
    let mut endpoints = slice(NS, "far", &["10.3.0.1", "10.3.0.2"]);
    endpoints["endpoints"][0]["targetRef"] = json!({"kind": "Pod", "name": "far-0", "namespace": NS});
    three.apply(&endpoints);
    let pod = |network: &str| {
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "far-0", "namespace": NS, "labels": {"topology.istio.io/network": network}},
            "spec": {"containers": [{"name": "c", "image": "i"}]}, "status": {"phase": "Running", "podIP": "10.3.0.1", "podIPs": [{"ip": "10.3.0.1"}]}})
    };
    let node = |edge: &str| {
        json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "edge-of-networks", "labels": {"edge": edge}},
            "status": {"addresses": [{"type": "InternalIP", "address": "10.0.0.1"}, {"type": "ExternalIP", "address": "192.0.2.31"}]}})
    };
    let way = json!({"apiVersion": "v1", "kind": "Service",
        "metadata": {"name": "way", "namespace": NS, "annotations": {"traffic.istio.io/nodeSelector": "{\"edge\": \"yes\"}"}},
        "spec": {"type": "NodePort", "ports": [{"name": "tls", "port": 8443, "nodePort": 31743}]}});
    three.apply_yaml(&pod("n3").to_string());
    three.apply_yaml(&node("no").to_string());
    three.apply(&way);
    let far = format!("far.{NS}.svc.cluster.local");
    let rows = |first: &str, second: &str| [format!("10.3.0.1:8080 {first}"), format!("10.3.0.2:8080 {second}")];
    becomes(gateway, "no node is selected", &far, &rows("n3 HEALTHY", "n4 HEALTHY"));
    three.apply_yaml(&node("yes").to_string());
    let behind = "n4 UNREACHABLE 192.0.2.31:31743";
    becomes(gateway, "a node is selected", &far, &rows("n3 HEALTHY", behind));
    three.apply_yaml(&pod("n4").to_string());
    becomes(gateway, "the pod's label says", &far, &rows(behind, behind));
    label(three, "n5");
    becomes(gateway, "the system namespace comes before meshNetworks", &far, &rows(behind, "n5 HEALTHY"));
    label(three, "");
    becomes(gateway, "meshNetworks again", &far, &rows(behind, behind));
    three.delete(&node("yes"));
    becomes(gateway, "the node is gone", &far, &rows("n4 HEALTHY", "n4 HEALTHY"));
}
