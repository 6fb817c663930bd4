//! A map in parts that its clones share: changing one clone copies the part that the key stands in, not the whole map.

use std::borrow::Borrow;
use std::collections::{HashMap, hash_map};
use std::hash::{BuildHasher, Hash};
use std::iter::FlatMap;
use std::slice;
use std::sync::Arc;

use foldhash::fast::FixedState;

/// Parts of a map; ten thousand services are eighty in each.
const PARTS: usize = 128;

/// A map whose clone costs a pointer for each part. It has no order.
#[derive(Clone, Debug)]
pub struct Shards<K, V>(Box<[Arc<HashMap<K, V>>]>);

impl<K, V> Default for Shards<K, V> {
    fn default() -> Self {
        // An empty part is one allocation that all share.
        let empty = Arc::new(HashMap::new());
        Self(vec![empty; PARTS].into_boxed_slice())
    }
}

impl<K: Hash + Eq + Clone, V: Clone> Shards<K, V> {
    /// The value of a key.
    pub fn get<Q: Hash + Eq + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        self.0.get(part(key))?.get(key)
    }
    /// The key as it is held here, and its value.
    pub fn get_key_value(&self, key: &K) -> Option<(&K, &V)> {
        self.0.get(part(key))?.get_key_value(key)
    }
    /// True where the key has a value.
    pub fn contains_key(&self, key: &K) -> bool {
        self.get(key).is_some()
    }
    /// Puts a value in place and returns the one that stood there.
    pub fn insert(&mut self, key: K, value: V) -> Option<V> {
        Arc::make_mut(self.0.get_mut(part(&key))?).insert(key, value)
    }
    /// Takes a value out.
    pub fn remove(&mut self, key: &K) -> Option<V> {
        // A part without the key stays shared.
        let part = self.0.get_mut(part(key)).filter(|part| part.contains_key(key))?;
        Arc::make_mut(part).remove(key)
    }
}

impl<K, V> Shards<K, V> {
    /// How many values there are.
    pub fn len(&self) -> usize {
        self.0.iter().map(|part| part.len()).sum()
    }
    /// True where there is none.
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(|part| part.is_empty())
    }
    /// All keys and values.
    pub fn iter(&self) -> Iter<'_, K, V> {
        self.0.iter().flat_map(|part| part.iter())
    }
    /// All keys.
    pub fn keys(&self) -> impl Iterator<Item = &K> {
        self.iter().map(|(key, _)| key)
    }
    /// All values.
    pub fn values(&self) -> impl Iterator<Item = &V> {
        self.iter().map(|(_, value)| value)
    }
}

impl<K: Hash + Eq, V: PartialEq> PartialEq for Shards<K, V> {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

/// All keys and values of a [`Shards`].
pub type Iter<'a, K, V> =
    FlatMap<slice::Iter<'a, Arc<HashMap<K, V>>>, hash_map::Iter<'a, K, V>, fn(&'a Arc<HashMap<K, V>>) -> hash_map::Iter<'a, K, V>>;

impl<'a, K, V> IntoIterator for &'a Shards<K, V> {
    type Item = (&'a K, &'a V);
    type IntoIter = Iter<'a, K, V>;
    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// Where a key stands: the same in every clone, so that equal maps have equal parts.
fn part<Q: Hash + ?Sized>(key: &Q) -> usize {
    (FixedState::default().hash_one(key) >> 32) as usize % PARTS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_copies_the_part_that_it_touches_and_no_other() {
        let mut map = Shards::default();
        for n in 0..1000 {
            assert_eq!(map.insert(n, n), None);
        }
        let before = map.clone();
        assert_eq!((map.insert(7, 8), map.remove(&7), map.remove(&2000)), (Some(7), Some(8), None));
        let apart = |map: &Shards<i32, i32>| map.0.iter().zip(&before.0).filter(|(a, b)| !Arc::ptr_eq(a, b)).count();
        assert_eq!((apart(&map), map.len(), before.len(), before.get(&7)), (1, 999, 1000, Some(&7)));
        assert!(map != before && map.insert(7, 7).is_none() && map == before);
        let fullest = before.0.iter().map(|part| part.len()).max();
        assert!(fullest < Some(40), "keys stand in few parts: {fullest:?}");
        let mut keys: Vec<i32> = before.keys().copied().collect();
        keys.sort_unstable();
        assert!(keys.into_iter().eq(0..1000));
    }
}
