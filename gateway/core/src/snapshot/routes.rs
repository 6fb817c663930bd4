//! The routes of one virtual host, in parts: what one VirtualService offers there.
//!
//! Parts stand in order of precedence (G-30); the last route of a part that is a catch-all goes behind all that are none (G-31).
//! A change makes the next version out of this one, which shares every part and every place of the index that it did not touch.

use std::sync::Arc;

use super::Route;
use crate::route::{Filed, Head, Order, Position, RouteIndex, Scratch};

/// The routes of one VirtualService.
pub type Part = Arc<[Arc<Route>]>;

/// The routes of one virtual host.
#[derive(Clone, Debug, Default)]
pub struct Routes {
    /// By number, not in order; those that left are empty.
    parts: Vec<Part>,
    index: RouteIndex,
}

impl Routes {
    /// The next version: some parts are others, which are empty where they left; `order` names the numbers of those that are not, first
    /// to last. Parts that stay do not change places; one that does leaves and comes back under another number.
    pub fn with(&self, changes: &[(u32, Part)], order: impl Iterator<Item = u32>) -> Self {
        let (mut gone, mut new): (Vec<Filed<'_>>, Vec<Filed<'_>>) = Default::default();
        let none = Part::default();
        for (number, part) in changes {
            let old = self.parts.get(*number as usize).unwrap_or(&none);
            let (mut before, mut after) = (filed(*number, old), filed(*number, part));
            loop {
                match (before.next(), after.next()) {
                    (None, None) => break,
                    // What asks for the same in the same place stays filed.
                    (Some(a), Some(b)) if a == b => {}
                    (a, b) => {
                        gone.extend(a);
                        new.extend(b);
                    }
                }
            }
        }
        let count = changes.iter().map(|(number, _)| *number as usize + 1).max().unwrap_or_default().max(self.parts.len());
        let mut parts = Vec::with_capacity(count);
        parts.extend_from_slice(&self.parts);
        parts.resize(count, none.clone());
        for (number, part) in changes {
            parts[*number as usize] = part.clone();
        }
        let mut index = self.index.clone();
        index.change(&gone, &new, Order::of(order, parts.len()));
        Self { parts, index }
    }
    /// The first route that takes the request.
    pub fn find(&self, head: &Head<'_>, scratch: &mut Scratch) -> Option<Position> {
        self.index.find(head, scratch, |position| self.get(position).map(|route| &route.matches))
    }
    /// The route at a position that was found here.
    pub fn get(&self, position: Position) -> Option<&Arc<Route>> {
        self.parts.get(position.part())?.get(position.place())
    }
    /// All routes, in the order in which they are tried.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Route>> {
        let mut all: Vec<(u64, &Arc<Route>)> = Vec::with_capacity(self.len());
        for (number, part) in (0..).zip(&self.parts) {
            let order = self.index.order();
            all.extend(filed(number, part).zip(part.iter()).map(|((position, _), route)| (position.key(order), route)));
        }
        all.sort_unstable_by_key(|(key, _)| *key);
        all.into_iter().map(|(_, route)| route)
    }
    /// How many routes there are.
    pub fn len(&self) -> usize {
        self.parts.iter().map(|part| part.len()).sum()
    }
    /// True where there is none.
    pub fn is_empty(&self) -> bool {
        self.parts.iter().all(|part| part.is_empty())
    }
}

/// Each route of a part as it is filed.
fn filed(number: u32, part: &Part) -> impl Iterator<Item = Filed<'_>> {
    let last = part.len().saturating_sub(1);
    let behind = move |place: usize, route: &Route| place == last && route.matches.is_catch_all();
    (0u32..).zip(part.iter()).map(move |(place, route)| (Position::new(number, place, behind(place as usize, route)), &route.matches))
}
