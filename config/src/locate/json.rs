//! JSON to trees, as API servers send it: no spots, for the text was not a person's.

use std::borrow::Cow;

use serde::de::{Deserialize, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::{Key, MAX_DEPTH, Node, Tree, unique};
use crate::object::Spot;

/// Bookkeeping of Kubernetes, often larger than the object itself, which JSON from API servers carries and nobody reads.
const SKIPPED: [&str; 2] = ["managedFields", "kubectl.kubernetes.io/last-applied-configuration"];

impl<'de> Deserialize<'de> for Node<'de> {
    /// From JSON, without spots.
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        d.deserialize_any(JsonVisitor { depth: 0 }).map(bare)
    }
}

fn bare(tree: Tree<'_>) -> Node<'_> {
    Node { spot: Spot::default(), tree }
}

struct JsonVisitor {
    depth: usize,
}

impl JsonVisitor {
    fn deeper<E: serde::de::Error>(&self) -> Result<Self, E> {
        if self.depth < MAX_DEPTH { Ok(Self { depth: self.depth + 1 }) } else { Err(E::custom("nested too deep")) }
    }
}

impl<'de> serde::de::DeserializeSeed<'de> for JsonVisitor {
    type Value = Node<'de>;
    fn deserialize<D: Deserializer<'de>>(self, d: D) -> Result<Node<'de>, D::Error> {
        d.deserialize_any(self).map(bare)
    }
}

impl<'de> Visitor<'de> for JsonVisitor {
    type Value = Tree<'de>;
    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("JSON")
    }
    fn visit_unit<E>(self) -> Result<Tree<'de>, E> {
        Ok(Tree::Null)
    }
    fn visit_bool<E>(self, v: bool) -> Result<Tree<'de>, E> {
        Ok(Tree::Bool(v))
    }
    fn visit_i64<E>(self, v: i64) -> Result<Tree<'de>, E> {
        Ok(Tree::Signed(v))
    }
    fn visit_u64<E>(self, v: u64) -> Result<Tree<'de>, E> {
        Ok(Tree::Unsigned(v))
    }
    fn visit_f64<E>(self, v: f64) -> Result<Tree<'de>, E> {
        Ok(Tree::Float(v))
    }
    fn visit_borrowed_str<E>(self, v: &'de str) -> Result<Tree<'de>, E> {
        Ok(Tree::Text(Cow::Borrowed(v)))
    }
    fn visit_str<E>(self, v: &str) -> Result<Tree<'de>, E> {
        Ok(Tree::Text(Cow::Owned(v.to_owned())))
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Tree<'de>, A::Error> {
        let mut items = Vec::new();
        while let Some(node) = seq.next_element_seed(self.deeper()?)? {
            items.push(node);
        }
        Ok(Tree::List(items))
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Tree<'de>, A::Error> {
        let mut entries = Vec::new();
        while let Some(name) = map.next_key_seed(Name)? {
            if SKIPPED.contains(&&*name) {
                map.next_value::<IgnoredAny>()?;
                continue;
            }
            let node = map.next_value_seed(self.deeper()?)?;
            entries.push((Key { spot: Spot::default(), name }, node));
        }
        unique(&entries).map_err(|e| A::Error::custom(e.message))?;
        Ok(Tree::Map(entries))
    }
}

/// A key, borrowed from the text where nothing in it is escaped.
struct Name;

impl<'de> serde::de::DeserializeSeed<'de> for Name {
    type Value = Cow<'de, str>;
    fn deserialize<D: Deserializer<'de>>(self, d: D) -> Result<Self::Value, D::Error> {
        d.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for Name {
    type Value = Cow<'de, str>;
    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a key")
    }
    fn visit_borrowed_str<E>(self, v: &'de str) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(v))
    }
    fn visit_str<E>(self, v: &str) -> Result<Self::Value, E> {
        Ok(Cow::Owned(v.to_owned()))
    }
}
