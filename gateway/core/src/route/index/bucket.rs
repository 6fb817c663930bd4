//! Routes that ask for the same of the path: tried in order while they are few, filed under one exact condition when many.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::FixedState;
use http::HeaderName;
use smallvec::SmallVec;

use super::{Order, Position};
use crate::route::Head;
use crate::route::condition::Source;
use crate::route::matcher::Match;
use crate::route::trie::Trie;

/// As many routes are tried in order rather than filed further.
pub(super) const FEW: usize = 4;

/// Positions, ascending.
type Positions = SmallVec<[Position; 2]>;
/// Lists of candidates, each ascending.
pub(super) type Lists<'a> = SmallVec<[&'a [Position]; 16]>;

/// Routes that ask for the same of the path.
#[derive(Clone, Debug, Default)]
pub(super) struct Bucket {
    plain: Positions,
    keyed: Option<Arc<Keyed>>,
}

/// Routes filed under one exact condition.
#[derive(Clone, Debug, Default)]
struct Keyed {
    methods: Trie<Positions>,
    authorities: Trie<Positions>,
    headers: HashMap<HeaderName, Trie<Positions>, FixedState>,
}

/// One exact condition of a route.
#[derive(Clone, Copy)]
enum Key<'a> {
    Method(&'a str),
    Authority(&'a str),
    Header(&'a HeaderName, &'a str),
}

fn keys(route: &Match) -> impl Iterator<Item = Key<'_>> {
    route.conditions().iter().filter_map(|condition| {
        let text = condition.exact()?;
        match &condition.source {
            Source::Method => Some(Key::Method(text)),
            Source::Authority => Some(Key::Authority(text)),
            Source::Header(name) => Some(Key::Header(name, text)),
            Source::Scheme | Source::Path | Source::Query(_) => None,
        }
    })
}

impl Bucket {
    /// Files a route.
    pub(super) fn put(&mut self, position: Position, route: &Match, order: &Order) {
        if self.plain.len() < FEW || keys(route).next().is_none() {
            return put(&mut self.plain, position, order);
        }
        let keyed = Arc::make_mut(self.keyed.get_or_insert_default());
        // The rarest condition tells most; of equally rare ones the last, since headers come after the method.
        if let Some(rarest) = keys(route).max_by_key(|key| Reverse(keyed.list(*key).map_or(0, |list| list.len()))) {
            keyed.change(rarest, |list| put(list.get_or_insert_default(), position, order));
        }
    }
    /// Takes out a route that was filed.
    pub(super) fn take(&mut self, position: Position, route: &Match) {
        if take(&mut self.plain, position) {
            return;
        }
        let Some(keyed) = self.keyed.as_mut().map(Arc::make_mut) else { return };
        if let Some(key) = keys(route).find(|key| keyed.list(*key).is_some_and(|list| list.contains(&position))) {
            keyed.change(key, |list| {
                if let Some(positions) = list {
                    take(positions, position);
                }
                list.take_if(|positions| positions.is_empty());
            });
        }
        if keyed.is_empty() {
            self.keyed = None;
        }
    }
    /// True where no route is filed.
    pub(super) fn is_empty(&self) -> bool {
        self.plain.is_empty() && self.keyed.is_none()
    }
    /// The lowest position.
    pub(super) fn first(&self, order: &Order) -> Option<Position> {
        let keyed = self.keyed.iter().flat_map(|keyed| keyed.lists());
        keyed.chain([&self.plain]).filter_map(|list| list.first()).min_by_key(|position| position.key(order)).copied()
    }
    /// Adds the lists in which a route for `head` may stand.
    pub(super) fn collect<'a>(&'a self, head: &Head<'_>, lists: &mut Lists<'a>) {
        if !self.plain.is_empty() {
            lists.push(&self.plain);
        }
        let Some(keyed) = &self.keyed else { return };
        lists.extend(keyed.methods.get(head.method.as_bytes()).map(|p| &**p));
        lists.extend(keyed.authorities.get(head.authority.as_bytes()).map(|p| &**p));
        let mut lookup = |name: &HeaderName, values: &'a Trie<Positions>| {
            let sent = head.headers.get_all(name).iter();
            lists.extend(sent.filter_map(|value| values.get(value.as_bytes())).map(|p| &**p));
        };
        // Whichever is fewer: the names that rules ask for, or those that were sent.
        if keyed.headers.len() <= head.headers.keys_len() {
            keyed.headers.iter().for_each(|(name, values)| lookup(name, values));
        } else {
            head.headers.keys().filter_map(|name| keyed.headers.get_key_value(name)).for_each(|(name, values)| lookup(name, values));
        }
    }
}

impl Keyed {
    fn list(&self, key: Key<'_>) -> Option<&Positions> {
        match key {
            Key::Method(text) => self.methods.get(text.as_bytes()),
            Key::Authority(text) => self.authorities.get(text.as_bytes()),
            Key::Header(name, text) => self.headers.get(name)?.get(text.as_bytes()),
        }
    }
    fn change(&mut self, key: Key<'_>, change: impl FnOnce(&mut Option<Positions>)) {
        match key {
            Key::Method(text) => self.methods.change(text.as_bytes(), change),
            Key::Authority(text) => self.authorities.change(text.as_bytes(), change),
            Key::Header(name, text) => {
                let values = self.headers.entry(name.clone()).or_default();
                values.change(text.as_bytes(), change);
                if values.is_empty() {
                    self.headers.remove(name);
                }
            }
        }
    }
    fn lists(&self) -> impl Iterator<Item = &Positions> {
        [&self.methods, &self.authorities].into_iter().chain(self.headers.values()).flat_map(Trie::values)
    }
    fn is_empty(&self) -> bool {
        self.methods.is_empty() && self.authorities.is_empty() && self.headers.is_empty()
    }
}

fn put(list: &mut Positions, position: Position, order: &Order) {
    let key = position.key(order);
    list.insert(list.partition_point(|other| other.key(order) < key), position);
}

fn take(list: &mut Positions, position: Position) -> bool {
    let at = list.iter().position(|other| *other == position);
    at.map(|at| list.remove(at)).is_some()
}
