//! The one TCP route that a VirtualService offers to a TCP server (G-45, V-72).

use std::sync::Arc;

use isthmus_config::istio::virtual_service::{L4MatchAttributes, VirtualService};
use isthmus_config::object::Object;

use super::fragments::Making;
use super::report::code;
use super::routes::{through, weight};
use crate::route::HeaderEdits;
use crate::snapshot::{Destination, Destinations, RuleOrigin, TcpFront};

/// Compiles the first `tcp` rule that matches port and gateway.
pub(super) fn compile(making: &mut Making<'_>, root: &Arc<Object<VirtualService>>) {
    let namespace = &root.meta.namespace;
    for (i, tcp) in root.spec.tcp.iter().enumerate() {
        let path: Arc<str> = format!("spec.tcp[{i}]").into();
        let origin = RuleOrigin { source: root.clone(), path: path.clone(), root: None };
        let mut blocks = tcp.r#match.iter().enumerate();
        let Some(at) =
            blocks.find(|(_, block)| admits(making, block, namespace)).map(|(m, _)| Some(m)).or_else(|| tcp.r#match.is_empty().then_some(None))
        else {
            continue;
        };
        if let Some(m) = at {
            for (field, set) in
                [("destinationSubnets", !tcp.r#match[m].destination_subnets.is_empty()), ("sourceSubnet", !tcp.r#match[m].source_subnet.is_empty())]
            {
                if set {
                    making.tell(&origin, format!("{path}.match[{m}].{field}"), code::NOT_YET, format!("not in force yet: matching on {field}"));
                }
            }
        }
        let list: Vec<Destination> = tcp
            .route
            .iter()
            .map(|route| {
                let found = making.find(&route.destination, namespace);
                let edits = HeaderEdits::default;
                let weight = weight(route.weight);
                Destination { weight, key: found.key, slot: found.slot, request_headers: edits(), response_headers: edits(), hash: found.hash }
            })
            .collect();
        making.fragment.tcp = Some(Arc::new(TcpFront { rule: origin, destinations: Destinations::new(list) }));
        return;
    }
}

fn admits(making: &Making<'_>, block: &L4MatchAttributes, namespace: &Arc<str>) -> bool {
    (block.port == 0 || block.port == u32::from(making.key.port))
        && through(making, &block.gateways, &block.source_labels, &block.source_namespace, namespace)
}
