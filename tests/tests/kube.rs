//! API servers as sources, against three real ones: what is found, what a loss does not take away, members that come,
//! change and go, and a start with every API server down.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use isthmus_config::bootstrap::Bootstrap;
use isthmus_config::name::Hostname;
use isthmus_config::problem::{Problem, Severity};
use isthmus_core::model::World;
use isthmus_discovery::{Batch, Registry, Settings, Status, start};
use isthmus_tests::backend::Backend;
use isthmus_tests::gateway::{Gateway, own_address};
use isthmus_tests::kube::{ApiServer, remote_secret, servers};
use isthmus_tests::{wait, wire, world};
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use tokio::sync::mpsc::Receiver;

const PATIENCE: Duration = Duration::from_secs(40);

/// A gateway's view of the clusters that an isthmus.yaml names.
struct View {
    runtime: Runtime,
    registry: Registry,
    batches: Receiver<Batch>,
    world: Arc<World>,
}

impl View {
    fn of(settings: &str) -> Self {
        let (bootstrap, _) = Bootstrap::parse(settings, Path::new("/isthmus.yaml")).expect("settings");
        let (settings, _) = Settings::load(&bootstrap).expect("settings");
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
        let (mut registry, batches) = runtime.block_on(async { start(settings) }).expect("a start");
        let world = registry.world().0;
        Self { runtime, registry, batches, world }
    }

    fn until(&mut self, what: &str, holds: impl Fn(&Self) -> bool) {
        let begun = Instant::now();
        while !holds(self) {
            let batches = &mut self.batches;
            let batch = self.runtime.block_on(async { tokio::time::timeout(PATIENCE, batches.recv()).await });
            let told: Vec<String> = self.registry.problems().into_iter().map(|p| p.message).collect();
            let statuses: Vec<_> = self.registry.statuses().map(|(s, k, status)| format!("{s} {k} {status:?}")).collect();
            assert!(batch.is_ok() && begun.elapsed() < PATIENCE, "waited in vain until {what}: {told:?} {statuses:?} {:?}", self.hosts());
            self.registry.apply_all(batch.ok().flatten().expect("sources go on"));
            self.world = self.registry.world().0;
        }
    }

    /// Takes in what comes in this time, while `holds` does.
    fn stays(&mut self, what: &str, span: Duration, holds: impl Fn(&Self) -> bool) {
        let end = Instant::now() + span;
        while Instant::now() < end {
            let batches = &mut self.batches;
            let left = end.saturating_duration_since(Instant::now());
            if let Ok(batch) = self.runtime.block_on(async { tokio::time::timeout(left, batches.recv()).await }) {
                self.registry.apply_all(batch.expect("sources go on"));
                self.world = self.registry.world().0;
            }
            assert!(holds(self), "{what}: {:?}", self.hosts());
        }
    }

    fn settle(&mut self) {
        self.until("every cluster is listed", |v| v.registry.clusters().iter().all(|c| v.registry.status(c) == Status::Live));
    }

    fn hosts(&self) -> Vec<String> {
        self.world.catalog.services.keys().map(|h| h.as_str().to_owned()).collect()
    }

    /// `cluster address` of every endpoint of a service.
    fn endpoints(&self, namespace: &str, name: &str) -> BTreeSet<String> {
        let host = Hostname::new(&format!("{name}.{namespace}.svc.cluster.local"));
        let all = self.world.catalog.endpoints.get(&host).into_iter().flat_map(|list| list.iter());
        let address = |text: String| text.split(':').next().unwrap_or_default().to_owned();
        all.map(|e| format!("{} {}", e.workload.cluster, address(e.address.to_string()))).collect()
    }

    fn has(&self, namespace: &str, name: &str, want: &[&str]) -> bool {
        self.endpoints(namespace, name) == want.iter().map(|w| (*w).to_owned()).collect()
    }

    fn status(&self, cluster: &str) -> Status {
        self.registry.status(&cluster.into())
    }

    fn problems(&self) -> Vec<String> {
        self.registry.problems().into_iter().filter(|p| p.severity < Severity::Info).map(|p| p.message).collect()
    }
}

