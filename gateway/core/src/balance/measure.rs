//! What is measured of a backend while it serves: how long connecting takes, and whether clients speak HTTP on a byte stream to it.
//!
//! Read by people and by analysis alone; nothing is decided by it. A sample lost between two threads does no harm.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use super::slot::Slot;

/// One backend's measurements.
#[derive(Debug, Default)]
pub(super) struct Measured {
    /// Nanoseconds, smoothed; 0 is none yet.
    connect: AtomicU64,
    /// Connections that took too long, since the last one that was made.
    late: AtomicU32,
    http: AtomicBool,
}

/// One part in so many of the smoothed value is the latest sample.
const INERTIA: u64 = 8;

impl Slot {
    /// A connection to an endpoint was made, after so long.
    pub fn connected(&self, took: Duration) {
        let sample = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX / INERTIA).max(1);
        let before = self.measured.connect.load(Ordering::Relaxed);
        let now = if before == 0 { sample } else { before - before / INERTIA + sample / INERTIA };
        self.measured.connect.store(now.max(1), Ordering::Relaxed);
        if self.measured.late.load(Ordering::Relaxed) > 0 {
            self.measured.late.store(0, Ordering::Relaxed);
        }
    }
    /// A connection to an endpoint was given up, since it took too long.
    pub fn connects_late(&self) {
        self.measured.late.fetch_add(1, Ordering::Relaxed);
    }
    /// How many connections took too long since the last one that was made.
    pub fn late_connects(&self) -> u32 {
        self.measured.late.load(Ordering::Relaxed)
    }
    /// How long connecting took of late, smoothed over some eight connections; `None` before the first.
    pub fn connect_time(&self) -> Option<Duration> {
        Some(self.measured.connect.load(Ordering::Relaxed)).filter(|n| *n > 0).map(Duration::from_nanos)
    }
    /// A client's byte stream to it began as HTTP does.
    pub fn heard_http(&self) {
        self.measured.http.store(true, Ordering::Relaxed);
    }
    /// True where some byte stream to it began as HTTP does.
    pub fn hears_http(&self) -> bool {
        self.measured.http.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    use crate::balance::{BackendKey, view};

    #[test]
    fn connect_times_are_smoothed() {
        let key = BackendKey { host: "a.test".into(), port: 80, subset: "".into() };
        let slot = Slot::new(key, view(&Arc::default(), &Arc::default(), &[], None, 0));
        assert_eq!(slot.connect_time(), None);
        (0..3).for_each(|_| slot.connects_late());
        assert_eq!(slot.late_connects(), 3);
        slot.connected(Duration::from_millis(8));
        assert_eq!(slot.late_connects(), 0);
        assert_eq!(slot.connect_time(), Some(Duration::from_millis(8)));
        slot.connected(Duration::from_millis(80));
        assert_eq!(slot.connect_time(), Some(Duration::from_millis(17)));
        (0..100).for_each(|_| slot.connected(Duration::from_millis(2)));
        assert!(slot.connect_time().is_some_and(|t| (t.as_micros() as i64 - 2000).abs() < 10));
    }
}
