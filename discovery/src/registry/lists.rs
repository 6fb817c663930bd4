//! What sources tell, partition by partition: lists, which replace what was known once they are complete, and what changes between them.
//!
//! A list is taken in place, and what it has not named goes at its end. The names of what is known are not kept twice: where one
//! way alone tells Services, slices and pods, of which there are many, the facts themselves say which are known, and a list keeps the
//! numbers of slices and pods.

use std::collections::HashSet;
use std::sync::Arc;

use isthmus_config::name::ClusterId;
use isthmus_config::object::{Kind, ObjectRef};
use isthmus_core::join::{Cluster, PodId, SliceId};

use super::Registry;
use super::known::Known;
use super::overlap::Left;
use crate::source::{Fact, Partition, SourceId, Status, Via};

#[derive(Clone, Debug)]
pub(super) struct PartitionState {
    pub(super) generation: u64,
    pub(super) status: Status,
    /// Every object of the partition that is known, unless the facts say it.
    known: Known,
    /// Its last list was read from disk.
    pub(super) from_disk: bool,
    /// While a list is under way: what it has named so far.
    listing: Option<Listing>,
}

/// Objects of one kind by what is held of them.
#[derive(Clone, Debug, Default)]
struct Listing {
    names: Known,
    slices: HashSet<SliceId>,
    pods: HashSet<PodId>,
}

/// What is held of an object that is known.
enum Held {
    Name(ObjectRef),
    Slice(SliceId),
    Pod(PodId),
}

impl Listing {
    fn insert(&mut self, held: Held) {
        match held {
            Held::Name(object) => self.names.insert(&object),
            Held::Slice(id) => drop(self.slices.insert(id)),
            Held::Pod(id) => drop(self.pods.insert(id)),
        }
    }

    fn remove(&mut self, held: &Held) {
        match held {
            Held::Name(object) => self.names.remove(object),
            Held::Slice(id) => drop(self.slices.remove(id)),
            Held::Pod(id) => drop(self.pods.remove(id)),
        }
    }
}

impl PartitionState {
    pub(super) fn new(generation: u64) -> Self {
        Self { generation, status: Status::Syncing, known: Known::default(), from_disk: false, listing: None }
    }
}

impl Registry {
    pub(super) fn begin_list(&mut self, partition: Partition) {
        if !self.settings.clusters.contains(&partition.source.0) {
            return;
        }
        let state = self.partitions.entry((partition.source, partition.kind)).or_insert_with(|| PartitionState::new(0));
        if partition.generation < state.generation {
            return;
        }
        state.generation = partition.generation;
        state.listing = Some(Listing::default());
    }

    /// The partition's state, unless the event is late.
    pub(super) fn partition(&mut self, partition: &Partition) -> Option<&mut PartitionState> {
        let state = self.partitions.get_mut(&(partition.source.clone(), partition.kind))?;
        (state.generation == partition.generation).then_some(state)
    }

    pub(super) fn take(&mut self, partition: &Partition, fact: Fact) {
        if self.partition(partition).is_none() {
            return;
        }
        let object = fact.reference();
        if !self.is_in_facts(&partition.source, partition.kind)
            && let Some(state) = self.partition(partition)
        {
            state.known.insert(&object);
        }
        let is_served = self.is_served(&partition.source, &object);
        if self.overlap.take(&partition.source, &fact, is_served) {
            self.put(&partition.source, fact);
        }
        self.keep(partition, &object);
    }

    fn put(&mut self, source: &SourceId, fact: Fact) {
        let id = &source.0;
        match fact {
            Fact::Istio(object, document) => self.take_document(source, object, document),
            Fact::Service(service) => self.take_service(id, service),
            Fact::Slice(slice) => self.take_slice(id, &slice),
            Fact::Pod(pod) => self.take_pod(id, &pod),
            Fact::Node(name, node) => self.take_node(id, name, Some(*node)),
            Fact::Namespace(name, namespace) => self.take_namespace(id, name, Some(*namespace)),
        }
    }

    pub(super) fn delete(&mut self, partition: &Partition, object: &ObjectRef) {
        if self.partition(partition).is_none() {
            return;
        }
        let Some(held) = self.held(&partition.source, object) else { return };
        if let Some(state) = self.partition(partition) {
            if let Some(listing) = &mut state.listing {
                listing.remove(&held);
            }
            state.known.remove(object);
        }
        self.forget(&partition.source, object);
    }

    fn forget(&mut self, source: &SourceId, object: &ObjectRef) {
        self.object_problems.remove(&(source.clone(), object.clone()));
        let is_served = self.is_served(source, object);
        match self.overlap.forget(source, object, is_served) {
            Left::Same => return,
            Left::Other(fact) => return self.put(source, fact),
            Left::Nothing => {}
        }
        let id = &source.0;
        match object.kind {
            Kind::Service => self.drop_service(id, &object.namespace, &object.name),
            Kind::EndpointSlice => self.drop_slice(id, &object.namespace, &object.name),
            Kind::Pod => self.drop_pod(id, &object.namespace, &object.name),
            Kind::Node => self.take_node(id, object.name.clone(), None),
            Kind::Namespace => self.take_namespace(id, object.name.clone(), None),
            Kind::WorkloadEntry => self.put_workload_entry(id, object.clone(), None),
            Kind::Gateway | Kind::VirtualService | Kind::DestinationRule | Kind::ServiceEntry | Kind::WorkloadGroup | Kind::EnvoyFilter => {
                self.drop_document(object)
            }
            Kind::Secret => {}
        }
    }

