//! What one cluster holds, trimmed to what joining reads, and the view of all clusters that joining is given.
//!
//! Strings and label sets are shared: ten thousand pods of a hundred deployments hold a hundred names of namespaces.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use isthmus_config::istio::{ServiceEntry, WorkloadEntry};
use isthmus_config::name::{ClusterId, Hostname, Locality, Network};
use isthmus_config::object::{Labels, Object, ObjectRef, Origin};
use smallvec::SmallVec;

use super::gateways::Networks;
use super::pods::{Alone, Pod, Pods};
use crate::model::{Distribution, ExportTo, GatewayIdentity, Health, NETWORK, Port, Workload};

/// Values by namespace, then name.
#[derive(Clone, Debug)]
pub struct ByName<T>(BTreeMap<Arc<str>, BTreeMap<Arc<str>, T>>);

impl<T> Default for ByName<T> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<T> ByName<T> {
    /// The value of that name.
    pub fn get(&self, namespace: &str, name: &str) -> Option<&T> {
        self.0.get(namespace)?.get(name)
    }
    /// The value of that name, to be changed.
    pub fn get_mut(&mut self, namespace: &str, name: &str) -> Option<&mut T> {
        self.0.get_mut(namespace)?.get_mut(name)
    }
    /// The value of that name, made where it does not exist.
    pub fn entry(&mut self, namespace: Arc<str>, name: Arc<str>) -> &mut T
    where
        T: Default,
    {
        self.0.entry(namespace).or_default().entry(name).or_default()
    }
    /// Puts a value in place and returns the one that stood there.
    pub fn insert(&mut self, namespace: Arc<str>, name: Arc<str>, value: T) -> Option<T> {
        self.0.entry(namespace).or_default().insert(name, value)
    }
    /// Takes a value out.
    pub fn remove(&mut self, namespace: &str, name: &str) -> Option<T> {
        let names = self.0.get_mut(namespace)?;
        let value = names.remove(name);
        if names.is_empty() {
            self.0.remove(namespace);
        }
        value
    }
    /// All values of a namespace by name.
    pub fn within(&self, namespace: &str) -> impl Iterator<Item = (&Arc<str>, &T)> {
        self.0.get(namespace).into_iter().flatten()
    }
    /// All values by namespace and name.
    pub fn iter(&self) -> impl Iterator<Item = (&Arc<str>, &Arc<str>, &T)> {
        self.0.iter().flat_map(|(ns, names)| names.iter().map(move |(name, value)| (ns, name, value)))
    }
}

/// A Kubernetes Service.
#[derive(Clone, Debug, PartialEq)]
pub struct ServiceFact {
    /// Its namespace.
    pub namespace: Arc<str>,
    /// Its name.
    pub name: Arc<str>,
    /// Its labels, shared by all that carry the same.
    pub labels: Arc<Labels>,
    /// Its pod selector, shared likewise.
    pub selector: Arc<Labels>,
    /// Its ports, with protocols (P-1).
    pub ports: Vec<Port>,
    /// Who may see it, where it says so itself (M-5).
    pub export_to: Option<ExportTo>,
    /// The host that an ExternalName Service stands for (V-26).
    pub external_name: Option<Hostname>,
    /// `internalTrafficPolicy: Local` (M-18).
    pub node_local: bool,
    /// Which endpoints it wants its callers to prefer, where it has a say in it itself (L-25).
    pub distribution: Option<Option<Distribution>>,
    /// Label `istio.io/persistent-session` is there (M-11).
    pub persistent_session: bool,
    /// What kind of Service it is.
    pub form: Form,
    /// How it is reached from outside its cluster, where it is.
    pub outside: Option<Box<Outside>>,
    /// Where it stands.
    pub origin: Origin,
}

