//! VirtualServices: references that lead nowhere (IST0101), ports that must be named (IST0112), hosts outside of their gateways
//! (IST0132), mesh rules that claim one host (IST0109), retries that
//! pass over 5xx.

use std::collections::HashMap;
use std::sync::Arc;

use http::HeaderMap;
use isthmus_config::istio::virtual_service::{Destination, VirtualService};
use isthmus_config::name::Hostname;
use isthmus_config::object::{Kind, Object};
use isthmus_config::problem::{Problem, Severity};

use super::{Scene, code, finding, reference};
use crate::compile::{gateway_name, qualify};
use crate::model::{ExportTo, Protocol};
use crate::policy::RetryPolicy;

type Vs = Arc<Object<VirtualService>>;

pub(super) fn find(scene: &Scene<'_>, problems: &mut Vec<Problem>) {
    for object in scene.world.documents.virtual_services.values() {
        for (path, destination) in destinations(&object.spec) {
            destination_of(scene, object, &path, destination, problems);
        }
        gateways(scene, object, problems);
        retries(object, problems);
    }
    mesh_hosts(scene, problems);
}

/// Every destination with its field path.
pub(super) fn destinations(spec: &VirtualService) -> Vec<(String, &Destination)> {
    let mut found = Vec::new();
    for (i, http) in spec.http.iter().enumerate() {
        let path = |rest: String| format!("spec.http[{i}].{rest}");
        found.extend(http.route.iter().enumerate().map(|(r, route)| (path(format!("route[{r}].destination")), &route.destination)));
        found.extend(http.mirror.as_deref().into_iter().map(|d| (path("mirror".into()), d)));
        found.extend(http.mirrors.iter().enumerate().map(|(m, mirror)| (path(format!("mirrors[{m}].destination")), &mirror.destination)));
    }
    for (i, tcp) in spec.tcp.iter().enumerate() {
        found.extend(tcp.route.iter().enumerate().map(|(r, route)| (format!("spec.tcp[{i}].route[{r}].destination"), &route.destination)));
    }
    for (i, tls) in spec.tls.iter().enumerate() {
        found.extend(tls.route.iter().enumerate().map(|(r, route)| (format!("spec.tls[{i}].route[{r}].destination"), &route.destination)));
    }
    found
}

fn destination_of(scene: &Scene<'_>, object: &Vs, path: &str, to: &Destination, problems: &mut Vec<Problem>) {
    let tell =
        |severity, code, field: &str, message: String| finding(severity, code, message, Kind::VirtualService, object, format!("{path}.{field}"));
    let host = qualify(&to.host, &object.meta.namespace, &scene.world.gateway.domain);
    let Some(service) = scene.world.catalog.services.get(&host) else {
        let problem = tell(scene.missing, "IST0101", "host", format!("host {}: no such service", to.host));
        problems.push(match scene.names.host(&to.host, &object.meta.namespace) {
            Some(meant) => problem.hint(format!("did you mean {meant}?")),
            None => problem,
        });
        return;
    };
    if service.alias.is_some() {
        return;
    }
    let ports: Vec<u16> = service.ports.iter().filter(|p| p.protocol != Protocol::Udp).map(|p| p.number).collect();
    let listed = || ports.iter().map(u16::to_string).collect::<Vec<_>>().join(", ");
    match &to.port {
        None if ports.len() > 1 => problems.push(tell(
            Severity::Error,
            "IST0112",
            "port",
            format!("{} has the ports {}: name one, or the server's own port number is taken", to.host, listed()),
        )),
        Some(port) if !ports.iter().any(|p| u32::from(*p) == port.number) => {
            problems.push(tell(scene.missing, "IST0101", "port.number", format!("{} has no port {}; it has {}", to.host, port.number, listed())));
        }
        None | Some(_) => {}
    }
    if to.subset.is_empty() {
        return;
    }
    let rule = scene.compiler.rules().find(scene.world, service);
    if rule.as_ref().is_none_or(|r| r.subset(&to.subset).is_none()) {
        let known: Vec<&str> = rule.iter().flat_map(|r| r.subsets()).map(|s| s.name.as_str()).collect();
        let problem =
            tell(scene.missing, "IST0101", "subset", format!("no DestinationRule in force declares the subset {} of {}", to.subset, to.host));
        problems.push(match isthmus_config::nearest(&to.subset, known.iter().copied()) {
            Some(meant) => problem.hint(format!("did you mean {meant}?")),
            None if known.is_empty() => problem,
            None => problem.hint(format!("declared: {}", known.join(", "))),
        });
    }
}

