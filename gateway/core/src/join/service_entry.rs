//! ServiceEntries and the workloads that they name or select (S-1..S-10).
//!
//! Auto-allocated addresses (S-5) are not made: a gateway has no use for them. Names wait for DNS as
//! [`Address::Unresolved`]; an endpoint without an address is [`Address::Hidden`]: only the gateways of its network lead to it (S-8).

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use isthmus_config::istio::service_entry::{Location, Resolution as Asked, ServicePort};
use isthmus_config::istio::{ServiceEntry, WorkloadEntry};
use isthmus_config::name::{Hostname, Network};
use isthmus_config::object::{Kind, Labels, Object, ObjectRef};

use super::cluster::Cluster;
use super::facts::{Facts, Form, ServiceFact};
use super::merge::{Joined, distribution_of_namespace};
use super::pods::Pod;
use super::{locality, network};
use crate::model::{
    Address, Distribution, Endpoint, ExportTo, Health, Kin, NETWORK, Place, Port, Protocol, Resolution, Service, ServiceKind, TargetPort, Workload,
};

const HEALTH_CHECKED: &str = "proxy.istio.io/health-checks-enabled";
const UNIX: &str = "unix://";

type Entry = Arc<Object<ServiceEntry>>;

/// True where `labels` hold all of `selector` (S-6: an empty one selects everything).
pub fn selects(selector: &Labels, labels: &Labels) -> bool {
    selector.iter().all(|(key, value)| labels.get(key) == Some(value))
}

/// A WorkloadEntry's labels: those of its metadata beat those of its spec (S-8).
pub fn labels(entry: &Object<WorkloadEntry>) -> Labels {
    let mut labels = entry.spec.labels.clone();
    labels.extend(entry.meta.labels.iter().map(|(k, v)| (k.clone(), v.clone())));
    labels
}

/// False for a WorkloadEntry that asks for health checks and is not known to be healthy (S-10).
pub fn is_used(entry: &Object<WorkloadEntry>) -> bool {
    !reports_health(entry) || entry.spec.healthy == Some(true)
}

/// True for a WorkloadEntry whose own agent says how it is (S-10).
pub fn reports_health(entry: &Object<WorkloadEntry>) -> bool {
    entry.meta.annotations.get(HEALTH_CHECKED).is_some_and(|v| matches!(&**v, "true" | "True" | "TRUE" | "t" | "T" | "1"))
}

/// The names that DNS has to find for a ServiceEntry (S-2); addresses need no finding.
pub fn names(facts: &Facts<'_>, entry: &Object<ServiceEntry>) -> BTreeSet<Arc<str>> {
    let spec = &entry.spec;
    let mut found = BTreeSet::new();
    if !matches!(spec.resolution, Asked::Dns | Asked::DnsRoundRobin) {
        return found;
    }
    let mut add = |address: &str| {
        if is_name(address) {
            found.insert(Arc::from(address));
        }
    };
    match &spec.workload_selector {
        Some(selector) => selected_entries(facts, &entry.meta.namespace, &selector.labels).for_each(|(_, we)| add(&we.spec.address)),
        None if spec.endpoints.is_empty() => spec.hosts.iter().filter(|h| !h.starts_with('*')).for_each(|h| add(h)),
        None => spec.endpoints.iter().for_each(|e| add(&e.address)),
    }
    found
}

fn is_name(address: &str) -> bool {
    !address.is_empty() && !address.starts_with(UNIX) && address.parse::<IpAddr>().is_err()
}

/// The entries that claim `host`, the one that counts first: visible to the gateway's namespace before hidden, exported to
/// it by name before public, then the oldest (M-3); of those that came within one second the first by namespace.
pub(super) fn claims(facts: &Facts<'_>, host: &Hostname) -> Vec<Entry> {
    let mut entries = facts.entries.get(host).cloned().unwrap_or_default();
    let rank = |entry: &Entry| {
        let export = export_to(facts, entry);
        (Reverse(export.includes(&facts.gateway.namespace)), export == ExportTo::All)
    };
    entries.sort_by(|a, b| {
        rank(a).cmp(&rank(b)).then_with(|| a.by_time(b).then_with(|| (&a.meta.namespace, &a.meta.name).cmp(&(&b.meta.namespace, &b.meta.name))))
    });
    entries
}

