//! One object of a file: of a kind that we read, or a bystander.

use std::sync::Arc;

use crate::istio::{DestinationRule, EnvoyFilter, Gateway, ServiceEntry, VirtualService, WorkloadEntry, WorkloadGroup};
use crate::kubernetes;
use crate::object::{Kind, Meta, Object, ObjectRef, Origin};

/// One object of a file.
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "each variant holds the kind of its name")]
pub enum Document {
    Gateway(Arc<Object<Gateway>>),
    VirtualService(Arc<Object<VirtualService>>),
    DestinationRule(Arc<Object<DestinationRule>>),
    ServiceEntry(Arc<Object<ServiceEntry>>),
    WorkloadEntry(Arc<Object<WorkloadEntry>>),
    WorkloadGroup(Arc<Object<WorkloadGroup>>),
    EnvoyFilter(Arc<Object<EnvoyFilter>>),
    Service(Arc<Object<kubernetes::Service>>),
    EndpointSlice(Arc<Object<kubernetes::EndpointSlice>>),
    Pod(Arc<Object<kubernetes::Pod>>),
    Node(Arc<Object<kubernetes::Node>>),
    Namespace(Arc<Object<kubernetes::Namespace>>),
    Secret(Arc<Object<kubernetes::Secret>>),
    /// Istio would enforce it at this gateway and we do not: a warning each.
    Unenforced(Arc<Bystander>),
    /// A kind that lives beside the rules.
    NotUsed(Arc<Bystander>),
}

/// An object of a kind that we do not read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bystander {
    /// Group and version.
    pub api_version: Arc<str>,
    /// Its kind.
    pub kind: Arc<str>,
    /// Its name and namespace; nothing else is read.
    pub meta: Meta,
    /// Where it stands.
    pub origin: Origin,
}

impl Document {
    /// Kind, namespace and name; `None` for kinds that we do not read.
    pub fn reference(&self) -> Option<ObjectRef> {
        let kind = match self {
            Self::Gateway(_) => Kind::Gateway,
            Self::VirtualService(_) => Kind::VirtualService,
            Self::DestinationRule(_) => Kind::DestinationRule,
            Self::ServiceEntry(_) => Kind::ServiceEntry,
            Self::WorkloadEntry(_) => Kind::WorkloadEntry,
            Self::WorkloadGroup(_) => Kind::WorkloadGroup,
            Self::EnvoyFilter(_) => Kind::EnvoyFilter,
            Self::Service(_) => Kind::Service,
            Self::EndpointSlice(_) => Kind::EndpointSlice,
            Self::Pod(_) => Kind::Pod,
            Self::Node(_) => Kind::Node,
            Self::Namespace(_) => Kind::Namespace,
            Self::Secret(_) => Kind::Secret,
            Self::Unenforced(_) | Self::NotUsed(_) => return None,
        };
        Some(ObjectRef { kind, namespace: self.meta().namespace.clone(), name: self.meta().name.clone() })
    }

    /// The object's metadata.
    pub fn meta(&self) -> &Meta {
        self.header().0
    }

    /// The same to be changed, while nobody shares the object.
    pub fn meta_mut(&mut self) -> Option<&mut Meta> {
        match self {
            Self::Gateway(o) => Arc::get_mut(o).map(|o| &mut o.meta),
            Self::VirtualService(o) => Arc::get_mut(o).map(|o| &mut o.meta),
            Self::DestinationRule(o) => Arc::get_mut(o).map(|o| &mut o.meta),
            Self::ServiceEntry(o) => Arc::get_mut(o).map(|o| &mut o.meta),
            Self::WorkloadEntry(o) => Arc::get_mut(o).map(|o| &mut o.meta),
            Self::WorkloadGroup(o) => Arc::get_mut(o).map(|o| &mut o.meta),
            Self::EnvoyFilter(o) => Arc::get_mut(o).map(|o| &mut o.meta),
            Self::Service(o) => Arc::get_mut(o).map(|o| &mut o.meta),
            Self::EndpointSlice(o) => Arc::get_mut(o).map(|o| &mut o.meta),
            Self::Pod(o) => Arc::get_mut(o).map(|o| &mut o.meta),
            Self::Node(o) => Arc::get_mut(o).map(|o| &mut o.meta),
            Self::Namespace(o) => Arc::get_mut(o).map(|o| &mut o.meta),
            Self::Secret(o) => Arc::get_mut(o).map(|o| &mut o.meta),
            Self::Unenforced(o) | Self::NotUsed(o) => Arc::get_mut(o).map(|o| &mut o.meta),
        }
    }

    /// Where the object stands.
    pub fn origin(&self) -> &Origin {
        self.header().1
    }

    fn header(&self) -> (&Meta, &Origin) {
        match self {
            Self::Gateway(o) => (&o.meta, &o.origin),
            Self::VirtualService(o) => (&o.meta, &o.origin),
            Self::DestinationRule(o) => (&o.meta, &o.origin),
            Self::ServiceEntry(o) => (&o.meta, &o.origin),
            Self::WorkloadEntry(o) => (&o.meta, &o.origin),
            Self::WorkloadGroup(o) => (&o.meta, &o.origin),
            Self::EnvoyFilter(o) => (&o.meta, &o.origin),
            Self::Service(o) => (&o.meta, &o.origin),
            Self::EndpointSlice(o) => (&o.meta, &o.origin),
            Self::Pod(o) => (&o.meta, &o.origin),
            Self::Node(o) => (&o.meta, &o.origin),
            Self::Namespace(o) => (&o.meta, &o.origin),
            Self::Secret(o) => (&o.meta, &o.origin),
            Self::Unenforced(o) | Self::NotUsed(o) => (&o.meta, &o.origin),
        }
    }
}
