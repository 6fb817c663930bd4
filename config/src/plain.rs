//! Block YAML as tools write it, in one pass and without copies.
//!
//! The full reader is exact and slow; a directory dumped from a cluster is large and plain. This reads the plain part of
//! YAML - mappings and lists by indentation, scalars on one line, literal texts - and gives up on everything else, so the
//! full reader stays the only judge of what is wrong. A property test holds both to the same trees and places.

use std::borrow::Cow;

use saphyr_parser::ScalarStyle;

use crate::locate::{Key, MAX_DEPTH, MAX_NODES, Node, Tree, scalar, unique};
use crate::object::Spot;

/// The one document of `text`, if it is plain.
pub(crate) fn tree(text: &str, first_line: u32) -> Option<Node<'_>> {
    if !text.bytes().all(|b| b == b'\n' || (0x20..0x7f).contains(&b)) {
        return None;
    }
    let (body, skipped) = match text.split_once('\n') {
        Some((first, rest)) if first.trim_end() == "---" => (rest, 1),
        Some(_) | None => (text, 0),
    };
    let mut reader = Reader { rest: body, number: first_line.checked_add(skipped)?, line: None, depth: 0, nodes: 0 };
    reader.step();
    let first = reader.line?;
    if first.indent != 0 || !(is_entry(first.text) || split_key(first.text).is_some()) {
        return None;
    }
    let node = reader.block()?;
    reader.line.is_none().then_some(node)
}

/// A line that says something: not blank, no comment.
#[derive(Clone, Copy)]
struct Line<'t> {
    /// Columns before `text`; grows as list markers are taken off.
    indent: usize,
    text: &'t str,
    number: u32,
}

struct Reader<'t> {
    /// What follows `line`.
    rest: &'t str,
    /// The number of the first line of `rest`.
    number: u32,
    line: Option<Line<'t>>,
    depth: usize,
    nodes: usize,
}

impl<'t> Reader<'t> {
    /// Takes the next raw line.
    fn raw(&mut self) -> Option<(&'t str, u32)> {
        if self.rest.is_empty() {
            return None;
        }
        let (line, rest) = self.rest.split_once('\n').unwrap_or((self.rest, ""));
        let number = self.number;
        (self.rest, self.number) = (rest, number.saturating_add(1));
        Some((line, number))
    }

    /// Moves to the next line that says something.
    fn step(&mut self) {
        self.line = None;
        while let Some((raw, number)) = self.raw() {
            let text = raw.trim_start_matches(' ');
            let indent = raw.len() - text.len();
            if !text.is_empty() && !text.starts_with('#') {
                self.line = Some(Line { indent, text: text.trim_end_matches(' '), number });
                return;
            }
        }
    }