/// `attempts` alone reads as if a 503 were tried again; under the default retryOn it is not (V-31).
fn retries(object: &Vs, problems: &mut Vec<Problem>) {
    for (i, http) in object.spec.http.iter().enumerate().filter(|(_, http)| !http.route.is_empty()) {
        let Some(asked) = http.retries.as_ref().filter(|r| r.attempts > 0 && r.retry_on.is_empty()) else { continue };
        if RetryPolicy::new(Some(asked), None, false).wants_status(503, None, &HeaderMap::new()) {
            continue;
        }
        let message = format!(
            "attempts is {}, and no 5xx answer is tried again: without retryOn only failed connections and gRPC's unavailable and cancelled are",
            asked.attempts
        );
        let problem = finding(Severity::Warning, code::NOT_ON_5XX, message, Kind::VirtualService, object, format!("spec.http[{i}].retries"));
        problems.push(problem.hint("set retryOn, such as 5xx,connect-failure,refused-stream"));
    }
}

/// Gateways that do not exist, and hosts that none of them has.
fn gateways(scene: &Scene<'_>, object: &Vs, problems: &mut Vec<Problem>) {
    let namespace = &object.meta.namespace;
    let mut offered: Vec<Hostname> = Vec::new();
    let mut complete = true;
    for (i, text) in object.spec.gateways.iter().enumerate() {
        let Some(name) = gateway_name(text, namespace) else {
            complete = false;
            continue;
        };
        match scene.world.documents.gateways.get(&name) {
            Some(gateway) => {
                let hosts = gateway.spec.servers.iter().flat_map(|s| &s.hosts);
                let admitted = hosts.filter(|h| match h.split_once('/') {
                    None | Some(("*", _)) => true,
                    Some((".", _)) => *namespace == name.0,
                    Some((other, _)) => other == &**namespace,
                });
                offered.extend(admitted.map(|h| Hostname::new(h.rsplit('/').next().unwrap_or(h))));
            }
            None => {
                complete = false;
                let message = format!("no Gateway {}/{}", name.0, name.1);
                let problem = finding(scene.missing, "IST0101", message, Kind::VirtualService, object, format!("spec.gateways[{i}]"));
                problems.push(match scene.names.gateway(&name) {
                    Some(meant) => problem.hint(format!("did you mean {meant}?")),
                    None => problem,
                });
            }
        }
    }
    if !complete || object.spec.gateways.is_empty() {
        return;
    }
    for (i, host) in object.spec.hosts.iter().enumerate() {
        let name = Hostname::new(host);
        if !offered.iter().any(|o| o.intersect(&name).is_some()) {
            let message = format!("no server of {} has the host {host}", object.spec.gateways.join(", "));
            problems.push(finding(Severity::Warning, "IST0132", message, Kind::VirtualService, object, format!("spec.hosts[{i}]")));
        }
    }
}

/// Two mesh rules for one host: which one holds is not told by anything (IST0109).
fn mesh_hosts(scene: &Scene<'_>, problems: &mut Vec<Problem>) {
    let world = scene.world;
    let mut claimed: HashMap<Hostname, (&Vs, ExportTo)> = HashMap::new();
    let mut objects: Vec<&Vs> = world.documents.virtual_services.values().collect();
    objects.retain(|o| o.spec.gateways.is_empty() || o.spec.gateways.iter().any(|g| g == "mesh"));
    objects.sort_by(|a, b| a.by_age(b));
    for object in objects {
        let namespace = &object.meta.namespace;
        let export_to = ExportTo::parse(&object.spec.export_to, namespace, &world.mesh.default_virtual_service_export_to);
        for (i, host) in object.spec.hosts.iter().enumerate() {
            let host = qualify(host, namespace, &world.gateway.domain);
            match claimed.get(&host) {
                Some((older, seen)) if meet(seen, &export_to) => {
                    let message = format!("{} claims the host {host} in the mesh as well", reference(Kind::VirtualService, older));
                    problems.push(finding(Severity::Error, "IST0109", message, Kind::VirtualService, object, format!("spec.hosts[{i}]")));
                }
                Some(_) => {}
                None => drop(claimed.insert(host, (object, export_to.clone()))),
            }
        }
    }
}

/// True where some namespace sees both.
fn meet(a: &ExportTo, b: &ExportTo) -> bool {
    match (a, b) {
        (ExportTo::Nobody, _) | (_, ExportTo::Nobody) => false,
        (ExportTo::All, _) | (_, ExportTo::All) => true,
        (ExportTo::Only(a), ExportTo::Only(b)) => a.iter().any(|n| b.contains(n)),
    }
}
