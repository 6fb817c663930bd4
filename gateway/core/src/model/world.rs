//! Everything that compile reads, frozen, and what has changed since the last time.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use isthmus_config::istio::destination_rule::DestinationRule;
use isthmus_config::istio::envoy_filter::EnvoyFilter;
use isthmus_config::istio::gateway::Gateway;
use isthmus_config::istio::service_entry::ServiceEntry;
use isthmus_config::istio::virtual_service::VirtualService;
use isthmus_config::istio::workload::{WorkloadEntry, WorkloadGroup};
use isthmus_config::mesh::MeshConfig;
use isthmus_config::name::{ClusterId, Hostname, Locality, Network};
use isthmus_config::object::{Labels, ObjectRef};

use super::{Endpoint, Objects, Service, Shards};

/// Namespace, then name.
pub type NamespacedName = (Arc<str>, Arc<str>);

/// What exists: one service per host name as the gateway sees it, and its endpoints from every cluster.
#[derive(Clone, Debug, Default)]
pub struct Catalog {
    /// Services by host name.
    pub services: Shards<Hostname, Arc<Service>>,
    /// Endpoints by host name, all ports, in a stable order. Views share them.
    pub endpoints: Shards<Hostname, Arc<[Arc<Endpoint>]>>,
    /// Labels of the namespaces of the config cluster.
    pub namespaces: Arc<BTreeMap<Arc<str>, Labels>>,
}

/// The Istio objects in force, last good version of each.
#[derive(Clone, Debug, Default)]
#[expect(missing_docs, reason = "each map holds the objects of its kind")]
pub struct Documents {
    pub gateways: Objects<Gateway>,
    pub virtual_services: Objects<VirtualService>,
    pub destination_rules: Objects<DestinationRule>,
    pub service_entries: Objects<ServiceEntry>,
    pub workload_entries: Objects<WorkloadEntry>,
    pub workload_groups: Objects<WorkloadGroup>,
    pub envoy_filters: Objects<EnvoyFilter>,
}

/// Who we are: what Gateway selectors, exportTo and localities see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GatewayIdentity {
    /// The workload's name.
    pub name: Arc<str>,
    /// The workload's namespace (G-21).
    pub namespace: Arc<str>,
    /// The workload's labels (G-1).
    pub labels: Labels,
    /// The cluster we run in.
    pub cluster: ClusterId,
    /// Our network.
    pub network: Network,
    /// Our locality (L-4).
    pub locality: Locality,
    /// Address for servers without `bind`.
    pub bind: IpAddr,
    /// Server port to listening port, which beats a Service's targetPort (G-2).
    pub ports: BTreeMap<u16, u16>,
    /// `<dom>`, such as `cluster.local`.
    pub domain: Arc<str>,
    /// We can speak mutual TLS to endpoints, so gateways of other networks can be passed (M-37).
    pub mutual_tls: bool,
}

/// What differs from the world compiled before. `all` after a change whose reach is not worth telling (mesh, identity).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Everything may differ.
    pub all: bool,
    /// Services whose definition came, went or changed.
    pub services: BTreeSet<Hostname>,
    /// Services whose endpoints changed.
    pub endpoints: BTreeSet<Hostname>,
    /// Istio objects that came, went or changed.
    pub objects: BTreeSet<ObjectRef>,
}

impl Changes {
    /// Everything may differ.
    pub fn everything() -> Self {
        Self { all: true, ..Self::default() }
    }
    /// True where nothing differs.
    pub fn is_empty(&self) -> bool {
        !self.all && self.services.is_empty() && self.endpoints.is_empty() && self.objects.is_empty()
    }
    /// Takes in what changed later.
    pub fn merge(&mut self, later: Self) {
        self.all |= later.all;
        self.services.extend(later.services);
        self.endpoints.extend(later.endpoints);
        self.objects.extend(later.objects);
    }
}

/// Everything that compile reads.
#[derive(Clone, Debug)]
pub struct World {
    /// Counts up with every change.
    pub generation: u64,
    /// What exists.
    pub catalog: Catalog,
    /// What was asked.
    pub documents: Arc<Documents>,
    /// Mesh-wide settings.
    pub mesh: Arc<MeshConfig>,
    /// Who we are.
    pub gateway: Arc<GatewayIdentity>,
}