    /// The list or mapping whose first line is the present one.
    fn block(&mut self) -> Option<Node<'t>> {
        let line = self.line?;
        self.depth += 1;
        self.nodes += 1;
        if self.depth > MAX_DEPTH || self.nodes > MAX_NODES {
            return None;
        }
        let tree = if is_entry(line.text) { self.list(line.indent)? } else { self.mapping(line.indent)? };
        self.depth -= 1;
        Some(Node { spot: spot(line.number, line.indent), tree })
    }

    fn list(&mut self, indent: usize) -> Option<Tree<'t>> {
        let mut items = Vec::new();
        while let Some(line) = self.line.filter(|l| l.indent == indent && is_entry(l.text)) {
            let text = line.text.get(1..)?.trim_start_matches(' ');
            if text.is_empty() {
                return None;
            }
            let inner = Line { indent: indent + line.text.len() - text.len(), text, ..line };
            if is_entry(text) || split_key(text).is_some() {
                self.line = Some(inner);
                items.push(self.block()?);
            } else {
                self.step();
                items.push(self.one_line(inner, indent)?);
            }
        }
        self.ended(indent).then_some(Tree::List(items))
    }

    fn mapping(&mut self, indent: usize) -> Option<Tree<'t>> {
        let mut entries = Vec::new();
        while let Some(line) = self.line.filter(|l| l.indent == indent) {
            let (name, text) = split_key(line.text)?;
            let key = Key { spot: spot(line.number, indent), name: Cow::Borrowed(name) };
            let value = Line { indent: indent + line.text.len() - text.len(), text, ..line };
            let node = match text {
                "|" | "|-" => self.literal(value, indent)?,
                "" => {
                    self.step();
                    match self.line {
                        Some(next) if next.indent > indent || (next.indent == indent && is_entry(next.text)) => self.block()?,
                        Some(_) | None => Node { spot: spot(value.number, value.indent), tree: Tree::Null },
                    }
                }
                _ => {
                    self.step();
                    self.one_line(value, indent)?
                }
            };
            entries.push((key, node));
        }
        (self.ended(indent) && unique(&entries).is_ok()).then_some(Tree::Map(entries))
    }

    /// True where the present line belongs to something further out.
    fn ended(&self, indent: usize) -> bool {
        self.line.is_none_or(|next| next.indent < indent || (next.indent == indent && !is_entry(next.text)))
    }

    /// A scalar, or an empty list or mapping; `indent` is its parent's, which what follows must not exceed.
    fn one_line(&mut self, line: Line<'t>, indent: usize) -> Option<Node<'t>> {
        self.nodes += 1;
        if self.line.is_some_and(|next| next.indent > indent) {
            return None;
        }
        let text = line.text;
        let quoted = |quote: char| text.strip_prefix(quote)?.strip_suffix(quote).filter(|inner| !inner.contains([quote, '\\']));
        let tree = match text.as_bytes() {
            b"{}" => Tree::Map(Vec::new()),
            b"[]" => Tree::List(Vec::new()),
            [b'"', ..] => Tree::Text(Cow::Borrowed(quoted('"')?)),
            [b'\'', ..] => Tree::Text(Cow::Borrowed(quoted('\'')?)),
            _ if !starts_plain(text) || text.contains(": ") || text.contains(" #") || text.ends_with(':') => return None,
            _ => scalar(Cow::Borrowed(text), ScalarStyle::Plain, None),
        };
        Some(Node { spot: spot(line.number, line.indent), tree })
    }

    /// A literal text, whose lines stand deeper than `indent`.
    fn literal(&mut self, header: Line<'t>, indent: usize) -> Option<Node<'t>> {
        self.nodes += 1;
        let first = self.rest.split('\n').next()?;
        let inner = first.len() - first.trim_start_matches(' ').len();
        if inner <= indent || inner == first.len() {
            return None;
        }
        let place = spot(self.number, inner);
        let mut text = String::new();
        while !self.rest.is_empty() {
            let raw = self.rest.split('\n').next()?;
            let blank = raw.bytes().all(|b| b == b' ');
            if !blank && !raw.get(..inner)?.bytes().all(|b| b == b' ') {
                break;
            }
            text.push_str(raw.get(inner..).unwrap_or(""));
            // A last line without an end is for the full reader.
            self.rest.contains('\n').then(|| text.push('\n'))?;
            self.raw();
        }
        self.step();
        if self.line.is_some_and(|next| next.indent > indent) {
            return None;
        }
        // `|` keeps one line end, `|-` none.
        text.truncate(text.trim_end_matches('\n').len());
        if header.text == "|" {
            text.push('\n');
        }
        Some(Node { spot: place, tree: Tree::Text(Cow::Owned(text)) })
    }
}

fn spot(line: u32, indent: usize) -> Spot {
    Spot { line, column: u32::try_from(indent).unwrap_or(u32::MAX).saturating_add(1) }
}

/// True for a list's entry.
fn is_entry(text: &str) -> bool {
    text == "-" || text.starts_with("- ")
}

/// True where a plain scalar may begin so, and nothing else does.
fn starts_plain(text: &str) -> bool {
    match text.as_bytes() {
        [b'-' | b'?' | b':', next, ..] => *next != b' ' && text != "---",
        [first, ..] => !b"-?:,[]{}#&*!|>'\"%@`=<".contains(first) && text != "...",
        [] => false,
    }
}

/// A plain key, and what stands behind its colon.
fn split_key(text: &str) -> Option<(&str, &str)> {
    let colon = text.match_indices(':').map(|(i, _)| i).find(|i| text.as_bytes().get(i + 1).is_none_or(|next| *next == b' '))?;
    let (key, value) = (text.get(..colon)?, text.get(colon + 1..)?);
    let plain = starts_plain(key) && !key.ends_with(' ') && !key.contains(" #") && key.len() < 512;
    plain.then(|| (key, value.trim_start_matches(' ')))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::locate::full_trees;

    /// Equal in shape, values and places; where nothing stands has no place.
    fn same(a: &Node<'_>, b: &Node<'_>) -> bool {
        let values = match (&a.tree, &b.tree) {
            (Tree::Null, Tree::Null) => return true,
            // The full reader places a list at its key's own indent elsewhere; nobody asks, since fields stand at their keys.
            (Tree::List(a), Tree::List(b)) => return a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
            (Tree::Map(a), Tree::Map(b)) => {
                a.len() == b.len() && a.iter().zip(b).all(|((k, a), (l, b))| k.name == l.name && k.spot == l.spot && same(a, b))
            }
            (a, b) => format!("{a:?}") == format!("{b:?}"),
        };
        values && a.spot == b.spot
    }

    /// True where the text is plain; then the full reader must have read the same.
    fn check(text: &str) -> bool {
        let Some(plain) = tree(text, 7) else { return false };
        let (full, failed) = full_trees(text, 7);
        assert_eq!(failed, None, "the full reader refuses:\n{text}");
        assert!(matches!(full.as_slice(), [full] if same(full, &plain)), "{text}\nfull:  {full:?}\nplain: {plain:?}");
        true
    }

    #[test]
    fn what_tools_write_is_plain() {
        assert!(check(
            "---\napiVersion: v1\nkind: List\nitems:\n- metadata:\n    name: a\n    labels: {}\n  spec:\n    - - x\n      - 'y z'\n    - a: \"b\"\n"
        ));
        assert!(check(
            "metadata:\n  annotations:\n    last: |\n      {\"a\": 1}\n\n      # text\n    next: |-\n      x\n  managedFields:\n  - f:metadata:\n      .: {}\n      k:{\"port\":80}:\n        f:x: -1\n"
        ));
        assert!(check("a:\n- b\n# comment\n\n- c\nd: yes\ne:\nf: 1.5\n"));
    }

    #[test]
    fn what_is_not_plain_is_left_to_the_full_reader() {
        for text in [
            "a: {b: c}",
            "a: b # c",
            "a: &x b",
            "a: *x",
            "a: >\n  b\n",
            "a: b\n  c\n",
            "\"a\": b",
            "a: 'it''s'",
            "a:\tb",
            "a: é",
            "- ",
            "a: b\na: c",
            "x",
            "",
        ] {
            assert!(!check(text), "{text}");
        }
    }

    const LINES: [&str; 58] = [
        "a: b",
        "b:",
        "- a",
        "- a: b",
        "c: 'x y'",
        "d: \"q\"",
        "- ",
        "-",
        "e: |",
        "f: |-",
        "text here",
        "# c",
        "g: {}",
        "h: []",
        "- - a",
        "i: a # c",
        "j: a: b",
        "\"k\": v",
        "'k': v",
        "k: -1",
        "l: yes",
        "",
        "  ",
        "? a",
        "m: &x y",
        "n: *x",
        "o: !!str 1",
        "p: %a",
        "- {}",
        "- 'a'",
        "- \"a\": b",
        "q:r: s",
        "key with space: v",
        "s: a:b",
        "t: #c",
        "u: 'it''s'",
        "v: \"a\\n\"",
        "---",
        "...",
        "w: a  ",
        "x:  y",
        "- |",
        "y: >",
        "a b",
        ": x",
        "z: -",
        "z: - a",
        "<<: a",
        "a: 0x1F",
        "- b:",
        "-   c: d",
        "a#b: c",
        "a: b#c",
        "a :b",
        "a : b",
        "-a: b",
        "a: ,b",
        "a: =",
    ];

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, cases: 2000, ..ProptestConfig::default() })]

        #[test]
        fn plain_texts_read_as_the_full_reader_reads_them(lines in proptest::collection::vec((0..4usize, 0..LINES.len()), 1..9), end in any::<bool>()) {
            let text = lines.iter().map(|(indent, line)| format!("{}{}", "  ".repeat(*indent), LINES[*line])).collect::<Vec<_>>().join("\n");
            check(&if end { text + "\n" } else { text });
        }
    }
}
