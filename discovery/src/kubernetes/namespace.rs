//! A namespace: its labels, one of which may name the cluster's network (M-31), and what it asks for its services (L-25).

use isthmus_config::kubernetes;
use isthmus_config::object::Object;
use isthmus_core::join::Namespace;
use isthmus_core::model::Distribution;

pub(super) fn fact(object: &Object<kubernetes::Namespace>) -> Namespace {
    Namespace { labels: object.meta.labels.clone(), distribution: Distribution::annotated(&object.meta.annotations).flatten() }
}
