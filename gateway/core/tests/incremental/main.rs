//! What changes cost, and that they end where a compilation from nothing ends.
//!
//! A history is a list of steps, each of which puts one of a few variants of an object in its place, or takes it out.

mod one_host;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use isthmus_config::mesh::MeshConfig;
use isthmus_config::name::Hostname;
use isthmus_config::object::{Kind, Labels, Meta, Object, ObjectRef, Origin};
use isthmus_core::compile::Compiler;
use isthmus_core::model::{
    Address, Catalog, Changes, Documents, Endpoint, ExportTo, GatewayIdentity, Health, Kin, Place, Port, Protocol, Resolution, Service, ServiceKind,
    TargetPort, Workload, World,
};
use isthmus_core::snapshot::{Dump, Front, Snapshot};
use proptest::prelude::*;

fn world() -> World {
    let labels = Labels::from([("istio".into(), "ingressgateway".into())]);
    let gateway = GatewayIdentity {
        name: "gateway".into(),
        namespace: "gw".into(),
        labels,
        cluster: "c1".into(),
        network: "".into(),
        locality: "".into(),
        bind: IpAddr::from([0, 0, 0, 0]),
        ports: BTreeMap::new(),
        domain: "cluster.local".into(),
        mutual_tls: false,
    };
    World {
        generation: 1,
        catalog: Catalog::default(),
        documents: Arc::new(Documents::default()),
        mesh: Arc::new(MeshConfig::default()),
        gateway: Arc::new(gateway),
    }
}

fn object<S: serde::de::DeserializeOwned>(namespace: &str, name: &str, created: i64, spec: &str) -> Arc<Object<S>> {
    let meta = Meta { name: name.into(), namespace: namespace.into(), created: Some(created), ..Meta::default() };
    Arc::new(Object { meta, spec: serde_yaml::from_str(spec).expect("a spec"), origin: Origin::default() })
}

fn service(name: &str, ports: &[u16], alias: Option<&str>, hidden: bool) -> Arc<Service> {
    let port = |number: &u16| Port { number: *number, name: format!("http-{number}").into(), protocol: Protocol::Http, target: TargetPort::Same };
    Arc::new(Service {
        hostname: Hostname::new(&format!("{name}.app.svc.cluster.local")),
        namespace: "app".into(),
        kind: ServiceKind::Kubernetes,
        resolution: Resolution::Static,
        ports: ports.iter().map(port).collect(),
        export_to: if hidden { ExportTo::Nobody } else { ExportTo::All },
        alias: alias.map(|a| Hostname::new(&format!("{a}.app.svc.cluster.local"))),
        labels: Arc::default(),
        selector: Arc::default(),
        distribution: None,
        unmet: Vec::new(),
        object: ObjectRef::new(Kind::Service, "app", name),
        origin: Arc::default(),
    })
}

fn endpoints(count: u8) -> Arc<[Arc<Endpoint>]> {
    let one = |i: u8| {
        let labels = Labels::from([("version".into(), format!("v{}", 1 + i % 2).into())]);
        let kin = Kin { labels: Arc::new(labels), ..Kin::default() };
        let workload = Arc::new(Workload::new(format!("pod-{i}"), kin, Place::default()));
        let source = Arc::new(ObjectRef::new(Kind::EndpointSlice, "app", "slice"));
        let at = |port: u16| Endpoint {
            address: Address::Socket(([10, 0, 0, i], port).into()),
            port_name: format!("http-{port}").into(),
            weight: 1,
            health: Health::Healthy,
            workload: workload.clone(),
            source: source.clone(),
            passage: None,
        };
        [Arc::new(at(80)), Arc::new(at(81))]
    };
    (0..count).flat_map(one).collect()
}

