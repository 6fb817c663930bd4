//! A set that nearly always holds one or two: a tree would take a whole node of room for each.
//!
//! A sorted list that grows one by one while it is short. What is put in out of order moves what stands behind it, so large sets are
//! collected elsewhere and come as a whole.

/// Values in order, each once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Few<T>(Vec<T>);

/// As far as this it grows by no more than it needs.
const SHORT: usize = 4;

impl<T> Default for Few<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T: Ord> Few<T> {
    /// False where it was there already.
    pub(super) fn insert(&mut self, value: T) -> bool {
        let Err(place) = self.0.binary_search(&value) else { return false };
        if self.0.len() < SHORT {
            self.0.reserve_exact(1);
        }
        self.0.insert(place, value);
        true
    }
    /// False where it was not there.
    pub(super) fn remove(&mut self, value: &T) -> bool {
        let Ok(place) = self.0.binary_search(value) else { return false };
        self.0.remove(place);
        true
    }
    /// True where it is there.
    pub(super) fn contains(&self, value: &T) -> bool {
        // Names that are the same allocation are told to be equal without being read, which an order cannot do.
        if self.0.len() <= SHORT { self.0.contains(value) } else { self.0.binary_search(value).is_ok() }
    }
    /// Those that `other` has not.
    pub(super) fn without<'a>(&'a self, other: &'a Self) -> impl Iterator<Item = &'a T> {
        let mut rest = &other.0[..];
        self.0.iter().filter(move |value| {
            rest = &rest[rest.iter().take_while(|first| first < value).count()..];
            rest.first() != Some(*value)
        })
    }
    /// True where nothing is.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
    /// All, in order.
    pub(super) fn iter(&self) -> std::slice::Iter<'_, T> {
        self.0.iter()
    }
}

impl<T: Ord> From<std::collections::BTreeSet<T>> for Few<T> {
    fn from(set: std::collections::BTreeSet<T>) -> Self {
        let mut list = Vec::with_capacity(set.len());
        list.extend(set);
        Self(list)
    }
}

impl<'a, T> IntoIterator for &'a Few<T> {
    type Item = &'a T;
    type IntoIter = std::slice::Iter<'a, T>;
    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_is_a_set() {
        let mut few = Few::default();
        assert!(few.is_empty() && !few.contains(&3));
        let new: Vec<bool> = [3, 1, 3, 2, 1].into_iter().map(|n| few.insert(n)).collect();
        assert_eq!(new, [true, true, false, true, false]);
        assert!(few.contains(&1) && few.remove(&1) && !few.remove(&1) && !few.contains(&1));
        assert_eq!(few, Few::from(std::collections::BTreeSet::from([3, 2])));
        assert_eq!(few.iter().copied().collect::<Vec<_>>(), [2, 3]);
        let set = |list: &[i32]| Few::from(list.iter().copied().collect::<std::collections::BTreeSet<_>>());
        let without = |a: &[i32], b: &[i32]| set(a).without(&set(b)).copied().collect::<Vec<_>>();
        assert_eq!((without(&[1, 3, 5, 6], &[0, 3, 4, 6, 9]), without(&[1, 2], &[]), without(&[], &[1])), (vec![1, 5], vec![1, 2], vec![]));
    }
}
