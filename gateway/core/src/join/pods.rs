//! The pods of a cluster, of which there are as many as endpoints: everything is said once, and what replicas share is shared.
//!
//! A pod has a number for as long as it is known or a slice names it, and slices hold numbers instead of names. So one that is
//! named and has not been seen has its place too, with the slices that wait for it (M-17). A record holds what joining reads
//! beside the [`Workload`] that its endpoints share, and the slices that name it, so that a change of it finds their services.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use hashbrown::HashTable;
use smallvec::SmallVec;

use super::numbered::{Number, Numbered};
use super::slices::SliceId;
use crate::model::{Kin, Place, Workload};

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
    /// Its namespace, labels, service account and named ports.
    pub kin: Arc<Kin>,
    /// Its addresses, the first one being that by which selectors reach it (S-6).
    pub addresses: Addresses,
    /// Its node, or "".
    pub node: Arc<str>,
    /// Condition Ready is True, and it has neither ended nor is it on its way out.
    pub ready: bool,
}

impl PodFact {
    /// What its endpoints share, but for the place where it stands.
    pub fn workload(&self) -> Workload {
        let place = Place { node: self.node.clone(), ..Place::default() };
        Workload { name: (&*self.name).into(), kin: self.kin.clone(), place: Arc::new(place) }
    }
}

/// A pod as it is kept.
#[derive(Clone, Debug)]
pub struct Pod {
    /// What its endpoints share (L-1, L-5, M-31).
    pub workload: Arc<Workload>,
    /// Its addresses.
    pub addresses: Addresses,
    /// The first slice that names it.
    slice: Option<SliceId>,
    /// Condition Ready is True.
    pub ready: bool,
    /// It is more than named.
    seen: bool,
}

impl Pod {
    /// A pod whose endpoints share `workload`.
    pub fn new(fact: &PodFact, workload: Arc<Workload>) -> Self {
        Self { workload, addresses: fact.addresses.clone(), slice: None, ready: fact.ready, seen: true }
    }

    /// One that is named, and no more is known of it.
    fn named(name: &str, unknown: &Unknown, slice: Option<SliceId>) -> Self {
        let workload = Workload { name: name.into(), kin: unknown.kin.clone(), place: unknown.place.clone() };
        Self { workload: Arc::new(workload), addresses: Addresses::default(), slice, ready: false, seen: false }
    }

    /// True where `fact` says nothing else.
    pub fn is(&self, fact: &PodFact) -> bool {
        let own = &self.workload;
        (self.ready, own.node(), &own.kin, &self.addresses) == (fact.ready, &fact.node, &fact.kin, &fact.addresses)
    }
}

