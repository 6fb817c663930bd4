//! What a verdict of a probe does to the world: whose it is, for which address it holds, and what it touches.

use std::sync::Arc;
use std::time::Instant;

use isthmus_config::bootstrap::Bootstrap;
use isthmus_config::name::Hostname;
use isthmus_config::object::{Kind, ObjectRef};
use isthmus_core::model::{Changes, Health};
use isthmus_discovery::{Entry, Event, Registry, Settings, Verdict, offline};

/// A host whose endpoints are the entries with the label `app: NAME`.
fn service(name: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{name: {name}, namespace: vm}}\nspec:\n  hosts: [{name}.vm.demo]\n  ports: [{{number: 80, name: http, protocol: HTTP}}]\n  resolution: STATIC\n  workloadSelector: {{labels: {{app: {name}}}}}\n---\n"
    )
}

fn entry(name: &str, more: &str, spec: &str) -> String {
    format!("---\napiVersion: networking.istio.io/v1\nkind: WorkloadEntry\nmetadata: {{name: {name}, namespace: vm{more}}}\nspec: {{{spec}}}\n")
}

fn group(probe: &str) -> String {
    format!(
        "---\napiVersion: networking.istio.io/v1\nkind: WorkloadGroup\nmetadata: {{name: db, namespace: vm}}\nspec: {{metadata: {{labels: {{app: db}}}}, template: {{}}{probe}}}\n"
    )
}

const PROBE: &str = ", probe: {httpGet: {port: 80}}";

/// A gateway in network n1 that reads `objects`.
fn registry(objects: &str) -> Registry {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("objects.yaml"), service("db") + &service("other") + objects).expect("a file");
    let text = "gateway: {cluster: c1, network: n1}\nclusters: [{name: c1, path: objects.yaml}]\n";
    let (bootstrap, _) = Bootstrap::parse(text, &folder.path().join("isthmus.yaml")).expect("isthmus.yaml");
    let (settings, _) = Settings::load(&bootstrap).expect("settings");
    offline(settings, Vec::new())
}

fn of(name: &str) -> Entry {
    ("c1".into(), ObjectRef::new(Kind::WorkloadEntry, "vm", name))
}

fn targets(registry: &Registry) -> Vec<String> {
    registry.targets().borrow().keys().map(|(cluster, object)| format!("{cluster} {}", object.name)).collect()
}

fn health(registry: &mut Registry, host: &str) -> (Vec<(String, Health)>, Changes) {
    let (world, changes) = registry.world();
    let endpoints = world.catalog.endpoints.get(&Hostname::new(host)).map(|e| &**e).unwrap_or_default();
    (endpoints.iter().map(|e| (e.address.to_string(), e.health)).collect(), changes)
}

fn told(name: &str, address: &str, failure: Option<&str>) -> Event {
    Event::Probed(of(name), address.into(), Verdict { failure: failure.map(Arc::from), since: Instant::now() })
}

#[test]
fn who_is_probed() {
    let reports = ", annotations: {proxy.istio.io/health-checks-enabled: \"true\"}";
    let named = ", annotations: {istio.io/autoRegistrationGroup: db}";
    let objects = entry("plain", "", "address: 10.0.0.1, labels: {app: db}")
        + &entry("other", "", "address: 10.0.0.2, labels: {app: other}")
        + &entry("registered", named, "address: 10.0.0.3")
        + &entry("reports", reports, "address: 10.0.0.4, labels: {app: db}")
        + &entry("near", "", "address: 10.0.0.5, labels: {app: db}, network: n1")
        + &entry("far", "", "address: 10.0.0.6, labels: {app: db}, network: n2")
        + &entry("socket", "", "address: 'unix:///run/db', labels: {app: db}")
        + &entry("name", "", "address: db.example.com, labels: {app: db}");
    assert_eq!(targets(&registry(&(objects.clone() + &group(PROBE)))), ["c1 name", "c1 near", "c1 plain", "c1 registered"]);
    assert!(targets(&registry(&(objects.clone() + &group("")))).is_empty(), "off unless a probe is given");
    let exec = registry(&(objects + &group(", probe: {exec: {command: ['true']}}")));
    assert!(targets(&exec).is_empty());
    let problems: Vec<String> = exec.problems().into_iter().map(|p| format!("{} {}", p.code, p.path)).collect();
    assert!(problems.contains(&"ISM0213 spec.probe.exec".to_owned()), "{problems:?}");
}

