//! What is asked for, accepted, and comes with later work: a warning for each field, with its path, never silence.
//!
//! An object is read by itself, whether or not anything uses it, so its lines change only when it does.

use std::collections::BTreeMap;

use isthmus_config::istio::WorkloadEntry;
use isthmus_config::istio::destination_rule::{ClientTlsMode, ClientTlsSettings, DestinationRule, LoadBalancerSettings, TrafficPolicy};
use isthmus_config::istio::gateway::Gateway;
use isthmus_config::istio::service_entry::{Resolution, ServiceEntry};
use isthmus_config::istio::virtual_service::VirtualService;
use isthmus_config::object::{Kind, Object, ObjectRef};
use isthmus_config::problem::{Problem, Severity};

use super::report::code;
use crate::join::kubernetes_name;
use crate::model::{Changes, Service, Unmet, World};

/// Reads changed objects anew; true where a line may differ.
pub(super) fn update(lines: &mut BTreeMap<ObjectRef, Vec<Problem>>, world: &World, changes: &Changes) -> bool {
    let documents = &world.documents;
    let all: Vec<ObjectRef>;
    let objects: Vec<&ObjectRef> = if changes.all {
        let named = |kind| move |(namespace, name): crate::model::NamespacedName| ObjectRef::new(kind, namespace, name);
        all = (documents.destination_rules.keys().map(named(Kind::DestinationRule)))
            .chain(documents.virtual_services.keys().map(named(Kind::VirtualService)))
            .chain(documents.gateways.keys().map(named(Kind::Gateway)))
            .chain(documents.service_entries.keys().map(named(Kind::ServiceEntry)))
            .chain(documents.workload_entries.keys().map(named(Kind::WorkloadEntry)))
            .chain(documents.envoy_filters.keys().map(named(Kind::EnvoyFilter)))
            .collect();
        lines.clear();
        all.iter().collect()
    } else {
        changes.objects.iter().collect()
    };
    for object in &objects {
        let name = (object.namespace.clone(), object.name.clone());
        let found = match object.kind {
            Kind::DestinationRule => documents.destination_rules.get(&name).map(|o| destination_rule(o, object)),
            Kind::Gateway => documents.gateways.get(&name).map(|o| gateway(o, object)),
            Kind::ServiceEntry => documents.service_entries.get(&name).map(|o| service_entry(o, object)),
            Kind::EnvoyFilter => documents.envoy_filters.get(&name).map(|o| vec![line(o, object, "spec.configPatches", "EnvoyFilter patches")]),
            Kind::VirtualService => documents.virtual_services.get(&name).map(|o| virtual_service(o, object)),
            Kind::WorkloadEntry => documents.workload_entries.get(&name).map(|o| workload_entry(o, object)),
            Kind::WorkloadGroup | Kind::Service | Kind::EndpointSlice | Kind::Pod | Kind::Node | Kind::Namespace | Kind::Secret => None,
        };
        match found.filter(|f| !f.is_empty()) {
            Some(found) => drop(lines.insert((*object).clone(), found)),
            None => drop(lines.remove(*object)),
        }
    }
    services(lines, world, changes) || !objects.is_empty()
}

/// Reads changed Kubernetes Services anew.
fn services(lines: &mut BTreeMap<ObjectRef, Vec<Problem>>, world: &World, changes: &Changes) -> bool {
    let all = world.catalog.services.keys().filter(|_| changes.all);
    let mut differs = false;
    for host in all.chain(changes.services.iter().filter(|_| !changes.all)) {
        let Some((namespace, name)) = kubernetes_name(host, &world.gateway.domain) else { continue };
        let found = world.catalog.services.get(host).filter(|s| s.object.kind == Kind::Service && !s.unmet.is_empty());
        let object = ObjectRef::new(Kind::Service, namespace, name);
        differs |= match found {
            Some(service) => {
                lines.insert(object, service.unmet.iter().map(|unmet| unmet_line(service, *unmet)).collect());
                true
            }
            None => lines.remove(&object).is_some(),
        };
    }
    differs
}

fn unmet_line(service: &Service, unmet: Unmet) -> Problem {
    let problem = match unmet {
        Unmet::OwnNode => {
            let message = "no endpoint is used: only those of the gateway's own node may be, and which node that is has not been told";
            Problem::new(Severity::Warning, code::LEFT_OUT, message).at("spec.internalTrafficPolicy").hint("set gateway.node in isthmus.yaml")
        }
    };
    problem.of(service.object.clone(), &service.origin)
}

fn line<S>(object: &Object<S>, name: &ObjectRef, path: impl Into<String>, about: &str) -> Problem {
    Problem::new(Severity::Warning, code::NOT_YET, format!("not in force yet: {about}")).of(name.clone(), &object.origin).at(path)
}

fn gateway(object: &Object<Gateway>, name: &ObjectRef) -> Vec<Problem> {
    let servers = object.spec.servers.iter().enumerate().filter(|(_, s)| !s.default_endpoint.is_empty());
    servers.map(|(i, _)| line(object, name, format!("spec.servers[{i}].defaultEndpoint"), "defaultEndpoint")).collect()
}

