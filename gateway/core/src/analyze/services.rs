//! Services and ServiceEntries: port names that say no protocol (IST0118), TCP ports named for HTTP, entries that disagree
//! (IST0177) or select nothing (IST0127).

use std::collections::BTreeMap;

use isthmus_config::name::Hostname;
use isthmus_config::object::Kind;
use isthmus_config::problem::{Problem, Severity};

use super::{Scene, code, finding, reference};
use crate::model::{Protocol, ServiceKind};

pub(super) fn find(scene: &Scene<'_>, problems: &mut Vec<Problem>) {
    for service in scene.world.catalog.services.values().filter(|s| s.kind == ServiceKind::Kubernetes) {
        for (i, port) in service.ports.iter().enumerate().filter(|(_, p)| p.protocol == Protocol::Auto) {
            let name = if port.name.is_empty() { "has no name".to_owned() } else { format!("is named {}", port.name) };
            let message = format!("port {} {name}, which says no protocol: it is spoken to in HTTP/1.1", port.number);
            let problem =
                Problem::new(Severity::Info, "IST0118", message).of(service.object.clone(), &service.origin).at(format!("spec.ports[{i}].name"));
            problems.push(problem.hint("name it for its protocol, such as http or grpc-web, or set appProtocol"));
        }
    }
    for service in scene.world.catalog.services.values().filter(|s| s.kind == ServiceKind::Kubernetes) {
        for (i, port) in service.ports.iter().enumerate().filter(|(_, p)| p.protocol == Protocol::Tcp && says_http(&p.name)) {
            let message = tcp_named_http(u32::from(port.number), &port.name);
            let problem = Problem::new(Severity::Warning, code::TCP_NAMED_HTTP, message).of(service.object.clone(), &service.origin);
            problems.push(problem.at(format!("spec.ports[{i}].name")).hint("set appProtocol: http, or begin the name with http"));
        }
    }
    entries(scene, problems);
}

/// True where a part of a port's name says HTTP.
pub(super) fn says_http(name: &str) -> bool {
    Protocol::of_port("TCP", None, name, 0).is_http() || name.split('-').any(|part| Protocol::named(part).is_some_and(Protocol::is_http))
}

fn tcp_named_http(number: u32, name: &str) -> String {
    format!(
        "port {number} is named {name} and declared TCP: an HTTP server routes requests to it all the same; as a TCP service it has no routes, no retries and no ejection by 5xx"
    )
}

fn entries(scene: &Scene<'_>, problems: &mut Vec<Problem>) {
    let mut said: BTreeMap<(Hostname, u32), (String, String)> = BTreeMap::new();
    for object in scene.world.documents.service_entries.values() {
        for (i, port) in object.spec.ports.iter().enumerate() {
            let path = format!("spec.ports[{i}].protocol");
            if port.protocol.eq_ignore_ascii_case("tcp") && says_http(&port.name) {
                let message = tcp_named_http(port.number, &port.name);
                let problem = finding(Severity::Warning, code::TCP_NAMED_HTTP, message, Kind::ServiceEntry, object, path.clone());
                problems.push(problem.hint("set protocol: HTTP"));
            }
            for host in &object.spec.hosts {
                let asked = port.protocol.to_ascii_uppercase();
                let here = reference(Kind::ServiceEntry, object).to_string();
                let (other, protocol) = said.entry((Hostname::new(host), port.number)).or_insert_with(|| (here, asked.clone()));
                if *protocol != asked {
                    let message = format!("{other} declares {host}:{} as {protocol}, here it is {asked}", port.number);
                    problems.push(finding(Severity::Warning, "IST0177", message, Kind::ServiceEntry, object, path.clone()));
                }
            }
        }
        let Some(selector) = &object.spec.workload_selector else { continue };
        let found = object.spec.hosts.iter().any(|h| scene.world.catalog.endpoints.get(&Hostname::new(h)).is_some_and(|e| !e.is_empty()));
        if !found {
            let labels: Vec<String> = selector.labels.iter().map(|(k, v)| format!("{k}={v}")).collect();
            let message = format!("no WorkloadEntry and no ready pod of {} has {}", object.meta.namespace, labels.join(", "));
            problems.push(finding(Severity::Warning, "IST0127", message, Kind::ServiceEntry, object, "spec.workloadSelector.labels"));
        }
    }
}
