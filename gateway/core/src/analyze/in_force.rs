//! For every Istio object: how many routes and backends it is part of, or why it is in force nowhere at this gateway.

use std::sync::Arc;

use isthmus_config::istio::destination_rule::DestinationRule;
use isthmus_config::istio::virtual_service::VirtualService;
use isthmus_config::object::{Kind, Labels, Object};
use isthmus_config::problem::{Problem, Severity};

use super::rules::hosts;
use super::{InForce, Scene, code, finding, reference};
use crate::compile::{Unbound, qualify};
use crate::model::{ExportTo, Service};

/// Lists every Istio object. A VirtualService or DestinationRule that is in force nowhere is a finding as well.
pub(super) fn list(scene: &Scene<'_>, problems: &mut Vec<Problem>) -> Vec<InForce> {
    let documents = &scene.world.documents;
    let mut list = Vec::new();
    for object in documents.gateways.values() {
        let name = (object.meta.namespace.clone(), object.meta.name.clone());
        let selected = scene.compiler.selects(&name);
        let why = move || if selected { "no VirtualService has a route for its servers".to_owned() } else { others(&object.spec.selector, scene) };
        list.push(entry(scene, Kind::Gateway, object, why));
    }
    for object in documents.virtual_services.values() {
        let found = entry(scene, Kind::VirtualService, object, || virtual_service(scene, object));
        nowhere(&found, Kind::VirtualService, object, problems);
        list.push(found);
    }
    for object in documents.destination_rules.values() {
        let found = entry(scene, Kind::DestinationRule, object, || destination_rule(scene, object));
        nowhere(&found, Kind::DestinationRule, object, problems);
        list.push(found);
    }
    for object in documents.service_entries.values() {
        list.push(entry(scene, Kind::ServiceEntry, object, || "no route sends to its hosts".to_owned()));
    }
    for object in documents.workload_entries.values() {
        list.push(entry(scene, Kind::WorkloadEntry, object, || "it is an endpoint of no service that a route sends to".to_owned()));
    }
    for object in documents.workload_groups.values() {
        list.push(entry(scene, Kind::WorkloadGroup, object, || "a template: its WorkloadEntries count".to_owned()));
    }
    for object in documents.envoy_filters.values() {
        let namespace = &object.meta.namespace;
        let gateway = &scene.world.gateway;
        let labels = object.spec.workload_selector.as_ref().map(|s| &s.labels);
        let why = || match labels {
            _ if *namespace != gateway.namespace && *namespace != scene.world.mesh.root_namespace => {
                format!(
                    "namespace {namespace}: only filters of the gateway's namespace {} and of the root namespace {} count (F-1)",
                    gateway.namespace, scene.world.mesh.root_namespace
                )
            }
            Some(labels) if !labels.iter().all(|(k, v)| gateway.labels.get(k) == Some(v)) => others(labels, scene),
            Some(_) | None => "not in force yet: EnvoyFilter patches".to_owned(),
        };
        list.push(entry(scene, Kind::EnvoyFilter, object, why));
    }
    list
}

fn entry<S>(scene: &Scene<'_>, kind: Kind, object: &Object<S>, why: impl FnOnce() -> String) -> InForce {
    let name = reference(kind, object);
    let used = scene.usage.of(&name);
    let reason = (used.routes == 0 && used.backends.is_empty()).then(why);
    InForce { object: name, origin: object.origin.clone(), routes: used.routes, backends: used.backends.len(), reason }
}

fn nowhere<S>(found: &InForce, kind: Kind, object: &Object<S>, problems: &mut Vec<Problem>) {
    if let Some(reason) = &found.reason {
        problems.push(finding(Severity::Info, code::NOWHERE, format!("in force nowhere at this gateway: {reason}"), kind, object, ""));
    }
}

fn others(selector: &Labels, scene: &Scene<'_>) -> String {
    let text = |labels: &Labels| labels.iter().map(|(k, v)| format!("{k}={v}")).collect::<Vec<_>>().join(", ");
    format!("selects other workloads: {}; this gateway has {}", text(selector), text(&scene.world.gateway.labels))
}

fn no_such_service(scene: &Scene<'_>, text: &str, namespace: &str) -> Option<String> {
    let host = qualify(text, namespace, &scene.world.gateway.domain);
    if !hosts(scene, &host).is_empty() {
        return None;
    }
    let meant = scene.names.host(text, namespace).map(|m| format!("; did you mean {m}?")).unwrap_or_default();
    Some(format!("host {text}: no such service{meant}"))
}

