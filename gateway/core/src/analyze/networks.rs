//! Services some of whose endpoints are in another network and cannot be reached through its gateways (M-36, M-37).

use isthmus_config::problem::{Problem, Severity};

use super::{Scene, code};
use crate::balance::across::{told, unreachable};

pub(super) fn find(scene: &Scene<'_>, problems: &mut Vec<Problem>) {
    let gateway = &scene.world.gateway;
    let own = if gateway.network.is_empty() { "our network, which has no name".to_owned() } else { format!("network {}", gateway.network) };
    for (host, endpoints) in &scene.world.catalog.endpoints {
        let Some(service) = scene.world.catalog.services.get(host).filter(|s| s.export_to.includes(&gateway.namespace)) else { continue };
        let left_out = endpoints.iter().filter_map(|e| Some((&**e, unreachable(e, service.kind, gateway.mutual_tls)?)));
        for line in told(left_out) {
            let message = format!("left out of the {} endpoints of {host}, as seen from {own}: {line}", endpoints.len());
            problems.push(Problem::new(Severity::Warning, code::OTHER_NETWORK, message).of(service.object.clone(), &service.origin));
        }
    }
}
