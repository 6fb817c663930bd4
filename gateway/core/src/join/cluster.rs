//! Everything known of one cluster, and what of it names what: services their slices, slices their pods.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use isthmus_config::istio::WorkloadEntry;
use isthmus_config::name::ClusterId;
use isthmus_config::object::Object;

use super::alone::Alone;
use super::by_name::ByName;
use super::facts::{Namespace, Node, ServiceFact};
use super::places::Places;
use super::pods::{Names, Pod, Pods};
use super::slices::{Slice, SliceFact};
use crate::model::Workload;

/// Everything known of one cluster.
#[derive(Clone, Debug, Default)]
pub struct Cluster {
    /// Its id.
    pub id: ClusterId,
    services: ByName<Arc<ServiceFact>>,
    /// Services that name a network in their labels (M-33).
    labelled: BTreeSet<(Arc<str>, Arc<str>)>,
    slices: ByName<Vec<Slice>>,
    /// The services that slices name and that are none, so that telling them does not look at every slice.
    missing: BTreeSet<(Arc<str>, Arc<str>)>,
    pods: Pods,
    places: Places,
    /// Services whose slices hold addresses that name no pod, and those addresses.
    podless: BTreeSet<(Arc<str>, Arc<str>)>,
    alone: Alone,
    /// Its first list is complete: from now on who stands at an address is looked for at once.
    listed: bool,
    /// Its nodes.
    pub nodes: BTreeMap<Arc<str>, Node>,
    /// Its namespaces.
    pub namespaces: BTreeMap<Arc<str>, Namespace>,
    /// Its WorkloadEntries (M-26).
    pub workload_entries: ByName<Arc<Object<WorkloadEntry>>>,
    /// Those of them that fail the probe of their WorkloadGroup.
    pub failing: ByName<()>,
}

impl Cluster {
    /// A cluster of which nothing is known yet.
    pub fn new(id: ClusterId) -> Self {
        Self { id, ..Self::default() }
    }

    /// Its Services.
    pub fn services(&self) -> &ByName<Arc<ServiceFact>> {
        &self.services
    }

    /// The Services that name a network in their labels, which makes them its gateways (M-33).
    pub fn labelled_services(&self) -> impl Iterator<Item = &ServiceFact> {
        self.labelled.iter().filter_map(|(namespace, name)| self.services.get(namespace, name)).map(|s| &**s)
    }

    /// Puts a Service in place and returns the one that it was before.
    pub fn put_service(&mut self, service: Arc<ServiceFact>) -> Option<Arc<ServiceFact>> {
        let key = (service.namespace.clone(), service.name.clone());
        if service.names_network() {
            self.labelled.insert(key.clone());
        } else {
            self.labelled.remove(&key);
        }
        self.missing.remove(&key);
        self.services.insert(key.0, key.1, service)
    }

    /// Takes a Service out.
    pub fn remove_service(&mut self, namespace: &Arc<str>, name: &Arc<str>) -> Option<Arc<ServiceFact>> {
        let key = (namespace.clone(), name.clone());
        self.labelled.remove(&key);
        if self.slices.get(namespace, name).is_some() {
            self.missing.insert(key);
        }
        self.services.remove(namespace, name)
    }

    /// The EndpointSlices of a service, by name.
    pub fn slices(&self, namespace: &str, service: &str) -> &[Slice] {
        self.slices.get(namespace, service).map_or(&[], |all| all)
    }

    /// The EndpointSlices whose Service does not exist, each with that Service's name.
    pub fn slices_alone(&self) -> impl Iterator<Item = (&Arc<str>, &Slice)> {
        self.missing.iter().flat_map(|(namespace, service)| self.slices(namespace, service).iter().map(move |slice| (service, slice)))
    }

    /// Puts a slice in place among those of its service. False where nothing differs.
    pub fn put_slice(&mut self, fact: &SliceFact) -> bool {
        let (namespace, service) = (&fact.object.namespace, &fact.service);
        let own = self.slices(namespace, service);
        let place = own.binary_search_by(|s| s.object.name.cmp(&fact.object.name));
        if place.is_ok_and(|place| own.get(place).is_some_and(|old| old.is(fact, &self.pods))) {
            return false;
        }
        if self.services.get(namespace, service).is_none() {
            self.missing.insert((namespace.clone(), service.clone()));
        }
        // What is new is named and held before what is old is let go: what stays keeps its number.
        let alone = Names::from([service.clone()]);
        let slice = Slice::new(fact, |pod| self.pods.name_for(namespace, pod, &alone));
        let unheard = slice.podless().filter(|address| self.alone.hold(*address)).count() > 0;
        if slice.podless().next().is_some() {
            self.podless.insert((namespace.clone(), service.clone()));
        }
        let all = self.slices.entry(namespace.clone(), service.clone());
        let old = match place {
            Ok(place) => all.get_mut(place).map(|old| std::mem::replace(old, slice)),
            Err(place) => {
                all.reserve_exact(1);
                all.insert(place, slice);
                None
            }
        };
        if let Some(old) = old {
            self.let_go(namespace, service, &old, place.unwrap_or_default());
        }
        if unheard && self.listed {
            self.look_for_pods();
        }
        true
    }