fn export_to(facts: &Facts<'_>, entry: &Entry) -> ExportTo {
    ExportTo::parse(&entry.spec.export_to, &entry.meta.namespace, &facts.mesh.default_export_to)
}

/// The service that the first of `entries` defines (M-3): the ports of those alike are its ports, the endpoints of all of its
/// namespace its endpoints.
pub(super) fn service(facts: &Facts<'_>, host: &Hostname, entries: &[Entry]) -> Option<Joined> {
    let first = entries.first()?;
    let export = export_to(facts, first);
    let here = || entries.iter().filter(|e| e.meta.namespace == first.meta.namespace);
    let alike = |e: &&Entry| {
        let (own, asked) = (&first.spec, &e.spec);
        e.meta.labels == first.meta.labels && (asked.resolution, selector(e)) == (own.resolution, selector(first)) && export_to(facts, e) == export
    };
    let mut ports: Vec<Port> = Vec::new();
    for port in here().filter(alike).flat_map(|e| &e.spec.ports).filter_map(port) {
        if !ports.iter().any(|have| have.number == port.number) {
            ports.push(port);
        }
    }
    let mut endpoints = Vec::new();
    here().for_each(|entry| share(facts, entry, host, first.spec.resolution, &ports, &mut endpoints));
    unique(&mut endpoints);
    let service = Service {
        hostname: host.clone(),
        namespace: first.meta.namespace.clone(),
        kind: match first.spec.location {
            Location::MeshExternal => ServiceKind::External,
            Location::MeshInternal => ServiceKind::Internal,
        },
        resolution: match first.spec.resolution {
            Asked::None => Resolution::None,
            Asked::Static => Resolution::Static,
            Asked::Dns => Resolution::Dns,
            Asked::DnsRoundRobin => Resolution::DnsRoundRobin,
            Asked::DynamicDns => Resolution::DynamicDns,
        },
        ports: ports.into(),
        export_to: export,
        alias: None,
        labels: Arc::new(first.meta.labels.clone()),
        selector: first.spec.workload_selector.as_ref().map(|s| Arc::new(s.labels.clone())).unwrap_or_default(),
        distribution: Distribution::annotated(&first.meta.annotations).unwrap_or_else(|| distribution_of_namespace(facts, &first.meta.namespace)),
        unmet: Vec::new(),
        object: reference(first),
        origin: Arc::new(first.origin.clone()),
    };
    Some(Joined { service, endpoints })
}

/// The labels of the workloads that an entry asks for, if any.
fn selector(entry: &Entry) -> Option<&Labels> {
    entry.spec.workload_selector.as_ref().map(|s| &s.labels).filter(|labels| !labels.is_empty())
}

/// What one entry of a host adds to a service of that resolution with these ports. The ports meet by name, but by number where
/// names are resolved, as in Istio. Of entries that rotate, a port has the first endpoint alone (S-9).
fn share(facts: &Facts<'_>, entry: &Entry, host: &Hostname, resolution: Asked, ports: &[Port], out: &mut Vec<Endpoint>) {
    match resolution {
        Asked::DynamicDns => {}
        Asked::None | Asked::Static => {
            let known: Vec<_> = entry.spec.ports.iter().filter(|p| ports.iter().any(|have| *have.name == *p.name)).collect();
            entry_endpoints(facts, entry, host, &known, Names::Refused, out);
        }
        Asked::Dns | Asked::DnsRoundRobin => {
            let rotates = entry.spec.resolution == Asked::DnsRoundRobin;
            for port in &entry.spec.ports {
                let Some(of) = ports.iter().find(|have| u32::from(have.number) == port.number) else { continue };
                if rotates && out.iter().any(|e| e.port_name == of.name) {
                    continue;
                }
                let before = out.len();
                entry_endpoints(facts, entry, host, &[port], Names::of(entry), out);
                out.truncate(if rotates { before + 1 } else { out.len() });
                out.iter_mut().skip(before).for_each(|e| e.port_name = of.name.clone());
            }
        }
    }
}