const HOSTS: [&str; 4] = ["a", "b", "c", "d"];
const GATEWAYS: [&str; 5] = [
    "{selector: {istio: ingressgateway}, servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ['*']}]}",
    "{selector: {istio: ingressgateway}, servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ['*.x.com', y.com]}, {port: {number: 81, name: other, protocol: HTTP}, hosts: [y.com], tls: {httpsRedirect: true}}]}",
    "{selector: {istio: ingressgateway}, servers: [{port: {number: 81, name: tcp, protocol: TCP}, hosts: ['*']}]}",
    "{selector: {istio: other}, servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ['*']}]}",
    "{servers: [{port: {number: 82, name: tls, protocol: HTTPS}, hosts: ['*'], tls: {mode: SIMPLE}}]}",
];
const ROUTES: [&str; 8] = [
    "{hosts: [a.x.com, y.com], gateways: [g0, g1], http: [{match: [{uri: {prefix: /a}}], route: [{destination: {host: a, subset: v1}}]}, {route: [{destination: {host: b}}]}]}",
    "{hosts: ['*.x.com'], gateways: [g0, g1, mesh], http: [{match: [{port: 80}], route: [{destination: {host: a}, weight: 1}, {destination: {host: c, port: {number: 81}}, weight: 3}]}, {match: [{uri: {regex: '/r.*'}}], route: [{destination: {host: d}}]}]}",
    "{hosts: [y.com], gateways: [g1], exportTo: ['gw'], http: [{match: [{uri: {prefix: /y}}], delegate: {name: v3}}, {match: [{uri: {prefix: /z}}], route: [{destination: {host: nowhere}}], mirror: {host: b}}]}",
    "{http: [{match: [{uri: {prefix: /y/1}}], route: [{destination: {host: c, subset: v2}}]}, {route: [{destination: {host: d}}]}]}",
    "{hosts: ['*'], gateways: [g1, g2], http: [{route: [{destination: {host: c}}]}], tcp: [{match: [{port: 81}], route: [{destination: {host: a, port: {number: 80}}}]}]}",
    "{hosts: ['*'], gateways: [g2], tcp: [{route: [{destination: {host: b}}]}]}",
    "{hosts: [y.com], gateways: [g0], exportTo: ['.'], http: [{route: [{destination: {host: a}}]}]}",
    "{hosts: [y.com, b.x.com], gateways: [g0], http: [{match: [{uri: {prefix: /q}}], route: [{destination: {host: d, subset: v1, port: {number: 80}}}]}]}",
];
const RULES: [&str; 7] = [
    "{host: a, subsets: [{name: v1, labels: {version: v1}}]}",
    "{host: a.app.svc.cluster.local, trafficPolicy: {loadBalancer: {simple: ROUND_ROBIN}, outlierDetection: {}}, subsets: [{name: v1, labels: {version: v2}}, {name: v2, labels: {}}]}",
    "{host: '*.app.svc.cluster.local', exportTo: [gw], trafficPolicy: {loadBalancer: {consistentHash: {httpHeaderName: x, minimumRingSize: 8}}}}",
    "{host: c, subsets: [{name: v2, labels: {version: v2}}], trafficPolicy: {portLevelSettings: [{port: {number: 81}, loadBalancer: {simple: RANDOM}}]}}",
    "{host: '*.local', trafficPolicy: {connectionPool: {http: {useClientProtocol: true}}}, subsets: [{name: v1, labels: {}}]}",
    "{host: d.app.svc.cluster.local, exportTo: ['.'], trafficPolicy: {loadBalancer: {simple: RANDOM}}}",
    "{host: d.app.svc.cluster.local, exportTo: [other], trafficPolicy: {loadBalancer: {simple: RANDOM}}}",
];
const NAMESPACES: [&str; 3] = ["app", "gw", "istio-system"];

/// One change: a kind, which object, and what becomes of it.
type Step = (u8, u8, u8);

