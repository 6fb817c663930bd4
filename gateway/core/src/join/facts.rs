//! What clusters tell of Services, nodes and namespaces, trimmed to what joining reads, and all that joining is given.
//!
//! Strings and label sets are shared: ten thousand pods of a hundred deployments hold a hundred names of namespaces.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use isthmus_config::istio::ServiceEntry;
use isthmus_config::name::{ClusterId, Hostname, Locality, Network};
use isthmus_config::object::{Labels, Object, Origin};

use super::cluster::Cluster;
use super::gateways::Networks;
use crate::model::{Distribution, ExportTo, GatewayIdentity, NETWORK, Port};

/// A Kubernetes Service. It does not say in which cluster it is, so that those of several clusters can be one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ServiceFact {
    /// Its namespace.
    pub namespace: Arc<str>,
    /// Its name.
    pub name: Arc<str>,
    /// Its labels, shared by all that carry the same.
    pub labels: Arc<Labels>,
    /// Its pod selector, shared likewise.
    pub selector: Arc<Labels>,
    /// Its ports, with protocols (P-1), shared likewise.
    pub ports: Arc<[Port]>,
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
    /// Where it is written, in files.
    pub origin: Option<Arc<Origin>>,
}

/// What kind of Service it is; clusters had better agree on it (M-1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
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
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Outside {
    /// Its load balancers, by name where they have no address, and its externalIPs.
    pub addresses: Vec<Arc<str>>,
    /// Service port and node port, of type NodePort.
    pub node_ports: Vec<(u16, u16)>,
    /// The nodes whose ports lead into its network, by their labels: `traffic.istio.io/nodeSelector`.
    pub nodes: Option<Labels>,
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
