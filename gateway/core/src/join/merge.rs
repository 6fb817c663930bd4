//! One service out of many clusters and registries (M-1..M-5, M-10..M-18, M-30).
//!
//! Kubernetes comes first: a ServiceEntry of the same host gives a Kubernetes Service endpoints if it is of the same
//! namespace, and nothing otherwise (M-3).

use std::collections::{BTreeMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use isthmus_config::name::{Hostname, Network};
use isthmus_config::object::{Kind, ObjectRef, Origin};

use super::cluster::Cluster;
use super::facts::{Facts, ServiceFact};
use super::slices::Held;
use super::{locality, network, service_entry};
use crate::model::{Address, Distribution, Endpoint, ExportTo, Kin, NamedPort, Place, Resolution, Service, ServiceKind, Unmet, Workload};

/// A service and its endpoints, of all ports, in a stable order.
#[derive(Clone, Debug, PartialEq)]
pub struct Joined {
    /// What routes and rules see.
    pub service: Service,
    /// Where it is served: by cluster, then by slice and position, then those of ServiceEntries.
    pub endpoints: Vec<Endpoint>,
}

/// Namespace and name of the Kubernetes Service that `host` is (M-1), if it is of that form.
pub fn kubernetes_name<'a>(host: &'a Hostname, domain: &str) -> Option<(&'a str, &'a str)> {
    let (name, rest) = host.as_str().split_once('.')?;
    let (namespace, rest) = rest.split_once('.')?;
    (rest.strip_prefix("svc.")? == domain && !name.starts_with('*')).then_some((namespace, name))
}

/// The host name of a Kubernetes Service (M-1).
pub fn kubernetes_host(namespace: &str, name: &str, domain: &str) -> Hostname {
    Hostname::new(&format!("{name}.{namespace}.svc.{domain}"))
}

/// The service of that host name, or `None` where nothing claims it.
///
/// Where a Kubernetes Service and ServiceEntries claim one host, the Kubernetes Service is it, unless it is hidden from the
/// gateway's namespace and an entry is not (M-3).
pub fn host(facts: &Facts<'_>, host: &Hostname) -> Option<Joined> {
    let mut joined = unmarked(facts, host)?;
    if is_cluster_local(facts, host) {
        joined.endpoints.retain(|e| *e.workload.cluster() == facts.gateway.cluster);
    }
    if !facts.networks.is_empty() {
        for endpoint in &mut joined.endpoints {
            endpoint.passage = facts.networks.passage(endpoint).cloned();
        }
    }
    Some(joined)
}

/// The same before anything is said of gateways between networks.
fn unmarked(facts: &Facts<'_>, host: &Hostname) -> Option<Joined> {
    let entries = service_entry::claims(facts, host);
    let Some((namespace, name)) = kubernetes_name(host, &facts.gateway.domain) else {
        return service_entry::service(facts, host, &entries);
    };
    let first = facts.clusters.iter().find_map(|c| Some((c, c.services().get(namespace, name)?)));
    let Some((cluster, first)) = first else {
        return service_entry::service(facts, host, &entries);
    };
    let mut service = kubernetes_service(facts, host, first, cluster.origin(first));
    if !service.export_to.includes(&facts.gateway.namespace) {
        let visible = service_entry::service(facts, host, &entries).filter(|j| j.service.export_to.includes(&facts.gateway.namespace));
        if visible.is_some() {
            return visible;
        }
    }
    let mut endpoints = Vec::new();
    if service.alias.is_none() {
        let only_own = is_cluster_local(facts, host);
        let mut taken = HashSet::new();
        for cluster in facts.clusters.iter().filter(|c| !only_own || c.id == facts.gateway.cluster) {
            cluster_endpoints(facts, cluster, &service, name, &mut taken, &mut endpoints);
        }
        if facts.node.is_none() && asks_for_node(facts, &service.namespace, name) {
            service.unmet.push(Unmet::OwnNode);
        }
        service_entry::for_kubernetes(facts, &service, &entries, &mut endpoints);
    }
    Some(Joined { service, endpoints })
}

fn kubernetes_service(facts: &Facts<'_>, host: &Hostname, first: &ServiceFact, origin: &Arc<Origin>) -> Service {
    let default = || ExportTo::parse::<&str>(&[], &first.namespace, &facts.mesh.default_export_to);
    Service {
        hostname: host.clone(),
        namespace: first.namespace.clone(),
        kind: ServiceKind::Kubernetes,
        resolution: Resolution::Static,
        ports: first.ports.clone(),
        export_to: first.export_to.clone().unwrap_or_else(default),
        alias: first.external_name.clone(),
        labels: first.labels.clone(),
        selector: first.selector.clone(),
        distribution: first.distribution.unwrap_or_else(|| distribution_of_namespace(facts, &first.namespace)),
        unmet: Vec::new(),
        object: ObjectRef::new(Kind::Service, first.namespace.clone(), first.name.clone()),
        origin: origin.clone(),
    }
}

/// What a namespace asks for on behalf of its services (L-25); the config cluster's namespace counts.
pub(super) fn distribution_of_namespace(facts: &Facts<'_>, namespace: &str) -> Option<Distribution> {
    facts.clusters.first()?.namespaces.get(namespace)?.distribution
}

