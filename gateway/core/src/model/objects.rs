//! The Istio objects of one kind by namespace and name, in order: a clone shares each namespace until one of the two changes it.

use std::collections::BTreeMap;
use std::sync::Arc;

use isthmus_config::object::Object;

use super::NamespacedName;

type Names<S> = BTreeMap<Arc<str>, Arc<Object<S>>>;

/// Objects of one kind. Changing a clone copies the pointers of the object's own namespace, and of no other.
#[derive(Debug, PartialEq)]
pub struct Objects<S>(BTreeMap<Arc<str>, Arc<Names<S>>>);

impl<S> Clone for Objects<S> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<S> Default for Objects<S> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<S> Objects<S> {
    /// The object of that name.
    pub fn get(&self, (namespace, name): &NamespacedName) -> Option<&Arc<Object<S>>> {
        self.0.get(namespace)?.get(name)
    }
    /// True where there is one of that name.
    pub fn contains_key(&self, name: &NamespacedName) -> bool {
        self.get(name).is_some()
    }
    /// Puts an object in place and returns the one that stood there.
    pub fn insert(&mut self, (namespace, name): NamespacedName, object: Arc<Object<S>>) -> Option<Arc<Object<S>>> {
        Arc::make_mut(self.0.entry(namespace).or_default()).insert(name, object)
    }
    /// Takes an object out.
    pub fn remove(&mut self, (namespace, name): &NamespacedName) -> Option<Arc<Object<S>>> {
        // A namespace without it stays shared.
        let names = self.0.get_mut(namespace).filter(|names| names.contains_key(name))?;
        let old = Arc::make_mut(names).remove(name);
        if names.is_empty() {
            self.0.remove(namespace);
        }
        old
    }
    /// All names in order.
    pub fn keys(&self) -> impl Iterator<Item = NamespacedName> {
        self.0.iter().flat_map(|(namespace, names)| names.keys().map(|name| (namespace.clone(), name.clone())))
    }
    /// All objects by namespace and name.
    pub fn values(&self) -> impl Iterator<Item = &Arc<Object<S>>> {
        self.0.values().flat_map(|names| names.values())
    }
    /// The objects of a namespace by name.
    pub fn within(&self, namespace: &str) -> impl Iterator<Item = &Arc<Object<S>>> {
        self.0.get(namespace).into_iter().flat_map(|names| names.values())
    }
}

#[cfg(test)]
mod tests {
    use isthmus_config::object::{Meta, Origin};

    use super::*;

    #[test]
    fn a_change_copies_its_own_namespace_and_no_other() {
        let object = |spec: u8| Arc::new(Object { meta: Meta::default(), spec, origin: Origin::default() });
        let at = |namespace: &str, name: &str| -> NamespacedName { (namespace.into(), name.into()) };
        let mut all = Objects::default();
        for (n, (namespace, name)) in [("b", "x"), ("a", "y"), ("a", "x"), ("c", "x")].into_iter().enumerate() {
            assert_eq!(all.insert(at(namespace, name), object(n as u8)), None);
        }
        assert!(all.keys().eq([at("a", "x"), at("a", "y"), at("b", "x"), at("c", "x")]));
        assert!(all.values().map(|o| o.spec).eq([2, 1, 0, 3]) && all.within("a").map(|o| o.spec).eq([2, 1]));
        let before = all.clone();
        assert_eq!(all.insert(at("a", "x"), object(9)).map(|old| old.spec), Some(2));
        assert_eq!((all.remove(&at("c", "x")).map(|old| old.spec), all.remove(&at("b", "z"))), (Some(3), None));
        let shared = |namespace: &str| all.0.get(namespace).zip(before.0.get(namespace)).is_some_and(|(a, b)| Arc::ptr_eq(a, b));
        assert_eq!((shared("a"), shared("b"), all.0.len(), before.values().count()), (false, true, 2, 4));
        assert!(all.contains_key(&at("a", "x")) && before.get(&at("a", "x")).is_some_and(|o| o.spec == 2));
    }
}
