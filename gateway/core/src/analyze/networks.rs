//! Services some of whose endpoints are in another network and cannot be reached through its gateways (M-36, M-37).

use isthmus_config::problem::{Problem, Severity};

use super::{Scene, code};
use crate::balance::across::{counted, unreachable};

pub(super) fn find(scene: &Scene<'_>, problems: &mut Vec<Problem>) {
    let gateway = &scene.world.gateway;
    let own = if gateway.network.is_empty() { "ours, which has no name,".to_owned() } else { format!("network {}", gateway.network) };
    for (host, endpoints) in &scene.world.catalog.endpoints {
        let Some(service) = scene.world.catalog.services.get(host).filter(|s| s.export_to.includes(&gateway.namespace)) else { continue };
        let left_out = endpoints.iter().filter_map(|e| Some((&**e, unreachable(e, service.kind, gateway.mutual_tls)?)));
        for ((network, gateways, reason), count) in counted(left_out) {
            let message = format!(
                "{count} of {} endpoints of {host} are left out: from {own} they are reached only through the gateways of network {network} ({gateways}), {reason}",
                endpoints.len()
            );
            problems.push(Problem::new(Severity::Warning, code::OTHER_NETWORK, message).of(service.object.clone(), &service.origin));
        }
    }
}
