//! The pods of a cluster, of which there are as many as endpoints: everything is said once, and what replicas share is shared.
//!
//! A pod has a number for as long as it is known or a slice names it, and slices hold numbers instead of names. So one that is
//! named and has not been seen has its place too, with the services that wait for it (M-17). A record holds what joining reads
//! beside the [`Workload`] that its endpoints share, and the services whose slices name it, so that a change of it finds them.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::net::{IpAddr, Ipv4Addr};
use std::num::NonZeroU32;
use std::ops::Deref;
use std::sync::Arc;

use hashbrown::HashTable;
use smallvec::SmallVec;

use crate::model::{Kin, Place, Workload};

/// A named port of a pod's container (S-7), or a port of a slice.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct NamedPort {
    /// The port's name.
    pub name: Arc<str>,
    /// Its number.
    pub port: u16,
}

/// Some ports, shared by all that have the same.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct NamedPorts(Option<Arc<Vec<NamedPort>>>);

impl NamedPorts {
    /// How many hold them.
    pub fn holders(&self) -> usize {
        self.0.as_ref().map_or(0, Arc::strong_count)
    }
}

impl FromIterator<NamedPort> for NamedPorts {
    fn from_iter<I: IntoIterator<Item = NamedPort>>(ports: I) -> Self {
        let mut ports: Vec<NamedPort> = ports.into_iter().collect();
        ports.shrink_to_fit();
        Self((!ports.is_empty()).then(|| Arc::new(ports)))
    }
}

impl Deref for NamedPorts {
    type Target = [NamedPort];
    fn deref(&self) -> &[NamedPort] {
        self.0.as_ref().map_or(&[], |ports| ports)
    }
}

/// A pod's addresses, nearly always one of IPv4.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Addresses {
    /// This one.
    One(Ipv4Addr),
    /// Any others.
    Many(Box<[IpAddr]>),
}

impl Addresses {
    /// The one by which selectors reach the pod (S-6).
    pub fn first(&self) -> Option<IpAddr> {
        self.iter().next()
    }
    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = IpAddr> {
        let (one, many) = match self {
            Self::One(one) => (Some(IpAddr::V4(*one)), &[][..]),
            Self::Many(many) => (None, &**many),
        };
        one.into_iter().chain(many.iter().copied())
    }
}

impl Default for Addresses {
    fn default() -> Self {
        Self::Many(Box::default())
    }
}

impl FromIterator<IpAddr> for Addresses {
    fn from_iter<I: IntoIterator<Item = IpAddr>>(all: I) -> Self {
        let all: SmallVec<[IpAddr; 2]> = all.into_iter().collect();
        if let [IpAddr::V4(one)] = all[..] { Self::One(one) } else { Self::Many(all.into_vec().into()) }
    }
}

/// A pod that has not failed (M-17), as its cluster tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodFact {
    /// Its name.
    pub name: Arc<str>,
    /// Its namespace, labels and service account.
    pub kin: Arc<Kin>,
    /// Its addresses, the first one being that by which selectors reach it (S-6).
    pub addresses: Addresses,
    /// Its node, or "".
    pub node: Arc<str>,
    /// Named ports of its containers.
    pub ports: NamedPorts,
    /// Condition Ready is True.
    pub ready: bool,
}

impl PodFact {
    /// What its endpoints share, but for the place where it stands.
    pub fn workload(&self) -> Workload {
        let place = Place { node: self.node.clone(), ..Place::default() };
        Workload { name: self.name.clone(), kin: self.kin.clone(), place: Arc::new(place) }
    }
}

/// Services of one namespace by name.
pub(super) type Names = Arc<[Arc<str>]>;

/// A pod as it is kept.
#[derive(Clone, Debug)]
pub struct Pod {
    /// What its endpoints share (L-1, L-5, M-31).
    pub workload: Arc<Workload>,
    /// Its addresses.
    pub addresses: Addresses,
    /// Named ports of its containers.
    pub ports: NamedPorts,
    /// Services of its namespace whose slices name it.
    services: Names,
    /// Condition Ready is True.
    pub ready: bool,
    /// It is more than named.
    seen: bool,
}

impl Pod {
    /// A pod whose endpoints share `workload`.
    pub fn new(fact: &PodFact, workload: Arc<Workload>) -> Self {
        let PodFact { addresses, ports, ready, .. } = fact;
        Self { workload, addresses: addresses.clone(), ports: ports.clone(), services: Names::default(), ready: *ready, seen: true }
    }

    /// One that is named, and no more is known of it.
    fn named(name: &Arc<str>, unknown: &Unknown, services: Names) -> Self {
        let workload = Workload { name: name.clone(), kin: unknown.kin.clone(), place: unknown.place.clone() };
        Self { workload: Arc::new(workload), addresses: Addresses::default(), ports: NamedPorts::default(), services, ready: false, seen: false }
    }

