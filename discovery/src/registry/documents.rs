//! Istio objects: judged, kept at their last good version, and told to the services that read them.

use std::collections::BTreeSet;
use std::sync::Arc;

use isthmus_config::istio::{ServiceEntry, VirtualService, WorkloadEntry, WorkloadGroup};
use isthmus_config::name::{ClusterId, Hostname};
use isthmus_config::object::{Kind, Labels, Object, ObjectRef};
use isthmus_config::parse::Document;
use isthmus_config::validate::{refuses, validate, virtual_service_after};
use isthmus_core::join;
use isthmus_core::model::{Documents, NamespacedName, Objects};

use super::probing::unprobed;
use super::{Registry, key};
use crate::source::SourceId;

impl Registry {
    /// Takes an object that the admission rules allow; a refused one leaves its last good version in force.
    pub(super) fn take_document(&mut self, source: &SourceId, object: ObjectRef, document: Document) {
        let place = (source.clone(), object.clone());
        let mut problems =
            if let Document::VirtualService(new) = &document { virtual_service_after(new, self.sound(&object)) } else { validate(&document) };
        let refused = refuses(&problems);
        problems.extend(unprobed(&document));
        if problems.is_empty() {
            self.object_problems.remove(&place);
        } else {
            self.object_problems.insert(place, problems);
        }
        if refused {
            return;
        }
        let at = key(&object);
        let documents = self.documents();
        let differs = match document {
            Document::Gateway(o) => put(&mut documents.gateways, at, o),
            Document::VirtualService(o) => put(&mut documents.virtual_services, at, o),
            Document::DestinationRule(o) => put(&mut documents.destination_rules, at, o),
            Document::WorkloadGroup(o) => return self.put_workload_group(object, Some(o)),
            Document::EnvoyFilter(o) => put(&mut documents.envoy_filters, at, o),
            Document::ServiceEntry(o) => return self.put_service_entry(object, Some(o)),
            Document::WorkloadEntry(o) => return self.put_workload_entry(&source.0, object, Some(o)),
            Document::Service(_)
            | Document::EndpointSlice(_)
            | Document::Pod(_)
            | Document::Node(_)
            | Document::Namespace(_)
            | Document::Secret(_)
            | Document::Unenforced(_)
            | Document::NotUsed(_) => false,
        };
        if differs {
            self.note_change(object);
        }
    }

    /// The VirtualService in force, where no source told one with problems.
    fn sound(&self, object: &ObjectRef) -> Option<&Object<VirtualService>> {
        let told = |(source, kind): &(SourceId, Kind)| *kind == object.kind && self.object_problems.contains_key(&(source.clone(), object.clone()));
        let held = self.world.documents.virtual_services.get(&key(object))?;
        (!self.partitions.keys().any(told)).then_some(held)
    }

    /// Removes an object of a kind that only the config cluster gives.
    pub(super) fn drop_document(&mut self, object: &ObjectRef) {
        let documents = self.documents();
        let at = key(object);
        let was = match object.kind {
            Kind::Gateway => documents.gateways.remove(&at).is_some(),
            Kind::VirtualService => documents.virtual_services.remove(&at).is_some(),
            Kind::DestinationRule => documents.destination_rules.remove(&at).is_some(),
            Kind::WorkloadGroup => return self.put_workload_group(object.clone(), None),
            Kind::EnvoyFilter => documents.envoy_filters.remove(&at).is_some(),
            Kind::ServiceEntry => return self.put_service_entry(object.clone(), None),
            Kind::WorkloadEntry | Kind::Service | Kind::EndpointSlice | Kind::Pod | Kind::Node | Kind::Namespace | Kind::Secret => false,
        };
        if was {
            self.note_change(object.clone());
        }
    }

    /// An object in force differs.
    fn note_change(&mut self, object: ObjectRef) {
        self.copies.changed(&object, &self.world.documents);
        self.changes.objects.insert(object);
    }

    /// The documents, to be changed; what the world before has of them is copied.
    fn documents(&mut self) -> &mut Documents {
        Arc::make_mut(&mut Arc::make_mut(&mut self.world).documents)
    }

    fn put_workload_group(&mut self, object: ObjectRef, new: Option<Arc<Object<WorkloadGroup>>>) {
        let groups = &mut self.documents().workload_groups;
        let differs = match new {
            Some(new) => put(groups, key(&object), new),
            None => groups.remove(&key(&object)).is_some(),
        };
        if differs {
            self.aim_all(&object.namespace);
            self.note_change(object);
        }
    }

