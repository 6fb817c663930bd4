//! After any history of events the registry holds what one holds that was told the end of it, and its changes name all that differs.

#[path = "../../tests/looked.rs"]
mod looked;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use isthmus_config::name::ClusterId;
use isthmus_config::object::{Kind, ObjectRef};
use isthmus_config::parse::parse;
use isthmus_core::model::{Changes, Documents, World};
use isthmus_discovery::kubernetes::{Interner, fact};
use isthmus_discovery::source::{Fact, Partition, SourceId, Via};
use isthmus_discovery::{Event, Registry};
use proptest::prelude::*;

use looked::{empty, look};

const KINDS: [Kind; 7] = [Kind::Service, Kind::EndpointSlice, Kind::Pod, Kind::Node, Kind::Namespace, Kind::WorkloadEntry, Kind::ServiceEntry];
const BOOTSTRAP: &str = "
gateway: {cluster: c2}
config: {cluster: c1}
clusters: [{name: c2, path: c2}, {name: c1, path: c1}]
mesh:
  meshNetworks:
    n9: {endpoints: [{fromCidr: 10.0.0.2/32}], gateways: [{address: h9.example.com, port: 443}]}
    n8: {endpoints: [{fromRegistry: c2}], gateways: [{registryServiceName: s1.ns.svc.cluster.local, port: 80}]}
";

/// One step: an object of one of two clusters becomes a version of it, or goes.
#[derive(Clone, Copy, Debug)]
struct Step {
    kind: usize,
    second: bool,
    name: u8,
    version: u8,
    gone: bool,
    /// All of the second cluster goes before this step, and joins again with nothing.
    leaves: bool,
    /// The world is looked at afterwards: all of it, or a piece.
    look: Option<usize>,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let look = prop_oneof![2 => Just(None), 1 => Just(Some(usize::MAX)), 1 => (0..3usize).prop_map(Some)];
    let step = (0..KINDS.len(), any::<bool>(), 0..2u8, 0..9u8, prop::bool::weighted(0.25), prop::bool::weighted(0.05), look);
    let step = step.prop_map(|(kind, second, name, version, gone, leaves, look)| Step { kind, second, name, version, gone, leaves, look });
    prop::collection::vec(step, 0..60)
}

fn text(step: Step) -> String {
    let (n, v) = (step.name, step.version);
    let other = (n + v) % 2;
    match KINDS[step.kind] {
        Kind::Service => {
            let (meta, spec) = [
                ("", "ports: [{name: http, port: 80}]"),
                ("", "ports: [{name: http, port: 80}], selector: {app: x0}"),
                ("", "ports: [{name: web, port: 80}, {name: http, port: 81}]"),
                (", annotations: {networking.istio.io/exportTo: .}", "ports: [{name: http, port: 80}]"),
                (", labels: {istio.io/persistent-session: c}", "ports: [{name: http, port: 80}]"),
                ("", "type: ExternalName, externalName: x.example.com, ports: [{name: http, port: 80}]"),
                (", labels: {topology.istio.io/network: n1}", "externalIPs: [192.0.2.9], ports: [{name: http, port: 15443}]"),
                (
                    ", labels: {topology.istio.io/network: n2}, annotations: {traffic.istio.io/nodeSelector: '{}'}",
                    "type: NodePort, ports: [{name: http, port: 15443, nodePort: 30443}]",
                ),
                ("", "externalIPs: [192.0.2.8], ports: [{name: http, port: 80}]"),
            ][usize::from(v)];
            format!("apiVersion: v1\nkind: Service\nmetadata: {{name: s{n}, namespace: ns{meta}}}\nspec: {{{spec}}}\n")
        }
        Kind::EndpointSlice => {
            let v = v % 6;
            let terminating = v % 3 == 0;
            format!(
                "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\naddressType: IPv4\nmetadata: {{name: sl{n}, namespace: ns, labels: {{kubernetes.io/service-name: s{other}}}}}\nports: [{{name: http, port: 8080}}]\nendpoints:\n- {{addresses: [10.0.0.{v}], targetRef: {{kind: Pod, name: p{other}}}}}\n- {{addresses: [10.0.0.1], conditions: {{ready: false, serving: true, terminating: {terminating}}}}}\n- {{addresses: [10.0.0.2]}}\n"
            )
        }
        Kind::Pod => {
            let (label, ready) = (v % 3, if v < 6 { "True" } else { "False" });
            format!(
                "apiVersion: v1\nkind: Pod\nmetadata: {{name: p{n}, namespace: ns, labels: {{app: x{label}}}}}\nspec: {{nodeName: n{other}}}\nstatus: {{phase: Running, podIP: 10.0.0.{label}, conditions: [{{type: Ready, status: \"{ready}\"}}]}}\n"
            )
        }
        Kind::Node => {
            let address = if v < 6 { String::new() } else { format!("status: {{addresses: [{{type: ExternalIP, address: 192.0.2.{v}}}]}}\n") };
            format!("apiVersion: v1\nkind: Node\nmetadata: {{name: n{n}, labels: {{topology.kubernetes.io/region: r{}}}}}\n{address}", v % 6)
        }
        Kind::Namespace => {
            let name = if n == 0 { "istio-system" } else { "ns" };
            format!("apiVersion: v1\nkind: Namespace\nmetadata: {{name: {name}, labels: {{topology.istio.io/network: n{}}}}}\n", v % 3)
        }
        Kind::WorkloadEntry => {
            let place = match v {
                0..4 => format!("address: 10.0.1.{v}"),
                4 | 5 => format!("address: h{v}.example.com"),
                6 | 7 => format!("network: n{}", v % 3),
                _ => "address: 10.0.1.8, network: n2".to_owned(),
            };
            format!(
                "apiVersion: networking.istio.io/v1\nkind: WorkloadEntry\nmetadata: {{name: w{n}, namespace: ns}}\nspec: {{{place}, labels: {{app: x{}}}}}\n",
                v % 2
            )
        }
        Kind::ServiceEntry => {
            let spec = [
                "hosts: [x.example.com], resolution: STATIC, endpoints: [{address: 10.0.2.1}, {network: n1}]",
                "hosts: [x.example.com, y.example.com], resolution: STATIC, workloadSelector: {labels: {app: x0}}",
                "hosts: [s0.ns.svc.cluster.local], resolution: STATIC, workloadSelector: {labels: {app: x1}}",
                "hosts: [y.example.com], resolution: DNS, workloadSelector: {labels: {app: x0}}",
                "hosts: [h5.example.com], resolution: DNS",
                "hosts: [x.example.com], resolution: DNS_ROUND_ROBIN, endpoints: [{address: h4.example.com}]",
            ][usize::from(v % 6)];
            format!(
                "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{name: e{n}, namespace: ns}}\nspec: {{ports: [{{number: 80, name: http, protocol: HTTP}}], {spec}}}\n"
            )
        }
        Kind::Gateway | Kind::VirtualService | Kind::DestinationRule | Kind::WorkloadGroup | Kind::EnvoyFilter | Kind::Secret => {
            unreachable!("no step is of this kind")
        }
    }
}