    /// True where `fact` says nothing else.
    pub fn is(&self, fact: &PodFact) -> bool {
        let own = &self.workload;
        (self.ready, own.node(), &own.kin) == (fact.ready, &fact.node, &fact.kin) && (&self.addresses, &self.ports) == (&fact.addresses, &fact.ports)
    }

    /// Services of its namespace whose slices name it.
    pub fn services(&self) -> &[Arc<str>] {
        &self.services
    }
}

/// The number of a pod, which is another's once nobody knows or names it any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PodId(NonZeroU32);

impl PodId {
    fn place(self) -> usize {
        self.0.get() as usize - 1
    }
}

/// The numbers of a namespace's pods.
#[derive(Clone, Debug, Default)]
struct Numbers {
    by_name: HashTable<PodId>,
    /// All that is known of one that has not been seen.
    kin: Arc<Kin>,
}

/// What is known of a pod that has not been seen.
struct Unknown {
    kin: Arc<Kin>,
    place: Arc<Place>,
}

/// Pods by namespace and name.
#[derive(Clone, Debug, Default)]
pub struct Pods {
    /// By number.
    places: Vec<Option<Pod>>,
    free: Vec<PodId>,
    numbers: HashMap<Arc<str>, Numbers>,
    /// Where pods are that have not been seen.
    nowhere: Arc<Place>,
    hasher: RandomState,
    seen: usize,
}

impl Pods {
    /// The pod of that name.
    pub fn get(&self, namespace: &str, name: &str) -> Option<&Pod> {
        self.at(self.number(namespace, name)?)
    }
    /// The pod of that number, once it has been seen (M-17).
    pub fn at(&self, id: PodId) -> Option<&Pod> {
        self.place(id).filter(|pod| pod.seen)
    }
    /// All pods of a namespace, in any order.
    pub fn within(&self, namespace: &str) -> impl Iterator<Item = &Pod> {
        self.numbers.get(namespace).into_iter().flat_map(|n| &n.by_name).filter_map(|id| self.at(*id))
    }
    /// All pods, in any order.
    pub fn iter(&self) -> impl Iterator<Item = &Pod> {
        self.places.iter().flatten().filter(|pod| pod.seen)
    }
    /// How many there are.
    pub fn count(&self) -> usize {
        self.seen
    }

    /// The name of a pod that is known or named.
    pub(super) fn name(&self, id: PodId) -> Option<&Arc<str>> {
        self.place(id).map(|pod| &pod.workload.name)
    }

    /// Puts a pod in place and returns the one of that name that stood there, whose services it takes over.
    pub(super) fn insert(&mut self, mut pod: Pod) -> Option<Pod> {
        let (namespace, name) = (pod.workload.namespace().clone(), pod.workload.name.clone());
        let Some(place) = self.number(&namespace, &name).and_then(|id| self.places.get_mut(id.place())) else {
            self.seen += 1;
            self.settle(&namespace, pod);
            return None;
        };
        if let Some(old) = place {
            pod.services = old.services.clone();
        }
        let old = place.replace(pod).filter(|old| old.seen);
        self.seen += usize::from(old.is_none());
        old
    }

    /// Takes a pod out. One that slices name is awaited from now on.
    pub(super) fn remove(&mut self, namespace: &str, name: &str) -> Option<Pod> {
        let id = self.number(namespace, name)?;
        let old = self.at(id)?.clone();
        self.seen -= 1;
        if old.services.is_empty() {
            self.leave(id);
        } else {
            let unknown = self.unknown(old.workload.namespace());
            if let Some(place) = self.places.get_mut(id.place()) {
                *place = Some(Pod::named(&old.workload.name, &unknown, old.services.clone()));
            }
        }
        Some(old)
    }

    /// Replaces what a pod's endpoints share; its name stays.
    pub(super) fn put_workload(&mut self, workload: Arc<Workload>) {
        let id = self.number(workload.namespace(), &workload.name);
        if let Some(pod) = id.and_then(|id| self.places.get_mut(id.place())?.as_mut()) {
            pod.workload = workload;
        }
    }

    /// A slice of a service names a pod. `alone` is a list of nothing but that service, which the pods of most services share.
    pub(super) fn name_for(&mut self, namespace: &Arc<str>, name: &Arc<str>, alone: &Names) -> PodId {
        let Some(id) = self.number(namespace, name) else {
            let unknown = self.unknown(namespace);
            return self.settle(namespace, Pod::named(name, &unknown, alone.clone()));
        };
        if let Some(pod) = self.places.get_mut(id.place()).and_then(Option::as_mut) {
            if pod.services.is_empty() {
                pod.services = alone.clone();
            } else if let Some(service) = alone.iter().find(|service| !pod.services.contains(service)) {
                pod.services = pod.services.iter().chain([service]).cloned().collect();
            }
        }
        id
    }