fn virtual_service(object: &Object<VirtualService>, name: &ObjectRef) -> Vec<Problem> {
    let mut lines = Vec::new();
    if !object.spec.tls.is_empty() && object.spec.gateways.iter().any(|g| g != "mesh") {
        lines.push(line(object, name, "spec.tls", "routing TLS by SNI"));
    }
    for (i, http) in object.spec.http.iter().enumerate() {
        let named = http.r#match.iter().enumerate().filter(|(_, block)| !block.stat_prefix.is_empty());
        lines.extend(named.map(|(m, _)| line(object, name, format!("spec.http[{i}].match[{m}].statPrefix"), "statistics by route")));
    }
    lines
}

const THROUGH_GATEWAY: &str = "reaching an endpoint without an address through its network's gateway; the endpoint is left out";

fn is_behind_gateway(spec: &WorkloadEntry) -> bool {
    spec.address.is_empty() && !spec.network.is_empty()
}

fn is_unix(spec: &WorkloadEntry) -> bool {
    spec.address.starts_with("unix://")
}

const UNIX: &str = "endpoints on Unix sockets; the endpoint gets no traffic";

/// S-8: without an address, an endpoint is reached through its network's gateway alone.
fn workload_entry(object: &Object<WorkloadEntry>, name: &ObjectRef) -> Vec<Problem> {
    let behind = is_behind_gateway(&object.spec).then(|| line(object, name, "spec.network", THROUGH_GATEWAY));
    behind.into_iter().chain(is_unix(&object.spec).then(|| line(object, name, "spec.address", UNIX))).collect()
}

fn service_entry(object: &Object<ServiceEntry>, name: &ObjectRef) -> Vec<Problem> {
    let mut lines = match object.spec.resolution {
        Resolution::DynamicDns => vec![line(object, name, "spec.resolution", "names taken from the request")],
        Resolution::None | Resolution::Static | Resolution::Dns | Resolution::DnsRoundRobin => Vec::new(),
    };
    let behind = object.spec.endpoints.iter().enumerate().filter(|(_, e)| is_behind_gateway(e));
    lines.extend(behind.map(|(i, _)| line(object, name, format!("spec.endpoints[{i}].network"), THROUGH_GATEWAY)));
    let unix = object.spec.endpoints.iter().enumerate().filter(|(_, e)| is_unix(e));
    lines.extend(unix.map(|(i, _)| line(object, name, format!("spec.endpoints[{i}].address"), UNIX)));
    if !object.spec.subject_alt_names.is_empty() {
        lines.push(line(object, name, "spec.subjectAltNames", "TLS towards endpoints"));
    }
    lines
}

/// Of ISTIO_MUTUAL, `analyze` says what is missing.
fn is_later(tls: Option<&ClientTlsSettings>) -> bool {
    tls.is_some_and(|t| !matches!(t.mode, ClientTlsMode::Disable | ClientTlsMode::IstioMutual))
}

fn destination_rule(object: &Object<DestinationRule>, name: &ObjectRef) -> Vec<Problem> {
    let mut asked: Vec<(String, &'static str)> = Vec::new();
    let mut read = |policy: Option<&TrafficPolicy>, path: &str| {
        let Some(policy) = policy else { return };
        let mut found = Vec::new();
        balancing(&mut found, path, policy.load_balancer.as_ref());
        let outer = [
            (is_later(policy.tls.as_ref()), "tls", "TLS towards endpoints"),
            (policy.tunnel.is_some(), "tunnel", "tunnels"),
            (policy.proxy_protocol.is_some(), "proxyProtocol", "PROXY headers towards endpoints"),
        ];
        found.extend(outer.into_iter().filter(|(set, _, _)| *set).map(|(_, field, about)| (format!("{path}.{field}"), about)));
        for (i, level) in policy.port_level_settings.iter().enumerate() {
            let path = format!("{path}.portLevelSettings[{i}]");
            balancing(&mut found, &path, level.load_balancer.as_ref());
            if is_later(level.tls.as_ref()) {
                found.push((format!("{path}.tls"), "TLS towards endpoints"));
            }
        }
        asked.extend(found);
    };
    read(object.spec.traffic_policy.as_ref(), "spec.trafficPolicy");
    for (i, subset) in object.spec.subsets.iter().enumerate() {
        read(subset.traffic_policy.as_ref(), &format!("spec.subsets[{i}].trafficPolicy"));
    }
    asked.into_iter().map(|(path, about)| line(object, name, path, about)).collect()
}

fn balancing(found: &mut Vec<(String, &'static str)>, path: &str, lb: Option<&LoadBalancerSettings>) {
    if lb.is_some_and(|lb| lb.backend_utilization.is_some()) {
        found.push((format!("{path}.loadBalancer.backendUtilization"), "load reports of backends"));
    }
}
