//! Everything wrong that is known of what exists: what sources told, what the admission rules refuse, and what only shows
//! where objects stand side by side.

use isthmus_config::object::{Kind, ObjectRef, Origin};
use isthmus_config::problem::{Problem, Severity};
use isthmus_core::join::Slice;

use super::Registry;
use crate::source::Status;

impl Registry {
    /// Everything wrong that is known here: files, objects, duplicates; by source and file.
    pub fn problems(&self) -> Vec<Problem> {
        self.file_problems
            .values()
            .chain(self.object_problems.values())
            .flatten()
            .cloned()
            .chain(self.overlap.problems())
            .chain(self.copies.problems())
            .chain(self.conflicts.values().flatten().cloned())
            .chain(self.network_problems())
            .chain(self.failures())
            .chain(self.without_service())
            .collect()
    }

    /// One for each cluster that was never listed.
    fn failures(&self) -> impl Iterator<Item = Problem> {
        self.settings.clusters.iter().filter_map(|cluster| {
            let Status::Failed(reason) = self.status(cluster) else { return None };
            let message = format!("cluster {cluster} cannot be read, and nothing of it serves: {reason}");
            let secret = self.secret(cluster).and_then(|secret| secret.split_once('/'));
            let object = secret.map(|(namespace, name)| ObjectRef::new(Kind::Secret, namespace, name));
            let origin = Origin { cluster: cluster.clone(), ..Origin::default() };
            Some(Problem { object, origin, ..Problem::new(Severity::Error, "ISM0211", message) })
        })
    }

    /// One for each slice of a Service that no cluster has. Where another cluster has it, its own need not (M-1).
    fn without_service(&self) -> impl Iterator<Item = Problem> {
        let is_known = |slice: &Slice| self.clusters.iter().any(|c| c.services().get(&slice.object.namespace, &slice.service).is_some());
        let alone = self.clusters.iter().flat_map(|cluster| cluster.slices_alone().map(move |slice| (cluster, slice)));
        alone.filter(move |(_, slice)| !is_known(slice)).map(|(cluster, slice)| {
            let message = format!("not used: there is no Service {} in {}", slice.service, cluster.id);
            Problem { object: Some((*slice.object).clone()), ..Problem::new(Severity::Info, "ISM0210", message) }
        })
    }
}

#[cfg(test)]
mod tests {
    use isthmus_config::bootstrap::Bootstrap;

    use crate::{Settings, offline};

    const SERVICE: &str = "{apiVersion: v1, kind: Service, metadata: {name: s, namespace: ns}, spec: {ports: [{name: http, port: 80}]}}\n---\n";
    const SLICES: &str = "{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, addressType: IPv4, metadata: {name: a, namespace: ns, labels: \
        {kubernetes.io/service-name: s}}, ports: [{name: http, port: 80}], endpoints: [{addresses: [10.0.0.1]}]}\n---\n\
        {apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, addressType: IPv4, metadata: {name: b, namespace: ns, labels: \
        {kubernetes.io/service-name: t}}, ports: [{name: http, port: 80}], endpoints: [{addresses: [10.0.0.2]}]}\n";

    #[test]
    fn a_slice_whose_service_another_cluster_has_is_used_and_not_reported() {
        let directory = tempfile::tempdir().expect("a directory");
        for (cluster, text) in [("c1", SERVICE), ("c2", SLICES)] {
            std::fs::create_dir(directory.path().join(cluster)).expect("a directory");
            std::fs::write(directory.path().join(cluster).join("all.yaml"), text).expect("a file");
        }
        let text = "gateway: {name: gw, namespace: ns, cluster: c1}\nclusters: [{name: c1, path: c1}, {name: c2, path: c2}]\n";
        let (bootstrap, _) = Bootstrap::parse(text, &directory.path().join("isthmus.yaml")).expect("isthmus.yaml");
        let mut registry = offline(Settings::load(&bootstrap).expect("settings").0, Vec::new());
        let told: Vec<String> = registry.problems().iter().filter(|p| p.code == "ISM0210").map(|p| p.message.to_string()).collect();
        assert_eq!(told, ["not used: there is no Service t in c2"]);
        assert_eq!(registry.world().0.catalog.endpoints.values().map(|all| all.len()).sum::<usize>(), 1);
    }
}
