//! An object as it was asked for: metadata, a typed spec, and the place in the text that it came from.
//!
//! Age is order (G-1, G-30): creationTimestamp, then name, then namespace; file objects without a timestamp are aged by
//! path and position and count as younger than any that have one.

use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::name::ClusterId;

pub use crate::labels::{ByKey, Labels};

/// The kinds whose objects Isthmus takes part in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[expect(missing_docs, reason = "each variant is the kind of that name in the Kubernetes or Istio API")]
pub enum Kind {
    Gateway,
    VirtualService,
    DestinationRule,
    ServiceEntry,
    WorkloadEntry,
    WorkloadGroup,
    EnvoyFilter,
    Service,
    EndpointSlice,
    Pod,
    Node,
    Namespace,
    Secret,
}

impl Kind {
    /// The kind's name as it is written in YAML.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Gateway => "Gateway",
            Self::VirtualService => "VirtualService",
            Self::DestinationRule => "DestinationRule",
            Self::ServiceEntry => "ServiceEntry",
            Self::WorkloadEntry => "WorkloadEntry",
            Self::WorkloadGroup => "WorkloadGroup",
            Self::EnvoyFilter => "EnvoyFilter",
            Self::Service => "Service",
            Self::EndpointSlice => "EndpointSlice",
            Self::Pod => "Pod",
            Self::Node => "Node",
            Self::Namespace => "Namespace",
            Self::Secret => "Secret",
        }
    }
    /// True for kinds that live in no namespace.
    pub fn is_cluster_scoped(self) -> bool {
        matches!(self, Self::Node | Self::Namespace)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Which object: kind, namespace (empty where the kind has none), name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct ObjectRef {
    /// Its kind.
    pub kind: Kind,
    /// Its namespace, or "".
    pub namespace: Arc<str>,
    /// Its name.
    pub name: Arc<str>,
}

impl ObjectRef {
    /// Names an object.
    pub fn new(kind: Kind, namespace: impl Into<Arc<str>>, name: impl Into<Arc<str>>) -> Self {
        Self { kind, namespace: namespace.into(), name: name.into() }
    }
}

impl fmt::Display for ObjectRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.namespace.is_empty() { write!(f, "{} {}", self.kind, self.name) } else { write!(f, "{} {}/{}", self.kind, self.namespace, self.name) }
    }
}

/// A line and a column, both from 1. Zero lines mean "not known".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Spot {
    /// Line, from 1.
    pub line: u32,
    /// Column, from 1.
    pub column: u32,
}

/// Where in its file each field of one object stands: field path (`spec.http[2].match[0].uri`) to spot, sorted by path.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Spans(pub Box<[(Box<str>, Spot)]>);

impl Spans {
    /// Shared by all that point into the object; nothing where there is no spot.
    pub(crate) fn shared(self) -> Option<Arc<Self>> {
        (!self.0.is_empty()).then(|| Arc::new(self))
    }
    /// The spot of `path`, else of its nearest enclosing field.
    pub fn find(&self, path: &str) -> Option<Spot> {
        let mut path = path;
        loop {
            if let Ok(i) = self.0.binary_search_by(|(p, _)| (**p).cmp(path)) {
                return Some(self.0[i].1);
            }
            path = &path[..path.rfind(['.', '['])?];
        }
    }
}

/// Where an object came from. Cheap to clone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Origin {
    /// The cluster that holds the object; empty for files that belong to none.
    pub cluster: ClusterId,
    /// Path of the file as shown to people, or "" for an API server.
    pub file: Arc<str>,
    /// Which document of the file, from 0.
    pub position: u32,
    /// First line of the document.
    pub start: Spot,
    /// Spots of its fields; none for kinds that rules never point into, and for objects of API servers.
    pub spans: Option<Arc<Spans>>,
}

impl Origin {
    /// The spot of a field, else of the document's first line.
    pub fn spot(&self, path: &str) -> Spot {
        self.spans.as_ref().and_then(|spans| spans.find(path)).unwrap_or(self.start)
    }
}

/// What Kubernetes says of every object, as far as we use it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Meta {
    /// Its name.
    pub name: Arc<str>,
    /// Its namespace; "" for cluster-scoped kinds.
    pub namespace: Arc<str>,
    /// Labels.
    pub labels: Labels,
    /// Annotations.
    pub annotations: Labels,
    /// creationTimestamp in seconds since 1970.
    pub created: Option<i64>,
}

/// An object of a kind whose spec is `S`.
#[derive(Clone, Debug, PartialEq)]
pub struct Object<S> {
    /// Metadata.
    pub meta: Meta,
    /// What is asked.
    pub spec: S,
    /// Where it stands.
    pub origin: Origin,
}

impl<S> Object<S> {
    /// Order of age, oldest first (G-1).
    pub fn by_age(&self, other: &Self) -> Ordering {
        self.by_time(other).then_with(|| (&self.meta.name, &self.meta.namespace).cmp(&(&other.meta.name, &other.meta.namespace)))
    }

    /// The same, where those that came within one second are equal.
    pub fn by_time(&self, other: &Self) -> Ordering {
        let key = |o: &Self| (o.meta.created.is_none(), o.meta.created);
        key(self).cmp(&key(other)).then_with(|| match self.meta.created {
            None => (&self.origin.file, self.origin.position).cmp(&(&other.origin.file, other.origin.position)),
            Some(_) => Ordering::Equal,
        })
    }
}
