//! Admission of WorkloadEntry and WorkloadGroup (contract 1.6).

use super::{Checker, grammar};
use crate::istio::workload::{ReadinessProbe, WorkloadEntry, WorkloadGroup};
use crate::object::{Kind, Object};
use crate::problem::Problem;

/// What is wrong with a WorkloadEntry by itself.
pub fn workload_entry(object: &Object<WorkloadEntry>) -> Vec<Problem> {
    let mut c = Checker::new(Kind::WorkloadEntry, object);
    entry(&mut c, &object.spec);
    address(&mut c, &object.spec.address, true);
    c.problems
}

/// What is wrong with a WorkloadGroup by itself. Its template is filled in at registration, and not checked as an entry.
pub fn workload_group(object: &Object<WorkloadGroup>) -> Vec<Problem> {
    let mut c = Checker::new(Kind::WorkloadGroup, object);
    if object.spec.template.is_none() {
        c.error("template", "a group needs a template");
    }
    c.at("metadata", |c| c.labels("labels", &object.spec.metadata.labels));
    c.some("probe", object.spec.probe.as_ref(), probe);
    c.problems
}

/// An endpoint inside of a ServiceEntry whose ports are named `ports`.
pub(super) fn inline_entry(c: &mut Checker<'_>, endpoint: &WorkloadEntry, ports: &[&str], names: bool) {
    entry(c, endpoint);
    address(c, &endpoint.address, names);
    c.entries("ports", &endpoint.ports, |c, name, _| {
        if !ports.contains(&name) {
            c.error("", format!("the ServiceEntry has no port named {name:?}"));
        }
    });
    if endpoint.address.starts_with("unix://") && ports.len() != 1 {
        c.error("address", "a unix socket serves exactly one port");
    }
}

fn entry(c: &mut Checker<'_>, entry: &WorkloadEntry) {
    match (entry.address.as_str(), entry.network.as_str()) {
        ("", "") => c.error("address", "an address is needed"),
        ("", network) => c.warning("address", format!("without an address it is reached through the gateways of network {network:?} only")),
        (_, _) => {}
    }
    if entry.address.starts_with("unix://") && !entry.ports.is_empty() {
        c.error("ports", "a unix socket has no ports");
    }
    c.at_most("ports", entry.ports.len(), 128);
    c.entries("ports", &entry.ports, |c, name, number| {
        c.check("", grammar::dns_label(name).map_err(|_| format!("{name:?} is no port name")));
        c.check("", grammar::port(*number));
    });
    c.labels("labels", &entry.labels);
}

/// An IP address, a unix socket, and a name where names are resolved.
fn address(c: &mut Checker<'_>, address: &str, names: bool) {
    match address.strip_prefix("unix://") {
        Some(path) => c.check("address", grammar::unix_path(path)),
        None if address.is_empty() || grammar::is_ip(address) => {}
        None if names => c.check("address", grammar::fqdn(address).map_err(|_| format!("expected an address or a host name, found {address:?}"))),
        None => c.error("address", format!("expected an IP address, found {address:?}")),
    }
}

fn probe(c: &mut Checker<'_>, probe: &ReadinessProbe) {
    let numbers = [
        ("initialDelaySeconds", probe.initial_delay_seconds),
        ("timeoutSeconds", probe.timeout_seconds),
        ("periodSeconds", probe.period_seconds),
        ("successThreshold", probe.success_threshold),
        ("failureThreshold", probe.failure_threshold),
    ];
    for (field, number) in numbers {
        c.check(field, grammar::not_negative(number));
    }
    let given = [probe.http_get.is_some(), probe.tcp_socket.is_some(), probe.exec.is_some(), probe.grpc.is_some()];
    if given.iter().filter(|given| **given).count() != 1 {
        c.error("", "expected exactly one of httpGet, tcpSocket, grpc and exec");
    }
    c.some("grpc", probe.grpc.as_ref(), |c, grpc| {
        c.warning("", "is in force here; Istio's webhook does not accept it");
        c.check("port", grammar::port(grpc.port));
    });
    c.some("httpGet", probe.http_get.as_ref(), |c, get| {
        c.check("port", grammar::port(get.port));
        if !matches!(get.scheme.as_str(), "" | "HTTP" | "HTTPS") {
            c.error("scheme", format!("expected HTTP or HTTPS, found {:?}", get.scheme));
        }
        c.each("httpHeaders", &get.http_headers, |c, header| c.check("name", grammar::header_name(&header.name)));
    });
    c.some("tcpSocket", probe.tcp_socket.as_ref(), |c, socket| c.check("port", grammar::port(socket.port)));
    c.some("exec", probe.exec.as_ref(), |c, exec| {
        if exec.command.is_empty() {
            c.error("command", "a command is needed");
        }
    });
}
