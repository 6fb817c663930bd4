//! What backends and endpoints were asked and answered, counted as Envoy counts it per cluster and host (contract/envoy.md 1.2, 2.6).
//!
//! Every thread counts into cells of its own, which exist only where there was traffic; it finds them by the addresses of what a request
//! holds anyway. A reader sums the cells of all threads. What limits and permits count (`isthmus_core::balance`) is not counted again here.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU16, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::thread::ThreadId;

use isthmus_core::balance::outlier::Outcome;
use isthmus_core::balance::{EndpointState, Slot};

use super::metrics::bump;

/// What has happened at a backend, beside the outcomes of attempts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Counter {
    /// Streams on a connection (`upstream_rq_total`).
    Requests,
    /// Attempts that had no answer in their own time.
    PerTryTimeout,
    /// Requests that had no answer in their route's time.
    Timeout,
    /// Requests left before they had a connection.
    Cancelled,
    /// Requests whose last retry was not to be retried.
    RetrySuccess,
    /// Requests that would have been retried, had one been left.
    RetryLimit,
    /// Requests that found no endpoint.
    NoneHealthy,
    /// Requests sent to an endpoint although too few were healthy.
    Panic,
    /// Connections that were not made.
    ConnectFail,
    /// Of those, the ones that took too long.
    ConnectTimeout,
    /// Requests of HTTP answered, whoever answered.
    Completed,
}

const COUNTERS: usize = Counter::Completed as usize + 1;

/// Counts of one backend by one thread.
#[derive(Debug, Default)]
#[repr(align(64))]
struct BackendCell {
    counters: [AtomicU64; COUNTERS],
    codes: Codes,
}

/// Counts by status code: written by one thread, read by any. Most backends answer with few.
#[derive(Debug, Default)]
struct Codes {
    seen: [(AtomicU16, AtomicU64); 6],
    more: OnceLock<Box<Self>>,
}

impl Codes {
    fn count(&self, code: u16) {
        for (seen, count) in &self.seen {
            match seen.load(Ordering::Relaxed) {
                0 => seen.store(code, Ordering::Relaxed),
                other if other != code => continue,
                _same => {}
            }
            return bump(count, 1);
        }
        self.more.get_or_init(Box::default).count(code);
    }
    fn each(&self, each: &mut impl FnMut(u16, u64)) {
        for (code, count) in self.seen.iter().map(|(code, count)| (code.load(Ordering::Relaxed), count)).filter(|(code, _)| *code > 0) {
            each(code, count.load(Ordering::Relaxed));
        }
        if let Some(more) = self.more.get() {
            more.each(each);
        }
    }
}

/// Counts of one endpoint of one backend by one thread.
#[derive(Debug, Default)]
struct HostCell {
    requests: AtomicU64,
    success: AtomicU64,
    error: AtomicU64,
    timeout: AtomicU64,
    connect_fail: AtomicU64,
    opened: AtomicU64,
    /// Of those; written by whichever thread closes one.
    closed: AtomicU64,
}

/// A connection to an endpoint, from the attempt to make it; counted as gone when it is dropped.
#[derive(Debug)]
pub(crate) struct Opened {
    host: Arc<HostCell>,
}

impl Drop for Opened {
    fn drop(&mut self) {
        self.host.closed.fetch_add(1, Ordering::Release);
    }
}

/// One cell for each thread that had something to count.
type Cells<T> = Vec<(ThreadId, Arc<T>)>;

fn own<T: Default>(cells: &mut Cells<T>) -> Arc<T> {
    let me = std::thread::current().id();
    if let Some((_, cell)) = cells.iter().find(|(thread, _)| *thread == me) {
        return cell.clone();
    }
    let cell = Arc::<T>::default();
    cells.push((me, cell.clone()));
    cell
}

#[derive(Debug)]
struct Known {
    slot: Weak<Slot>,
    cells: Cells<BackendCell>,
    hosts: HashMap<usize, (Weak<EndpointState>, Cells<HostCell>)>,
}

/// What a thread finds by the addresses of backend and endpoint (0 for none), which stay unique, since it holds on to their allocations.
struct Cached {
    backend: Arc<BackendCell>,
    host: Arc<HostCell>,
    _held: (Weak<Traffic>, Weak<Slot>, Weak<EndpointState>),
}

thread_local! {
    static CACHE: RefCell<HashMap<(usize, usize, usize), Cached, foldhash::fast::RandomState>> = RefCell::default();
}

/// Entries of one thread's cache, after which it begins anew; the counts stay.
const MAX_CACHED: usize = 16_384;

/// The counts of all backends that had traffic.
#[derive(Debug, Default)]
pub(crate) struct Traffic {
    known: Mutex<HashMap<usize, Known>>,
}

/// Counts of one backend over all threads.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counted {
    counters: [u64; COUNTERS],
    /// Answers by status code, in order.
    pub(crate) codes: Vec<(u16, u64)>,
}

impl Counted {
    /// One counter.
    pub(crate) fn of(&self, counter: Counter) -> u64 {
        self.counters[counter as usize]
    }
}

/// Counts of one endpoint over all threads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct HostCounted {
    /// Streams on its connections.
    pub(crate) requests: u64,
    /// Answers below 500.
    pub(crate) success: u64,
    /// Answers from 500, attempts that broke or were late.
    pub(crate) error: u64,
    /// Attempts that were late.
    pub(crate) timeout: u64,
    /// Connections that were not made.
    pub(crate) connect_fail: u64,
    /// Connections, those that were not made too.
    pub(crate) connections: u64,
    /// Those that are there.
    pub(crate) open: u64,
}

