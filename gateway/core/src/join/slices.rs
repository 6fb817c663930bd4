//! EndpointSlices: as their cluster tells them, and as they are kept, with numbers in the place of pods' names.
//!
//! There are as many addresses as endpoints, so what is kept of one is its address, its condition and a number. A slice has a number
//! too, for as long as it is known, by which the pods that it names hold it.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use hashbrown::HashTable;
use isthmus_config::object::ObjectRef;

use super::numbered::{Number, Numbered};
use super::pods::{PodId, Pods};
use crate::model::{Health, NamedPorts};

/// What an EndpointSlice says of an endpoint (M-10..M-13).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Condition {
    /// `conditions.ready`
    pub ready: Option<bool>,
    /// `conditions.serving`
    pub serving: Option<bool>,
    /// `conditions.terminating`
    pub terminating: Option<bool>,
}

impl Condition {
    /// The endpoint's health, or `None` where it is gone (M-10..M-13).
    pub fn health(self, persistent_session: bool) -> Option<Health> {
        if self.ready != Some(false) {
            Some(Health::Healthy)
        } else if persistent_session && self.serving != Some(false) && self.terminating != Some(false) {
            Some(Health::Draining)
        } else if self.terminating != Some(false) {
            None
        } else {
            Some(Health::Unhealthy)
        }
    }
}

/// One address of an EndpointSlice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SliceEndpoint {
    /// Where it is reached.
    pub address: IpAddr,
    /// What its slice says of it.
    pub condition: Condition,
    /// The pod behind it, of the slice's namespace, where it names one (M-17).
    pub pod: Option<Arc<str>>,
    /// The node that it runs on (M-18).
    pub node: Option<Arc<str>>,
}

/// An EndpointSlice of IP addresses that belongs to a service (M-16), as its cluster tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SliceFact {
    /// Which object it is.
    pub object: Arc<ObjectRef>,
    /// The service that it belongs to, of its own namespace.
    pub service: Arc<str>,
    /// Its ports, by which endpoints join a service's (M-2).
    pub ports: NamedPorts,
    /// Its addresses in order.
    pub endpoints: Box<[SliceEndpoint]>,
}

/// An EndpointSlice as it is kept.
#[derive(Clone, Debug)]
pub struct Slice {
    /// Which object it is.
    pub object: Arc<ObjectRef>,
    /// The service that it belongs to, of its own namespace.
    pub service: Arc<str>,
    /// Its ports, by which endpoints join a service's (M-2).
    pub ports: NamedPorts,
    endpoints: Endpoints,
    /// The nodes of endpoints that name no pod, by their place; the others run on their pod's.
    nodes: Box<[(u32, Arc<str>)]>,
}

/// The addresses of a slice in order. All are of one family, nearly always the first.
#[derive(Clone, Debug)]
enum Endpoints {
    V4(Box<[Held<Ipv4Addr>]>),
    Any(Box<[Held]>),
}

/// One address of a slice that is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held<A = IpAddr> {
    /// Where it is reached.
    pub address: A,
    /// What its slice says of it.
    pub condition: Condition,
    /// The pod behind it, where it names one (M-17).
    pub pod: Option<PodId>,
}

impl FromIterator<Held> for Endpoints {
    fn from_iter<I: IntoIterator<Item = Held>>(all: I) -> Self {
        let all: Box<[Held]> = all.into_iter().collect();
        let v4 = |held: &Held| match held.address {
            IpAddr::V4(address) => Some(Held { address, condition: held.condition, pod: held.pod }),
            IpAddr::V6(_) => None,
        };
        all.iter().map(v4).collect::<Option<_>>().map_or(Self::Any(all), Self::V4)
    }
}

impl Slice {
    /// What is kept of a slice, `number` giving a pod its number.
    pub(super) fn new(fact: &SliceFact, mut number: impl FnMut(&str) -> PodId) -> Self {
        let held = |e: &SliceEndpoint| Held { address: e.address, condition: e.condition, pod: e.pod.as_deref().map(&mut number) };
        let endpoints = fact.endpoints.iter().map(held).collect();
        let alone = (0..).zip(&fact.endpoints).filter(|(_, e)| e.pod.is_none());
        let nodes = alone.filter_map(|(place, e)| Some((place, e.node.clone()?))).collect();
        Self { object: fact.object.clone(), service: fact.service.clone(), ports: fact.ports.clone(), endpoints, nodes }
    }

