//! Where we stand, as far as isthmus.yaml does not say: our pod's labels, then our node (L-4); our network is our pod's (M-31).
//!
//! Our pod and node are named by the downward API. What was known of them stays while they cannot be seen.

use std::sync::Arc;

use isthmus_config::name::Network;
use isthmus_core::join;
use isthmus_core::model::GatewayIdentity;
use tracing::info;

use super::Registry;

impl Registry {
    /// Looks at our own pod, node and cluster, and tells everybody where that places us anew.
    pub(super) fn look_at_ourselves(&mut self) {
        let (mesh, pod) = (self.mesh.clone(), self.settings.pod.clone());
        let (id, node) = (self.settings.gateway.cluster.clone(), self.settings.node.clone());
        let Some((cluster, _)) = self.cluster(&id) else { return };
        let pod = pod.and_then(|(namespace, name)| cluster.pods().get(&namespace, &name)).cloned();
        let node = node.or_else(|| pod.as_ref().map(|pod| pod.workload.node().clone()).filter(|node| !node.is_empty()));
        let at_node = node.as_ref().and_then(|node| cluster.nodes.get(node)).map(|node| node.locality.clone());
        let network = match &pod {
            Some(pod) => join::network::of_pod(pod.workload.labels(), pod.addresses.first(), cluster, &mesh),
            None => join::network::of_cluster(None, cluster, &mesh),
        };
        if node != self.settings.node {
            self.settings.node = node.clone();
            // Services of our own node only had nothing to serve (M-18).
            self.touch_all();
        }
        let (asked, old) = (&self.asked, &self.settings.gateway);
        let by_labels = || pod.as_ref().and_then(|pod| join::locality::of_gateway(pod.workload.labels()));
        let found = Some(asked.locality.clone()).filter(|l| !l.is_empty());
        let found = found.or_else(|| join::locality::of_gateway(&asked.labels)).or_else(by_labels);
        let locality = found.or(at_node.filter(|l| !l.is_empty())).unwrap_or_else(|| old.locality.clone());
        let network = [&asked.network, &network].into_iter().find(|n| !n.is_empty()).map_or_else(Network::default, Network::clone);
        let labels = join::locality::extend(&asked.labels, &locality, &asked.cluster, &network, node.as_deref().unwrap_or_default());
        if (&locality, &network, &labels) == (&old.locality, &old.network, &old.labels) {
            return;
        }
        info!(%locality, %network, "where we stand");
        self.gateways_touched |= network != old.network;
        let gateway = Arc::new(GatewayIdentity { locality, network, labels, ..(**asked).clone() });
        self.settings.gateway = gateway.clone();
        Arc::make_mut(&mut self.world).gateway = gateway;
        self.changes.all = true;
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use isthmus_config::bootstrap::Bootstrap;
    use isthmus_core::model::World;

    use super::*;
    use crate::{Settings, offline};

    /// The world of a gateway whose pod is `istio-system/gw`.
    fn world(gateway: &str, pod: &str, namespace: &str) -> Arc<World> {
        let folder = tempfile::tempdir().expect("a folder");
        let text = format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: gw, namespace: istio-system, labels: {{{pod}}}}}\nspec: {{nodeName: n1}}\n---\napiVersion: v1\nkind: Node\nmetadata: {{name: n1, labels: {{topology.kubernetes.io/region: r1, topology.kubernetes.io/zone: z1}}}}\n---\napiVersion: v1\nkind: Namespace\nmetadata: {{name: istio-system, labels: {{{namespace}}}}}\n"
        );
        std::fs::write(folder.path().join("objects.yaml"), text).expect("a file");
        let yaml = format!("gateway: {{cluster: c1, {gateway}}}\nclusters: [{{name: c1, path: .}}]\n");
        let (bootstrap, _) = Bootstrap::parse(&yaml, &folder.path().join(Path::new("isthmus.yaml"))).expect("isthmus.yaml");
        let mut settings = Settings::load(&bootstrap).expect("settings").0;
        settings.pod = Some(("istio-system".into(), "gw".into()));
        offline(settings, Vec::new()).world().0
    }

    #[test]
    fn our_pod_and_node_say_where_we_stand_l4_m31() {
        let namespace = "topology.istio.io/network: n1";
        for (gateway, pod, want) in [
            ("", "", ("r1/z1/", "n1")),
            ("", "topology.istio.io/locality: r2.z2.s2, topology.istio.io/network: n2", ("r2/z2/s2", "n2")),
            ("", "topology.kubernetes.io/region: r3", ("r3//", "n1")),
            ("locality: r/z/s, network: n", "topology.istio.io/locality: r2.z2.s2, topology.istio.io/network: n2", ("r/z/s", "n")),
            ("labels: {istio-locality: r4.z4}", "topology.istio.io/locality: r2.z2.s2", ("r4/z4", "n1")),
        ] {
            let world = world(gateway, pod, namespace);
            assert_eq!((world.gateway.locality.as_str(), world.gateway.network.as_str()), want, "{gateway:?} {pod:?}");
            let label = |key: &str| world.gateway.labels.get(key).map(|v| v.to_string());
            assert_eq!((label("topology.istio.io/network"), label("kubernetes.io/hostname")), (Some(want.1.to_owned()), Some("n1".to_owned())));
        }
    }
}
