//! EndpointSlices: as their cluster tells them, and as they are kept, with numbers in the place of pods' names.
//!
//! There are as many addresses as endpoints, so what is kept of one is its address, its condition and a number.

use std::net::IpAddr;
use std::sync::Arc;

use isthmus_config::object::ObjectRef;

use super::pods::{NamedPorts, PodId, Pods};
use crate::model::Health;

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

/// An EndpointSlice as it is kept, beside the others of its service.
#[derive(Clone, Debug)]
pub struct Slice {
    /// Which object it is.
    pub object: Arc<ObjectRef>,
    /// Its ports, by which endpoints join a service's (M-2).
    pub ports: NamedPorts,
    /// Its addresses in order.
    pub endpoints: Box<[Held]>,
    /// The nodes of endpoints that name no pod, by their place; the others run on their pod's.
    nodes: Box<[(u32, Arc<str>)]>,
}

/// One address of a slice that is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// Where it is reached.
    pub address: IpAddr,
    /// What its slice says of it.
    pub condition: Condition,
    /// The pod behind it, where it names one (M-17).
    pub pod: Option<PodId>,
}

impl Slice {
    /// What is kept of a slice, `number` giving a pod its number.
    pub(super) fn new(fact: &SliceFact, mut number: impl FnMut(&Arc<str>) -> PodId) -> Self {
        let held = |e: &SliceEndpoint| Held { address: e.address, condition: e.condition, pod: e.pod.as_ref().map(&mut number) };
        let endpoints = fact.endpoints.iter().map(held).collect();
        let alone = (0..).zip(&fact.endpoints).filter(|(_, e)| e.pod.is_none());
        let nodes = alone.filter_map(|(place, e)| Some((place, e.node.clone()?))).collect();
        Self { object: fact.object.clone(), ports: fact.ports.clone(), endpoints, nodes }
    }

    /// True where `fact` says nothing else.
    pub(super) fn is(&self, fact: &SliceFact, pods: &Pods) -> bool {
        let same = |(place, (held, told)): (usize, (&Held, &SliceEndpoint))| {
            (held.address, held.condition) == (told.address, told.condition)
                && held.pod.and_then(|id| pods.name(id)) == told.pod.as_ref()
                && (told.pod.is_some() || self.node(place) == told.node.as_deref())
        };
        (&self.object, &self.ports, self.endpoints.len()) == (&fact.object, &fact.ports, fact.endpoints.len())
            && self.endpoints.iter().zip(&fact.endpoints).enumerate().all(same)
    }

    /// The node of the endpoint at a place, where it names no pod (M-18).
    pub(super) fn node(&self, place: usize) -> Option<&str> {
        let found = self.nodes.binary_search_by_key(&place, |(at, _)| *at as usize).ok()?;
        self.nodes.get(found).map(|(_, node)| &**node)
    }

    /// The pods that it names.
    pub(super) fn pods(&self) -> impl Iterator<Item = PodId> {
        self.endpoints.iter().filter_map(|e| e.pod)
    }

    /// The addresses of endpoints that name no pod.
    pub(super) fn podless(&self) -> impl Iterator<Item = IpAddr> {
        self.endpoints.iter().filter(|e| e.pod.is_none()).map(|e| e.address)
    }
}
