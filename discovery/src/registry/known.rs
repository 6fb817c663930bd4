//! The names of a partition's objects: what a list did not name is told by comparing two of these.
//!
//! There are as many as there are pods, so a name is held, not copied, and not the object's kind beside it.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use isthmus_config::object::{Kind, ObjectRef};

/// Names by namespace.
#[derive(Clone, Debug, Default)]
pub(super) struct Known(HashMap<Arc<str>, HashSet<Arc<str>>>);

impl Known {
    /// Adds an object.
    pub(super) fn insert(&mut self, namespace: &Arc<str>, name: &Arc<str>) {
        match self.0.get_mut(namespace) {
            Some(names) => drop(names.insert(name.clone())),
            None => drop(self.0.insert(namespace.clone(), HashSet::from([name.clone()]))),
        }
    }

    /// False where it was not there.
    pub(super) fn remove(&mut self, object: &ObjectRef) -> bool {
        let Some(names) = self.0.get_mut(&object.namespace) else { return false };
        let was = names.remove(&object.name);
        if names.is_empty() {
            self.0.remove(&object.namespace);
        }
        was
    }

    /// The object's namespace and name as they are held here.
    pub(super) fn get(&self, object: &ObjectRef) -> Option<(&Arc<str>, &Arc<str>)> {
        let (namespace, names) = self.0.get_key_value(&object.namespace)?;
        Some((namespace, names.get(&object.name)?))
    }

    /// All of them, as objects of a kind.
    pub(super) fn objects(&self, kind: Kind) -> impl Iterator<Item = ObjectRef> {
        self.0.iter().flat_map(move |(namespace, names)| names.iter().map(move |name| ObjectRef::new(kind, namespace.clone(), name.clone())))
    }
}