impl Traffic {
    /// Counts something at a backend and, where it is an endpoint's, there.
    pub(crate) fn count(self: &Arc<Self>, slot: &Arc<Slot>, endpoint: Option<&Arc<EndpointState>>, counter: Counter) {
        self.cells(slot, endpoint, |backend, host| {
            bump(&backend.counters[counter as usize], 1);
            match counter {
                Counter::Requests => bump(&host.requests, 1),
                Counter::ConnectFail => bump(&host.connect_fail, 1),
                Counter::ConnectTimeout
                | Counter::PerTryTimeout
                | Counter::Timeout
                | Counter::Cancelled
                | Counter::RetrySuccess
                | Counter::RetryLimit
                | Counter::NoneHealthy
                | Counter::Panic
                | Counter::Completed => {}
            }
        });
    }
    /// Counts what an attempt came to.
    pub(crate) fn attempt(self: &Arc<Self>, slot: &Arc<Slot>, endpoint: &Arc<EndpointState>, outcome: Outcome) {
        self.cells(slot, Some(endpoint), |backend, host| match outcome {
            Outcome::Connected | Outcome::Streams => {
                bump(&backend.counters[Counter::Requests as usize], 1);
                bump(&host.requests, 1);
            }
            Outcome::Answer(status) => bump(if status < 500 { &host.success } else { &host.error }, 1),
            Outcome::Broken => bump(&host.error, 1),
            Outcome::Late => {
                bump(&host.error, 1);
                bump(&host.timeout, 1);
            }
        });
    }
    /// Counts the answer that a client got.
    pub(crate) fn answered(self: &Arc<Self>, slot: &Arc<Slot>, code: u16) {
        self.cells(slot, None, |backend, _| {
            bump(&backend.counters[Counter::Completed as usize], 1);
            backend.codes.count(code);
        });
    }

    /// Counts a connection to an endpoint in.
    pub(crate) fn opened(self: &Arc<Self>, slot: &Arc<Slot>, endpoint: &Arc<EndpointState>) -> Opened {
        self.cells(slot, Some(endpoint), |_, host| {
            bump(&host.opened, 1);
            Opened { host: host.clone() }
        })
    }

    fn cells<T>(
        self: &Arc<Self>,
        slot: &Arc<Slot>,
        endpoint: Option<&Arc<EndpointState>>,
        count: impl FnOnce(&BackendCell, &Arc<HostCell>) -> T,
    ) -> T {
        let key = (Arc::as_ptr(self).addr(), Arc::as_ptr(slot).addr(), endpoint.map_or(0, |e| Arc::as_ptr(e).addr()));
        CACHE.with_borrow_mut(|cache| {
            if cache.len() >= MAX_CACHED && !cache.contains_key(&key) {
                cache.clear();
            }
            let cached = cache.entry(key).or_insert_with(|| self.registered(slot, endpoint));
            count(&cached.backend, &cached.host)
        })
    }

    fn registered(self: &Arc<Self>, slot: &Arc<Slot>, endpoint: Option<&Arc<EndpointState>>) -> Cached {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let known = known.entry(Arc::as_ptr(slot).addr());
        let known = known.or_insert_with(|| Known { slot: Arc::downgrade(slot), cells: Vec::new(), hosts: HashMap::new() });
        let held = (Arc::downgrade(self), known.slot.clone(), endpoint.map_or_else(Weak::new, Arc::downgrade));
        let host = match endpoint {
            Some(endpoint) => own(&mut known.hosts.entry(Arc::as_ptr(endpoint).addr()).or_insert_with(|| (Arc::downgrade(endpoint), Vec::new())).1),
            None => Arc::default(),
        };
        Cached { backend: own(&mut known.cells), host, _held: held }
    }

    /// A backend's counts, and those of its endpoints by the address of their state; `None` where there was no traffic.
    pub(crate) fn of(&self, slot: &Arc<Slot>) -> Option<(Counted, HashMap<usize, HostCounted>)> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let known = known.get(&Arc::as_ptr(slot).addr())?;
        let mut counted = Counted::default();
        let mut codes = std::collections::BTreeMap::<u16, u64>::new();
        for (_, cell) in &known.cells {
            for (sum, counter) in counted.counters.iter_mut().zip(&cell.counters) {
                *sum += counter.load(Ordering::Relaxed);
            }
            cell.codes.each(&mut |code, count| *codes.entry(code).or_default() += count);
        }
        counted.codes = codes.into_iter().collect();
        let hosts = known.hosts.iter().map(|(at, (_, cells))| (*at, cells.iter().fold(HostCounted::default(), |sum, (_, cell)| sum.plus(cell))));
        Some((counted, hosts.collect()))
    }

    /// Forgets backends and endpoints that are gone.
    pub(crate) fn forget(&self) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|_, known| {
            known.hosts.retain(|_, (endpoint, _)| endpoint.strong_count() > 0);
            known.slot.strong_count() > 0
        });
    }
}

impl HostCounted {
    fn plus(self, cell: &HostCell) -> Self {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let closed = cell.closed.load(Ordering::Acquire);
        let opened = load(&cell.opened);
        Self {
            requests: self.requests + load(&cell.requests),
            success: self.success + load(&cell.success),
            error: self.error + load(&cell.error),
            timeout: self.timeout + load(&cell.timeout),
            connect_fail: self.connect_fail + load(&cell.connect_fail),
            connections: self.connections + opened,
            open: self.open + opened.saturating_sub(closed),
        }
    }
}