/// What kind of Service it is; clusters had better agree on it (M-1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// `type: ExternalName`
    ExternalName,
    /// `clusterIP: None` (M-19)
    Headless,
    /// `type: ClusterIP`
    ClusterIp,
    /// `type: NodePort`
    NodePort,
    /// `type: LoadBalancer`
    LoadBalancer,
}

impl fmt::Display for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ExternalName => "of type ExternalName",
            Self::Headless => "headless",
            Self::ClusterIp => "of type ClusterIP",
            Self::NodePort => "of type NodePort",
            Self::LoadBalancer => "of type LoadBalancer",
        })
    }
}

impl ServiceFact {
    /// True where its labels name a network (M-33).
    pub fn names_network(&self) -> bool {
        self.labels.get(NETWORK).is_some_and(|n| !n.is_empty())
    }
}

/// How a Service is reached from outside its cluster (M-34).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outside {
    /// Its load balancers, by name where they have no address, and its externalIPs.
    pub addresses: Vec<Arc<str>>,
    /// Service port and node port, of type NodePort.
    pub node_ports: Vec<(u16, u16)>,
    /// The nodes whose ports lead into its network, by their labels: `traffic.istio.io/nodeSelector`.
    pub nodes: Option<Labels>,
}

/// What an EndpointSlice says of an endpoint (M-10..M-13).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Condition {
    /// `conditions.ready`
    pub ready: Option<bool>,
    /// `conditions.serving`
    pub serving: Option<bool>,
    /// `conditions.terminating`
    pub terminating: Option<bool>,
}

impl Condition {
    /// The endpoint's health, or `None` where it is gone (M-10..M-13).
    pub fn health(self, persistent_session: bool) -> Option<Health> {
        if self.ready != Some(false) {
            Some(Health::Healthy)
        } else if persistent_session && self.serving != Some(false) && self.terminating != Some(false) {
            Some(Health::Draining)
        } else if self.terminating != Some(false) {
            None
        } else {
            Some(Health::Unhealthy)
        }
    }
}

/// One address of an EndpointSlice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SliceEndpoint {
    /// Where it is reached.
    pub address: IpAddr,
    /// What its slice says of it.
    pub condition: Condition,
    /// The pod behind it, of the slice's namespace, where it names one (M-17).
    pub pod: Option<Arc<str>>,
    /// The node that it runs on (M-18).
    pub node: Option<Arc<str>>,
}

/// An EndpointSlice of IP addresses that belongs to a service (M-16).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SliceFact {
    /// Which object it is.
    pub object: Arc<ObjectRef>,
    /// The service that it belongs to, of its own namespace.
    pub service: Arc<str>,
    /// Port name and number.
    pub ports: Box<[(Arc<str>, u16)]>,
    /// Its addresses in order.
    pub endpoints: Box<[SliceEndpoint]>,
}

/// A node, as far as localities and node ports need it (L-2, M-34).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Node {
    /// Where it stands.
    pub locality: Locality,
    /// Its ExternalIPs.
    pub external_ips: Box<[IpAddr]>,
    /// Its InternalIPs.
    pub internal_ips: Box<[IpAddr]>,
    /// Its labels, of nodes with an ExternalIP only: others are no gateway.
    pub labels: Labels,
}

/// A namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Namespace {
    /// Its labels.
    pub labels: Labels,
    /// Which endpoints its services want their callers to prefer, where they do not say so themselves (L-25).
    pub distribution: Option<Distribution>,
}

/// Everything known of one cluster.
#[derive(Clone, Debug, Default)]
pub struct Cluster {
    /// Its id.
    pub id: ClusterId,
    services: ByName<Arc<ServiceFact>>,
    /// Services that name a network in their labels (M-33).
    labelled: BTreeSet<(Arc<str>, Arc<str>)>,
    slices: ByName<Vec<Arc<SliceFact>>>,
    /// The services that slices name and that are none, so that telling them does not look at every slice.
    missing: BTreeSet<(Arc<str>, Arc<str>)>,
    pods: Pods,
    alone: Alone,
    /// Its nodes.
    pub nodes: BTreeMap<Arc<str>, Node>,
    /// Its namespaces.
    pub namespaces: BTreeMap<Arc<str>, Namespace>,
    /// Its WorkloadEntries (M-26).
    pub workload_entries: ByName<Arc<Object<WorkloadEntry>>>,
    /// Those of them that fail the probe of their WorkloadGroup.
    pub failing: ByName<()>,
}