fn namespace(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
}

fn service(namespace: &str, name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": namespace}, "spec": {"ports": [{"name": "http", "port": 80}]}})
}

fn slice(namespace: &str, service: &str, addresses: &[&str]) -> Value {
    let endpoints: Vec<Value> = addresses.iter().map(|a| json!({"addresses": [a], "conditions": {"ready": true}})).collect();
    json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4", "endpoints": endpoints,
        "metadata": {"name": service, "namespace": namespace, "labels": {"kubernetes.io/service-name": service}},
        "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}]})
}

/// A service with one slice.
fn serve(server: &ApiServer, ns: &str, name: &str, addresses: &[&str]) {
    server.apply(&namespace(ns));
    server.apply(&service(ns, name));
    server.apply(&slice(ns, name, addresses));
}

/// cluster1 is ours and the config cluster; `secrets` is the namespace of remote secrets.
fn settings(server: &ApiServer, secrets: &str, more: &str) -> String {
    format!(
        "gateway: {{cluster: cluster1}}\nclusters: [{{name: cluster1, kubeconfig: {}}}]\nremoteSecrets: {{namespace: {secrets}}}\n{more}",
        server.kubeconfig_file().display()
    )
}

#[test]
fn services_of_all_clusters_are_one_and_members_come_change_and_go_m20_m21() {
    let servers = servers();
    let [one, two, three] = &servers.0[..] else { panic!("three API servers") };
    let ns = "members";
    serve(one, ns, "shop", &["10.1.0.1"]);
    serve(two, ns, "shop", &["10.2.0.1", "10.2.0.2"]);
    serve(three, ns, "shop", &["10.3.0.1"]);
    serve(two, ns, "remote", &["10.2.0.9"]);
    let secret = |members: &[(&str, &str)]| remote_secret(ns, "two", members);
    let (of_two, of_three) = (two.kubeconfig("admintoken"), three.kubeconfig("admintoken"));
    one.apply(&secret(&[("cluster2", &of_two)]));
    let mut view = View::of(&settings(one, ns, ""));
    view.settle();
    assert!(view.has(ns, "shop", &["cluster1 10.1.0.1", "cluster2 10.2.0.1", "cluster2 10.2.0.2"]), "{:?}", view.endpoints(ns, "shop"));
    assert!(view.has(ns, "remote", &["cluster2 10.2.0.9"]), "{:?}", view.endpoints(ns, "remote"));
    assert_eq!(view.registry.secret(&"cluster2".into()), Some("members/two"));

    // Several keys of one secret are several members.
    one.apply(&remote_secret(ns, "three", &[("cluster3", &of_three), ("cluster4", &of_three)]));
    let all = ["cluster1 10.1.0.1", "cluster2 10.2.0.1", "cluster2 10.2.0.2", "cluster3 10.3.0.1", "cluster4 10.3.0.1"];
    view.until("members are added", |v| v.has(ns, "shop", &all));

    // An endpoint that changes at a member is seen.
    two.apply(&slice(ns, "shop", &["10.2.0.1"]));
    let all = ["cluster1 10.1.0.1", "cluster2 10.2.0.1", "cluster3 10.3.0.1", "cluster4 10.3.0.1"];
    view.until("an endpoint goes", |v| v.has(ns, "shop", &all));

    // A new token: followed anew, with nothing lost meanwhile; a bad one is refused and the old one stays.
    one.apply(&secret(&[("cluster2", &two.kubeconfig("other"))]));
    view.stays("rotation loses nothing", Duration::from_secs(2), |v| v.has(ns, "shop", &all));
    two.apply(&slice(ns, "shop", &["10.2.0.3"]));
    let all = ["cluster1 10.1.0.1", "cluster2 10.2.0.3", "cluster3 10.3.0.1", "cluster4 10.3.0.1"];
    view.until("the new client is heard", |v| v.has(ns, "shop", &all));
    one.apply(&secret(&[("cluster2", "garbage")]));
    view.until("garbage is a problem", |v| v.problems().iter().any(|p| p.starts_with("cluster2: not a kubeconfig")));
    assert!(view.has(ns, "shop", &all));
    one.apply(&secret(&[("cluster2", &two.kubeconfig("unknown"))]));
    view.until("a token that nobody knows is a problem", |v| v.problems().iter().any(|p| p.contains("the old one stays")));
    assert!(view.has(ns, "shop", &all));
    one.apply(&secret(&[("cluster2", &of_two)]));
    view.until("all is well again", |v| v.problems().is_empty() && v.status("cluster2") == Status::Live);

    // A deleted secret ends its members and nothing else.
    one.delete(&remote_secret(ns, "three", &[]));
    view.until("members are removed", |v| v.has(ns, "shop", &["cluster1 10.1.0.1", "cluster2 10.2.0.3"]));
    one.delete(&secret(&[]));
    view.until("the last member is removed", |v| v.has(ns, "shop", &["cluster1 10.1.0.1"]) && v.endpoints(ns, "remote").is_empty());
    assert!(!view.hosts().contains(&format!("remote.{ns}.svc.cluster.local")));
    assert_eq!(view.registry.clusters().len(), 1);
}

