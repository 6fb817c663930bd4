//! What each cluster holds, and which services a change of it touches.
//!
//! While a cluster's first list is under way nothing is touched and no workload has its place: both happen once, when it is shown.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use isthmus_config::mesh::MeshConfig;
use isthmus_config::name::ClusterId;
use isthmus_config::object::{Kind, Labels, ObjectRef};
use isthmus_core::join::{self, Cluster, Node, Pod, PodFact, ServiceFact, SliceFact};
use isthmus_core::model::Workload;
use tracing::info;

use super::Registry;
use crate::source::Status;

impl Registry {
    /// The cluster, and whether the world shows it.
    pub(super) fn cluster(&mut self, id: &ClusterId) -> Option<(&mut Cluster, bool)> {
        match self.clusters.iter().position(|c| c.id == *id) {
            Some(shown) => self.clusters.get_mut(shown).map(|c| (c, true)),
            None => self.waiting.get_mut(id).map(|c| (c, false)),
        }
    }

    /// Shows a cluster once all of its partitions have been listed.
    pub(super) fn show_if_listed(&mut self, id: &ClusterId) {
        let is_listed = |kind: Kind, status: &Status| match status {
            Status::Live | Status::Stale { .. } => true,
            // Secrets only name members: who may not read them sees the cluster itself.
            Status::Failed(_) => kind == Kind::Secret,
            Status::Syncing => false,
        };
        if self.partitions.iter().any(|((source, kind), p)| source.0 == *id && !is_listed(*kind, &p.status)) {
            return;
        }
        let Some(mut cluster) = self.waiting.remove(id) else { return };
        cluster.show();
        info!(cluster = %id, services = cluster.services().iter().count(), pods = cluster.pods().count(), "cluster listed");
        let rank = self.rank(id);
        let place = self.clusters.iter().filter(|c| self.rank(&c.id) < rank).count();
        self.clusters.insert(place, cluster);
        self.retell(id);
        self.workload_entries(id).into_iter().for_each(|object| self.show_workload_entry(object));
    }

    /// Hides a cluster that is not asked for any more.
    pub(super) fn hide(&mut self, id: &ClusterId) {
        if self.is_listed(id) {
            self.touch_all();
        }
        let entries = self.workload_entries(id);
        self.clusters.retain(|c| c.id != *id);
        self.waiting.insert(id.clone(), Cluster::new(id.clone()));
        for object in entries {
            self.aim(id, &object);
            self.show_workload_entry(object);
        }
    }

    fn workload_entries(&self, id: &ClusterId) -> Vec<ObjectRef> {
        let cluster = self.clusters.iter().find(|c| c.id == *id);
        let entries = cluster.into_iter().flat_map(|c| c.workload_entries.iter());
        entries.map(|(ns, name, _)| ObjectRef::new(Kind::WorkloadEntry, ns.clone(), name.clone())).collect()
    }

    /// Mesh-wide settings reach everything: all is joined and compiled again.
    pub(super) fn take_mesh(&mut self, mesh: Arc<MeshConfig>) {
        if self.settings.mesh == mesh {
            return;
        }
        self.settings.mesh = mesh.clone();
        self.mesh = self.settings.joining();
        Arc::make_mut(&mut self.world).mesh = mesh;
        (self.changes.all, self.gateways_touched) = (true, true);
        let shown: Vec<ClusterId> = self.clusters.iter().map(|c| c.id.clone()).collect();
        shown.iter().for_each(|id| self.retell(id));
    }

    /// Makes the workloads of all pods of a cluster again and touches every host: its first list came, or mesh-wide settings.
    fn retell(&mut self, id: &ClusterId) {
        let Some(cluster) = self.clusters.iter_mut().find(|c| c.id == *id) else { return };
        let made: Vec<_> = cluster.pods().iter().filter_map(|pod| moved(cluster, pod, &self.mesh)).collect();
        made.into_iter().for_each(|workload| cluster.put_workload(workload));
        self.touch_all();
    }

    /// Touches every host: a cluster's WorkloadEntries and their network serve services that other clusters define.
    pub(super) fn touch_all(&mut self) {
        self.gateways_touched = true;
        let services = self.clusters.iter().flat_map(|c| c.services().iter());
        let hosts: Vec<_> = services.map(|(ns, name, _)| self.host(ns, name)).collect();
        self.backlog.extend(hosts);
        self.backlog.extend(self.entries_by_host.keys().cloned());
    }

    pub(super) fn host(&self, namespace: &str, name: &str) -> isthmus_config::name::Hostname {
        join::kubernetes_host(namespace, name, &self.settings.gateway.domain)
    }

    pub(super) fn touch(&mut self, namespace: &str, name: &str) {
        let host = self.host(namespace, name);
        self.dirty.insert(host);
    }

