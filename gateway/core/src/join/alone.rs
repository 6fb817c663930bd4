//! Addresses that endpoints hold without naming a pod, and the pods that stand there.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use super::pods::Pod;

/// Addresses that endpoints hold without naming a pod, and the pods that stand there.
#[derive(Clone, Debug, Default)]
pub(super) struct Alone(HashMap<IpAddr, Standing>);

#[derive(Clone, Debug, Default)]
struct Standing {
    /// How many endpoints hold the address.
    holders: u32,
    /// Namespace and name of the pods there, in order.
    pods: Vec<(Arc<str>, Box<str>)>,
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
    pub(super) fn first(&self, address: IpAddr) -> Option<&(Arc<str>, Box<str>)> {
        self.0.get(&address)?.pods.first()
    }
    pub(super) fn arrive(&mut self, pod: &Pod) {
        for address in pod.addresses.iter() {
            if let Some(standing) = self.0.get_mut(&address) {
                let name = (pod.workload.namespace().clone(), pod.workload.name.clone());
                if let Err(place) = standing.pods.binary_search(&name) {
                    standing.pods.insert(place, name);
                }
            }
        }
    }
    pub(super) fn leave(&mut self, pod: &Pod) {
        for address in pod.addresses.iter() {
            if let Some(standing) = self.0.get_mut(&address) {
                standing.pods.retain(|(namespace, name)| (namespace, name) != (pod.workload.namespace(), &pod.workload.name));
            }
        }
    }
}
