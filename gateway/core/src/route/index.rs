//! The first route that matches, found without trying the routes one by one (design.md 6).
//!
//! Routes are filed under their path condition: exact paths and prefixes in a trie, regexes in the trie under the literal
//! text they begin with, and there, when they are many, in sets of at most 64 that are searched at once. Where many routes
//! share one path condition they are filed once more under one exact header, authority or method.
//!
//! Filing only narrows: each place yields candidate positions in ascending order, [`Match::matches`] decides on each,
//! and the lowest position that matches wins. So Istio's first-match order holds exactly (V-1).
//!
//! An index is changed route by route. A clone shares what a change does not touch, so one route among many costs about
//! itself. For that a route is not numbered through: its [`Position`] names a part (the routes of one VirtualService) and the
//! place in it, and one table says how many parts stand before each. A part that comes or goes renumbers that table alone.

mod bucket;
mod regexes;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use smallvec::SmallVec;

use super::Head;
use super::matcher::{Match, Uri};
use super::pattern::literal_prefix;
use super::trie::Trie;
use bucket::{Bucket, Lists};
use regexes::{Chunk, Regexes};

pub use regexes::Scratch;

/// Set in the place of a route that goes behind all others.
const BEHIND: u32 = 1 << 31;

/// Where a route stands: in which part, and there where.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Position {
    part: u32,
    place: u32,
}

impl Position {
    /// The route at `place` of a part; one that is `behind` comes after all that are not, whatever their parts (G-31).
    pub fn new(part: u32, place: u32, behind: bool) -> Self {
        Self { part, place: if behind { place | BEHIND } else { place } }
    }
    /// The part.
    pub fn part(self) -> usize {
        self.part as usize
    }
    /// The place in it.
    pub fn place(self) -> usize {
        (self.place & !BEHIND) as usize
    }
    /// What positions are compared by.
    pub fn key(self, order: &Order) -> u64 {
        let before = order.0.get(self.part()).map_or(0, |before| *before);
        u64::from(self.place & BEHIND) << 32 | u64::from(before) << 31 | u64::from(self.place & !BEHIND)
    }
}

/// How many parts stand before each part.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Order(SmallVec<[u32; 4]>);

impl Order {
    /// The order of `parts`, first to last; of `count` there are.
    pub fn of(parts: impl Iterator<Item = u32>, count: usize) -> Self {
        let mut order = SmallVec::from_elem(0, count);
        for (before, part) in (0..).zip(parts) {
            if let Some(place) = order.get_mut(part as usize) {
                *place = before;
            }
        }
        Self(order)
    }
    /// How many parts stand before one.
    pub fn before(&self, part: usize) -> usize {
        self.0.get(part).map_or(0, |before| *before as usize)
    }
}

/// A route, and where it is filed.
pub type Filed<'a> = (Position, &'a Match);

/// The routes of one virtual host, filed.
#[derive(Clone, Debug, Default)]
pub struct RouteIndex {
    order: Order,
    paths: Trie<Arc<Leaf>>,
    /// By lower case.
    folded: Trie<Arc<Leaf>>,
}

/// What stands at one text.
#[derive(Clone, Debug, Default)]
struct Leaf {
    /// Asks for this path.
    exact: Bucket,
    /// Asks for a path that begins so.
    prefix: Bucket,
    /// Regexes that begin with this text.
    regexes: Regexes,
}