/// True where a cluster would serve the service from the gateway's own node only (M-18).
fn asks_for_node(facts: &Facts<'_>, namespace: &str, name: &str) -> bool {
    let asks = |c: &Cluster| c.services().get(namespace, name).is_some_and(|s| s.node_local) && !c.slices(namespace, name).is_empty();
    facts.clusters.iter().any(asks)
}

/// An address of a network, for a port of a service.
type Taken = (SocketAddr, Network, u16);

/// One cluster's endpoints, joined to the service's ports by name (M-2). An address that several slices name counts once (M-4), and
/// so does one of the same network that several clusters name, as Envoy keeps but the first.
fn cluster_endpoints(facts: &Facts<'_>, cluster: &Cluster, service: &Service, name: &str, taken: &mut HashSet<Taken>, out: &mut Vec<Endpoint>) {
    let slices = cluster.slices(&service.namespace, name);
    // Slices count without a Service of their cluster too.
    let own = cluster.services().get(&service.namespace, name);
    let (sessions, node_local) = own.map_or((false, false), |own| (own.persistent_session, own.node_local));
    // By address and port name: an endpoint that moves between slices may be in both (M-4).
    let mut seen = HashSet::new();
    let mut podless = Podless { facts, cluster, namespace: &service.namespace, by_network: BTreeMap::new() };
    for slice in slices {
        for (place, endpoint) in slice.endpoints().enumerate() {
            let Some(health) = endpoint.condition.health(sessions) else { continue };
            let Some(workload) = workload_behind(cluster, &endpoint, &mut podless) else { continue };
            // An endpoint runs where its pod does; one without a pod where its slice says.
            let node = if endpoint.pod.is_some() { Some(&**workload.node()).filter(|node| !node.is_empty()) } else { slice.node(place) };
            if node_local && (facts.node.is_none() || facts.node != node) {
                continue;
            }
            for NamedPort { name, port: number } in slice.ports.iter() {
                let Some(port) = service.ports.iter().find(|p| p.name == *name) else { continue };
                let address = SocketAddr::new(endpoint.address, *number);
                if seen.insert((endpoint.address, &port.name)) && taken.insert((address, workload.network().clone(), port.number)) {
                    let (address, source, workload) = (Address::Socket(address), slice.object.clone(), workload.clone());
                    out.push(Endpoint { address, port_name: port.name.clone(), weight: 1, health, workload, source, passage: None });
                }
            }
        }
    }
    if let Some(own) = own {
        service_entry::selected_by_service(facts, cluster, own, &service.ports, out);
    }
}

/// The pod that an endpoint names, or `None` until it has been seen (M-17); else the pod at its address.
fn workload_behind(cluster: &Cluster, endpoint: &Held, podless: &mut Podless<'_>) -> Option<Arc<Workload>> {
    if let Some(pod) = endpoint.pod {
        return cluster.pods().at(pod).map(|p| p.workload.clone());
    }
    Some(cluster.pod_at(endpoint.address).map_or_else(|| podless.at(endpoint.address), |p| p.workload.clone()))
}

/// The workloads of endpoints that no pod stands behind: one for each network (M-31).
struct Podless<'a> {
    facts: &'a Facts<'a>,
    cluster: &'a Cluster,
    namespace: &'a Arc<str>,
    by_network: BTreeMap<Network, Arc<Workload>>,
}

impl Podless<'_> {
    fn at(&mut self, address: IpAddr) -> Arc<Workload> {
        let network = network::of_cluster(Some(address), self.cluster, self.facts.mesh);
        let made = || {
            let place = Place { cluster: self.cluster.id.clone(), network: network.clone(), ..Place::default() };
            Workload::new("", Kin { namespace: self.namespace.clone(), ..Kin::default() }, place)
        };
        self.by_network.entry(network.clone()).or_insert_with(|| Arc::new(made())).clone()
    }
}

/// True where only endpoints of the gateway's own cluster serve the host (M-30).
pub(super) fn is_cluster_local(facts: &Facts<'_>, host: &Hostname) -> bool {
    facts.mesh.cluster_local.iter().filter(|(rule, _)| rule.covers(host)).min_by(|a, b| a.0.cmp(&b.0)).is_some_and(|(_, local)| *local)
}

/// The rules of M-30: the built-in ones that no `clusterLocal: false` removes, and `settings`.
pub fn cluster_local_rules(settings: Vec<(Hostname, bool)>, domain: &str, root_namespace: &str) -> Vec<(Hostname, bool)> {
    let built_in =
        [format!("*.kube-system.svc.{domain}"), format!("kubernetes.default.svc.{domain}"), format!("istiod.{root_namespace}.svc.{domain}")];
    let kept = built_in.iter().map(|h| Hostname::new(h)).filter(|b| !settings.iter().any(|(host, local)| !local && b.covers(host)));
    let mut rules: Vec<_> = kept.map(|h| (h, true)).collect();
    rules.extend(settings);
    rules
}

/// What all endpoints of a pod share, with the place where it stands (L-1, L-5, M-31).
pub fn placed(cluster: &Cluster, own: &Workload, address: Option<IpAddr>, mesh: &super::Mesh) -> Workload {
    let at_node = || cluster.nodes.get(own.node()).map(|n| n.locality.clone());
    let locality = locality::of_labels(own.labels()).or_else(at_node).unwrap_or_default();
    let network = network::of_pod(own.labels(), address, cluster, mesh);
    let place = Place { cluster: cluster.id.clone(), network, locality, node: own.node().clone() };
    Workload { place: Arc::new(place), ..own.clone() }
}
