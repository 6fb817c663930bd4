//! An EndpointSlice: addresses and what is said of their health (M-10..M-17).

use std::sync::Arc;

use isthmus_config::kubernetes::{EndpointSlice, SliceEndpoint as Written};
use isthmus_config::object::{Kind, Object, ObjectRef};
use isthmus_core::join::{Condition, SliceEndpoint, SliceFact};

use super::Interner;

const SERVICE: &str = "kubernetes.io/service-name";
const MULTICLUSTER_SERVICE: &str = "multicluster.kubernetes.io/service-name";

/// `None` for slices of names or of multi-cluster services (M-16), and for those that belong to no service.
pub(super) fn fact(object: &Object<EndpointSlice>, interner: &mut Interner) -> Option<SliceFact> {
    let (meta, slice) = (&object.meta, &object.spec);
    if &*slice.address_type == "FQDN" || meta.labels.contains_key(MULTICLUSTER_SERVICE) {
        return None;
    }
    let namespace = interner.text(&meta.namespace);
    let service = interner.text(meta.labels.get(SERVICE).filter(|s| !s.is_empty())?);
    let ports = slice.ports.iter().filter_map(|p| Some((interner.text(&p.name), p.port.filter(|n| *n > 0)?))).collect();
    let endpoints = slice.endpoints.iter().flat_map(|e| endpoints(e, interner)).collect();
    Some(SliceFact { object: Arc::new(ObjectRef::new(Kind::EndpointSlice, namespace, meta.name.clone())), service, ports, endpoints })
}

fn endpoints(written: &Written, interner: &mut Interner) -> Vec<SliceEndpoint> {
    let conditions = written.conditions;
    let condition = Condition { ready: conditions.ready, serving: conditions.serving, terminating: conditions.terminating };
    let pod = written.target_ref.as_ref().filter(|t| &*t.kind == "Pod").map(|t| interner.text(&t.name));
    let node = (!written.node_name.is_empty()).then(|| interner.text(&written.node_name));
    let addresses = written.addresses.iter().filter_map(|a| a.parse().ok());
    addresses.map(|address| SliceEndpoint { address, condition, pod: pod.clone(), node: node.clone() }).collect()
}
