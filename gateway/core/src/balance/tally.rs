//! What outlier detection has found at one backend, counted as Envoy counts it (contract/envoy.md 2.6).
//!
//! Written only where a threshold is reached, so sharing costs nothing on the way of a request; a backend at which none ever was has none.

use std::sync::atomic::{AtomicU64, Ordering};

use super::outlier::Cause;

/// Counts of one backend.
#[derive(Debug, Default)]
pub(super) struct Tally {
    detected: [AtomicU64; 3],
    enforced: [AtomicU64; 3],
    overflow: AtomicU64,
}

/// What the tally of a backend says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tallied {
    /// Thresholds reached by endpoints that were not ejected then, by cause, in the order of [`Cause::ALL`].
    pub detected: [u64; 3],
    /// Ejections by cause.
    pub enforced: [u64; 3],
    /// Thresholds reached that ejected nobody, since too many were ejected.
    pub overflow: u64,
}

impl Tally {
    pub(super) fn detected(&self, cause: Cause) {
        self.detected[cause as usize].fetch_add(1, Ordering::Relaxed);
    }
    pub(super) fn enforced(&self, cause: Cause) {
        self.enforced[cause as usize].fetch_add(1, Ordering::Relaxed);
    }
    pub(super) fn overflowed(&self) {
        self.overflow.fetch_add(1, Ordering::Relaxed);
    }
    /// The counts now.
    pub(super) fn read(&self) -> Tallied {
        let all = |counts: &[AtomicU64; 3]| [0, 1, 2].map(|i: usize| counts[i].load(Ordering::Relaxed));
        Tallied { detected: all(&self.detected), enforced: all(&self.enforced), overflow: self.overflow.load(Ordering::Relaxed) }
    }
}