    /// Takes a slice out of a service's. False where it is not there.
    pub fn remove_slice(&mut self, namespace: &Arc<str>, service: &Arc<str>, name: &str) -> bool {
        let Some(all) = self.slices.get_mut(namespace, service) else { return false };
        let Ok(place) = all.binary_search_by(|s| (*s.object.name).cmp(name)) else { return false };
        let old = all.remove(place);
        if all.is_empty() {
            self.slices.remove(namespace, service);
            self.missing.remove(&(namespace.clone(), service.clone()));
        }
        self.let_go(namespace, service, &old, place);
        true
    }

    /// Forgets what only a slice has named that is gone from a place, and lets go of what it has held. What stands there now is
    /// looked at first, and the others only for what it does not name: a list of a service's slices costs as much as it is long.
    fn let_go(&mut self, namespace: &Arc<str>, service: &Arc<str>, old: &Slice, place: usize) {
        let all = self.slices.get(namespace, service).map_or(&[][..], |all| all);
        let (before, from) = all.split_at(place.min(all.len()));
        let mut gone: BTreeSet<_> = old.pods().collect();
        for id in from.iter().chain(before).flat_map(Slice::pods) {
            if gone.is_empty() {
                break;
            }
            gone.remove(&id);
        }
        if old.podless().next().is_some() && all.iter().all(|slice| slice.podless().next().is_none()) {
            self.podless.remove(&(namespace.clone(), service.clone()));
        }
        gone.into_iter().for_each(|id| self.pods.forget_for(id, service));
        old.podless().for_each(|address| self.alone.release(address));
    }

    /// Namespace and name of the services whose slices hold addresses that name no pod.
    pub fn podless(&self) -> impl Iterator<Item = (&Arc<str>, &Arc<str>)> {
        self.podless.iter().map(|(namespace, name)| (namespace, name))
    }

    /// The services with an endpoint at one of some addresses that names no pod.
    pub fn holding(&self, addresses: &[IpAddr]) -> BTreeSet<(Arc<str>, Arc<str>)> {
        let held: Vec<IpAddr> = addresses.iter().copied().filter(|address| self.alone.holds(*address)).collect();
        if held.is_empty() {
            return BTreeSet::new();
        }
        let holds = |(ns, name): &&(Arc<str>, Arc<str>)| self.slices(ns, name).iter().flat_map(Slice::podless).any(|a| held.contains(&a));
        self.podless.iter().filter(holds).cloned().collect()
    }

    /// Its pods.
    pub fn pods(&self) -> &Pods {
        &self.pods
    }

    /// The pod at an address that an endpoint holds without naming one; the first by name of several.
    pub fn pod_at(&self, address: IpAddr) -> Option<&Pod> {
        let (namespace, name) = self.alone.first(address)?;
        self.pods.get(namespace, name)
    }

    /// The first list is complete: pods are looked for once, at all the addresses that it has.
    pub fn show(&mut self) {
        self.listed = true;
        self.look_for_pods();
    }

    /// Finds the pods at addresses that have just come to be held. It walks all pods.
    fn look_for_pods(&mut self) {
        self.pods.iter().for_each(|pod| self.alone.arrive(pod));
    }

    /// Puts a pod in place and returns the one that it was before, whose services it takes over.
    pub fn put_pod(&mut self, pod: Pod) -> Option<Pod> {
        let (namespace, name) = (pod.workload.namespace().clone(), pod.workload.name.clone());
        let old = self.pods.insert(pod);
        if let Some(old) = &old {
            self.alone.leave(old);
        }
        if let Some(pod) = self.pods.get(&namespace, &name) {
            self.alone.arrive(pod);
        }
        old
    }

    /// Takes a pod out.
    pub fn remove_pod(&mut self, namespace: &str, name: &str) -> Option<Pod> {
        let old = self.pods.remove(namespace, name)?;
        self.alone.leave(&old);
        Some(old)
    }

    /// Replaces what a pod's endpoints share.
    pub fn put_workload(&mut self, workload: Workload) {
        let workload = self.share(workload);
        self.pods.put_workload(workload);
    }

    /// The same workload, with one record for all that run in its place.
    pub fn share(&mut self, workload: Workload) -> Arc<Workload> {
        let place = self.places.share(workload.place);
        Arc::new(Workload { place, ..workload })
    }
}
