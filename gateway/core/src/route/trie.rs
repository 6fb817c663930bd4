//! A byte radix trie: all stored prefixes of a text, in one walk whose length is the text's.
//!
//! A clone costs one pointer, and a change copies the nodes on the way to its key and no other, so versions of a trie share
//! what they have in common. Of a key only the first [`DEEPEST`] bytes count, so that no text makes a trie deep: what is
//! found narrows a choice, and the caller decides.

use std::sync::Arc;

use smallvec::SmallVec;

/// As many bytes of a key are told apart.
const DEEPEST: usize = 256;

/// Most fit into their node.
type Label = SmallVec<[u8; 16]>;

/// Texts, each with a value.
#[derive(Clone, Debug)]
pub(super) struct Trie<V>(Option<Arc<Node<V>>>);

#[derive(Clone, Debug)]
struct Node<V> {
    /// What the edge to this node spells; its first byte tells siblings apart.
    label: Label,
    /// Sorted by first byte.
    children: Vec<(u8, Arc<Self>)>,
    value: Option<V>,
}

impl<V> Default for Trie<V> {
    fn default() -> Self {
        Self(None)
    }
}

impl<V> Trie<V> {
    /// Calls `visit` for every stored prefix of `text`, shortest first, and says whether it is all of `text`.
    pub(super) fn walk<'a>(&'a self, text: &[u8], mut visit: impl FnMut(&'a V, bool)) {
        let mut next = self.0.as_ref();
        let mut rest = counted(text);
        while let Some(node) = next {
            let Some(left) = rest.strip_prefix(&*node.label) else { return };
            rest = left;
            if let Some(value) = &node.value {
                visit(value, rest.is_empty());
            }
            next = rest.first().and_then(|first| node.children.get(node.child(*first).ok()?)).map(|(_, child)| child);
        }
    }
    /// The value stored under `text`.
    pub(super) fn get(&self, text: &[u8]) -> Option<&V> {
        let mut found = None;
        self.walk(text, |value, whole| found = whole.then_some(value));
        found
    }
    /// All values, in the order of their keys.
    pub(super) fn values(&self) -> impl Iterator<Item = &V> {
        let mut open: Vec<&Node<V>> = self.0.iter().map(|root| &**root).collect();
        std::iter::from_fn(move || {
            let node = open.pop()?;
            open.extend(node.children.iter().rev().map(|(_, child)| &**child));
            Some(node.value.as_ref())
        })
        .flatten()
    }
    /// True where nothing is stored.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_none()
    }
}

impl<V: Clone> Trie<V> {
    /// Changes the value stored under `key`; `None` is none.
    pub(super) fn change(&mut self, key: &[u8], change: impl FnOnce(&mut Option<V>)) {
        let key = counted(key);
        let mut rest = key;
        let mut node = Arc::make_mut(self.0.get_or_insert_with(|| Arc::new(Node::new(rest))));
        loop {
            let shared = node.label.iter().zip(rest).take_while(|(a, b)| a == b).count();
            if shared < node.label.len() {
                node.split(shared);
            }
            rest = &rest[shared..];
            let Some(first) = rest.first() else { break };
            let at = node.child(*first).unwrap_or_else(|at| {
                node.children.insert(at, (*first, Arc::new(Node::new(rest))));
                at
            });
            node = Arc::make_mut(&mut node.children[at].1);
        }
        change(&mut node.value);
        if node.value.is_none() && self.0.as_mut().is_some_and(|root| Node::prune(root, key)) {
            self.0 = None;
        }
    }
}

impl<V> Node<V> {
    fn new(label: &[u8]) -> Self {
        Self { label: Label::from_slice(label), children: Vec::new(), value: None }
    }
    fn child(&self, first: u8) -> Result<usize, usize> {
        self.children.binary_search_by_key(&first, |(byte, _)| *byte)
    }
    /// Cuts a node in two: it keeps the first `at` bytes, and its only child gets the rest of label, children and value.
    fn split(&mut self, at: usize) {
        let (head, tail) = self.label.split_at(at);
        let (head, tail) = (Label::from_slice(head), Label::from_slice(tail));
        let first = tail[0];
        let lower = Self { label: tail, children: std::mem::take(&mut self.children), value: self.value.take() };
        self.label = head;
        self.children = vec![(first, Arc::new(lower))];
    }
}

