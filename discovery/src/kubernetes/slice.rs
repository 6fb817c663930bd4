//! An EndpointSlice: addresses and what is said of their health (M-10..M-17).

use std::sync::Arc;

use isthmus_config::kubernetes::{EndpointSlice, SliceEndpoint as Written};
use isthmus_config::object::{Kind, Object, ObjectRef};
use isthmus_config::problem::{Problem, Severity};
use isthmus_core::join::{Condition, SliceEndpoint, SliceFact};
use isthmus_core::model::NamedPort;

use super::Interner;

/// The address type of a slice that holds names.
const NAMES: &str = "FQDN";
const SERVICE: &str = "kubernetes.io/service-name";
const MULTICLUSTER_SERVICE: &str = "multicluster.kubernetes.io/service-name";

/// `None` for slices of names or of multi-cluster services (M-16), and for those that belong to no service.
pub(super) fn fact(object: &Object<EndpointSlice>, interner: &mut Interner) -> Option<SliceFact> {
    let (meta, slice) = (&object.meta, &object.spec);
    if &*slice.address_type == NAMES || meta.labels.contains_key(MULTICLUSTER_SERVICE) {
        return None;
    }
    let namespace = interner.text(&meta.namespace);
    let service = interner.text(meta.labels.get(SERVICE).filter(|s| !s.is_empty())?);
    let ports = slice.ports.iter().filter_map(|p| Some(NamedPort { name: interner.text(&p.name), port: p.port.filter(|n| *n > 0)? })).collect();
    let ports = interner.ports(ports);
    let endpoints = slice.endpoints.iter().flat_map(|e| endpoints(e, interner)).collect();
    Some(SliceFact { object: Arc::new(ObjectRef::new(Kind::EndpointSlice, namespace, meta.name.clone())), service, ports, endpoints })
}

/// A slice of names: no gateway of Istio's takes it for endpoints (M-16).
pub(super) fn of_names(object: &Object<EndpointSlice>) -> Option<Problem> {
    if &*object.spec.address_type != NAMES {
        return None;
    }
    let name = ObjectRef::new(Kind::EndpointSlice, object.meta.namespace.clone(), object.meta.name.clone());
    let problem = Problem::new(Severity::Info, "ISM0209", "not used: its addresses are names (FQDN)").of(name, &object.origin).at("addressType");
    Some(problem.hint("a ServiceEntry with resolution DNS serves names"))
}

fn endpoints(written: &Written, interner: &mut Interner) -> Vec<SliceEndpoint> {
    let conditions = written.conditions;
    let condition = Condition { ready: conditions.ready, serving: conditions.serving, terminating: conditions.terminating };
    let pod = written.target_ref.as_ref().filter(|t| &*t.kind == "Pod").map(|t| t.name.clone());
    let node = (!written.node_name.is_empty()).then(|| interner.text(&written.node_name));
    let addresses = written.addresses.iter().filter_map(|a| a.parse().ok());
    addresses.map(|address| SliceEndpoint { address, condition, pod: pod.clone(), node: node.clone() }).collect()
}
