//! Admission of a ServiceEntry (contract 1.6).

use super::grammar::{self, Protocol};
use super::{Checker, workload};
use crate::istio::service_entry::{Location, Resolution, ServiceEntry, ServicePort};
use crate::object::{Kind, Meta, Object};
use crate::problem::{Problem, Severity};

/// What is wrong with a ServiceEntry by itself.
pub fn service_entry(object: &Object<ServiceEntry>) -> Vec<Problem> {
    let mut c = Checker::new(Kind::ServiceEntry, object);
    let spec = &object.spec;
    c.some("workloadSelector", spec.workload_selector.as_ref(), |c, selector| c.selector("labels", &selector.labels));
    if spec.workload_selector.is_some() && !spec.endpoints.is_empty() {
        c.error("endpoints", "cannot stand beside workloadSelector");
    }
    hosts_and_addresses(&mut c, spec);
    ports(&mut c, spec, needs_addresses(spec, &object.meta));
    c.at_most("endpoints", spec.endpoints.len(), 4096);
    match spec.resolution {
        Resolution::None => none(&mut c, spec),
        Resolution::Static => endpoints(&mut c, spec, false),
        Resolution::Dns | Resolution::DnsRoundRobin => dns(&mut c, spec),
        Resolution::DynamicDns => dynamic_dns(&mut c, spec, &object.meta),
    }
    // Without HTTP's host or TLS's SNI nothing tells the hosts apart.
    let told_apart = |port: &ServicePort| Protocol::read(&port.protocol).is_some_and(|p| p.is_http() || p.is_tls());
    if spec.resolution != Resolution::None
        && spec.hosts.len() > 1
        && let Some(i) = spec.ports.iter().position(|port| !told_apart(port))
    {
        c.nth("ports", i, |c| c.error("protocol", "several hosts need ports of an HTTP or TLS protocol"));
    }
    c.export_to(&spec.export_to, true);
    c.problems
}

fn hosts_and_addresses(c: &mut Checker<'_>, spec: &ServiceEntry) {
    if spec.hosts.is_empty() {
        c.error("hosts", "at least one host is needed");
    }
    c.at_most("hosts", spec.hosts.len(), 256);
    c.each("hosts", &spec.hosts, |c, host| {
        if host == "*" {
            c.error("", "`*` is no service");
            return;
        }
        c.check("", grammar::wildcard_domain(host));
        if grammar::is_partial_wildcard(host) && spec.resolution != Resolution::DynamicDns {
            c.warning("", format!("{host:?}: a wildcard stands for whole labels, as in *.example.com"));
        }
    });
    c.at_most("addresses", spec.addresses.len(), 256);
    let ranges = matches!(spec.resolution, Resolution::None | Resolution::Static);
    c.each("addresses", &spec.addresses, |c, address| {
        c.check("", grammar::subnet(address));
        if address.contains('/') && !ranges {
            c.error("", "a range of addresses needs resolution NONE or STATIC");
        }
    });
}

/// True where a plain TCP port cannot be reached by address (IST0134): none given, none allocated.
fn needs_addresses(spec: &ServiceEntry, meta: &Meta) -> bool {
    let opted_out = meta.labels.get("networking.istio.io/enable-autoallocate-ip").is_some_and(|v| v.eq_ignore_ascii_case("false"));
    let wildcards = spec.hosts.iter().all(|host| host.contains('*'));
    spec.addresses.is_empty() && (opted_out || wildcards || spec.resolution == Resolution::None)
}

fn ports(c: &mut Checker<'_>, spec: &ServiceEntry, needs_addresses: bool) {
    c.at_most("ports", spec.ports.len(), 256);
    for (i, port) in spec.ports.iter().enumerate() {
        let earlier = &spec.ports[..i];
        c.nth("ports", i, |c| {
            c.check("number", grammar::port(port.number));
            c.check("name", grammar::dns_label(&port.name).map_err(|_| format!("expected a port name, found {:?}", port.name)));
            if earlier.iter().any(|e| e.name == port.name) {
                c.error("name", format!("a second port named {:?}", port.name));
            }
            if earlier.iter().any(|e| e.number == port.number) {
                c.error("number", format!("a second port {}", port.number));
            }
            if port.target_port != 0 {
                c.check("targetPort", grammar::port(port.target_port));
            }
            if !port.protocol.is_empty() && Protocol::read(&port.protocol).is_none() {
                c.error("protocol", format!("{:?} is no protocol", port.protocol));
            }
            if needs_addresses && matches!(port.protocol.as_str(), "" | "TCP") {
                c.report(Severity::Warning, "IST0134", "", "a TCP port needs addresses where none are allocated");
            }
        });
    }
}

fn none(c: &mut Checker<'_>, spec: &ServiceEntry) {
    if !spec.endpoints.is_empty() {
        c.error("endpoints", "resolution NONE takes no endpoints");
    }
    if spec.workload_selector.is_some() {
        c.warning("workloadSelector", "has no effect with resolution NONE");
    }
}

fn endpoints(c: &mut Checker<'_>, spec: &ServiceEntry, names: bool) {
    let ports: Vec<&str> = spec.ports.iter().map(|port| port.name.as_str()).collect();
    c.each("endpoints", &spec.endpoints, |c, endpoint| workload::inline_entry(c, endpoint, &ports, names));
}

fn dns(c: &mut Checker<'_>, spec: &ServiceEntry) {
    if spec.endpoints.is_empty() {
        c.each("hosts", &spec.hosts, |c, host| {
            if host.contains('*') && host != "*" {
                c.error("", format!("{host:?} cannot be resolved: without endpoints the host itself is asked for"));
            }
        });
    }
    if spec.resolution == Resolution::DnsRoundRobin && spec.endpoints.len() > 1 {
        c.error("endpoints", "resolution DNS_ROUND_ROBIN takes one endpoint at most");
    }
    c.each("endpoints", &spec.endpoints, |c, endpoint| {
        if endpoint.address.starts_with("unix://") {
            c.error("address", "a unix socket is no name to resolve");
        }
    });
    endpoints(c, spec, true);
}

fn dynamic_dns(c: &mut Checker<'_>, spec: &ServiceEntry, meta: &Meta) {
    c.each("hosts", &spec.hosts, |c, host| {
        if !host.contains('*') {
            c.error("", format!("{host:?}: resolution DYNAMIC_DNS takes wildcard hosts only"));
        }
    });
    for (field, given) in [("addresses", !spec.addresses.is_empty()), ("endpoints", !spec.endpoints.is_empty())] {
        if given {
            c.error(field, "resolution DYNAMIC_DNS takes the address from each request's host");
        }
    }
    c.each("ports", &spec.ports, |c, port| {
        let fits = matches!(Protocol::read(&port.protocol), Some(Protocol::Http | Protocol::Http2 | Protocol::Grpc | Protocol::Tls));
        if !fits {
            c.error("protocol", "resolution DYNAMIC_DNS serves HTTP, HTTP2, GRPC and TLS only");
        }
    });
    let waypoint = meta.labels.get("istio.io/use-waypoint").is_some_and(|name| !name.is_empty() && !name.eq_ignore_ascii_case("none"));
    if spec.location == Location::MeshInternal && waypoint {
        c.error("location", "MESH_INTERNAL with resolution DYNAMIC_DNS cannot use a waypoint");
    }
}
