//! What a backend may have at once: connections, waiting requests, requests, retries (contract/envoy.md 1).
//!
//! A [`Permit`] is one of them, taken in one atomic step against the limit in force and given back when it is dropped, wherever that
//! happens; so what is counted is exact for the process, whatever the number of threads. Limits are values of the policy: an edit changes
//! them and leaves the counts. Connections, dials and retries are counted always. Requests in flight are counted only where a limit or a budget looks at
//! them; elsewhere the endpoints' own counts tell them.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use super::limits::Limits;
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

/// One resource's counts.
#[derive(Debug, Default)]
struct Meter {
    used: AtomicU32,
    peak: AtomicU32,
    taken: AtomicU64,
    overflow: AtomicU64,
}

impl Meter {
    /// One more, unless the limit is reached; check and take are one step.
    fn take(&self, limit: Option<u32>) -> bool {
        let limit = limit.unwrap_or(u32::MAX);
        let more = |used: u32| (used < limit).then_some(used + 1);
        let Ok(before) = self.used.fetch_update(Ordering::AcqRel, Ordering::Acquire, more) else { return false };
        self.taken.fetch_add(1, Ordering::Relaxed);
        if before + 1 > self.peak.load(Ordering::Relaxed) {
            self.peak.fetch_max(before + 1, Ordering::Relaxed);
        }
        true
    }
    fn now(&self, limit: Option<u32>) -> Usage {
        Usage {
            limit,
            used: self.used.load(Ordering::Relaxed),
            peak: self.peak.load(Ordering::Relaxed),
            taken: self.taken.load(Ordering::Relaxed),
            overflow: self.overflow.load(Ordering::Relaxed),
        }
    }
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
        self.slot.breaker().meter(self.resource).used.fetch_sub(1, Ordering::AcqRel);
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
        self.breaker.get().map_or(0, |breaker| breaker.meter(resource).used.load(Ordering::Acquire))
    }
    /// Counts that a limit was in the way.
    pub fn overflow(&self, resource: Resource) {
        self.breaker().meter(resource).overflow.fetch_add(1, Ordering::Relaxed);
    }
    /// A retry, where limit or budget allow it; `None` counts as overflow.
    pub fn enter_retry(self: &Arc<Self>, limits: &Limits, now: Instant) -> Option<Permit> {
        let requests = match limits.interval() {
            Some(interval) => self.breaker().begun.get().map_or(0, |begun| begun.sum(now, interval)),
            None => self.busy(),
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
        let count = match noted {
            Noted::Dialled => &self.breaker().pending.taken,
            Noted::PendingFailed => &self.breaker().pending_failed,
            Noted::ConnectionServed => &self.breaker().connections_served,
        };
        count.fetch_add(1, Ordering::Relaxed);
    }
    /// Requests in flight and waiting, as a budget sees them.
    fn busy(&self) -> u32 {
        self.used(Resource::Request).saturating_add(self.used(Resource::Pending))
    }
    /// Limits and counts as they are now.
    pub fn usage(&self) -> Usages {
        let view = self.view.load();
        let limits = view.policy.limits;
        let unused = Breaker::default();
        let breaker = self.breaker.get().map_or(&unused, |breaker| breaker);
        let mut requests = breaker.requests.now(limits.requests);
        if !limits.counts_requests() {
            let trying: u32 = view.members.iter().map(|m| m.state.active()).sum();
            // Who dials is no request in flight yet.
            let dialling = if limits.connections.is_none() { breaker.pending.now(None).used } else { 0 };
            requests.used = trying.saturating_sub(dialling);
        }
        Usages {
            connections: breaker.connections.now(limits.connections),
            pending: breaker.pending.now(limits.pending),
            requests,
            retries: breaker.retries.now(limits.retries_beside(match limits.interval() {
                Some(_) => breaker.begun.get().map_or(0, |begun| begun.last()),
                None => self.busy(),
            })),
            pending_failed: breaker.pending_failed.load(Ordering::Relaxed),
            connections_served: breaker.connections_served.load(Ordering::Relaxed),
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

/// A backend's limits and counts at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usages {
    /// Open connections (`cx`); overflow is `upstream_cx_overflow`.
    pub connections: Usage,
    /// Requests that wait for one (`rq_pending`): `upstream_rq_pending_{active,total,overflow}`.
    pub pending: Usage,
    /// Requests in flight (`rq`); overflow is `upstream_rq_active_overflow`. Without limit and budget, peak and sum are not counted.
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
    use crate::balance::{BackendKey, BackendPolicy, Budget, Line, view};
    use proptest::prelude::*;
    use std::time::Duration;

    fn slot() -> Arc<Slot> {
        let key = BackendKey { host: "a".into(), port: 80, subset: "".into() };
        Arc::new(Slot::new(key, view(BackendPolicy::default(), &Line::default(), &[], None, 0)))
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
