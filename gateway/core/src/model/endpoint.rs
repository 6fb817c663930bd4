//! An endpoint: one address of one service port in one cluster.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use isthmus_config::name::{ClusterId, Locality, Network};
use isthmus_config::object::{Labels, ObjectRef};

use super::{Gateways, NamedPorts, Passage};

/// Where to dial.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Address {
    /// An IP address and port.
    Socket(SocketAddr),
    /// A Unix socket's path (S-7); it cannot be dialled yet.
    Unix(Arc<str>),
    /// A name that the resolver has not answered yet (S-2); it cannot be dialled.
    Unresolved(Arc<str>, u16),
    /// Told to nobody: only the gateways of its network lead there, to this port (S-8).
    Hidden(u16),
}

impl Address {
    /// True where it is known, so that it can be dialled.
    pub fn is_known(&self) -> bool {
        matches!(self, Self::Socket(_))
    }
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Socket(a) => write!(f, "{a}"),
            Self::Unix(p) => write!(f, "unix://{p}"),
            Self::Unresolved(name, port) => write!(f, "{name}:{port}"),
            Self::Hidden(port) => write!(f, "-:{port}"),
        }
    }
}

/// What the source says of an endpoint's health (M-10..M-13).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Health {
    /// Gets traffic.
    #[default]
    Healthy,
    /// Known, counted, gets no traffic (M-14).
    Unhealthy,
    /// Finishes what it has, for services with persistent sessions (M-11).
    Draining,
}

/// The pod or VM behind an endpoint, shared by its ports. There are as many as endpoints, so what it has in common with others is shared.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Workload {
    /// Its name, such as `reviews-v1-0`; "" where there is none.
    pub name: Box<str>,
    /// What it is one of.
    pub kin: Arc<Kin>,
    /// Where it runs.
    pub place: Arc<Place>,
}

/// What the replicas of a deployment have in common.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Kin {
    /// Their namespace.
    pub namespace: Arc<str>,
    /// Their own labels; [`Workload::label`] knows those of L-5 too.
    pub labels: Arc<Labels>,
    /// The service account, or "".
    pub service_account: Arc<str>,
    /// Named ports of their containers (S-7).
    pub ports: NamedPorts,
}

/// What workloads of one node have in common.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Place {
    /// The cluster.
    pub cluster: ClusterId,
    /// The network.
    pub network: Network,
    /// Region, zone and subzone.
    pub locality: Locality,
    /// The node, or "".
    pub node: Arc<str>,
}

/// Region, on nodes and as an extended label (L-2, L-5).
pub const REGION: &str = "topology.kubernetes.io/region";
/// Zone.
pub const ZONE: &str = "topology.kubernetes.io/zone";
/// Subzone.
pub const SUBZONE: &str = "topology.istio.io/subzone";
/// Cluster, an extended label (L-5).
pub const CLUSTER: &str = "topology.istio.io/cluster";
/// Network, asked for on pods and namespaces (M-31), and an extended label (L-5).
pub const NETWORK: &str = "topology.istio.io/network";
/// The node's name, an extended label (L-5).
pub const HOSTNAME: &str = "kubernetes.io/hostname";

impl Workload {
    /// A workload that shares nothing with others.
    pub fn new(name: impl Into<Box<str>>, kin: Kin, place: Place) -> Self {
        Self { name: name.into(), kin: Arc::new(kin), place: Arc::new(place) }
    }

    /// Its namespace.
    pub fn namespace(&self) -> &Arc<str> {
        &self.kin.namespace
    }
    /// Its own labels.
    pub fn labels(&self) -> &Labels {
        &self.kin.labels
    }
    /// Its service account, or "".
    pub fn service_account(&self) -> &str {
        &self.kin.service_account
    }
    /// Its cluster.
    pub fn cluster(&self) -> &ClusterId {
        &self.place.cluster
    }
    /// Its network.
    pub fn network(&self) -> &Network {
        &self.place.network
    }
    /// Where it stands.
    pub fn locality(&self) -> &Locality {
        &self.place.locality
    }
    /// The node that it runs on, or "".
    pub fn node(&self) -> &Arc<str> {
        &self.place.node
    }

    /// A label by key: the extended ones, which are told by place and not kept (L-5), beat its own.
    pub fn label(&self, key: &str) -> Option<&str> {
        let [region, zone, subzone] = self.locality().parts();
        let extended = match key {
            REGION => region,
            ZONE => zone,
            SUBZONE => subzone,
            CLUSTER => self.cluster().as_str(),
            NETWORK => self.network().as_str(),
            HOSTNAME => self.node(),
            _ => "",
        };
        if extended.is_empty() { self.labels().get(key).map(|v| &**v) } else { Some(extended) }
    }

    /// True where it carries all of a subset's labels; the extended ones count (L-5).
    pub fn carries(&self, labels: &Labels) -> bool {
        labels.iter().all(|(key, value)| self.label(key) == Some(&**value))
    }

    /// All labels, the extended ones included.
    pub fn all_labels(&self) -> BTreeMap<&str, &str> {
        let extended = [REGION, ZONE, SUBZONE, CLUSTER, NETWORK, HOSTNAME];
        let keys = self.labels().keys().map(|k| &**k).chain(extended);
        keys.filter_map(|key| Some((key, self.label(key)?))).collect()
    }
}

/// One address of one service port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Where to dial.
    pub address: Address,
    /// The service port that it serves, by name (M-2).
    pub port_name: Arc<str>,
    /// Its share among its equals; at least 1.
    pub weight: u32,
    /// What its source says of it.
    pub health: Health,
    /// Who answers there.
    pub workload: Arc<Workload>,
    /// The object that names it.
    pub source: Arc<ObjectRef>,
    /// Where its network is another one that has gateways, or it is such a gateway.
    pub passage: Option<Arc<Passage>>,
}

impl Endpoint {
    /// The locality that groups it with others: a gateway counts as those that it stands for (M-39).
    pub fn locality(&self) -> &Locality {
        match self.passage.as_deref() {
            Some(Passage::Gateway(locality)) => locality,
            Some(Passage::Behind(_)) | None => self.workload.locality(),
        }
    }

    /// True where it is dialled itself.
    pub fn is_direct(&self) -> bool {
        self.passage.is_none() && !matches!(self.address, Address::Hidden(_))
    }

    /// The gateways behind which it is.
    pub fn gateways(&self) -> Option<&Gateways> {
        match self.passage.as_deref()? {
            Passage::Behind(gateways) => Some(gateways),
            Passage::Gateway(_) => None,
        }
    }
}