fn partition(cluster: &str, kind: Kind) -> Partition {
    Partition { source: SourceId(ClusterId::from(cluster), Via::Files), kind, generation: 1 }
}

fn read(step: Step, cluster: &str) -> Fact {
    let parsed = parse(text(step).as_bytes(), &ClusterId::from(cluster), &Arc::from(format!("{cluster}/{}{}", KINDS[step.kind], step.name)));
    assert!(parsed.problems.is_empty(), "{:?}", parsed.problems);
    fact(parsed.documents.into_iter().next().expect("an object"), &mut Interner::default()).expect("a fact")
}

fn list<'a>(held: impl Iterator<Item = (&'a (&'static str, ObjectRef), &'a Fact)>) -> Vec<Event> {
    let every = || ["c1", "c2"].into_iter().flat_map(|c| KINDS.map(|k| partition(c, k)));
    let applied = held.map(|((cluster, object), fact)| Event::Apply(partition(cluster, object.kind), fact.clone()));
    every().map(Event::Init).chain(applied).chain(every().map(Event::InitDone)).collect()
}

/// The second cluster leaves, and joins again with nothing.
fn rejoined() -> Vec<Event> {
    let source = partition("c2", Kind::Service).source;
    let joined = [Event::Removed(source.clone()), Event::Joined(source.0, Arc::from("ns/secret"))].into_iter();
    joined.chain(KINDS.map(|k| Event::Init(partition("c2", k)))).chain(KINDS.map(|k| Event::InitDone(partition("c2", k)))).collect()
}

/// The problems, whatever their order.
fn told(registry: &Registry) -> Vec<String> {
    let mut all: Vec<String> = registry.problems().iter().map(|problem| format!("{problem:?}")).collect();
    all.sort();
    all
}

fn documents_differ(one: &Documents, two: &Documents) -> bool {
    one.service_entries != two.service_entries || one.workload_entries != two.workload_entries
}

