//! What a namespace says for those in it: the network of a cluster, on its system namespace (M-31), and which endpoints its
//! services prefer (L-25).
//!
//! A namespace that says something else touches what it speaks for, and nothing else: a cluster's network is told of its own
//! workloads, so the hosts of other clusters stay untouched.

use std::collections::BTreeSet;
use std::sync::Arc;

use isthmus_config::istio::ServiceEntry;
use isthmus_config::name::{ClusterId, Hostname};
use isthmus_config::object::{Labels, Object};
use isthmus_core::join::{self, Cluster, Namespace};

use super::Registry;
use super::clusters::moved;

impl Registry {
    pub(super) fn take_namespace(&mut self, id: &ClusterId, name: Arc<str>, namespace: Option<Namespace>) {
        let mesh = self.mesh.clone();
        let of_config = *id == self.settings.config_cluster;
        let Some((cluster, shown)) = self.cluster(id) else { return };
        let network = join::network::of_system_namespace(cluster, &mesh);
        let old = match namespace.clone() {
            Some(namespace) => cluster.namespaces.insert(name.clone(), namespace),
            None => cluster.namespaces.remove(&name),
        };
        let moves = network != join::network::of_system_namespace(cluster, &mesh);
        let distribution = |namespace: &Option<Namespace>| namespace.as_ref().and_then(|n| n.distribution);
        let asks_anew = distribution(&old) != distribution(&namespace);
        if shown && moves {
            self.move_cluster(id);
        }
        // Only the first cluster's namespaces are asked.
        if shown && asks_anew && self.clusters.first().is_some_and(|first| first.id == *id) {
            self.touch_within(&name);
        }
        if of_config && old != namespace {
            let namespaces = Arc::make_mut(&mut Arc::make_mut(&mut self.world).catalog.namespaces);
            match namespace {
                Some(namespace) => namespaces.insert(name, namespace.labels),
                None => namespaces.remove(&name),
            };
            self.changes.all = true;
        }
    }

    /// A cluster's system namespace names another network: pods that name none themselves move, and so does what stands behind
    /// no pod; entries without a network of their own carry another label (M-32).
    fn move_cluster(&mut self, id: &ClusterId) {
        let Some(cluster) = self.clusters.iter_mut().find(|c| c.id == *id) else { return };
        let made: Vec<_> = cluster.pods().iter().filter_map(|pod| moved(cluster, pod, &self.mesh)).collect();
        made.iter().for_each(|workload| cluster.put_workload(workload.clone()));
        let without = cluster.workload_entries.iter().filter(|(_, _, entry)| entry.spec.network.is_empty());
        let entries: Vec<(Arc<str>, Labels)> = without.map(|(namespace, _, entry)| (namespace.clone(), join::labels(entry))).collect();
        for workload in made {
            self.touch_pod(id, workload.namespace(), &workload.name, None);
        }
        let podless = self.clusters.iter().filter(|c| c.id == *id).flat_map(Cluster::podless);
        let podless: Vec<Hostname> = podless.map(|(namespace, name)| self.host(namespace, name)).collect();
        self.dirty.extend(podless);
        for (namespace, labels) in entries {
            let labels = [labels];
            self.touch_selecting(&namespace, &labels);
            self.touch_selecting_services(&namespace, &labels);
        }
        // What ServiceEntries name themselves stands in the first cluster.
        if self.clusters.first().is_some_and(|first| first.id == *id) {
            self.touch_entries(|entry| entry.spec.workload_selector.is_none());
        }
    }

    /// Touches every service of a namespace, of whatever kind and cluster.
    fn touch_within(&mut self, namespace: &str) {
        let services = self.clusters.iter().flat_map(|c| c.services().within(namespace));
        let hosts: BTreeSet<Hostname> = services.map(|(name, _)| self.host(namespace, name)).collect();
        self.dirty.extend(hosts);
        self.touch_entries(|entry| *entry.meta.namespace == *namespace);
    }