#[test]
fn a_bad_secret_rejects_itself_m20_m22() {
    let servers = servers();
    let [one, two, ..] = &servers.0[..] else { panic!("three API servers") };
    let ns = "bad-secrets";
    one.apply(&namespace(ns));
    serve(two, ns, "shop", &["10.2.0.1"]);
    let good = two.kubeconfig("admintoken");
    let exec = good.replace(
        "\"token\":\"admintoken\"",
        "\"exec\":{\"command\":\"touch\",\"args\":[\"/tmp/never\"],\"apiVersion\":\"client.authentication.k8s.io/v1\"}",
    );
    let file = good.replace("\"token\":\"admintoken\"", "\"tokenFile\":\"/etc/passwd\"");
    one.apply(&remote_secret(ns, "a", &[("cluster2", &good), ("cluster1", &good)]));
    one.apply(&remote_secret(ns, "b", &[("garbage", "{"), ("exec", &exec), ("file", &file), ("cluster2", &good)]));
    let mut view = View::of(&settings(one, ns, ""));
    view.settle();
    assert!(view.has(ns, "shop", &["cluster2 10.2.0.1"]), "{:?}", view.endpoints(ns, "shop"));
    let problems = view.problems();
    for want in ["garbage: not a kubeconfig", "runs a program", "reads the file \"/etc/passwd\"", "cluster2 is ignored: Secret bad-secrets/a names"] {
        assert!(problems.iter().any(|p| p.contains(want)), "{want}: {problems:?}");
    }
    assert_eq!(problems.len(), 4, "the own cluster's key is ignored without a word: {problems:?}");
    assert!(!Path::new("/tmp/never").exists());
}

#[test]
fn a_rule_in_a_member_is_not_read_and_is_compared_with_the_one_in_force_m26() {
    let servers = servers();
    let [one, two, ..] = &servers.0[..] else { panic!("three API servers") };
    let ns = "copies";
    one.apply(&namespace(ns));
    two.apply(&namespace(ns));
    let rule = |name: &str, host: &str| json!({"apiVersion": "networking.istio.io/v1", "kind": "DestinationRule", "metadata": {"name": name, "namespace": ns}, "spec": {"host": host}});
    [("same", "a"), ("other", "a")].iter().for_each(|(name, host)| one.apply(&rule(name, host)));
    [("same", "a"), ("other", "b"), ("alone", "a")].iter().for_each(|(name, host)| two.apply(&rule(name, host)));
    one.apply(&remote_secret(ns, "two", &[("cluster2", &two.kubeconfig("admintoken"))]));
    let mut view = View::of(&settings(one, ns, ""));
    view.settle();
    let told = |v: &View, name: &str, words: &str| {
        let of_object = |p: &Problem| p.object.as_ref().is_some_and(|o| *o.name == *name && *o.namespace == *ns);
        v.registry.problems().iter().any(|p| of_object(p) && p.message.ends_with(words))
    };
    view.until("copies are compared", |v| {
        told(v, "same", "equals the one in force") && told(v, "other", "differs from the one in force") && told(v, "alone", "has none of that name")
    });
    two.apply(&rule("other", "a"));
    two.delete(&rule("alone", "a"));
    view.until("a change is compared", |v| told(v, "other", "equals the one in force") && !told(v, "alone", ""));
    ["same", "other"].iter().for_each(|name| [one, two].iter().for_each(|server| server.delete(&rule(name, "a"))));
}

