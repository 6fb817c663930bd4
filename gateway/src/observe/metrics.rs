//! Istio's standard metrics (contract 10.2), counted without locks, formatting or look-ups by label on the way of a request.
//!
//! Every thread counts into cells of its own. It finds them by what a request holds anyway (backend, workload, code, flags),
//! so labels are made once per combination and thread. A scrape sums the cells of all threads. Labels come from configuration
//! and from what clusters say of their pods, never from a request.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread::ThreadId;
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use isthmus_core::balance::{Member, Slot};
use isthmus_core::failure::Flags;
use isthmus_core::model::{GatewayIdentity, ServiceKind, Workload, World};

use super::record::Record;

/// Upper bounds of the histograms: milliseconds or bytes.
pub(super) const BOUNDS: [f64; 19] = [
    0.5,
    1.0,
    5.0,
    10.0,
    25.0,
    50.0,
    100.0,
    250.0,
    500.0,
    1000.0,
    2500.0,
    5000.0,
    10_000.0,
    30_000.0,
    60_000.0,
    300_000.0,
    600_000.0,
    1_800_000.0,
    3_600_000.0,
];

/// What a request was spoken in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Spoken {
    /// Plain HTTP.
    Http,
    /// gRPC.
    Grpc,
    /// A byte stream.
    Tcp,
}

/// Where a request went, as labels.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Target {
    pub(super) service: String,
    pub(super) service_name: String,
    pub(super) service_namespace: String,
    pub(super) workload: String,
    pub(super) workload_namespace: String,
    pub(super) canonical_service: String,
    pub(super) canonical_revision: String,
    pub(super) app: String,
    pub(super) version: String,
    pub(super) cluster: String,
}

/// One series' own labels; the gateway's are the same for all.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Labels {
    pub(super) target: Target,
    pub(super) spoken: Spoken,
    pub(super) code: u16,
    pub(super) flags: String,
    pub(super) grpc_status: Option<u8>,
}

/// Counts of one series by one thread.
#[derive(Debug, Default)]
pub(super) struct Cell {
    pub(super) requests: AtomicU64,
    /// In microseconds, against bounds in milliseconds.
    pub(super) duration: Histogram,
    pub(super) received: Histogram,
    pub(super) sent: Histogram,
    pub(super) messages_received: AtomicU64,
    pub(super) messages_sent: AtomicU64,
    pub(super) opened: AtomicU64,
    pub(super) closed: AtomicU64,
    pub(super) stream_received: AtomicU64,
    pub(super) stream_sent: AtomicU64,
}

/// A histogram over [`BOUNDS`]; the last bucket is beyond all of them.
#[derive(Debug, Default)]
pub(super) struct Histogram {
    pub(super) buckets: [AtomicU64; BOUNDS.len() + 1],
    pub(super) sum: AtomicU64,
}

/// Adds to a counter that no other thread writes.
pub(super) fn bump(counter: &AtomicU64, by: u64) {
    counter.store(counter.load(Ordering::Relaxed).wrapping_add(by), Ordering::Relaxed);
}

impl Histogram {
    fn observe(&self, value: f64, sum: u64) {
        let bucket = BOUNDS.iter().position(|bound| value <= *bound).unwrap_or(BOUNDS.len());
        bump(&self.buckets[bucket], 1);
        bump(&self.sum, sum);
    }
}

/// What a thread finds its cell by. Addresses stay unique, since the cache holds on to their allocations.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Key {
    metrics: usize,
    slot: usize,
    workload: usize,
    spoken: Spoken,
    code: u16,
    flags: Flags,
    grpc_status: Option<u8>,
}

struct Cached {
    cell: Arc<Cell>,
    _held: (Weak<Metrics>, Weak<Slot>, Weak<Workload>),
}

/// Keys are addresses of ours, which nobody outside chooses.
type Cache = HashMap<Key, Cached, foldhash::fast::RandomState>;

thread_local! {
    static CACHE: RefCell<Cache> = RefCell::default();
}

/// Entries of one thread's cache, after which it begins anew; the counts stay.
const MAX_CACHED: usize = 16_384;

/// One series' cells, each of one thread, and what they count for.
#[derive(Debug, Default)]
struct Series {
    cells: Vec<(ThreadId, Arc<Cell>)>,
    sources: Vec<Source>,
    /// Since when there has been no source.
    gone: Option<Instant>,
}

/// A backend and a workload that a series counts for; `None` is nobody, who never goes.
type Source = (Option<Weak<Slot>>, Option<Weak<Workload>>);

fn exists((slot, workload): &Source) -> bool {
    slot.as_ref().is_none_or(|s| s.strong_count() > 0) && workload.as_ref().is_none_or(|w| w.strong_count() > 0)
}