    /// Touches the hosts of the ServiceEntries that are so.
    fn touch_entries(&mut self, is_so: impl Fn(&Object<ServiceEntry>) -> bool) {
        let hosts = self.entries_by_host.iter().filter(|(_, claims)| claims.iter().any(|entry| is_so(entry)));
        self.dirty.extend(hosts.map(|(host, _)| host.clone()));
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use isthmus_config::bootstrap::Bootstrap;
    use isthmus_config::object::Kind;

    use crate::source::{Event, Fact, Partition, SourceId, Via};
    use crate::{Settings, offline};

    use super::*;

    const BOTH: &str = "---
apiVersion: v1
kind: Service
metadata: {name: both, namespace: ns}
spec: {ports: [{name: http, port: 80}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
addressType: IPv4
metadata: {name: both, namespace: ns, labels: {kubernetes.io/service-name: both}}
ports: [{name: http, port: 8080}]
endpoints: [{addresses: [10.0.0.1]}]
";

    const FIRST: &str = "---
apiVersion: v1
kind: Service
metadata: {name: first, namespace: ns}
spec: {selector: {app: vm}, ports: [{name: http, port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: other, namespace: elsewhere}
spec: {ports: [{name: http, port: 80}]}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: inline, namespace: ns}
spec: {hosts: [inline.test], ports: [{number: 80, name: http, protocol: HTTP}], resolution: STATIC, endpoints: [{address: 10.0.9.1}]}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: selecting, namespace: ns}
spec: {hosts: [selecting.test], ports: [{number: 80, name: http, protocol: HTTP}], resolution: STATIC, workloadSelector: {labels: {app: named}}}
";

    const SECOND: &str = "---
apiVersion: v1
kind: Service
metadata: {name: pods, namespace: ns}
spec: {ports: [{name: http, port: 80}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
addressType: IPv4
metadata: {name: pods, namespace: ns, labels: {kubernetes.io/service-name: pods}}
ports: [{name: http, port: 8080}]
endpoints: [{addresses: [10.0.0.3], targetRef: {kind: Pod, name: p}}, {addresses: [10.0.0.4], targetRef: {kind: Pod, name: named}}]
---
apiVersion: v1
kind: Pod
metadata: {name: p, namespace: ns}
status: {phase: Running, podIP: 10.0.0.3}
---
apiVersion: v1
kind: Pod
metadata: {name: named, namespace: ns, labels: {app: named, topology.istio.io/network: n7}}
status: {phase: Running, podIP: 10.0.0.4, conditions: [{type: Ready, status: \"True\"}]}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: vm, namespace: ns}
spec: {address: 10.0.9.2, labels: {app: vm}}
";

    /// Which hosts are joined again once a namespace of a cluster is so.
    fn touched(cluster: &str, name: &str, namespace: Namespace) -> Vec<String> {
        let folder = tempfile::tempdir().expect("a folder");
        for (cluster, text) in [("c1", FIRST), ("c2", SECOND)] {
            std::fs::create_dir(folder.path().join(cluster)).expect("a folder");
            std::fs::write(folder.path().join(cluster).join("a.yaml"), format!("{BOTH}{text}")).expect("a file");
        }
        let yaml = "gateway: {cluster: c1}\nclusters: [{name: c1, path: c1}, {name: c2, path: c2}]\n";
        let (bootstrap, _) = Bootstrap::parse(yaml, &folder.path().join(Path::new("isthmus.yaml"))).expect("isthmus.yaml");
        let mut registry = offline(Settings::load(&bootstrap).expect("settings").0, Vec::new());
        registry.world();
        assert!(registry.dirty.is_empty());
        let source = SourceId(cluster.into(), Via::Files);
        registry.apply(Event::Apply(Partition { source, kind: Kind::Namespace, generation: 1 }, Fact::Namespace(name.into(), Box::new(namespace))));
        registry.dirty.iter().map(|host| host.as_str().replace(".svc.cluster.local", "")).collect()
    }

    fn labelled(network: &str) -> Namespace {
        Namespace { labels: [("topology.istio.io/network".into(), network.into())].into(), ..Namespace::default() }
    }

    #[test]
    fn a_cluster_that_moves_touches_its_own_workloads_alone_m31_m32() {
        let sorted = |mut list: Vec<String>| {
            list.sort();
            list
        };
        let second = touched("c2", "istio-system", labelled("n2"));
        // Its pod, what no pod stands behind, and its entry in a service that only the first cluster has.
        assert_eq!(sorted(second), ["both.ns", "first.ns", "pods.ns"]);
        let first = touched("c1", "istio-system", labelled("n1"));
        assert_eq!(sorted(first), ["both.ns", "inline.test"]);
        assert_eq!(touched("c2", "ns", labelled("n2")), [""; 0], "only the system namespace names the network");
        assert_eq!(touched("c2", "istio-system", labelled("")), [""; 0]);
    }

    #[test]
    fn a_namespace_that_prefers_other_endpoints_touches_what_is_in_it_l25() {
        let asks = || Namespace { distribution: Some(isthmus_core::model::Distribution::SameZone), ..Namespace::default() };
        let mut of_first = touched("c1", "ns", asks());
        of_first.sort();
        assert_eq!(of_first, ["both.ns", "first.ns", "inline.test", "pods.ns", "selecting.test"]);
        assert_eq!(touched("c2", "ns", asks()), [""; 0], "the first cluster's namespaces count");
    }
}
