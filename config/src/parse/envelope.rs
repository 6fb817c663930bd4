//! What stands around every spec: metadata as it is written, and the identity of an object that is broken.

use std::sync::Arc;

use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::decode::Misfit;
use crate::kubernetes;
use crate::locate::Node;
use crate::object::{Kind, Labels, Meta, ObjectRef};

/// An Istio object as it is written. Unknown fields beside these are refused.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Envelope<S> {
    api_version: IgnoredAny,
    kind: IgnoredAny,
    pub(super) metadata: Metadata,
    pub(super) spec: Option<S>,
    status: IgnoredAny,
}

impl<S> Default for Envelope<S> {
    fn default() -> Self {
        Self { api_version: IgnoredAny, kind: IgnoredAny, metadata: Metadata::default(), spec: None, status: IgnoredAny }
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct EntryStatus {
    pub(super) conditions: Vec<kubernetes::Condition>,
}

/// Metadata as it is written; what Kubernetes keeps here for itself is named, so that strict reading knows it.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Metadata {
    name: Arc<str>,
    namespace: Arc<str>,
    labels: Labels,
    annotations: Labels,
    creation_timestamp: String,
    generate_name: IgnoredAny,
    uid: IgnoredAny,
    resource_version: IgnoredAny,
    generation: IgnoredAny,
    deletion_timestamp: IgnoredAny,
    deletion_grace_period_seconds: IgnoredAny,
    owner_references: IgnoredAny,
    finalizers: IgnoredAny,
    managed_fields: IgnoredAny,
    self_link: IgnoredAny,
}

impl Metadata {
    pub(super) fn read(self, kind: Kind, misfits: &mut Vec<Misfit>) -> Option<Meta> {
        let mut misfit = |path: &str, message: String| misfits.push(Misfit::at(path, message));
        if self.name.is_empty() {
            misfit("metadata.name", "expected a name, found none".to_owned());
            return None;
        }
        let created = match self.creation_timestamp.as_str() {
            "" => None,
            text => match text.parse::<jiff::Timestamp>() {
                Ok(time) => Some(time.as_second()),
                Err(_) => {
                    misfit("metadata.creationTimestamp", format!("expected a time such as 2024-05-01T12:00:00Z, found {text:?}"));
                    None
                }
            },
        };
        let mut annotations = self.annotations;
        // kubectl keeps a copy of the whole object here.
        annotations.remove("kubectl.kubernetes.io/last-applied-configuration");
        Some(Meta { namespace: namespace(kind, &self.namespace), name: self.name, labels: self.labels, annotations, created })
    }
}

/// Which object this is, as far as it can be told from a broken one.
pub(super) fn identity(node: &Node<'_>, kind: Kind) -> Option<ObjectRef> {
    let text = |key| node.get("metadata").and_then(|m| m.get(key)).and_then(Node::text);
    Some(ObjectRef::new(kind, namespace(kind, text("namespace").unwrap_or_default()), text("name").filter(|name| !name.is_empty())?))
}

/// The namespace that an object lives in: `default` where it names none, as kubectl puts it.
fn namespace(kind: Kind, given: &str) -> Arc<str> {
    match given {
        _ if kind.is_cluster_scoped() => "".into(),
        "" => "default".into(),
        given => given.into(),
    }
}
