//! Events of the YAML reader to trees: anchors, aliases and merge keys resolved, nothing larger than its bounds.

use std::collections::{HashMap, HashSet};

use saphyr_parser::{Event, Marker, ScalarStyle};

use super::{Key, MAX_DEPTH, MAX_NODES, Node, Tree, Unreadable, scalar};
use crate::object::Spot;

/// How many nodes the aliases of one document may add.
const MAX_ALIASED: usize = 100_000;

/// A list or mapping that has begun and not ended.
struct Open<'t> {
    spot: Spot,
    anchor: usize,
    held: Held<'t>,
}

enum Held<'t> {
    List(Vec<Node<'t>>),
    Map { entries: Vec<(Key<'t>, Node<'t>)>, key: Option<Key<'t>>, merges: bool },
}

#[derive(Default)]
pub(super) struct Builder<'t> {
    first_line: u32,
    pub(super) documents: Vec<Node<'t>>,
    open: Vec<Open<'t>>,
    anchors: HashMap<usize, Node<'t>>,
    nodes: usize,
    aliased: usize,
}

impl<'t> Builder<'t> {
    /// For a text whose first line is line `first_line` of its file.
    pub(super) fn at(first_line: u32) -> Self {
        Self { first_line, ..Self::default() }
    }

    pub(super) fn spot(&self, marker: &Marker) -> Spot {
        let small = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        Spot { line: small(marker.line()).saturating_add(self.first_line).saturating_sub(1), column: small(marker.col()).saturating_add(1) }
    }

    pub(super) fn take(&mut self, event: Event<'t>, at: Marker) -> Result<(), Unreadable> {
        let spot = self.spot(&at);
        match event {
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => Ok(()),
            Event::DocumentStart(_) => {
                (self.nodes, self.aliased) = (0, 0);
                self.anchors.clear();
                Ok(())
            }
            Event::Scalar(text, style, anchor, tag) => {
                if let Some(Open { held: Held::Map { key: key @ None, merges, .. }, .. }) = self.open.last_mut() {
                    *merges |= text == "<<" && style == ScalarStyle::Plain;
                    *key = Some(Key { spot, name: text });
                    return Ok(());
                }
                self.add(Node { spot, tree: scalar(text, style, tag.as_deref()) }, anchor)
            }
            Event::Alias(anchor) => {
                let Some(node) = self.anchors.get(&anchor) else { return Err(refuse(spot, "the alias stands inside of what it names")) };
                let (nodes, depth) = node.extent();
                self.aliased += nodes;
                if self.aliased > MAX_ALIASED {
                    return Err(refuse(spot, format!("aliases expand to more than {MAX_ALIASED} nodes")));
                }
                if depth + self.open.len() > MAX_DEPTH {
                    return Err(refuse(spot, format!("nested deeper than {MAX_DEPTH} levels")));
                }
                let node = Node { spot, ..node.clone() };
                if let Some(Open { held: Held::Map { key: key @ None, .. }, .. }) = self.open.last_mut() {
                    let Tree::Text(name) = node.tree else { return Err(refuse(spot, "expected a text as key")) };
                    *key = Some(Key { spot, name });
                    return Ok(());
                }
                self.add(node, 0)
            }
            Event::SequenceStart(anchor, _) => self.begin(spot, anchor, Held::List(Vec::new())),
            Event::MappingStart(anchor, _) => self.begin(spot, anchor, Held::Map { entries: Vec::new(), key: None, merges: false }),
            Event::SequenceEnd | Event::MappingEnd => {
                let Some(Open { spot, anchor, held }) = self.open.pop() else { return Err(refuse(spot, "a list or mapping ends that never began")) };
                let tree = match held {
                    Held::List(items) => Tree::List(items),
                    Held::Map { entries, merges, .. } => {
                        let entries = if merges { merged(entries)? } else { entries };
                        unique(&entries)?;
                        Tree::Map(entries)
                    }
                };
                self.add(Node { spot, tree }, anchor)
            }
        }
    }

    fn begin(&mut self, spot: Spot, anchor: usize, held: Held<'t>) -> Result<(), Unreadable> {
        if self.open.len() >= MAX_DEPTH {
            return Err(refuse(spot, format!("nested deeper than {MAX_DEPTH} levels")));
        }
        if matches!(self.open.last(), Some(Open { held: Held::Map { key: None, .. }, .. })) {
            return Err(refuse(spot, "expected a text as key, found a list or mapping"));
        }
        self.open.push(Open { spot, anchor, held });
        Ok(())
    }

    fn add(&mut self, node: Node<'t>, anchor: usize) -> Result<(), Unreadable> {
        self.nodes += 1;
        if self.nodes > MAX_NODES {
            return Err(refuse(node.spot, format!("one document holds more than {MAX_NODES} nodes")));
        }
        if anchor != 0 {
            // Keeping a copy costs the same as an alias would, and counts as one: anchors nest.
            let (nodes, _) = node.extent();
            self.aliased += nodes;
            if self.aliased > MAX_ALIASED {
                return Err(refuse(node.spot, format!("anchors hold more than {MAX_ALIASED} nodes")));
            }
            self.anchors.insert(anchor, node.clone());
        }
        match self.open.last_mut().map(|open| &mut open.held) {
            None if matches!(node.tree, Tree::Null) => {}
            None => self.documents.push(node),
            Some(Held::List(items)) => items.push(node),
            Some(Held::Map { entries, key, .. }) => match key.take() {
                Some(key) => entries.push((key, node)),
                None => return Err(refuse(node.spot, "expected a text as key")),
            },
        }
        Ok(())
    }
}

fn refuse(spot: Spot, message: impl Into<String>) -> Unreadable {
    Unreadable { spot, message: message.into() }
}

/// Resolves `<<` keys: what stands in the mapping itself wins, then the earlier merged one.
fn merged<'t>(entries: Vec<(Key<'t>, Node<'t>)>) -> Result<Vec<(Key<'t>, Node<'t>)>, Unreadable> {
    let (merges, mut kept): (Vec<_>, Vec<_>) = entries.into_iter().partition(|(key, _)| key.name == "<<");
    let mut names: HashSet<String> = kept.iter().map(|(key, _)| key.name.to_string()).collect();
    for (_, node) in merges {
        let sources = if let Tree::List(items) = node.tree { items } else { vec![node] };
        for source in sources {
            let Tree::Map(source) = source.tree else { return Err(refuse(source.spot, "expected a mapping to merge")) };
            kept.extend(source.into_iter().filter(|(key, _)| names.insert(key.name.to_string())));
        }
    }
    Ok(kept)
}

/// No key twice.
pub(crate) fn unique(entries: &[(Key<'_>, Node<'_>)]) -> Result<(), Unreadable> {
    let twice = if entries.len() <= 16 {
        entries.iter().enumerate().find(|(i, (key, _))| entries[..*i].iter().any(|(k, _)| k.name == key.name)).map(|(_, (key, _))| key)
    } else {
        let mut seen = HashSet::with_capacity(entries.len());
        entries.iter().map(|(key, _)| key).find(|key| !seen.insert(&*key.name))
    };
    twice.map_or(Ok(()), |key| Err(refuse(key.spot, format!("the key `{}` stands here twice", key.name))))
}