/// Everything that differs must be named, and what is named must be worth it.
fn check_changes(before: &World, after: &World, changes: &Changes) -> Result<(), TestCaseError> {
    let hosts: BTreeSet<_> = before.catalog.services.keys().chain(after.catalog.services.keys()).collect();
    for host in hosts {
        prop_assert_eq!(before.catalog.services.get(host) != after.catalog.services.get(host), changes.services.contains(host), "service {}", host);
        prop_assert_eq!(
            before.catalog.endpoints.get(host) != after.catalog.endpoints.get(host),
            changes.endpoints.contains(host),
            "endpoints {}",
            host
        );
    }
    prop_assert!(changes.all || before.catalog.namespaces == after.catalog.namespaces);
    prop_assert!(!changes.objects.is_empty() || !documents_differ(&before.documents, &after.documents));
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn incremental_is_from_nothing(steps in steps()) {
        let mut held: BTreeMap<(&'static str, ObjectRef), Fact> = BTreeMap::new();
        let mut registry = empty(BOOTSTRAP);
        registry.apply_all(list(held.iter()));
        let mut world = look(&mut registry).0;
        for step in steps {
            if step.leaves {
                registry.apply_all(rejoined());
                held.retain(|(cluster, _), _| *cluster != "c2");
            }
            let cluster = if step.second && KINDS[step.kind] != Kind::ServiceEntry { "c2" } else { "c1" };
            let fact = read(step, cluster);
            let key = (cluster, (*fact.reference()).clone());
            let at = partition(cluster, key.1.kind);
            if step.gone {
                registry.apply(Event::Delete(at, key.1.clone()));
                held.remove(&key);
            } else {
                registry.apply(Event::Apply(at, fact.clone()));
                held.insert(key, fact);
            }
            if let Some(most) = step.look {
                let (now, changes) = if most == usize::MAX { look(&mut registry) } else { registry.world_so_far(most) };
                check_changes(&world, &now, &changes)?;
                world = now;
            }
        }
        let (got, changes) = look(&mut registry);
        check_changes(&world, &got, &changes)?;
        let mut anew = empty(BOOTSTRAP);
        anew.apply_all(list(held.iter()));
        let want = look(&mut anew).0;
        prop_assert_eq!(&got.gateway, &want.gateway);
        prop_assert_eq!(&got.catalog.services, &want.catalog.services);
        prop_assert_eq!(&got.catalog.endpoints, &want.catalog.endpoints);
        prop_assert_eq!(&got.catalog.namespaces, &want.catalog.namespaces);
        prop_assert!(!documents_differ(&got.documents, &want.documents));
        prop_assert_eq!(told(&registry), told(&anew));
        // A second list of the same changes nothing; a list of nothing takes everything away.
        registry.apply_all(list(held.iter()));
        prop_assert!(look(&mut registry).1.is_empty());
        registry.apply_all(list([].into_iter()));
        prop_assert!(look(&mut registry).0.catalog.services.is_empty());
    }
}

#[test]
fn an_object_told_again_keeps_the_allocation_that_others_hold() {
    let text = b"apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: d, namespace: ns}\nspec: {host: a.example.com}\n";
    let told = || {
        let parsed = parse(text, &ClusterId::from("c1"), &"c1/d".into());
        let told = fact(parsed.documents.into_iter().next().expect("an object"), &mut Interner::default()).expect("a fact");
        Event::Apply(partition("c1", Kind::DestinationRule), told)
    };
    let mut registry = empty(BOOTSTRAP);
    let at = || partition("c1", Kind::DestinationRule);
    registry.apply_all(KINDS.map(|kind| Event::Init(partition("c1", kind))).into_iter().chain([Event::Init(at()), told(), Event::InitDone(at())]));
    registry.apply_all(KINDS.map(|kind| Event::InitDone(partition("c1", kind))));
    let rule = |registry: &mut Registry| registry.world().0.documents.destination_rules.values().next().cloned().expect("the rule");
    let before = rule(&mut registry);
    registry.apply(told());
    assert!(Arc::ptr_eq(&before, &rule(&mut registry)));
}

#[test]
fn a_change_does_not_wait_for_a_cluster_that_comes_or_goes() {
    let service = |name: usize| {
        let text = format!("apiVersion: v1\nkind: Service\nmetadata: {{name: s{name}, namespace: ns}}\nspec: {{ports: [{{port: {}}}]}}\n", 80 + name);
        let parsed = parse(text.as_bytes(), &ClusterId::from("c2"), &"c2/s".into());
        fact(parsed.documents.into_iter().next().expect("an object"), &mut Interner::default()).expect("a fact")
    };
    let mut registry = empty(BOOTSTRAP);
    registry.apply_all(list([].into_iter()));
    registry.world();
    let all = |kind: fn(Partition) -> Event| KINDS.map(|k| kind(partition("c2", k))).into_iter();
    let source = partition("c2", Kind::Service).source;
    registry.apply_all([Event::Removed(source.clone()), Event::Joined(source.0.clone(), Arc::from("ns/secret"))]);
    registry.world();
    let told = (0..20).map(|n| Event::Apply(partition("c2", Kind::Service), service(n)));
    registry.apply_all(all(Event::Init).chain(told).chain(all(Event::InitDone)));
    let (world, changes) = registry.world_so_far(8);
    assert_eq!((world.catalog.services.len(), changes.services.len(), registry.is_behind()), (8, 8, true));
    registry.apply(Event::Apply(partition("c2", Kind::Service), service(99)));
    let (world, changes) = registry.world_so_far(8);
    assert!(changes.services.iter().any(|host| host.as_str().starts_with("s99.")), "a change that came meanwhile is told at once");
    assert_eq!(world.catalog.services.len(), 17);
    assert_eq!((registry.world_so_far(8).0.catalog.services.len(), registry.is_behind()), (21, false));
    registry.apply(Event::Removed(source));
    assert_eq!((registry.world_so_far(8).0.catalog.services.len(), registry.is_behind()), (13, true));
    assert_eq!((registry.world().0.catalog.services.len(), registry.is_behind()), (0, false));
}
