//! Regexes that begin alike: few are tried one by one, many are searched at once in sets.
//!
//! A set costs far more to compile than all the rest of an index, so a change compiles the sets that its patterns stand in
//! and no other.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Weak};

use foldhash::fast::FixedState;
use regex_automata::PatternSet;
use regex_automata::hybrid::dfa;

use super::bucket::{Bucket, FEW, Lists};
use super::{Filed, Order, Position};
use crate::route::Head;
use crate::route::matcher::Match;
use crate::route::pattern::Set;

/// The most patterns that are compiled into one set.
pub(super) const SET: usize = 64;
/// Sets whose working memory a worker keeps before it looks for dead ones.
pub(super) const CACHES: usize = 256;

/// The regexes at one prefix, in chunks; each pattern stands in one of them.
#[derive(Clone, Debug, Default)]
pub(super) struct Regexes(Vec<Arc<Chunk>>);

/// Some patterns.
#[derive(Debug)]
pub(super) struct Chunk {
    /// The lowest position in it.
    pub(super) first: Position,
    patterns: Vec<Asked>,
    /// `None` where they are few, or too large together: then all their routes are tried.
    set: Option<Arc<Set>>,
}

/// A pattern and the routes that ask for it.
#[derive(Clone, Debug)]
struct Asked {
    source: Arc<str>,
    routes: Bucket,
}

/// A chunk that is being changed.
#[derive(Default)]
struct Draft {
    patterns: Vec<Asked>,
    /// Where each pattern stands.
    places: HashMap<Arc<str>, usize, FixedState>,
}

impl Regexes {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
    /// Files `new` routes and takes out those that are `gone`.
    pub(super) fn change(&mut self, gone: &[Filed<'_>], new: &[Filed<'_>], order: &Order) {
        let mut known: HashMap<&str, usize, FixedState> = HashMap::default();
        known.extend(self.0.iter().enumerate().flat_map(|(i, chunk)| chunk.patterns.iter().map(move |asked| (&*asked.source, i))));
        let mut drafts: BTreeMap<usize, Draft> = BTreeMap::new();
        let open = |i: usize| Draft::of(self.0.get(i).map_or(&[], |chunk| &chunk.patterns));
        for (position, route) in gone {
            if let Some((source, i)) = route.regex().and_then(|source| Some((source, *known.get(&**source)?))) {
                drafts.entry(i).or_insert_with(|| open(i)).take(*position, route, source);
            }
        }
        for (position, route) in new {
            let Some(source) = route.regex() else { continue };
            let near = || self.0.partition_point(|chunk| chunk.first.key(order) <= position.key(order)).saturating_sub(1);
            let i = known.get(&**source).copied().unwrap_or_else(near);
            drafts.entry(i).or_insert_with(|| open(i)).put(*position, route, source, order);
        }
        let touched: Vec<usize> = drafts.keys().copied().collect();
        let mut kept: Vec<Option<Arc<Chunk>>> = self.0.drain(..).map(Some).collect();
        let mut chunks: Vec<Arc<Chunk>> = Vec::with_capacity(kept.len());
        for (i, draft) in drafts {
            let old = kept.get_mut(i).and_then(Option::take);
            let mut patterns = draft.patterns();
            // What has become small joins its neighbour, so that no history leaves many small sets behind.
            let next = kept.get_mut(i + 1).filter(|_| touched.binary_search(&(i + 1)).is_err());
            if let Some(next) = next.and_then(|next| next.take_if(|next| patterns.len() + next.patterns.len() <= SET / 2)) {
                patterns.extend_from_slice(&next.patterns);
            }
            let pieces = patterns.len().div_ceil(SET).max(1);
            if pieces > 1 {
                patterns.sort_by_cached_key(|asked| asked.routes.first(order).map(|first| first.key(order)));
            }
            let each = patterns.len().div_ceil(pieces).max(1);
            chunks.extend(patterns.chunks(each).filter_map(|piece| Chunk::new(piece, old.as_deref(), order)).map(Arc::new));
        }
        chunks.extend(kept.into_iter().flatten());
        chunks.sort_by_key(|chunk| chunk.first.key(order));
        chunks.shrink_to_fit();
        self.0 = chunks;
    }
    /// Adds the lists in which a route for `head` may stand, and the chunks that are to be searched for more.
    pub(super) fn collect<'a>(&'a self, head: &Head<'_>, lists: &mut Lists<'a>, chunks: &mut smallvec::SmallVec<[&'a Chunk; 8]>) {
        for chunk in &self.0 {
            match chunk.set {
                Some(_) => chunks.push(chunk),
                None => chunk.patterns.iter().for_each(|asked| asked.routes.collect(head, lists)),
            }
        }
    }
    #[cfg(test)]
    pub(super) fn sets(&self) -> impl Iterator<Item = (&Arc<Set>, usize)> {
        self.0.iter().filter_map(|chunk| Some((chunk.set.as_ref()?, chunk.patterns.len())))
    }
}

