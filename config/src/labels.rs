//! Values by name, labels first of all: a sorted list, since every pod's set is kept and nearly all are short.
//!
//! A tree of the standard library takes four hundred bytes for a single label; this takes the label's own.

use std::fmt;
use std::slice;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A key and its value.
type Pair<V> = (Arc<str>, V);

/// Values by key, each key once.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ByKey<V>(Box<[Pair<V>]>);

/// Labels or annotations.
pub type Labels = ByKey<Arc<str>>;

impl<V> Default for ByKey<V> {
    fn default() -> Self {
        Self(Box::default())
    }
}

impl<V> ByKey<V> {
    /// None.
    pub fn new() -> Self {
        Self::default()
    }
    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }
    /// True where there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<&V> {
        let place = self.place(key).ok()?;
        self.0.get(place).map(|(_, value)| value)
    }
    /// True where the key has a value.
    pub fn contains_key(&self, key: &str) -> bool {
        self.place(key).is_ok()
    }
    /// Puts a value in place and returns the one that stood there. It costs the length of the list.
    pub fn insert(&mut self, key: Arc<str>, value: V) -> Option<V> {
        match self.place(&key) {
            Ok(place) => self.0.get_mut(place).map(|(_, old)| std::mem::replace(old, value)),
            Err(place) => {
                self.change(|pairs| pairs.insert(place, (key, value)));
                None
            }
        }
    }
    /// Takes a value out. It costs the length of the list.
    pub fn remove(&mut self, key: &str) -> Option<V> {
        let place = self.place(key).ok()?;
        Some(self.change(|pairs| pairs.remove(place)).1)
    }
    /// Keeps what `keep` is true of.
    pub fn retain(&mut self, mut keep: impl FnMut(&str, &V) -> bool) {
        self.change(|pairs| pairs.retain(|(key, value)| keep(key, value)));
    }
    /// All by key.
    pub fn iter(&self) -> Iter<'_, V> {
        self.into_iter()
    }
    /// All keys in order.
    pub fn keys(&self) -> impl Iterator<Item = &Arc<str>> {
        self.0.iter().map(|(key, _)| key)
    }

    fn place(&self, key: &str) -> Result<usize, usize> {
        self.0.binary_search_by(|(own, _)| (**own).cmp(key))
    }

    fn change<T>(&mut self, change: impl FnOnce(&mut Vec<Pair<V>>) -> T) -> T {
        let mut pairs = std::mem::take(&mut self.0).into_vec();
        let result = change(&mut pairs);
        self.0 = pairs.into();
        result
    }
}

/// Of several values of one key the last counts.
impl<V> FromIterator<Pair<V>> for ByKey<V> {
    fn from_iter<I: IntoIterator<Item = Pair<V>>>(pairs: I) -> Self {
        let mut pairs: Vec<Pair<V>> = pairs.into_iter().collect();
        // Stable, so that what came last of one key stands last.
        pairs.sort_by(|a, b| a.0.cmp(&b.0));
        pairs.dedup_by(|later, kept| {
            let same = later.0 == kept.0;
            if same {
                std::mem::swap(&mut later.1, &mut kept.1);
            }
            same
        });
        Self(pairs.into())
    }
}

impl<V, const N: usize> From<[Pair<V>; N]> for ByKey<V> {
    fn from(pairs: [Pair<V>; N]) -> Self {
        pairs.into_iter().collect()
    }
}

impl<V> Extend<Pair<V>> for ByKey<V> {
    fn extend<I: IntoIterator<Item = Pair<V>>>(&mut self, more: I) {
        let own = std::mem::take(&mut self.0).into_vec();
        *self = own.into_iter().chain(more).collect();
    }
}

/// All values by key.
type Iter<'a, V> = std::iter::Map<slice::Iter<'a, Pair<V>>, fn(&'a Pair<V>) -> (&'a Arc<str>, &'a V)>;

impl<'a, V> IntoIterator for &'a ByKey<V> {
    type Item = (&'a Arc<str>, &'a V);
    type IntoIter = Iter<'a, V>;
    fn into_iter(self) -> Self::IntoIter {
        self.0.iter().map(|(key, value)| (key, value))
    }
}

impl<V> IntoIterator for ByKey<V> {
    type Item = Pair<V>;
    type IntoIter = std::vec::IntoIter<Pair<V>>;
    fn into_iter(self) -> Self::IntoIter {
        self.0.into_vec().into_iter()
    }
}

impl<V: fmt::Debug> fmt::Debug for ByKey<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self).finish()
    }
}

impl<V: Serialize> Serialize for ByKey<V> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self)
    }
}

impl<'de, V: Deserialize<'de>> Deserialize<'de> for ByKey<V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let read = std::collections::BTreeMap::<Arc<str>, V>::deserialize(deserializer)?;
        // Sorted already, and each key once.
        Ok(Self(read.into_iter().collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> Labels {
        pairs.iter().map(|(key, value)| (Arc::from(*key), Arc::from(*value))).collect()
    }

    #[test]
    fn a_key_stands_once_and_in_order_however_it_came() {
        let mut all = labels(&[("b", "1"), ("a", "1"), ("b", "2"), ("b", "3")]);
        assert_eq!(all, labels(&[("a", "1"), ("b", "3")]));
        assert_eq!((all.len(), all.get("b").map(|v| &**v), all.get("c")), (2, Some("3"), None));
        assert_eq!(all.insert("aa".into(), "4".into()), None);
        assert_eq!(all.insert("a".into(), "5".into()).as_deref(), Some("1"));
        assert_eq!((all.remove("b").as_deref(), all.remove("b")), (Some("3"), None));
        all.extend(labels(&[("a", "6"), ("0", "7"), ("1", "8")]));
        all.retain(|key, value| (key, &**value) != ("1", "8"));
        assert_eq!(format!("{all:?}"), r#"{"0": "7", "a": "6", "aa": "4"}"#);
        assert!(all.keys().map(|key| &**key).eq(["0", "a", "aa"]));
    }

    #[test]
    fn labels_are_read_and_written_as_a_map() {
        let read: Labels = serde_json::from_str(r#"{"b": "2", "a": "1", "b": "3"}"#).expect("a map of texts");
        assert_eq!(read, labels(&[("a", "1"), ("b", "3")]));
        assert_eq!(serde_json::to_string(&read).expect("texts"), r#"{"a":"1","b":"3"}"#);
        assert!(serde_json::from_str::<Labels>(r#"{"a": 1}"#).is_err());
    }
}
