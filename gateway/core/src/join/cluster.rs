//! Everything known of one cluster, and what of it names what: slices their services and pods.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use isthmus_config::istio::WorkloadEntry;
use isthmus_config::name::ClusterId;
use isthmus_config::object::{Object, Origin};

use super::alone::Alone;
use super::by_name::ByName;
use super::facts::{Namespace, Node, ServiceFact};
use super::places::Places;
use super::pods::{Pod, Pods};
use super::slices::{Slice, SliceFact, SliceId, Slices};
use crate::model::Workload;

/// Everything known of one cluster.
#[derive(Clone, Debug, Default)]
pub struct Cluster {
    /// Its id.
    pub id: ClusterId,
    /// Where what its API server tells stands.
    origin: Arc<Origin>,
    services: ByName<Arc<ServiceFact>>,
    /// Services that name a network in their labels (M-33).
    labelled: BTreeSet<(Arc<str>, Arc<str>)>,
    slices: Slices,
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
        let origin = Arc::new(Origin { cluster: id.clone(), ..Origin::default() });
        Self { id, origin, ..Self::default() }
    }

    /// Its Services.
    pub fn services(&self) -> &ByName<Arc<ServiceFact>> {
        &self.services
    }

    /// Where one of its Services stands.
    pub fn origin<'a>(&'a self, service: &'a ServiceFact) -> &'a Arc<Origin> {
        service.origin.as_ref().unwrap_or(&self.origin)
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
        if self.slices.of(namespace, name).next().is_some() {
            self.missing.insert(key);
        }
        self.services.remove(namespace, name)
    }

    /// The number of an EndpointSlice.
    pub fn find_slice(&self, namespace: &str, name: &str) -> Option<SliceId> {
        self.slices.find(namespace, name)
    }

    /// All EndpointSlices with their numbers.
    pub fn all_slices(&self) -> impl Iterator<Item = (SliceId, &Slice)> {
        self.slices.iter()
    }

    /// The EndpointSlices of a service, by name.
    pub fn slices(&self, namespace: &str, service: &str) -> Vec<&Slice> {
        let mut all: Vec<&Slice> = self.slices.of(namespace, service).collect();
        all.sort_unstable_by_key(|slice| &slice.object.name);
        all
    }

    /// The EndpointSlices whose Service does not exist.
    pub fn slices_alone(&self) -> impl Iterator<Item = &Slice> {
        self.missing.iter().flat_map(|(namespace, service)| self.slices(namespace, service))
    }

    /// Puts a slice in place, and returns the services that it differs for: its own, and the one that it was of before. None where
    /// nothing differs.
    pub fn put_slice(&mut self, fact: &SliceFact) -> Vec<Arc<str>> {
        let (namespace, name) = (&fact.object.namespace, &fact.object.name);
        let old = self.slices.find(namespace, name).and_then(|id| self.slices.at(id));
        if old.is_some_and(|old| old.is(fact, &self.pods)) {
            return Vec::new();
        }
        // What is new is named and held before what is old is let go: what stays keeps its number.
        let id = self.slices.number(namespace, name);
        let slice = Slice::new(fact, |pod| self.pods.name_for(namespace, pod, id));
        let unheard = slice.podless().filter(|address| self.alone.hold(*address)).count() > 0;
        let mut services = vec![fact.service.clone()];
        if slice.has_podless() {
            self.podless.insert((namespace.clone(), fact.service.clone()));
        }
        if let Some(old) = self.slices.put(slice) {
            self.let_go(id, &old);
            services.extend(Some(old.service).filter(|other| *other != fact.service));
        }
        if self.services.get(namespace, &fact.service).is_none() {
            self.missing.insert((namespace.clone(), fact.service.clone()));
        }
        if unheard && self.listed {
            self.look_for_pods();
        }
        services
    }

    /// Takes a slice out and returns the service that it was of.
    pub fn remove_slice(&mut self, namespace: &str, name: &str) -> Option<Arc<str>> {
        let id = self.slices.find(namespace, name)?;
        let old = self.slices.remove(namespace, name)?;
        self.let_go(id, &old);
        Some(old.service)
    }

    /// Forgets what a slice that is gone or replaced has named and held, and its service where that was the last of it.
    fn let_go(&mut self, id: SliceId, old: &Slice) {
        let key = (old.object.namespace.clone(), old.service.clone());
        let named: BTreeSet<_> = self.slices.at(id).into_iter().flat_map(Slice::pods).collect();
        old.pods().filter(|pod| !named.contains(pod)).for_each(|pod| self.pods.forget_for(pod, id));
        old.podless().for_each(|address| self.alone.release(address));
        if old.has_podless() && !self.slices.of(&key.0, &key.1).any(Slice::has_podless) {
            self.podless.remove(&key);
        }
        if self.slices.of(&key.0, &key.1).next().is_none() {
            self.missing.remove(&key);
        }
    }

    /// The services of a namespace whose slices name a pod, be it known or not.
    pub fn services_naming(&self, namespace: &str, pod: &str) -> impl Iterator<Item = &Arc<str>> {
        self.pods.slices(namespace, pod).filter_map(|id| self.slices.at(id)).map(|slice| &slice.service)
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
        let holds = |(ns, name): &&(Arc<str>, Arc<str>)| self.slices.of(ns, name).flat_map(Slice::podless).any(|a| held.contains(&a));
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

    /// Puts a pod in place and returns the one that it was before, whose slices it takes over.
    pub fn put_pod(&mut self, pod: Pod) -> Option<Pod> {
        let now = pod.clone();
        let old = self.pods.insert(pod);
        if let Some(old) = &old {
            self.alone.leave(old);
        }
        self.alone.arrive(&now);
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
