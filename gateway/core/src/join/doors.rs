//! How our own listeners are reached from outside: the Services of our cluster that select us (G-2, M-34).

use std::net::IpAddr;
use std::sync::Arc;

use super::cluster::Cluster;
use super::facts::{Node, ServiceFact};
use super::service_entry::selects;
use crate::model::{GatewayIdentity, TargetPort};

/// A port of a Service that leads to us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Door {
    /// The Service's port.
    pub port: u16,
    /// Where it leads.
    pub target: TargetPort,
    /// Addresses or names, and the port there.
    pub addresses: Vec<(Arc<str>, u16)>,
}

impl Door {
    /// True where it leads to the socket on `listening`, whose servers ask for `servers`.
    pub fn leads_to(&self, listening: u16, servers: &[u16]) -> bool {
        match &self.target {
            TargetPort::Same => self.port == listening,
            TargetPort::Number(target) => *target == listening,
            TargetPort::Name(_) => servers.contains(&self.port),
        }
    }
}

/// Every port by which `gateway` is reached from outside its cluster.
pub fn doors(cluster: &Cluster, gateway: &GatewayIdentity) -> Vec<Door> {
    let ours = |s: &&Arc<ServiceFact>| !s.selector.is_empty() && selects(&s.selector, &gateway.labels);
    let services = cluster.services().within(&gateway.namespace).map(|(_, service)| service).filter(ours);
    services.flat_map(|service| of_service(cluster, service)).collect()
}

fn of_service(cluster: &Cluster, service: &ServiceFact) -> Vec<Door> {
    let Some(outside) = &service.outside else { return Vec::new() };
    let door = |port: &crate::model::Port| {
        let mut addresses: Vec<(Arc<str>, u16)> = outside.addresses.iter().map(|a| (a.clone(), port.number)).collect();
        if let Some((_, node_port)) = outside.node_ports.iter().find(|(number, _)| *number == port.number) {
            addresses.extend(nodes(cluster).into_iter().map(|ip| (ip.to_string().into(), *node_port)));
        }
        Door { port: port.number, target: port.target.clone(), addresses }
    };
    service.ports.iter().map(door).filter(|d| !d.addresses.is_empty()).collect()
}

/// The addresses of all nodes: their ExternalIPs, or where none of them has one, their InternalIPs.
fn nodes(cluster: &Cluster) -> Vec<IpAddr> {
    let all = |of: fn(&Node) -> &[IpAddr]| cluster.nodes.values().flat_map(of).copied().collect::<Vec<_>>();
    let external = all(|node| &node.external_ips);
    if external.is_empty() { all(|node| &node.internal_ips) } else { external }
}
