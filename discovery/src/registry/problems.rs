//! Everything wrong that is known of what exists: what sources told, what the admission rules refuse, and what only shows
//! where objects stand side by side.

use isthmus_config::object::{Kind, ObjectRef, Origin};
use isthmus_config::problem::{Problem, Severity};
use isthmus_core::join::Cluster;

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
            .chain(self.clusters.iter().flat_map(without_service))
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
}

/// One for each slice that belongs to a Service which its cluster does not have.
fn without_service(cluster: &Cluster) -> impl Iterator<Item = Problem> {
    cluster.slices_alone().map(|slice| {
        let message = format!("not used: there is no Service {} in {}", slice.service, cluster.id);
        Problem { object: Some((*slice.object).clone()), ..Problem::new(Severity::Info, "ISM0210", message) }
    })
}
