//! A node: where it stands (L-2).

use isthmus_config::kubernetes;
use isthmus_config::object::Object;
use isthmus_core::join::{Node, locality};

pub(super) fn fact(object: &Object<kubernetes::Node>) -> Node {
    Node { locality: locality::of_node(&object.meta.labels) }
}
