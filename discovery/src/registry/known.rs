//! The names of objects: what a list did not name is told by comparing two of these.
//!
//! There may be as many as there are pods, so a name is held, not copied, and not the object's kind beside it.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use isthmus_config::object::{Kind, ObjectRef};

/// Names by namespace.
#[derive(Clone, Debug, Default)]
pub(super) struct Known(HashMap<Arc<str>, HashSet<Arc<str>>>);

impl Known {
    /// Adds an object.
    pub(super) fn insert(&mut self, object: &ObjectRef) {
        match self.0.get_mut(&object.namespace) {
            Some(names) => drop(names.insert(object.name.clone())),
            None => drop(self.0.insert(object.namespace.clone(), HashSet::from([object.name.clone()]))),
        }
    }

    /// Takes an object out.
    pub(super) fn remove(&mut self, object: &ObjectRef) {
        if let Some(names) = self.0.get_mut(&object.namespace) {
            names.remove(&object.name);
            if names.is_empty() {
                self.0.remove(&object.namespace);
            }
        }
    }

    /// True where it is there.
    pub(super) fn contains(&self, object: &ObjectRef) -> bool {
        self.0.get(&object.namespace).is_some_and(|names| names.contains(&object.name))
    }

    /// The object by the names that are held here.
    pub(super) fn get(&self, object: &ObjectRef) -> Option<ObjectRef> {
        let (namespace, names) = self.0.get_key_value(&object.namespace)?;
        Some(ObjectRef::new(object.kind, namespace.clone(), names.get(&object.name)?.clone()))
    }

    /// All of them, as objects of a kind.
    pub(super) fn objects(&self, kind: Kind) -> impl Iterator<Item = ObjectRef> {
        self.0.iter().flat_map(move |(namespace, names)| names.iter().map(move |name| ObjectRef::new(kind, namespace.clone(), name.clone())))
    }
}