fn apply(world: &mut World, (kind, which, variant): Step, changes: &mut Changes) {
    let pick = |pool: &'static [&'static str]| pool.get(variant as usize).copied();
    match kind % 5 {
        0 if which >= 4 => {
            let mut own = (*service("own", &[80, 81], None, false)).clone();
            own.hostname = Hostname::new("own.gw.svc.cluster.local");
            own.namespace = "gw".into();
            own.selector = Arc::new(Labels::from([("istio".into(), "ingressgateway".into())]));
            Arc::make_mut(&mut own.ports)[0].target = if variant < 6 { TargetPort::Number(8080) } else { TargetPort::Name("web".into()) };
            Arc::make_mut(&mut own.ports)[1].target = if variant % 3 == 1 { TargetPort::Number(8080) } else { TargetPort::Same };
            let host = own.hostname.clone();
            if variant == 0 {
                world.catalog.services.remove(&host);
            } else {
                world.catalog.services.insert(host.clone(), Arc::new(own));
            }
            changes.services.insert(host);
        }
        0 => {
            let name = HOSTS[which as usize % HOSTS.len()];
            let host = Hostname::new(&format!("{name}.app.svc.cluster.local"));
            let made = match variant % 6 {
                0 => None,
                1 => Some(service(name, &[80], None, false)),
                2 | 3 => Some(service(name, &[80, 81], None, false)),
                4 => Some(service(name, &[80], Some(HOSTS[(which as usize + 1) % HOSTS.len()]), false)),
                _ => Some(service(name, &[80], None, true)),
            };
            match made {
                Some(made) => drop(world.catalog.services.insert(host.clone(), made)),
                None => drop(world.catalog.services.remove(&host)),
            }
            changes.services.insert(host);
        }
        1 => {
            let host = Hostname::new(&format!("{}.app.svc.cluster.local", HOSTS[which as usize % HOSTS.len()]));
            world.catalog.endpoints.insert(host.clone(), endpoints(variant % 4));
            changes.endpoints.insert(host);
        }
        2 => {
            let (namespace, name) = ("app", format!("g{}", which % 3));
            let key = (namespace.into(), name.as_str().into());
            match pick(&GATEWAYS) {
                Some(spec) => drop(Arc::make_mut(&mut world.documents).gateways.insert(key, object(namespace, &name, i64::from(which % 3), spec))),
                None => drop(Arc::make_mut(&mut world.documents).gateways.remove(&key)),
            }
            changes.objects.insert(ObjectRef::new(Kind::Gateway, namespace, name));
        }
        3 => {
            let (namespace, name) = ("app", format!("v{}", which % 5));
            let key = (namespace.into(), name.as_str().into());
            match pick(&ROUTES) {
                Some(spec) => {
                    drop(Arc::make_mut(&mut world.documents).virtual_services.insert(key, object(namespace, &name, i64::from(variant), spec)))
                }
                None => drop(Arc::make_mut(&mut world.documents).virtual_services.remove(&key)),
            }
            changes.objects.insert(ObjectRef::new(Kind::VirtualService, namespace, name));
        }
        _ => {
            let (namespace, name) = (NAMESPACES[which as usize % 3], format!("d{}", which % 2));
            let key = (namespace.into(), name.as_str().into());
            match pick(&RULES) {
                Some(spec) => {
                    drop(Arc::make_mut(&mut world.documents).destination_rules.insert(key, object(namespace, &name, i64::from(which % 2), spec)))
                }
                None => drop(Arc::make_mut(&mut world.documents).destination_rules.remove(&key)),
            }
            changes.objects.insert(ObjectRef::new(Kind::DestinationRule, namespace, name));
        }
    }
}

fn printed(compiler: &Compiler) -> String {
    let snapshot = compiler.snapshot().expect("something was compiled");
    serde_yaml::to_string(&Dump::of(snapshot, &compiler.slots())).expect("a dump is YAML")
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_history_ends_where_nothing_would(history in prop::collection::vec(prop::collection::vec((0u8..5, 0u8..6, 0u8..9), 1..4), 1..40)) {
        let mut world = world();
        let mut compiler = Compiler::new(1);
        compiler.compile(&world, &Changes::everything()).publish_views();
        for batch in history {
            let mut changes = Changes::default();
            for step in batch {
                apply(&mut world, step, &mut changes);
            }
            check(&mut compiler, &world, &changes)?;
        }
    }
}

/// Compiles the changes; what is printed and reported is what a compilation from nothing prints and reports, and every
/// virtual host finds the route that trying them in order finds.
fn check(compiler: &mut Compiler, world: &World, changes: &Changes) -> Result<(), TestCaseError> {
    let plan = compiler.compile(world, changes);
    plan.publish_views();
    let mut fresh = Compiler::new(2);
    let from_nothing = fresh.compile(world, &Changes::everything());
    prop_assert_eq!(printed(compiler), printed(&fresh));
    prop_assert_eq!(&plan.report, &from_nothing.report);
    let snapshot = compiler.snapshot().expect("something was compiled");
    for front in snapshot.listeners.iter().filter_map(|l| if let Front::Http(front) = &l.front { Some(front) } else { None }) {
        front.virtual_hosts.iter().try_for_each(|host| one_host::finds_the_first(host))?;
    }
    Ok(())
}

/// `hosts` virtual hosts with `each` routes, every one to a service of its own with two endpoints.
fn large(hosts: usize, each: usize) -> World {
    let mut world = world();
    Arc::make_mut(&mut world.documents).gateways.insert(("app".into(), "g0".into()), object("app", "g0", 0, GATEWAYS[0]));
    for host in 0..hosts {
        let rules: String = (0..each)
            .map(|r| {
                let name = format!("s{host}-{r}");
                let made = service(&name, &[80], None, false);
                world.catalog.endpoints.insert(made.hostname.clone(), endpoints(2));
                world.catalog.services.insert(made.hostname.clone(), made);
                format!("{{match: [{{uri: {{prefix: /p{r}}}}}], route: [{{destination: {{host: {name}}}}}]}}, ")
            })
            .collect();
        let spec = format!("{{hosts: [h{host}.x.com], gateways: [g0], http: [{rules}]}}");
        let name = format!("v{host}");
        Arc::make_mut(&mut world.documents).virtual_services.insert(("app".into(), name.as_str().into()), object("app", &name, 0, &spec));
    }
    world
}

