//! After any history of all that is read, what is in force is what it would be had only the end of it been told: the way of
//! production, from objects through the registry and the compiler to what is printed, reported and found by analysis.

#[path = "../../../../tests/looked.rs"]
mod looked;
mod pools;

use std::collections::BTreeMap;
use std::sync::Arc;

use isthmus_config::mesh::MeshConfig;
use isthmus_config::name::ClusterId;
use isthmus_config::object::{Kind, ObjectRef};
use isthmus_config::parse::parse;
use isthmus_config::problem::{Problem, Severity};
use isthmus_config::validate::{refuses, validate};
use isthmus_core::analyze::analyze;
use isthmus_core::compile::Compiler;
use isthmus_core::model::{Changes, World};
use isthmus_core::snapshot::Dump;
use isthmus_discovery::kubernetes::{Interner, fact};
use isthmus_discovery::source::{Fact, Partition, SourceId, Via};
use isthmus_discovery::{Event, Registry};
use proptest::prelude::*;

use looked::{empty, look};
use pools::{MESHES, POOLS};

const BOOTSTRAP: &str = "
gateway: {cluster: c1, namespace: gw, labels: {istio: ingressgateway}, node: n0}
config: {cluster: c1}
clusters: [{name: c1, path: c1}, {name: c2, path: c2}]
";

/// What happens.
#[derive(Clone, Debug)]
enum Step {
    /// An object of a pool becomes a version of it, with an age (the last two are of files), or goes.
    Object { pool: usize, name: prop::sample::Index, second: bool, version: Option<prop::sample::Index>, age: u8 },
    /// The mesh's settings are others.
    Mesh(usize),
    /// All is listed again, and is the same.
    Relist,
    /// The member leaves, or joins with nothing in it.
    Member(bool),
}

fn steps() -> impl Strategy<Value = Vec<Vec<Step>>> {
    let version = prop::option::weighted(0.75, any::<prop::sample::Index>());
    let object = (0..POOLS.len(), any::<prop::sample::Index>(), prop::bool::weighted(0.3), version, 0..6u8);
    let object = object.prop_map(|(pool, name, second, version, age)| Step::Object { pool, name, second, version, age });
    let step =
        prop_oneof![40 => object, 1 => (0..MESHES.len()).prop_map(Step::Mesh), 1 => Just(Step::Relist), 1 => any::<bool>().prop_map(Step::Member)];
    prop::collection::vec(prop::collection::vec(step, 1..8), 1..16)
}

