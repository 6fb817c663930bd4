//! The counts of one limited resource: how many there are, taken in one step against the limit in force, and what was refused.

use super::atomic::{AtomicU32, AtomicU64, Ordering};

/// One resource's counts.
#[derive(Debug, Default)]
pub(super) struct Meter {
    used: AtomicU32,
    peak: AtomicU32,
    taken: AtomicU64,
    overflow: AtomicU64,
}

impl Meter {
    /// One more, unless the limit is reached; check and take are one step.
    pub(super) fn take(&self, limit: Option<u32>) -> bool {
        let before = match limit {
            // Without a limit nothing has to be looked at first, and no worker ever takes a second turn.
            None => self.used.fetch_add(1, Ordering::AcqRel),
            Some(limit) => {
                let more = |used: u32| (used < limit).then_some(used + 1);
                let Ok(before) = self.used.fetch_update(Ordering::AcqRel, Ordering::Acquire, more) else { return false };
                before
            }
        };
        self.taken.fetch_add(1, Ordering::Relaxed);
        if before + 1 > self.peak.load(Ordering::Relaxed) {
            self.peak.fetch_max(before + 1, Ordering::Relaxed);
        }
        true
    }
    /// One less.
    pub(super) fn give_back(&self) {
        self.used.fetch_sub(1, Ordering::AcqRel);
    }
    /// The limit was in the way.
    pub(super) fn refuse(&self) {
        self.overflow.fetch_add(1, Ordering::Relaxed);
    }
    /// One that was there without being taken.
    pub(super) fn count(&self) {
        self.taken.fetch_add(1, Ordering::Relaxed);
    }
    /// How many there are.
    pub(super) fn used(&self) -> u32 {
        self.used.load(Ordering::Acquire)
    }
    /// The counts beside a limit.
    pub(super) fn now(&self, limit: Option<u32>) -> Usage {
        Usage {
            limit,
            used: self.used.load(Ordering::Relaxed),
            peak: self.peak.load(Ordering::Relaxed),
            taken: self.taken.load(Ordering::Relaxed),
            overflow: self.overflow.load(Ordering::Relaxed),
        }
    }
}

/// One resource: its limit and its counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// The limit in force, where there is one.
    pub limit: Option<u32>,
    /// How many there are.
    pub used: u32,
    /// The most there have been at once.
    pub peak: u32,
    /// How many there have been in all.
    pub taken: u64,
    /// How often the limit was in the way.
    pub overflow: u64,
}

impl Usage {
    /// True where the limit is reached (`circuit_breakers.default.*_open`).
    pub fn is_open(&self) -> bool {
        self.limit.is_some_and(|limit| self.used >= limit)
    }
}
