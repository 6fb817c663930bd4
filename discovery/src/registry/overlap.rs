//! A cluster that is read in two ways at once: objects in files beside those of its API server.
//!
//! Of an object that both give, the API server's version counts; the file's is a problem, and takes its place when the
//! API server's goes.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use isthmus_config::name::ClusterId;
use isthmus_config::object::{ObjectRef, Origin};
use isthmus_config::problem::{Problem, Severity};

use crate::settings::Settings;
use crate::source::{Fact, SourceId, Via};

/// The versions of every object of a cluster that is read in two ways.
#[derive(Clone, Debug, Default)]
pub(super) struct Overlap {
    clusters: BTreeSet<ClusterId>,
    versions: HashMap<(ClusterId, ObjectRef), BTreeMap<Via, Fact>>,
}

impl Overlap {
    pub(super) fn new(settings: &Settings) -> Self {
        let both = settings.servers.keys().filter(|cluster| settings.roots.contains_key(*cluster));
        Self { clusters: both.cloned().collect(), versions: HashMap::new() }
    }

    /// True for a cluster that is read in more than one way.
    pub(super) fn concerns(&self, cluster: &ClusterId) -> bool {
        self.clusters.contains(cluster)
    }

    /// Takes a version in; false where another way's version counts.
    pub(super) fn take(&mut self, source: &SourceId, fact: &Fact) -> bool {
        if !self.clusters.contains(&source.0) {
            return true;
        }
        let versions = self.versions.entry((source.0.clone(), (*fact.reference()).clone())).or_default();
        versions.insert(source.1, fact.clone());
        versions.keys().next() == Some(&source.1)
    }

    /// Takes a version out. What is in force may change: to another version, or to nothing.
    pub(super) fn forget(&mut self, source: &SourceId, object: &ObjectRef) -> Left {
        if !self.clusters.contains(&source.0) {
            return Left::Nothing;
        }
        let key = (source.0.clone(), object.clone());
        let Some(versions) = self.versions.get_mut(&key) else { return Left::Nothing };
        let counted = versions.keys().next() == Some(&source.1);
        versions.remove(&source.1);
        match versions.values().next() {
            None => {
                self.versions.remove(&key);
                Left::Nothing
            }
            Some(_) if !counted => Left::Same,
            Some(other) => Left::Other(other.clone()),
        }
    }

    /// One for each object whose file's version does not count.
    pub(super) fn problems(&self) -> impl Iterator<Item = Problem> {
        let twice = self.versions.iter().filter(|(_, versions)| versions.contains_key(&Via::Server) && versions.contains_key(&Via::Files));
        twice.filter_map(|((cluster, object), versions)| {
            let origin = match versions.values().last()? {
                Fact::Istio(_, document) => Some(document.origin().clone()),
                Fact::Service(service) => service.origin.as_ref().map(|origin| (**origin).clone()),
                Fact::Slice(_) | Fact::Pod(_) | Fact::Node(..) | Fact::Namespace(..) => None,
            };
            let origin = origin.unwrap_or_else(|| Origin { cluster: cluster.clone(), ..Origin::default() });
            let message = format!("not in force: the API server of {cluster} has {object} already, and its version counts");
            Some(Problem::new(Severity::Error, "ISM0201", message).of(object.clone(), &origin))
        })
    }
}

/// What is left of an object when one version of it goes.
pub(super) enum Left {
    /// The version that counted still does.
    Same,
    /// Another version counts now.
    Other(Fact),
    /// No version.
    Nothing,
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use isthmus_config::bootstrap::Bootstrap;
    use isthmus_config::object::{Kind, Labels};
    use isthmus_core::join::Namespace;

    use super::*;

    #[test]
    fn the_api_servers_version_counts_and_the_files_takes_its_place() {
        let text = "clusters: [{name: c, kubeconfig: k}]\nconfig: {files: [f]}\n";
        let (bootstrap, _) = Bootstrap::parse(text, Path::new("isthmus.yaml")).expect("settings");
        let (settings, _) = Settings::load(&bootstrap).expect("settings");
        let mut overlap = Overlap::new(&settings);
        let (server, files) = (SourceId("c".into(), Via::Server), SourceId("c".into(), Via::Files));
        let fact = |label: &str| {
            let labels = Labels::from([(Arc::from("from"), Arc::from(label))]);
            Fact::Namespace("n".into(), Namespace { labels, ..Namespace::default() })
        };
        let object = ObjectRef::new(Kind::Namespace, "", "n");
        assert!(overlap.take(&files, &fact("file")));
        assert_eq!(overlap.problems().count(), 0);
        assert!(overlap.take(&server, &fact("server")));
        assert!(!overlap.take(&files, &fact("file")));
        assert_eq!(overlap.problems().count(), 1);
        assert!(matches!(overlap.forget(&server, &object), Left::Other(other) if other == fact("file")));
        assert!(matches!(overlap.forget(&files, &object), Left::Nothing));
        assert!(overlap.take(&server, &fact("server")) && !overlap.take(&files, &fact("file")));
        assert!(matches!(overlap.forget(&files, &object), Left::Same));
        assert!(overlap.take(&SourceId("c".into(), Via::Overlay), &fact("laid over it")) && overlap.problems().count() == 0);
        assert!(!overlap.take(&server, &fact("server")), "what is laid over it counts");
        assert!(Overlap::default().take(&server, &fact("server")), "a cluster that is read in one way");
    }
}
