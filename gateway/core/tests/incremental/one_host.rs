//! Many VirtualServices on one host: the order of their routes after any history, and what one that changes leaves alone.

use std::collections::BTreeMap;
use std::sync::Arc;

use http::HeaderMap;
use isthmus_config::object::{Kind, ObjectRef, Origin};
use isthmus_core::compile::Compiler;
use isthmus_core::model::{Changes, World};
use isthmus_core::route::{Head, Scratch};
use isthmus_core::snapshot::{Route, VirtualHost};
use proptest::prelude::*;

use super::{GATEWAYS, check, host, object, world};

/// Rules that meet each other in every way: several may take one request, and which one does depends on the order.
const RULES: [&str; 12] = [
    "{match: [{uri: {prefix: /a}}], directResponse: {status: 200}}",
    "{match: [{uri: {exact: /a/b}}, {uri: {prefix: /b}}], directResponse: {status: 201}}",
    "{match: [{uri: {regex: '/[ab]+'}}, {uri: {regex: '/[ab]+/.*'}}], directResponse: {status: 202}}",
    "{match: [{uri: {regex: '/[ab]+'}, headers: {x-a: {exact: '1'}}}], directResponse: {status: 203}}",
    "{match: [{headers: {x-a: {exact: '1'}}}, {method: {exact: POST}}], directResponse: {status: 204}}",
    "{match: [{uri: {prefix: /A}, ignoreUriCase: true}], directResponse: {status: 205}}",
    "{directResponse: {status: 206}}",
    "{match: [{uri: {prefix: /}}], directResponse: {status: 207}}",
    "{match: [{uri: {prefix: /a/b/c}}, {uri: {exact: /}}], directResponse: {status: 208}}",
    "{match: [{uri: {regex: '/[ab]+x'}}, {uri: {regex: '/[ab]+y'}}, {uri: {regex: '/[ab]+z'}}, {uri: {regex: '/[ab]+/c'}}], directResponse: {status: 209}}",
    "{match: [{uri: {prefix: /a}}], delegate: {name: d}}",
    "{match: [{port: 81}, {authority: {exact: y.com}}], directResponse: {status: 210}}",
];
const EXPORTS: [&str; 4] = ["", "exportTo: ['*'], ", "exportTo: [gw], ", "exportTo: ['.'], "];
const NAMESPACES: [&str; 2] = ["app", "gw"];

/// Every virtual host finds what trying its routes in order finds.
pub(crate) fn finds_the_first(host: &VirtualHost) -> Result<(), TestCaseError> {
    let mut scratch = Scratch::default();
    for (method, path, x) in
        [("GET", "/", None), ("GET", "/a/b", Some("1")), ("POST", "/ab", None), ("GET", "/A/b/c", None), ("GET", "/abx", Some("2"))]
    {
        let headers: HeaderMap = x.into_iter().map(|x| (http::HeaderName::from_static("x-a"), http::HeaderValue::from_static(x))).collect();
        let head = Head { method, scheme: "http", authority: "y.com", path, query: None, headers: &headers };
        let first = host.routes.iter().find(|route| route.matches.matches(&head).is_ok()).map(Arc::as_ptr);
        let found = host.routes.find(&head, &mut scratch).and_then(|position| host.routes.get(position)).map(Arc::as_ptr);
        prop_assert_eq!(found, first, "{} {} at {}", method, path, host.name());
    }
    Ok(())
}

/// One VirtualService of a few: its age, whom it is for, its rules; `None` is gone.
type Step = (u8, bool, Option<(i64, u8, bool, Vec<u8>)>);

fn steps() -> impl Strategy<Value = Vec<Vec<Step>>> {
    let rules = prop::collection::vec(0..RULES.len() as u8, 0..5);
    let spec = prop::option::weighted(0.8, (0..4i64, 0..EXPORTS.len() as u8, any::<bool>(), rules));
    prop::collection::vec(prop::collection::vec((0u8..9, any::<bool>(), spec), 1..5), 1..20)
}

