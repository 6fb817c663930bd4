//! Gateways between networks: found anew when something that they are made of differs, and told to the endpoints that they lead to.

use std::net::IpAddr;
use std::sync::Arc;

use isthmus_config::name::{ClusterId, Hostname};
use isthmus_config::object::ObjectRef;
use isthmus_config::problem::{Problem, Severity};
use isthmus_core::join::gateways::{self, Networks, Unfit};
use isthmus_core::join::{self, Door, ServiceFact};
use tracing::info;

use super::Registry;

impl Registry {
    /// A Service came, went or changed that is or was a gateway.
    pub(super) fn touch_gateways(&mut self, id: &ClusterId, old: Option<&ServiceFact>, new: Option<&ServiceFact>) {
        let by_name = |s: &ServiceFact| {
            let mut named = self.mesh.gateways_by_service.iter().filter(|(cluster, ..)| cluster == id).peekable();
            named.peek().is_some() && named.any(|(_, _, host, _)| *host == self.host(&s.namespace, &s.name))
        };
        let is_one = |s: &&ServiceFact| s.names_network() || by_name(s);
        if [old, new].iter().flatten().any(is_one) {
            self.gateways_touched = true;
        }
    }

    /// Finds the gateways anew where they may differ, and touches the services with endpoints behind those that do. True where
    /// their names differ.
    pub(super) fn find_gateways(&mut self) -> bool {
        if !std::mem::take(&mut self.gateways_touched) {
            return false;
        }
        let found = gateways::find(&self.clusters, &self.mesh, &self.settings.gateway.domain, &self.gateway_answers);
        let networks = Networks::of(&found.gateways, &self.settings.gateway.network, self.settings.families);
        let renamed = found.names != self.gateways.names;
        if renamed {
            self.gateway_answers.retain(|name, _| found.names.contains(name));
        }
        if found.gateways != self.gateways.gateways {
            info!(gateways = found.gateways.len(), "gateways between networks differ");
        }
        self.gateways = found;
        if networks == self.networks {
            return renamed;
        }
        let before = std::mem::replace(&mut self.networks, networks);
        // One look at each endpoint: gateways differ seldom, and an index would be paid for by every change of an endpoint.
        let differs = |e: &Arc<isthmus_core::model::Endpoint>| before.passage(e) != self.networks.passage(e);
        let touched = self.world.catalog.endpoints.iter().filter(|(_, list)| list.iter().any(differs));
        let hosts: Vec<Hostname> = touched.map(|(host, _)| host.clone()).collect();
        self.backlog.extend(hosts);
        renamed
    }

    /// A gateway's last addresses stay when DNS knows its name no more (M-35).
    pub(super) fn resolve_gateway(&mut self, name: &Arc<str>, addresses: &Arc<[IpAddr]>) {
        if addresses.is_empty() || !self.gateways.names.contains(name) || self.gateway_answers.get(name) == Some(addresses) {
            return;
        }
        self.gateway_answers.insert(name.clone(), addresses.clone());
        self.gateways_touched = true;
    }

    /// How our own listeners are reached from outside our cluster.
    pub fn doors(&self) -> Vec<Door> {
        let gateway = &self.settings.gateway;
        self.clusters.iter().find(|c| c.id == gateway.cluster).map(|cluster| join::doors(cluster, gateway)).unwrap_or_default()
    }

    /// Services that were meant to be gateways and are none: endpoints of their network count as direct (M-36, Ex 60); and clusters
    /// that only meshNetworks knows.
    pub(super) fn network_problems(&self) -> impl Iterator<Item = Problem> {
        let unknown = self.mesh.networks_by_cluster.iter().filter(|(cluster, _)| !self.settings.clusters.contains(*cluster));
        let unknown = unknown.map(|(cluster, network)| {
            let message = format!("network {network}: fromRegistry names the cluster {cluster}, and there is none of that name");
            Problem::new(Severity::Warning, "IST0126", message).at(format!("mesh.meshNetworks.{network}.endpoints"))
        });
        let direct = |unfit: &Unfit| !self.gateways.gateways.iter().any(|g| g.network == unfit.network);
        unknown.chain(self.gateways.unfit.iter().map(move |unfit| {
            let network = &unfit.network;
            let left = if direct(unfit) { format!("; {network} has no other, so its endpoints are dialled directly") } else { String::new() };
            let message = format!("labelled with the network {network}, but no gateway of it: {}{left}", unfit.lacks);
            let object: ObjectRef = unfit.object.clone();
            Problem::new(Severity::Warning, "ISM0208", message).of(object, &unfit.origin).at("metadata.labels")
        }))
    }
}