/// What entries of the same namespace add to a Kubernetes Service of that host, by port name (M-3).
pub(super) fn for_kubernetes(facts: &Facts<'_>, service: &Service, entries: &[Entry], out: &mut Vec<Endpoint>) {
    let before = out.len();
    for entry in entries.iter().filter(|e| e.meta.namespace == service.namespace) {
        let ports: Vec<_> = entry.spec.ports.iter().filter(|p| service.ports.iter().any(|have| *have.name == *p.name)).collect();
        entry_endpoints(facts, entry, &service.hostname, &ports, Names::of(entry), out);
    }
    if out.len() > before {
        unique(out);
    }
}

/// WorkloadEntries of a cluster that the selector of its own Service takes (S-6), for those of `ports` that it has.
///
/// A target port that is a name is a name in `ports` of the entry, and an entry without it has no such port; beside a number,
/// the name of the Service's port may be one. Headless Services take none.
pub(super) fn selected_by_service(facts: &Facts<'_>, cluster: &Cluster, own: &ServiceFact, ports: &[Port], out: &mut Vec<Endpoint>) {
    if own.selector.is_empty() || own.form == Form::Headless {
        return;
    }
    for entry in selected_in(cluster, &own.namespace, &own.selector) {
        let Some(ip) = stated(&entry.spec) else { continue };
        let of = told_by_entry(facts, cluster, entry);
        for port in own.ports.iter().filter(|p| p.protocol != Protocol::Udp && ports.iter().any(|have| have.name == p.name)) {
            let named = |name: &str| entry.spec.ports.get(name).and_then(|n| u16::try_from(*n).ok()).filter(|n| *n > 0);
            let number = match &port.target {
                TargetPort::Same => Some(named(&port.name).unwrap_or(port.number)),
                TargetPort::Number(number) => Some(named(&port.name).unwrap_or(*number)),
                TargetPort::Name(name) => named(name),
            };
            out.extend(number.map(|number| of.endpoint(at(ip, number), &port.name, entry.spec.weight)));
        }
    }
}

fn port(port: &ServicePort) -> Option<Port> {
    Some(Port {
        number: u16::try_from(port.number).ok().filter(|n| *n > 0)?,
        name: Arc::from(port.name.as_str()),
        protocol: if port.protocol.is_empty() { Protocol::Auto } else { Protocol::named(&port.protocol).unwrap_or(Protocol::Auto) },
        target: match u16::try_from(port.target_port) {
            Ok(number) if number > 0 => TargetPort::Number(number),
            _ => TargetPort::Same,
        },
    })
}

/// One entry's endpoints for some of its ports.
fn entry_endpoints(facts: &Facts<'_>, entry: &Entry, host: &Hostname, ports: &[&ServicePort], by_name: Names, out: &mut Vec<Endpoint>) {
    let spec = &entry.spec;
    if spec.resolution == Asked::DynamicDns {
        return;
    }
    let here = &reference(entry);
    let namespace = &entry.meta.namespace;
    if let Some(selector) = &spec.workload_selector {
        for (cluster, we) in selected_entries(facts, namespace, &selector.labels) {
            if stated(&we.spec).is_some() || by_name != Names::Refused {
                add(facts, &we.spec, &told_by_entry(facts, cluster, we), ports, by_name, out);
            }
        }
        for cluster in facts.clusters {
            let taken = cluster.pods().within(namespace).filter(|pod| pod.ready && selects(&selector.labels, pod.workload.labels()));
            let mut taken: Vec<&Pod> = taken.collect();
            taken.sort_by_key(|pod| &pod.workload.name);
            taken.into_iter().for_each(|pod| add_pod(pod, ports, out));
        }
    } else if spec.endpoints.is_empty() && by_name != Names::Refused && !host.is_wildcard() {
        let itself = WorkloadEntry { address: host.to_string(), ..WorkloadEntry::default() };
        add(facts, &itself, &told_inline(facts, namespace, &itself, here), ports, by_name, out);
    } else {
        for endpoint in &spec.endpoints {
            add(facts, endpoint, &told_inline(facts, namespace, endpoint, here), ports, by_name, out);
        }
    }
}

