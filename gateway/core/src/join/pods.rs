//! The pods of a cluster, of which there are as many as endpoints: everything is said once, and what replicas share is shared.
//!
//! A pod is one record by namespace and name. It holds what joining reads beside the [`Workload`] that its endpoints share, and the
//! services whose slices name it, so that a change of it finds them.

use std::borrow::Borrow;
use std::collections::{HashMap, HashSet};
use std::hash::{Hash, Hasher};
use std::net::IpAddr;
use std::sync::Arc;

use isthmus_config::object::Labels;
use smallvec::SmallVec;

use crate::model::Workload;

/// A named port of a pod's container (S-7).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Container {
    /// The port's name.
    pub name: Arc<str>,
    /// Its number.
    pub port: u16,
}

/// A pod's addresses, nearly always one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Addresses {
    /// This one.
    One(IpAddr),
    /// Any other number.
    Many(Box<[IpAddr]>),
}

impl FromIterator<IpAddr> for Addresses {
    fn from_iter<I: IntoIterator<Item = IpAddr>>(all: I) -> Self {
        let all: SmallVec<[IpAddr; 2]> = all.into_iter().collect();
        if let [one] = all[..] { Self::One(one) } else { Self::Many(all.into_vec().into()) }
    }
}

impl std::ops::Deref for Addresses {
    type Target = [IpAddr];
    fn deref(&self) -> &[IpAddr] {
        match self {
            Self::One(one) => std::slice::from_ref(one),
            Self::Many(all) => all,
        }
    }
}

/// A pod that has not failed (M-17), as its cluster tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodFact {
    /// Its namespace.
    pub namespace: Arc<str>,
    /// Its name.
    pub name: Arc<str>,
    /// Its labels.
    pub labels: Arc<Labels>,
    /// Its addresses, the first one being that by which selectors reach it (S-6).
    pub addresses: Addresses,
    /// Its node, or "".
    pub node: Arc<str>,
    /// Its service account, or "".
    pub service_account: Arc<str>,
    /// Named ports of its containers.
    pub ports: Arc<[Container]>,
    /// Condition Ready is True.
    pub ready: bool,
}

impl PodFact {
    /// What its endpoints share, but for the place where it stands.
    pub fn workload(&self) -> Workload {
        Workload {
            name: self.name.clone(),
            namespace: self.namespace.clone(),
            labels: self.labels.clone(),
            service_account: self.service_account.clone(),
            node: self.node.clone(),
            ..Workload::default()
        }
    }
}

/// A pod as it is kept.
#[derive(Clone, Debug)]
pub struct Pod {
    /// What its endpoints share (L-1, L-5, M-31).
    pub workload: Arc<Workload>,
    /// Its addresses, the first one being that by which selectors reach it (S-6).
    pub addresses: Addresses,
    /// Named ports of its containers.
    pub ports: Arc<[Container]>,
    /// Condition Ready is True.
    pub ready: bool,
    /// Services of its namespace whose slices name it.
    pub services: SmallVec<[Arc<str>; 1]>,
}

impl Pod {
    /// A pod whose endpoints share `workload`.
    pub fn new(fact: &PodFact, workload: Arc<Workload>) -> Self {
        let PodFact { addresses, ports, ready, .. } = fact;
        Self { workload, addresses: addresses.clone(), ports: ports.clone(), ready: *ready, services: SmallVec::new() }
    }

    /// True where `fact` says nothing else.
    pub fn is(&self, fact: &PodFact) -> bool {
        let own = &self.workload;
        (self.ready, &own.node, &own.service_account) == (fact.ready, &fact.node, &fact.service_account)
            && (&self.addresses, &own.labels, &self.ports) == (&fact.addresses, &fact.labels, &fact.ports)
    }
}

#[derive(Clone, Debug)]
struct Named(Box<Pod>);

impl PartialEq for Named {
    fn eq(&self, other: &Self) -> bool {
        self.0.workload.name == other.0.workload.name
    }
}

impl Eq for Named {}

impl Hash for Named {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.workload.name.hash(state);
    }
}