    fn put_service_entry(&mut self, object: ObjectRef, new: Option<Arc<Object<ServiceEntry>>>) {
        // An equal entry changes nothing, not even which allocation the index of hosts holds.
        if self.world.documents.service_entries.get(&key(&object)) == new.as_ref() {
            return;
        }
        let entries = &mut self.documents().service_entries;
        let old = match new.clone() {
            Some(new) => entries.insert(key(&object), new),
            None => entries.remove(&key(&object)),
        };
        if let Some(old) = old {
            for host in hosts(&old) {
                if let Some(claims) = self.entries_by_host.get_mut(&host) {
                    claims.retain(|e| !Arc::ptr_eq(e, &old));
                    if claims.is_empty() {
                        self.entries_by_host.remove(&host);
                    }
                }
                self.dirty.insert(host);
            }
            if let Some(names) = self.selecting.get_mut(&object.namespace) {
                names.remove(&object.name);
            }
        }
        if let Some(new) = new {
            for host in hosts(&new) {
                self.entries_by_host.entry(host.clone()).or_default().push(new.clone());
                self.dirty.insert(host);
            }
            if new.spec.workload_selector.is_some() {
                self.selecting.entry(object.namespace.clone()).or_default().insert(object.name.clone());
            }
        }
        self.note_change(object);
    }

    /// Puts or removes a WorkloadEntry of one cluster (M-26). Rules that name one by its name mean the first cluster's.
    pub(super) fn put_workload_entry(&mut self, id: &ClusterId, object: ObjectRef, new: Option<Arc<Object<WorkloadEntry>>>) {
        let Some((cluster, _)) = self.cluster(id) else { return };
        let old = match new.clone() {
            Some(new) => cluster.workload_entries.insert(object.namespace.clone(), object.name.clone(), new),
            None => cluster.workload_entries.remove(&object.namespace, &object.name),
        };
        if old == new {
            return;
        }
        let labels: Vec<Labels> = [old, new].into_iter().flatten().map(|e| join::labels(&e)).collect();
        self.touch_selecting(&object.namespace, &labels);
        self.touch_selecting_services(&object.namespace, &labels);
        self.aim(id, &object);
        self.show_workload_entry(object);
    }

    /// Brings the document of that name in line with the clusters that the world shows.
    pub(super) fn show_workload_entry(&mut self, object: ObjectRef) {
        let first = self.clusters.iter().find_map(|c| c.workload_entries.get(&object.namespace, &object.name)).cloned();
        let entries = &mut self.documents().workload_entries;
        let old = match first.clone() {
            Some(first) => entries.insert(key(&object), first),
            None => entries.remove(&key(&object)),
        };
        if old != first {
            self.note_change(object);
        }
    }

    /// Touches the ServiceEntries of a namespace that select one of `labels` (S-6).
    pub(super) fn touch_selecting(&mut self, namespace: &Arc<str>, labels: &[Labels]) {
        let Some(names) = self.selecting.get(namespace) else { return };
        let entries = names.iter().filter_map(|name| self.world.documents.service_entries.get(&(namespace.clone(), name.clone())));
        let selecting = entries.filter(|e| e.spec.workload_selector.as_ref().is_some_and(|s| labels.iter().any(|l| join::selects(&s.labels, l))));
        let hosts: Vec<Hostname> = selecting.flat_map(|e| hosts(e)).collect();
        self.dirty.extend(hosts);
    }

    /// Touches the Kubernetes Services of a namespace whose selector takes one of `labels` (S-6).
    pub(super) fn touch_selecting_services(&mut self, namespace: &str, labels: &[Labels]) {
        let services = self.clusters.iter().flat_map(|c| c.services().within(namespace));
        let selecting = services.filter(|(_, s)| !s.selector.is_empty() && labels.iter().any(|l| join::selects(&s.selector, l)));
        let names: Vec<Arc<str>> = selecting.map(|(name, _)| name.clone()).collect();
        names.iter().for_each(|name| self.touch(namespace, name));
    }
}

/// An entry's hosts, each once however often it is written.
fn hosts(entry: &Object<ServiceEntry>) -> BTreeSet<Hostname> {
    entry.spec.hosts.iter().map(|h| Hostname::new(h)).collect()
}

/// True where the object is new or differs, be it in its place only: answers name file and line. An equal one leaves the allocation
/// that others hold.
fn put<S: PartialEq>(map: &mut Objects<S>, at: NamespacedName, object: Arc<Object<S>>) -> bool {
    if map.get(&at) == Some(&object) {
        return false;
    }
    map.insert(at, object);
    true
}