impl Cluster {
    /// A cluster of which nothing is known yet.
    pub fn new(id: ClusterId) -> Self {
        Self { id, ..Self::default() }
    }

    /// Its Services.
    pub fn services(&self) -> &ByName<Arc<ServiceFact>> {
        &self.services
    }

    /// The Services that name a network in their labels, which makes them its gateways (M-33).
    pub fn labelled_services(&self) -> impl Iterator<Item = &ServiceFact> {
        self.labelled.iter().filter_map(|(namespace, name)| self.services.get(namespace, name)).map(|s| &**s)
    }

    /// Puts a Service in place and returns the one that it was before.
    pub fn put_service(&mut self, service: Arc<ServiceFact>) -> Option<Arc<ServiceFact>> {
        let key = (service.namespace.clone(), service.name.clone());
        if service.names_network() {
            self.labelled.insert(key.clone());
        } else {
            self.labelled.remove(&key);
        }
        self.missing.remove(&key);
        self.services.insert(key.0, key.1, service)
    }

    /// Takes a Service out.
    pub fn remove_service(&mut self, namespace: &Arc<str>, name: &Arc<str>) -> Option<Arc<ServiceFact>> {
        let key = (namespace.clone(), name.clone());
        self.labelled.remove(&key);
        if self.slices.get(namespace, name).is_some() {
            self.missing.insert(key);
        }
        self.services.remove(namespace, name)
    }

    /// The EndpointSlices of a service, by name.
    pub fn slices(&self, namespace: &str, service: &str) -> &[Arc<SliceFact>] {
        self.slices.get(namespace, service).map_or(&[], |all| all)
    }

    /// The EndpointSlices whose Service does not exist.
    pub fn slices_alone(&self) -> impl Iterator<Item = &SliceFact> {
        self.missing.iter().flat_map(|(namespace, service)| self.slices(namespace, service)).map(|slice| &**slice)
    }

    /// Puts a slice in place and returns the one of that name that its service had before.
    pub fn put_slice(&mut self, slice: Arc<SliceFact>) -> Option<Arc<SliceFact>> {
        let (namespace, service) = (&slice.object.namespace, &slice.service);
        if self.services.get(namespace, service).is_none() {
            self.missing.insert((namespace.clone(), service.clone()));
        }
        let all = self.slices.entry(namespace.clone(), service.clone());
        match all.binary_search_by(|s| s.object.name.cmp(&slice.object.name)) {
            Ok(place) => Some(std::mem::replace(&mut all[place], slice)),
            Err(place) => {
                all.reserve_exact(1);
                all.insert(place, slice);
                None
            }
        }
    }

    /// Takes a slice out of a service's.
    pub fn remove_slice(&mut self, namespace: &Arc<str>, service: &Arc<str>, name: &str) -> Option<Arc<SliceFact>> {
        let all = self.slices.get_mut(namespace, service)?;
        let place = all.binary_search_by(|s| (*s.object.name).cmp(name)).ok()?;
        let old = all.remove(place);
        if all.is_empty() {
            self.slices.remove(namespace, service);
            self.missing.remove(&(namespace.clone(), service.clone()));
        }
        Some(old)
    }

    /// Its pods.
    pub fn pods(&self) -> &Pods {
        &self.pods
    }

    /// The pod at an address that an endpoint holds without naming one; the first by name of several.
    pub fn pod_at(&self, address: IpAddr) -> Option<&Pod> {
        let (namespace, name) = self.alone.first(address)?;
        self.pods.get(namespace, name)
    }