    /// True where `fact` says nothing else.
    pub(super) fn is(&self, fact: &SliceFact, pods: &Pods) -> bool {
        let same = |(place, (held, told)): (usize, (Held, &SliceEndpoint))| {
            (held.address, held.condition) == (told.address, told.condition)
                && held.pod.and_then(|id| pods.name(id)) == told.pod.as_deref()
                && (told.pod.is_some() || self.node(place) == told.node.as_deref())
        };
        (&self.object, &self.service, &self.ports, self.count()) == (&fact.object, &fact.service, &fact.ports, fact.endpoints.len())
            && self.endpoints().zip(&fact.endpoints).enumerate().all(same)
    }

    /// Its addresses in order.
    pub fn endpoints(&self) -> impl Iterator<Item = Held> {
        let (v4, any) = match &self.endpoints {
            Endpoints::V4(list) => (&list[..], &[][..]),
            Endpoints::Any(list) => (&[][..], &list[..]),
        };
        let told = |held: &Held<Ipv4Addr>| Held { address: IpAddr::V4(held.address), condition: held.condition, pod: held.pod };
        v4.iter().map(told).chain(any.iter().copied())
    }

    /// How many addresses it has.
    pub fn count(&self) -> usize {
        match &self.endpoints {
            Endpoints::V4(list) => list.len(),
            Endpoints::Any(list) => list.len(),
        }
    }

    /// The node of the endpoint at a place, where it names no pod (M-18).
    pub(super) fn node(&self, place: usize) -> Option<&str> {
        let found = self.nodes.binary_search_by_key(&place, |(at, _)| *at as usize).ok()?;
        self.nodes.get(found).map(|(_, node)| &**node)
    }

    /// The pods that it names.
    pub(super) fn pods(&self) -> impl Iterator<Item = PodId> {
        self.endpoints().filter_map(|e| e.pod)
    }

    /// The addresses of endpoints that name no pod.
    pub(super) fn podless(&self) -> impl Iterator<Item = IpAddr> {
        self.endpoints().filter(|e| e.pod.is_none()).map(|e| e.address)
    }

    /// True where one of its endpoints names no pod.
    pub(super) fn has_podless(&self) -> bool {
        self.podless().next().is_some()
    }
}

/// The number of a slice, which is another's once it is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SliceId(Number);

/// The slices of a cluster, by namespace and name, and by namespace and service.
#[derive(Clone, Debug, Default)]
pub(super) struct Slices {
    all: Numbered<Slice>,
    by_name: HashTable<SliceId>,
    /// Those of one service have one hash.
    by_service: HashTable<SliceId>,
    hasher: RandomState,
}

impl Slices {
    /// The number of a slice: its own, or the one that it gets when it is put in place next.
    pub(super) fn number(&self, namespace: &str, name: &str) -> SliceId {
        self.find(namespace, name).unwrap_or_else(|| SliceId(self.all.next()))
    }

    /// The slice of that number.
    pub(super) fn at(&self, id: SliceId) -> Option<&Slice> {
        self.all.get(id.0)
    }

    /// The number of a slice that is known.
    pub(super) fn find(&self, namespace: &str, name: &str) -> Option<SliceId> {
        let is = |id: &SliceId| self.at(*id).is_some_and(|s| (&*s.object.namespace, &*s.object.name) == (namespace, name));
        self.by_name.find(self.hasher.hash_one((namespace, name)), is).copied()
    }

    /// All of them with their numbers.
    pub(super) fn iter(&self) -> impl Iterator<Item = (SliceId, &Slice)> {
        self.all.iter().map(|(number, slice)| (SliceId(number), slice))
    }

    /// Those of a service, in any order.
    pub(super) fn of(&self, namespace: &str, service: &str) -> impl Iterator<Item = &Slice> {
        let alike = self.by_service.iter_hash(self.hasher.hash_one((namespace, service))).filter_map(|id| self.at(*id));
        alike.filter(move |s| (&*s.object.namespace, &*s.service) == (namespace, service))
    }

