//! Istio objects that stand in a member: they are not read (M-26), and each is told so, with whether it says the same as
//! the one in force. People apply the same rules in every cluster, and want to know where one of them was forgotten.

use std::collections::BTreeMap;
use std::sync::Arc;

use isthmus_config::object::{Object, ObjectRef};
use isthmus_config::parse::Document;
use isthmus_config::problem::{Problem, Severity};
use isthmus_core::model::{Documents, NamespacedName};

use super::key;
use crate::source::SourceId;

/// The copies in members.
#[derive(Clone, Debug, Default)]
pub(super) struct Copies(BTreeMap<(SourceId, ObjectRef), Document>);

impl Copies {
    /// A copy is there, or is gone.
    pub(super) fn note(&mut self, source: SourceId, object: ObjectRef, document: Option<Document>) {
        match document {
            Some(document) => drop(self.0.insert((source, object), document)),
            None => drop(self.0.remove(&(source, object))),
        }
    }

    /// The member is not read any more.
    pub(super) fn forget(&mut self, source: &SourceId) {
        self.0.retain(|(s, _), _| s != source);
    }

    /// One for each copy.
    pub(super) fn problems(&self, in_force: &Documents) -> impl Iterator<Item = Problem> {
        self.0.iter().map(|((source, object), copy)| {
            let compared = match equals(copy, object, in_force) {
                Some(true) => "it equals the one in force",
                Some(false) => "it differs from the one in force",
                None => "the config cluster has none of that name",
            };
            let message = format!("not read: Istio objects come from the config cluster, and {source} is another one; {compared}");
            Problem::new(Severity::Info, "ISM0204", message).of(object.clone(), copy.origin())
        })
    }
}

/// Whether the copy says the same as the object in force; `None` where there is none.
fn equals(copy: &Document, object: &ObjectRef, in_force: &Documents) -> Option<bool> {
    fn same<S: PartialEq>(copy: &Object<S>, object: &ObjectRef, all: &BTreeMap<NamespacedName, Arc<Object<S>>>) -> Option<bool> {
        all.get(&key(object)).map(|found| found.spec == copy.spec)
    }
    match copy {
        Document::Gateway(o) => same(o, object, &in_force.gateways),
        Document::VirtualService(o) => same(o, object, &in_force.virtual_services),
        Document::DestinationRule(o) => same(o, object, &in_force.destination_rules),
        Document::ServiceEntry(o) => same(o, object, &in_force.service_entries),
        Document::WorkloadEntry(o) => same(o, object, &in_force.workload_entries),
        Document::WorkloadGroup(o) => same(o, object, &in_force.workload_groups),
        Document::EnvoyFilter(o) => same(o, object, &in_force.envoy_filters),
        Document::Service(_)
        | Document::EndpointSlice(_)
        | Document::Pod(_)
        | Document::Node(_)
        | Document::Namespace(_)
        | Document::Secret(_)
        | Document::Unenforced(_)
        | Document::NotUsed(_) => None,
    }
}
