//! Which network an endpoint is in (M-31, M-32).
//!
//! Replacing endpoints of other networks by those networks' gateways (M-33..M-39) is not done here.

use std::net::IpAddr;

use isthmus_config::name::Network;
use isthmus_config::object::Labels;

use super::cluster::Cluster;
use super::facts::Mesh;
use crate::model::NETWORK;

/// A pod's network: its label, else the label of the cluster's system namespace, else meshNetworks (M-31).
pub fn of_pod(labels: &Labels, address: Option<IpAddr>, cluster: &Cluster, mesh: &Mesh) -> Network {
    match labels.get(NETWORK).filter(|n| !n.is_empty()) {
        Some(label) => Network::new(label.clone()),
        None => of_cluster(address, cluster, mesh),
    }
}

/// What stands in where a workload names no network itself (M-31, M-32).
pub fn of_cluster(address: Option<IpAddr>, cluster: &Cluster, mesh: &Mesh) -> Network {
    if let Some(label) = of_system_namespace(cluster, mesh) {
        return label;
    }
    if let Some(network) = mesh.networks_by_cluster.get(&cluster.id) {
        return network.clone();
    }
    let within = |range: &&(IpAddr, u8, Network)| address.is_some_and(|a| contains(range.0, range.1, a));
    mesh.networks_by_range.iter().find(within).map(|(_, _, network)| network.clone()).unwrap_or_default()
}

/// The network that the label of the cluster's system namespace names.
pub fn of_system_namespace(cluster: &Cluster, mesh: &Mesh) -> Option<Network> {
    let namespace = cluster.namespaces.get(&mesh.root_namespace)?;
    namespace.labels.get(NETWORK).filter(|n| !n.is_empty()).map(|n| Network::new(n.clone()))
}

fn contains(base: IpAddr, prefix: u8, address: IpAddr) -> bool {
    match (base, address) {
        (IpAddr::V4(b), IpAddr::V4(a)) => shifted(u32::from(b).into(), prefix, 32) == shifted(u32::from(a).into(), prefix, 32),
        (IpAddr::V6(b), IpAddr::V6(a)) => shifted(b.into(), prefix, 128) == shifted(a.into(), prefix, 128),
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
    }
}

fn shifted(bits: u128, prefix: u8, width: u8) -> u128 {
    bits.checked_shr(u32::from(width.saturating_sub(prefix))).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::facts::Namespace;
    use super::*;

    #[test]
    fn labels_beat_the_system_namespace_beats_mesh_networks_m31() {
        let mut cluster = Cluster::new("c1".into());
        let mut mesh = Mesh { root_namespace: "istio-system".into(), ..Mesh::default() };
        let address = "10.1.2.3".parse().ok();
        let none = Labels::new();
        assert_eq!(of_pod(&none, address, &cluster, &mesh).as_str(), "");
        mesh.networks_by_range =
            vec![("10.2.0.0".parse().expect("an address"), 16, "b".into()), ("10.1.0.0".parse().expect("an address"), 16, "range".into())];
        assert_eq!(of_pod(&none, address, &cluster, &mesh).as_str(), "range");
        mesh.networks_by_cluster.insert("c1".into(), "registry".into());
        assert_eq!(of_pod(&none, address, &cluster, &mesh).as_str(), "registry");
        let label = |n: &str| Labels::from([(Arc::from(NETWORK), Arc::from(n))]);
        cluster.namespaces.insert("istio-system".into(), Namespace { labels: label("system"), ..Namespace::default() });
        assert_eq!(of_pod(&none, address, &cluster, &mesh).as_str(), "system");
        assert_eq!(of_pod(&label("own"), address, &cluster, &mesh).as_str(), "own");
    }

    #[test]
    fn a_range_of_no_bits_holds_everything_of_its_family() {
        let ip = |t: &str| -> IpAddr { t.parse().expect("an address") };
        assert!(contains(ip("0.0.0.0"), 0, ip("1.2.3.4")));
        assert!(!contains(ip("0.0.0.0"), 0, ip("::1")));
        assert!(contains(ip("::"), 0, ip("::1")));
        assert!(!contains(ip("10.0.0.0"), 8, ip("11.0.0.1")));
    }
}