/// What a name among the addresses becomes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Names {
    Refused,
    All,
    First,
}

impl Names {
    fn of(entry: &Entry) -> Self {
        match entry.spec.resolution {
            Asked::None | Asked::DynamicDns | Asked::Static => Self::Refused,
            Asked::Dns => Self::All,
            Asked::DnsRoundRobin => Self::First,
        }
    }
}

/// What the endpoints of one entry share.
struct Told {
    workload: Arc<Workload>,
    source: Arc<ObjectRef>,
    health: Health,
}

impl Told {
    fn endpoint(&self, address: Address, port_name: &Arc<str>, weight: u32) -> Endpoint {
        let (workload, source) = (self.workload.clone(), self.source.clone());
        Endpoint { address, port_name: port_name.clone(), weight: weight.max(1), health: self.health, workload, source, passage: None }
    }
}

fn add(facts: &Facts<'_>, spec: &WorkloadEntry, of: &Told, ports: &[&ServicePort], names: Names, out: &mut Vec<Endpoint>) {
    for port in ports {
        let port_name: Arc<str> = Arc::from(port.name.as_str());
        out.extend(addresses(facts, spec, port, names).into_iter().map(|address| of.endpoint(address, &port_name, spec.weight)));
    }
}

/// Where an entry's endpoint is dialled for one port (S-7).
fn addresses(facts: &Facts<'_>, spec: &WorkloadEntry, port: &ServicePort, names: Names) -> Vec<Address> {
    if let Some(path) = spec.address.strip_prefix(UNIX) {
        return vec![Address::Unix(Arc::from(path))];
    }
    let own = spec.ports.get(port.name.as_str()).copied().filter(|n| *n > 0);
    let Ok(number) = u16::try_from(own.unwrap_or(if port.target_port > 0 { port.target_port } else { port.number })) else {
        return Vec::new();
    };
    if let Some(ip) = stated(spec) {
        return vec![at(ip, number)];
    }
    if spec.address.is_empty() || names == Names::Refused {
        return Vec::new();
    }
    let Some(answer) = facts.answers.get(spec.address.as_str()) else {
        return vec![Address::Unresolved(Arc::from(spec.address.as_str()), number)];
    };
    let count = if names == Names::First { 1 } else { answer.len() };
    answer.iter().take(count).map(|ip| Address::Socket(SocketAddr::new(*ip, number))).collect()
}

/// What an entry says without DNS: an IP address, or none where only its network's gateways lead to it (S-8).
fn stated(spec: &WorkloadEntry) -> Option<Option<IpAddr>> {
    if spec.address.is_empty() { (!spec.network.is_empty()).then_some(None) } else { spec.address.parse().ok().map(Some) }
}

fn at(ip: Option<IpAddr>, port: u16) -> Address {
    ip.map_or(Address::Hidden(port), |ip| Address::Socket(SocketAddr::new(ip, port)))
}

/// A selected pod: its named container port plays the part of `ports` (S-7).
fn add_pod(pod: &Pod, ports: &[&ServicePort], out: &mut Vec<Endpoint>) {
    let Some(ip) = pod.addresses.first() else { return };
    let source = Arc::new(ObjectRef::new(Kind::Pod, pod.workload.namespace().clone(), &*pod.workload.name));
    for port in ports {
        let own = pod.workload.kin.ports.iter().find(|c| *c.name == *port.name).map(|c| u32::from(c.port));
        let Ok(number) = u16::try_from(own.unwrap_or(if port.target_port > 0 { port.target_port } else { port.number })) else { continue };
        out.push(Endpoint {
            address: Address::Socket(SocketAddr::new(ip, number)),
            port_name: Arc::from(port.name.as_str()),
            weight: 1,
            health: Health::Healthy,
            workload: pod.workload.clone(),
            source: source.clone(),
            passage: None,
        });
    }
}