/// So long the series of backends and workloads that are gone are told, which is many scrapes.
const REMEMBER: Duration = Duration::from_secs(600);

/// All series.
#[derive(Debug)]
pub(crate) struct Metrics {
    pub(super) gateway: Arc<GatewayIdentity>,
    world: ArcSwapOption<World>,
    series: Mutex<HashMap<Labels, Series>>,
    /// Requests whose body outgrew the replay buffer, so that they were not retried.
    pub(crate) unreplayable: AtomicU64,
}

impl Metrics {
    /// No series yet; `gateway` is the source of all.
    pub(crate) fn new(gateway: Arc<GatewayIdentity>) -> Arc<Self> {
        Arc::new(Self { gateway, world: ArcSwapOption::empty(), series: Mutex::default(), unreplayable: AtomicU64::new(0) })
    }
    /// Says which services exist; read when labels are made.
    pub(crate) fn look_at(&self, world: &Arc<World>) {
        self.world.store(Some(world.clone()));
    }
    /// Counts a request that has ended.
    pub(super) fn request(self: &Arc<Self>, record: &Record<'_>, grpc: Option<(u64, u64)>) {
        let key = Key {
            spoken: if grpc.is_some() { Spoken::Grpc } else { Spoken::Http },
            code: record.code,
            flags: record.flags,
            grpc_status: grpc.and(record.grpc_status),
            ..self.key(record.slot, record.member)
        };
        CACHE.with_borrow_mut(|cache| {
            let cell = self.cell(cache, key, record.slot, record.member);
            bump(&cell.requests, 1);
            if let Some((received, sent)) = grpc {
                bump(&cell.messages_received, received);
                bump(&cell.messages_sent, sent);
            }
            cell.duration.observe(record.duration.as_secs_f64() * 1000.0, u64::try_from(record.duration.as_micros()).unwrap_or(u64::MAX));
            cell.received.observe(record.received as f64, record.received);
            cell.sent.observe(record.sent as f64, record.sent);
        });
    }
    /// Counts a byte stream in; its meter counts bytes, and the stream out when it is dropped.
    pub(crate) fn stream(self: &Arc<Self>, slot: Option<&Arc<Slot>>, member: Option<&Member>, flags: Flags) -> StreamMeter {
        let key = Key { flags, ..self.key(slot, member) };
        let cell = CACHE.with_borrow_mut(|cache| self.cell(cache, key, slot, member).clone());
        cell.opened.fetch_add(1, Ordering::Relaxed);
        StreamMeter { cell }
    }
    fn key(self: &Arc<Self>, slot: Option<&Arc<Slot>>, member: Option<&Member>) -> Key {
        Key {
            metrics: Arc::as_ptr(self).addr(),
            slot: slot.map_or(0, |s| Arc::as_ptr(s).addr()),
            workload: member.map_or(0, |m| Arc::as_ptr(&m.endpoint.workload).addr()),
            spoken: Spoken::Tcp,
            code: 0,
            flags: Flags::default(),
            grpc_status: None,
        }
    }
    fn cell<'c>(self: &Arc<Self>, cache: &'c mut Cache, key: Key, slot: Option<&Arc<Slot>>, member: Option<&Member>) -> &'c Arc<Cell> {
        if cache.len() >= MAX_CACHED && !cache.contains_key(&key) {
            cache.clear();
        }
        let cached = cache.entry(key).or_insert_with(|| {
            let labels = Labels {
                target: self.target(slot, member),
                spoken: key.spoken,
                code: key.code,
                flags: key.flags.to_string(),
                grpc_status: key.grpc_status,
            };
            let held = (
                Arc::downgrade(self),
                slot.map_or_else(Weak::new, Arc::downgrade),
                member.map_or_else(Weak::new, |m| Arc::downgrade(&m.endpoint.workload)),
            );
            Cached { cell: self.registered(labels, (slot.map(Arc::downgrade), member.map(|m| Arc::downgrade(&m.endpoint.workload)))), _held: held }
        });
        &cached.cell
    }
    fn registered(&self, labels: Labels, source: Source) -> Arc<Cell> {
        let me = std::thread::current().id();
        let mut series = self.series.lock().unwrap_or_else(PoisonError::into_inner);
        let series = series.entry(labels).or_default();
        series.sources.retain(exists);
        let known = |(slot, workload): &Source| same(slot.as_ref(), source.0.as_ref()) && same(workload.as_ref(), source.1.as_ref());
        if !series.sources.iter().any(known) {
            series.sources.push(source);
        }
        if let Some((_, cell)) = series.cells.iter().find(|(thread, _)| *thread == me) {
            return cell.clone();
        }
        let cell = Arc::new(Cell::default());
        series.cells.push((me, cell.clone()));
        cell
    }
    /// Forgets series whose backends or workloads have been gone for ten minutes.
    pub(crate) fn forget(&self, now: Instant) {
        let mut series = self.series.lock().unwrap_or_else(PoisonError::into_inner);
        series.retain(|_, series| {
            if series.sources.iter().any(exists) {
                series.gone = None;
                return true;
            }
            now.duration_since(*series.gone.get_or_insert(now)) < REMEMBER
        });
    }
    /// Calls `each` with every series and its cells.
    pub(super) fn each(&self, mut each: impl FnMut(&Labels, &mut dyn Iterator<Item = &Cell>)) {
        let series = self.series.lock().unwrap_or_else(PoisonError::into_inner);
        let mut sorted: Vec<_> = series.iter().collect();
        sorted.sort_by_key(|(labels, _)| *labels);
        for (labels, series) in sorted {
            each(labels, &mut series.cells.iter().map(|(_, cell)| &**cell));
        }
    }
    fn target(&self, slot: Option<&Arc<Slot>>, member: Option<&Member>) -> Target {
        let unknown = || "unknown".to_owned();
        let mut target = Target {
            service: unknown(),
            service_name: unknown(),
            service_namespace: unknown(),
            workload: unknown(),
            workload_namespace: unknown(),
            canonical_service: unknown(),
            canonical_revision: "latest".to_owned(),
            app: unknown(),
            version: unknown(),
            cluster: unknown(),
        };
        if let Some(slot) = slot {
            let host = slot.key.host.as_str();
            host.clone_into(&mut target.service);
            host.clone_into(&mut target.service_name);
            if let Some(service) = self.world.load().as_ref().and_then(|w| w.catalog.services.get(host)) {
                service.namespace.as_ref().clone_into(&mut target.service_namespace);
                if service.kind == ServiceKind::Kubernetes {
                    service.object.name.as_ref().clone_into(&mut target.service_name);
                }
            }
        }
        if let Some(member) = member {
            let workload = &member.endpoint.workload;
            let names = Names::of(&workload.name, workload.labels());
            workload.namespace().as_ref().clone_into(&mut target.workload_namespace);
            target.workload = names.workload;
            target.canonical_service = names.service;
            target.canonical_revision = names.revision;
            target.app = names.app;
            target.version = names.version;
            workload.cluster().as_str().clone_into(&mut target.cluster);
        }
        target
    }
}

