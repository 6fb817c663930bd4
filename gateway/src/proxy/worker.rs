//! What each worker thread keeps for itself: its number, chance, the matcher's scratch, the date.
//!
//! Nothing here is held across an await, so a request may go on on another thread at any time.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime};

use arc_swap::ArcSwap;
use http::HeaderValue;
use isthmus_core::route::Scratch;
use isthmus_core::snapshot::{Pin, Snapshot};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

thread_local! {
    static NUMBER: usize = {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        NEXT.fetch_add(1, Ordering::Relaxed)
    };
    static CHANCE: RefCell<SmallRng> = RefCell::new(SmallRng::from_os_rng());
    static SCRATCH: RefCell<Scratch> = RefCell::default();
    static DATE: RefCell<(Option<Instant>, HeaderValue)> = const { RefCell::new((None, HeaderValue::from_static(""))) };
}

/// This thread's number, from 0 in the order in which threads asked.
pub(crate) fn number() -> usize {
    NUMBER.with(|n| *n)
}

/// Chance for one request.
pub(crate) fn chance() -> SmallRng {
    CHANCE.with_borrow_mut(|rng| SmallRng::seed_from_u64(rng.random()))
}

/// Lends this thread's scratch.
pub(crate) fn with_scratch<T>(work: impl FnOnce(&mut Scratch) -> T) -> T {
    SCRATCH.with_borrow_mut(work)
}

/// The `date` of now, to the second.
pub(crate) fn date() -> HeaderValue {
    DATE.with_borrow_mut(|(made, value)| {
        let now = Instant::now();
        if made.is_none_or(|made| now.duration_since(made) > Duration::from_millis(200)) {
            let text = httpdate::fmt_http_date(SystemTime::now());
            if value.as_bytes() != text.as_bytes() {
                *value = HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static("Thu, 01 Jan 1970 00:00:00 GMT"));
            }
            *made = Some(now);
        }
        value.clone()
    })
}

/// The snapshot in force, one pin for each worker, so that workers share no counter.
#[derive(Debug)]
pub(crate) struct Published {
    pins: Box<[ArcSwap<Pin>]>,
}

impl Published {
    /// Room for `workers` threads, with nothing routed yet.
    pub(crate) fn new(workers: usize) -> Self {
        let nothing = Arc::new(Snapshot::default());
        Self { pins: (0..workers.max(1)).map(|_| ArcSwap::from_pointee(Pin { snapshot: nothing.clone() })).collect() }
    }
    /// Puts a snapshot in force. Returns the pins before it, so that the caller frees the old world and no worker does.
    pub(crate) fn publish(&self, snapshot: &Arc<Snapshot>) -> Vec<Arc<Pin>> {
        self.pins.iter().map(|pin| pin.swap(Arc::new(Pin { snapshot: snapshot.clone() }))).collect()
    }
    /// This worker's pin.
    pub(crate) fn pin(&self) -> Arc<Pin> {
        self.pins[number() % self.pins.len()].load_full()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_is_of_now() {
        let date = date();
        let told = httpdate::parse_http_date(date.to_str().unwrap()).unwrap();
        assert!(SystemTime::now().duration_since(told).unwrap() < Duration::from_secs(2));
    }

    #[test]
    fn every_worker_sees_what_is_published() {
        let published = Published::new(3);
        let old = published.publish(&Arc::new(Snapshot { generation: 7, listeners: Vec::new() }));
        assert_eq!(old.len(), 3);
        let seen = std::thread::scope(|s| s.spawn(|| published.pin().snapshot.generation).join().unwrap());
        assert_eq!((seen, published.pin().snapshot.generation), (7, 7));
    }
}