/// The WorkloadEntries of a namespace, in every cluster, that a selector takes and whose health allows it (S-6, S-10).
fn selected_entries<'a>(
    facts: &Facts<'a>,
    namespace: &'a str,
    selector: &'a Labels,
) -> impl Iterator<Item = (&'a Cluster, &'a Object<WorkloadEntry>)> {
    facts.clusters.iter().flat_map(move |c| selected_in(c, namespace, selector).map(move |entry| (c, entry)))
}

fn selected_in<'a>(cluster: &'a Cluster, namespace: &'a str, selector: &'a Labels) -> impl Iterator<Item = &'a Object<WorkloadEntry>> {
    let all = cluster.workload_entries.within(namespace).map(|(_, entry)| &**entry);
    all.filter(move |entry| is_used(entry) && selects(selector, &labels(entry)))
}

/// An entry that fails its group's probe is known, and gets no traffic (M-13).
fn told_by_entry(facts: &Facts<'_>, cluster: &Cluster, entry: &Object<WorkloadEntry>) -> Told {
    let fails = cluster.failing.get(&entry.meta.namespace, &entry.meta.name).is_some();
    let workload = workload(facts, cluster, &entry.spec, &labels(entry), &entry.meta.name, &entry.meta.namespace);
    let health = if fails { Health::Unhealthy } else { Health::Healthy };
    Told { workload: Arc::new(workload), source: Arc::new(entry_reference(entry)), health }
}

fn told_inline(facts: &Facts<'_>, namespace: &Arc<str>, endpoint: &WorkloadEntry, source: &ObjectRef) -> Told {
    let workload = match facts.clusters.first() {
        Some(cluster) => workload(facts, cluster, endpoint, &endpoint.labels, "", namespace),
        None => {
            let labels = Arc::new(endpoint.labels.clone());
            Workload::new("", Kin { namespace: namespace.clone(), labels, ..Kin::default() }, Place::default())
        }
    };
    Told { workload: Arc::new(workload), source: Arc::new(source.clone()), health: Health::Healthy }
}

/// Only an entry's own `network` decides how it is reached; where it has none, the label names its cluster's (M-32).
fn workload(facts: &Facts<'_>, cluster: &Cluster, spec: &WorkloadEntry, own: &Labels, name: &str, namespace: &Arc<str>) -> Workload {
    let mut labels = own.clone();
    if spec.network.is_empty() {
        let fallback = network::of_cluster(spec.address.parse().ok(), cluster, facts.mesh);
        if !fallback.is_empty() {
            labels.insert(Arc::from(NETWORK), Arc::from(fallback.as_str()));
        }
    }
    let service_account = Arc::from(spec.service_account.as_str());
    let kin = Kin { namespace: namespace.clone(), labels: Arc::new(labels), service_account, ..Kin::default() };
    let locality = locality::of_entry(&spec.locality, own);
    let place = Place { cluster: cluster.id.clone(), network: Network::from(spec.network.as_str()), locality, ..Place::default() };
    Workload::new(name, kin, place)
}

fn reference(entry: &Entry) -> ObjectRef {
    ObjectRef::new(Kind::ServiceEntry, entry.meta.namespace.clone(), entry.meta.name.clone())
}

fn entry_reference(entry: &Object<WorkloadEntry>) -> ObjectRef {
    ObjectRef::new(Kind::WorkloadEntry, entry.meta.namespace.clone(), entry.meta.name.clone())
}

/// Keeps the first of endpoints that are dialled alike for one port in one cluster (M-4). Of those without an address each is another.
fn unique(endpoints: &mut Vec<Endpoint>) {
    let mut seen = HashSet::new();
    let is_hidden = |e: &Endpoint| matches!(e.address, Address::Hidden(_));
    endpoints.retain(|e| is_hidden(e) || seen.insert((e.address.clone(), e.port_name.clone(), e.workload.cluster().clone())));
}