#[test]
fn a_failing_entry_is_unhealthy_where_it_serves_and_nowhere_else_m13() {
    let objects = entry("a", "", "address: 10.0.0.1, labels: {app: db}") + &entry("b", "", "address: 10.0.0.2, labels: {app: db}") + &group(PROBE);
    let mut registry = registry(&objects);
    let both = |a, b| vec![("10.0.0.1:80".to_owned(), a), ("10.0.0.2:80".to_owned(), b)];
    assert_eq!(health(&mut registry, "db.vm.demo").0, both(Health::Healthy, Health::Healthy), "well until a probe says otherwise");
    registry.apply(told("a", "10.0.0.1", Some("refused")));
    let (now, changes) = health(&mut registry, "db.vm.demo");
    assert_eq!(now, both(Health::Unhealthy, Health::Healthy));
    let touched = Changes { endpoints: [Hostname::new("db.vm.demo")].into(), ..Changes::default() };
    assert_eq!(changes, touched, "one endpoint change");
    registry.apply(told("a", "10.0.0.1", Some("answered 500")));
    assert!(health(&mut registry, "db.vm.demo").1.is_empty(), "another reason changes no endpoint");
    assert_eq!(registry.probed().map(|(_, p)| (p.verdict.failure.as_deref(), p.changes)).collect::<Vec<_>>(), [(Some("answered 500"), 1)]);
    registry.apply(told("b", "10.9.9.9", Some("refused")));
    assert_eq!(health(&mut registry, "db.vm.demo").0, both(Health::Unhealthy, Health::Healthy), "a verdict of another address is late");
    registry.apply(told("a", "10.0.0.1", None));
    assert_eq!(health(&mut registry, "db.vm.demo").0, both(Health::Healthy, Health::Healthy));
    assert_eq!(registry.probed().map(|(_, p)| p.changes).collect::<Vec<_>>(), [2]);
}

#[test]
fn what_is_not_probed_any_more_has_traffic() {
    use isthmus_config::parse::parse;
    use isthmus_discovery::kubernetes::{Interner, fact};
    use isthmus_discovery::source::{Partition, SourceId, Via};
    let partition = |kind| Partition { source: SourceId("c1".into(), Via::Files), kind, generation: 1 };
    let apply = |registry: &mut Registry, kind, text: &str| {
        let parsed = parse(text.as_bytes(), &"c1".into(), &Arc::from("a.yaml"));
        let fact = fact(parsed.documents.into_iter().next().expect("an object"), &mut Interner::default()).expect("a fact");
        registry.apply(Event::Apply(partition(kind), fact));
    };
    let objects = entry("a", "", "address: 10.0.0.1, labels: {app: db}") + &group(PROBE);
    let well = |address: &str| vec![(format!("{address}:80"), Health::Healthy)];
    let failing = || {
        let mut registry = registry(&objects);
        registry.apply(told("a", "10.0.0.1", Some("refused")));
        assert_eq!(health(&mut registry, "db.vm.demo").0, [("10.0.0.1:80".to_owned(), Health::Unhealthy)]);
        registry
    };
    let mut without_probe = failing();
    apply(&mut without_probe, Kind::WorkloadGroup, &group(""));
    assert_eq!(health(&mut without_probe, "db.vm.demo").0, well("10.0.0.1"));
    let mut without_group = failing();
    without_group.apply(Event::Delete(partition(Kind::WorkloadGroup), ObjectRef::new(Kind::WorkloadGroup, "vm", "db")));
    assert_eq!(health(&mut without_group, "db.vm.demo").0, well("10.0.0.1"));
    let mut moved = failing();
    apply(&mut moved, Kind::WorkloadEntry, &entry("a", "", "address: 10.0.0.9, labels: {app: db}"));
    assert_eq!(health(&mut moved, "db.vm.demo").0, well("10.0.0.9"));
    let mut gone = failing();
    gone.apply(Event::Delete(partition(Kind::WorkloadEntry), of("a").1));
    assert_eq!(health(&mut gone, "db.vm.demo").0, []);
    assert!(targets(&gone).is_empty() && gone.probed().next().is_none());
    let mut other_weight = failing();
    apply(&mut other_weight, Kind::WorkloadEntry, &entry("a", "", "address: 10.0.0.1, labels: {app: db}, weight: 3"));
    assert_eq!(health(&mut other_weight, "db.vm.demo").0, [("10.0.0.1:80".to_owned(), Health::Unhealthy)], "the same machine");
}
