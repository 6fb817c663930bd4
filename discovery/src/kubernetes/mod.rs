//! From objects as they are written to facts as joining reads them; shared by files and API servers.

mod intern;
mod namespace;
mod node;
mod pod;
mod service;
mod slice;

use std::sync::Arc;

use isthmus_config::parse::Document;
use isthmus_config::problem::Problem;

use crate::source::Fact;

pub use intern::Interner;

/// What is worth knowing of an object that is read as it is.
pub(crate) fn remark(document: &Document) -> Option<Problem> {
    if let Document::Node(node) = document {
        node::without_region(node)
    } else if let Document::EndpointSlice(slice) = document {
        slice::of_names(slice)
    } else {
        None
    }
}

/// What an object says, or `None` where it says nothing to a gateway: a failed pod (M-17), a slice of names (M-16), a secret.
pub fn fact(mut document: Document, interner: &mut Interner) -> Option<Fact> {
    match &document {
        Document::Service(o) => Some(Fact::Service(service::fact(o, interner))),
        Document::EndpointSlice(o) => slice::fact(o, interner).map(|f| Fact::Slice(Arc::new(f))),
        Document::Pod(o) => pod::fact(o, interner).map(|f| Fact::Pod(Arc::new(f))),
        Document::Node(o) => Some(Fact::Node(o.meta.name.clone(), Box::new(node::fact(o)))),
        Document::Namespace(o) => Some(Fact::Namespace(o.meta.name.clone(), Box::new(namespace::fact(o)))),
        Document::Gateway(_)
        | Document::VirtualService(_)
        | Document::DestinationRule(_)
        | Document::ServiceEntry(_)
        | Document::WorkloadEntry(_)
        | Document::WorkloadGroup(_)
        | Document::EnvoyFilter(_) => {
            if let Some(meta) = document.meta_mut() {
                interner.meta(meta);
            }
            document.reference().map(|object| Fact::Istio(object, document))
        }
        Document::Secret(_) | Document::Unenforced(_) | Document::NotUsed(_) => None,
    }
}
