//! What sources tell, partition by partition: lists, which replace what was known once they are complete, and what changes between them.
//!
//! A list is taken in place, and what it has not named goes at its end. The names of what is known are not kept twice: where one
//! way alone tells Services, slices and pods, of which there are many, the facts themselves say which are known.

use isthmus_config::name::ClusterId;
use isthmus_config::object::{Kind, ObjectRef};
use isthmus_core::join::Cluster;

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
    listing: Option<Known>,
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
        state.listing = Some(Known::default());
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
        // A name that is held already is held once.
        let held = self.held(&partition.source, &object);
        let in_facts = self.is_in_facts(&partition.source, partition.kind);
        let Some(state) = self.partition(partition) else { return };
        let name = held.as_ref().unwrap_or(&object);
        if let Some(listing) = &mut state.listing {
            listing.insert(name);
        }
        if !in_facts && held.is_none() {
            state.known.insert(name);
        }
        if self.overlap.take(&partition.source, &fact) {
            self.put(&partition.source, fact);
        }
    }

    fn put(&mut self, source: &SourceId, fact: Fact) {
        let id = &source.0;
        match fact {
            Fact::Istio(object, document) => self.take_document(source, object, document),
            Fact::Service(service) => self.take_service(id, service),
            Fact::Slice(slice) => self.take_slice(id, &slice),
            Fact::Pod(pod) => self.take_pod(id, &pod),
            Fact::Node(name, node) => self.take_node(id, name, Some(node)),
            Fact::Namespace(name, namespace) => self.take_namespace(id, name, Some(namespace)),
        }
    }

    pub(super) fn delete(&mut self, partition: &Partition, object: &ObjectRef) {
        if self.partition(partition).is_none() {
            return;
        }
        let was_known = self.held(&partition.source, object).is_some();
        let Some(state) = self.partition(partition) else { return };
        if let Some(listing) = &mut state.listing {
            listing.remove(object);
        }
        state.known.remove(object);
        if was_known {
            self.forget(&partition.source, object);
        }
    }

    fn forget(&mut self, source: &SourceId, object: &ObjectRef) {
        self.object_problems.remove(&(source.clone(), object.clone()));
        match self.overlap.forget(source, object) {
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
        let gone = self.known(source, kind, |object| !listing.contains(object));
        if !self.is_in_facts(source, kind)
            && let Some(state) = self.partition(partition)
        {
            state.known = listing;
        }
        gone.iter().for_each(|object| self.forget(source, object));
        if was_lost {
            self.note_back(source);
        }
        self.show_if_listed(&source.0);
    }

    pub(super) fn keep(&mut self, partition: &Partition, object: &ObjectRef) {
        let held = self.held(&partition.source, object);
        if let Some(state) = self.partition(partition)
            && let Some(listing) = &mut state.listing
            && let Some(object) = held
        {
            listing.insert(&object);
        }
    }

    /// Forgets all that a source has told of a kind.
    pub(super) fn end_partition(&mut self, source: &SourceId, kind: Kind) {
        let all = self.known(source, kind, |_| true);
        self.partitions.remove(&(source.clone(), kind));
        all.iter().for_each(|object| self.forget(source, object));
    }

    /// True where the facts say what is known: every object of the kind is one, and all are told in one way. Files that are laid over
    /// a cluster are always another way.
    fn is_in_facts(&self, source: &SourceId, kind: Kind) -> bool {
        matches!(kind, Kind::Service | Kind::EndpointSlice | Kind::Pod) && source.1 != Via::Overlay && !self.overlap.concerns(&source.0)
    }

    /// An object that is known, by the names that are held.
    fn held(&self, source: &SourceId, object: &ObjectRef) -> Option<ObjectRef> {
        let kind = object.kind;
        if !self.is_in_facts(source, kind) {
            return self.partitions.get(&(source.clone(), kind))?.known.get(object);
        }
        let (namespace, name) = match kind {
            Kind::EndpointSlice => self.states.get(&source.0)?.slice(&object.namespace, &object.name)?,
            Kind::Pod => {
                let workload = &self.facts_of(&source.0)?.pods().get(&object.namespace, &object.name)?.workload;
                (workload.namespace(), &workload.name)
            }
            Kind::Service => self.facts_of(&source.0)?.services().key(&object.namespace, &object.name)?,
            Kind::Gateway
            | Kind::VirtualService
            | Kind::DestinationRule
            | Kind::ServiceEntry
            | Kind::WorkloadEntry
            | Kind::WorkloadGroup
            | Kind::EnvoyFilter
            | Kind::Node
            | Kind::Namespace
            | Kind::Secret => return None,
        };
        Some(ObjectRef::new(kind, namespace.clone(), name.clone()))
    }

    /// Those of a partition's known objects of which `which` is true.
    fn known(&self, source: &SourceId, kind: Kind, which: impl Fn(&ObjectRef) -> bool) -> Vec<ObjectRef> {
        if !self.is_in_facts(source, kind) {
            let state = self.partitions.get(&(source.clone(), kind));
            return state.into_iter().flat_map(|state| state.known.objects(kind)).filter(which).collect();
        }
        let (cluster, state) = (self.facts_of(&source.0), self.states.get(&source.0));
        let services = cluster.filter(|_| kind == Kind::Service).into_iter().flat_map(|c| c.services().iter());
        let pods = cluster.filter(|_| kind == Kind::Pod).into_iter().flat_map(|c| c.pods().iter());
        let slices = state.filter(|_| kind == Kind::EndpointSlice).into_iter().flat_map(|s| s.slices());
        let names = services.map(|(namespace, name, _)| (namespace, name));
        let names = names.chain(pods.map(|pod| (pod.workload.namespace(), &pod.workload.name))).chain(slices);
        names.map(|(namespace, name)| ObjectRef::new(kind, namespace.clone(), name.clone())).filter(which).collect()
    }

    fn facts_of(&self, id: &ClusterId) -> Option<&Cluster> {
        self.clusters.iter().find(|c| c.id == *id).or_else(|| self.states.get(id)?.waiting())
    }
}
