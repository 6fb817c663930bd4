//! A pod: its labels, node and named ports.

use isthmus_config::kubernetes::Pod;
use isthmus_config::object::Object;
use isthmus_core::join::PodFact;
use isthmus_core::model::NamedPort;

use super::Interner;

/// `None` for a failed pod, which nobody watches (M-17).
pub(super) fn fact(object: &Object<Pod>, interner: &mut Interner) -> Option<PodFact> {
    let (meta, pod) = (&object.meta, &object.spec);
    if &*pod.phase == "Failed" {
        return None;
    }
    let named = pod.ports.iter().filter(|p| !p.name.is_empty());
    let ports = named.map(|p| NamedPort { name: interner.text(&p.name), port: p.container_port }).collect();
    Some(PodFact {
        name: meta.name.clone(),
        kin: interner.kin(&meta.namespace, &meta.labels, &pod.service_account_name, ports),
        addresses: pod.ips.iter().filter_map(|ip| ip.parse().ok()).collect(),
        node: interner.text(&pod.node_name),
        ready: pod.ready == Some(true) && &*pod.phase != "Succeeded" && !pod.leaving,
    })
}