/// What is held by the clusters, and the settings in force.
struct Held {
    /// Whether the member is one.
    member: bool,
    /// The last good version of each, and behind it one that is refused.
    objects: BTreeMap<(&'static str, ObjectRef), [Option<Fact>; 2]>,
    mesh: Arc<MeshConfig>,
}

fn partition(cluster: &str, kind: Kind) -> Partition {
    Partition { source: SourceId(ClusterId::from(cluster), Via::Files), kind, generation: 1 }
}

/// The fact, and whether the admission rules refuse it.
fn read(pool: usize, name: usize, version: usize, cluster: &str, age: u8) -> (Fact, bool) {
    let pool = &POOLS[pool];
    let (namespace, name) = pool.names[name];
    let (more, body) =
        pool.versions[version].strip_prefix(',').map_or(("", pool.versions[version]), |rest| rest.split_once('\n').unwrap_or((rest, "")));
    let more = if more.is_empty() { String::new() } else { format!(",{more}") };
    let created = if age < 4 { format!(", creationTimestamp: '2026-01-01T00:00:0{age}Z'") } else { String::new() };
    let namespace = if namespace.is_empty() { String::new() } else { format!(", namespace: {namespace}") };
    let number = &name[name.len() - 1..];
    let text = format!("apiVersion: {}\nkind: {:?}\nmetadata: {{name: {name}{namespace}{created}{more}}}\n{body}\n", pool.api, pool.kind)
        .replace("sN", &format!("s{number}"));
    let parsed = parse(text.as_bytes(), &ClusterId::from(cluster), &Arc::from(format!("{cluster}/{age}/{:?}-{name}", pool.kind)));
    assert!(parsed.problems.is_empty(), "{text}: {:?}", parsed.problems);
    let document = parsed.documents.into_iter().next().expect("an object");
    let refused = refuses(&validate(&document));
    (fact(document, &mut Interner::default()).expect("a fact"), refused)
}

impl Held {
    fn new() -> Self {
        Self { member: true, objects: BTreeMap::new(), mesh: Arc::default() }
    }
    /// The first version of every object.
    fn full() -> Self {
        let mut held = Self::new();
        for (pool, i) in POOLS.iter().zip(0..) {
            for name in 0..pool.names.len() {
                let (fact, _) = read(i, name, 0, "c1", 0);
                held.objects.insert(("c1", (*fact.reference()).clone()), [Some(fact), None]);
            }
        }
        held
    }
    /// Takes a step, and tells it.
    fn take(&mut self, step: &Step) -> Vec<Event> {
        match step {
            Step::Object { pool, name, second, version, age } => {
                let cluster = if *second && POOLS[*pool].everywhere { "c2" } else { "c1" };
                let name = name.index(POOLS[*pool].names.len());
                let (fact, refused) = read(*pool, name, version.map_or(0, |v| v.index(POOLS[*pool].versions.len())), cluster, *age);
                let object = (*fact.reference()).clone();
                let at = partition(cluster, object.kind);
                match version {
                    Some(_) | None if cluster == "c2" && !self.member => Vec::new(),
                    // What was known of our own node stays while it cannot be seen, so here it never goes.
                    None if object.kind == Kind::Node && cluster == "c1" && *object.name == *"n0" => Vec::new(),
                    Some(_) => {
                        let held = self.objects.entry((cluster, object)).or_default();
                        *held = if refused { [held[0].take(), Some(fact.clone())] } else { [Some(fact.clone()), None] };
                        vec![Event::Apply(at, fact)]
                    }
                    None => {
                        self.objects.remove(&(cluster, object.clone()));
                        vec![Event::Delete(at, object)]
                    }
                }
            }
            Step::Mesh(which) => {
                self.mesh = Arc::new(serde_yaml::from_str(MESHES[*which]).expect("a MeshConfig"));
                vec![Event::Mesh(self.mesh.clone())]
            }
            Step::Relist => self.list(),
            Step::Member(true) if self.member => Vec::new(),
            Step::Member(true) => {
                self.member = true;
                [Event::Joined("c2".into(), "ns/secret".into())].into_iter().chain(self.list()).collect()
            }
            Step::Member(false) => {
                self.member = false;
                self.objects.retain(|(cluster, _), _| *cluster != "c2");
                vec![Event::Removed(partition("c2", Kind::Service).source)]
            }
        }
    }
    fn list(&self) -> Vec<Event> {
        let every =
            || ["c1", "c2"].into_iter().take(1 + usize::from(self.member)).flat_map(|c| POOLS.iter().map(move |pool| partition(c, pool.kind)));
        let held = self.objects.iter().flat_map(|((cluster, object), held)| held.iter().flatten().map(move |fact| (cluster, object.kind, fact)));
        let applied = held.map(|(cluster, kind, fact)| Event::Apply(partition(cluster, kind), fact.clone()));
        every().map(Event::Init).chain(applied).chain(every().map(Event::InitDone)).collect()
    }
}

/// Everything that a user may see of it.
fn told(registry: &Registry, world: &World, compiler: &Compiler) -> String {
    let line = |p: &Problem| {
        let spot = p.origin.spot(&p.path);
        let object = p.object.as_ref().map(ToString::to_string).unwrap_or_default();
        format!("{} {} {object} {} {}:{}:{}: {}", p.severity, p.code, p.path, p.origin.file, spot.line, spot.column, p.message)
    };
    let lines = |problems: &[Problem]| problems.iter().map(line).collect::<Vec<_>>();
    let mut found = lines(&registry.problems());
    found.sort();
    let snapshot = compiler.snapshot().expect("something was compiled");
    let dump = serde_yaml::to_string(&Dump::of(snapshot, &compiler.slots())).expect("a dump is YAML");
    let analysis = analyze(world, compiler, Severity::Error);
    let in_force: Vec<String> =
        analysis.in_force.iter().map(|row| format!("{} {} {} {:?}", row.object, row.routes, row.backends, row.reason)).collect();
    let parts = [found, lines(&compiler.report().problems), lines(&analysis.problems), in_force];
    format!("{dump}\n{}", parts.map(|part| part.join("\n")).join("\n\n"))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, max_shrink_iters: 4000, ..ProptestConfig::default() })]

    #[test]
    fn any_history_ends_where_nothing_would(full in any::<bool>(), history in steps()) {
        let mut held = if full { Held::full() } else { Held::new() };
        let mut registry = empty(BOOTSTRAP);
        registry.apply_all(held.list());
        let mut compiler = Compiler::new(1);
        compiler.compile(&look(&mut registry).0, &Changes::everything()).publish_views();
        for batch in history {
            for step in &batch {
                registry.apply_all(held.take(step));
            }
            let (world, changes) = look(&mut registry);
            compiler.compile(&world, &changes).publish_views();

            let mut anew = empty(BOOTSTRAP);
            anew.apply(Event::Mesh(held.mesh.clone()));
            if !held.member {
                anew.apply(Event::Removed(partition("c2", Kind::Service).source));
            }
            anew.apply_all(held.list());
            let (fresh_world, _) = look(&mut anew);
            let mut fresh = Compiler::new(2);
            fresh.compile(&fresh_world, &Changes::everything()).publish_views();
            let (got, want) = (told(&registry, &world, &compiler), told(&anew, &fresh_world, &fresh));
            if got != want {
                let lost: Vec<&str> = want.lines().filter(|line| !got.contains(line)).collect();
                let left: Vec<&str> = got.lines().filter(|line| !want.contains(line)).collect();
                return Err(TestCaseError::fail(format!("lost: {lost:#?}\nleft over: {left:#?}\nfrom nothing: {want}")));
            }
        }
    }
}