#[test]
fn a_lost_api_server_is_stale_and_not_empty_m24() {
    let mut servers = servers();
    let ns = "lost";
    serve(&servers.0[0], ns, "shop", &["10.1.0.1"]);
    serve(&servers.0[1], ns, "shop", &["10.2.0.1"]);
    serve(&servers.0[1], ns, "short", &["10.2.0.2"]);
    servers.0[0].apply(&remote_secret(ns, "two", &[("cluster2", &servers.0[1].kubeconfig("admintoken"))]));
    let mut view = View::of(&settings(&servers.0[0], ns, ""));
    view.settle();
    let both = ["cluster1 10.1.0.1", "cluster2 10.2.0.1"];
    assert!(view.has(ns, "shop", &both));

    servers.0[1].kill();
    view.until("the member is stale", |v| matches!(v.status("cluster2"), Status::Stale { .. }));
    view.stays("nothing goes", Duration::from_secs(3), |v| v.has(ns, "shop", &both) && v.has(ns, "short", &["cluster2 10.2.0.2"]));
    servers.0[1].start();
    servers.0[1].delete(&service(ns, "short"));
    servers.0[1].apply(&slice(ns, "shop", &["10.2.0.7"]));
    view.until("the member is back", |v| v.status("cluster2") == Status::Live && v.has(ns, "shop", &["cluster1 10.1.0.1", "cluster2 10.2.0.7"]));
    view.until("what was deleted is gone", |v| !v.hosts().contains(&format!("short.{ns}.svc.cluster.local")));
}

#[test]
fn a_start_with_every_api_server_down_serves_what_disk_kept() {
    let mut servers = servers();
    let ns = "kept";
    let state = tempfile::tempdir().expect("a folder");
    serve(&servers.0[0], ns, "shop", &["10.1.0.1"]);
    serve(&servers.0[1], ns, "shop", &["10.2.0.1"]);
    let route = json!({"apiVersion": "networking.istio.io/v1", "kind": "VirtualService", "metadata": {"name": "r", "namespace": ns},
        "spec": {"hosts": ["shop.example"], "http": [{"route": [{"destination": {"host": "shop"}}]}]}});
    servers.0[0].apply(&route);
    servers.0[0].apply(&remote_secret(ns, "two", &[("cluster2", &servers.0[1].kubeconfig("admintoken"))]));
    let settings = settings(&servers.0[0], ns, &format!("state: {}\n", state.path().display()));
    let mut view = View::of(&settings);
    view.settle();
    // A change after the list is kept too.
    servers.0[1].apply(&slice(ns, "shop", &["10.2.0.1", "10.2.0.2"]));
    let all = ["cluster1 10.1.0.1", "cluster2 10.2.0.1", "cluster2 10.2.0.2"];
    view.until("a change is seen", |v| v.has(ns, "shop", &all));
    let slices = state.path().join("cluster2/EndpointSlice.state");
    let kept = wait::holds(PATIENCE, || std::fs::read_to_string(&slices).is_ok_and(|t| t.contains("10.2.0.2")));
    assert!(kept, "the change is on disk");
    drop(view);

    servers.0[0].kill();
    servers.0[1].kill();
    let begun = Instant::now();
    let mut view = View::of(&settings);
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    assert!(view.has(ns, "shop", &all), "{:?}", view.endpoints(ns, "shop"));
    assert!(view.world.documents.virtual_services.contains_key(&(ns.into(), "r".into())));
    assert!(matches!(view.status("cluster1"), Status::Stale { .. }) && matches!(view.status("cluster2"), Status::Stale { .. }));
    assert!(view.registry.is_settled());
    view.stays("nothing goes", Duration::from_secs(2), |v| v.has(ns, "shop", &all));
    servers.0[0].start();
    servers.0[1].start();
    servers.0[1].apply(&slice(ns, "shop", &["10.2.0.5"]));
    view.until("both are live again", |v| v.has(ns, "shop", &["cluster1 10.1.0.1", "cluster2 10.2.0.5"]) && v.status("cluster1") == Status::Live);
    servers.0[0].delete(&route);
}