impl Borrow<str> for Named {
    fn borrow(&self) -> &str {
        &self.0.workload.name
    }
}

/// Pods by namespace and name.
#[derive(Clone, Debug, Default)]
pub struct Pods(HashMap<Arc<str>, HashSet<Named>>);

impl Pods {
    /// The pod of that name.
    pub fn get(&self, namespace: &str, name: &str) -> Option<&Pod> {
        self.0.get(namespace)?.get(name).map(|pod| &*pod.0)
    }
    /// All pods of a namespace, in any order.
    pub fn within(&self, namespace: &str) -> impl Iterator<Item = &Pod> {
        self.0.get(namespace).into_iter().flatten().map(|pod| &*pod.0)
    }
    /// All pods, in any order.
    pub fn iter(&self) -> impl Iterator<Item = &Pod> {
        self.0.values().flatten().map(|pod| &*pod.0)
    }
    /// How many there are.
    pub fn count(&self) -> usize {
        self.0.values().map(HashSet::len).sum()
    }
    /// Puts a pod in place and returns the one of that name that stood there.
    pub(super) fn insert(&mut self, pod: Pod) -> Option<Pod> {
        self.0.entry(pod.workload.namespace.clone()).or_default().replace(Named(Box::new(pod))).map(|old| *old.0)
    }
    /// Takes a pod out.
    pub(super) fn remove(&mut self, namespace: &str, name: &str) -> Option<Pod> {
        let named = self.0.get_mut(namespace)?;
        let old = named.take(name).map(|old| *old.0);
        if named.is_empty() {
            self.0.remove(namespace);
        }
        old
    }
    /// Changes a pod in its place, if there is one of that name; its name stays.
    pub(super) fn change(&mut self, namespace: &str, name: &str, change: impl FnOnce(&mut Pod)) -> bool {
        let Some(named) = self.0.get_mut(namespace) else { return false };
        let Some(mut pod) = named.take(name) else { return false };
        change(&mut pod.0);
        named.insert(pod)
    }
}

/// Addresses that endpoints hold without naming a pod, and the pods that stand there.
#[derive(Clone, Debug, Default)]
pub(super) struct Alone(HashMap<IpAddr, Standing>);

#[derive(Clone, Debug, Default)]
struct Standing {
    /// How many endpoints hold the address.
    holders: u32,
    /// Namespace and name of the pods there, in order.
    pods: Vec<(Arc<str>, Arc<str>)>,
}

impl Alone {
    /// One more endpoint holds the address; true where it is the first.
    pub(super) fn hold(&mut self, address: IpAddr) -> bool {
        let standing = self.0.entry(address).or_default();
        standing.holders += 1;
        standing.holders == 1
    }
    /// One endpoint fewer holds it.
    pub(super) fn release(&mut self, address: IpAddr) {
        if let Some(standing) = self.0.get_mut(&address) {
            standing.holders = standing.holders.saturating_sub(1);
            if standing.holders == 0 {
                self.0.remove(&address);
            }
        }
    }
    /// True where an endpoint holds it.
    pub(super) fn holds(&self, address: IpAddr) -> bool {
        self.0.contains_key(&address)
    }
    /// The first pod by name that stands at an address.
    pub(super) fn first(&self, address: IpAddr) -> Option<&(Arc<str>, Arc<str>)> {
        self.0.get(&address)?.pods.first()
    }
    pub(super) fn arrive(&mut self, pod: &Pod) {
        for address in pod.addresses.iter() {
            if let Some(standing) = self.0.get_mut(address) {
                let name = (pod.workload.namespace.clone(), pod.workload.name.clone());
                if let Err(place) = standing.pods.binary_search(&name) {
                    standing.pods.insert(place, name);
                }
            }
        }
    }
    pub(super) fn leave(&mut self, pod: &Pod) {
        for address in pod.addresses.iter() {
            if let Some(standing) = self.0.get_mut(address) {
                standing.pods.retain(|(namespace, name)| (namespace, name) != (&pod.workload.namespace, &pod.workload.name));
            }
        }
    }
}
