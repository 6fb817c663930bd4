//! Where a cluster's workloads run: one record for each place, however many run there.

use std::collections::HashSet;
use std::sync::Arc;

use crate::model::Place;

/// Places in use. Those that nobody runs in any more are swept out when the number has doubled.
#[derive(Clone, Debug, Default)]
pub(super) struct Places {
    known: HashSet<Arc<Place>>,
    swept: usize,
}

/// Fewer are not looked through.
const SMALL: usize = 256;

impl Places {
    /// The one record of a place.
    pub(super) fn share(&mut self, place: Arc<Place>) -> Arc<Place> {
        if let Some(known) = self.known.get(&place) {
            return known.clone();
        }
        if self.known.len() >= 2 * self.swept.max(SMALL) {
            self.known.retain(|place| Arc::strong_count(place) > 1);
            self.swept = self.known.len();
        }
        self.known.insert(place.clone());
        place
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_one_record_and_empty_ones_go() {
        let mut places = Places::default();
        let at = |node: usize| Arc::new(Place { node: node.to_string().into(), ..Place::default() });
        let (one, two) = (places.share(at(0)), places.share(at(0)));
        assert!(Arc::ptr_eq(&one, &two));
        (1..10 * SMALL).for_each(|node| drop(places.share(at(node))));
        assert!(places.known.len() <= 2 * SMALL + 1, "{}", places.known.len());
        assert!(Arc::ptr_eq(&one, &places.share(at(0))));
    }
}