fn same<T>(a: Option<&Weak<T>>, b: Option<&Weak<T>>) -> bool {
    match (a, b) {
        (Some(a), Some(b)) => a.ptr_eq(b),
        (a, b) => a.is_none() && b.is_none(),
    }
}

/// Names of a workload in labels, ours or an endpoint's.
pub(super) struct Names {
    pub(super) workload: String,
    pub(super) service: String,
    pub(super) revision: String,
    pub(super) app: String,
    pub(super) version: String,
}

impl Names {
    /// By Istio's order: the canonical label, the recommended one, `app` or `version`, the workload's name.
    pub(super) fn of(name: &str, labels: &isthmus_config::object::Labels) -> Self {
        let first = |keys: &[&str]| keys.iter().find_map(|k| labels.get(k)).map(|v| v.to_string());
        let unknown = || "unknown".to_owned();
        // A Deployment's pod is named `deployment-hash-xxxxx`, and says the hash.
        let workload = labels.get("pod-template-hash").and_then(|hash| name.rfind(&format!("-{hash}-")).map(|at| &name[..at])).unwrap_or(name);
        let workload = if workload.is_empty() { unknown() } else { workload.to_owned() };
        let service = first(&["service.istio.io/canonical-name", "app.kubernetes.io/name", "app"]).unwrap_or_else(|| workload.clone());
        let revision = first(&["service.istio.io/canonical-revision", "app.kubernetes.io/version", "version"]).unwrap_or_else(|| "latest".to_owned());
        Self { workload, service, revision, app: first(&["app"]).unwrap_or_else(unknown), version: first(&["version"]).unwrap_or_else(unknown) }
    }
}

/// Counts the bytes of one open byte stream.
#[derive(Debug)]
pub(crate) struct StreamMeter {
    cell: Arc<Cell>,
}

impl StreamMeter {
    /// Bytes from the client.
    pub(crate) fn received(&self, bytes: u64) {
        self.cell.stream_received.fetch_add(bytes, Ordering::Relaxed);
    }
    /// Bytes to the client.
    pub(crate) fn sent(&self, bytes: u64) {
        self.cell.stream_sent.fetch_add(bytes, Ordering::Relaxed);
    }
}

impl Drop for StreamMeter {
    fn drop(&mut self) {
        self.cell.closed.fetch_add(1, Ordering::Relaxed);
    }
}