fn host<'a>(snapshot: &'a Snapshot, name: &str) -> &'a Arc<isthmus_core::snapshot::VirtualHost> {
    let front = match &snapshot.listeners[0].front {
        Front::Http(front) => front,
        Front::Tcp(_) | Front::Closed(_) => unreachable!("the only listener is HTTP"),
    };
    front.virtual_hosts.iter().find(|h| h.name() == name).expect("the virtual host")
}

#[test]
fn at_ten_thousand_routes_a_change_costs_what_it_touches() {
    let mut world = large(1000, 10);
    let mut compiler = Compiler::new(1);
    let first = compiler.compile(&world, &Changes::everything());
    first.publish_views();
    let before = first.snapshot.expect("a snapshot");
    assert_eq!((first.counters.vhosts_run, first.counters.backends_run), (1000, 10_000));
    let views: Vec<_> = compiler.slots().iter().map(|s| s.view.load_full()).collect();

    let changed = Hostname::new("s7-3.app.svc.cluster.local");
    world.catalog.endpoints.insert(changed.clone(), endpoints(3));
    let plan = compiler.compile(&world, &Changes { endpoints: [changed.clone()].into(), ..Changes::default() });
    plan.publish_views();
    let counters = plan.counters;
    assert_eq!((counters.backends_run, counters.vhosts_run, counters.fragments_run, counters.bound_run, counters.listeners_run), (1, 0, 0, 0, 0));
    assert!(plan.snapshot.is_none() && Arc::ptr_eq(&plan.report, &first.report));
    assert_eq!(plan.views.iter().map(|(s, _)| s.key.host.clone()).collect::<Vec<_>>(), [changed]);
    let slots = compiler.slots();
    let moved = slots.iter().zip(&views).filter(|(s, v)| !Arc::ptr_eq(&s.view.load_full(), v)).count();
    assert_eq!(moved, 1, "untouched slots keep their view");

    let spec = "{hosts: [h7.x.com], gateways: [g0], http: [{route: [{destination: {host: s7-3}}]}]}";
    Arc::make_mut(&mut world.documents).virtual_services.insert(("app".into(), "v7".into()), object("app", "v7", 0, spec));
    let plan = compiler.compile(&world, &Changes { objects: [ObjectRef::new(Kind::VirtualService, "app", "v7")].into(), ..Changes::default() });
    let counters = plan.counters;
    assert_eq!((counters.vhosts_run, counters.fragments_run, counters.bound_run, counters.backends_run), (1, 1, 1, 0));
    let after = plan.snapshot.expect("a snapshot");
    assert!(Arc::ptr_eq(host(&before, "h8.x.com:80"), host(&after, "h8.x.com:80")), "untouched virtual hosts keep their pointer");
    assert!(!Arc::ptr_eq(host(&before, "h7.x.com:80"), host(&after, "h7.x.com:80")));
    let kept = compiler.slots();
    let kept = kept.iter().find(|s| s.key.host.as_str().starts_with("s7-3.")).expect("the slot");
    assert!(slots.iter().any(|s| Arc::ptr_eq(s, kept)), "a slot that is still named stays the same");
    assert_eq!(compiler.slots().len(), 9991, "slots that nobody names are gone");
}

#[test]
fn a_change_that_no_route_can_see_runs_none() {
    let mut world = large(2, 2);
    let mut compiler = Compiler::new(1);
    compiler.compile(&world, &Changes::everything()).publish_views();
    let spec = "{host: s0-1, trafficPolicy: {loadBalancer: {simple: ROUND_ROBIN}}}";
    Arc::make_mut(&mut world.documents).destination_rules.insert(("app".into(), "d".into()), object("app", "d", 0, spec));
    let rule = Changes { objects: [ObjectRef::new(Kind::DestinationRule, "app", "d")].into(), ..Changes::default() };
    let plan = compiler.compile(&world, &rule);
    assert!(plan.snapshot.is_none());
    assert_eq!((plan.counters.fragments_run, plan.counters.backends_run, plan.views.len()), (0, 1, 1));
    let spec = "{host: s0-1, trafficPolicy: {loadBalancer: {consistentHash: {useSourceIp: true}}}}";
    Arc::make_mut(&mut world.documents).destination_rules.insert(("app".into(), "d".into()), object("app", "d", 0, spec));
    let plan = compiler.compile(&world, &rule);
    assert_eq!((plan.counters.fragments_run, plan.counters.vhosts_run), (1, 1), "a hash policy is part of the route");
}
