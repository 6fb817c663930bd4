//! Which WorkloadEntries are probed, and what their verdicts do: a failing one is an unhealthy endpoint, told as any change.
//!
//! An entry is probed if its group has a probe (S-11) that a gateway can make. One whose own agent reports its health
//! is not (S-10), nor is one that only its network's gateway reaches (S-8). A verdict holds for the address that was asked.

use std::collections::BTreeSet;
use std::sync::Arc;

use isthmus_config::name::ClusterId;
use isthmus_config::object::{Kind, ObjectRef};
use isthmus_config::parse::Document;
use isthmus_config::problem::{Problem, Severity};
use isthmus_core::join;
use tokio::sync::watch;

use super::Registry;
use crate::probe::{self, Entry, Probe, Target, Targets, Verdict};

/// What is known of an entry that is probed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probed {
    /// The verdict in force.
    pub verdict: Verdict,
    /// How often it went from well to unhealthy or back.
    pub changes: u64,
}

/// Says where a group asks for what a gateway cannot do.
pub(super) fn unprobed(document: &Document) -> Option<Problem> {
    let Document::WorkloadGroup(group) = document else { return None };
    let (path, message) = probe::cannot(group.spec.probe.as_ref()?)?;
    let object = ObjectRef::new(Kind::WorkloadGroup, group.meta.namespace.clone(), group.meta.name.clone());
    Some(Problem::new(Severity::Warning, "ISM0213", message).at(path).of(object, &group.origin))
}

impl Registry {
    /// The entries to probe, told anew when they change.
    pub fn targets(&self) -> watch::Receiver<Targets> {
        self.targets.subscribe()
    }

    /// What probing has found, by entry.
    pub fn probed(&self) -> impl Iterator<Item = (&Entry, &Probed)> {
        self.verdicts.iter()
    }

    /// Brings what is asked of one entry in line with its group and itself.
    pub(super) fn aim(&mut self, id: &ClusterId, object: &ObjectRef) {
        let target = self.target(id, object);
        let entry = (id.clone(), object.clone());
        let old = self.targets.borrow().get(&entry).cloned();
        if old == target {
            return;
        }
        let same_address = old.zip(target.as_ref()).is_some_and(|(old, new)| old.address == new.address);
        self.targets.send_modify(|targets| match target {
            Some(target) => drop(targets.insert(entry.clone(), target)),
            None => drop(targets.remove(&entry)),
        });
        if !same_address && let Some(old) = self.verdicts.remove(&entry) {
            self.mark(&entry, old.verdict.failure.is_some(), false);
        }
    }

    /// The same of all entries of a namespace.
    pub(super) fn aim_all(&mut self, namespace: &Arc<str>) {
        let waiting = self.waiting.values();
        let in_cluster = self.clusters.iter().chain(waiting);
        let here = in_cluster.flat_map(|c| c.workload_entries.within(namespace).map(|(name, _)| (c.id.clone(), name.clone())));
        let entries: BTreeSet<(ClusterId, Arc<str>)> = here.collect();
        for (id, name) in entries {
            self.aim(&id, &ObjectRef::new(Kind::WorkloadEntry, namespace.clone(), name));
        }
    }

    fn target(&mut self, id: &ClusterId, object: &ObjectRef) -> Option<Target> {
        let groups: Vec<_> = self.world.documents.workload_groups.within(&object.namespace).cloned().collect();
        if groups.is_empty() {
            return None;
        }
        let own_network = self.settings.gateway.network.clone();
        let entry = self.cluster(id)?.0.workload_entries.get(&object.namespace, &object.name)?;
        let address = &entry.spec.address;
        let elsewhere = !own_network.is_empty() && !entry.spec.network.is_empty() && entry.spec.network != own_network.as_str();
        if address.is_empty() || address.starts_with("unix://") || elsewhere || join::reports_health(entry) {
            return None;
        }
        let probe = Probe::of(join::group_of(entry, groups.iter())?.spec.probe.as_ref()?)?;
        Some(Target { address: address.as_str().into(), probe: Arc::new(probe) })
    }

    pub(super) fn take_verdict(&mut self, entry: Entry, address: &str, verdict: Verdict) {
        if self.targets.borrow().get(&entry).is_none_or(|target| *target.address != *address) {
            return;
        }
        let old = self.verdicts.get(&entry);
        let (failed, fails) = (old.is_some_and(|old| old.verdict.failure.is_some()), verdict.failure.is_some());
        let changes = old.map_or(0, |old| old.changes) + u64::from(failed != fails);
        self.verdicts.insert(entry.clone(), Probed { verdict, changes });
        self.mark(&entry, failed, fails);
    }

    /// Makes an entry fail or not, and touches the services that have it.
    fn mark(&mut self, (id, object): &Entry, failed: bool, fails: bool) {
        if failed == fails {
            return;
        }
        let Some((cluster, shown)) = self.cluster(id) else { return };
        if fails {
            cluster.failing.insert(object.namespace.clone(), object.name.clone(), ());
        } else {
            cluster.failing.remove(&object.namespace, &object.name);
        }
        let Some(entry) = cluster.workload_entries.get(&object.namespace, &object.name) else { return };
        let labels = [join::labels(entry)];
        if shown {
            self.touch_selecting(&object.namespace, &labels);
            self.touch_selecting_services(&object.namespace, &labels);
        }
    }
}
