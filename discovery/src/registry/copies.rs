//! Istio objects that stand in a member: they are not read (M-26), and each is told so, with whether it says the same as
//! the one in force. People apply the same rules in every cluster, and want to know where one of them was forgotten.
//!
//! There may be as many as there are rules, times the members: what is kept of one is a digest of what it asks.

use std::collections::BTreeMap;

use isthmus_config::object::{Kind, Object, ObjectRef, Origin};
use isthmus_config::parse::Document;
use isthmus_config::problem::{Problem, Severity};
use isthmus_core::model::{Documents, Objects};
use serde::Serialize;
use xxhash_rust::xxh3::xxh3_64;

use super::key;
use crate::source::SourceId;

/// The copies in members.
#[derive(Clone, Debug, Default)]
pub(super) struct Copies(BTreeMap<SourceId, BTreeMap<ObjectRef, Copied>>);

/// What is kept of a copy.
#[derive(Clone, Debug)]
struct Copied {
    asks: Option<u64>,
    compared: Compared,
    origin: Origin,
}

#[derive(Clone, Copy, Debug)]
enum Compared {
    Equal,
    Different,
    /// There is none in force.
    Alone,
}

impl Copies {
    /// A copy is there, or is gone.
    pub(super) fn note(&mut self, source: SourceId, object: ObjectRef, document: Option<Document>, in_force: &Documents) {
        let copies = self.0.entry(source).or_default();
        match document {
            Some(document) => {
                let asks = digest(&document);
                let compared = compare(asks, asked(&object, in_force));
                copies.insert(object, Copied { asks, compared, origin: document.origin().clone() });
            }
            None => drop(copies.remove(&object)),
        }
    }

    /// The object in force of that name is another one now, or is gone.
    pub(super) fn changed(&mut self, object: &ObjectRef, in_force: &Documents) {
        if self.0.values().all(|copies| !copies.contains_key(object)) {
            return;
        }
        let asked = asked(object, in_force);
        for copy in self.0.values_mut().filter_map(|copies| copies.get_mut(object)) {
            copy.compared = compare(copy.asks, asked);
        }
    }

    /// The member is not read any more.
    pub(super) fn forget(&mut self, source: &SourceId) {
        self.0.remove(source);
    }

    /// One for each copy.
    pub(super) fn problems(&self) -> impl Iterator<Item = Problem> {
        self.0.iter().flat_map(|(source, copies)| copies.iter().map(move |(object, copy)| problem(source, object, copy)))
    }
}

fn problem(source: &SourceId, object: &ObjectRef, copy: &Copied) -> Problem {
    let compared = match copy.compared {
        Compared::Equal => "it equals the one in force",
        Compared::Different => "it differs from the one in force",
        Compared::Alone => "the config cluster has none of that name",
    };
    let message = format!("not read: Istio objects come from the config cluster, and {source} is another one; {compared}");
    Problem::new(Severity::Info, "ISM0204", message).of(object.clone(), &copy.origin)
}

fn compare(copy: Option<u64>, in_force: Option<u64>) -> Compared {
    match in_force {
        None => Compared::Alone,
        Some(_) if copy == in_force => Compared::Equal,
        Some(_) => Compared::Different,
    }
}

/// What the object in force asks; `None` where there is none.
fn asked(object: &ObjectRef, all: &Documents) -> Option<u64> {
    fn of<S: Serialize>(object: &ObjectRef, all: &Objects<S>) -> Option<u64> {
        of_spec(all.get(&key(object))?)
    }
    match object.kind {
        Kind::Gateway => of(object, &all.gateways),
        Kind::VirtualService => of(object, &all.virtual_services),
        Kind::DestinationRule => of(object, &all.destination_rules),
        Kind::ServiceEntry => of(object, &all.service_entries),
        Kind::WorkloadEntry => of(object, &all.workload_entries),
        Kind::WorkloadGroup => of(object, &all.workload_groups),
        Kind::EnvoyFilter => of(object, &all.envoy_filters),
        Kind::Service | Kind::EndpointSlice | Kind::Pod | Kind::Node | Kind::Namespace | Kind::Secret => None,
    }
}

fn digest(document: &Document) -> Option<u64> {
    match document {
        Document::Gateway(o) => of_spec(o),
        Document::VirtualService(o) => of_spec(o),
        Document::DestinationRule(o) => of_spec(o),
        Document::ServiceEntry(o) => of_spec(o),
        Document::WorkloadEntry(o) => of_spec(o),
        Document::WorkloadGroup(o) => of_spec(o),
        Document::EnvoyFilter(o) => of_spec(o),
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

/// A digest of what is asked: equal where all fields are.
fn of_spec<S: Serialize>(object: &Object<S>) -> Option<u64> {
    serde_json::to_vec(&object.spec).ok().map(|bytes| xxh3_64(&bytes))
}