impl RouteIndex {
    /// Takes out the routes that are `gone`, then files the `new` ones. From now on parts stand in `order`, which does not
    /// turn round two parts of which routes stay.
    pub fn change(&mut self, gone: &[Filed<'_>], new: &[Filed<'_>], order: Order) {
        let mut regexes: BTreeMap<Cow<'_, str>, (Vec<Filed<'_>>, Vec<Filed<'_>>)> = BTreeMap::new();
        for (position, route) in gone {
            let (trie, text, how) = self.place(route);
            match how {
                How::Exact => at(trie, &text, |leaf| leaf.exact.take(*position, route)),
                How::Prefix => at(trie, &text, |leaf| leaf.prefix.take(*position, route)),
                How::Regex => regexes.entry(text).or_default().0.push((*position, route)),
            }
        }
        for (position, route) in new {
            let (trie, text, how) = self.place(route);
            match how {
                How::Exact => at(trie, &text, |leaf| leaf.exact.put(*position, route, &order)),
                How::Prefix => at(trie, &text, |leaf| leaf.prefix.put(*position, route, &order)),
                How::Regex => regexes.entry(text).or_default().1.push((*position, route)),
            }
        }
        for (text, (gone, new)) in regexes {
            at(&mut self.paths, &text, |leaf| leaf.regexes.change(&gone, &new, &order));
        }
        self.order = order;
    }
    /// How many parts stand before each.
    pub fn order(&self) -> &Order {
        &self.order
    }
    /// The lowest position whose match holds; `get` gives the match at a position that was filed.
    pub fn find<'m>(&self, head: &Head<'_>, scratch: &mut Scratch, get: impl Fn(Position) -> Option<&'m Match>) -> Option<Position> {
        let mut lists = Lists::new();
        let mut chunks: SmallVec<[&Chunk; 8]> = SmallVec::new();
        self.paths.walk(head.path.as_bytes(), |leaf, whole| leaf.collect(whole, head, &mut lists, &mut chunks));
        if !self.folded.is_empty() {
            scratch.folded.clear();
            scratch.folded.push_str(head.path);
            scratch.folded.make_ascii_lowercase();
            self.folded.walk(scratch.folded.as_bytes(), |leaf, whole| leaf.collect(whole, head, &mut lists, &mut chunks));
        }
        scratch.tried = 0;
        let holds = |position| get(position).is_some_and(|route| route.matches(head).is_ok());
        let mut best = self.lowest(&mut lists, u64::MAX, &mut scratch.tried, holds);
        chunks.sort_unstable_by_key(|chunk| chunk.first.key(&self.order));
        for chunk in chunks {
            let bound = best.map_or(u64::MAX, |best| best.key(&self.order));
            if bound < chunk.first.key(&self.order) {
                break;
            }
            lists.clear();
            scratch.search(chunk, head, &mut lists);
            best = self.lowest(&mut lists, bound, &mut scratch.tried, holds).or(best);
        }
        best
    }
    /// Merges ascending lists, trying each position before `bound` until one holds.
    fn lowest(&self, lists: &mut Lists<'_>, bound: u64, tried: &mut usize, holds: impl Fn(Position) -> bool) -> Option<Position> {
        loop {
            let heads = lists.iter_mut().filter_map(|list| Some((list.first()?.key(&self.order), list)));
            let (key, next) = heads.min_by_key(|(key, _)| *key)?;
            let (position, rest) = next.split_first()?;
            *next = rest;
            if key >= bound {
                return None;
            }
            *tried += 1;
            if holds(*position) {
                return Some(*position);
            }
        }
    }
    /// Where a route is filed.
    fn place<'a>(&mut self, route: &'a Match) -> (&mut Trie<Arc<Leaf>>, Cow<'a, str>, How) {
        match route.uri() {
            Uri::Any => (&mut self.paths, "/".into(), How::Prefix),
            Uri::Exact(path) => (&mut self.paths, (&**path).into(), How::Exact),
            Uri::Prefix(path) => (&mut self.paths, (&**path).into(), How::Prefix),
            Uri::Regex(pattern) => (&mut self.paths, literal_prefix(pattern.source()).into(), How::Regex),
            Uri::ExactFolded(path) => (&mut self.folded, (&**path).into(), How::Exact),
            Uri::PrefixFolded(path) => (&mut self.folded, (&**path).into(), How::Prefix),
        }
    }
}

/// What a route's text says of the path.
enum How {
    Exact,
    Prefix,
    Regex,
}

/// Changes the leaf at a text; one that is empty goes.
fn at(trie: &mut Trie<Arc<Leaf>>, text: &str, change: impl FnOnce(&mut Leaf)) {
    trie.change(text.as_bytes(), |held| {
        let leaf = Arc::make_mut(held.get_or_insert_default());
        change(leaf);
        if leaf.exact.is_empty() && leaf.prefix.is_empty() && leaf.regexes.is_empty() {
            *held = None;
        }
    });
}

impl Leaf {
    fn collect<'a>(&'a self, whole: bool, head: &Head<'_>, lists: &mut Lists<'a>, chunks: &mut SmallVec<[&'a Chunk; 8]>) {
        if whole {
            self.exact.collect(head, lists);
        }
        self.prefix.collect(head, lists);
        self.regexes.collect(head, lists, chunks);
    }
}

#[cfg(test)]
mod tests;