/// The number of a pod, which is another's once nobody knows or names it any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PodId(Number);

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
    all: Numbered<Pod>,
    numbers: HashMap<Arc<str>, Numbers>,
    /// Further slices that name a pod, of the few that more than one does.
    more: HashMap<PodId, Vec<SliceId>>,
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
        self.all.get(id.0).filter(|pod| pod.seen)
    }
    /// All pods of a namespace, in any order.
    pub fn within(&self, namespace: &str) -> impl Iterator<Item = &Pod> {
        self.numbers.get(namespace).into_iter().flat_map(|n| &n.by_name).filter_map(|id| self.at(*id))
    }
    /// All pods.
    pub fn iter(&self) -> impl Iterator<Item = &Pod> {
        self.numbered().map(|(_, pod)| pod)
    }
    /// All pods with their numbers.
    pub fn numbered(&self) -> impl Iterator<Item = (PodId, &Pod)> {
        self.all.iter().map(|(number, pod)| (PodId(number), pod)).filter(|(_, pod)| pod.seen)
    }
    /// The number of a pod that has been seen.
    pub fn find(&self, namespace: &str, name: &str) -> Option<PodId> {
        self.number(namespace, name).filter(|id| self.at(*id).is_some())
    }
    /// How many there are.
    pub fn count(&self) -> usize {
        self.seen
    }

    /// The name of a pod that is known or named.
    pub(super) fn name(&self, id: PodId) -> Option<&str> {
        self.all.get(id.0).map(|pod| &*pod.workload.name)
    }

    /// The slices that name a pod, be it known or not.
    pub(super) fn slices(&self, namespace: &str, name: &str) -> impl Iterator<Item = SliceId> {
        let id = self.number(namespace, name);
        let first = id.and_then(|id| self.all.get(id.0)?.slice);
        first.into_iter().chain(id.and_then(|id| self.more.get(&id)).into_iter().flatten().copied())
    }

    /// Puts a pod in place and returns the one of that name that stood there, whose slices it takes over.
    pub(super) fn insert(&mut self, pod: Pod) -> Option<Pod> {
        let known = self.number(pod.workload.namespace(), &pod.workload.name).and_then(|id| self.all.get_mut(id.0));
        let Some(known) = known else {
            self.seen += 1;
            self.settle(pod);
            return None;
        };
        let slice = known.slice;
        let old = Some(std::mem::replace(known, Pod { slice, ..pod })).filter(|old| old.seen);
        self.seen += usize::from(old.is_none());
        old
    }

    /// Takes a pod out. One that slices name is awaited from now on.
    pub(super) fn remove(&mut self, namespace: &str, name: &str) -> Option<Pod> {
        let id = self.number(namespace, name)?;
        let old = self.at(id)?.clone();
        self.seen -= 1;
        if old.slice.is_none() {
            self.leave(id);
        } else {
            let unknown = self.unknown(old.workload.namespace());
            if let Some(known) = self.all.get_mut(id.0) {
                *known = Pod::named(name, &unknown, old.slice);
            }
        }
        Some(old)
    }

    /// Replaces what a pod's endpoints share; its name stays.
    pub(super) fn put_workload(&mut self, workload: Arc<Workload>) {
        let id = self.number(workload.namespace(), &workload.name);
        if let Some(pod) = id.and_then(|id| self.all.get_mut(id.0)) {
            pod.workload = workload;
        }
    }

    /// A slice names a pod.
    pub(super) fn name_for(&mut self, namespace: &Arc<str>, name: &str, slice: SliceId) -> PodId {
        let Some(id) = self.number(namespace, name) else {
            let unknown = self.unknown(namespace);
            return self.settle(Pod::named(name, &unknown, Some(slice)));
        };
        if let Some(pod) = self.all.get_mut(id.0)
            && *pod.slice.get_or_insert(slice) != slice
        {
            let more = self.more.entry(id).or_default();
            if !more.contains(&slice) {
                more.push(slice);
            }
        }
        id
    }

    /// A slice names the pod no more.
    pub(super) fn forget_for(&mut self, id: PodId, slice: SliceId) {
        let Some(pod) = self.all.get_mut(id.0) else { return };
        if let Some(more) = self.more.get_mut(&id) {
            more.retain(|other| *other != slice);
            if pod.slice == Some(slice) {
                pod.slice = more.pop();
            }
            if more.is_empty() {
                self.more.remove(&id);
            }
        } else if pod.slice == Some(slice) {
            pod.slice = None;
        }
        if !pod.seen && pod.slice.is_none() {
            self.leave(id);
        }
    }

    fn unknown(&self, namespace: &Arc<str>) -> Unknown {
        let kin = || Arc::new(Kin { namespace: namespace.clone(), ..Kin::default() });
        Unknown { kin: self.numbers.get(namespace).map_or_else(kin, |n| n.kin.clone()), place: self.nowhere.clone() }
    }

    fn number(&self, namespace: &str, name: &str) -> Option<PodId> {
        let numbers = self.numbers.get(namespace)?;
        numbers.by_name.find(self.hasher.hash_one(name), |id| self.name(*id) == Some(name)).copied()
    }

    /// Gives a pod a number.
    fn settle(&mut self, pod: Pod) -> PodId {
        let workload = pod.workload.clone();
        let (id, namespace) = (PodId(self.all.add(pod)), workload.namespace());
        let Self { all, numbers, hasher, .. } = self;
        let hash = |id: &PodId| all.get(id.0).map_or(0, |pod| hasher.hash_one(&*pod.workload.name));
        let none = || Numbers { kin: Arc::new(Kin { namespace: namespace.clone(), ..Kin::default() }), ..Numbers::default() };
        numbers.entry(namespace.clone()).or_insert_with(none).by_name.insert_unique(hasher.hash_one(&*workload.name), id, hash);
        id
    }

    /// Takes a number back.
    fn leave(&mut self, id: PodId) {
        let Some(pod) = self.all.take(id.0) else { return };
        let (namespace, name) = (pod.workload.namespace(), &pod.workload.name);
        if let Some(numbers) = self.numbers.get_mut(namespace) {
            if let Ok(entry) = numbers.by_name.find_entry(self.hasher.hash_one(&**name), |own| *own == id) {
                entry.remove();
            }
            if numbers.by_name.is_empty() {
                self.numbers.remove(namespace);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use isthmus_config::object::{Kind, ObjectRef};

    use super::super::slices::{Slice, SliceFact, Slices};
    use super::*;
    use crate::model::NamedPorts;

    fn pod(name: &str, ready: bool) -> Pod {
        let fact = PodFact {
            name: name.into(),
            kin: Arc::new(Kin { namespace: "ns".into(), ..Kin::default() }),
            addresses: Addresses::One(Ipv4Addr::LOCALHOST),
            node: Arc::default(),
            ready,
        };
        Pod::new(&fact, Arc::new(fact.workload()))
    }

    #[test]
    fn a_number_lasts_while_a_pod_is_known_or_named_m17() {
        let (ns, mut pods, mut slices) = (Arc::from("ns"), Pods::default(), Slices::default());
        let [s, t, u] = ["s", "t", "u"].map(|name| {
            let id = slices.number("ns", name);
            let object = Arc::new(ObjectRef::new(Kind::EndpointSlice, "ns", name));
            let fact = SliceFact { object, service: name.into(), ports: NamedPorts::default(), endpoints: Box::default() };
            slices.put(Slice::new(&fact, |_| unreachable!("it names no pod")));
            id
        });
        let named_by = |pods: &Pods| pods.slices("ns", "a").collect::<Vec<_>>();
        let id = pods.name_for(&ns, "a", s);
        assert_eq!((pods.count(), pods.at(id).is_none(), pods.get("ns", "a").is_none()), (0, true, true));
        assert!(pods.insert(pod("a", false)).is_none());
        for slice in [t, u, t, s] {
            assert_eq!(pods.name_for(&ns, "a", slice), id);
        }
        assert_eq!(pods.insert(pod("a", true)).map(|old| old.ready), Some(false));
        assert_eq!((pods.at(id).map(|pod| pod.ready), named_by(&pods)), (Some(true), vec![s, t, u]));
        assert!(pods.remove("ns", "a").is_some() && pods.remove("ns", "a").is_none() && pods.at(id).is_none());
        assert_eq!((pods.name(id), named_by(&pods)), (Some("a"), vec![s, t, u]), "slices name it still");
        pods.forget_for(id, s);
        assert_eq!(named_by(&pods), [u, t]);
        pods.forget_for(id, t);
        pods.forget_for(id, s);
        assert_eq!((pods.name(id), named_by(&pods), pods.more.len()), (Some("a"), vec![u], 0));
        pods.forget_for(id, u);
        assert!(pods.name(id).is_none() && pods.numbers.is_empty());
        assert_eq!(pods.name_for(&ns, "b", s), id, "the number is given again");
        assert!(pods.insert(pod("c", true)).is_none());
        assert_eq!((pods.count(), pods.iter().count(), pods.within("ns").count(), pods.within("other").count()), (1, 1, 1, 0));
    }

    #[test]
    fn a_pods_record_is_small() {
        assert_eq!((size_of::<Addresses>(), size_of::<Option<Pod>>()), (16, 32));
    }
}
