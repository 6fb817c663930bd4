//! A node: where it stands (L-2), and how its ports are reached from outside (M-34).

use std::net::IpAddr;
use std::sync::Arc;

use isthmus_config::kubernetes;
use isthmus_config::object::{Kind, Labels, Object, ObjectRef};
use isthmus_config::problem::{Problem, Severity};
use isthmus_core::join::{Node, locality};

pub(super) fn fact(object: &Object<kubernetes::Node>) -> Node {
    let addresses = |texts: &[Arc<str>]| texts.iter().filter_map(|ip| ip.parse().ok()).collect::<Box<[IpAddr]>>();
    let (external_ips, internal_ips) = (addresses(&object.spec.external_ips), addresses(&object.spec.internal_ips));
    let labels = if external_ips.is_empty() { Labels::new() } else { object.meta.labels.clone() };
    Node { locality: locality::of_node(&object.meta.labels), external_ips, internal_ips, labels }
}

/// A node that stands somewhere, but in no region: no locality rule that names a region ever matches there (L-2, L-7).
pub(super) fn without_region(object: &Object<kubernetes::Node>) -> Option<Problem> {
    let labels = &object.meta.labels;
    let place = locality::of_node(labels);
    let meant = labels.iter().find(|(key, _)| key.ends_with("/region"));
    if !place.region().is_empty() || (place.is_empty() && meant.is_none()) {
        return None;
    }
    let found = meant.map(|(key, value)| format!("; {key}={value} is no label that counts")).unwrap_or_default();
    let message = format!("the node has no region, its locality is {place}: no rule that names a region matches{found}");
    let name = ObjectRef::new(Kind::Node, "", object.meta.name.clone());
    let problem = Problem::new(Severity::Warning, "ISM0205", message).of(name, &object.origin).at("metadata.labels");
    Some(problem.hint("label it topology.kubernetes.io/region"))
}

#[cfg(test)]
mod tests {
    use isthmus_config::object::Meta;

    use super::*;

    #[test]
    fn a_node_without_a_region_is_told_of_l2() {
        for (labels, told) in [
            (&[("kubernetes.io/region", "r1"), ("topology.kubernetes.io/zone", "z1")][..], true),
            (&[("topology.kubernetes.io/zone", "z1")], true),
            (&[("kubernetes.io/region", "r1")], true),
            (&[("topology.kubernetes.io/region", "r1")], false),
            (&[("failure-domain.beta.kubernetes.io/region", "r1")], false),
            (&[("kubernetes.io/hostname", "n1")], false),
        ] {
            let labels = labels.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect();
            let node =
                Object { meta: Meta { name: "n1".into(), labels, ..Meta::default() }, spec: kubernetes::Node::default(), origin: Default::default() };
            assert_eq!(without_region(&node).is_some(), told, "{:?}", node.meta.labels);
        }
    }
}