fn virtual_service(scene: &Scene<'_>, object: &Arc<Object<VirtualService>>) -> String {
    let namespace = &object.meta.namespace;
    let reasons: Vec<String> = scene.compiler.unbound(scene.world, object).iter().map(|u| unbound(scene, object, u)).collect();
    if !reasons.is_empty() {
        return reasons.join("; ");
    }
    let used = scene.usage.of(&reference(Kind::VirtualService, object));
    if let Some(older) = used.hidden_by {
        return format!("hidden by {older}, which is older and catches everything");
    }
    match (object.spec.http.is_empty(), object.spec.tcp.is_empty()) {
        (true, true) => "not in force yet: routing TLS by SNI".into(),
        (true, false) => "its tcp rules are for no server: the servers that it names are HTTP, or an older rule is there (V-74, G-45)".into(),
        (false, _) => {
            format!("no rule of it is for a server of {} on this gateway: ports, gateways and sources are compared first (V-2, V-3)", namespace)
        }
    }
}

fn unbound(scene: &Scene<'_>, object: &Arc<Object<VirtualService>>, why: &Unbound) -> String {
    let namespace = &object.meta.namespace;
    match why {
        Unbound::MeshOnly => {
            let missing = object.spec.hosts.iter().find_map(|h| no_such_service(scene, h, namespace));
            missing.unwrap_or_else(|| "a rule for the mesh, since it names no gateways: gateways do not take it (G-20)".into())
        }
        Unbound::NotExported => format!("not exported to the gateway's namespace {} (G-21)", scene.world.gateway.namespace),
        Unbound::Delegate => "a delegate: no VirtualService in force delegates to it, or none of its rules fits there (V-60)".into(),
        Unbound::NoGateway(name) => {
            let meant = scene.names.gateway(name).map(|m| format!("; did you mean {m}?")).unwrap_or_default();
            format!("no Gateway {}/{}{meant}", name.0, name.1)
        }
        Unbound::NotSelected(name) => format!("Gateway {}/{} selects other workloads", name.0, name.1),
        Unbound::Skipped(name) => format!("every server of Gateway {}/{} is skipped: older ones have its ports", name.0, name.1),
        Unbound::Closed(name) => format!("the servers of Gateway {}/{} for it are TLS, which is not in force yet", name.0, name.1),
        Unbound::Hosts(name) => {
            format!("no server of Gateway {}/{} takes its hosts {} from namespace {namespace}", name.0, name.1, object.spec.hosts.join(", "))
        }
    }
}

fn destination_rule(scene: &Scene<'_>, object: &Arc<Object<DestinationRule>>) -> String {
    let namespace = &object.meta.namespace;
    if let Some(missing) = no_such_service(scene, &object.spec.host, namespace) {
        return missing;
    }
    let world = scene.world;
    let host = qualify(&object.spec.host, namespace, &world.gateway.domain);
    let services: Vec<&Arc<Service>> = hosts(scene, &host).into_iter().filter_map(|h| world.catalog.services.get(h)).collect();
    let Some(service) = services.first() else { return format!("host {}: no such service", object.spec.host) };
    let homes = [&world.gateway.namespace, &world.mesh.root_namespace];
    if !homes.contains(&namespace) && !services.iter().any(|s| s.namespace == *namespace) {
        return format!(
            "namespace {namespace} is neither the gateway's ({}), nor the service's ({}), nor the root namespace ({}): rules there never apply (D-4)",
            world.gateway.namespace, service.namespace, world.mesh.root_namespace
        );
    }
    let export_to = ExportTo::parse(&object.spec.export_to, namespace, &world.mesh.default_destination_rule_export_to);
    if !export_to.includes(&world.gateway.namespace) {
        return format!("not exported to the gateway's namespace {}", world.gateway.namespace);
    }
    if let Some(selector) =
        object.spec.workload_selector.as_ref().filter(|s| !s.match_labels.iter().all(|(k, v)| world.gateway.labels.get(k) == Some(v)))
    {
        return others(&selector.match_labels, scene);
    }
    let chosen = |s: &&Arc<Service>| scene.compiler.rules().find(world, s).filter(|r| r.sources.iter().any(|o| Arc::ptr_eq(o, object)));
    if services.iter().find_map(chosen).is_none() {
        let instead = services.iter().find_map(|s| scene.compiler.rules().find(world, s));
        let names: Vec<String> = instead.iter().flat_map(|r| r.sources.iter().map(|o| reference(Kind::DestinationRule, o).to_string())).collect();
        return format!(
            "hidden: for {} {} is taken instead (D-1..D-3)",
            service.hostname,
            if names.is_empty() { "none".into() } else { names.join(" with ") }
        );
    }
    if !services.iter().any(|s| scene.compiler.reaches(&s.hostname)) {
        return format!("no route sends to {}", object.spec.host);
    }
    "no route names a subset of it, it has no policy of its own, or an older rule has both (D-11, D-12)".into()
}
