//! YAML text as trees whose every node knows its line and column.
//!
//! One document is one tree. Plain scalars read as Kubernetes' tools read them (YAML 1.1 booleans and octals).
//! Bounded in depth and in nodes, aliases counted as what they expand to, so that no text can cost more than its
//! size allows. Trees are short-lived: `decode` turns them into values, then they are dropped.

mod builder;
mod json;
mod scalar;

use std::borrow::Cow;

use saphyr_parser::Parser;

use crate::object::Spot;
use crate::plain;
use builder::Builder;
pub(crate) use builder::unique;
pub(crate) use scalar::scalar;

/// How deep mappings and lists may nest.
pub(crate) const MAX_DEPTH: usize = 64;
/// How many nodes one document may hold.
pub(crate) const MAX_NODES: usize = 8_000_000;

/// A value and where it stands.
#[derive(Clone, Debug)]
pub(crate) struct Node<'t> {
    pub(crate) spot: Spot,
    pub(crate) tree: Tree<'t>,
}

/// What a node holds.
#[derive(Clone, Debug)]
pub(crate) enum Tree<'t> {
    Null,
    Bool(bool),
    Signed(i64),
    Unsigned(u64),
    Float(f64),
    Text(Cow<'t, str>),
    List(Vec<Node<'t>>),
    Map(Vec<(Key<'t>, Node<'t>)>),
}

/// A mapping's key and where it stands.
#[derive(Clone, Debug)]
pub(crate) struct Key<'t> {
    pub(crate) spot: Spot,
    pub(crate) name: Cow<'t, str>,
}

/// Why a text is no tree.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Unreadable {
    pub(crate) spot: Spot,
    pub(crate) message: String,
}

impl<'t> Node<'t> {
    /// The value of a mapping's key, unless it is null.
    pub(crate) fn get(&self, name: &str) -> Option<&Self> {
        match &self.tree {
            Tree::Map(entries) => entries.iter().find(|(k, _)| k.name == name).map(|(_, node)| node).filter(|n| !matches!(n.tree, Tree::Null)),
            Tree::Null | Tree::Bool(_) | Tree::Signed(_) | Tree::Unsigned(_) | Tree::Float(_) | Tree::Text(_) | Tree::List(_) => None,
        }
    }
    /// The text of a scalar that is text.
    pub(crate) fn text(&self) -> Option<&str> {
        if let Tree::Text(text) = &self.tree { Some(text) } else { None }
    }
    /// Nodes below and including this one, and levels.
    fn extent(&self) -> (usize, usize) {
        let fold = |(nodes, depth): (usize, usize), (n, d)| (nodes + n, depth.max(d + 1));
        match &self.tree {
            Tree::List(items) => items.iter().map(Self::extent).fold((1, 1), fold),
            Tree::Map(entries) => entries.iter().map(|(_, n)| n.extent()).fold((1, 1), fold),
            Tree::Null | Tree::Bool(_) | Tree::Signed(_) | Tree::Unsigned(_) | Tree::Float(_) | Tree::Text(_) => (1, 0),
        }
    }
}

/// The trees of `text`, whose first line is line `first_line` of its file. Documents that are empty yield nothing.
///
/// An error ends the reading; what was read before it is kept.
pub(crate) fn trees(text: &str, first_line: u32) -> (Vec<Node<'_>>, Option<Unreadable>) {
    match plain::tree(text, first_line) {
        Some(node) => (vec![node], None),
        None => full_trees(text, first_line),
    }
}

/// As [`trees`], by the full reader.
pub(crate) fn full_trees(text: &str, first_line: u32) -> (Vec<Node<'_>>, Option<Unreadable>) {
    let mut builder = Builder::at(first_line);
    let mut failed = None;
    for event in Parser::new_from_str(text) {
        let step = match event {
            Ok((event, span)) => builder.take(event, span.start),
            Err(error) => Err(Unreadable { spot: builder.spot(error.marker()), message: format!("not YAML: {}", error.info()) }),
        };
        if let Err(error) = step {
            failed = Some(error);
            break;
        }
    }
    // The YAML reader follows YAML 1.2 closely; JSON that it refuses (tabs, surrogate pairs) is still JSON.
    if failed.is_some()
        && builder.documents.is_empty()
        && text.trim_start().starts_with('{')
        && let Ok(mut node) = serde_json::from_str::<Node<'_>>(text)
    {
        node.spot = Spot { line: first_line, column: 1 };
        return (vec![node], None);
    }
    (builder.documents, failed)
}

#[cfg(test)]
mod tests;
