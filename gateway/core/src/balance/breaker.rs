//! What a backend may have at once: connections, waiting requests, requests, retries (contract/envoy.md 1).
//!
//! A [`Permit`] is one of them, taken in one atomic step against the limit in force and given back when it is dropped, wherever that
//! happens; so what is counted is exact for the process, whatever the number of threads. Limits are values of the policy: an edit changes
//! them and leaves the counts. All four are counted always, limit or none, so a limit that comes finds what is there already.

use std::sync::{Arc, OnceLock};
use std::time::Instant;

use super::atomic::{AtomicU64, Ordering};
use super::limits::Limits;
use super::meter::Meter;
pub use super::meter::Usage;
use super::slot::Slot;
use super::window::Window;

/// What is limited.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Resource {
    /// An open connection.
    Connection,
    /// A request that waits for one.
    Pending,
    /// A request in flight.
    Request,
    /// A retry.
    Retry,
}

/// Something that happened at a limit and is only counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Noted {
    /// A request found a connection to make, without waiting for its turn; counted among those that waited, as Envoy does.
    Dialled,
    /// A waiting request lost its connection before it was made (`upstream_rq_pending_failure_eject`).
    PendingFailed,
    /// A connection was closed for having carried all it may (`upstream_cx_max_requests`).
    ConnectionServed,
}

/// The counts of one backend.
#[derive(Debug, Default)]
pub(super) struct Breaker {
    connections: Meter,
    pending: Meter,
    requests: Meter,
    retries: Meter,
    pending_failed: AtomicU64,
    connections_served: AtomicU64,
    begun: OnceLock<Box<Window>>,
}

impl Breaker {
    fn meter(&self, resource: Resource) -> &Meter {
        match resource {
            Resource::Connection => &self.connections,
            Resource::Pending => &self.pending,
            Resource::Request => &self.requests,
            Resource::Retry => &self.retries,
        }
    }
}

/// One connection, waiting request, request or retry; given back when it is dropped.
#[derive(Debug)]
pub struct Permit {
    slot: Arc<Slot>,
    resource: Resource,
}

impl Permit {
    /// Whose.
    pub fn slot(&self) -> &Arc<Slot> {
        &self.slot
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.slot.breaker().meter(self.resource).give_back();
    }
}

impl Slot {
    fn breaker(&self) -> &Breaker {
        self.breaker.get_or_init(Box::default)
    }
    /// Takes one where the limit allows it; `None` counts as overflow.
    pub fn enter(self: &Arc<Self>, resource: Resource, limit: Option<u32>) -> Option<Permit> {
        let permit = self.try_enter(resource, limit);
        if permit.is_none() {
            self.overflow(resource);
        }
        permit
    }
    /// Takes one where the limit allows it.
    pub fn try_enter(self: &Arc<Self>, resource: Resource, limit: Option<u32>) -> Option<Permit> {
        self.breaker().meter(resource).take(limit).then(|| Permit { slot: self.clone(), resource })
    }
    /// How many there are now.
    pub fn used(&self, resource: Resource) -> u32 {
        self.breaker.get().map_or(0, |breaker| breaker.meter(resource).used())
    }
    /// Counts that a limit was in the way.
    pub fn overflow(&self, resource: Resource) {
        self.breaker().meter(resource).refuse();
    }
    /// A retry, where limit or budget allow it; `None` counts as overflow.
    pub fn enter_retry(self: &Arc<Self>, limits: &Limits, now: Instant) -> Option<Permit> {
        let requests = match limits.interval() {
            Some(interval) => self.breaker().begun.get().map_or(0, |begun| begun.sum(now, interval)),
            None => self.busy(limits),
        };
        self.enter(Resource::Retry, limits.retries_beside(requests))
    }
    /// A request begins, where a budget looks at how many did.
    pub fn begin_request(&self, limits: &Limits, now: Instant) {
        if let Some(interval) = limits.interval() {
            self.breaker().begun.get_or_init(Box::default).count(now, interval);
        }
    }
    /// Counts what happened.
    pub fn note(&self, noted: Noted) {
        let breaker = self.breaker();
        match noted {
            Noted::Dialled => breaker.pending.count(),
            Noted::PendingFailed => drop(breaker.pending_failed.fetch_add(1, Ordering::Relaxed)),
            Noted::ConnectionServed => drop(breaker.connections_served.fetch_add(1, Ordering::Relaxed)),
        }
    }
    /// Requests in flight and waiting, as a budget sees them. Where connections are not limited, those that wait are dialling, and in flight already.
    fn busy(&self, limits: &Limits) -> u32 {
        let waiting = if limits.connections.is_some() { self.used(Resource::Pending) } else { 0 };
        self.used(Resource::Request).saturating_add(waiting)
    }
    /// Limits and counts as they are now.
    pub fn usage(&self) -> Usages {
        let view = self.view.load();
        let limits = view.policy.limits;
        let unused = Breaker::default();
        let breaker = self.breaker.get().map_or(&unused, |breaker| breaker);
        let mut requests = breaker.requests.now(limits.requests);
        if limits.requests.is_none() && limits.connections.is_none() {
            // Who dials is no request in flight yet.
            requests.used = requests.used.saturating_sub(breaker.pending.used());
        }
        Usages {
            connections: breaker.connections.now(limits.connections),
            pending: breaker.pending.now(limits.pending),
            requests,
            retries: breaker.retries.now(limits.retries_beside(match limits.interval() {
                Some(_) => breaker.begun.get().map_or(0, |begun| begun.last()),
                None => self.busy(&limits),
            })),
            pending_failed: breaker.pending_failed.load(Ordering::Relaxed),
            connections_served: breaker.connections_served.load(Ordering::Relaxed),
        }
    }
}