#[test]
fn a_kind_that_is_not_installed_is_waited_for() {
    let servers = servers();
    let three = &servers.0[2];
    let definition = json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": "workloadgroups.networking.istio.io"}});
    three.delete(&definition);
    let ns = "uninstalled";
    serve(three, ns, "shop", &["10.3.0.1"]);
    let labels = json!({"topology.kubernetes.io/region": "r1", "topology.kubernetes.io/zone": "z1", "topology.istio.io/subzone": "s1"});
    three.apply(&json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "node-of-three", "labels": labels}}));
    let kubeconfig = three.kubeconfig_file();
    let settings = format!("gateway: {{node: node-of-three}}\nclusters: [{{name: cluster3, kubeconfig: {}}}]", kubeconfig.display());
    let mut view = View::of(&settings);
    view.settle();
    assert!(view.has(ns, "shop", &["cluster3 10.3.0.1"]));
    assert_eq!(view.world.gateway.locality.as_str(), "r1/z1/s1", "our node says where we stand (L-4)");
    three.define("WorkloadGroup", "workloadgroups");
    three.apply(&json!({"apiVersion": "networking.istio.io/v1", "kind": "WorkloadGroup", "metadata": {"name": "vms", "namespace": ns}, "spec": {"template": {}}}));
    view.until("the kind is picked up", |v| v.world.documents.workload_groups.contains_key(&(ns.into(), "vms".into())));
}

#[test]
fn connections_that_are_cut_every_second_lose_nothing() {
    let servers = servers();
    let one = &servers.0[0];
    let ns = "cut";
    serve(one, ns, "shop", &["10.1.0.1"]);
    let cutter = Cutter::before(one.address());
    let folder = tempfile::tempdir().expect("a folder");
    let kubeconfig = folder.path().join("kubeconfig");
    std::fs::write(&kubeconfig, one.kubeconfig("admintoken").replace(&one.address(), &cutter.address)).expect("a file");
    let settings = format!("clusters: [{{name: cluster1, kubeconfig: {}}}]\nremoteSecrets: {{namespace: {ns}}}", kubeconfig.display());
    let mut view = View::of(&settings);
    view.settle();
    cutter.cutting.store(true, Ordering::Relaxed);
    for round in 0..8 {
        let address = format!("10.1.1.{round}");
        one.apply(&slice(ns, "shop", &["10.1.0.1", &address]));
        view.until("a change comes through", |v| v.has(ns, "shop", &["cluster1 10.1.0.1", &format!("cluster1 {address}")]));
        view.stays("nothing goes", Duration::from_millis(1200), |v| v.endpoints(ns, "shop").contains("cluster1 10.1.0.1"));
    }
    cutter.cutting.store(false, Ordering::Relaxed);
    view.until("the cluster is live again", |v| v.status("cluster1") == Status::Live);
}