impl<V: Clone> Node<V> {
    /// Takes away what holds nothing on the way to `rest`, from the end; true where that is the node itself.
    fn prune(node: &mut Arc<Self>, rest: &[u8]) -> bool {
        let node = Arc::make_mut(node);
        let below = &rest[node.label.len()..];
        if let Some(at) = below.first().and_then(|first| node.child(*first).ok())
            && Self::prune(&mut node.children[at].1, below)
        {
            node.children.remove(at);
        }
        if node.value.is_some() {
            return false;
        }
        if let [(_, only)] = &node.children[..] {
            let mut joined = Self::clone(only);
            joined.label.insert_from_slice(0, &node.label);
            *node = joined;
            return false;
        }
        node.children.is_empty()
    }
}

fn counted(text: &[u8]) -> &[u8] {
    &text[..text.len().min(DEEPEST)]
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_stored_prefix_is_visited_shortest_first() {
        let mut trie = Trie::default();
        for key in ["/api/v2", "/api", "/", "/apple", "", "/api/v1", "/x"] {
            trie.change(key.as_bytes(), |value| *value = Some(key));
        }
        for (text, want) in
            [("/api/v2/a", vec!["", "/", "/api", "/api/v2"]), ("/ap", vec!["", "/"]), ("x", vec![""]), ("/apple", vec!["", "/", "/apple"])]
        {
            let mut seen = Vec::new();
            trie.walk(text.as_bytes(), |v, whole| {
                assert_eq!(whole, *v == text);
                seen.push(*v);
            });
            assert_eq!(seen, want, "{text}");
        }
    }

    #[test]
    fn versions_share_what_a_change_does_not_touch() {
        let mut trie = Trie::default();
        for n in 0..1000 {
            trie.change(format!("/{n:03}").as_bytes(), |value| *value = Some(Arc::new(n)));
        }
        let before = trie.clone();
        trie.change(b"/500", |value| *value = None);
        let hundreds =
            |trie: &Trie<Arc<i32>>| trie.0.as_ref().expect("a root").children.iter().map(|(_, child)| Arc::as_ptr(child)).collect::<Vec<_>>();
        let apart = hundreds(&trie).iter().zip(hundreds(&before)).filter(|(a, b)| **a != *b).count();
        assert_eq!((apart, trie.get(b"/500"), before.get(b"/500").map(|n| **n)), (1, None, Some(500)));
    }

    #[test]
    fn long_keys_are_told_apart_by_their_beginning_alone() {
        let mut trie = Trie::default();
        let long = "a".repeat(10 * DEEPEST);
        for end in 0..long.len() {
            trie.change(&long.as_bytes()[..end], |value| *value = Some(end));
        }
        let mut seen = 0;
        trie.walk(long.as_bytes(), |_, _| seen += 1);
        assert_eq!((seen, trie.get(long.as_bytes())), (DEEPEST + 1, Some(&(long.len() - 1))));
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn a_trie_is_a_map(changes in prop::collection::vec(("[ab]{0,5}", prop::option::of(0..9)), 0..60)) {
            let (mut trie, mut map) = (Trie::default(), BTreeMap::new());
            for (key, value) in changes {
                trie.change(key.as_bytes(), |held| *held = value);
                match value {
                    Some(value) => drop(map.insert(key, value)),
                    None => drop(map.remove(&key)),
                }
                prop_assert_eq!(trie.values().collect::<Vec<_>>(), map.values().collect::<Vec<_>>());
                prop_assert_eq!(trie.is_empty(), map.is_empty());
                let mut fresh = Trie::default();
                map.iter().for_each(|(key, value)| fresh.change(key.as_bytes(), |held| *held = Some(*value)));
                prop_assert_eq!(format!("{trie:?}"), format!("{fresh:?}"), "what is taken out leaves nothing behind");
            }
        }
    }
}