    /// Puts a slice in place and returns what it was before.
    pub(super) fn put(&mut self, slice: Slice) -> Option<Slice> {
        let old = self.remove(&slice.object.namespace, &slice.object.name);
        let id = SliceId(self.all.add(slice));
        let Self { all, by_name, by_service, hasher } = self;
        let Some(slice) = all.get(id.0) else { return old };
        let name = |id: &SliceId| all.get(id.0).map_or(0, |s| hash(hasher, &s.object.namespace, &s.object.name));
        let service = |id: &SliceId| all.get(id.0).map_or(0, |s| hash(hasher, &s.object.namespace, &s.service));
        by_name.insert_unique(hash(hasher, &slice.object.namespace, &slice.object.name), id, name);
        by_service.insert_unique(hash(hasher, &slice.object.namespace, &slice.service), id, service);
        old
    }

    /// Takes a slice out.
    pub(super) fn remove(&mut self, namespace: &str, name: &str) -> Option<Slice> {
        let id = self.find(namespace, name)?;
        let slice = self.all.take(id.0)?;
        for (table, word) in [(&mut self.by_name, name), (&mut self.by_service, &*slice.service)] {
            if let Ok(entry) = table.find_entry(hash(&self.hasher, namespace, word), |own| *own == id) {
                entry.remove();
            }
        }
        Some(slice)
    }
}

fn hash(hasher: &RandomState, namespace: &str, word: &str) -> u64 {
    hasher.hash_one((namespace, word))
}

#[cfg(test)]
mod tests {
    use isthmus_config::object::Kind;

    use super::*;

    #[test]
    fn slices_are_found_by_name_and_by_service() {
        let slice = |name: &str, service: &str| {
            let object = Arc::new(ObjectRef::new(Kind::EndpointSlice, "ns", name));
            let fact = SliceFact { object, service: service.into(), ports: NamedPorts::default(), endpoints: Box::default() };
            Slice::new(&fact, |_| unreachable!("it names no pod"))
        };
        let mut all = Slices::default();
        let of = |all: &Slices, service: &str| {
            let mut names: Vec<_> = all.of("ns", service).map(|s| s.object.name.to_string()).collect();
            names.sort();
            names.join(" ")
        };
        for (name, service) in [("a", "s"), ("b", "s"), ("c", "t")] {
            let number = all.number("ns", name);
            assert!(all.put(slice(name, service)).is_none());
            assert_eq!(all.find("ns", name), Some(number));
        }
        assert_eq!((of(&all, "s"), of(&all, "t"), of(&all, "a")), ("a b".to_owned(), "c".to_owned(), String::new()));
        let number = all.number("ns", "a");
        assert_eq!(all.put(slice("a", "t")).map(|old| old.service), Some("s".into()));
        assert_eq!((of(&all, "s"), of(&all, "t"), all.find("ns", "a")), ("b".to_owned(), "a c".to_owned(), Some(number)));
        assert!(all.remove("ns", "a").is_some() && all.remove("ns", "a").is_none() && all.find("ns", "a").is_none());
        assert_eq!((of(&all, "t"), all.iter().count(), all.of("other", "t").count()), ("c".to_owned(), 2, 0));
    }

    #[test]
    fn addresses_of_both_families_are_kept_in_order() {
        for addresses in [&["10.0.0.1", "10.0.0.2"][..], &["10.0.0.1", "fd00::1"], &["fd00::1"], &[]] {
            let held = |a: &&str| Held { address: a.parse().expect("an address"), condition: Condition::default(), pod: None };
            let endpoints: Endpoints = addresses.iter().map(held).collect();
            let is_v4 = matches!(endpoints, Endpoints::V4(_));
            let object = Arc::new(ObjectRef::new(Kind::EndpointSlice, "ns", "a"));
            let slice = Slice { object, service: "s".into(), ports: NamedPorts::default(), endpoints, nodes: Box::default() };
            let told: Vec<String> = slice.endpoints().map(|e| e.address.to_string()).collect();
            assert_eq!(
                (&*told, slice.count(), is_v4),
                (&addresses.iter().map(|a| (*a).to_owned()).collect::<Vec<_>>()[..], addresses.len(), !addresses.contains(&"fd00::1"))
            );
        }
        assert_eq!((size_of::<Held<Ipv4Addr>>(), size_of::<Slice>()), (12, 72));
    }
}
