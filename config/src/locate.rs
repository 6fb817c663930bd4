//! YAML text as trees whose every node knows its line and column.
//!
//! One document is one tree. Plain scalars read as Kubernetes' tools read them (YAML 1.1 booleans and octals).
//! Bounded in depth and in nodes, aliases counted as what they expand to, so that no text can cost more than its
//! size allows. Trees are short-lived: `decode` turns them into values, then they are dropped.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, Tag};
use serde::de::{Deserialize, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::object::Spot;
use crate::plain;

/// How deep mappings and lists may nest.
pub(crate) const MAX_DEPTH: usize = 64;
/// How many nodes one document may hold.
pub(crate) const MAX_NODES: usize = 8_000_000;
/// How many nodes the aliases of one document may add.
const MAX_ALIASED: usize = 100_000;

/// Bookkeeping of Kubernetes, often larger than the object itself, which JSON from API servers carries and nobody reads.
const SKIPPED: [&str; 2] = ["managedFields", "kubectl.kubernetes.io/last-applied-configuration"];

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
    let mut builder = Builder { first_line, ..Builder::default() };
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
struct Builder<'t> {
    first_line: u32,
    documents: Vec<Node<'t>>,
    open: Vec<Open<'t>>,
    anchors: HashMap<usize, Node<'t>>,
    nodes: usize,
    aliased: usize,
}

impl<'t> Builder<'t> {
    fn spot(&self, marker: &Marker) -> Spot {
        let small = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        Spot { line: small(marker.line()).saturating_add(self.first_line).saturating_sub(1), column: small(marker.col()).saturating_add(1) }
    }

    fn take(&mut self, event: Event<'t>, at: Marker) -> Result<(), Unreadable> {
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

/// Reads a scalar as Kubernetes' YAML reader does; quoted and block texts are always text.
pub(crate) fn scalar<'t>(text: Cow<'t, str>, style: ScalarStyle, tag: Option<&Tag>) -> Tree<'t> {
    let core = tag.filter(|t| t.is_yaml_core_schema()).map(|t| t.suffix.as_str());
    if style != ScalarStyle::Plain || core == Some("str") {
        return Tree::Text(text);
    }
    match &*text {
        "" | "~" | "null" | "Null" | "NULL" => return Tree::Null,
        "true" | "True" | "TRUE" | "yes" | "Yes" | "YES" | "on" | "On" | "ON" => return Tree::Bool(true),
        "false" | "False" | "FALSE" | "no" | "No" | "NO" | "off" | "Off" | "OFF" => return Tree::Bool(false),
        _ => {}
    }
    if text.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '+' | '-' | '.')) {
        number(&text).unwrap_or(Tree::Text(text))
    } else {
        Tree::Text(text)
    }
}