fn apply(world: &mut World, (name, second, spec): &Step, changes: &mut Changes) {
    let (name, namespace) = (format!("v{name}"), NAMESPACES[usize::from(*second)]);
    let key = (namespace.into(), name.as_str().into());
    let services = &mut Arc::make_mut(&mut world.documents).virtual_services;
    match spec {
        None => drop(services.remove(&key)),
        Some((age, exported, both, rules)) => {
            let rules: Vec<&str> = rules.iter().map(|rule| RULES[usize::from(*rule)]).collect();
            let gateways = if *both { "app/g0, app/g1" } else { "app/g0" };
            let spec = format!("{{{}hosts: [y.com, z.com], gateways: [{gateways}], http: [{}]}}", EXPORTS[usize::from(*exported)], rules.join(", "));
            let mut made = object(namespace, &name, *age, &spec);
            if *age == 3 {
                // From a file, which knows no age: the place in it decides.
                let object = Arc::make_mut(&mut made);
                object.meta.created = None;
                object.origin = Origin { position: rules.len() as u32, ..Origin::default() };
            }
            services.insert(key, made);
        }
    }
    changes.objects.insert(ObjectRef::new(Kind::VirtualService, namespace, name));
}

/// Two Gateways whose servers share a port, so that a VirtualService may come twice, and delegates.
fn begin() -> World {
    let mut world = world();
    let documents = Arc::make_mut(&mut world.documents);
    for (name, spec) in [("g0", GATEWAYS[0]), ("g1", GATEWAYS[1])] {
        documents.gateways.insert(("app".into(), name.into()), object("app", name, 0, spec));
    }
    for namespace in NAMESPACES {
        let spec = "{http: [{match: [{uri: {prefix: /a/d}}], directResponse: {status: 220}}, {match: [{uri: {prefix: /a/e}}], directResponse: {status: 221}}]}";
        documents.virtual_services.insert((namespace.into(), "d".into()), object(namespace, "d", 0, spec));
    }
    world
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_history_of_one_host_ends_where_nothing_would(history in steps()) {
        let mut world = begin();
        let mut compiler = Compiler::new(1);
        compiler.compile(&world, &Changes::everything()).publish_views();
        for batch in history {
            let mut changes = Changes::default();
            batch.iter().for_each(|step| apply(&mut world, step, &mut changes));
            check(&mut compiler, &world, &changes)?;
        }
    }
}

/// `services` VirtualServices on one host, with ten routes each.
fn crowd(services: usize) -> World {
    let mut world = begin();
    for service in 0..services {
        put(&mut world, service, service as i64, "");
    }
    world
}

fn put(world: &mut World, service: usize, created: i64, more: &str) -> Changes {
    let rule = |r: usize| format!("{{match: [{{uri: {{prefix: /s{service}/{r}/}}}}], directResponse: {{status: 200}}}}, ");
    let rules: String = (0..10).map(rule).collect();
    let name = format!("v{service}");
    let spec = format!("{{hosts: [y.com], gateways: [g0], http: [{rules}{more}]}}");
    let services = &mut Arc::make_mut(&mut world.documents).virtual_services;
    services.insert(("app".into(), name.as_str().into()), object("app", &name, created, &spec));
    Changes { objects: [ObjectRef::new(Kind::VirtualService, "app", name)].into(), ..Changes::default() }
}

#[test]
fn one_of_a_thousand_on_one_host_costs_itself() {
    let mut world = crowd(1000);
    let mut compiler = Compiler::new(1);
    let before = compiler.compile(&world, &Changes::everything()).snapshot.expect("a snapshot");
    let routes = |host: &VirtualHost| host.routes.iter().map(Arc::as_ptr).collect::<Vec<*const Route>>();
    let old = routes(host(&before, "y.com:80"));
    assert_eq!(old.len(), 10_000);
    // One that goes to another place in the middle.
    let changes = put(&mut world, 500, 250, "{match: [{uri: {exact: /new}}], directResponse: {status: 200}}");
    let plan = compiler.compile(&world, &changes);
    let counters = plan.counters;
    assert_eq!((counters.vhosts_run, counters.fragments_run, counters.bound_run, counters.backends_run), (1, 1, 1, 0));
    let after = plan.snapshot.expect("a snapshot");
    let new = routes(host(&after, "y.com:80"));
    let places: BTreeMap<*const Route, usize> = new.iter().enumerate().map(|(place, route)| (*route, place)).collect();
    let kept: Vec<usize> = old.iter().filter_map(|route| places.get(route).copied()).collect();
    assert!(kept.len() == 9990 && kept.is_sorted(), "{} routes are the same, in the same order", kept.len());
    assert_eq!(new.len(), 10_001);
    finds_the_first(host(&after, "y.com:80")).expect("the first that matches");
}
