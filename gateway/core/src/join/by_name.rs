//! Values by namespace and name, in order.

use std::collections::BTreeMap;
use std::sync::Arc;

/// Values by namespace, then name.
#[derive(Clone, Debug)]
pub struct ByName<T>(BTreeMap<Arc<str>, BTreeMap<Arc<str>, T>>);

impl<T> Default for ByName<T> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<T> ByName<T> {
    /// The value of that name.
    pub fn get(&self, namespace: &str, name: &str) -> Option<&T> {
        self.0.get(namespace)?.get(name)
    }
    /// Namespace and name as they are held, where they have a value.
    pub fn key(&self, namespace: &str, name: &str) -> Option<(&Arc<str>, &Arc<str>)> {
        let (namespace, names) = self.0.get_key_value(namespace)?;
        Some((namespace, names.get_key_value(name)?.0))
    }
    /// The value of that name, to be changed.
    pub fn get_mut(&mut self, namespace: &str, name: &str) -> Option<&mut T> {
        self.0.get_mut(namespace)?.get_mut(name)
    }
    /// The value of that name, made where it does not exist.
    pub fn entry(&mut self, namespace: Arc<str>, name: Arc<str>) -> &mut T
    where
        T: Default,
    {
        self.0.entry(namespace).or_default().entry(name).or_default()
    }
    /// Puts a value in place and returns the one that stood there.
    pub fn insert(&mut self, namespace: Arc<str>, name: Arc<str>, value: T) -> Option<T> {
        self.0.entry(namespace).or_default().insert(name, value)
    }
    /// Takes a value out.
    pub fn remove(&mut self, namespace: &str, name: &str) -> Option<T> {
        let names = self.0.get_mut(namespace)?;
        let value = names.remove(name);
        if names.is_empty() {
            self.0.remove(namespace);
        }
        value
    }
    /// All values of a namespace by name.
    pub fn within(&self, namespace: &str) -> impl Iterator<Item = (&Arc<str>, &T)> {
        self.0.get(namespace).into_iter().flatten()
    }
    /// All values by namespace and name.
    pub fn iter(&self) -> impl Iterator<Item = (&Arc<str>, &Arc<str>, &T)> {
        self.0.iter().flat_map(|(ns, names)| names.iter().map(move |(name, value)| (ns, name, value)))
    }
}
