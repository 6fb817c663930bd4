//! A byte radix trie: all stored prefixes of a text, in one walk whose length is the text's.

/// Prefixes, each with a value.
#[derive(Clone, Debug)]
pub(super) struct Trie<V> {
    nodes: Vec<Node<V>>,
}

#[derive(Clone, Debug)]
struct Node<V> {
    /// What the edge to this node spells; its first byte tells siblings apart.
    label: Box<[u8]>,
    /// Positions of the children, sorted by first byte.
    children: Vec<(u8, u32)>,
    value: Option<V>,
}

impl<V> Default for Trie<V> {
    fn default() -> Self {
        Self { nodes: vec![Node { label: Box::default(), children: Vec::new(), value: None }] }
    }
}

impl<V> Trie<V> {
    /// The value stored under `key`, where a new one can be put.
    pub(super) fn entry(&mut self, key: &[u8]) -> &mut Option<V> {
        let mut at = 0;
        let mut rest = key;
        while let Some(first) = rest.first() {
            match self.nodes[at].children.binary_search_by_key(first, |(byte, _)| *byte) {
                Err(slot) => {
                    let new = self.push(rest);
                    self.nodes[at].children.insert(slot, (*first, new));
                    at = new as usize;
                    break;
                }
                Ok(slot) => {
                    let child = self.nodes[at].children[slot].1 as usize;
                    let shared = self.nodes[child].label.iter().zip(rest).take_while(|(a, b)| a == b).count();
                    if shared < self.nodes[child].label.len() {
                        self.split(child, shared);
                    }
                    at = child;
                    rest = &rest[shared..];
                }
            }
        }
        &mut self.nodes[at].value
    }
    /// Calls `visit` for every stored prefix of `text`, shortest first.
    pub(super) fn walk<'a>(&'a self, text: &[u8], mut visit: impl FnMut(&'a V)) {
        let mut node = &self.nodes[0];
        let mut rest = text;
        loop {
            if let Some(value) = &node.value {
                visit(value);
            }
            let Some(first) = rest.first() else { return };
            let Ok(slot) = node.children.binary_search_by_key(first, |(byte, _)| *byte) else { return };
            node = &self.nodes[node.children[slot].1 as usize];
            match rest.strip_prefix(&*node.label) {
                Some(left) => rest = left,
                None => return,
            }
        }
    }
    /// The same prefixes with other values.
    pub(super) fn map<W>(self, mut change: impl FnMut(V) -> W) -> Trie<W> {
        let nodes = self.nodes.into_iter();
        Trie { nodes: nodes.map(|n| Node { label: n.label, children: n.children, value: n.value.map(&mut change) }).collect() }
    }
    /// All values, in no order.
    pub(super) fn values(&self) -> impl Iterator<Item = &V> {
        self.nodes.iter().filter_map(|n| n.value.as_ref())
    }
    /// True where nothing is stored.
    pub(super) fn is_empty(&self) -> bool {
        self.values().next().is_none()
    }
    fn push(&mut self, label: &[u8]) -> u32 {
        self.nodes.push(Node { label: label.into(), children: Vec::new(), value: None });
        u32::try_from(self.nodes.len() - 1).expect("a trie has fewer than 2^32 nodes, since configuration is bounded")
    }
    /// Cuts a node in two: it keeps the first `at` bytes, and its child gets the rest of label, children and value.
    fn split(&mut self, node: usize, at: usize) {
        let (head, tail) = self.nodes[node].label.split_at(at);
        let (head, tail): (Box<[u8]>, Box<[u8]>) = (head.into(), tail.into());
        let lower = self.push(&tail);
        self.nodes[node].label = head;
        let children = std::mem::replace(&mut self.nodes[node].children, vec![(tail[0], lower)]);
        let value = self.nodes[node].value.take();
        self.nodes[lower as usize].children = children;
        self.nodes[lower as usize].value = value;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_stored_prefix_is_visited_shortest_first() {
        let mut trie = Trie::default();
        for key in ["/api/v2", "/api", "/", "/apple", "", "/api/v1", "/x"] {
            *trie.entry(key.as_bytes()) = Some(key);
        }
        for (text, want) in
            [("/api/v2/a", vec!["", "/", "/api", "/api/v2"]), ("/ap", vec!["", "/"]), ("x", vec![""]), ("/apple", vec!["", "/", "/apple"])]
        {
            let mut seen = Vec::new();
            trie.walk(text.as_bytes(), |v| seen.push(*v));
            assert_eq!(seen, want, "{text}");
        }
    }
}