    pub(super) fn take_service(&mut self, id: &ClusterId, service: Arc<ServiceFact>) {
        let Some((cluster, shown)) = self.cluster(id) else { return };
        // What stays as it is keeps its allocation, which the world shares.
        if cluster.services().get(&service.namespace, &service.name) == Some(&service) {
            return;
        }
        let old = cluster.put_service(service.clone());
        if shown {
            self.touch(&service.namespace, &service.name);
            self.touch_gateways(id, old.as_deref(), Some(&service));
        }
    }

    pub(super) fn drop_service(&mut self, id: &ClusterId, namespace: &Arc<str>, name: &Arc<str>) {
        let Some((cluster, _)) = self.cluster(id) else { return };
        let old = cluster.remove_service(namespace, name);
        self.touch(namespace, name);
        self.touch_gateways(id, old.as_deref(), None);
    }

    pub(super) fn take_slice(&mut self, id: &ClusterId, slice: &SliceFact) {
        let Some((cluster, shown)) = self.cluster(id) else { return };
        let services = cluster.put_slice(slice);
        services.iter().filter(|_| shown).for_each(|service| self.touch(&slice.object.namespace, service));
    }

    pub(super) fn drop_slice(&mut self, id: &ClusterId, namespace: &Arc<str>, name: &Arc<str>) {
        let Some((cluster, shown)) = self.cluster(id) else { return };
        if let Some(service) = cluster.remove_slice(namespace, name).filter(|_| shown) {
            self.touch(namespace, &service);
        }
    }

    pub(super) fn take_pod(&mut self, id: &ClusterId, fact: &PodFact) {
        let mesh = self.mesh.clone();
        let Some((cluster, shown)) = self.cluster(id) else { return };
        if cluster.pods().get(&fact.kin.namespace, &fact.name).is_some_and(|old| old.is(fact)) {
            return;
        }
        let mut workload = fact.workload();
        if shown {
            workload = join::placed(cluster, &workload, fact.addresses.first(), &mesh);
        }
        let workload = cluster.share(workload);
        let old = cluster.put_pod(Pod::new(fact, workload));
        if shown {
            self.touch_pod(id, &fact.kin.namespace, &fact.name, old.as_ref());
        }
    }

    pub(super) fn drop_pod(&mut self, id: &ClusterId, namespace: &Arc<str>, name: &Arc<str>) {
        let Some((cluster, shown)) = self.cluster(id) else { return };
        let Some(old) = cluster.remove_pod(namespace, name) else { return };
        if shown {
            self.touch_pod(id, namespace, name, Some(&old));
        }
    }

    /// Touches the services whose slices name the pod or hold its address, and the ServiceEntries that select it.
    pub(super) fn touch_pod(&mut self, id: &ClusterId, namespace: &Arc<str>, name: &str, old: Option<&Pod>) {
        let Some(cluster) = self.clusters.iter().find(|c| c.id == *id) else { return };
        let both = || old.into_iter().chain(cluster.pods().get(namespace, name));
        let naming = cluster.services_naming(namespace, name).map(|service| (namespace.clone(), service.clone()));
        let mut services: BTreeSet<(Arc<str>, Arc<str>)> = naming.collect();
        let addresses: Vec<IpAddr> = both().flat_map(|p| p.addresses.iter()).collect();
        services.extend(cluster.holding(&addresses));
        let labels: Vec<Labels> = both().map(|p| p.workload.labels().clone()).collect();
        for (ns, name) in services {
            self.touch(&ns, &name);
        }
        self.touch_selecting(namespace, &labels);
    }

    pub(super) fn take_node(&mut self, id: &ClusterId, name: Arc<str>, node: Option<Node>) {
        let mesh = self.mesh.clone();
        let Some((cluster, shown)) = self.cluster(id) else { return };
        let old = match node.clone() {
            Some(node) => cluster.nodes.insert(name.clone(), node),
            None => cluster.nodes.remove(&name),
        };
        if !shown || old == node {
            return;
        }
        let walks = old.as_ref().map(|n| &n.locality) != node.as_ref().map(|n| &n.locality);
        let on_it = cluster.pods().iter().filter(|pod| walks && *pod.workload.node() == name);
        let made: Vec<_> = on_it.filter_map(|pod| moved(cluster, pod, &mesh)).collect();
        self.gateways_touched |= [&old, &node].into_iter().flatten().any(|n| !n.external_ips.is_empty());
        for workload in made {
            let (namespace, name) = (workload.namespace().clone(), workload.name.clone());
            if let Some((cluster, _)) = self.cluster(id) {
                cluster.put_workload(workload);
            }
            self.touch_pod(id, &namespace, &name, None);
        }
    }
}

/// What a pod's endpoints share, where that differs from what they did: its place became known, or another.
pub(super) fn moved(cluster: &Cluster, pod: &Pod, mesh: &join::Mesh) -> Option<Workload> {
    let now = join::placed(cluster, &pod.workload, pod.addresses.first(), mesh);
    (now != *pod.workload).then_some(now)
}
