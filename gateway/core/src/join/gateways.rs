//! The gateways of networks (M-33..M-36): which there are, and which of them lead to an endpoint that our network does not reach.
//!
//! A gateway whose name DNS has not answered yet is one all the same: its endpoints wait for the answer, instead of being
//! dialled at addresses that mean nothing here. Gateways of the Gateway API and of ambient mode (M-43) are not read.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use isthmus_config::name::{ClusterId, Network};
use isthmus_config::object::{Kind, ObjectRef, Origin};

use super::cluster::Cluster;
use super::facts::{Mesh, Outside, ServiceFact};
use super::merge::kubernetes_name;
use super::service_entry::selects;
use crate::model::{Address, Endpoint, Gateways, NETWORK, NetworkGateway, Passage};

/// The service port of a network's gateway, and the label that names another one (M-33).
const PORT: u16 = 15443;
const PORT_LABEL: &str = "networking.istio.io/gatewayPort";

/// What clusters and meshNetworks say of gateways.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Found {
    /// Every gateway, at each of its addresses.
    pub gateways: BTreeSet<NetworkGateway>,
    /// The names among their addresses, for DNS to find.
    pub names: BTreeSet<Arc<str>>,
    /// Services that name a network and are no gateway of it.
    pub unfit: Vec<Unfit>,
}

/// A Service that names a network and is no gateway of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Unfit {
    /// The Service.
    pub object: ObjectRef,
    /// Where it stands.
    pub origin: Origin,
    /// The network.
    pub network: Network,
    /// What it lacks.
    pub lacks: String,
}

/// Finds all gateways. `answers` is what DNS has said of their names.
pub fn find(clusters: &[Cluster], mesh: &Mesh, domain: &str, answers: &HashMap<Arc<str>, Arc<[IpAddr]>>) -> Found {
    let mut found = Found::default();
    for (network, address, port) in &mesh.gateways_by_address {
        found.add(address, *port, network, &ClusterId::default(), answers);
    }
    for cluster in clusters {
        for service in cluster.labelled_services() {
            let network = Network::new(service.labels.get(NETWORK).cloned().unwrap_or_default());
            match labelled_port(service).and_then(|port| addresses(cluster, service, port)) {
                Ok(list) => list.iter().for_each(|(address, port)| found.add(address, *port, &network, &cluster.id, answers)),
                Err(lacks) => {
                    let object = ObjectRef::new(Kind::Service, service.namespace.clone(), service.name.clone());
                    found.unfit.push(Unfit { object, origin: (**cluster.origin(service)).clone(), network, lacks });
                }
            }
        }
        // A label beats meshNetworks.
        for (_, network, host, port) in mesh.gateways_by_service.iter().filter(|(id, ..)| *id == cluster.id) {
            let service = kubernetes_name(host, domain).and_then(|(namespace, name)| cluster.services().get(namespace, name));
            let Some(service) = service.filter(|s| !s.names_network()) else { continue };
            for (address, port) in addresses(cluster, service, *port).unwrap_or_default() {
                found.add(&address, port, network, &cluster.id, answers);
            }
        }
    }
    found
}

impl Found {
    fn add(&mut self, address: &Arc<str>, port: u16, network: &Network, cluster: &ClusterId, answers: &HashMap<Arc<str>, Arc<[IpAddr]>>) {
        let at = |address| NetworkGateway { address, network: network.clone(), cluster: cluster.clone() };
        let known = |ip: &IpAddr| at(Address::Socket(SocketAddr::new(*ip, port)));
        if let Ok(ip) = address.parse() {
            self.gateways.insert(known(&ip));
            return;
        }
        match answers.get(address) {
            Some(answer) => self.gateways.extend(answer.iter().map(known)),
            None => drop(self.gateways.replace(at(Address::Unresolved(address.clone(), port)))),
        }
        self.names.insert(address.clone());
    }
}

/// The service port that leads into the network (M-33).
fn labelled_port(service: &ServiceFact) -> Result<u16, String> {
    let asked = match service.labels.get(PORT_LABEL) {
        None => PORT,
        Some(text) => text.parse().map_err(|_| format!("{PORT_LABEL} is {text:?}, which is no port"))?,
    };
    if service.ports.iter().any(|p| p.number == asked) { Ok(asked) } else { Err(format!("it has no port {asked}")) }
}

/// Where one service port is reached from outside the cluster (M-34).
fn addresses(cluster: &Cluster, service: &ServiceFact, port: u16) -> Result<Vec<(Arc<str>, u16)>, String> {
    let Some(outside) = service.outside.as_deref() else {
        return Err("it has neither the address of a load balancer nor externalIPs".to_owned());
    };
    if let Some(selector) = &outside.nodes {
        let node_port = outside.node_ports.iter().find(|(number, _)| *number == port).map(|(_, node_port)| *node_port);
        let node_port = node_port.ok_or_else(|| format!("its port {port} has no node port"))?;
        let nodes = cluster.nodes.values().filter(|node| selects(selector, &node.labels));
        let found: Vec<_> = nodes.flat_map(|node| &node.external_ips).map(|ip| (ip.to_string().into(), node_port)).collect();
        return if found.is_empty() { Err("none of the nodes that it selects has an ExternalIP".to_owned()) } else { Ok(found) };
    }
    match outside {
        Outside { addresses, .. } if !addresses.is_empty() => Ok(addresses.iter().map(|a| (a.clone(), port)).collect()),
        _ => Err("it is of type NodePort and has no annotation traffic.istio.io/nodeSelector".to_owned()),
    }
}