    pub(super) fn end_list(&mut self, partition: &Partition) {
        let Some(state) = self.partition(partition) else { return };
        let was_lost = matches!(std::mem::replace(&mut state.status, Status::Live), Status::Stale { .. });
        state.from_disk = partition.is_restored();
        let Some(listing) = state.listing.take() else { return };
        let (source, kind) = (&partition.source, partition.kind);
        let gone = self.unlisted(source, kind, &listing);
        if !self.is_in_facts(source, kind)
            && let Some(state) = self.partition(partition)
        {
            state.known = listing.names;
        }
        gone.iter().for_each(|object| self.forget(source, object));
        if was_lost {
            self.note_back(source);
        }
        self.show_if_listed(&source.0);
    }

    /// A list names an object: if that is known, it stays.
    pub(super) fn keep(&mut self, partition: &Partition, object: &ObjectRef) {
        if self.partition(partition).is_none_or(|state| state.listing.is_none()) {
            return;
        }
        let held = self.held(&partition.source, object);
        let listing = self.partition(partition).and_then(|state| state.listing.as_mut());
        if let Some((listing, held)) = listing.zip(held) {
            listing.insert(held);
        }
    }

    /// Forgets all that a source has told of a kind.
    pub(super) fn end_partition(&mut self, source: &SourceId, kind: Kind) {
        let all = self.unlisted(source, kind, &Listing::default());
        self.partitions.remove(&(source.clone(), kind));
        all.iter().for_each(|object| self.forget(source, object));
    }

    /// True where the facts say what is known: every object of the kind is one, and all are told in one way. Files that are laid over
    /// a cluster are always another way.
    fn is_in_facts(&self, source: &SourceId, kind: Kind) -> bool {
        matches!(kind, Kind::Service | Kind::EndpointSlice | Kind::Pod) && source.1 != Via::Overlay && !self.overlap.concerns(&source.0)
    }

    /// True where the API server of a cluster that is read in two ways has an object.
    fn is_served(&self, source: &SourceId, object: &ObjectRef) -> bool {
        let served = || self.partitions.get(&(SourceId(source.0.clone(), Via::Server), object.kind));
        self.overlap.concerns(&source.0) && served().is_some_and(|state| state.known.get(object).is_some())
    }

    /// What is held of an object that is known.
    fn held(&self, source: &SourceId, object: &ObjectRef) -> Option<Held> {
        let kind = object.kind;
        if !self.is_in_facts(source, kind) {
            return self.partitions.get(&(source.clone(), kind))?.known.get(object).map(Held::Name);
        }
        let cluster = self.facts_of(&source.0)?;
        match kind {
            Kind::EndpointSlice => cluster.find_slice(&object.namespace, &object.name).map(Held::Slice),
            Kind::Pod => cluster.pods().find(&object.namespace, &object.name).map(Held::Pod),
            Kind::Service => {
                let (namespace, name) = cluster.services().key(&object.namespace, &object.name)?;
                Some(Held::Name(ObjectRef::new(kind, namespace.clone(), name.clone())))
            }
            Kind::Gateway
            | Kind::VirtualService
            | Kind::DestinationRule
            | Kind::ServiceEntry
            | Kind::WorkloadEntry
            | Kind::WorkloadGroup
            | Kind::EnvoyFilter
            | Kind::Node
            | Kind::Namespace
            | Kind::Secret => None,
        }
    }

    /// A partition's known objects that a list has not named.
    fn unlisted(&self, source: &SourceId, kind: Kind, listing: &Listing) -> Vec<ObjectRef> {
        let unnamed = |object: &ObjectRef| !listing.names.contains(object);
        if !self.is_in_facts(source, kind) {
            let state = self.partitions.get(&(source.clone(), kind));
            return state.into_iter().flat_map(|state| state.known.objects(kind)).filter(unnamed).collect();
        }
        let Some(cluster) = self.facts_of(&source.0) else { return Vec::new() };
        let named = |namespace: &Arc<str>, name: Arc<str>| ObjectRef::new(kind, namespace.clone(), name);
        if kind == Kind::Pod {
            let unnamed = cluster.pods().numbered().filter(|(id, _)| !listing.pods.contains(id));
            unnamed.map(|(_, pod)| named(pod.workload.namespace(), (*pod.workload.name).into())).collect()
        } else if kind == Kind::EndpointSlice {
            let unnamed = cluster.all_slices().filter(|(id, _)| !listing.slices.contains(id));
            unnamed.map(|(_, slice)| (*slice.object).clone()).collect()
        } else {
            cluster.services().iter().map(|(namespace, name, _)| named(namespace, name.clone())).filter(unnamed).collect()
        }
    }

    fn facts_of(&self, id: &ClusterId) -> Option<&Cluster> {
        self.clusters.iter().find(|c| c.id == *id).or_else(|| self.waiting.get(id))
    }
}