impl Draft {
    fn of(patterns: &[Asked]) -> Self {
        let places = patterns.iter().enumerate().map(|(i, asked)| (asked.source.clone(), i)).collect();
        Self { patterns: patterns.to_vec(), places }
    }
    fn put(&mut self, position: Position, route: &Match, source: &Arc<str>, order: &Order) {
        let place = *self.places.entry(source.clone()).or_insert(self.patterns.len());
        if place == self.patterns.len() {
            self.patterns.push(Asked { source: source.clone(), routes: Bucket::default() });
        }
        self.patterns[place].routes.put(position, route, order);
    }
    fn take(&mut self, position: Position, route: &Match, source: &str) {
        if let Some(place) = self.places.get(source) {
            self.patterns[*place].routes.take(position, route);
        }
    }
    fn patterns(self) -> Vec<Asked> {
        self.patterns.into_iter().filter(|asked| !asked.routes.is_empty()).collect()
    }
}

impl Chunk {
    /// A chunk of these patterns, with the set of `old` where that has the same; `None` where there is no route.
    fn new(patterns: &[Asked], old: Option<&Self>, order: &Order) -> Option<Self> {
        let first = patterns.iter().filter_map(|asked| asked.routes.first(order)).min_by_key(|first| first.key(order))?;
        let same = |old: &&Self| old.patterns.iter().map(|a| &a.source).eq(patterns.iter().map(|a| &a.source));
        let set = match old.filter(same) {
            Some(old) => old.set.clone(),
            None if patterns.len() <= FEW => None,
            None => Set::new(&patterns.iter().map(|asked| &*asked.source).collect::<Vec<_>>()).map(Arc::new),
        };
        Some(Self { first, patterns: patterns.to_vec(), set })
    }
}

/// A worker's own memory for lookups. It serves every index, and forgets those that are gone.
#[derive(Debug, Default)]
pub struct Scratch {
    /// How many routes the last lookup ran the matcher on.
    pub tried: usize,
    pub(super) folded: String,
    pub(super) caches: HashMap<usize, (Weak<Set>, dfa::Cache), FixedState>,
    found: Option<PatternSet>,
}

impl Scratch {
    /// Adds the lists of the patterns of a chunk that match; of all of them where the search gave up.
    pub(super) fn search<'a>(&mut self, chunk: &'a Chunk, head: &Head<'_>, lists: &mut Lists<'a>) {
        let Some(set) = &chunk.set else { return };
        let key = Arc::as_ptr(set) as usize;
        if self.caches.len() >= CACHES && !self.caches.contains_key(&key) {
            self.caches.retain(|_, (set, _)| set.strong_count() > 0);
        }
        // The weak reference keeps the address from being used again, so an address is one set.
        let (_, cache) = self.caches.entry(key).or_insert_with(|| (Arc::downgrade(set), set.cache()));
        let found = self.found.get_or_insert_with(|| PatternSet::new(SET));
        if set.find(head.path.as_bytes(), cache, found) {
            found.iter().filter_map(|id| chunk.patterns.get(id.as_usize())).for_each(|asked| asked.routes.collect(head, lists));
        } else {
            chunk.patterns.iter().for_each(|asked| asked.routes.collect(head, lists));
        }
    }
}