    /// An endpoint holds an address and names no pod. True where none did so far: [`Self::look_for_pods`] finds who stands there.
    pub fn hold(&mut self, address: IpAddr) -> bool {
        self.alone.hold(address)
    }
    /// An endpoint that names no pod is gone.
    pub fn release(&mut self, address: IpAddr) {
        self.alone.release(address);
    }
    /// True where an endpoint that names no pod holds the address.
    pub fn holds(&self, address: IpAddr) -> bool {
        self.alone.holds(address)
    }
    /// Finds the pods at addresses that have just come to be held. It walks all pods, so it is called once for many.
    pub fn look_for_pods(&mut self) {
        self.pods.iter().for_each(|pod| self.alone.arrive(pod));
    }

    /// Puts a pod in place and returns the one that it was before, whose services it takes over.
    pub fn put_pod(&mut self, mut pod: Pod) -> Option<Pod> {
        let mut old = self.remove_pod(&pod.workload.namespace, &pod.workload.name);
        if let Some(old) = &mut old {
            pod.services.append(&mut old.services);
        }
        self.alone.arrive(&pod);
        self.pods.insert(pod);
        old
    }

    /// Takes a pod out.
    pub fn remove_pod(&mut self, namespace: &str, name: &str) -> Option<Pod> {
        let old = self.pods.remove(namespace, name)?;
        self.alone.leave(&old);
        Some(old)
    }

    /// Replaces what a pod's endpoints share.
    pub fn put_workload(&mut self, workload: Arc<Workload>) {
        let (namespace, name) = (workload.namespace.clone(), workload.name.clone());
        self.pods.change(&namespace, &name, |pod| pod.workload = workload);
    }

    /// Changes the services whose slices name a pod; false where there is no such pod.
    pub fn change_services(&mut self, namespace: &str, name: &str, change: impl FnOnce(&mut SmallVec<[Arc<str>; 1]>)) -> bool {
        self.pods.change(namespace, name, |pod| change(&mut pod.services))
    }
}

/// The mesh-wide settings that joining reads, out of MeshConfig.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mesh {
    /// `defaultServiceExportTo`
    pub default_export_to: Vec<String>,
    /// `rootNamespace`, whose label may name a cluster's network (M-31).
    pub root_namespace: Arc<str>,
    /// meshNetworks `fromRegistry`: cluster to network.
    pub networks_by_cluster: BTreeMap<ClusterId, Network>,
    /// meshNetworks `fromCidr`: address, prefix length, network.
    pub networks_by_range: Vec<(IpAddr, u8, Network)>,
    /// meshNetworks `gateways` by address: network, address or name, port.
    pub gateways_by_address: Vec<(Network, Arc<str>, u16)>,
    /// meshNetworks `gateways` by `registryServiceName`: the cluster, its network, the service's host, its port.
    pub gateways_by_service: Vec<(ClusterId, Network, Hostname, u16)>,
    /// Hosts of `serviceSettings` with their `clusterLocal` (M-30).
    pub cluster_local: Vec<(Hostname, bool)>,
}

/// Everything that joining reads.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// Clusters, the config cluster first, then as they are listed (M-1).
    pub clusters: &'a [Cluster],
    /// ServiceEntries by host.
    pub entries: &'a HashMap<Hostname, Vec<Arc<Object<ServiceEntry>>>>,
    /// What DNS has answered, by name.
    pub answers: &'a HashMap<Arc<str>, Arc<[IpAddr]>>,
    /// Who we are.
    pub gateway: &'a GatewayIdentity,
    /// Our own node, where it is known (M-18).
    pub node: Option<&'a str>,
    /// Mesh-wide settings.
    pub mesh: &'a Mesh,
    /// The gateways of the networks that are not ours.
    pub networks: &'a Networks,
}
