//! A namespace: its labels, one of which may name the cluster's network (M-31).

use isthmus_config::kubernetes;
use isthmus_config::object::Object;
use isthmus_core::join::Namespace;

pub(super) fn fact(object: &Object<kubernetes::Namespace>) -> Namespace {
    Namespace { labels: object.meta.labels.clone() }
}