/// A backend's limits and counts at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usages {
    /// Open connections (`cx`); overflow is `upstream_cx_overflow`.
    pub connections: Usage,
    /// Requests that wait for one (`rq_pending`): `upstream_rq_pending_{active,total,overflow}`.
    pub pending: Usage,
    /// Requests in flight (`rq`); overflow is `upstream_rq_active_overflow`.
    pub requests: Usage,
    /// Retries (`rq_retry`): `upstream_rq_retry`, `upstream_rq_retry_overflow`. With a budget the limit is what it allows now.
    pub retries: Usage,
    /// `upstream_rq_pending_failure_eject`.
    pub pending_failed: u64,
    /// `upstream_cx_max_requests`.
    pub connections_served: u64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::balance::atomic::AtomicU32;
    use crate::balance::{BackendKey, Budget, view};
    use proptest::prelude::*;
    use std::time::Duration;

    fn slot() -> Arc<Slot> {
        let key = BackendKey { host: "a".into(), port: 80, subset: "".into() };
        Arc::new(Slot::new(key, view(&Arc::default(), &Arc::default(), &[], None, 0)))
    }

    const ALL: [Resource; 4] = [Resource::Connection, Resource::Pending, Resource::Request, Resource::Retry];

    fn used(slot: &Slot) -> [u32; 4] {
        let now = slot.usage();
        [now.connections.used, now.pending.used, slot.breaker().requests.now(None).used, now.retries.used]
    }

    #[test]
    fn a_limit_is_exact_under_a_storm_of_threads() {
        const LIMIT: u32 = 7;
        let slot = slot();
        let inside = AtomicU32::new(0);
        std::thread::scope(|s| {
            for _ in 0..8 {
                s.spawn(|| {
                    for _ in 0..20_000 {
                        let Some(permit) = slot.enter(Resource::Connection, Some(LIMIT)) else { continue };
                        assert!(inside.fetch_add(1, Ordering::SeqCst) < LIMIT, "more than the limit");
                        inside.fetch_sub(1, Ordering::SeqCst);
                        drop(permit);
                    }
                });
            }
        });
        let now = slot.usage().connections;
        assert_eq!((now.used, now.taken + now.overflow), (0, 160_000));
        assert!(now.peak <= LIMIT, "{now:?}");
    }

    #[test]
    fn budgets_are_envoys_examples_1_4() {
        let budget = Budget { thousandths: 20_000, least: 3, interval: Duration::ZERO };
        let now = Instant::now();
        for (requests, retries) in [(1000, 200), (5, 3), (0, 3), (19, 3), (24, 4)] {
            assert_eq!(budget.of(requests), retries, "{requests}");
        }
        let slot = slot();
        let limits = Limits { retries: Some(1), budget: Some(budget), ..Limits::NONE };
        let retries: Vec<_> = (0..4).map(|_| slot.enter_retry(&limits, now)).collect();
        assert_eq!(retries.iter().flatten().count(), 3, "instead of maxRetries");
        let requests: Vec<_> = (0..20).map(|_| slot.enter(Resource::Request, None)).collect();
        assert!(slot.enter_retry(&limits, now).is_some(), "one more beside twenty requests");
        drop((requests, retries));
        let limits = Limits { budget: Some(Budget { interval: Duration::from_secs(10), ..budget }), ..limits };
        (0..50).for_each(|_| slot.begin_request(&limits, now));
        let retries = |at: Instant| (0..20).map(|_| slot.enter_retry(&limits, at)).collect::<Vec<_>>().iter().flatten().count();
        assert_eq!((retries(now), retries(now + Duration::from_secs(11))), (10, 3), "of those that began, whether or not they have ended");
    }

    proptest! {
        /// Permits taken, dropped and refused in any order, under limits that change meanwhile: what is used is what is held.
        #[test]
        fn permits_never_leak(steps in prop::collection::vec((0usize..4, any::<bool>(), 0u32..4), 0..200)) {
            let slot = slot();
            let mut held: [Vec<Permit>; 4] = Default::default();
            let mut refused = [0u64; 4];
            for (which, take, limit) in steps {
                if take {
                    match slot.enter(ALL[which], Some(limit)) {
                        Some(permit) => held[which].push(permit),
                        None => {
                            refused[which] += 1;
                            prop_assert!(held[which].len() >= limit as usize);
                        }
                    }
                } else {
                    held[which].pop();
                }
                let holds: Vec<u32> = held.iter().map(|h| h.len() as u32).collect();
                prop_assert_eq!(&used(&slot)[..], &holds[..]);
            }
            drop(held);
            prop_assert_eq!(used(&slot), [0; 4]);
            let now = slot.usage();
            prop_assert_eq!([now.connections.overflow, now.pending.overflow, now.requests.overflow, now.retries.overflow], refused);
        }
    }
}