/// The IP families in which we can dial; gateways of another one are none to us (M-37).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Families {
    /// Any.
    #[default]
    Both,
    /// IPv4 only.
    V4,
    /// IPv6 only.
    V6,
}

impl Families {
    /// The families of our own addresses; any where we know none.
    pub fn of(own: &[IpAddr]) -> Self {
        match (own.iter().any(IpAddr::is_ipv4), own.iter().any(IpAddr::is_ipv6)) {
            (true, false) => Self::V4,
            (false, true) => Self::V6,
            (true, true) | (false, false) => Self::Both,
        }
    }

    fn reaches(self, address: &Address) -> bool {
        match (self, address) {
            (Self::V4, Address::Socket(a)) => a.is_ipv4(),
            (Self::V6, Address::Socket(a)) => a.is_ipv6(),
            (Self::Both, Address::Socket(_)) | (_, Address::Unix(_) | Address::Unresolved(..) | Address::Hidden(_)) => true,
        }
    }
}

/// The ways into the networks that are not ours.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Networks {
    own: Network,
    by_network: BTreeMap<Network, Arc<Passage>>,
    by_cluster: BTreeMap<(Network, ClusterId), Arc<Passage>>,
}

impl Networks {
    /// What gateways are to a network `own` whose members dial in `families`.
    pub fn of(gateways: &BTreeSet<NetworkGateway>, own: &Network, families: Families) -> Self {
        let (mut of_network, mut of_cluster) = (BTreeMap::<_, Vec<_>>::new(), BTreeMap::<_, Vec<_>>::new());
        for gateway in gateways.iter().filter(|g| families.reaches(&g.address)) {
            of_network.entry(gateway.network.clone()).or_default().push(gateway.clone());
            of_cluster.entry((gateway.network.clone(), gateway.cluster.clone())).or_default().push(gateway.clone());
        }
        let counts = of_network.values().chain(of_cluster.values()).map(|list| list.iter().filter(|g| g.is_found()).count() as u32);
        let scale = counts.filter(|n| *n > 0).fold(1, lcm);
        let passage = |list| Arc::new(Passage::Behind(Gateways { list, scale }));
        Self {
            own: own.clone(),
            by_network: of_network.into_iter().map(|(key, list)| (key, passage(list))).collect(),
            by_cluster: of_cluster.into_iter().map(|(key, list)| (key, passage(list))).collect(),
        }
    }

    /// True where no network is known to have a gateway: everything is direct.
    pub fn is_empty(&self) -> bool {
        self.by_network.is_empty()
    }

    /// The gateways that lead to an endpoint, those of its cluster before all of its network; `None` where it is direct (M-36, M-37).
    pub fn passage(&self, endpoint: &Endpoint) -> Option<&Arc<Passage>> {
        let (network, cluster) = (endpoint.workload.network(), endpoint.workload.cluster());
        if network.is_empty() || *network == self.own {
            return None;
        }
        let all = self.by_network.get(network)?;
        Some(self.by_cluster.get(&(network.clone(), cluster.clone())).unwrap_or(all))
    }
}

fn lcm(a: u32, b: u32) -> u32 {
    let (mut x, mut y) = (a, b);
    while y != 0 {
        (x, y) = (y, x % y);
    }
    (a / x).saturating_mul(b)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_own_addresses_tell_the_families_m37() {
        let ip = |t: &str| -> IpAddr { t.parse().expect("an address") };
        for (own, want) in [
            (&[][..], Families::Both),
            (&[ip("10.0.0.1")], Families::V4),
            (&[ip("fd00::1")], Families::V6),
            (&[ip("10.0.0.1"), ip("fd00::1")], Families::Both),
        ] {
            assert_eq!(Families::of(own), want, "{own:?}");
        }
        let gateway = |address: &str| NetworkGateway {
            address: Address::Socket(address.parse().expect("an address")),
            network: "n2".into(),
            cluster: "c2".into(),
        };
        let both = BTreeSet::from([gateway("192.0.2.1:15443"), gateway("[2001:db8::1]:15443")]);
        let passages = |families| Networks::of(&both, &"n1".into(), families).by_network.len();
        assert_eq!((passages(Families::V4), passages(Families::V6)), (1, 1));
        let six = BTreeSet::from([gateway("[2001:db8::1]:15443")]);
        assert!(Networks::of(&six, &"n1".into(), Families::V4).is_empty(), "a gateway of another family is none");
    }

    #[test]
    fn weights_are_scaled_by_the_lcm_of_counts_m38() {
        let rows: [(&[u32], u32); 4] = [(&[], 1), (&[1, 3, 1, 1, 2], 6), (&[4, 6], 12), (&[u32::MAX, 2], u32::MAX)];
        for (counts, want) in rows {
            assert_eq!(counts.iter().copied().fold(1, lcm), want, "{counts:?}");
        }
    }
}