    /// No slice of a service names the pod any more.
    pub(super) fn forget_for(&mut self, id: PodId, service: &str) {
        let Some(pod) = self.places.get_mut(id.place()).and_then(Option::as_mut) else { return };
        pod.services = pod.services.iter().filter(|own| ***own != *service).cloned().collect();
        if !pod.seen && pod.services.is_empty() {
            self.leave(id);
        }
    }

    fn unknown(&self, namespace: &Arc<str>) -> Unknown {
        let kin = || Arc::new(Kin { namespace: namespace.clone(), ..Kin::default() });
        Unknown { kin: self.numbers.get(namespace).map_or_else(kin, |n| n.kin.clone()), place: self.nowhere.clone() }
    }

    fn place(&self, id: PodId) -> Option<&Pod> {
        self.places.get(id.place())?.as_ref()
    }

    fn number(&self, namespace: &str, name: &str) -> Option<PodId> {
        let numbers = self.numbers.get(namespace)?;
        numbers.by_name.find(self.hasher.hash_one(name), |id| self.name(*id).is_some_and(|own| **own == *name)).copied()
    }

    /// Gives a pod a number.
    fn settle(&mut self, namespace: &Arc<str>, pod: Pod) -> PodId {
        let name = pod.workload.name.clone();
        let id = match self.free.pop() {
            Some(id) => {
                self.places[id.place()] = Some(pod);
                id
            }
            None => {
                // Twice as many places at a time would be half of them empty.
                if self.places.len() == self.places.capacity() {
                    self.places.reserve_exact(self.places.len() / 8 + 8);
                }
                self.places.push(Some(pod));
                // A cluster of four billion pods does not fit into memory.
                PodId(NonZeroU32::new(self.places.len() as u32).unwrap_or(NonZeroU32::MAX))
            }
        };
        let Self { places, numbers, hasher, .. } = self;
        let hash = |id: &PodId| places.get(id.place()).and_then(Option::as_ref).map_or(0, |pod| hasher.hash_one(&*pod.workload.name));
        let none = || Numbers { kin: Arc::new(Kin { namespace: namespace.clone(), ..Kin::default() }), ..Numbers::default() };
        numbers.entry(namespace.clone()).or_insert_with(none).by_name.insert_unique(hasher.hash_one(&*name), id, hash);
        id
    }

    /// Takes a number back.
    fn leave(&mut self, id: PodId) {
        let Some(pod) = self.places.get_mut(id.place()).and_then(Option::take) else { return };
        let (namespace, name) = (pod.workload.namespace(), &pod.workload.name);
        if let Some(numbers) = self.numbers.get_mut(namespace) {
            if let Ok(entry) = numbers.by_name.find_entry(self.hasher.hash_one(&**name), |own| *own == id) {
                entry.remove();
            }
            if numbers.by_name.is_empty() {
                self.numbers.remove(namespace);
            }
        }
        self.free.push(id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(name: &str, ready: bool) -> Pod {
        let fact = PodFact {
            name: name.into(),
            kin: Arc::new(Kin { namespace: "ns".into(), ..Kin::default() }),
            addresses: Addresses::One(Ipv4Addr::LOCALHOST),
            node: Arc::default(),
            ports: NamedPorts::default(),
            ready,
        };
        Pod::new(&fact, Arc::new(fact.workload()))
    }

    #[test]
    fn a_number_lasts_while_a_pod_is_known_or_named_m17() {
        let (ns, mut pods) = (Arc::from("ns"), Pods::default());
        let alone = |service: &str| Names::from([Arc::from(service)]);
        let id = pods.name_for(&ns, &"a".into(), &alone("s"));
        assert_eq!((pods.count(), pods.at(id).is_none(), pods.get("ns", "a").is_none()), (0, true, true));
        assert!(pods.insert(pod("a", false)).is_none());
        assert_eq!(pods.name_for(&ns, &"a".into(), &alone("t")), id);
        assert_eq!(pods.insert(pod("a", true)).map(|old| old.ready), Some(false));
        assert_eq!(pods.at(id).map(|pod| (pod.ready, pod.services().len())), Some((true, 2)));
        assert_eq!(pods.remove("ns", "a").map(|old| old.services().len()), Some(2));
        assert!(pods.remove("ns", "a").is_none() && pods.at(id).is_none());
        assert_eq!(pods.name(id).map(|name| &**name), Some("a"), "services name it still");
        pods.forget_for(id, "s");
        assert!(pods.name(id).is_some());
        pods.forget_for(id, "t");
        assert!(pods.name(id).is_none() && pods.numbers.is_empty());
        assert_eq!(pods.name_for(&ns, &"b".into(), &alone("s")), id, "the number is given again");
        assert!(pods.insert(pod("c", true)).is_none());
        assert_eq!((pods.count(), pods.iter().count(), pods.within("ns").count(), pods.within("other").count()), (1, 1, 1, 0));
    }

    #[test]
    fn a_pods_record_is_small() {
        assert_eq!((size_of::<Addresses>(), size_of::<Option<Pod>>()), (16, 56));
    }
}
