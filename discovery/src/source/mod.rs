//! Where facts come from, and the one language in which every source tells them.
//!
//! A partition is one kind of object of one source. A source that lists says `Init`, then `Apply` for each object, then
//! `InitDone`; what was known before and was not applied in between is gone at `InitDone`, and not earlier. Between lists
//! it says `Apply` and `Delete`. `Lost` takes nothing away: what is known goes stale, not empty.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use isthmus_config::mesh::MeshConfig;
use isthmus_config::name::ClusterId;
use isthmus_config::object::{Kind, ObjectRef, Origin};
use isthmus_config::parse::Document;
use isthmus_config::problem::Problem;
use isthmus_core::join::{Namespace, Node, PodFact, ServiceFact, SliceFact};

use crate::probe::{Entry, Verdict};

pub(crate) mod dns;
pub mod file;
pub(crate) mod kube;
pub(crate) mod members;
pub(crate) mod mesh;

/// Who tells: what the files or the API server of one cluster hold.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SourceId(pub ClusterId, pub Via);

/// By which way a cluster is read. The config cluster may be read both ways at once. `Ord`: whose version of an object
/// counts where both give one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Via {
    /// Files laid over it to see what they would do.
    Overlay,
    /// Its API server.
    Server,
    /// Directories and files.
    Files,
}

impl fmt::Display for SourceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What disk has kept of an API server is of this generation, so that whatever the server says counts as newer.
pub(crate) const RESTORED: u64 = 1;

/// One kind of one source. Events of an older generation than the last `Init` are late and count for nothing.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Partition {
    /// Who tells.
    pub source: SourceId,
    /// Of which kind.
    pub kind: Kind,
    /// Counts the lives of the source.
    pub generation: u64,
}

/// One object as the registry takes it. Files hold one for each of theirs, so what few of them are is in boxes.
#[derive(Clone, Debug, PartialEq)]
pub enum Fact {
    /// An object of Istio's kinds, not yet judged by the admission rules.
    Istio(ObjectRef, Document),
    /// A Service.
    Service(Arc<ServiceFact>),
    /// An EndpointSlice that belongs to a service.
    Slice(Arc<SliceFact>),
    /// A pod.
    Pod(Arc<PodFact>),
    /// A node by name.
    Node(Arc<str>, Box<Node>),
    /// A namespace by name.
    Namespace(Arc<str>, Box<Namespace>),
}

impl Fact {
    /// Which object it is.
    pub fn reference(&self) -> Arc<ObjectRef> {
        match self {
            Self::Istio(object, _) => Arc::new(object.clone()),
            Self::Service(s) => Arc::new(ObjectRef::new(Kind::Service, s.namespace.clone(), s.name.clone())),
            Self::Slice(s) => s.object.clone(),
            Self::Pod(p) => Arc::new(ObjectRef::new(Kind::Pod, p.kin.namespace.clone(), p.name.clone())),
            Self::Node(name, _) => Arc::new(ObjectRef::new(Kind::Node, "", name.clone())),
            Self::Namespace(name, _) => Arc::new(ObjectRef::new(Kind::Namespace, "", name.clone())),
        }
    }

    /// Where it is written, if it says so itself.
    pub(crate) fn origin(&self) -> Option<&Origin> {
        match self {
            Self::Istio(_, document) => Some(document.origin()),
            Self::Service(service) => service.origin.as_deref(),
            Self::Slice(_) | Self::Pod(_) | Self::Node(..) | Self::Namespace(..) => None,
        }
    }
}

/// What a source tells.
#[derive(Clone, Debug)]
pub enum Event {
    /// A list begins.
    Init(Partition),
    /// An object is, or is now, so.
    Apply(Partition, Fact),
    /// An object is gone.
    Delete(Partition, ObjectRef),
    /// An object is there and cannot be read: its last good version stays in force.
    Kept(Partition, ObjectRef),
    /// The list is complete: what it did not name is gone.
    InitDone(Partition),
    /// After `Lost`: changes arrive again from where they stopped, and none was missed.
    Resumed(Partition),
    /// The source cannot be read any more; what is known stays.
    Lost(Partition, String),
    /// A cluster that isthmus.yaml does not name is read from now on: the remote secret that names it (M-20).
    Joined(ClusterId, Arc<str>),
    /// An Istio object stands in a member, where it is not read (M-26); `None` when it is gone.
    Copy(SourceId, ObjectRef, Option<Document>),
    /// The source is not asked for any more; all that it told is gone.
    Removed(SourceId),
    /// What is wrong in a file; it replaces what was said of that file before.
    Problems(SourceId, Arc<str>, Vec<Problem>),
    /// The addresses of a name, the one to dial first in front; none where DNS knows no such name any more.
    Resolved(Arc<str>, Arc<[IpAddr]>),
    /// The mesh-wide settings are now these.
    Mesh(Arc<MeshConfig>),
    /// What probing has found of a WorkloadEntry at this address.
    Probed(Entry, Arc<str>, Verdict),
}

/// Events that belong together: nobody sees the world between two of them.
pub type Batch = Vec<Event>;

/// How far a partition is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Status {
    /// Listed, and changes arrive.
    Live,
    /// Its first list is not complete.
    Syncing,
    /// It was listed and cannot be read any more; what it told is in force.
    Stale {
        /// Since when.
        since: Instant,
        /// Why.
        reason: String,
    },
    /// It was never listed, and why not.
    Failed(String),
}