fn number<'t>(text: &str) -> Option<Tree<'t>> {
    match text {
        ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" => return Some(Tree::Float(f64::INFINITY)),
        "-.inf" | "-.Inf" | "-.INF" => return Some(Tree::Float(f64::NEG_INFINITY)),
        ".nan" | ".NaN" | ".NAN" => return Some(Tree::Float(f64::NAN)),
        _ => {}
    }
    let (negative, digits) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    let digits = if digits.contains('_') { Cow::Owned(digits.replace('_', "")) } else { Cow::Borrowed(digits) };
    let whole = |digits: &str, radix| (!digits.starts_with(['+', '-'])).then(|| u64::from_str_radix(digits, radix).ok()).flatten();
    let value = match digits.as_bytes() {
        [b'0', b'x', ..] => whole(&digits[2..], 16),
        [b'0', b'o', ..] => whole(&digits[2..], 8),
        [b'0', b'b', ..] => whole(&digits[2..], 2),
        [b'0', _, ..] => whole(&digits[1..], 8),
        _ => whole(&digits, 10),
    };
    match value {
        Some(n) if negative => return i64::try_from(-i128::from(n)).ok().map(Tree::Signed),
        Some(n) => return Some(Tree::Unsigned(n)),
        None => {}
    }
    let float = digits.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'e' | b'E' | b'+' | b'-')) && !digits.starts_with(['+', '-']);
    float.then(|| digits.parse::<f64>().ok()).flatten().map(|f| Tree::Float(if negative { -f } else { f }))
}

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
        while let Some(name) = map.next_key::<String>()? {
            if SKIPPED.contains(&name.as_str()) {
                map.next_value::<IgnoredAny>()?;
                continue;
            }
            let node = map.next_value_seed(self.deeper()?)?;
            entries.push((Key { spot: Spot::default(), name: Cow::Owned(name) }, node));
        }
        unique(&entries).map_err(|e| A::Error::custom(e.message))?;
        Ok(Tree::Map(entries))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn only(text: &str) -> Result<Node<'_>, String> {
        let (mut trees, failed) = trees(text, 1);
        match failed {
            Some(f) => Err(format!("{}:{} {}", f.spot.line, f.spot.column, f.message)),
            None => trees.pop().ok_or_else(|| "nothing".to_owned()),
        }
    }

    #[test]
    fn plain_scalars_read_as_kubernetes_reads_them() {
        for (text, want) in [
            ("1", "Unsigned(1)"),
            ("-1", "Signed(-1)"),
            ("0x10", "Unsigned(16)"),
            ("010", "Unsigned(8)"),
            ("1_000", "Unsigned(1000)"),
            ("1.5", "Float(1.5)"),
            ("1e3", "Float(1000.0)"),
            ("yes", "Bool(true)"),
            ("Off", "Bool(false)"),
            ("'yes'", "Text(\"yes\")"),
            ("\"1\"", "Text(\"1\")"),
            ("100%", "Text(\"100%\")"),
            ("1.2.3", "Text(\"1.2.3\")"),
            ("10s", "Text(\"10s\")"),
            ("- ", "List([Node { spot: Spot { line: 1, column: 3 }, tree: Null }])"),
            ("!!str 12", "Text(\"12\")"),
            ("2024-01-01T00:00:00Z", "Text(\"2024-01-01T00:00:00Z\")"),
        ] {
            let got = only(text).map(|n| format!("{:?}", n.tree));
            if text == "- " {
                assert!(got.is_ok_and(|g| g.contains("Null")), "{text}");
            } else {
                assert_eq!(got.as_deref(), Ok(want), "{text}");
            }
        }
    }

    #[test]
    fn every_node_knows_its_place() -> Result<(), String> {
        let node = only("a:\n  - b: 1\n    c: two\n")?;
        let a = node.get("a").ok_or("a")?;
        let Tree::List(items) = &a.tree else { return Err("a list".into()) };
        let Tree::Map(entries) = &items[0].tree else { return Err("a map".into()) };
        let spots: Vec<_> = entries.iter().map(|(k, n)| (k.spot.line, k.spot.column, n.spot.line, n.spot.column)).collect();
        assert_eq!(spots, [(2, 5, 2, 8), (3, 5, 3, 8)]);
        Ok(())
    }

    #[test]
    fn merge_keys_and_aliases_are_resolved() -> Result<(), String> {
        let node = only("base: &b {x: 1, y: 2}\nmine:\n  <<: *b\n  y: 3\n")?;
        let mine = node.get("mine").ok_or("mine")?;
        assert!(matches!(mine.get("x").map(|n| &n.tree), Some(Tree::Unsigned(1))));
        assert!(matches!(mine.get("y").map(|n| &n.tree), Some(Tree::Unsigned(3))));
        Ok(())
    }

    #[test]
    fn what_costs_too_much_is_refused() {
        let bomb: String = std::iter::once("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned())
            .chain((1..9).map(|i| format!("a{i}: &a{i} [{}]\n", vec![format!("*a{}", i - 1); 10].join(", "))))
            .collect();
        assert!(only(&bomb).is_err_and(|e| e.contains("more than 100000 nodes")));
        assert!(only(&"[".repeat(1_000_000)).is_err());
        assert!(only(&format!("{}{}", "[".repeat(65), "]".repeat(65))).is_err_and(|e| e.contains("deeper than 64")));
        assert!(only(&(0..100).map(|i| format!("{}a:\n", " ".repeat(i))).collect::<String>()).is_err_and(|e| e.contains("deeper than 64")));
        assert!(only("a: 1\nb: 2\na: 3\n").is_err_and(|e| e == "3:1 the key `a` stands here twice"));
        assert!(only("a: &a [*a]").is_err());
    }

    #[test]
    fn json_with_tabs_is_still_json() {
        assert!(only("{\n\t\"a\": \"\\ud83d\\ude00\",\n\t\"b\": [1, -2, 1.5, true, null]\n}").is_ok());
    }
}
