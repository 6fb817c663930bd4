//! Values that many records have in common, each kept once.
//!
//! Most services are asked for the same, most rules try again in the same way. Who makes a value asks here for the one that is equal to it.

use std::collections::HashSet;
use std::hash::Hash;
use std::sync::Arc;

use super::hosts::Facts;
use crate::balance::{BackendPolicy, Line};
use crate::policy::RetryPolicy;

/// What hosts, backends and rules have in common.
#[derive(Debug, Default)]
pub(super) struct Common {
    pub(super) facts: Alike<Facts>,
    pub(super) policies: Alike<BackendPolicy>,
    pub(super) lines: Alike<Line>,
    pub(super) retries: Alike<RetryPolicy>,
}

/// Equal values are one.
#[derive(Debug)]
pub(super) struct Alike<T> {
    known: HashSet<Arc<T>>,
    /// When there are so many, those that nobody else holds go.
    full: usize,
}

/// As many are kept without a look at who holds them.
const FEW: usize = 16;

impl<T> Default for Alike<T> {
    fn default() -> Self {
        Self { known: HashSet::new(), full: FEW }
    }
}

impl<T: Eq + Hash> Alike<T> {
    /// The one that is equal to `value`.
    pub(super) fn of(&mut self, value: T) -> Arc<T> {
        if let Some(known) = self.known.get(&value) {
            return known.clone();
        }
        if self.known.len() >= self.full {
            self.known.retain(|value| Arc::strong_count(value) > 1);
            self.full = FEW.max(2 * self.known.len());
        }
        let value = Arc::new(value);
        self.known.insert(value.clone());
        value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_values_are_one_as_long_as_somebody_holds_them() {
        let mut alike = Alike::default();
        let (one, again, two) = (alike.of(1), alike.of(1), alike.of(2));
        assert!(Arc::ptr_eq(&one, &again) && !Arc::ptr_eq(&one, &two));
        (3..1000).for_each(|n| drop(alike.of(n)));
        assert!(alike.known.len() <= 2 * FEW, "{} are kept that nobody holds", alike.known.len());
        assert!(Arc::ptr_eq(&one, &alike.of(1)) && Arc::ptr_eq(&two, &alike.of(2)));
    }
}
