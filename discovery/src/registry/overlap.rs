//! A cluster that is read in two ways at once: objects in files beside those of its API server.
//!
//! Of an object that both give, the API server's version counts; the file's is a problem, and takes its place when the
//! API server's goes. So what files say is held here, and of what the API server says nothing: there may be a hundred thousand.

use std::collections::{BTreeSet, HashMap, HashSet};

use isthmus_config::name::ClusterId;
use isthmus_config::object::{ObjectRef, Origin};
use isthmus_config::problem::{Problem, Severity};

use crate::settings::Settings;
use crate::source::{Fact, SourceId, Via};

/// An object of a cluster.
type Place = (ClusterId, ObjectRef);

/// What files say of clusters that are read in two ways.
#[derive(Clone, Debug, Default)]
pub(super) struct Overlap {
    clusters: BTreeSet<ClusterId>,
    files: HashMap<Place, Fact>,
    /// Those of them that the API server has too.
    twice: BTreeSet<Place>,
    /// What is laid over all that is known, which counts before everything and is never taken away again.
    laid: HashSet<Place>,
}

impl Overlap {
    pub(super) fn new(settings: &Settings) -> Self {
        let both = settings.servers.keys().filter(|cluster| settings.roots.contains_key(*cluster));
        Self { clusters: both.cloned().collect(), ..Self::default() }
    }

    /// True for a cluster that is read in more than one way.
    pub(super) fn concerns(&self, cluster: &ClusterId) -> bool {
        self.clusters.contains(cluster)
    }

    /// Takes a version in; false where another way's version counts. `is_served`: the API server has the object.
    pub(super) fn take(&mut self, source: &SourceId, fact: &Fact, is_served: bool) -> bool {
        if !self.clusters.contains(&source.0) {
            return true;
        }
        let place = (source.0.clone(), (*fact.reference()).clone());
        let is_laid = self.laid.contains(&place);
        match source.1 {
            Via::Overlay => {
                self.laid.insert(place);
                true
            }
            Via::Server => {
                if self.files.contains_key(&place) {
                    self.twice.insert(place);
                }
                !is_laid
            }
            Via::Files => {
                if is_served {
                    self.twice.insert(place.clone());
                }
                self.files.insert(place, fact.clone());
                !is_served && !is_laid
            }
        }
    }

    /// Takes a version out. What is in force may change: to another version, or to nothing.
    pub(super) fn forget(&mut self, source: &SourceId, object: &ObjectRef, is_served: bool) -> Left {
        if !self.clusters.contains(&source.0) {
            return Left::Nothing;
        }
        let place = (source.0.clone(), object.clone());
        self.twice.remove(&place);
        let is_laid = self.laid.contains(&place);
        match source.1 {
            Via::Server => match self.files.get(&place) {
                _ if is_laid => Left::Same,
                Some(file) => Left::Other(file.clone()),
                None => Left::Nothing,
            },
            Via::Files => {
                self.files.remove(&place);
                if is_served || is_laid { Left::Same } else { Left::Nothing }
            }
            Via::Overlay => Left::Nothing,
        }
    }

    /// One for each object whose file's version does not count.
    pub(super) fn problems(&self) -> impl Iterator<Item = Problem> {
        let twice = self.twice.iter().filter(|place| !self.laid.contains(*place)).filter_map(|place| Some((place, self.files.get(place)?)));
        twice.map(|((cluster, object), file)| {
            let origin = file.origin().cloned().unwrap_or_else(|| Origin { cluster: cluster.clone(), ..Origin::default() });
            let message = format!("not in force: the API server of {cluster} has {object} already, and its version counts");
            Problem::new(Severity::Error, "ISM0201", message).of(object.clone(), &origin)
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
            Fact::Namespace("n".into(), Box::new(Namespace { labels, ..Namespace::default() }))
        };
        let object = ObjectRef::new(Kind::Namespace, "", "n");
        assert!(overlap.take(&files, &fact("file"), false));
        assert_eq!(overlap.problems().count(), 0);
        assert!(overlap.take(&server, &fact("server"), true));
        assert!(!overlap.take(&files, &fact("file"), true));
        assert_eq!(overlap.problems().count(), 1);
        assert!(matches!(overlap.forget(&server, &object, false), Left::Other(other) if other == fact("file")));
        assert_eq!(overlap.problems().count(), 0);
        assert!(matches!(overlap.forget(&files, &object, false), Left::Nothing));
        assert!(overlap.take(&server, &fact("server"), true) && overlap.files.is_empty(), "what the API server says is not held twice");
        assert!(!overlap.take(&files, &fact("file"), true) && overlap.problems().count() == 1);
        assert!(matches!(overlap.forget(&files, &object, true), Left::Same) && overlap.problems().count() == 0);
        assert!(matches!(overlap.forget(&server, &object, false), Left::Nothing));
        assert!(overlap.take(&SourceId("c".into(), Via::Overlay), &fact("laid over it"), true) && overlap.problems().count() == 0);
        assert!(!overlap.take(&server, &fact("server"), true), "what is laid over it counts");
        assert!(Overlap::default().take(&server, &fact("server"), true), "a cluster that is read in one way");
    }
}