#[test]
fn a_gateway_serves_on_while_its_api_servers_die_and_starts_again_without_them() {
    let mut servers = servers();
    let ns = "serving";
    let (ip, state) = (own_address(), tempfile::tempdir().expect("a folder"));
    let backend = Backend::named(ip, "one");
    servers.0[0].apply(&namespace(ns));
    let objects = isthmus_tests::kube::objects(&world::simple(&[backend.address]));
    objects.iter().for_each(|object| servers.0[0].apply(object));
    servers.0[0].apply(&remote_secret(ns, "two", &[("cluster2", &servers.0[1].kubeconfig("admintoken"))]));
    let from = format!("kubeconfig: {}", servers.0[0].kubeconfig_file().display());
    let settings = format!("remoteSecrets: {{namespace: {ns}}}\nstate: {}\ngrace: 0s\ndrain: 1s\n", state.path().display());
    let gateway = Gateway::reading(ip, &from, &settings);
    assert!(wait::holds(PATIENCE, || gateway.ready()), "{}", gateway.log());
    let clusters = || gateway.log().contains("cluster listed cluster=cluster2");
    assert!(wait::holds(PATIENCE, clusters), "{}", gateway.log());

    assert!(wait::holds(PATIENCE, || TcpStream::connect(gateway.http()).is_ok()), "{}", gateway.log());

    // Under load, both API servers are killed, and the first one comes back.
    let ended = AtomicBool::new(false);
    let http = gateway.http();
    let wrong: Vec<_> = std::thread::scope(|scope| {
        let ask = || {
            let mut wrong = Vec::new();
            while !ended.load(Ordering::Relaxed) {
                let answer = wire::ask(http, "shop.test", "/").map(|m| m.status());
                if answer != Some(200) {
                    wrong.push(answer);
                }
            }
            wrong
        };
        let load = [scope.spawn(ask), scope.spawn(ask)];
        servers.0[0].kill();
        servers.0[1].kill();
        std::thread::park_timeout(Duration::from_secs(2));
        servers.0[0].start();
        std::thread::park_timeout(Duration::from_secs(2));
        ended.store(true, Ordering::Relaxed);
        load.into_iter().flat_map(|l| l.join().expect("the load ends")).collect()
    });
    assert_eq!(wrong, [], "{}", gateway.log());
    drop(gateway);

    servers.0[0].kill();
    let begun = Instant::now();
    let gateway = Gateway::reading(ip, &from, &settings);
    let answers = || TcpStream::connect(gateway.http()).is_ok() && wire::ask(gateway.http(), "shop.test", "/").is_some_and(|m| m.status() == 200);
    assert!(wait::holds(PATIENCE, answers), "{}", gateway.log());
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?} {}", begun.elapsed(), gateway.log());
    assert!(wait::holds(PATIENCE, || gateway.ready()), "{}", gateway.log());
    assert!(gateway.log().contains("restored from disk"), "{}", gateway.log());
    servers.0[0].start();
    servers.0[1].start();
    assert!(wait::holds(PATIENCE, || gateway.log().contains("source is back") || gateway.log().contains("cluster listed")), "{}", gateway.log());
    objects.iter().for_each(|object| servers.0[0].delete(object));
}

/// A proxy that cuts all of its connections every second while it is told to.
struct Cutter {
    address: String,
    cutting: Arc<AtomicBool>,
}

impl Cutter {
    fn before(target: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
        let address = listener.local_addr().expect("a bound socket has an address").to_string();
        let (cutting, open) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Vec::<TcpStream>::new())));
        let (cut, streams) = (cutting.clone(), open.clone());
        std::thread::spawn(move || {
            loop {
                std::thread::park_timeout(Duration::from_secs(1));
                if cut.load(Ordering::Relaxed) {
                    // A connection that has ended already is as good as cut.
                    streams.lock().expect("nobody panics here").drain(..).for_each(|s| drop(s.shutdown(Shutdown::Both)));
                }
            }
        });
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let Ok(server) = TcpStream::connect(&target) else { continue };
                let pair = |s: &TcpStream| s.try_clone().expect("a socket can be shared");
                open.lock().expect("nobody panics here").extend([pair(&client), pair(&server)]);
                for (mut from, mut to) in [(pair(&client), pair(&server)), (server, client)] {
                    std::thread::spawn(move || {
                        let mut buffer = [0; 16384];
                        while let Ok(n @ 1..) = from.read(&mut buffer) {
                            if to.write_all(&buffer[..n]).is_err() {
                                return;
                            }
                        }
                    });
                }
            }
        });
        Self { address, cutting }
    }
}
